/* The index of roles and bindings (apiserver/auth/rbac.c) over a cache, and who holds what
 * (escalation.c). */
#include <CUnit/CUnit.h>

#include <unistd.h>

#include "apiserver/auth/internal.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

#define RBAC "rbac.authorization.k8s.io"

struct fixture {
    struct env *env;
    struct api *api;
    struct store *store;
    struct cache *cache;
    struct auth *auth;
};

static void setup(struct fixture *f)
{
    struct error err = {0};
    *f = (struct fixture){.env = env_new_real()};
    CU_ASSERT_EQUAL_FATAL(api_new(&f->api, &err), 0);
    f->store = fake_store_new(f->env, NS_PER_MS);
    struct cache_config config = {.env = f->env, .api = f->api, .store = f->store};
    CU_ASSERT_EQUAL_FATAL(cache_new(&config, &f->cache, &err), 0);
    struct auth_config auth = {.env = f->env, .cache = f->cache, .api = f->api, .issuer = "test"};
    CU_ASSERT_EQUAL_FATAL(auth_new(&auth, &f->auth, &err), 0);
}

static void teardown(struct fixture *f)
{
    auth_free(f->auth);
    cache_free(f->cache);
    api_free(f->api);
    env_free(f->env);
}

/* Writes an object; text NULL removes it. */
static void put(struct fixture *f, const char *plural, const char *namespace_, const char *name,
    const char *text)
{
    const struct resource *r = api_find_plural(f->api, RBAC, plural);
    struct object *base = cache_newest(f->cache, r, str_of(namespace_), str_of(name)), *next = NULL;
    struct error err = {0};
    if (text) {
        autojson cJSON *tree = json_make("%s", text);
        json_set_string_at(tree, "metadata.name", name);
        if (*namespace_)
            json_set_string_at(tree, "metadata.namespace", namespace_);
        schema_normalise(r->schema, tree);
        CU_ASSERT_EQUAL_FATAL(object_new(r, tree, &next, &err), 0);
    }
    CU_ASSERT_EQUAL_FATAL(test_write(f->env, f->cache, r, base, next, false, NULL), 0);
    object_unref(base);
    object_unref(next);
}

static bool asks(
    struct fixture *f, const char *user, const char *group, struct access_attributes what)
{
    const char *groups[] = {group, NULL};
    struct identity who = {.name = user, .uid = "", .groups = group ? groups : NULL};
    what.group = what.group ? what.group : "";
    what.version = "v1";
    what.resource = what.resource ? what.resource : "";
    what.subresource = what.subresource ? what.subresource : "";
    what.namespace_ = what.namespace_ ? what.namespace_ : "";
    what.name = what.name ? what.name : "";
    return auth_allowed(f->auth, &who, &what, NULL);
}

/* The index follows the cache within a second. */
#define EVENTUALLY(condition)                             \
    do {                                                  \
        for (int i_ = 0; i_ < 1000 && !(condition); i_++) \
            usleep(1000);                                 \
        CU_ASSERT(condition);                             \
    } while (0)

#define WHAT(...)              \
    (struct access_attributes) \
    {                          \
        __VA_ARGS__            \
    }

static const char pod_reader[] =
    "{\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\",\"*/scale\"]}]}";
#define BINDING \
    "{\"roleRef\":{\"apiGroup\":\"" RBAC "\",\"kind\":\"%s\",\"name\":\"%s\"},\"subjects\":[%s]}"

static void bind(struct fixture *f, const char *namespace_, const char *name, const char *kind,
    const char *role, const char *subject)
{
    autofree char *text = str_format(BINDING, kind, role, subject);
    put(f, *namespace_ ? "rolebindings" : "clusterrolebindings", namespace_, name, text);
}

static void test_decisions(void)
{
    struct fixture f;
    struct access_attributes get =
        WHAT(.verb = "get", .resource = "pods", .namespace_ = "a", .name = "x");

    setup(&f);
    CU_ASSERT(!asks(&f, "jane", NULL, get));
    bind(&f, "a", "b", "Role", "r", "{\"kind\":\"User\",\"name\":\"jane\"}");
    put(&f, "roles", "a", "r", pod_reader); /* behind its binding */
    EVENTUALLY(asks(&f, "jane", NULL, get));
    CU_ASSERT(asks(&f, "jane", NULL,
        WHAT(.verb = "get", .resource = "deployments", .subresource = "scale", .namespace_ = "a")));
    CU_ASSERT(!asks(&f, "jane", NULL,
        WHAT(.verb = "get", .resource = "pods", .subresource = "log", .namespace_ = "a")));
    CU_ASSERT(!asks(&f, "jane", NULL, WHAT(.verb = "list", .resource = "pods", .namespace_ = "a")));
    CU_ASSERT(!asks(&f, "jane", NULL,
        WHAT(.verb = "get", .group = "x", .resource = "pods", .namespace_ = "a")));
    CU_ASSERT(!asks(&f, "jane", NULL, WHAT(.verb = "get", .resource = "pods", .namespace_ = "b")));
    CU_ASSERT(!asks(&f, "jane", NULL, WHAT(.verb = "get", .resource = "pods")));
    CU_ASSERT(!asks(&f, "janet", "jane", get));
    put(&f, "roles", "a", "r", NULL);
    EVENTUALLY(!asks(&f, "jane", NULL, get));
    put(&f, "roles", "a", "r", pod_reader);
    EVENTUALLY(asks(&f, "jane", NULL, get));
    bind(&f, "a", "b", "Role", "r",
        "{\"kind\":\"Group\",\"name\":\"devs\"},{\"kind\":\"Group\",\"name\":\"devs\"},"
        "{\"kind\":\"ServiceAccount\",\"name\":\"app\",\"namespace\":\"z\"},{\"kind\":\"Odd\","
        "\"name\":\"odd\"}");
    EVENTUALLY(!asks(&f, "jane", NULL, get));
    EVENTUALLY(asks(&f, "x", "devs", get));
    CU_ASSERT(asks(&f, "system:serviceaccount:z:app", NULL, get));
    CU_ASSERT(!asks(&f, "devs", NULL, get));
    CU_ASSERT(!asks(&f, "odd", "odd", get));
    put(&f, "rolebindings", "a", "b", NULL);
    EVENTUALLY(!asks(&f, "x", "devs", get));
    CU_ASSERT(asks(&f, "x", "system:masters", get));
    teardown(&f);
}

static void test_paths(void)
{
    struct fixture f;
    static const char role[] =
        "{\"rules\":[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/a\",\"/b/*\"]}]}";

    setup(&f);
    put(&f, "clusterroles", "", "p", role);
    bind(&f, "n", "p", "ClusterRole", "p", "{\"kind\":\"User\",\"name\":\"local\"}");
    bind(&f, "", "p", "ClusterRole", "p", "{\"kind\":\"User\",\"name\":\"jane\"}");
    EVENTUALLY(asks(&f, "jane", NULL, WHAT(.verb = "get", .path = "/a")));
    CU_ASSERT(asks(&f, "jane", NULL, WHAT(.verb = "get", .path = "/b/c/d")));
    CU_ASSERT(!asks(&f, "jane", NULL, WHAT(.verb = "get", .path = "/a/b")));
    CU_ASSERT(!asks(&f, "jane", NULL, WHAT(.verb = "get", .path = "/b")));
    CU_ASSERT(!asks(&f, "jane", NULL, WHAT(.verb = "post", .path = "/a")));
    CU_ASSERT(!asks(&f, "local", NULL, WHAT(.verb = "get", .path = "/a")));
    teardown(&f);
}

/* The store's watch breaks: the index is taken anew, nobody loses a right for a moment, and what
 * was revoked goes. */
static void test_lost_watch(void)
{
    struct fixture f;
    struct access_attributes get = WHAT(.verb = "get", .resource = "pods", .namespace_ = "a");
    size_t refused = 0;

    setup(&f);
    put(&f, "clusterroles", "", "r", pod_reader);
    bind(&f, "", "r", "ClusterRole", "r", "{\"kind\":\"User\",\"name\":\"jane\"}");
    EVENTUALLY(asks(&f, "jane", NULL, get));
    for (int i = 0; i < 20; i++) {
        bind(&f, "a", "b", "ClusterRole", "r", "{\"kind\":\"User\",\"name\":\"mary\"}");
        fake_store_lose_watch(f.store);
        for (int j = 0; j < 20000; j++)
            refused += !asks(&f, "jane", NULL, get);
        EVENTUALLY(asks(&f, "mary", NULL, get));
        put(&f, "rolebindings", "a", "b", NULL);
        EVENTUALLY(!asks(&f, "mary", NULL, get));
    }
    CU_ASSERT_EQUAL(refused, 0);
    teardown(&f);
}

/* A name longer than the index looks at must not be taken for the one it is cut to. */
static void test_long_names(void)
{
    struct fixture f;
    autofree char *name = xcalloc(1, 3000);
    memset(name, 'a', 1021);
    autofree char *subject = str_format(
        "{\"kind\":\"User\",\"name\":\"%s\"},{\"kind\":\"Group\",\"name\":\"%s\"}", name, name);
    struct access_attributes get = WHAT(.verb = "get", .resource = "pods");

    setup(&f);
    put(&f, "clusterroles", "", "r", pod_reader);
    bind(&f, "", "r", "ClusterRole", "r", subject);
    EVENTUALLY(asks(&f, name, NULL, get));
    CU_ASSERT(asks(&f, "x", name, get));
    memset(name, 'a', 2999);
    CU_ASSERT(!asks(&f, name, NULL, get));
    CU_ASSERT(!asks(&f, "x", name, get));
    teardown(&f);
}

static bool holds(struct fixture *f, const char *namespace_, const char *rules)
{
    struct identity who = {.name = "jane", .uid = ""};
    autojson cJSON *tree = json_make("%s", rules);
    autostrbuf struct strbuf missing = STRBUF_EMPTY;
    bool all = auth_holds(f->auth, &who, namespace_, tree, &missing);
    CU_ASSERT(all == (missing.n == 0));
    return all;
}

static void test_holds(void)
{
    struct fixture f;
    /* one case a line */
    /* clang-format off */
    static const struct {
        bool wanted;
        const char *rules;
    } cases[] = {
        {true, "[]"},
        {true, "[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]"},
        {true, "[{\"verbs\":[\"get\",\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]"}, /* two rules together */
        {true, "[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"resourceNames\":[\"x\"]}]"},
        {true, "[{\"verbs\":[\"update\"],\"apiGroups\":[\"apps\"],\"resources\":[\"deployments/scale\"]}]"},
        {true, "[{\"verbs\":[\"delete\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"resourceNames\":[\"mine\"]}]"},
        {true, "[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/a/b\"]},{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/a/*\"]}]"},
        {true, "[{\"verbs\":[\"*\"],\"apiGroups\":[\"full\"],\"resources\":[\"*\"]}]"},
        {false, "[{\"verbs\":[\"delete\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]"},
        {false, "[{\"verbs\":[\"delete\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"resourceNames\":[\"mine\",\"x\"]}]"},
        {false, "[{\"verbs\":[\"*\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]"},
        {false, "[{\"verbs\":[\"get\"],\"apiGroups\":[\"*\"],\"resources\":[\"pods\"]}]"},
        {false, "[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"*\"]}]"},
        {false, "[{\"verbs\":[\"update\"],\"apiGroups\":[\"apps\"],\"resources\":[\"deployments\"]}]"},
        {false, "[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/a\"]}]"},
        {false, "[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"*\"]}]"},
        {false, "[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]},{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}]"},
    };
    /* clang-format on */

    setup(&f);
    put(&f, "clusterroles", "", "r",
        "{\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]},"
        "{\"verbs\":[\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]},"
        "{\"verbs\":[\"delete\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"resourceNames\":["
        "\"mine\"]},"
        "{\"verbs\":[\"update\"],\"apiGroups\":[\"apps\"],\"resources\":[\"*/scale\"]},"
        "{\"verbs\":[\"*\"],\"apiGroups\":[\"full\"],\"resources\":[\"*\"]},"
        "{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/a/*\"]}]}");
    bind(&f, "", "r", "ClusterRole", "r", "{\"kind\":\"User\",\"name\":\"jane\"}");
    bind(&f, "n", "r", "ClusterRole", "only-n", "{\"kind\":\"User\",\"name\":\"jane\"}");
    put(&f, "clusterroles", "", "only-n",
        "{\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}]}");
    EVENTUALLY(
        asks(&f, "jane", NULL, WHAT(.verb = "get", .resource = "secrets", .namespace_ = "n")));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        CU_ASSERT_EQUAL(holds(&f, "", cases[i].rules), cases[i].wanted);
    CU_ASSERT(holds(&f, "n", cases[ARRAY_COUNT(cases) - 1].rules));
    CU_ASSERT(!holds(&f, "m", cases[ARRAY_COUNT(cases) - 1].rules));
    teardown(&f);
}

const CU_TestInfo rbac_tests[] = {
    {"decisions follow the objects", test_decisions},
    {"paths", test_paths},
    {"a lost watch", test_lost_watch},
    {"long names", test_long_names},
    {"who holds what", test_holds},
    CU_TEST_INFO_NULL,
};
