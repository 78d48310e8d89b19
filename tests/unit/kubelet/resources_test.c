/* Shares, quotas, QoS classes, OOM scores, resourceFieldRef. */
#include <CUnit/CUnit.h>

#include "kubelet/pod.h"

static void test_numbers(void)
{
    CU_ASSERT_EQUAL(cpu_shares(-1), 2);
    CU_ASSERT_EQUAL(cpu_shares(1), 2);
    CU_ASSERT_EQUAL(cpu_shares(100), 102);
    CU_ASSERT_EQUAL(cpu_shares(1000), 1024);
    CU_ASSERT_EQUAL(cpu_shares(1000000), 262144);
    CU_ASSERT_EQUAL(cpu_quota(1), 1000);
    CU_ASSERT_EQUAL(cpu_quota(1500), 150000);
    CU_ASSERT_EQUAL(oom_score_adj("Guaranteed", false, 1, 100), -997);
    CU_ASSERT_EQUAL(oom_score_adj("BestEffort", true, 1, 100), -997);
    CU_ASSERT_EQUAL(oom_score_adj("BestEffort", false, -1, 100), 1000);
    CU_ASSERT_EQUAL(oom_score_adj("Burstable", false, -1, 1 << 20), 999);
    CU_ASSERT_EQUAL(oom_score_adj("Burstable", false, 1 << 19, 1 << 20), 500);
    CU_ASSERT_EQUAL(oom_score_adj("Burstable", false, 1 << 20, 1 << 20), 3);
}

static void test_qos(void)
{
    static const struct {
        const char *spec, *expected;
    } cases[] = {
        {"{\"containers\":[{}]}", "BestEffort"},
        {"{\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"0\"}}}]}", "BestEffort"},
        {"{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}}]}",
            "Guaranteed"},
        {"{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"},"
         "\"requests\":{\"cpu\":\"1000m\","
         "\"memory\":\"1024Mi\"}}}]}",
            "Guaranteed"},
        {"{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\"}}}]}", "Burstable"},
        {"{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}},{}]}",
            "Burstable"},
        {"{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}}],"
         "\"initContainers\":[{}]}",
            "Burstable"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autojson cJSON *spec = NULL;
        struct error err;
        CU_ASSERT_EQUAL_FATAL(json_parse(str_of(cases[i].spec), &spec, &err), 0);
        CU_ASSERT_STRING_EQUAL(pod_qos(spec), cases[i].expected);
    }
}

static void test_fields(void)
{
    autojson cJSON *container = json_make(
        "{\"resources\":{\"requests\":{\"memory\":\"20Mi\"},\"limits\":{\"cpu\":\"1100m\"}}}");
    struct resource_pair node = {4000, 8ll << 30};
    static const struct {
        const char *resource, *divisor, *expected;
    } cases[] = {
        {"limits.cpu", NULL, "2"},
        {"limits.cpu", "0", "2"},
        {"limits.cpu", "1m", "1100"},
        {"requests.cpu", "1m", "1100"},
        {"requests.memory", NULL, "20971520"},
        {"requests.memory", "1Mi", "20"},
        {"requests.memory", "3Mi", "7"},
        {"limits.memory", "1Gi", "8"}, /* unset: the node's */
        {"limits.ephemeral-storage", NULL, "0"},
    };
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *text = NULL;
        CU_ASSERT_EQUAL_FATAL(
            resource_field(container, cases[i].resource, cases[i].divisor, node, &text, &err), 0);
        CU_ASSERT_STRING_EQUAL(text, cases[i].expected);
    }
    char *text;
    CU_ASSERT_EQUAL(resource_field(container, "cpu", NULL, node, &text, &err), -ERR_BAD_REQUEST);
}

extern const CU_TestInfo resources_tests[];
const CU_TestInfo resources_tests[] = {
    {"numbers for the kernel", test_numbers},
    {"quality of service", test_qos},
    {"resourceFieldRef", test_fields},
    CU_TEST_INFO_NULL,
};
