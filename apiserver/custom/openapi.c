/*
 * Published schemas of custom kinds.
 *
 * Version 3 shows a definition's schema as it is. Version 2 can't say all of it, so what its
 * readers (older kubectl) would take wrong goes, as upstream does: junctors; the type of what may
 * be null or is int-or-string; what lies below x-kubernetes-preserve-unknown-fields. Every object
 * and embedded object shows apiVersion, kind and metadata.
 *
 * Upstream: apiextensions-apiserver's controller/openapi/builder, controller/openapi/v2.
 */
#include "apiserver/custom/custom.h"
#include "apiserver/custom/node.h"
#include "apiserver/schema/openapi.h"

static const char api_version_help[] =
    "The version of the API that this object is written in, such as apps/v1.";
static const char kind_help[] = "What kind of object this is, in CamelCase.";

static cJSON *text_property(const char *help)
{
    cJSON *p = cJSON_CreateObject();
    json_set_string(p, "description", help);
    json_set_string(p, "type", "string");
    return p;
}

static cJSON *metadata_property(int version)
{
    return version == 2
               ? json_make("{\"description\":\"Name, labels and what else every object "
                           "carries.\",\"$ref\":\"#/definitions/" DEFINITION_META ".ObjectMeta\"}")
               : json_make("{\"description\":\"Name, labels and what else every object "
                           "carries.\",\"allOf\":[{\"$ref\":\"#/components/schemas/" DEFINITION_META
                           ".ObjectMeta\"}],\"default\":{}}");
}

static void add_object_properties(cJSON *schema, int version)
{
    cJSON *properties = json_get(schema, "properties");
    if (!cJSON_IsObject(properties)) {
        json_set(schema, "properties", cJSON_CreateObject());
        properties = json_get(schema, "properties");
    }
    json_set(properties, "apiVersion", text_property(api_version_help));
    json_set(properties, "kind", text_property(kind_help));
    json_set(properties, "metadata", metadata_property(version));
}

static void drop(cJSON *schema, const char *const *names)
{
    for (; *names; names++)
        json_remove(schema, *names);
}

/* What version 2 can't say. */
static void simplify(cJSON *schema)
{
    static const char *const junctors[] = {"allOf", "anyOf", "oneOf", "not", NULL};
    static const char *const structure[] = {
        "items", "properties", "additionalProperties", "required", NULL};
    bool preserve = json_bool(schema, "x-kubernetes-preserve-unknown-fields", false);
    drop(schema, junctors);
    if (json_bool(schema, "nullable", false)) {
        json_remove(schema, "type");
        json_remove(schema, "nullable");
        drop(schema, structure);
    }
    if (json_bool(schema, "x-kubernetes-int-or-string", false))
        json_remove(schema, "type");
    if (preserve)
        drop(schema, structure);
}

static void publish(cJSON *schema, int version)
{
    bool embedded = json_bool(schema, "x-kubernetes-embedded-resource", false);
    if (version == 2)
        simplify(schema);
    cJSON *properties = json_get(schema, "properties"), *items = json_get(schema, "items");
    cJSON *additional = json_get(schema, "additionalProperties");
    for (cJSON *p = cJSON_IsObject(properties) ? properties->child : NULL; p; p = p->next)
        publish(p, version);
    if (cJSON_IsObject(items))
        publish(items, version);
    if (cJSON_IsObject(additional))
        publish(additional, version);
    if (embedded &&
        !(version == 2 && json_bool(schema, "x-kubernetes-preserve-unknown-fields", false)))
        add_object_properties(schema, version);
}

void custom_openapi(const struct resource *r, int version, struct strbuf *out)
{
    const struct node *n = r->schema->node;
    autojson cJSON *schema =
        n->source ? cJSON_Duplicate(n->source, true) : json_make("{\"type\":\"object\"}");
    publish(schema, version);
    if (!json_get(schema, "type"))
        json_set_string(schema, "type", "object");
    if (!(version == 2 && n->preserve))
        add_object_properties(schema, version);
    cJSON *kinds = cJSON_CreateArray(), *kind = cJSON_CreateObject();
    json_set_string(kind, "group", r->group);
    json_set_string(kind, "kind", r->kind);
    json_set_string(kind, "version", r->version);
    cJSON_AddItemToArray(kinds, kind);
    json_set(schema, "x-kubernetes-group-version-kind", kinds);
    json_print(schema, out);
}
