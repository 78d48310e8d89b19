/* Expansion, field references and the order of a container's environment. */
#include <CUnit/CUnit.h>

#include "kubelet/pod.h"

static const struct {
    const char *text, *expected;
} expansions[] = {
    {"", ""},
    {"plain", "plain"},
    {"$(A)", "1"},
    {"x$(A)y$(B)z", "x1y2z"},
    {"$(S)", "service"},    /* from the second list */
    {"$(NOPE)", "$(NOPE)"}, /* unknown stays: a shell may want it */
    {"$$(A)", "$(A)"},
    {"$$$(A)", "$1"},
    {"$$$$(A)", "$$(A)"},
    {"$A", "$A"},
    {"$", "$"},
    {"a$", "a$"},
    {"$(A", "$(A"},
    {"$(", "$("},
    {"$()", "$()"},
    {"$(A)$(A)", "11"},
    {"$($(A))", "$($(A))"},
    {"\\$(A)", "\\1"},
    {"$(cmd arg)", "$(cmd arg)"},
};

static void test_expand(void)
{
    struct arena *arena = arena_new();
    struct env_list first = {0}, second = {0};

    env_list_set(&first, arena, "A", "1");
    env_list_set(&first, arena, "B", "2");
    env_list_set(&second, arena, "A", "hidden");
    env_list_set(&second, arena, "S", "service");
    for (size_t i = 0; i < ARRAY_COUNT(expansions); i++)
        CU_ASSERT_STRING_EQUAL(
            expand(arena, expansions[i].text, &first, &second), expansions[i].expected);
    arena_free(arena);
}

static int get_object(
    void *arg, const char *plural, const char *name, const cJSON **ret, struct error *err)
{
    const cJSON *found = json_get(json_get(arg, plural), name);

    if (!found)
        return error_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", plural, name);
    *ret = found;
    return 0;
}

static struct pod_view *new_pod(void)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"web-0\",\"namespace\":\"prod\",\"uid\":\"u1\",\"labels\":{\"b\":"
        "\"2\",\"a\":\"1\"},"
        "\"annotations\":{\"note\":\"say \\\"hi\\\"\"}},\"spec\":{\"serviceAccountName\":\"sa\"}}");

    return projected_new(&kubelet_pod_projection, tree);
}

static void test_build(void)
{
    struct arena *arena = arena_new();
    autojson cJSON *objects =
        json_make("{\"configmaps\":{\"cm\":{\"data\":{\"k\":\"v\",\"bad=name\":\"x\"}}},"
                  "\"secrets\":{\"s\":{\"data\":{\"pass\":\"cEBzcw==\"}}}}");
    autojson cJSON *container = json_make(
        "{\"name\":\"c\",\"resources\":{\"limits\":{\"cpu\":\"1500m\"}},"
        "\"envFrom\":[{\"prefix\":\"P_\",\"configMapRef\":{\"name\":\"cm\"}},{\"secretRef\":{"
        "\"name\":\"gone\",\"optional\":true}}],"
        "\"env\":[{\"name\":\"X\",\"value\":\"$(P_k)/"
        "$(SVC)\"},{\"name\":\"Y\",\"value\":\"$(X)!\"},"
        "{\"name\":\"PW\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"pass\"}}},"
        "{\"name\":\"NO\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"zz\","
        "\"optional\":true}}},"
        "{\"name\":\"CPU\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.cpu\"}}},"
        "{\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}},"
        "{\"name\":\"L\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['a']\"}}},"
        "{\"name\":\"EMPTY\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['zz']\"}}"
        "},"
        "{\"name\":\"SVC2\",\"value\":\"mine\"}]}");
    autojson cJSON *spec = json_make("{\"serviceAccountName\":\"sa\"}");
    struct pod_view *pod = new_pod();
    struct pod_facts facts = {.pod = pod,
        .spec = spec,
        .node_name = "n1",
        .host_ip = "10.0.0.1",
        .pod_ip = "10.1.0.2",
        .get_object = get_object,
        .arg = objects};
    struct env_list services = {0}, env = {0};
    struct error err;
    static const struct {
        const char *name, *value;
    } expected[] = {{"P_k", "v"}, {"X", "v/10.9.9.9"}, {"Y", "v/10.9.9.9!"}, {"PW", "p@ss"},
        {"NO", NULL}, {"CPU", "2"}, {"IP", "10.1.0.2"}, {"L", "1"}, {"EMPTY", ""},
        {"SVC", "10.9.9.9"}, {"SVC2", "mine"}};

    env_list_set(&services, arena, "SVC", "10.9.9.9");
    env_list_set(&services, arena, "SVC2", "hidden");
    CU_ASSERT_EQUAL_FATAL(env_build(&facts, container, &services, arena, &env, &err), 0);
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        CU_ASSERT(c_eq(env_list_get(&env, expected[i].name), expected[i].value));
    autojson cJSON *missing = json_make("{\"env\":[{\"name\":\"A\",\"valueFrom\":{"
                                        "\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"q\"}}}]}");
    CU_ASSERT_EQUAL(env_build(&facts, missing, &services, arena, &env, &err), -ERR_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(err.text, "couldn't find key q in ConfigMap prod/cm");
    projected_unref(pod);
    arena_free(arena);
}

static void test_fields(void)
{
    struct pod_view *pod = new_pod();
    autojson cJSON *spec = json_make("{\"serviceAccountName\":\"sa\"}");
    struct pod_facts facts = {.pod = pod,
        .spec = spec,
        .node_name = "n1",
        .host_ip = "10.0.0.1",
        .pod_ip = "10.1.0.2",
        .pod_ip_other = "fd00::2"};
    static const struct {
        const char *path, *expected;
    } cases[] = {{"metadata.name", "web-0"}, {"metadata.namespace", "prod"}, {"metadata.uid", "u1"},
        {"spec.nodeName", "n1"}, {"spec.serviceAccountName", "sa"}, {"status.hostIP", "10.0.0.1"},
        {"status.podIPs", "10.1.0.2,fd00::2"}, {"metadata.labels", "a=\"1\"\nb=\"2\""},
        {"metadata.annotations", "note=\"say \\\"hi\\\"\""},
        {"metadata.annotations['note']", "say \"hi\""}};
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *text = NULL;
        CU_ASSERT_EQUAL_FATAL(pod_field(&facts, cases[i].path, &text, &err), 0);
        CU_ASSERT_STRING_EQUAL(text, cases[i].expected);
    }
    char *text = NULL;
    CU_ASSERT_EQUAL(pod_field(&facts, "status.nope", &text, &err), -ERR_BAD_REQUEST);
    projected_unref(pod);
}

static void test_services(void)
{
    struct arena *arena = arena_new();
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"my-db\",\"namespace\":\"prod\"},\"spec\":{"
                  "\"clusterIP\":\"10.96.3.4\","
                  "\"ports\":[{\"name\":\"sql\",\"port\":5432,\"protocol\":\"TCP\"}]}}");
    const void *objects[] = {projected_new(&kubelet_service_projection, tree)};
    struct projected_array all = {objects, 1};
    struct env_list list = {0};

    env_add_services(&list, arena, &all, "prod", true);
    CU_ASSERT_STRING_EQUAL(env_list_get(&list, "MY_DB_SERVICE_HOST"), "10.96.3.4");
    CU_ASSERT_STRING_EQUAL(env_list_get(&list, "MY_DB_SERVICE_PORT_SQL"), "5432");
    CU_ASSERT_STRING_EQUAL(env_list_get(&list, "MY_DB_PORT"), "tcp://10.96.3.4:5432");
    CU_ASSERT_STRING_EQUAL(env_list_get(&list, "MY_DB_PORT_5432_TCP_ADDR"), "10.96.3.4");
    struct env_list none = {0};
    env_add_services(&none, arena, &all, "other", true);
    CU_ASSERT_EQUAL(none.count, 0);
    env_add_services(&none, arena, &all, "prod", false);
    CU_ASSERT_EQUAL(none.count, 0);
    projected_unref(objects[0]);
    arena_free(arena);
}

extern const CU_TestInfo env_vars_tests[];
const CU_TestInfo env_vars_tests[] = {
    {"expansion", test_expand},
    {"a whole environment", test_build},
    {"field references", test_fields},
    {"service variables", test_services},
    CU_TEST_INFO_NULL,
};
