/*
 * OpenAPI documents: version 3 a group/version, version 2 whole, as JSON or as protobuf.
 *
 * Definitions are those that the paths lead to, found while they are written: writing one marks
 * what it refers to, until nothing new is marked.
 */
#include "apiserver/schema/openapi.h"

#include "apiserver/custom/custom.h"

typedef void definition_fn(struct openapi *o, void *arg, const char *name, struct str json);

static void start(struct openapi *o, const struct api *api, int version)
{
    *o = (struct openapi){.api = api, .version = version};
    o->wanted = xcalloc(api->schema_count, sizeof(bool));
}

static void end(struct openapi *o)
{
    free(o->wanted);
}

static void want_common(struct openapi *o)
{
    static const char *const names[] = {
        "DeleteOptions", "Status", "ListMeta", "WatchEvent", "APIResourceList"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const struct schema *s = schema_of_definition(o->api, "meta.v1", names[i]);
        if (s)
            openapi_want(o, s);
    }
}

static bool is_of(const struct resource *r, const char *group_version)
{
    return !r->internal && (!group_version || !strcmp(r->group_version, group_version));
}

static void each_list(struct openapi *o, const char *group_version, definition_fn *fn, void *arg)
{
    for (size_t i = 0; i < api_count(o->api); i++) {
        const struct resource *r = api_at(o->api, i);
        if (!is_of(r, group_version) || !(r->verbs & VERB_LIST))
            continue;
        struct strbuf json;
        strbuf_init(&json, 0);
        o->out = &json;
        openapi_write_list(o, r);
        autofree char *name = str_format("%sList", r->schema->definition);
        fn(o, arg, name, strbuf_str(&json));
        strbuf_done(&json);
    }
}

/* Custom kinds: their schemas are no part of the api's, and stand as their definitions have them.
 */
static void each_custom(struct openapi *o, const char *group_version, definition_fn *fn, void *arg)
{
    const struct schema *meta = schema_of_definition(o->api, "meta.v1", "ObjectMeta");
    for (size_t i = 0; i < api_count(o->api); i++) {
        const struct resource *r = api_at(o->api, i);
        if (!r->custom || !is_of(r, group_version))
            continue;
        struct strbuf json;
        strbuf_init(&json, 0);
        custom_openapi(r, o->version, &json);
        openapi_want(o, meta);
        fn(o, arg, r->schema->definition, strbuf_str(&json));
        strbuf_done(&json);
    }
}

static void each_scalar(struct openapi *o, definition_fn *fn, void *arg)
{
    for (size_t i = 0; i < openapi_scalar_count; i++)
        fn(o, arg, openapi_scalars[i].definition,
            str_of(o->version == 2 ? openapi_scalars[i].json_v2 : openapi_scalars[i].json_v3));
}

/* Every definition that is wanted, and what they want in turn; each once. */
static void each_definition(
    struct openapi *o, const char *group_version, definition_fn *fn, void *arg)
{
    autofree bool *written = xcalloc(o->api->schema_count, sizeof(bool));
    each_list(o, group_version, fn, arg);
    each_custom(o, group_version, fn, arg);
    each_scalar(o, fn, arg);
    want_common(o);
    do {
        o->changed = false;
        for (size_t i = 0; i < o->api->schema_count; i++) {
            if (!o->wanted[i] || written[i])
                continue;
            struct strbuf json;
            strbuf_init(&json, 0);
            o->out = &json;
            openapi_write_schema(o, &o->api->schemas[i]);
            fn(o, arg, o->api->schemas[i].definition, strbuf_str(&json));
            strbuf_done(&json);
            written[i] = true;
        }
    } while (o->changed);
}

static void add_member(struct strbuf *out, const char *name, struct str json)
{
    if (out->data[out->n - 1] != '{')
        strbuf_add_char(out, ',');
    json_print_string(str_of(name), out);
    strbuf_add_char(out, ':');
    strbuf_add(out, json);
}

static void json_path_part(void *arg, const char *path, struct str json)
{
    add_member(arg, path, json);
}

static void json_definition(struct openapi *o, void *arg, const char *name, struct str json)
{
    (void)o;
    add_member(arg, name, json);
}

static void json_paths(struct openapi *o, const char *group_version, struct strbuf *out)
{
    for (size_t i = 0; i < api_count(o->api); i++)
        if (is_of(api_at(o->api, i), group_version))
            openapi_each_path(o, api_at(o->api, i), json_path_part, out);
}

/* Of the group/version that starts at `first`: the binary's, and its custom kinds'. */
static uint32_t version_fingerprint(const struct api *api, size_t first)
{
    const char *gv = api_at(api, first)->group_version;
    uint32_t h = api->base ? api->base->fingerprint : api->fingerprint;
    for (size_t i = first; i < api_count(api) && !strcmp(api_at(api, i)->group_version, gv); i++)
        if (api_at(api, i)->custom)
            h = h * 31 + api_at(api, i)->fingerprint;
    return h;
}

void openapi_v3_index(const struct api *api, struct strbuf *out)
{
    const char *last = NULL;
    strbuf_addc(out, "{\"paths\":{");
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (last && !strcmp(r->group_version, last))
            continue;
        last = r->group_version;
        const char *root = *r->group ? "apis" : "api";
        autofree char *path = str_format("%s/%s", root, r->group_version);
        /* the hash lets clients cache for ever: it changes when the group/version does */
        autofree char *url = str_format("{\"serverRelativeURL\":\"/openapi/v3/%s?hash=%08X%08X\"}",
            path, version_fingerprint(api, i), schema_hash(path, strlen(path)));
        add_member(out, path, str_of(url));
    }
    strbuf_addc(out, "}}");
}

int openapi_v3_group(const struct api *api, const char *path, struct strbuf *out, struct error *err)
{
    const char *gv = !strncmp(path, "apis/", 5)  ? path + 5
                     : !strncmp(path, "api/", 4) ? path + 4
                                                 : "";
    bool found = false;
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        found = found || (!strcmp(r->group_version, gv) && !*r->group == (path[3] == '/'));
    }
    if (!found)
        return error_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
    struct openapi o;
    start(&o, api, 3);
    strbuf_addc(out, "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"v1."
                     "34.0\"},\"paths\":{");
    json_paths(&o, gv, out);
    strbuf_addc(out, "},\"components\":{\"schemas\":{");
    each_definition(&o, gv, json_definition, out);
    strbuf_addc(out, "},\"securitySchemes\":{\"BearerToken\":{\"type\":\"apiKey\",\"description\":"
                     "\"Bearer token\",\"name\":\"authorization\",\"in\":\"header\"}}}}");
    end(&o);
    return 0;
}

void openapi_v2_json(const struct api *api, struct strbuf *out)
{
    struct openapi o;
    start(&o, api, 2);
    strbuf_addc(out, "{\"swagger\":\"2.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"v1.34."
                     "0\"},\"paths\":{");
    json_paths(&o, NULL, out);
    strbuf_addc(out, "},\"definitions\":{");
    each_definition(&o, NULL, json_definition, out);
    strbuf_addc(out, "}}");
    end(&o);
}

static void proto_path_part(void *arg, const char *path, struct str json)
{
    openapi_proto_path(arg, path, json);
}

static void proto_definition(struct openapi *o, void *arg, const char *name, struct str json)
{
    (void)o;
    openapi_proto_definition(arg, name, json);
}

void openapi_v2_protobuf(const struct api *api, struct strbuf *out)
{
    struct openapi o;
    struct strbuf paths, definitions;
    start(&o, api, 2);
    strbuf_init(&paths, 0);
    strbuf_init(&definitions, 0);
    for (size_t i = 0; i < api_count(api); i++)
        if (is_of(api_at(api, i), NULL))
            openapi_each_path(&o, api_at(api, i), proto_path_part, &paths);
    each_definition(&o, NULL, proto_definition, &definitions);
    openapi_proto_document(strbuf_str(&paths), strbuf_str(&definitions), out);
    strbuf_done(&definitions);
    strbuf_done(&paths);
    end(&o);
}
