/* What objects use of a quota. */
#include <CUnit/CUnit.h>

#include "common/quota.h"

#define CPU(n)                                   \
    "{\"resources\":{\"requests\":{\"cpu\":\"" n \
    "\",\"memory\":\"1Gi\"},\"limits\":{\"cpu\":\"2\"}}}"

static const struct {
    const char *name, *pod, *used;
} pods[] = {
    {"pods", "\"spec\":{}", "1"},
    {"count/pods", "\"status\":{\"phase\":\"Failed\"}", "1"},
    {"pods", "\"status\":{\"phase\":\"Failed\"}", "0"},
    {"pods", "\"metadata\":{\"deletionTimestamp\":\"1970-01-01T00:00:01Z\"}", "0"},
    {"cpu", "\"spec\":{\"containers\":[" CPU("100m") "," CPU("1") "]}", "1100m"},
    {"requests.cpu",
        "\"spec\":{\"containers\":[" CPU("100m") "],\"initContainers\":[" CPU("3") "]}", "3"},
    {"requests.memory", "\"spec\":{\"containers\":[" CPU("1") "," CPU("1") "]}", "2Gi"},
    {"limits.cpu", "\"spec\":{\"containers\":[" CPU("1") "," CPU("1") "]}", "4"},
    {"requests.cpu", "\"spec\":{\"overhead\":{\"cpu\":\"1m\"},\"containers\":[" CPU("1") "]}",
        "1001m"},
    {"requests.example.com/gpu",
        "\"spec\":{\"containers\":[{\"resources\":{\"requests\":{\"example.com/gpu\":\"2\"}}}]}",
        "2"},
    {"secrets", "\"spec\":{}", "0"},
};

static void test_pods(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(pods); i++) {
        struct quota_sum sum = {.name = pods[i].name, .source = quota_source_of(pods[i].name)};
        cJSON *pod = json_make("{%s}", pods[i].pod);
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        quota_add_pod(&sum, 1, pod, 2000000000);
        quantity_print(sum.used, &text);
        if (strcmp(text.data, pods[i].used) != 0) {
            printf("\n%s: %s\n", pods[i].name, text.data);
            CU_FAIL("used");
        }
        cJSON_Delete(pod);
    }
}

static const struct {
    const char *spec, *pod;
    bool matches;
} scopes[] = {
    {"", "", true},
    {"\"scopes\":[\"Terminating\"]", "\"activeDeadlineSeconds\":1", true},
    {"\"scopes\":[\"Terminating\"]", "", false},
    {"\"scopes\":[\"NotTerminating\",\"BestEffort\"]", "", true},
    {"\"scopes\":[\"BestEffort\"]", "\"containers\":[" CPU("1") "]", false},
    {"\"scopes\":[\"NotBestEffort\"]", "\"containers\":[" CPU("1") "]", true},
    {"\"scopes\":[\"PriorityClass\"]", "\"priorityClassName\":\"high\"", true},
    {"\"scopeSelector\":{\"matchExpressions\":[{\"scopeName\":\"PriorityClass\",\"operator\":"
     "\"In\","
     "\"values\":[\"high\"]}]}",
        "\"priorityClassName\":\"high\"", true},
    {"\"scopeSelector\":{\"matchExpressions\":[{\"scopeName\":\"PriorityClass\",\"operator\":"
     "\"NotIn\","
     "\"values\":[\"high\"]}]}",
        "\"priorityClassName\":\"high\"", false},
    {"\"scopes\":[\"CrossNamespacePodAffinity\"]",
        "\"affinity\":{\"podAffinity\":{"
        "\"requiredDuringSchedulingIgnoredDuringExecution\":[{\"namespaces\":[\"x\"]}]}}",
        true},
    {"\"scopes\":[\"CrossNamespacePodAffinity\"]", "", false},
};

static void test_scopes(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(scopes); i++) {
        cJSON *spec = json_make("{%s}", scopes[i].spec);
        cJSON *pod = json_make("{\"spec\":{%s}}", scopes[i].pod);
        if (quota_scope_matches(spec, pod) != scopes[i].matches) {
            printf("\nscope %zu\n", i);
            CU_FAIL("scope");
        }
        cJSON_Delete(spec);
        cJSON_Delete(pod);
    }
}

static void test_others(void)
{
    static const char *const names[] = {"services", "services.nodeports", "services.loadbalancers",
        "requests.storage", "fast.storageclass.storage.k8s.io/requests.storage",
        "slow.storageclass.storage.k8s.io/persistentvolumeclaims", "persistentvolumeclaims"};
    static const char *const wanted[] = {"1", "2", "1", "3Gi", "3Gi", "0", "1"};
    struct quota_sum sums[ARRAY_COUNT(names)] = {0};
    cJSON *service = json_make("{\"spec\":{\"type\":\"LoadBalancer\",\"ports\":[{},{}]}}");
    cJSON *claim =
        json_make("{\"spec\":{\"storageClassName\":\"fast\",\"resources\":{\"requests\":{"
                  "\"storage\":\"3Gi\"}}}}");

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        sums[i].name = names[i];
        sums[i].source = quota_source_of(names[i]);
    }
    quota_add_service(sums, ARRAY_COUNT(names), service);
    quota_add_claim(sums, ARRAY_COUNT(names), claim);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        quantity_print(sums[i].used, &text);
        CU_ASSERT_STRING_EQUAL(text.data, wanted[i]);
    }
    CU_ASSERT_EQUAL(quota_source_of("count/widgets.example.com"), QUOTA_OBJECTS);
    CU_ASSERT_STRING_EQUAL(quota_counted("count/widgets.example.com"), "widgets.example.com");
    cJSON_Delete(service);
    cJSON_Delete(claim);
}

const CU_TestInfo quota_tests[] = {{"pods", test_pods}, {"scopes", test_scopes},
    {"services and claims", test_others}, CU_TEST_INFO_NULL};
