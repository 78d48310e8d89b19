/* Paths to requests: apiserver/request/route.c, and query parameters. */
#include <CUnit/CUnit.h>

#include "apiserver/request/route.h"
#include "apiserver/server.h"

static const struct {
    const char *method, *target;
    const char *verb, *group, *version, *plural, *namespace_, *name, *subresource, *subpath;
} cases[] = {
    {"GET", "/", "get", "", "", "", "", "", "", ""},
    {"GET", "/api", "get", "", "", "", "", "", "", ""},
    {"GET", "/api/v1", "get", "", "v1", "", "", "", "", ""},
    {"GET", "/apis/apps/v1", "get", "apps", "v1", "", "", "", "", ""},
    {"POST", "/healthz", "post", "", "", "", "", "", "", ""},
    {"GET", "/api/v1/pods", "list", "", "v1", "pods", "", "", "", ""},
    {"GET", "/api/v1/pods/", "list", "", "v1", "pods", "", "", "", ""},
    {"GET", "/api/v1/pods?watch", "watch", "", "v1", "pods", "", "", "", ""},
    {"GET", "/api/v1/pods?watch=1", "watch", "", "v1", "pods", "", "", "", ""},
    {"GET", "/api/v1/pods?watch=false", "list", "", "v1", "pods", "", "", "", ""},
    {"GET", "/api/v1/pods?watch=0&watch=1", "list", "", "v1", "pods", "", "", "", ""},
    {"GET", "/api/v1/watch/namespaces/a/pods/b", "watch", "", "v1", "pods", "a", "b", "", ""},
    {"GET", "/api/v1/namespaces", "list", "", "v1", "namespaces", "", "", "", ""},
    {"GET", "/api/v1/namespaces/a", "get", "", "v1", "namespaces", "a", "a", "", ""},
    {"PUT", "/api/v1/namespaces/a/finalize", "update", "", "v1", "namespaces", "a", "a", "finalize",
        ""},
    {"PATCH", "/api/v1/namespaces/a/status", "patch", "", "v1", "namespaces", "a", "a", "status",
        ""},
    {"GET", "/api/v1/namespaces/a/pods", "list", "", "v1", "pods", "a", "", "", ""},
    {"POST", "/api/v1/namespaces/a/pods", "create", "", "v1", "pods", "a", "", "", ""},
    {"DELETE", "/api/v1/namespaces/a/pods", "deletecollection", "", "v1", "pods", "a", "", "", ""},
    {"DELETE", "/api/v1/namespaces/a/pods/b", "delete", "", "v1", "pods", "a", "b", "", ""},
    {"POST", "/api/v1/namespaces/a/pods/b/binding", "create", "", "v1", "pods", "a", "b", "binding",
        ""},
    {"GET", "/api/v1/namespaces/a/pods/b/exec", "create", "", "v1", "pods", "a", "b", "exec", ""},
    {"GET", "/api/v1/namespaces/a/services/b:80/proxy/x//y/", "get", "", "v1", "services", "a",
        "b:80", "proxy", "x//y/"},
    {"GET", "/apis/apps/v1/namespaces/a/deployments/b/scale", "get", "apps", "v1", "deployments",
        "a", "b", "scale", ""},
    {"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode", "get",
        "rbac.authorization.k8s.io", "v1", "clusterroles", "", "system:node", "", ""},
    {"BREW", "/api/v1/pods", "", "", "v1", "pods", "", "", "", ""},
};

static struct request *make(struct server *server, const char *method, const char *target)
{
    struct request *q = request_new(server);

    q->method = str_of(method);
    q->target = str_of(target);
    return q;
}

static void test_paths(void)
{
    struct server server = {.env = env_new_real()};
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct request *q = make(&server, cases[i].method, cases[i].target);
        CU_ASSERT_EQUAL(route_parse(q, &err), 0);
        CU_ASSERT_STRING_EQUAL(q->verb, cases[i].verb);
        CU_ASSERT_STRING_EQUAL(q->group, cases[i].group);
        CU_ASSERT_STRING_EQUAL(q->version, cases[i].version);
        CU_ASSERT_STRING_EQUAL(q->plural, cases[i].plural);
        CU_ASSERT_STRING_EQUAL(q->namespace_, cases[i].namespace_);
        CU_ASSERT_STRING_EQUAL(q->name, cases[i].name);
        CU_ASSERT_STRING_EQUAL(q->subresource_name, cases[i].subresource);
        CU_ASSERT_STRING_EQUAL(q->subpath, cases[i].subpath);
        request_free(q);
    }
    env_free(server.env);
}

static void test_bad_paths(void)
{
    static const char *const bad[] = {"", "x", "*", "/%", "/%zz", "/a%00b"};
    struct server server = {.env = env_new_real()};
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct request *q = make(&server, "GET", bad[i]);
        CU_ASSERT_EQUAL(route_parse(q, &err), -ERR_BAD_REQUEST);
        request_free(q);
    }
    env_free(server.env);
}

static void test_query(void)
{
    static const struct {
        const char *query, *name, *value; /* NULL: absent */
    } queries[] = {
        {"a=1&b=2", "b", "2"},
        {"a=1&a=2", "a", "1"},
        {"a", "a", ""},
        {"a=", "a", ""},
        {"", "a", NULL},
        {"ab=1", "a", NULL},
        {"labelSelector=app%3Dx%2Ctier+in+%28a%29", "labelSelector", "app=x,tier in (a)"},
        {"%61=1", "a", "1"},
        {"a=%zz&a=2", "a", "2"},
        {"a=b=c", "a", "b=c"},
    };
    struct server server = {.env = env_new_real()};

    for (size_t i = 0; i < ARRAY_COUNT(queries); i++) {
        struct request *q = make(&server, "GET", "/");
        struct str value;
        q->query = str_of(queries[i].query);
        bool found = request_query(q, queries[i].name, &value);
        CU_ASSERT_EQUAL(found, queries[i].value != NULL);
        if (found && queries[i].value)
            CU_ASSERT(str_eqc(value, queries[i].value));
        request_free(q);
    }
    env_free(server.env);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* A pinned request outlives its free; hooks run at once. */
static void test_pins(void)
{
    struct server server = {.env = env_new_real()};
    struct request *q = make(&server, "GET", "/");
    int hooks = 0, destroyed = 0;

    request_on_free(q, count, &hooks);
    arena_on_free(q->arena, count, &destroyed);
    request_pin(q);
    request_free(q);
    CU_ASSERT_EQUAL(hooks, 1);
    CU_ASSERT_EQUAL(destroyed, 0);
    request_wake(q);
    request_unpin(q);
    CU_ASSERT_EQUAL(destroyed, 1);
    env_free(server.env);
}

const CU_TestInfo route_tests[] = {
    {"paths", test_paths},
    {"bad paths", test_bad_paths},
    {"query parameters", test_query},
    {"pins", test_pins},
    CU_TEST_INFO_NULL,
};
