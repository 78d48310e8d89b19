/*
 * What authentication and authorization cost a request, without a connection: `bench-access
 * [BINDINGS [ROLES]]`.
 *
 * Method: a cache with that many bindings (a tenth cluster-wide; one group bound in every
 * namespace; ten rules a role) and the bootstrap policy; then the two stages of the pipeline run
 * over and over on requests made by hand, and the process' CPU time is divided by their number.
 * Then bindings are written and it is timed how long until each counts.
 *
 * Prints NAME <tab> VALUE <tab> UNIT <tab> TARGET.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "apiserver/auth/internal.h"
#include "apiserver/auth/policy.h"
#include "apiserver/server.h"
#include "common/file.h"
#include "common/pki.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

#define RBAC "rbac.authorization.k8s.io"
#define REQUESTS 100000
#define ISSUER "https://kubernetes.default.svc.cluster.local"
#define TARGET_US 3
#define TARGET_CHANGE_MS 100

struct bench {
    struct env *env;
    struct api *api;
    struct cache *cache;
    struct server server;
    char *dir;
};

static void must(int result, const struct error *err)
{
    if (result >= 0)
        return;
    fprintf(stderr, "bench-access: %s\n", err->text);
    exit(1);
}

static void put(struct bench *b, const char *group, const char *plural, cJSON *take_tree)
{
    const struct resource *r = api_find_plural(b->api, group, plural);
    const char *namespace_ = json_string_at(take_tree, "metadata.namespace");
    const char *name = json_string_at(take_tree, "metadata.name");
    struct object *base =
        cache_newest(b->cache, r, str_of(namespace_ ? namespace_ : ""), str_of(name));
    struct object *next = NULL;
    struct error err;

    schema_normalise(r->schema, take_tree);
    must(object_new(r, take_tree, &next, &err), &err);
    must(test_write(b->env, b->cache, r, base, next, false, NULL), &err);
    object_unref(base);
    object_unref(next);
    cJSON_Delete(take_tree);
}

static int put_policy(void *arg, const cJSON *object, struct error *err)
{
    const char *kind = json_string(object, "kind");
    (void)err;
    put(arg, RBAC,
        c_eq(kind, "Role")                 ? "roles"
        : c_eq(kind, "ClusterRole")        ? "clusterroles"
        : c_eq(kind, "ClusterRoleBinding") ? "clusterrolebindings"
                                           : "rolebindings",
        cJSON_Duplicate(object, true));
    return 0;
}

static void put_role(struct bench *b, int i)
{
    cJSON *role = json_make("{\"metadata\":{\"name\":\"role-%d\"},\"rules\":[]}", i);
    for (int k = 0; k < 10; k++)
        cJSON_AddItemToArray(json_get(role, "rules"),
            json_make(
                "{\"verbs\":[\"get\",\"list\",\"watch\"],\"apiGroups\":[\"group-%d.example\"],"
                "\"resources\":[\"things-%d\",\"things-%d/status\"]}",
                k, i, i));
    cJSON_AddItemToArray(json_get(role, "rules"),
        json_make("{\"verbs\":[\"get\",\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}"));
    put(b, RBAC, "clusterroles", role);
}

static void put_binding(struct bench *b, const char *namespace_, int i, const char *subject)
{
    cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"binding-%d\"},\"roleRef\":{\"apiGroup\":\"" RBAC
                  "\",\"kind\":\"ClusterRole\",\"name\":\"role-%d\"},\"subjects\":[%s]}",
            i, i % 1000, subject);
    if (*namespace_)
        json_set_string_at(tree, "metadata.namespace", namespace_);
    put(b, RBAC, *namespace_ ? "rolebindings" : "clusterrolebindings", tree);
}

static void fill(struct bench *b, int bindings, int roles)
{
    struct error err;

    must(policy_walk(put_policy, b, &err), &err);
    for (int i = 0; i < roles; i++)
        put_role(b, i);
    for (int i = 0; i < bindings; i++) {
        autofree char *namespace_ = i % 10 ? str_format("ns-%d", i) : xstrdup("");
        autofree char *subject =
            str_format("{\"kind\":\"ServiceAccount\",\"name\":\"app\",\"namespace\":\"ns-%d\"}%s",
                i, i % 10 ? ",{\"kind\":\"Group\",\"name\":\"everywhere\"}" : "");
        put_binding(b, namespace_, i, subject);
    }
    put(b, "", "serviceaccounts",
        json_make("{\"metadata\":{\"name\":\"app\",\"namespace\":\"ns-7\",\"uid\":\"sa-uid\"}}"));
    put(b, "", "pods",
        json_make("{\"metadata\":{\"name\":\"web-0\",\"namespace\":\"ns-7\",\"uid\":\"pod-uid\"},"
                  "\"spec\":{\"nodeName\":\"node-1\",\"containers\":[]}}"));
}

static void start(struct bench *b, int bindings, int roles)
{
    struct error err;

    *b = (struct bench){.env = env_new_real(), .dir = test_dir()};
    must(api_new(&b->api, &err), &err);
    struct cache_config config = {
        .env = b->env, .api = b->api, .store = fake_store_new(b->env, 1000)};
    must(cache_new(&config, &b->cache, &err), &err);
    fill(b, bindings, roles);
    char *pem;
    autofree char *path = str_format("%s/key", b->dir);
    must(pki_new_key(&pem, &err), &err);
    must(file_write(path, str_of(pem), 0600, &err), &err);
    free(pem);
    struct auth_config auth = {.env = b->env,
        .cache = b->cache,
        .api = b->api,
        .issuer = ISSUER,
        .signing_key_file = path};
    b->server.env = b->env;
    must(auth_new(&auth, &b->server.auth, &err), &err);
}

static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static bool ask(struct bench *b, struct arena *a, const struct request *like)
{
    struct request q = *like;

    arena_clear(a);
    q.arena = a;
    q.server = &b->server;
    q.method = STR("GET");
    q.path = STR("/api/v1/namespaces/ns-7/pods/web-0");
    q.verb = "get";
    q.group = "";
    q.version = "v1";
    q.plural = "pods";
    q.namespace_ = "ns-7";
    q.name = "web-0";
    q.subresource_name = q.subpath = "";
    enum stage_result r = auth_authenticate_stage(&q);
    if (r == STAGE_DONE)
        r = auth_authorize_stage(&q);
    cJSON_Delete(q.status_details);
    return r == STAGE_DONE;
}

static void measure(struct bench *b, const char *name, const struct request *like, bool allowed)
{
    struct arena *a = arena_new();
    double best = 1e9;

    if (ask(b, a, like) != allowed) {
        fprintf(stderr, "bench-access: %s is decided wrongly\n", name);
        exit(1);
    }
    for (int round = 0; round < 5; round++) { /* the least disturbed one */
        int64_t start_ns = cpu_ns();
        for (int i = 0; i < REQUESTS / 5; i++)
            ask(b, a, like);
        double us = (double)(cpu_ns() - start_ns) / 1e3 / (REQUESTS / 5);
        best = us < best ? us : best;
    }
    printf("%s\t%.2f\tus\t%d\n", name, best, TARGET_US);
    arena_free(a);
}

static char *service_account_token(struct bench *b)
{
    struct error err;
    char *token;
    autojson cJSON *claims = json_make(
        "{\"iss\":\"" ISSUER "\",\"aud\":[\"" ISSUER "\"],\"exp\":%lld,\"jti\":\"an-id\","
        "\"sub\":\"system:serviceaccount:ns-7:app\",\"kubernetes.io\":{\"namespace\":\"ns-7\","
        "\"serviceaccount\":{\"name\":\"app\",\"uid\":\"sa-uid\"},"
        "\"node\":{\"name\":\"node-1\",\"uid\":\"node-uid\"},"
        "\"pod\":{\"name\":\"web-0\",\"uid\":\"pod-uid\"}}}",
        (long long)(env_wall_ns(b->env) / NS_PER_S + 3600));

    must(auth_sign(b->server.auth, claims, &token, &err), &err);
    return token;
}

static void measure_requests(struct bench *b)
{
    autofree char *token = service_account_token(b);
    autofree char *header = str_format("Bearer %s", token);
    struct http1_header authorization = {STR("Authorization"), str_of(header)};
    const char *everywhere[] = {"everywhere", "devs", NULL}, *devs[] = {"devs", "qa", NULL};
    const char *nodes[] = {"system:nodes", NULL};

    measure(b, "access: ServiceAccount token",
        &(struct request){.headers = &authorization, .header_count = 1}, true);
    measure(b, "access: certificate, group bound everywhere",
        &(struct request){.peer_common_name = "jane", .peer_organizations = everywhere}, true);
    measure(b, "access: certificate, refused",
        &(struct request){.peer_common_name = "jane", .peer_organizations = devs}, false);
    measure(b, "access: node, its own pod",
        &(struct request){.peer_common_name = "system:node:node-1", .peer_organizations = nodes},
        true);
}

/* How long after its write a binding counts, at worst of 20. */
static void measure_change(struct bench *b)
{
    struct access_attributes what = {.verb = "get",
        .group = "",
        .version = "v1",
        .resource = "pods",
        .subresource = "",
        .namespace_ = "ns-7",
        .name = "x"};
    int64_t worst_ns = 0;

    for (int i = 0; i < 20; i++) {
        autofree char *user = str_format("new-%d", i);
        autofree char *subject = str_format("{\"kind\":\"User\",\"name\":\"%s\"}", user);
        struct identity who = {.name = user, .uid = ""};
        put_binding(b, "ns-7", 1000000 + i, subject);
        int64_t start_ns = env_now_ns(b->env);
        while (!auth_allowed(b->server.auth, &who, &what, NULL))
            usleep(100);
        int64_t took_ns = env_now_ns(b->env) - start_ns;
        worst_ns = took_ns > worst_ns ? took_ns : worst_ns;
    }
    printf("access: a new binding counts after\t%.2f\tms\t%d\n", (double)worst_ns / 1e6,
        TARGET_CHANGE_MS);
}

int main(int argc, char **argv)
{
    int64_t bindings = 10000, roles = 1000;
    struct bench b;
    struct error err;

    if ((argc > 1 && str_parse_int64(str_of(argv[1]), &bindings, &err) < 0) ||
        (argc > 2 && str_parse_int64(str_of(argv[2]), &roles, &err) < 0))
        must(-1, &err);
    start(&b, (int)bindings, (int)roles);
    measure_requests(&b);
    measure_change(&b);
    auth_free(b.server.auth);
    cache_free(b.cache);
    api_free(b.api);
    test_dir_done(b.dir);
    env_free(b.env);
    return 0;
}
