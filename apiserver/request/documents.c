/*
 * Non-resource paths. See documents.h.
 *
 * A document goes from NEW to MAKING to READY and never changes after; requests that meet it in the
 * making wait, pinned, in its list. Each key is one document in one form, so negotiation picks the
 * key. When custom kinds come or go, documents that show them are left to those who hold them, and
 * made anew for who asks next. Upstream: endpoints/discovery, kube-openapi.
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
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err);

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
    struct api *api; /* held: what it is made from */
    uint64_t
        valid_from; /* the api's serial; 0: custom kinds do not show in it, it is valid for good */
    int refs;       /* the table's, and of each request that sends or awaits it; under the lock */
    struct document *next_left;
    UT_hash_handle hh;
};

struct documents {
    struct server *server;
    struct lock lock;
    struct document *all;
    struct document *left; /* outdated while in the making */
};

struct documents *documents_new(struct server *server)
{
    struct documents *d = xcalloc(1, sizeof(*d));

    d->server = server;
    env_lock_init(&d->lock);
    return d;
}

static void document_free(struct document *d)
{
    if (d->task)
        env_join(d->owner->server->env, d->task);
    api_unref(d->api);
    free(d->key);
    free(d->argument);
    strbuf_done(&d->body);
    strbuf_done(&d->compressed);
    free(d);
}

void documents_free(struct documents *docs)
{
    struct document *d, *next;

    if (!docs)
        return;
    HASH_ITER(hh, docs->all, d, next)
    {
        HASH_DEL(docs->all, d);
        document_free(d);
    }
    for (d = docs->left; d; d = next) {
        next = d->next_left;
        document_free(d);
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

/* Lock held. Out of the table; freed with its last user, or once it is made. */
static void leave(struct documents *docs, struct document *d)
{
    HASH_DEL(docs->all, d);
    d->refs--;
    d->next_left = docs->left;
    docs->left = d;
}

/* Lock held: those of the left ones that nobody waits for or sends any more, as a list. */
static struct document *take_unused(struct documents *docs)
{
    struct document **at = &docs->left, *unused = NULL;

    while (*at) {
        struct document *d = *at;
        if (d->refs > 0 || d->state != READY) {
            at = &d->next_left;
            continue;
        }
        *at = d->next_left;
        d->next_left = unused;
        unused = d;
    }
    return unused;
}

static void free_list(struct document *list)
{
    for (struct document *d = list, *next; d; d = next) {
        next = d->next_left;
        document_free(d);
    }
}

/* Lock held. Does the document show what this api serves? One from a newer api does as well. */
static bool is_valid(const struct document *d, uint64_t serial)
{
    return d->valid_from == 0 || d->valid_from >= serial;
}

/* Lock held. All that a change of custom kinds has outdated goes, so that documents of kinds that
 * are no more are not kept. */
static void drop_outdated(struct documents *docs, uint64_t serial)
{
    struct document *d, *next;

    HASH_ITER(hh, docs->all, d, next)
    if (!is_valid(d, serial))
        leave(docs, d);
}

static struct document *find_or_add(struct request *q, const char *key, const char *argument,
    const char *content_type, build_fn *build, bool shows_custom)
{
    struct documents *docs = q->server->documents;
    struct document *d;

    HASH_FIND_STR(docs->all, key, d);
    if (d && is_valid(d, api_serial(q->api)))
        return d;
    drop_outdated(docs, api_serial(q->api));
    d = xcalloc(1, sizeof(*d));
    d->key = xstrdup(key);
    d->argument = xstrdup(argument);
    d->content_type = content_type;
    d->build = build;
    d->owner = docs;
    d->refs = 1;
    d->api = api_ref(q->api);
    d->valid_from = shows_custom ? api_serial(q->api) : 0;
    strbuf_init(&d->body, 0);
    strbuf_init(&d->compressed, 0);
    HASH_ADD_KEYPTR(hh, docs->all, d->key, strlen(d->key), d);
    return d;
}

static void release(void *arg)
{
    struct document *d = arg;
    struct documents *docs = d->owner;
    struct env *env = docs->server->env;

    env_lock(env, &docs->lock);
    d->refs--;
    struct document *unused = take_unused(docs);
    env_unlock(env, &docs->lock);
    free_list(unused);
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

/* key names document and form; shows_custom: changes as custom kinds do; long_work: made by a task,
 * not on the loop. */
static enum stage_result serve(struct request *q, const char *key, const char *argument,
    const char *content_type, build_fn *build, bool shows_custom, bool long_work)
{
    struct documents *docs = q->server->documents;
    struct env *env = q->server->env;
    struct document *d = q->stage_state;
    bool build_here = false;

    env_lock(env, &docs->lock);
    bool waited = d;
    if (!d) {
        d = find_or_add(q, key, argument, content_type, build, shows_custom);
        d->refs++;
        request_on_free(q, release, d);
    }
    if (d->state == NEW) {
        d->state = MAKING;
        build_here = !long_work;
        if (long_work)
            d->task = env_spawn(env, "document", make, d);
    }
    bool ready = d->state == READY;
    if (!ready && !build_here && !waited) {
        add_waiter(q, d);
        q->stage_state = d;
    }
    env_unlock(env, &docs->lock);
    if (build_here)
        make(d);
    return ready || build_here ? send(q, d) : STAGE_WAIT;
}

/* With hundreds of custom kinds discovery takes more than a turn of the loop. */
static bool is_long(const struct request *q)
{
    return api_count(q->api) > 300;
}

/* --- discovery --- */

static int build_legacy_versions(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    autofree char *address =
        str_format("%s:%d", server->config->advertise_address, server->config->secure_port);

    discovery_legacy_versions(d->api, address, out);
    return 0;
}

static int build_groups(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    discovery_groups(d->api, out);
    return 0;
}

static int build_group(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    return discovery_group(d->api, d->argument, out, err);
}

static int build_resources(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    return discovery_resources(d->api, d->argument, out, err);
}

/* argument: "api v2" */
static int build_aggregated(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    const char *space = strchr(d->argument, ' ');
    bool legacy = str_eqc(str_range(d->argument, (size_t)(space - d->argument)), "api");

    discovery_aggregated(d->api, legacy, space + 1, out);
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
        build_aggregated, true, is_long(q));
}

static enum stage_result legacy_stage(struct request *q)
{
    const char *version = aggregated_version(q);

    if (version)
        return serve_aggregated(q, "api", version);
    return serve(q, "/api", "", "application/json", build_legacy_versions, false, false);
}

static enum stage_result groups_stage(struct request *q)
{
    const char *version = aggregated_version(q);

    if (version)
        return serve_aggregated(q, "apis", version);
    return serve(q, "/apis", "", "application/json", build_groups, true, is_long(q));
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

static bool has_custom(const struct api *api, const char *group_version)
{
    for (size_t i = 0; i < api_count(api); i++)
        if (api_at(api, i)->custom && c_eq(api_at(api, i)->group_version, group_version))
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

    if (is_known_group_version(q->api, rest) &&
        (q->path.p[4] == 's') == (strchr(rest, '/') != NULL))
        return serve(q, key, rest, "application/json", build_resources, true, is_long(q));
    if (q->path.p[4] == 's' && is_known_group(q->api, rest))
        return serve(q, key, rest, "application/json", build_group, true, is_long(q));
    return not_found(q);
}

/* --- OpenAPI --- */

static int build_v2_json(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    openapi_v2_json(d->api, out);
    return 0;
}

static int build_v2_protobuf(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    openapi_v2_protobuf(d->api, out);
    return 0;
}

static int build_v3_index(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    openapi_v3_index(d->api, out);
    return 0;
}

static int build_v3_group(
    const struct server *server, const struct document *d, struct strbuf *out, struct error *err)
{
    return openapi_v3_group(d->api, d->argument, out, err);
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
            return serve(q, "openapi v2 protobuf", "", V2_PROTOBUF, build_v2_protobuf, true, true);
    }
    return serve(q, "openapi v2", "", "application/json", build_v2_json, true, true);
}

static enum stage_result openapi_v3_stage(struct request *q)
{
    return serve(q, "openapi v3", "", "application/json", build_v3_index, true, true);
}

/* rest: "api/v1", "apis/apps/v1" */
static enum stage_result openapi_group_stage(struct request *q, const char *rest)
{
    const char *slash = strchr(rest, '/');
    bool known = slash && is_known_group_version(q->api, slash + 1);

    if (!known)
        return not_found(q);
    return serve(q, arena_printf(q->arena, "openapi v3 %s", rest), rest, "application/json",
        build_v3_group, has_custom(q->api, slash + 1), true);
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
    for (size_t i = 0; i < api_count(q->api); i++) {
        const struct resource *r = api_at(q->api, i);
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
