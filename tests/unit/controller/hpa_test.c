/* How many replicas metrics, behavior and limits give. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "controller/hpa.h"

#define S NS_PER_S

static const struct {
    const char *what;
    int64_t usage[4], request; /* usage -1: missing, -2: unready; 0 ends */
    bool utilization;
    int64_t target, current, replicas; /* replicas -1: an error */
} cases[] = {
    {"twice the target", {1000, 1000}, 1000, true, 50, 2, 4},
    {"on target", {500, 500}, 1000, true, 50, 2, 2},
    {"within tolerance", {530, 530}, 1000, true, 50, 2, 2},
    {"half", {250, 250, 250, 250}, 1000, true, 50, 4, 2},
    {"missing holds a scale-down back", {100, 100, 100, -1}, 1000, true, 50, 4, 3},
    {"missing holds a scale-up back", {700, 700, -1}, 1000, true, 50, 3, 3},
    {"unready does not count for up", {900, 900, -2}, 1000, true, 50, 3, 4},
    {"nothing measured", {-1, -1}, 1000, true, 50, 2, -1},
    {"average value", {300, 300}, 0, false, 100, 2, 6},
    {"average value on target", {100, 100}, 0, false, 100, 2, 2},
};

static void test_pods(void)
{
    struct hpa_tolerance tolerance = {0.1, 0.1};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct hpa_pod pods[4] = {0};
        struct hpa_usage usage = {pods, 0};
        struct hpa_proposal p = {0};
        struct error err;
        for (; usage.count < 4 && cases[i].usage[usage.count]; usage.count++) {
            int64_t u = cases[i].usage[usage.count];
            pods[usage.count] = (struct hpa_pod){
                .usage = u == -2 ? 10 : u, .unready = u == -2, .request = cases[i].request};
        }
        int r = hpa_propose_pods(
            &usage, cases[i].utilization, cases[i].target, cases[i].current, &tolerance, &p, &err);
        if (cases[i].replicas < 0 ? r == 0 : r < 0 || p.replicas != cases[i].replicas) {
            printf("\n%s: %lld\n", cases[i].what, (long long)p.replicas);
            CU_FAIL("pods");
        }
    }
}

static void test_value(void)
{
    struct hpa_tolerance t = {0.1, 0.1};

    CU_ASSERT_EQUAL(hpa_propose_value(2000, 1000, false, 3, 3, &t), 6);
    CU_ASSERT_EQUAL(hpa_propose_value(1050, 1000, false, 3, 3, &t), 3);
    CU_ASSERT_EQUAL(hpa_propose_value(2500, 1000, false, 0, 0, &t), 3);
    CU_ASSERT_EQUAL(hpa_propose_value(9000, 1000, true, 3, 0, &t), 9);
    CU_ASSERT_EQUAL(hpa_propose_value(3100, 1000, true, 3, 0, &t), 3);
}

static const struct {
    const char *what, *behavior; /* NULL: none */
    int64_t current, desired, min, max;
    struct hpa_record recommendations[2], changes[2]; /* at_ns 0 ends; now is 1000 s */
    int64_t replicas;
    const char *reason; /* of the limit */
} limits[] = {
    {"free", NULL, 3, 4, 1, 10, {{0}}, {{0}}, 4, "DesiredWithinRange"},
    {"no more than double", NULL, 3, 10, 1, 10, {{0}}, {{0}}, 6, "ScaleUpLimit"},
    {"or four", NULL, 1, 10, 1, 10, {{0}}, {{0}}, 4, "ScaleUpLimit"},
    {"too many", NULL, 3, 6, 1, 5, {{0}}, {{0}}, 5, "TooManyReplicas"},
    {"too few", NULL, 3, 1, 2, 5, {{0}}, {{0}}, 2, "TooFewReplicas"},
    {"a recent higher one", NULL, 5, 1, 1, 9, {{800 * S, 4}}, {{0}}, 4, "DesiredWithinRange"},
    {"an old higher one", NULL, 5, 1, 1, 9, {{600 * S, 4}}, {{0}}, 1, "DesiredWithinRange"},
    {"one pod a minute",
        "{\"scaleUp\":{\"policies\":[{\"type\":\"Pods\",\"value\":1,\"periodSeconds\":60}]}}", 3, 9,
        1, 9, {{0}}, {{0}}, 4, "ScaleUpLimit"},
    {"... and that one was",
        "{\"scaleUp\":{\"policies\":[{\"type\":\"Pods\",\"value\":1,\"periodSeconds\":60}]}}", 3, 9,
        1, 9, {{0}}, {{970 * S, 1}}, 3, "ScaleUpLimit"},
    {"the lesser of two",
        "{\"scaleUp\":{\"selectPolicy\":\"Min\",\"policies\":[{\"type\":\"Pods\",\"value\":1,"
        "\"periodSeconds\":60},{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":60}]}}",
        4, 9, 1, 9, {{0}}, {{0}}, 5, "ScaleUpLimit"},
    {"the greater of two",
        "{\"scaleUp\":{\"policies\":[{\"type\":\"Pods\",\"value\":1,\"periodSeconds\":60},{"
        "\"type\":\"Percent\",\"value\":100,\"periodSeconds\":60}]}}",
        4, 9, 1, 9, {{0}}, {{0}}, 8, "ScaleUpLimit"},
    {"half at a time",
        "{\"scaleDown\":{\"stabilizationWindowSeconds\":0,\"policies\":[{\"type\":\"Percent\","
        "\"value\":50,\"periodSeconds\":60}]}}",
        8, 1, 1, 9, {{900 * S, 8}}, {{0}}, 4, "ScaleDownLimit"},
    {"never down",
        "{\"scaleDown\":{\"stabilizationWindowSeconds\":0,\"selectPolicy\":\"Disabled\"}}", 8, 1, 1,
        9, {{0}}, {{0}}, 8, "ScaleDownLimit"},
    {"a window up", "{\"scaleUp\":{\"stabilizationWindowSeconds\":60}}", 3, 6, 1, 9, {{990 * S, 4}},
        {{0}}, 4, "DesiredWithinRange"},
};

static void test_limits(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        cJSON *tree = limits[i].behavior ? json_make("%s", limits[i].behavior) : NULL;
        struct hpa_behavior behavior;
        struct hpa_record recommendations[2], changes[2];
        struct hpa_history history = {.recommendations = recommendations, .changes = changes};
        memcpy(recommendations, limits[i].recommendations, sizeof(recommendations));
        memcpy(changes, limits[i].changes, sizeof(changes));
        while (
            history.recommendation_count < 2 && recommendations[history.recommendation_count].at_ns)
            history.recommendation_count++;
        while (history.change_count < 2 && changes[history.change_count].at_ns)
            history.change_count++;
        hpa_behavior_parse(tree, &behavior);
        struct hpa_limit l = hpa_limit(&behavior, &history, 1000 * S, limits[i].current,
            limits[i].desired, limits[i].min, limits[i].max);
        if (l.replicas != limits[i].replicas || strcmp(l.limit_reason, limits[i].reason) != 0) {
            printf("\n%s: %lld %s\n", limits[i].what, (long long)l.replicas, l.limit_reason);
            CU_FAIL("limit");
        }
        cJSON_Delete(tree);
    }
}

const CU_TestInfo hpa_tests[] = {
    {"pods", test_pods}, {"one value", test_value}, {"limits", test_limits}, CU_TEST_INFO_NULL};
