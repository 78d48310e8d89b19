/*
 * OpenAPI version 2 as a gnostic Document in protobuf, which older kubectl asks for.
 *
 * Paths and definitions come one by one as the JSON of the same document and are turned into
 * messages here, so that no tree of the whole ever exists. A message is a table of (JSON member,
 * field number, how to write it).
 *
 * Upstream: github.com/google/gnostic, openapiv2/OpenAPIv2.proto.
 */
#include "apiserver/schema/openapi.h"

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

static void put_varint(struct strbuf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        strbuf_add_char(out, (char)(v | 0x80));
    strbuf_add_char(out, (char)v);
}

static void put_bytes(struct strbuf *out, unsigned number, struct str bytes)
{
    put_varint(out, number << 3 | WIRE_BYTES);
    put_varint(out, bytes.n);
    strbuf_add(out, bytes);
}

static void put_text(struct strbuf *out, unsigned number, const char *text)
{
    if (*text)
        put_bytes(out, number, str_of(text));
}

static void put_bool(struct strbuf *out, unsigned number, bool v)
{
    if (!v)
        return;
    put_varint(out, number << 3 | WIRE_VARINT);
    put_varint(out, 1);
}

typedef void put_fn(struct strbuf *out, const cJSON *value);

static void put_message(struct strbuf *out, unsigned number, const cJSON *value, put_fn *fn)
{
    autostrbuf struct strbuf inner = STRBUF_EMPTY;
    fn(&inner, value);
    put_bytes(out, number, strbuf_str(&inner));
}

static void put_each(struct strbuf *out, unsigned number, const cJSON *list, put_fn *fn)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        put_message(out, number, e, fn);
}

static void put_strings(struct strbuf *out, unsigned number, const cJSON *list)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        put_bytes(out, number, str_of(value_string(e)));
}

/* Any: the value as YAML, of which JSON is a part. */
static void put_any(struct strbuf *out, const cJSON *value)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(value, &text);
    put_bytes(out, 2, strbuf_str(&text));
}

/* A member of a map as {name, value}. */
static void put_named(struct strbuf *out, unsigned number, const cJSON *member, put_fn *fn)
{
    autostrbuf struct strbuf inner = STRBUF_EMPTY;
    put_bytes(&inner, 1, str_of(member->string));
    put_message(&inner, 2, member, fn);
    put_bytes(out, number, strbuf_str(&inner));
}

static void put_extensions(struct strbuf *out, unsigned number, const cJSON *object)
{
    for (const cJSON *m = object->child; m; m = m->next)
        if (!strncmp(m->string, "x-", 2))
            put_named(out, number, m, put_any);
}

static void put_schema(struct strbuf *out, const cJSON *s);

static void put_additional(struct strbuf *out, const cJSON *s)
{
    put_message(out, 1, s, put_schema);
}

static void put_type(struct strbuf *out, const cJSON *type)
{
    put_bytes(out, 1, str_of(value_string(type)));
}

static void put_items(struct strbuf *out, const cJSON *s)
{
    put_message(out, 1, s, put_schema);
}

static void put_properties(struct strbuf *out, const cJSON *properties)
{
    for (const cJSON *m = properties->child; m; m = m->next)
        put_named(out, 1, m, put_schema);
}

static void put_schema(struct strbuf *out, const cJSON *s)
{
    static const struct {
        const char *member;
        unsigned number;
        put_fn *fn;
    } inner[] = {
        {"default", 5, put_any},
        {"additionalProperties", 21, put_additional},
        {"type", 22, put_type},
        {"items", 23, put_items},
        {"properties", 25, put_properties},
    };
    put_text(out, 1, value_string(json_get(s, "$ref")));
    put_text(out, 2, value_string(json_get(s, "format")));
    put_text(out, 4, value_string(json_get(s, "description")));
    put_strings(out, 19, json_get(s, "required"));
    put_each(out, 20, json_get(s, "enum"), put_any);
    for (size_t i = 0; i < ARRAY_COUNT(inner); i++)
        if (json_get(s, inner[i].member))
            put_message(out, inner[i].number, json_get(s, inner[i].member), inner[i].fn);
    put_extensions(out, 31, s);
}

static void put_body_parameter(struct strbuf *out, const cJSON *p)
{
    put_text(out, 2, value_string(json_get(p, "name")));
    put_text(out, 3, "body");
    put_bool(out, 4, json_bool(p, "required", false));
    put_message(out, 5, json_get(p, "schema"), put_schema);
}

static void put_query_parameter(struct strbuf *out, const cJSON *p)
{
    put_text(out, 2, "query");
    put_text(out, 3, value_string(json_get(p, "description")));
    put_text(out, 4, value_string(json_get(p, "name")));
    put_text(out, 6, value_string(json_get(p, "type")));
    put_bool(out, 20, json_bool(p, "uniqueItems", false));
}

static void put_path_parameter(struct strbuf *out, const cJSON *p)
{
    put_bool(out, 1, true);
    put_text(out, 2, "path");
    put_text(out, 3, value_string(json_get(p, "description")));
    put_text(out, 4, value_string(json_get(p, "name")));
    put_text(out, 5, value_string(json_get(p, "type")));
    put_bool(out, 19, json_bool(p, "uniqueItems", false));
}

static void put_non_body(struct strbuf *out, const cJSON *p)
{
    bool query = !strcmp(value_string(json_get(p, "in")), "query");
    put_message(out, query ? 3 : 4, p, query ? put_query_parameter : put_path_parameter);
}

static void put_parameter(struct strbuf *out, const cJSON *p)
{
    bool body = !strcmp(value_string(json_get(p, "in")), "body");
    put_message(out, body ? 1 : 2, p, body ? put_body_parameter : put_non_body);
}

static void put_parameter_item(struct strbuf *out, const cJSON *p)
{
    put_message(out, 1, p, put_parameter);
}

static void put_schema_item(struct strbuf *out, const cJSON *s)
{
    put_message(out, 1, s, put_schema);
}

static void put_response(struct strbuf *out, const cJSON *r)
{
    put_text(out, 1, value_string(json_get(r, "description")));
    if (json_get(r, "schema"))
        put_message(out, 2, json_get(r, "schema"), put_schema_item);
}

static void put_response_value(struct strbuf *out, const cJSON *r)
{
    put_message(out, 1, r, put_response);
}

static void put_responses(struct strbuf *out, const cJSON *responses)
{
    for (const cJSON *m = responses->child; m; m = m->next)
        put_named(out, 1, m, put_response_value);
}

static void put_operation(struct strbuf *out, const cJSON *op)
{
    put_text(out, 3, value_string(json_get(op, "description")));
    put_text(out, 5, value_string(json_get(op, "operationId")));
    put_strings(out, 7, json_get(op, "consumes"));
    put_each(out, 8, json_get(op, "parameters"), put_parameter_item);
    put_message(out, 9, json_get(op, "responses"), put_responses);
    put_extensions(out, 13, op);
}

static void put_path_item(struct strbuf *out, const cJSON *item)
{
    static const struct {
        const char *method;
        unsigned number;
    } methods[] = {{"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}};
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
        if (json_get(item, methods[i].method))
            put_message(out, methods[i].number, json_get(item, methods[i].method), put_operation);
    put_each(out, 9, json_get(item, "parameters"), put_parameter_item);
}

static void put_part(
    struct strbuf *out, unsigned number, const char *name, struct str json, put_fn *fn)
{
    struct error err;
    autojson cJSON *tree = NULL;
    if (json_parse(json, &tree, &err) < 0)
        return; /* our own text; a test parses the whole document */
    autostrbuf struct strbuf inner = STRBUF_EMPTY;
    put_bytes(&inner, 1, str_of(name));
    put_message(&inner, 2, tree, fn);
    put_bytes(out, number, strbuf_str(&inner));
}

void openapi_proto_path(struct strbuf *paths, const char *path, struct str json)
{
    put_part(paths, 2, path, json, put_path_item);
}

void openapi_proto_definition(struct strbuf *definitions, const char *name, struct str json)
{
    put_part(definitions, 1, name, json, put_schema);
}

void openapi_proto_document(struct str paths, struct str definitions, struct strbuf *out)
{
    autostrbuf struct strbuf info = STRBUF_EMPTY;
    put_text(&info, 1, "Kubernetes");
    put_text(&info, 2, "v1.34.0");
    put_text(out, 1, "2.0");
    put_bytes(out, 2, strbuf_str(&info));
    put_bytes(out, 8, paths);
    put_bytes(out, 9, definitions);
}
