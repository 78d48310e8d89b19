/*
 * One type as an OpenAPI definition, for both versions of the language.
 *
 * Version 3 wraps a reference in allOf, so that description and default may stand beside it;
 * version 2 does not.
 */
#include "apiserver/schema/openapi.h"

const struct openapi_scalar openapi_scalars[] = {
    {"io.k8s.apimachinery.pkg.api.resource.Quantity",
        "{\"description\":\"An exact decimal with a unit suffix, such as 100m or "
        "1.5Gi.\",\"type\":\"string\"}",
        "{\"description\":\"An exact decimal with a unit suffix, such as 100m or 1.5Gi.\","
        "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]}"},
    {"io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "{\"description\":\"An integer, or a string such as a port name or a percentage.\","
        "\"type\":\"string\",\"format\":\"int-or-string\"}",
        "{\"description\":\"An integer, or a string such as a port name or a percentage.\","
        "\"format\":\"int-or-string\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
    {DEFINITION_META ".Time",
        "{\"description\":\"A time in RFC 3339, whole "
        "seconds.\",\"type\":\"string\",\"format\":\"date-time\"}",
        "{\"description\":\"A time in RFC 3339, whole "
        "seconds.\",\"type\":\"string\",\"format\":\"date-time\"}"},
    {DEFINITION_META ".MicroTime",
        "{\"description\":\"A time in RFC 3339 with "
        "microseconds.\",\"type\":\"string\",\"format\":\"date-time\"}",
        "{\"description\":\"A time in RFC 3339 with "
        "microseconds.\",\"type\":\"string\",\"format\":\"date-time\"}"},
    {DEFINITION_META ".Patch",
        "{\"description\":\"The body of a patch request.\",\"type\":\"object\"}",
        "{\"description\":\"The body of a patch request.\",\"type\":\"object\"}"},
    {"io.k8s.apimachinery.pkg.runtime.RawExtension",
        "{\"description\":\"Any object.\",\"type\":\"object\"}",
        "{\"description\":\"Any object.\",\"type\":\"object\"}"},
};
const size_t openapi_scalar_count = ARRAY_COUNT(openapi_scalars);

static void add(struct openapi *o, const char *text)
{
    strbuf_addc(o->out, text);
}

void openapi_want(struct openapi *o, const struct schema *s)
{
    if (s->node)
        return; /* a custom kind's, written with its resource */
    size_t i = (size_t)(s - o->api->schemas);
    if (!o->wanted || o->wanted[i])
        return;
    o->wanted[i] = true;
    o->changed = true;
}

void openapi_write_ref(struct openapi *o, const char *definition)
{
    strbuf_addf(o->out, "{\"$ref\":\"#/%s/%s\"}",
        o->version == 2 ? "definitions" : "components/schemas", definition);
}

static void write_description(struct openapi *o, const char *help, size_t n)
{
    if (n == 0)
        return;
    add(o, "\"description\":");
    json_print_string(str_range(help, n), o->out);
    add(o, ",");
}

/* The definition that a value refers to, or NULL for plain types. */
static const char *definition_of(struct openapi *o, const struct field *f)
{
    switch ((enum value_type)f->type) {
    case V_OBJECT:
        openapi_want(o, f->object);
        return f->object->definition;
    case V_ANY:
        if (!f->object)
            return openapi_scalars[5].definition;
        openapi_want(o, f->object);
        return f->object->definition;
    case V_QUANTITY:
        return openapi_scalars[0].definition;
    case V_INT_OR_STRING:
        return openapi_scalars[1].definition;
    case V_TIME:
        return openapi_scalars[2].definition;
    case V_MICROTIME:
        return openapi_scalars[3].definition;
    default:
        return NULL;
    }
}

static void write_plain_type(struct openapi *o, const struct field *f)
{
    static const char *const types[] = {
        [V_STRING] = "\"type\":\"string\"",
        [V_BOOL] = "\"type\":\"boolean\"",
        [V_INT32] = "\"type\":\"integer\",\"format\":\"int32\"",
        [V_INT64] = "\"type\":\"integer\",\"format\":\"int64\"",
        [V_DOUBLE] = "\"type\":\"number\",\"format\":\"double\"",
        [V_BYTES] = "\"type\":\"string\",\"format\":\"byte\"",
    };
    add(o, types[f->type]);
}

static void write_enum(struct openapi *o, const struct rules *r)
{
    add(o, ",\"enum\":[");
    for (const char *const *e = r->enums; *e; e++) {
        add(o, e == r->enums ? "" : ",");
        json_print_string(str_of(*e), o->out);
    }
    add(o, "]");
}

static void write_default(struct openapi *o, const struct field *f)
{
    const cJSON *otherwise = f->rules ? f->rules->otherwise : NULL;
    if (otherwise) {
        add(o, ",\"default\":");
        json_print(otherwise, o->out);
    }
}

static void write_value(struct openapi *o, const struct field *f);

static void write_names(struct openapi *o, const char *const *names)
{
    for (const char *const *n = names; *n; n++)
        strbuf_addf(o->out, "%s\"%s\"", n == names ? "" : ",", *n);
}

static void write_extensions(struct openapi *o, const struct field *f)
{
    static const char *const lists[] = {
        [LIST_ATOMIC] = "atomic", [LIST_SET] = "set", [LIST_MAP] = "map"};
    if (f->list == LIST_MAP) {
        add(o, ",\"x-kubernetes-list-map-keys\":[");
        write_names(o, f->keys);
        add(o, "]");
    }
    if (f->list != LIST_PLAIN)
        strbuf_addf(o->out, ",\"x-kubernetes-list-type\":\"%s\"", lists[f->list]);
    if (f->flags & (F_MAP_ATOMIC | F_GRANULAR))
        strbuf_addf(o->out, ",\"x-kubernetes-map-type\":\"%s\"",
            f->flags & F_MAP_ATOMIC ? "atomic" : "granular");
    if (f->merge_key)
        strbuf_addf(o->out, ",\"x-kubernetes-patch-merge-key\":\"%s\"", f->merge_key);
    if (f->patch)
        strbuf_addf(o->out, ",\"x-kubernetes-patch-strategy\":\"%s%s%s%s\"",
            f->patch & PATCH_MERGE ? "merge" : "",
            (f->patch & PATCH_MERGE) && (f->patch & PATCH_RETAIN_KEYS) ? "," : "",
            f->patch & PATCH_RETAIN_KEYS ? "retainKeys" : "",
            f->patch & PATCH_REPLACE ? "replace" : "");
}

/* The inside of an element: `"type":"string"`, or a reference. */
static void write_items(struct openapi *o, const struct field *f)
{
    const char *definition = definition_of(o, f);
    if (definition) {
        openapi_write_ref(o, definition);
        return;
    }
    add(o, "{");
    write_value(o, f);
    add(o, "}");
}

static void write_value(struct openapi *o, const struct field *f)
{
    const char *definition = definition_of(o, f);
    if (definition) {
        if (o->version == 3)
            add(o, "\"allOf\":[");
        else
            strbuf_addf(o->out, "\"$ref\":\"#/definitions/%s\"", definition);
        if (o->version == 3) {
            openapi_write_ref(o, definition);
            add(o, "]");
        }
    } else if (f->type == V_LIST) {
        add(o, "\"type\":\"array\",\"items\":");
        write_items(o, f->items);
    } else if (f->type == V_MAP) {
        add(o, "\"type\":\"object\",\"additionalProperties\":");
        write_items(o, f->items);
    } else {
        write_plain_type(o, f);
        if (f->rules && f->rules->enums)
            write_enum(o, f->rules);
    }
}

static const char api_version_help[] =
    "The version of the API that the object is written in, such as v1 or apps/v1.";
static const char kind_help[] = "The kind of the object, in CamelCase.";

static void write_property(struct openapi *o, const struct field *f)
{
    json_print_string(str_range(f->name, f->name_length), o->out);
    add(o, ":{");
    if (f->flags & F_TYPEMETA) {
        const char *help = f->name[0] == 'k' ? kind_help : api_version_help;
        write_description(o, help, strlen(help));
    }
    write_description(o, f->help, f->help_length);
    write_value(o, f);
    write_default(o, f);
    write_extensions(o, f);
    add(o, "}");
}

static void write_gvk(struct openapi *o, const char *group_version, const char *kind)
{
    const char *slash = strchr(group_version, '/');
    strbuf_addf(o->out, "{\"group\":\"%.*s\",\"kind\":\"%s\",\"version\":\"%s\"}",
        slash ? (int)(slash - group_version) : 0, group_version, kind,
        slash ? slash + 1 : group_version);
}

/* DeleteOptions, Status and their like belong to every group/version. */
static void write_gvks(struct openapi *o, const struct schema *s)
{
    add(o, ",\"x-kubernetes-group-version-kind\":[");
    if (s->group_version) {
        write_gvk(o, s->group_version, s->name);
    } else if (!strcmp(s->name, "DeleteOptions")) {
        const char *last = NULL;
        const struct api *api = o->api->base ? o->api->base : o->api;
        for (size_t i = 0; i < api_count(api); i++) {
            const char *gv = api_at(api, i)->group_version;
            if (gv == last)
                continue;
            add(o, last ? "," : "");
            write_gvk(o, gv, s->name);
            last = gv;
        }
    } else {
        write_gvk(o, "v1", s->name);
    }
    add(o, "]");
}

void openapi_write_schema(struct openapi *o, const struct schema *s)
{
    bool required = false;
    add(o, "{");
    write_description(o, s->help, s->help_length);
    if (s->is_any) {
        add(o, !strcmp(s->name, "FieldsV1") ? "\"type\":\"object\"}"
                                            : "\"x-kubernetes-preserve-unknown-fields\":true}");
        return;
    }
    add(o, "\"type\":\"object\"");
    for (size_t i = 0; i < s->field_count; i++) {
        if (!(s->fields[i].flags & F_REQUIRED))
            continue;
        strbuf_addf(o->out, "%s\"%s\"", required ? "," : ",\"required\":[", s->fields[i].name);
        required = true;
    }
    add(o, required ? "]" : "");
    for (size_t i = 0; i < s->field_count; i++) {
        add(o, i == 0 ? ",\"properties\":{" : ",");
        write_property(o, &s->fields[i]);
    }
    add(o, s->field_count > 0 ? "}" : "");
    if (s->is_atomic)
        add(o, ",\"x-kubernetes-map-type\":\"atomic\"");
    if (s->is_kind)
        write_gvks(o, s);
    add(o, "}");
}

void openapi_write_list(struct openapi *o, const struct resource *r)
{
    openapi_want(o, r->schema);
    strbuf_addf(o->out,
        "{\"description\":\"A list of "
        "%s.\",\"type\":\"object\",\"required\":[\"items\"],\"properties\":{"
        "\"apiVersion\":{\"description\":\"%s\",\"type\":\"string\"},\"items\":{\"description\":"
        "\"The objects.\","
        "\"type\":\"array\",\"items\":",
        r->plural, api_version_help);
    openapi_write_ref(o, r->schema->definition);
    strbuf_addf(
        o->out, "},\"kind\":{\"description\":\"%s\",\"type\":\"string\"},\"metadata\":", kind_help);
    openapi_write_ref(o, DEFINITION_META ".ListMeta");
    add(o, "},\"x-kubernetes-group-version-kind\":[");
    write_gvk(o, r->group_version, r->list_kind);
    add(o, "]}");
}
