/* Taints from conditions, times of eviction, parts of the cluster's addresses. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "controller/node_ipam.h"
#include "controller/node_taints.h"
#include "controller/node_zones.h"
#include "controller/taint_eviction.h"
#include "tests/unit/controller/objects.h"

static char *taints_text(const char *node_json, bool may_evict)
{
    const struct node *node = object_of(KIND_NODE, "%s", node_json);
    cJSON *taints = node_taints_wanted(node, may_evict, 0), *taint;
    struct strbuf out;

    strbuf_init(&out, 0);
    if (!taints)
        strbuf_addc(&out, "same");
    cJSON_ArrayForEach(taint, taints)
        strbuf_addf(&out, "%s:%s ", json_string(taint, "key"), json_string(taint, "effect"));
    cJSON_Delete(taints);
    projected_unref(node);
    return strbuf_steal(&out);
}

static void test_taints(void)
{
#define NODE(ready, spec)                                                                      \
    "{\"spec\":{" spec "},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"" ready \
    "\"}]}}"
    static const struct {
        const char *node;
        bool may_evict;
        const char *want;
    } cases[] = {
        {NODE("True", ""), true, "same"},
        {NODE("False", ""), true,
            "node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute "},
        {NODE("Unknown", ""), false, "node.kubernetes.io/unreachable:NoSchedule "},
        {NODE("True", "\"taints\":[{\"key\":\"x\",\"effect\":\"NoSchedule\"},{\"key\":"
                      "\"node.kubernetes.io/not-ready\",\"effect\":\"NoSchedule\"}]"),
            true, "x:NoSchedule "},
        {NODE("True", "\"unschedulable\":true"), true,
            "node.kubernetes.io/unschedulable:NoSchedule "},
        {NODE("False",
             "\"taints\":[{\"key\":\"node.kubernetes.io/not-ready\",\"effect\":\"NoSchedule\"},"
             "{\"key\":\"node.kubernetes.io/not-ready\",\"effect\":\"NoExecute\"}]"),
            false, "same"},
        {"{}", true, "same"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char *text = taints_text(cases[i].node, cases[i].may_evict);
        CU_ASSERT_STRING_EQUAL(text, cases[i].want);
        free(text);
    }
}

static void test_eviction(void)
{
    const struct node *node =
        object_of(KIND_NODE, "{\"spec\":{\"taints\":[{\"key\":\"a\",\"effect\":\"NoExecute\","
                             "\"timeAdded\":\"1970-01-01T00:01:40Z\"},"
                             "{\"key\":\"b\",\"effect\":\"NoSchedule\"}]}}");
    static const struct {
        const char *tolerations;
        int64_t want;
    } cases[] = {
        {"[]", 0},
        {"[{\"operator\":\"Exists\"}]", INT64_MAX},
        {"[{\"key\":\"a\",\"operator\":\"Exists\",\"tolerationSeconds\":300}]", 400 * NS_PER_S},
        {"[{\"key\":\"a\",\"operator\":\"Exists\",\"tolerationSeconds\":0}]", 0},
        {"[{\"key\":\"a\",\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}]", 0},
        {"[{\"key\":\"a\",\"operator\":\"Exists\"},{\"key\":\"a\",\"operator\":\"Exists\","
         "\"tolerationSeconds\":5}]",
            105 * NS_PER_S},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct pod *pod =
            object_of(KIND_POD, "{\"spec\":{\"tolerations\":%s}}", cases[i].tolerations);
        CU_ASSERT_EQUAL(eviction_time_ns(pod, node, 200 * NS_PER_S), cases[i].want);
        projected_unref(pod);
    }
    projected_unref(node);
}

static void test_cidr(void)
{
    struct cidr cluster, taken[3], part;
    struct error err;
    char text[32];

    CU_ASSERT_FATAL(cidr_parse("10.244.5.0/16", &cluster, &err) == 0);
    CU_ASSERT_EQUAL(cluster.base, 0x0af40000u);
    CU_ASSERT_TRUE(cidr_allocate(&cluster, 24, NULL, 0, &part));
    cidr_print(&part, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "10.244.0.0/24");
    CU_ASSERT_FATAL(cidr_parse("10.244.0.0/24", &taken[0], &err) == 0);
    CU_ASSERT_FATAL(
        cidr_parse("10.244.2.0/23", &taken[1], &err) == 0); /* an earlier, larger part */
    CU_ASSERT_FATAL(cidr_parse("10.244.1.128/25", &taken[2], &err) == 0);
    CU_ASSERT_TRUE(cidr_allocate(&cluster, 24, taken, 3, &part));
    cidr_print(&part, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "10.244.4.0/24");
    CU_ASSERT_FATAL(cidr_parse("10.0.0.0/30", &cluster, &err) == 0);
    CU_ASSERT_FATAL(cidr_parse("10.0.0.0/30", &taken[0], &err) == 0);
    CU_ASSERT_FALSE(cidr_allocate(&cluster, 30, taken, 1, &part));
    CU_ASSERT_EQUAL(cidr_parse("10.0.0.0", &cluster, &err), -ERR_USAGE);
    CU_ASSERT_EQUAL(cidr_parse("10.0.0/8", &cluster, &err), -ERR_USAGE);
    CU_ASSERT_EQUAL(cidr_parse("10.0.0.0/33", &cluster, &err), -ERR_USAGE);
}

static void test_zone_pauses(void)
{
    static const struct {
        int64_t ready, not_ready;
        bool all_down;
        int64_t pause_s;
    } rows[] = {
        {9, 1, false, 10},
        {0, 3, false, 10}, /* a whole zone: the others say that we are well */
        {0, 3, true, -1},
        {2, 3, false, -1}, /* much of a small one */
        {20, 40, false, 100},
        {1, 2, false, 10},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct zone_health health = {rows[i].ready, rows[i].not_ready};
        int64_t pause = zone_pause_ns(&health, rows[i].all_down);
        CU_ASSERT_EQUAL(pause < 0 ? -1 : pause / NS_PER_S, rows[i].pause_s);
    }
}

const CU_TestInfo node_tests[] = {
    {"taints follow conditions", test_taints},
    {"time of eviction", test_eviction},
    {"parts of the cluster's addresses", test_cidr},
    {"pauses of zones", test_zone_pauses},
    CU_TEST_INFO_NULL,
};
