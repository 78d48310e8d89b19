/*
 * node_compile: from the JSON of an openAPIV3Schema to nodes.
 *
 * What the definition's validation lets through compiles; the bounds (nesting, number of nodes,
 * patterns) are checked here, so that validation and compiling can't disagree about them.
 */
#include "apiserver/custom/node.h"

#include "common/limits.h"

struct compiler {
    struct arena *arena;
    struct error *err;
    size_t nodes, pattern_bytes;
};

static const char *const type_names[] = {
    [NODE_OBJECT] = "object",
    [NODE_ARRAY] = "array",
    [NODE_STRING] = "string",
    [NODE_INTEGER] = "integer",
    [NODE_NUMBER] = "number",
    [NODE_BOOLEAN] = "boolean",
};

static struct node *compile(struct compiler *c, const cJSON *schema, int depth);

static uint8_t type_of(const cJSON *schema)
{
    const char *text = json_string(schema, "type");
    for (size_t i = NODE_OBJECT; text && i < ARRAY_COUNT(type_names); i++)
        if (!strcmp(text, type_names[i]))
            return (uint8_t)i;
    return NODE_ANY;
}

static struct node *node_new(struct arena *a)
{
    struct node *n = arena_zalloc(a, sizeof(*n));
    n->min_length = n->max_length = n->min_items = n->max_items = n->min_members = n->max_members =
        -1;
    return n;
}

struct node *node_new_open(struct arena *a)
{
    struct node *n = node_new(a);
    n->type = NODE_OBJECT;
    n->preserve = true;
    n->source = NULL;
    return n;
}

static void read_count(const cJSON *schema, const char *name, int64_t *ret)
{
    json_int64(json_get(schema, name), ret);
}

static double number_of(const cJSON *item)
{
    return cJSON_IsNumber(item) ? item->valuedouble : strtod(item->valuestring, NULL);
}

static bool read_number(const cJSON *schema, const char *name, double *ret)
{
    const cJSON *item = json_get(schema, name);
    if (!item || !json_is_number(item))
        return false;
    *ret = number_of(item);
    return true;
}

static const char *const *names_of(struct compiler *c, const cJSON *list, size_t *ret_count)
{
    size_t n = 0;
    const cJSON *item;
    *ret_count = 0;
    if (!cJSON_IsArray(list) || !list->child)
        return NULL;
    const char **names =
        arena_new_array(c->arena, const char *, (size_t)cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list) if (cJSON_IsString(item)) names[n++] = item->valuestring;
    *ret_count = n;
    return names;
}

static bool compile_list(
    struct compiler *c, const cJSON *schema, const char *name, int depth, struct node_list *ret)
{
    const cJSON *list = json_get(schema, name), *item;
    if (!cJSON_IsArray(list) || !list->child)
        return true;
    ret->nodes = arena_new_array(c->arena, struct node *, (size_t)cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list)
    {
        if (!(ret->nodes[ret->count] = compile(c, item, depth)))
            return false;
        ret->count++;
    }
    return true;
}

static void index_members(struct compiler *c, struct node *n)
{
    size_t size = 8;
    while (size < 2 * n->member_count)
        size *= 2;
    n->slots = arena_new_array(c->arena, uint16_t, size);
    n->slot_mask = size - 1;
    for (size_t i = 0; i < n->member_count; i++) {
        size_t at = n->members[i].hash & n->slot_mask;
        while (n->slots[at])
            at = (at + 1) & n->slot_mask;
        n->slots[at] = (uint16_t)(i + 1);
    }
}

const struct node *node_member(const struct node *n, const char *name)
{
    if (!n->member_count)
        return NULL;
    uint32_t hash = schema_hash(name, strlen(name));
    for (size_t at = hash & n->slot_mask; n->slots[at]; at = (at + 1) & n->slot_mask) {
        const struct node_member *m = &n->members[n->slots[at] - 1];
        if (m->hash == hash && !strcmp(m->name, name))
            return m->node;
    }
    return NULL;
}

static bool compile_members(struct compiler *c, const cJSON *schema, int depth, struct node *n)
{
    const cJSON *properties = json_get(schema, "properties"), *item;
    int count = cJSON_IsObject(properties) ? cJSON_GetArraySize(properties) : 0;
    if (count == 0)
        return true;
    if (count > LIMIT_CUSTOM_PROPERTIES) {
        error_set(c->err, ERR_INVALID, "an object of more than %d properties is not taken",
            LIMIT_CUSTOM_PROPERTIES);
        return false;
    }
    n->members = arena_new_array(c->arena, struct node_member, (size_t)count);
    cJSON_ArrayForEach(item, properties)
    {
        struct node_member *m = &n->members[n->member_count];
        m->name = item->string;
        m->hash = schema_hash(m->name, strlen(m->name));
        if (!(m->node = compile(c, item, depth)))
            return false;
        n->deep_defaults |= m->node->deep_defaults;
        n->member_count++;
    }
    index_members(c, n);
    return true;
}

static bool compile_below(struct compiler *c, const cJSON *schema, int depth, struct node *n)
{
    const cJSON *additional = json_get(schema, "additionalProperties");
    const cJSON *items = json_get(schema, "items"), *not_ = json_get(schema, "not");
    if (!compile_members(c, schema, depth, n) ||
        !compile_list(c, schema, "allOf", depth, &n->all_of) ||
        !compile_list(c, schema, "anyOf", depth, &n->any_of) ||
        !compile_list(c, schema, "oneOf", depth, &n->one_of))
        return false;
    n->additional_any = cJSON_IsTrue(additional);
    if (cJSON_IsObject(additional) && !(n->additional = compile(c, additional, depth)))
        return false;
    if (cJSON_IsObject(items) && !(n->items = compile(c, items, depth)))
        return false;
    if (cJSON_IsObject(not_) && !(n->not_ = compile(c, not_, depth)))
        return false;
    n->deep_defaults |= n->otherwise || (n->additional && n->additional->deep_defaults) ||
                        (n->items && n->items->deep_defaults);
    return true;
}

static bool compile_pattern(struct compiler *c, const cJSON *schema, struct node *n)
{
    const char *text = json_string(schema, "pattern");
    struct pattern *p;
    if (!text || !*text)
        return true;
    c->pattern_bytes += strlen(text);
    if (c->pattern_bytes > LIMIT_CUSTOM_PATTERNS_BYTES) {
        error_set(c->err, ERR_INVALID, "patterns of more than %d bytes in all are not taken",
            LIMIT_CUSTOM_PATTERNS_BYTES);
        return false;
    }
    if (pattern_compile(c->arena, text, &p, c->err) < 0)
        return false;
    n->pattern = p;
    return true;
}

static void read_scalars(struct compiler *c, const cJSON *schema, struct node *n)
{
    const char *list = json_string(schema, "x-kubernetes-list-type");
    const char *map = json_string(schema, "x-kubernetes-map-type");
    const char *format = json_string(schema, "format");
    size_t keys;
    n->type = type_of(schema);
    n->nullable = json_bool(schema, "nullable", false);
    n->preserve = json_bool(schema, "x-kubernetes-preserve-unknown-fields", false);
    n->embedded = json_bool(schema, "x-kubernetes-embedded-resource", false);
    n->int_or_string = json_bool(schema, "x-kubernetes-int-or-string", false);
    n->list = c_eq(list, "map")   ? LIST_MAP
              : c_eq(list, "set") ? LIST_SET
              : list              ? LIST_ATOMIC
                                  : LIST_PLAIN;
    n->map_atomic = c_eq(map, "atomic");
    n->has_minimum = read_number(schema, "minimum", &n->minimum);
    n->has_maximum = read_number(schema, "maximum", &n->maximum);
    n->exclusive_minimum = json_bool(schema, "exclusiveMinimum", false);
    n->exclusive_maximum = json_bool(schema, "exclusiveMaximum", false);
    read_number(schema, "multipleOf", &n->multiple_of);
    read_count(schema, "minLength", &n->min_length);
    read_count(schema, "maxLength", &n->max_length);
    read_count(schema, "minItems", &n->min_items);
    read_count(schema, "maxItems", &n->max_items);
    read_count(schema, "minProperties", &n->min_members);
    read_count(schema, "maxProperties", &n->max_members);
    n->format = format && *format ? format : NULL;
    n->enums = json_get(schema, "enum");
    if (!cJSON_IsArray(n->enums) || !n->enums->child)
        n->enums = NULL;
    n->otherwise = json_get(schema, "default");
    if (cJSON_IsNull(n->otherwise))
        n->otherwise = NULL;
    n->rules = json_get(schema, "x-kubernetes-validations");
    n->required = names_of(c, json_get(schema, "required"), &n->required_count);
    n->keys = names_of(c, json_get(schema, "x-kubernetes-list-map-keys"), &keys);
    if (n->list == LIST_MAP && !n->keys)
        n->list = LIST_ATOMIC;
}

static struct node *compile(struct compiler *c, const cJSON *schema, int depth)
{
    if (depth > LIMIT_CUSTOM_DEPTH || ++c->nodes > LIMIT_CUSTOM_NODES) {
        error_set(c->err, ERR_INVALID,
            depth > LIMIT_CUSTOM_DEPTH ? "a schema nested more than %d deep is not taken"
                                       : "more than %d schemas in one definition are not taken",
            depth > LIMIT_CUSTOM_DEPTH ? LIMIT_CUSTOM_DEPTH : LIMIT_CUSTOM_NODES);
        return NULL;
    }
    struct node *n = node_new(c->arena);
    n->source = schema;
    read_scalars(c, schema, n);
    if (!compile_pattern(c, schema, n) || !compile_below(c, schema, depth + 1, n))
        return NULL;
    return n;
}

int node_compile(struct arena *a, const cJSON *schema, struct node **ret, struct error *err)
{
    struct compiler c = {.arena = a, .err = err};
    struct node *n = compile(&c, schema, 0);
    if (!n)
        return -err->code;
    *ret = n;
    return 0;
}
