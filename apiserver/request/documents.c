/*
 * Non-resource paths. See documents.h.
 *
 * A document goes from NEW to MAKING to READY and never changes after; requests that meet it in the
 * making wait, pinned, in its list. Each key is one document in one form, so negotiation picks the
 * key. Upstream: endpoints/discovery, kube-openapi.
 */
#include "apiserver/request/documents.h"

#include <openssl/sha.h>

#include "apiserver/auth/auth.h"
#include "apiserver/request/gzip.h"
#include "apiserver/request/health.h"
#include "apiserver/request/negotiate.h"
#include "apiserver/schema/schema.h"
#include "apiserver/server.h"
#include "common/base64.h"
#include "common/daemon.h"
#include "common/hash.h"

#define COMPRESS_MIN_BYTES 4096
#define V2_PROTOBUF "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

struct document;
typedef int build_fn(
    struct server *server, struct document *d, struct strbuf *out, struct error *err);

struct waiter {
    struct request *q;
    struct waiter *next;
};

struct document {
    char *key, *argument;
    const char *content_type;
    build_fn *build;
    enum { NEW, MAKING, READY } state;
    int result; /* of build; err says why */
    struct error err;
    struct strbuf body, compressed;
    char etag[40];
    struct waiter *waiters;
    struct task *task; /* joined at the end */
    struct documents *owner;
    UT_hash_handle hh;
};

struct documents {
    struct server *server;
    struct lock lock;
    struct document *all;
};

struct documents *documents_new(struct server *server)
{
    struct documents *d = xcalloc(1, sizeof(*d));

    d->server = server;
    env_lock_init(&d->lock);
    return d;
}

void documents_free(struct documents *docs)
{
    struct document *d, *next;

    if (!docs)
        return;
    HASH_ITER(hh, docs->all, d, next)
    {
        HASH_DEL(docs->all, d);
        if (d->task)
            env_join(docs->server->env, d->task);
        free(d->key);
        free(d->argument);
        strbuf_done(&d->body);
        strbuf_done(&d->compressed);
        free(d);
    }
    env_lock_done(&docs->lock);
    free(docs);
}

/* --- making --- */

static void seal(struct document *d)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    autostrbuf struct strbuf hex = STRBUF_EMPTY;

    SHA256((const unsigned char *)d->body.data, d->body.n, hash);
    hex_encode(str_range((const char *)hash, 16), &hex);
    snprintf(d->etag, sizeof(d->etag), "\"%s\"", hex.data);
    if (d->body.n >= COMPRESS_MIN_BYTES)
        gzip_block(strbuf_str(&d->body), 6, &d->compressed);
}

static void make(void *arg)
{
    struct document *d = arg;
    struct env *env = d->owner->server->env;

    d->result = d->build(d->owner->server, d, &d->body, &d->err);
    if (d->result == 0)
        seal(d);
    env_lock(env, &d->owner->lock);
    d->state = READY;
    struct waiter *w = d->waiters;
    d->waiters = NULL;
    env_unlock(env, &d->owner->lock);
    while (w) {
        /* The waiter lies in the request's arena. */
        struct waiter *next = w->next;
        struct request *q = w->q;
        request_wake(q);
        request_unpin(q);
        w = next;
    }
}

static struct document *find_or_add(struct documents *docs, const char *key, const char *argument,
    const char *content_type, build_fn *build)
{
    struct document *d;

    HASH_FIND_STR(docs->all, key, d);
    if (d)
        return d;
    d = xcalloc(1, sizeof(*d));
    d->key = xstrdup(key);
    d->argument = xstrdup(argument);
    d->content_type = content_type;
    d->build = build;
    d->owner = docs;
    strbuf_init(&d->body, 0);
    strbuf_init(&d->compressed, 0);
    HASH_ADD_KEYPTR(hh, docs->all, d->key, strlen(d->key), d);
    return d;
}

static void add_waiter(struct request *q, struct document *d)
{
    struct waiter *w = arena_alloc(q->arena, sizeof(*w));

    *w = (struct waiter){q, d->waiters};
    d->waiters = w;
    request_pin(q);
}

static enum stage_result send(struct request *q, struct document *d)
{
    struct str match = request_header(q, "If-None-Match");

    if (d->result < 0) {
        if (!q->status_details)
            q->status_details = cJSON_CreateObject();
        return request_fail(q, d->err.code, "%s", d->err.text);
    }
    request_add_header(q, "ETag", d->etag);
    request_add_header(q, "Cache-Control", "no-cache");
    request_add_header(q, "Vary", "Accept, Accept-Encoding");
    if (match.n > 0 && memmem(match.p, match.n, d->etag, strlen(d->etag)))
        return request_reply(q, 304, NULL, STR(""));
    if (d->compressed.n > 0 && accepts_gzip(q)) {
        request_add_header(q, "Content-Encoding", "gzip");
        return request_reply(q, 200, d->content_type, strbuf_str(&d->compressed));
    }
    return request_reply(q, 200, d->content_type, strbuf_str(&d->body));
}

/* key names document and form; long_work: made by a task, not on the loop. */
static enum stage_result serve(struct request *q, const char *key, const char *argument,
    const char *content_type, build_fn *build, bool long_work)
{
    struct documents *docs = q->server->documents;
    struct env *env = q->server->env;
    bool build_here = false;

    env_lock(env, &docs->lock);
    struct document *d = find_or_add(docs, key, argument, content_type, build);
    if (d->state == NEW) {
        d->state = MAKING;
        build_here = !long_work;
        if (long_work)
            d->task = env_spawn(env, "document", make, d);
    }
    bool ready = d->state == READY;
    if (!ready && !build_here && !q->stage_state) {
        add_waiter(q, d);
        q->stage_state = d;
    }
    env_unlock(env, &docs->lock);
    if (build_here)
        make(d);
    return ready || build_here ? send(q, d) : STAGE_WAIT;
}

/* --- discovery --- */

static int build_legacy_versions(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    autofree char *address =
        str_format("%s:%d", server->config->advertise_address, server->config->secure_port);

    discovery_legacy_versions(server->api, address, out);
    return 0;
}

static int build_groups(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    discovery_groups(server->api, out);
    return 0;
}

static int build_group(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    return discovery_group(server->api, d->argument, out, err);
}

static int build_resources(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    return discovery_resources(server->api, d->argument, out, err);
}

/* argument: "api v2" */
static int build_aggregated(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    const char *space = strchr(d->argument, ' ');
    bool legacy = str_eqc(str_range(d->argument, (size_t)(space - d->argument)), "api");

    discovery_aggregated(server->api, legacy, space + 1, out);
    return 0;
}

/* The version of aggregated discovery that the client likes best, or NULL for the plain form. */
static const char *aggregated_version(const struct request *q)
{
    struct accept_clause clauses[ACCEPT_CLAUSES_MAX];
    size_t n = accept_parse(request_header(q, "Accept"), clauses, ARRAY_COUNT(clauses));

    for (size_t i = 0; i < n; i++) {
        if (!accept_covers(&clauses[i], "application/json"))
            continue;
        if (clauses[i].as.n == 0)
            return NULL;
        if (!str_eqc(clauses[i].as, "APIGroupDiscoveryList") ||
            !str_eqc(clauses[i].group, "apidiscovery.k8s.io"))
            continue;
        if (str_eqc(clauses[i].version, "v2"))
            return "v2";
        if (str_eqc(clauses[i].version, "v2beta1"))
            return "v2beta1";
    }
    return NULL;
}

static enum stage_result serve_aggregated(struct request *q, const char *root, const char *version)
{
    const char *argument = arena_printf(q->arena, "%s %s", root, version);
    const char *type =
        c_eq(version, "v2")
            ? "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            : "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

    return serve(q, arena_printf(q->arena, "aggregated %s", argument), argument, type,
        build_aggregated, false);
}

static enum stage_result legacy_stage(struct request *q)
{
    const char *version = aggregated_version(q);

    if (version)
        return serve_aggregated(q, "api", version);
    return serve(q, "/api", "", "application/json", build_legacy_versions, false);
}

static enum stage_result groups_stage(struct request *q)
{
    const char *version = aggregated_version(q);

    if (version)
        return serve_aggregated(q, "apis", version);
    return serve(q, "/apis", "", "application/json", build_groups, false);
}

static bool is_known_group(const struct api *api, const char *group)
{
    for (size_t i = 0; i < api_count(api); i++)
        if (*group && c_eq(api_at(api, i)->group, group))
            return true;
    return false;
}

static bool is_known_group_version(const struct api *api, const char *group_version)
{
    for (size_t i = 0; i < api_count(api); i++)
        if (c_eq(api_at(api, i)->group_version, group_version))
            return true;
    return false;
}

static enum stage_result not_found(struct request *q)
{
    if (!q->status_details)
        q->status_details = cJSON_CreateObject();
    return request_fail(q, ERR_NOT_FOUND, "the server could not find the requested resource");
}

/* rest: "apps" or "apps/v1"; for /api: "v1". Unknown ones are not kept: a client could fill the
 * memory with them. */
static enum stage_result group_stage(struct request *q, const char *rest)
{
    const char *key = arena_printf(q->arena, "group %s", rest);

    if (is_known_group_version(q->server->api, rest) &&
        (q->path.p[4] == 's') == (strchr(rest, '/') != NULL))
        return serve(q, key, rest, "application/json", build_resources, false);
    if (q->path.p[4] == 's' && is_known_group(q->server->api, rest))
        return serve(q, key, rest, "application/json", build_group, false);
    return not_found(q);
}

/* --- OpenAPI --- */

static int build_v2_json(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    openapi_v2_json(server->api, out);
    return 0;
}

static int build_v2_protobuf(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    openapi_v2_protobuf(server->api, out);
    return 0;
}

static int build_v3_index(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    openapi_v3_index(server->api, out);
    return 0;
}

static int build_v3_group(
    struct server *server, struct document *d, struct strbuf *out, struct error *err)
{
    return openapi_v3_group(server->api, d->argument, out, err);
}

static enum stage_result openapi_v2_stage(struct request *q)
{
    struct accept_clause clauses[ACCEPT_CLAUSES_MAX];
    size_t n = accept_parse(request_header(q, "Accept"), clauses, ARRAY_COUNT(clauses));

    for (size_t i = 0; i < n; i++) {
        if (accept_covers(&clauses[i], "application/json"))
            break;
        /* Older clients write '@' where a media type allows none. */
        if (str_eqc(clauses[i].type, V2_PROTOBUF) ||
            str_eqc(clauses[i].type, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"))
            return serve(q, "openapi v2 protobuf", "", V2_PROTOBUF, build_v2_protobuf, true);
    }
    return serve(q, "openapi v2", "", "application/json", build_v2_json, true);
}

static enum stage_result openapi_v3_stage(struct request *q)
{
    return serve(q, "openapi v3", "", "application/json", build_v3_index, true);
}

/* rest: "api/v1", "apis/apps/v1" */
static enum stage_result openapi_group_stage(struct request *q, const char *rest)
{
    const char *slash = strchr(rest, '/');
    bool known = slash && is_known_group_version(q->server->api, slash + 1);

    if (!known)
        return not_found(q);
    return serve(q, arena_printf(q->arena, "openapi v3 %s", rest), rest, "application/json",
        build_v3_group, true);
}

/* --- the small ones --- */

static enum stage_result version_stage(struct request *q)
{
    autojson cJSON *v = cJSON_CreateObject();

    json_set_string(v, "major", "1");
    json_set_string(v, "minor", "34");
    json_set_string(v, "gitVersion", SKIFF_KUBERNETES_VERSION "+skiff");
    json_set_string(v, "gitCommit", "");
    json_set_string(v, "gitTreeState", "clean");
    json_set_string(v, "buildDate", "1970-01-01T00:00:00Z");
    json_set_string(v, "goVersion", "");
    json_set_string(v, "compiler", "gcc");
#if defined(__aarch64__)
    json_set_string(v, "platform", "linux/arm64");
#else
    json_set_string(v, "platform", "linux/amd64");
#endif
    return request_reply_json(q, 200, v);
}

static enum stage_result metrics_stage(struct request *q)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    metrics_print(q->server->metrics, &out);
    struct str body = arena_str(q->arena, strbuf_str(&out));
    strbuf_done(&out);
    return request_reply(q, 200, "text/plain; version=0.0.4; charset=utf-8", body);
}

static enum stage_result openid_stage(struct request *q)
{
    const struct server_config *c = q->server->config;
    autojson cJSON *d = json_make("{\"response_types_supported\":[\"id_token\"],"
                                  "\"subject_types_supported\":[\"public\"],"
                                  "\"id_token_signing_alg_values_supported\":[\"ES256\"]}");
    autofree char *uri =
        str_format("https://%s:%d/openid/v1/jwks", c->advertise_address, c->secure_port);

    json_set_string(d, "issuer", c->issuer);
    json_set_string(d, "jwks_uri", uri);
    return request_reply_json(q, 200, d);
}

static enum stage_result jwks_stage(struct request *q)
{
    autojson cJSON *keys = auth_jwks(q->server->auth);

    request_reply_json(q, 200, keys);
    q->content_type = "application/jwk-set+json";
    return STAGE_RESPOND;
}

static enum stage_result root_stage(struct request *q)
{
    static const char *const fixed[] = {"/.well-known/openid-configuration", "/api", "/api/v1",
        "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks",
        "/readyz", "/version"};
    autojson cJSON *d = cJSON_CreateObject();
    cJSON *paths = cJSON_AddArrayToObject(d, "paths");
    const char *last = "";

    for (size_t i = 0; i < ARRAY_COUNT(fixed); i++)
        cJSON_AddItemToArray(paths, cJSON_CreateString(fixed[i]));
    for (size_t i = 0; i < api_count(q->server->api); i++) {
        const struct resource *r = api_at(q->server->api, i);
        if (!*r->group || c_eq(r->group_version, last))
            continue;
        last = r->group_version;
        cJSON_AddItemToArray(paths, cJSON_CreateString(arena_printf(q->arena, "/apis/%s", last)));
    }
    return request_reply_json(q, 200, d);
}

static const struct {
    const char *path;
    stage_fn *run;
} exact[] = {
    {"/", root_stage},
    {"/.well-known/openid-configuration", openid_stage},
    {"/api", legacy_stage},
    {"/apis", groups_stage},
    {"/metrics", metrics_stage},
    {"/openapi/v2", openapi_v2_stage},
    {"/openapi/v3", openapi_v3_stage},
    {"/openid/v1/jwks", jwks_stage},
    {"/version", version_stage},
};

static const struct {
    const char *prefix; /* the rest behind it is given */
    enum stage_result (*run)(struct request *q, const char *rest);
} below[] = {
    {"/api/", group_stage},
    {"/apis/", group_stage},
    {"/openapi/v3/", openapi_group_stage},
    {"/healthz", health_serve},
    {"/livez", health_serve},
    {"/readyz", health_serve},
};

enum stage_result documents_stage(struct request *q)
{
    struct str path = q->path;

    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    if (!str_eqc(q->method, "GET") && !str_eqc(q->method, "HEAD")) {
        q->status_details = cJSON_CreateObject();
        return request_fail(
            q, ERR_METHOD_NOT_ALLOWED, "%s", error_default_text(ERR_METHOD_NOT_ALLOWED));
    }
    for (size_t i = 0; i < ARRAY_COUNT(exact); i++)
        if (str_eqc(path, exact[i].path))
            return exact[i].run(q);
    for (size_t i = 0; i < ARRAY_COUNT(below); i++) {
        struct str prefix = str_of(below[i].prefix);
        if (str_starts(path, prefix) &&
            (path.n == prefix.n || prefix.p[prefix.n - 1] == '/' || path.p[prefix.n] == '/'))
            return below[i].run(
                q, arena_strdup(q->arena, str_range(path.p + prefix.n, path.n - prefix.n)));
    }
    return not_found(q);
}
