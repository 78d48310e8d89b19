/*
 * Forms of an answer. See form.h. Upstream: endpoints/handlers/response.go.
 */
#include "apiserver/registry/generic/form.h"

#include "apiserver/schema/schema.h"
#include "apiserver/server.h"

bool form_parses(const struct request *q)
{
    return q->form == FORM_TABLE || q->resource != q->resource->storage;
}

/* In another version than the stored one: a tree again. */
static cJSON *converted(struct request *q, const struct object *o)
{
    cJSON *tree = object_tree(o);
    struct error err;

    if (q->resource != o->resource && schema_convert(o->resource, q->resource, &tree, &err) == 0)
        schema_normalise(q->resource->schema, tree);
    return tree;
}

static void put_version(int64_t version, struct strbuf *out)
{
    strbuf_addf(out, "\"resourceVersion\":\"%lld\"", (long long)version);
}

/* {"kind":"PartialObjectMetadata",...} spliced from the stored metadata, which always starts with a
 * member. */
static void put_metadata(struct request *q, const struct object *o, struct strbuf *out)
{
    struct str metadata = str_range(o->body.p + o->metadata.offset, o->metadata.length);

    strbuf_addf(out,
        "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":{",
        q->form_version);
    put_version(o->revision, out);
    if (metadata.n > 2)
        strbuf_add_char(out, ',');
    strbuf_add(out, str_range(metadata.p + 1, metadata.n - 1));
    strbuf_add_char(out, '}');
}

static void put_row(struct request *q, const struct object *o, struct strbuf *out)
{
    autojson cJSON *tree = converted(q, o);
    autojson cJSON *cells = table_cells(q->resource, tree, env_wall_ns(q->server->env));
    struct str include = {0};

    request_query(q, "includeObject", &include);
    strbuf_addc(out, "{\"cells\":");
    json_print(cells, out);
    strbuf_addc(out, ",\"object\":");
    if (str_eqc(include, "None"))
        strbuf_addc(out, "null");
    else if (str_eqc(include, "Object"))
        json_print(tree, out);
    else
        put_metadata(q, o, out);
    strbuf_add_char(out, '}');
}

static void put_table_head(struct request *q, bool columns, struct strbuf *out)
{
    strbuf_addf(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",", q->form_version);
    if (!columns)
        return;
    autojson cJSON *definitions = table_columns(q->resource);
    strbuf_addc(out, "\"columnDefinitions\":");
    json_print(definitions, out);
    strbuf_add_char(out, ',');
}

void form_object(struct request *q, const struct object *o, bool first, struct strbuf *out)
{
    if (q->form == FORM_TABLE) {
        put_table_head(q, first, out);
        strbuf_addc(out, "\"metadata\":{");
        put_version(o->revision, out);
        strbuf_addc(out, first ? "},\"rows\":[" : "},\"columnDefinitions\":null,\"rows\":[");
        put_row(q, o, out);
        strbuf_addc(out, "]}");
    } else if (q->form == FORM_METADATA) {
        put_metadata(q, o, out);
    } else if (q->resource != o->resource) {
        autojson cJSON *tree = converted(q, o);
        json_print(tree, out);
    } else {
        object_encode(o, out);
    }
}

void form_item(struct request *q, const struct object *o, struct strbuf *out)
{
    if (q->form == FORM_TABLE) {
        put_row(q, o, out);
    } else if (q->form == FORM_METADATA) {
        put_metadata(q, o, out);
    } else if (q->resource != o->resource) {
        autojson cJSON *tree = converted(q, o);
        json_remove(tree, "kind");
        json_remove(tree, "apiVersion");
        json_print(tree, out);
    } else {
        object_encode_item(o, out);
    }
}

void form_list_head(
    struct request *q, int64_t version, const char *token, int64_t remaining, struct strbuf *out)
{
    if (q->form == FORM_TABLE)
        put_table_head(q, true, out);
    else if (q->form == FORM_METADATA)
        strbuf_addf(out,
            "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/%s\",",
            q->form_version);
    else
        strbuf_addf(out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",", q->resource->list_kind,
            q->resource->group_version);
    strbuf_addc(out, "\"metadata\":{");
    put_version(version, out);
    if (token)
        strbuf_addf(out, ",\"continue\":\"%s\"", token);
    if (remaining >= 0)
        strbuf_addf(out, ",\"remainingItemCount\":%lld", (long long)remaining);
    strbuf_addc(out, q->form == FORM_TABLE ? "},\"rows\":[" : "},\"items\":[");
}

void form_list_tail(struct strbuf *out)
{
    strbuf_addc(out, "]}\n");
}

void form_bookmark(struct request *q, int64_t version, bool initial_end, struct strbuf *out)
{
    if (q->form == FORM_TABLE)
        strbuf_addf(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",", q->form_version);
    else if (q->form == FORM_METADATA)
        strbuf_addf(out, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\",",
            q->form_version);
    else
        strbuf_addf(out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",", q->resource->kind,
            q->resource->group_version);
    strbuf_addc(out, "\"metadata\":{");
    put_version(version, out);
    if (q->form != FORM_TABLE)
        strbuf_addc(out, ",\"creationTimestamp\":null");
    if (initial_end)
        strbuf_addc(out, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}");
    strbuf_addc(out, q->form == FORM_TABLE ? "},\"columnDefinitions\":null,\"rows\":[]}" : "}}");
}
