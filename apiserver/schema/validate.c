/*
 * schema_validate: the rules that stand in the .api files, at every depth, and those of object
 * metadata.
 *
 * For each object: its fields (required, enum, limits, format, duplicates, named check), the type's
 * named rule, then the objects below. Subtrees without any rule are not entered.
 *
 * Upstream: pkg/apis/<group>/validation, apimachinery's api/validation.
 */
#include "apiserver/schema/check.h"
#include "common/names.h"
#include "common/quantity.h"

static void validate_object(
    struct check *c, const struct schema *s, const cJSON *object, const struct frame *at);

static const char *message_text(const struct rules *r)
{
    return r && r->message ? r->message : "";
}

static void validate_limits(
    struct check *c, const struct rules *r, const cJSON *value, const struct frame *at)
{
    int64_t n;
    if (cJSON_IsString(value)) { /* a quantity */
        struct error err;
        struct quantity q;
        if (r->has_min && quantity_parse(str_of(value->valuestring), &q, &err) == 0 && q.nano < 0)
            check_invalid(c, at, value, "must be greater than or equal to 0");
        return;
    }
    if (!json_int64(value, &n) || ((!r->has_min || n >= r->min) && (!r->has_max || n <= r->max)))
        return;
    const char *text = message_text(r);
    if (*text)
        check_invalid(c, at, value, text);
    else if (r->has_min && r->has_max)
        check_error(c, at, FIELD_INVALID, value, "must be between %lld and %lld, inclusive",
            (long long)r->min, (long long)r->max);
    else
        check_error(c, at, FIELD_INVALID, value, "must be %s than or equal to %lld",
            r->has_min && n < r->min ? "greater" : "less",
            (long long)(r->has_min && n < r->min ? r->min : r->max));
}

static void validate_enum(
    struct check *c, const struct rules *r, const cJSON *value, const struct frame *at)
{
    if (!cJSON_IsString(value))
        return;
    for (const char *const *e = r->enums; *e; e++)
        if (!strcmp(*e, value->valuestring))
            return;
    check_not_supported(c, at, value->valuestring, r->enums[0][0] ? r->enums : r->enums + 1);
}

/* The limits, enum and format of a field on one scalar: the field's own value, or an element of its
 * list. */
static void validate_scalar(
    struct check *c, const struct field *f, const cJSON *value, const struct frame *at)
{
    const struct rules *r = f->rules;
    if (!r)
        return;
    if ((r->has_min || r->has_max))
        validate_limits(c, r, value, at);
    bool zero =
        !(f->flags & F_PTR) && cJSON_IsString(value) && !value->valuestring[0] && f->type != V_LIST;
    if (r->enums && !zero)
        validate_enum(c, r, value, at);
    if (r->max_length && strlen(value_string(value)) > r->max_length)
        check_too_long(c, at, r->max_length);
    if (r->format && r->format->is_valid && !zero) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!r->format->is_valid(value, &why))
            check_error(c, at, FIELD_INVALID, value, "%s", why.data);
    }
}

static bool same_keys(const struct field *f, const cJSON *a, const cJSON *b)
{
    for (const char *const *k = f->keys; *k; k++)
        if (!json_equal(json_get(a, *k), json_get(b, *k)))
            return false;
    return true;
}

static bool same_element(const struct field *f, const cJSON *a, const cJSON *b)
{
    return f->list == LIST_MAP ? same_keys(f, a, b) : json_equal(a, b);
}

static uint32_t element_hash(const struct field *f, const cJSON *e)
{
    const char *text = "";
    if (f->list != LIST_MAP)
        text = value_string(e);
    else if (f->keys)
        text = value_string(json_get(e, f->keys[0]));
    return schema_hash(text, strlen(text));
}

static void report_duplicate(
    struct check *c, const struct field *f, const cJSON *e, const struct frame *at)
{
    if (f->list != LIST_MAP) {
        check_duplicate(c, at, e);
    } else if (f->keys[1]) {
        autojson cJSON *keys = cJSON_CreateObject();
        for (const char *const *k = f->keys; *k; k++)
            if (json_get(e, *k))
                cJSON_AddItemToObject(keys, *k, cJSON_Duplicate(json_get(e, *k), true));
        check_duplicate(c, at, keys);
    } else {
        check_duplicate(c, AT(at, f->keys[0]), json_get(e, f->keys[0]));
    }
}

/* Duplicates in a set or a list map: a hash table of its elements, so that 10,000 of them stay
 * cheap. */
static void validate_unique(
    struct check *c, const struct field *f, const cJSON *list, size_t n, const struct frame *at)
{
    size_t size = 8, i = 0;
    while (size < n * 2)
        size *= 2;
    const cJSON **seen = arena_new_array(c->arena, const cJSON *, size);
    for (const cJSON *e = list->child; e; e = e->next, i++) {
        size_t slot = element_hash(f, e) & (size - 1);
        while (seen[slot] && !same_element(f, seen[slot], e))
            slot = (slot + 1) & (size - 1);
        if (seen[slot])
            report_duplicate(c, f, e, AT_INDEX(at, i));
        seen[slot] = e;
    }
}

static void validate_list(
    struct check *c, const struct field *f, const cJSON *list, const struct frame *at)
{
    size_t n = 0;
    for (const cJSON *e = list->child; e; e = e->next)
        n++;
    if (f->rules && f->rules->max_items && n > f->rules->max_items)
        check_too_many(c, at, n, f->rules->max_items);
    if ((f->flags & F_UNIQUE) && n > 1)
        validate_unique(c, f, list, n, at);
    bool deep = f->items->type == V_OBJECT && f->items->object->deep_rules;
    if (!deep && !f->rules)
        return;
    struct frame here = {.up = at};
    for (const cJSON *e = list->child; e; e = e->next, here.index++) {
        if (deep)
            validate_object(c, f->items->object, e, &here);
        else
            validate_scalar(c, f, e, &here);
    }
}

static void validate_map(
    struct check *c, const struct field *f, const cJSON *map, const struct frame *at)
{
    size_t n = f->rules && f->rules->max_items ? members_count(map) : 0;
    if (n > 0 && n > f->rules->max_items)
        check_too_many(c, at, n, f->rules->max_items);
    if (f->rules && f->rules->format && !f->rules->format->is_valid)
        check_labels(c, at, map);
    if (f->items->type != V_OBJECT || !f->items->object->deep_rules)
        return;
    for (const cJSON *m = map->child; m; m = m->next)
        validate_object(c, f->items->object, m, AT_KEY(at, m->string));
}

static void validate_field(
    struct check *c, const struct field *f, const cJSON *value, const struct frame *at)
{
    if (f->type == V_LIST)
        validate_list(c, f, value, at);
    else if (f->type == V_MAP)
        validate_map(c, f, value, at);
    else if (f->type == V_OBJECT)
        validate_object(c, f->object, value, at);
    else
        validate_scalar(c, f, value, at);
    if (f->rules && f->rules->check)
        f->rules->check(c, at, f, value);
}

/* A required number that is no pointer is 0 in Go when it is left out, and judged as that. */
static void validate_absent_number(struct check *c, const struct field *f, const struct frame *at)
{
    autojson cJSON *zero = cJSON_CreateNumber(0);
    if (!(f->flags & F_PTR) && (f->type == V_INT32 || f->type == V_INT_OR_STRING))
        validate_scalar(c, f, zero, at);
}

/* Exactly one of the fields called choices; all but the first are told off. */
static void validate_choice(
    struct check *c, const struct schema *s, cJSON *const *slots, const struct frame *at)
{
    size_t found = 0;
    if (!s->choose_none && !s->choose_many)
        return;
    for (size_t i = 0; i < s->field_count; i++)
        if ((s->fields[i].flags & F_CHOICE) && slots[i] && ++found > 1 && s->choose_many)
            check_forbidden(c, AT(at, s->fields[i].name), s->choose_many);
    if (found == 0 && s->choose_none)
        check_required(c, at, s->choose_none);
}

/* when(type=A|B): false when the field is missing, or there although it must not be. */
static bool validate_condition(struct check *c, const struct field *f, const cJSON *object,
    const cJSON *value, const struct frame *at)
{
    const char *type = value_string(json_get(object, f->rules->when));
    const char *const *v = f->rules->when_values;
    while (*v && strcmp(*v, type) != 0)
        v++;
    bool has = f->type == V_OBJECT ? value != NULL : !value_is_empty(value);
    if (*v && !has)
        check_required(c, AT(at, f->name), message_text(f->rules));
    else if (!*v && value && f->rules->otherwise_text)
        check_forbidden(c, AT(at, f->name), f->rules->otherwise_text);
    else
        return true;
    return false;
}

static void validate_object(
    struct check *c, const struct schema *s, const cJSON *object, const struct frame *at)
{
    if (!s->deep_rules || s->node || !cJSON_IsObject(object))
        return;
    cJSON *slots[SCHEMA_FIELDS_MAX];
    schema_slots(s, object, slots);
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        if ((f->flags & F_NEEDED) && (f->type == V_OBJECT ? !slots[i] : value_is_empty(slots[i])))
            check_required(c, AT(at, f->name), message_text(f->rules));
        else if (f->rules && f->rules->when && !validate_condition(c, f, object, slots[i], at))
            continue;
        else if (slots[i])
            validate_field(c, f, slots[i], AT(at, f->name));
        else if ((f->flags & F_REQUIRED) && f->rules && f->rules->format && f->type != V_STRING)
            validate_absent_number(c, f, AT(at, f->name));
    }
    if (s->rule)
        s->rule(c, at, object);
    validate_choice(c, s, slots, at);
}

static void validate_name(struct check *c, const cJSON *metadata)
{
    const struct frame *at = AT(NULL, "metadata");
    const cJSON *name = json_get(metadata, "name"), *prefix = json_get(metadata, "generateName");
    if (value_is_empty(name) && value_is_empty(prefix))
        check_required(c, AT(at, "name"), "name or generateName is required");
    if (!value_is_empty(name))
        check_format(c, AT(at, "name"), c->resource->name_format, name);
    if (value_is_empty(prefix))
        return;
    /* a generated suffix follows: a trailing dash or dot is fine */
    autofree char *stem = xstrdup(value_string(prefix));
    size_t n = strlen(stem);
    if (n > 0 && stem[n - 1] == '-')
        stem[n - 1] = 'a';
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    autojson cJSON *value = cJSON_CreateString(stem);
    const struct format *f = format_find(str_of(c->resource->name_format));
    if (f && !f->is_valid(value, &why))
        check_invalid(c, AT(at, "generateName"), prefix, why.data);
}

static void validate_namespace(struct check *c, const cJSON *metadata)
{
    const struct frame *at = AT(AT(NULL, "metadata"), "namespace");
    const cJSON *ns = json_get(metadata, "namespace");
    if (!c->resource->namespaced) {
        if (!value_is_empty(ns))
            check_forbidden(c, at, "not allowed on this type");
    } else if (value_is_empty(ns)) {
        check_required(c, at, "");
    } else {
        check_format(c, at, "dns-label", ns);
    }
}

static void validate_metadata(struct check *c, const cJSON *tree)
{
    int64_t generation;
    const cJSON *metadata = json_get(tree, "metadata");
    if (!c->resource->stored)
        return;
    validate_name(c, metadata);
    validate_namespace(c, metadata);
    const cJSON *g = json_get(metadata, "generation");
    if (json_int64(g, &generation) && generation < 0)
        check_invalid(
            c, AT(AT(NULL, "metadata"), "generation"), g, "must be greater than or equal to 0");
}

void schema_validate(const struct resource *r, const cJSON *tree, struct field_errors *errors)
{
    struct check c = {
        .errors = errors, .resource = r, .arena = field_errors_arena(errors), .root = tree};
    validate_metadata(&c, tree);
    validate_object(&c, r->schema, tree, NULL);
}

void schema_validate_type(const struct schema *s, const cJSON *tree, struct field_errors *errors)
{
    struct check c = {.errors = errors, .arena = field_errors_arena(errors), .root = tree};
    validate_object(&c, s, tree, NULL);
}
