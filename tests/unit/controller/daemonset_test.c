/* Which nodes get a daemon pod, and the steps of its rolling update. */
#include <CUnit/CUnit.h>

#include "controller/daemonset.h"
#include "controller/node_match.h"
#include "tests/unit/controller/objects.h"

/*
 * One word a node: '!' should not run, '?' may stay but not start; then a letter a pod: R ready and
 * new, r ready and old, N new and not ready, n old and not ready, T terminating, F failed. Result:
 * "+i" create on node i, "-i" delete a pod of node i.
 */
static const struct {
    const char *nodes;
    int64_t unavailable, surge;
    const char *steps;
} cases[] = {
    {"_ _", 1, 0, "+0 +1"},
    {"R R", 1, 0, ""},
    {"!R _", 1, 0, "+1 -0"},
    {"?R ?_", 1, 0, ""},
    {"F R", 1, 0, "-0"},
    {"RR R", 1, 0, "-0"},
    {"r r r", 1, 0, "-0"},
    {"r r r", 2, 0, "-0 -1"},
    {"r N r", 1, 0, ""},   /* the new one is not ready yet: the budget is spent */
    {"n r r", 1, 0, "-0"}, /* what is unavailable anyway goes first and does not wait */
    {"T r r", 1, 0, ""},
    {"r r r", 0, 1, "+0"},
    {"rN r r", 0, 1, ""},
    {"rR r r", 0, 1, "+1 -0"},
    {"n r r", 0, 1, "+0 +1"},
};

static const struct pod *pod_of(char letter, int number)
{
    return object_of(KIND_POD,
        "{\"metadata\":{\"name\":\"p%d\",%s\"labels\":{\"controller-revision-hash\":\"%s\"}},"
        "\"status\":{"
        "\"phase\":\"%s\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\"}]}}",
        number, letter == 'T' ? "\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"," : "",
        strchr("rn", letter) ? "old" : "new", letter == 'F' ? "Failed" : "Running",
        strchr("Rr", letter) ? "True" : "False");
}

static void run(size_t i, char *out, size_t bytes)
{
    struct daemon_node nodes[4] = {{0}};
    const struct pod *pods[8], *removed[8];
    const char *created[8];
    size_t node_count = 0, pod_count = 0, used = 0, owner[8];
    struct daemon_plan plan = {.create = created, .remove = removed};
    struct daemon_update update = {.rolling = true,
        .max_unavailable = cases[i].unavailable,
        .max_surge = cases[i].surge,
        .hash = "new",
        .now_ns = INT64_MAX / 2};
    static const char *const names[] = {"0", "1", "2", "3"};

    for (const char *p = cases[i].nodes; *p; node_count++) {
        struct daemon_node *n = &nodes[node_count];
        *n = (struct daemon_node){.name = names[node_count],
            .should_run = *p != '!' && *p != '?',
            .may_stay = *p != '!',
            .pods = &pods[pod_count]};
        for (; *p && *p != ' '; p++)
            if (!strchr("!?_", *p)) {
                owner[pod_count] = node_count;
                pods[pod_count] = pod_of(*p, (int)pod_count);
                pod_count++;
                n->count++;
            }
        p += *p == ' ';
    }
    daemon_plan(nodes, node_count, &update, &plan);
    out[0] = '\0';
    for (size_t k = 0; k < plan.create_count; k++)
        used += (size_t)snprintf(out + used, bytes - used, "%s+%s", used ? " " : "", created[k]);
    for (size_t k = 0; k < plan.remove_count; k++)
        for (size_t p = 0; p < pod_count; p++)
            if (pods[p] == removed[k])
                used +=
                    (size_t)snprintf(out + used, bytes - used, "%s-%zu", used ? " " : "", owner[p]);
    for (size_t k = 0; k < pod_count; k++)
        projected_unref(pods[k]);
}

static void test_plans(void)
{
    char out[128];

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        run(i, out, sizeof(out));
        if (strcmp(out, cases[i].steps)) {
            printf("\n%s: \"%s\", not \"%s\"\n", cases[i].nodes, out, cases[i].steps);
            CU_FAIL("plan");
        }
    }
}

static void test_match(void)
{
    const struct node *node =
        object_of(KIND_NODE, "{\"metadata\":{\"name\":\"n1\",\"labels\":{\"zone\":\"a\",\"cpus\":"
                             "\"8\"}},\"spec\":{\"taints\":["
                             "{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"},{\"key\":"
                             "\"node.kubernetes.io/not-ready\","
                             "\"effect\":\"NoExecute\"}]}}");
    static const struct {
        const char *spec;
        bool affinity, schedule;
    } specs[] = {
        {"{}", true, false},
        {"{\"tolerations\":[{\"key\":\"k\",\"operator\":\"Equal\",\"value\":\"v\"}]}", true, true},
        {"{\"tolerations\":[{\"operator\":\"Exists\"}]}", true, true},
        {"{\"tolerations\":[{\"key\":\"k\",\"value\":\"w\"}]}", true, false},
        {"{\"nodeSelector\":{\"zone\":\"a\"}}", true, false},
        {"{\"nodeSelector\":{\"zone\":\"b\"}}", false, false},
        {"{\"nodeName\":\"n2\"}", false, false},
        {"{\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{"
         "\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"cpus\",\"operator\":\"Gt\","
         "\"values\":"
         "[\"4\"]},{\"key\":\"gpu\",\"operator\":\"DoesNotExist\"}]}]}}}}",
            true, false},
        {"{\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{"
         "\"nodeSelectorTerms\":[{}]}}}}",
            false, false},
    };

    for (size_t i = 0; i < ARRAY_COUNT(specs); i++) {
        cJSON *spec = json_make("%s", specs[i].spec);
        CU_ASSERT_EQUAL(node_matches_affinity(spec, node), specs[i].affinity);
        CU_ASSERT_EQUAL(node_taint_fit(spec, node).schedule, specs[i].schedule);
        CU_ASSERT_TRUE(node_taint_fit(spec, node).execute); /* daemons tolerate not-ready */
        cJSON_Delete(spec);
    }
    projected_unref(node);
}

static void test_pin(void)
{
    cJSON *spec = json_make("{\"affinity\":{\"podAffinity\":{}}}");
    char buf[254];

    daemon_pin(spec, "n7");
    autostrbuf struct strbuf text;
    strbuf_init(&text, 0);
    json_print(json_get(spec, "affinity"), &text);
    CU_ASSERT_STRING_EQUAL(daemon_pod_node("", text.data, buf, sizeof(buf)), "n7");
    CU_ASSERT_STRING_EQUAL(daemon_pod_node("n1", text.data, buf, sizeof(buf)), "n1");
    CU_ASSERT_PTR_NOT_NULL(json_path(spec, "affinity.podAffinity"));
    cJSON_Delete(spec);
}

const CU_TestInfo daemonset_tests[] = {
    {"plans", test_plans},
    {"nodes that fit", test_match},
    {"pinning", test_pin},
    CU_TEST_INFO_NULL,
};
