/*
 * custom_new: from a CustomResourceDefinition to a struct custom with its resources.
 *
 * Everything lies in one arena: the definition's own JSON, which nodes and names borrow from, the
 * nodes, the schemas made from them, the resources. Schemas are a view of the nodes for generic
 * code: an object with properties is a V_OBJECT with fields, additionalProperties a V_MAP, items a
 * V_LIST; what has no structure is V_ANY.
 */
#include "apiserver/custom/custom.h"
#include "apiserver/custom/node.h"
#include "apiserver/registry/registry.h"

/* Selectable fields that objects carry in their header; others are looked up in the body. */
#define SELECTABLE_MAX 16

struct builder {
    struct arena *arena;
    const struct api *base;
    const struct schema *meta;
    struct custom *custom;
    const cJSON *definition, *spec, *names;
    const char *group;
    struct error *err;
};

/* --- schemas --- */

static void fill_field(struct builder *b, struct field *f, const struct node *n);

static void name_field(struct field *f, const char *name)
{
    size_t n = strlen(name);
    f->name = name;
    f->hash = field_hash(name, n);
    f->name_length = (uint8_t)(n > UINT8_MAX ? UINT8_MAX : n);
}

static void index_fields(struct builder *b, struct schema *s)
{
    size_t size = 8;
    while (size < 2u * s->field_count)
        size *= 2;
    uint16_t *slots = arena_new_array(b->arena, uint16_t, size);
    s->slot_mask = (uint16_t)(size - 1);
    for (size_t i = 0; i < s->field_count; i++) {
        size_t at = s->fields[i].hash & s->slot_mask;
        while (slots[at])
            at = (at + 1) & s->slot_mask;
        slots[at] = (uint16_t)(i + 1);
    }
    s->slots = slots;
}

static struct schema *object_schema(struct builder *b, const struct node *n, size_t more)
{
    struct schema *s = arena_zalloc(b->arena, sizeof(*s));
    struct field *fields = arena_new_array(b->arena, struct field, n->member_count + more + 1);
    s->name = "object";
    s->package = "custom";
    s->definition = "";
    s->help = "";
    s->node = n;
    s->fields = fields;
    for (size_t i = 0; i < n->member_count; i++) {
        /* A name longer than any lookup asks for stays out: nobody finds it, pruning keeps it. */
        if (strlen(n->members[i].name) > UINT8_MAX)
            continue;
        name_field(&fields[s->field_count], n->members[i].name);
        fill_field(b, &fields[s->field_count++], n->members[i].node);
    }
    return s;
}

static const struct field *element_of(struct builder *b, const struct node *n)
{
    struct field *f = arena_zalloc(b->arena, sizeof(*f));
    if (n)
        fill_field(b, f, n);
    else
        f->type = V_ANY;
    f->help = "";
    return f;
}

static uint8_t value_type_of(const struct node *n)
{
    switch ((enum node_type)n->type) {
    case NODE_STRING:
        return V_STRING;
    case NODE_INTEGER:
        return V_INT64;
    case NODE_NUMBER:
        return V_DOUBLE;
    case NODE_BOOLEAN:
        return V_BOOL;
    case NODE_ARRAY:
        return n->items ? V_LIST : V_ANY;
    case NODE_OBJECT:
        if (n->additional || n->additional_any)
            return V_MAP;
        return n->member_count || !n->preserve ? V_OBJECT : V_ANY;
    default:
        return n->int_or_string ? V_INT_OR_STRING : V_ANY;
    }
}

static void fill_field(struct builder *b, struct field *f, const struct node *n)
{
    f->type = value_type_of(n);
    f->flags = F_PTR | F_OMITEMPTY | (n->map_atomic ? F_MAP_ATOMIC : 0);
    f->list = n->list;
    f->keys = n->keys;
    f->help = "";
    if (f->type == V_LIST)
        f->items = element_of(b, n->items);
    else if (f->type == V_MAP)
        f->items = element_of(b, n->additional);
    else if (f->type == V_OBJECT) {
        struct schema *s = object_schema(b, n, 0);
        index_fields(b, s);
        f->object = s;
    }
}

static struct field *find_field(struct schema *s, const char *name)
{
    struct field *fields = (struct field *)(uintptr_t)s->fields;
    for (size_t i = 0; i < s->field_count; i++)
        if (c_eq(fields[i].name, name))
            return &fields[i];
    struct field *f = &fields[s->field_count++];
    name_field(f, name);
    return f;
}

/* com.example.v1.Widget, as upstream names definitions. */
static const char *definition_name(struct builder *b, const char *version, const char *kind)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    const char *end = b->group + strlen(b->group);
    while (end > b->group) {
        const char *start = end;
        while (start > b->group && start[-1] != '.')
            start--;
        strbuf_addf(&out, "%.*s.", (int)(end - start), start);
        end = start > b->group ? start - 1 : start;
    }
    strbuf_addf(&out, "%s.%s", version, kind);
    return arena_strdup(b->arena, strbuf_str(&out));
}

static const struct schema *root_schema(
    struct builder *b, const struct node *n, const struct resource *r)
{
    struct schema *s = object_schema(b, n, 3);
    struct field *element = arena_zalloc(b->arena, sizeof(*element));
    static const char *const words[] = {"apiVersion", "kind"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        struct field *f = find_field(s, words[i]);
        f->type = V_STRING;
        f->flags = F_TYPEMETA | F_OMITEMPTY;
        f->help = "";
    }
    struct field *metadata = find_field(s, "metadata");
    metadata->type = V_OBJECT;
    metadata->object = b->meta;
    metadata->items = NULL;
    metadata->help = "";
    index_fields(b, s);
    *element = (struct field){.type = V_OBJECT, .object = s, .help = ""};
    s->name = r->kind;
    s->package = arena_printf(b->arena, "%s.%s", b->group, r->version);
    s->definition = definition_name(b, r->version, r->kind);
    s->element = element;
    s->is_kind = true;
    s->group_version = r->group_version;
    s->deep_rules = s->deep_defaults = true;
    return s;
}

/* --- what stands beside the schema --- */

static const char *const *names_of(struct builder *b, const cJSON *list)
{
    size_t n = 0;
    const cJSON *item;
    if (!cJSON_IsArray(list) || !list->child)
        return NULL;
    const char **names =
        arena_new_array(b->arena, const char *, (size_t)cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list) if (cJSON_IsString(item)) names[n++] = item->valuestring;
    return names;
}

/* ".spec.color" -> "spec.color" */
static const char *without_dot(const char *path)
{
    return path && *path == '.' ? path + 1 : path ? path : "";
}

static void set_selectable(struct builder *b, struct resource *r, const cJSON *version)
{
    const cJSON *list = json_get(version, "selectableFields"), *item;
    size_t n = 0;
    if (!cJSON_IsArray(list) || !list->child)
        return;
    const char **names =
        arena_new_array(b->arena, const char *, (size_t)cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list) names[n++] = without_dot(json_string(item, "jsonPath"));
    r->selectable = r->selectable_paths = names;
}

/* Objects carry the fields of all versions, as many as fit. */
static void join_selectable(struct builder *b, struct resource *storage)
{
    const char **all = arena_new_array(b->arena, const char *, SELECTABLE_MAX + 1);
    size_t n = 0;
    for (size_t i = 0; i <= b->custom->count; i++) {
        const struct resource *r = i == 0 ? storage : &b->custom->resources[i - 1];
        for (size_t k = 0; r->selectable && r->selectable[k] && n < SELECTABLE_MAX; k++) {
            bool known = false;
            for (size_t m = 0; m < n; m++)
                known |= c_eq(all[m], r->selectable[k]);
            if (!known)
                all[n++] = r->selectable[k];
        }
    }
    storage->carried = n ? all : NULL;
}

static void add_subresource(struct builder *b, struct resource *r, struct subresource **ret,
    const char *name, const char *kind, const char *group_version, const struct schema *schema)
{
    *(*ret)++ = (struct subresource){.name = name,
        .verbs = VERB_GET | VERB_UPDATE | VERB_PATCH,
        .kind = kind,
        .group_version = group_version,
        .schema = schema};
    r->subresource_count++;
}

static void set_subresources(struct builder *b, struct resource *r, const cJSON *version)
{
    const cJSON *sub = json_get(version, "subresources"), *scale = json_get(sub, "scale");
    struct subresource *list = arena_new_array(b->arena, struct subresource, 2), *at = list;
    r->subresources = list;
    r->has_status = cJSON_IsObject(json_get(sub, "status"));
    if (r->has_status)
        add_subresource(b, r, &at, "status", r->kind, r->group_version, r->schema);
    if (!cJSON_IsObject(scale))
        return;
    struct scale_paths *paths = arena_zalloc(b->arena, sizeof(*paths));
    const char *selector = json_string(scale, "labelSelectorPath");
    paths->replicas = without_dot(json_string(scale, "specReplicasPath"));
    paths->status_replicas = without_dot(json_string(scale, "statusReplicasPath"));
    paths->selector = selector && *selector ? without_dot(selector) : NULL;
    r->scale = paths;
    add_subresource(b, r, &at, "scale", "Scale", "autoscaling/v1",
        schema_of_definition(b->base, "autoscaling.v1", "Scale"));
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = json_string(object, name);
    return text ? text : "";
}

static void set_columns(struct builder *b, struct resource *r, const cJSON *version)
{
    const cJSON *list = json_get(version, "additionalPrinterColumns"), *item;
    size_t count = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0, n = 0;
    struct column *columns = arena_new_array(b->arena, struct column, count + 2);
    columns[n++] = (struct column){
        .name = "Name", .type = "string", .format = "name", .help = "", .path = "metadata.name"};
    cJSON_ArrayForEach(item, list)
    {
        int64_t priority = 0;
        json_int64(json_get(item, "priority"), &priority);
        const char *help = text_of(item, "description");
        columns[n++] = (struct column){
            .name = text_of(item, "name"),
            .type = text_of(item, "type"),
            .format = text_of(item, "format"),
            .help = *help ? help
                          : arena_printf(b->arena,
                                "Custom resource definition column (in JSONPath format): %s",
                                text_of(item, "jsonPath")),
            .priority = (int)priority,
            .path = text_of(item, "jsonPath"),
            .is_json_path = true,
        };
    }
    if (count == 0)
        columns[n++] = (struct column){.name = "Age",
            .type = "date",
            .format = "",
            .help = "",
            .path = ".metadata.creationTimestamp",
            .is_json_path = true};
    r->columns = columns;
    r->column_count = n;
}

static void set_deprecation(struct builder *b, struct resource *r, const cJSON *version)
{
    const char *text = json_string(version, "deprecationWarning");
    if (json_bool(version, "deprecated", false))
        r->deprecation =
            text ? text : arena_printf(b->arena, "%s %s is deprecated", r->group_version, r->kind);
}

static uint32_t fingerprint_of(const cJSON *spec, const cJSON *names)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(spec, &text);
    json_print(names, &text);
    uint32_t h = schema_hash(text.data, text.n);
    return h ? h : 1;
}

/* --- resources --- */

static void set_names(struct builder *b, struct resource *r, const char *version)
{
    r->group = b->group;
    r->version = version;
    r->group_version = arena_printf(b->arena, "%s/%s", b->group, version);
    r->plural = text_of(b->names, "plural");
    r->singular = text_of(b->names, "singular");
    r->kind = text_of(b->names, "kind");
    r->list_kind = text_of(b->names, "listKind");
    r->short_names = names_of(b, json_get(b->names, "shortNames"));
    r->categories = names_of(b, json_get(b->names, "categories"));
    r->namespaced = c_eq(json_string(b->spec, "scope"), "Namespaced");
    r->name_format = "dns-subdomain";
    r->verbs = VERB_GET | VERB_LIST | VERB_WATCH | VERB_CREATE | VERB_UPDATE | VERB_PATCH |
               VERB_DELETE | VERB_DELETECOLLECTION;
    r->has_generation = r->stored = true;
}

static int build_version(struct builder *b, struct resource *r, const cJSON *version)
{
    const cJSON *schema = json_path(version, "schema.openAPIV3Schema");
    struct node *n;
    set_names(b, r, text_of(version, "name"));
    if (!cJSON_IsObject(schema))
        n = node_new_open(b->arena);
    else if (node_compile(b->arena, schema, &n, b->err) < 0)
        return error_wrap(b->err, "version %s", r->version);
    if (json_bool(b->spec, "preserveUnknownFields", false))
        n->preserve = true;
    r->schema = root_schema(b, n, r);
    r->custom = b->custom;
    set_selectable(b, r, version);
    set_subresources(b, r, version);
    set_columns(b, r, version);
    set_deprecation(b, r, version);
    return 0;
}

/* Versions in the order that clients should prefer them. */
static int by_preference(const void *a, const void *b)
{
    return version_compare(
        text_of(*(const cJSON *const *)a, "name"), text_of(*(const cJSON *const *)b, "name"));
}

static int build_versions(struct builder *b, int id, const struct strategy *strategy)
{
    const cJSON *list = json_get(b->spec, "versions"), *item;
    struct custom *c = b->custom;
    size_t count = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0, n = 0;
    struct resource *storage = NULL;
    if (count == 0)
        return error_set(b->err, ERR_INVALID, "no versions");
    const cJSON **versions = arena_new_array(b->arena, const cJSON *, count);
    cJSON_ArrayForEach(item, list) versions[n++] = item;
    qsort(versions, count, sizeof(*versions), by_preference);
    c->resources = arena_new_array(b->arena, struct resource, count);
    c->served = arena_new_array(b->arena, bool, count);
    for (size_t i = 0; i < count; i++) {
        struct resource *r = &c->resources[c->count++];
        if (build_version(b, r, versions[i]) < 0)
            return -b->err->code;
        c->served[i] = json_bool(versions[i], "served", false);
        if (json_bool(versions[i], "storage", false))
            storage = r;
    }
    if (!storage)
        return error_set(b->err, ERR_INVALID, "no version is the storage version");
    join_selectable(b, storage);
    c->storage = storage;
    uint32_t fingerprint = fingerprint_of(b->spec, b->names);
    for (size_t i = 0; i < count; i++) {
        struct resource *r = &c->resources[i];
        r->id = id;
        r->storage = storage;
        r->storage_group_version = storage->group_version;
        r->strategy = strategy;
        r->fingerprint = fingerprint;
    }
    return 0;
}

static void free_tree(void *tree)
{
    cJSON_Delete(tree);
}

int custom_new(const struct api *base, const cJSON *definition, int id,
    const struct strategy *strategy, struct custom **ret, struct error *err)
{
    struct arena *a = arena_new();
    cJSON *copy = cJSON_Duplicate(definition, true);
    struct builder b = {.arena = a, .base = base, .err = err, .definition = copy};
    b.custom = arena_zalloc(a, sizeof(*b.custom));
    *b.custom = (struct custom){.refs = 1, .arena = a};
    arena_on_free(a, free_tree, copy);
    b.meta = schema_of_definition(base, "meta.v1", "ObjectMeta");
    b.spec = json_get(copy, "spec");
    b.names = json_path(copy, "status.acceptedNames");
    if (!*text_of(b.names, "plural") || !*text_of(b.names, "kind"))
        b.names = json_get(b.spec, "names");
    b.group = text_of(b.spec, "group");
    if (build_versions(&b, id, strategy) < 0) {
        custom_unref(b.custom);
        return -err->code;
    }
    *ret = b.custom;
    return 0;
}
