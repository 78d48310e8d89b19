/*
 * Forms of an answer. See form.h.
 *
 * Everything is printed as JSON first, mostly by splicing stored bytes; protobuf and YAML are made
 * from that text. A list in YAML is printed an item at a time, its other members in front and
 * behind as their names sort. Upstream: endpoints/handlers/response.go.
 */
#include "apiserver/registry/generic/form.h"

#include "apiserver/request/status.h"
#include "apiserver/server.h"
#include "common/yaml.h"

bool form_parses(const struct request *q)
{
    return q->media != MEDIA_JSON || q->form == FORM_TABLE || q->resource != q->resource->storage;
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

static void json_object(struct request *q, const struct object *o, bool first, struct strbuf *out)
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

static void json_item(struct request *q, const struct object *o, struct strbuf *out)
{
    if (q->form == FORM_TABLE) {
        put_row(q, o, out);
    } else if (q->form == FORM_METADATA) {
        put_metadata(q, o, out);
    } else if (q->resource != o->resource) {
        autojson cJSON *tree = converted(q, o);
        if (!q->resource->custom) {
            json_remove(tree, "kind");
            json_remove(tree, "apiVersion");
        }
        json_print(tree, out);
    } else if (q->resource
                   ->custom) { /* items of custom kinds name theirs, as Go's Unstructured does */
        object_encode(o, out);
    } else {
        object_encode_item(o, out);
    }
}

static void put_list_metadata(const struct form_list *l, struct strbuf *out)
{
    strbuf_add_char(out, '{');
    put_version(l->version, out);
    if (l->token)
        strbuf_addf(out, ",\"continue\":\"%s\"", l->token);
    if (l->remaining >= 0)
        strbuf_addf(out, ",\"remainingItemCount\":%lld", (long long)l->remaining);
    strbuf_add_char(out, '}');
}

static void json_list_head(struct request *q, const struct form_list *l, struct strbuf *out)
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
    strbuf_addc(out, "\"metadata\":");
    put_list_metadata(l, out);
    strbuf_addc(out, q->form == FORM_TABLE ? ",\"rows\":[" : ",\"items\":[");
}

static void json_bookmark(struct request *q, int64_t version, bool initial_end, struct strbuf *out)
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

/* --- other media --- */

/* What the protobuf of the request's form is: its group/version, kind and message. */
struct type {
    const char *group_version, *kind, *list_kind;
    const struct schema *schema;
};

static struct type type_of(const struct request *q)
{
    if (q->form == FORM_METADATA)
        return (struct type){c_eq(q->form_version, "v1") ? "meta.k8s.io/v1" : "meta.k8s.io/v1beta1",
            "PartialObjectMetadata", "PartialObjectMetadataList",
            api_meta(q->server->api)->partial};
    return (struct type){
        q->resource->group_version, q->resource->kind, q->resource->list_kind, q->resource->schema};
}

static void put_yaml(struct str json, struct strbuf *out)
{
    autojson cJSON *tree = NULL;
    struct error err;

    if (json_parse(json, &tree, &err) == 0)
        yaml_print(tree, out);
}

static void put_protobuf(struct request *q, struct str json, struct strbuf *out)
{
    struct type t = type_of(q);
    struct protobuf p;

    protobuf_init(&p);
    protobuf_object(&p, t.group_version, t.kind, t.schema, json);
    strbuf_add(out, protobuf_bytes(&p));
    protobuf_done(&p);
}

void form_object(struct request *q, const struct object *o, bool first, struct strbuf *out)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY;

    if (q->media == MEDIA_JSON) {
        json_object(q, o, first, out);
        strbuf_add_char(out, '\n');
        return;
    }
    json_object(q, o, first, &json);
    if (q->media == MEDIA_YAML)
        put_yaml(strbuf_str(&json), out);
    else
        put_protobuf(q, strbuf_str(&json), out);
}

/* --- events --- */

static void put_event(
    struct request *q, const char *type, struct type object, struct str json, struct strbuf *out)
{
    struct protobuf p;

    if (q->media != MEDIA_PROTOBUF) {
        strbuf_addf(out, "{\"type\":\"%s\",\"object\":", type);
        strbuf_add(out, json);
        strbuf_addc(out, "}\n");
        return;
    }
    protobuf_init(&p);
    protobuf_object(&p, object.group_version, object.kind, object.schema, json);
    protobuf_event(&p, type);
    strbuf_add(out, protobuf_bytes(&p));
    protobuf_done(&p);
}

void form_event(
    struct request *q, const char *type, const struct object *o, bool first, struct strbuf *out)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY;

    json_object(q, o, first, &json);
    put_event(q, type, type_of(q), strbuf_str(&json), out);
}

void form_bookmark(struct request *q, int64_t version, bool initial_end, struct strbuf *out)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY;

    json_bookmark(q, version, initial_end, &json);
    put_event(q, "BOOKMARK", type_of(q), strbuf_str(&json), out);
}

void form_error(struct request *q, const struct error *err, struct strbuf *out)
{
    autojson cJSON *status = status_new(err->code, err->text);
    autostrbuf struct strbuf json = STRBUF_EMPTY;
    struct type type = {"v1", "Status", NULL, api_find_schema(q->server->api, "v1", "Status")};

    json_print(status, &json);
    put_event(q, "ERROR", type, strbuf_str(&json), out);
}

/* --- lists --- */

static void put_protobuf_head(struct request *q, const struct form_list *l, struct strbuf *out)
{
    struct type t = type_of(q);
    autostrbuf struct strbuf metadata = STRBUF_EMPTY;
    struct protobuf p;

    put_list_metadata(l, &metadata);
    protobuf_init(&p);
    protobuf_list_head(
        &p, q->server->api, t.group_version, t.list_kind, strbuf_str(&metadata), l->items_bytes);
    strbuf_add(out, protobuf_bytes(&p));
    protobuf_done(&p);
}

/* The members of a list that sort in front of its items, or those behind. */
static void put_yaml_members(
    struct request *q, const struct form_list *l, bool behind, struct strbuf *out)
{
    const char *items = q->form == FORM_TABLE ? "rows" : "items";
    autostrbuf struct strbuf json = STRBUF_EMPTY;
    autojson cJSON *tree = NULL, *wanted = cJSON_CreateObject();
    struct error err;

    json_list_head(q, l, &json);
    strbuf_addc(&json, "]}");
    if (json_parse(strbuf_str(&json), &tree, &err) < 0)
        return;
    for (cJSON *m = tree->child, *next; m; m = next) {
        int order = strcmp(m->string, items);
        next = m->next;
        if (order != 0 && (order > 0) == behind)
            cJSON_AddItemToObject(wanted, m->string, cJSON_DetachItemViaPointer(tree, m));
    }
    if (wanted->child)
        yaml_print(wanted, out);
    if (!behind)
        strbuf_addf(out, "%s:", items);
}

/* "- " in front of the first line, as much white space in front of the others. */
static void put_yaml_item(struct str json, struct strbuf *out)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str rest, line;
    bool first = true;

    put_yaml(json, &text);
    rest = strbuf_str(&text);
    while (rest.n > 0 && str_split(&rest, '\n', &line)) {
        strbuf_addc(out, first ? "- " : line.n > 0 ? "  " : "");
        strbuf_add(out, line);
        strbuf_add_char(out, '\n');
        first = false;
    }
}

void form_list_head(struct request *q, const struct form_list *l, struct strbuf *out)
{
    if (q->media == MEDIA_PROTOBUF)
        put_protobuf_head(q, l, out);
    else if (q->media == MEDIA_YAML)
        put_yaml_members(q, l, false, out);
    else
        json_list_head(q, l, out);
}

/* In l->writer. */
static struct str protobuf_item_of(struct request *q, struct form_list *l, const struct object *o)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY;

    json_item(q, o, &json);
    protobuf_item(&l->writer, type_of(q).schema, strbuf_str(&json));
    return protobuf_bytes(&l->writer);
}

void form_list_item(
    struct request *q, struct form_list *l, const struct object *o, struct strbuf *out)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY;
    bool first = l->count++ == 0;

    if (q->media == MEDIA_PROTOBUF) {
        strbuf_add(out, protobuf_item_of(q, l, o));
    } else if (q->media == MEDIA_YAML) {
        json_item(q, o, &json);
        if (first)
            strbuf_add_char(out, '\n');
        put_yaml_item(strbuf_str(&json), out);
    } else {
        if (!first)
            strbuf_add_char(out, ',');
        json_item(q, o, out);
    }
}

void form_list_tail(struct request *q, const struct form_list *l, struct strbuf *out)
{
    if (q->media == MEDIA_PROTOBUF) {
        strbuf_add(out, PROTOBUF_TAIL);
    } else if (q->media == MEDIA_YAML) {
        if (l->count == 0)
            strbuf_addc(out, " []\n");
        put_yaml_members(q, l, true, out);
    } else {
        strbuf_addc(out, "]}\n");
    }
}

/* The size of an object's own message is kept with it: the next list needs it again. */
size_t form_item_bytes(struct request *q, struct form_list *l, const struct object *o)
{
    bool plain = q->form == FORM_OBJECT && q->resource == o->resource;
    size_t bytes = plain ? object_protobuf_bytes(o) : 0;

    if (bytes > 0)
        return bytes;
    bytes = protobuf_item_of(q, l, o).n;
    if (plain)
        object_set_protobuf_bytes(o, (uint32_t)bytes);
    return bytes;
}

void form_list_done(struct form_list *l)
{
    protobuf_done(&l->writer);
}
