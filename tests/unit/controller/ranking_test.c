/* Which pods go first when a ReplicaSet shrinks: each row's first pod goes before its second. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "controller/pods.h"
#include "tests/unit/controller/objects.h"

#define POD(name, more) "{\"metadata\":{\"name\":\"" name "\",\"uid\":\"" name "\"," more "}"
#define CREATED(time) "\"creationTimestamp\":\"2026-01-01T" time "Z\""
#define READY(time)                                                                              \
    "\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"," \
    "\"lastTransitionTime\":\"2026-01-01T" time "Z\"}]}"
#define ON_NODE "\"spec\":{\"nodeName\":\"n\"}"
#define OLD CREATED("00:00:00")

static const struct {
    const char *what, *first, *second;
    int64_t rank_first, rank_second;
} cases[] = {
    {"unassigned before assigned", POD("a", OLD "},\"status\":{\"phase\":\"Pending\"}"),
        POD("b", OLD "}," ON_NODE ",\"status\":{\"phase\":\"Pending\"}"), 0, 0},
    {"pending before running", POD("a", OLD "}," ON_NODE ",\"status\":{\"phase\":\"Pending\"}"),
        POD("b", OLD "}," ON_NODE ",\"status\":{\"phase\":\"Running\"}"), 0, 0},
    {"pending before unknown", POD("b", OLD "}," ON_NODE ",\"status\":{\"phase\":\"Pending\"}"),
        POD("a", OLD "}," ON_NODE ",\"status\":{\"phase\":\"Unknown\"}"), 0, 0},
    {"not ready before ready", POD("b", OLD "}," ON_NODE ",\"status\":{\"phase\":\"Running\"}"),
        POD("a", OLD "}," ON_NODE "," READY("00:00:10")), 0, 0},
    {"cheap before dear",
        POD("b",
            OLD ",\"annotations\":{\"controller.kubernetes.io/pod-deletion-cost\":\"-5\"}}," ON_NODE
                "," READY("00:00:10")),
        POD("a", OLD "}," ON_NODE "," READY("00:00:10")), 0, 0},
    {"a cost that is no number counts as 0",
        POD("a",
            OLD ",\"annotations\":{\"controller.kubernetes.io/pod-deletion-cost\":\"+x\"}}," ON_NODE
                "," READY("00:00:10")),
        POD("b",
            OLD ",\"annotations\":{\"controller.kubernetes.io/pod-deletion-cost\":\"1\"}}," ON_NODE
                "," READY("00:00:10")),
        0, 0},
    {"doubled up before alone", POD("b", OLD "}," ON_NODE "," READY("00:00:10")),
        POD("a", OLD "}," ON_NODE "," READY("00:00:10")), 3, 1},
    {"ready for a short time first", POD("b", OLD "}," ON_NODE "," READY("11:59:00")),
        POD("a", OLD "}," ON_NODE "," READY("00:00:10")), 0, 0},
    {"ready times of one magnitude: by uid", POD("a", OLD "}," ON_NODE "," READY("00:00:10")),
        POD("b", OLD "}," ON_NODE "," READY("00:00:20")), 0, 0},
    {"many restarts first",
        POD("b",
            OLD "}," ON_NODE ",\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":"
                "\"x\",\"restartCount\":7}]}"),
        POD("a",
            OLD "}," ON_NODE ",\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":"
                "\"x\",\"restartCount\":1}]}"),
        0, 0},
    {"young before old",
        POD("b", CREATED("11:59:59") "}," ON_NODE ",\"status\":{\"phase\":\"Running\"}"),
        POD("a", CREATED("00:00:00") "}," ON_NODE ",\"status\":{\"phase\":\"Running\"}"), 0, 0},
};

static void test_order(void)
{
    int64_t now;
    struct error err;

    CU_ASSERT_FATAL(time_parse(STR("2026-01-01T12:00:00Z"), &now, &err) == 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct ranked_pod a = {object_of(KIND_POD, "%s", cases[i].first), cases[i].rank_first};
        struct ranked_pod b = {object_of(KIND_POD, "%s", cases[i].second), cases[i].rank_second};
        if (pod_deletion_cmp(&a, &b, &now) >= 0 || pod_deletion_cmp(&b, &a, &now) <= 0) {
            printf("\nwrong: %s\n", cases[i].what);
            CU_FAIL("order");
        }
        projected_unref(a.pod);
        projected_unref(b.pod);
    }
}

static void test_available(void)
{
    const struct pod *pod = object_of(KIND_POD, POD("a", OLD "}," ON_NODE "," READY("00:00:10")));
    int64_t at = pod_ready_since_ns(pod), again = 0;

    CU_ASSERT_TRUE(pod_is_ready(pod));
    CU_ASSERT_TRUE(pod_is_available(pod, 0, at, &again));
    CU_ASSERT_FALSE(pod_is_available(pod, 10, at + 4 * NS_PER_S, &again));
    CU_ASSERT_EQUAL(again, 6 * NS_PER_S);
    CU_ASSERT_TRUE(pod_is_available(pod, 10, at + 10 * NS_PER_S, NULL));
    projected_unref(pod);
}

static void test_int_or_percent(void)
{
    CU_ASSERT_EQUAL(int_or_percent("25%", 3, true), 1);
    CU_ASSERT_EQUAL(int_or_percent("25%", 3, false), 0);
    CU_ASSERT_EQUAL(int_or_percent("100%", 7, false), 7);
    CU_ASSERT_EQUAL(int_or_percent("4", 100, false), 4);
    CU_ASSERT_EQUAL(int_or_percent("", 100, true), 0);
    CU_ASSERT_EQUAL(int_or_percent("x%", 100, true), 0);
}

const CU_TestInfo ranking_tests[] = {
    {"order of deletion", test_order},
    {"available after minReadySeconds", test_available},
    {"number or percentage", test_int_or_percent},
    CU_TEST_INFO_NULL,
};
