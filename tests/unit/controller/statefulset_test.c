/* The order in which a StatefulSet starts, stops and updates its pods. */
#include <CUnit/CUnit.h>

#include "controller/statefulset.h"
#include "tests/unit/controller/objects.h"

#define PODS_MAX 8

/*
 * One letter a pod from ordinal 0: R running and ready, r the same of the old revision, N not
 * ready, P pending, T terminating, F failed, "-" none. Steps: "+2" create of the update revision,
 * "*2" of the current one, "-1" delete.
 */
static const struct {
    const char *pods;
    int64_t replicas;
    const char *how; /* p parallel, d on delete; digit: partition */
    const char *steps;
} cases[] = {
    {"", 3, "", "+0"},
    {"P", 3, "", ""},
    {"N", 3, "", ""},
    {"R", 3, "", "+1"},
    {"RRR", 3, "", ""},
    {"R-R", 3, "", "+1"},
    {"RFR", 3, "", "-1"},
    {"RTR", 3, "", ""},
    {"", 3, "p", "+0 +1 +2"},
    {"NF", 3, "p", "-1 +2"},
    {"RRR", 1, "", "-2"},
    {"RRT", 1, "", ""},
    {"NRR", 1, "", ""}, /* a wanted one is unhealthy */
    {"RNR", 1, "", "-2"},
    {"RNN", 1, "", ""}, /* 2 is unhealthy, and it is not the first that is */
    {"RRN", 1, "", "-2"},
    {"NNN", 0, "", ""},
    {"RRR", 0, "p", "-2 -1 -0"},
    {"rrr", 3, "", "-2"},
    {"rrR", 3, "", "-1"},
    {"rrN", 3, "", ""},
    {"rrT", 3, "", ""},
    {"rr-", 3, "", "+2"},
    {"rrR", 3, "2", ""},
    {"r-R", 3, "2", "*1"},
    {"rrr", 3, "d", ""},
    {"r-r", 3, "d", "+1"},
    {"rrr", 3, "p", "-2"},
};

static const struct pod *pod_of(char letter, int ordinal)
{
    bool running = strchr("RrNT", letter) != NULL, ready = strchr("Rr", letter) != NULL;

    return object_of(KIND_POD,
        "{\"metadata\":{\"name\":\"web-%d\",\"uid\":\"%d\",%s\"labels\":{\"controller-revision-"
        "hash\":\"%s\"}},"
        "\"status\":{\"phase\":\"%s\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\","
        "\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]}}",
        ordinal, ordinal, letter == 'T' ? "\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"," : "",
        letter == 'r' ? "old" : "new",
        letter == 'F' ? "Failed"
        : running     ? "Running"
                      : "Pending",
        ready ? "True" : "False");
}

static void run(size_t i, char *out, size_t bytes)
{
    const struct pod *pods[PODS_MAX];
    struct sts_step steps[2 * PODS_MAX];
    struct sts_view v = {.replicas = cases[i].replicas,
        .partition = {0, true},
        .pods = pods,
        .parallel = strchr(cases[i].how, 'p') != NULL,
        .on_delete = strchr(cases[i].how, 'd') != NULL,
        .current_revision = "old",
        .update_revision = "new",
        .now_ns = INT64_MAX / 2};
    int64_t again = 0;
    size_t used = 0;

    if (*cases[i].how >= '0' && *cases[i].how <= '9')
        v.partition.value = *cases[i].how - '0';
    for (int k = 0; cases[i].pods[k]; k++)
        if (cases[i].pods[k] != '-')
            pods[v.pod_count++] = pod_of(cases[i].pods[k], k);
    size_t n = sts_plan(&v, steps, &again);
    out[0] = '\0';
    for (size_t k = 0; k < n; k++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%c%lld", k ? " " : "",
            steps[k].action == STS_DELETE ? '-'
            : steps[k].updated            ? '+'
                                          : '*',
            (long long)steps[k].ordinal);
    for (size_t k = 0; k < v.pod_count; k++)
        projected_unref(pods[k]);
}

static void test_plans(void)
{
    char out[128];

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        run(i, out, sizeof(out));
        if (strcmp(out, cases[i].steps)) {
            printf("\n%s replicas=%lld %s: \"%s\", not \"%s\"\n", cases[i].pods,
                (long long)cases[i].replicas, cases[i].how, out, cases[i].steps);
            CU_FAIL("plan");
        }
    }
}

static void test_ordinals(void)
{
    CU_ASSERT_EQUAL(sts_ordinal("web-0", "web"), 0);
    CU_ASSERT_EQUAL(sts_ordinal("web-12", "web"), 12);
    CU_ASSERT_EQUAL(sts_ordinal("web-a-1", "web"), -1);
    CU_ASSERT_EQUAL(sts_ordinal("web-a-1", "web-a"), 1);
    CU_ASSERT_EQUAL(sts_ordinal("web", "web"), -1);
    CU_ASSERT_EQUAL(sts_ordinal("web--1", "web"), -1);
}

static void test_pod(void)
{
    const struct stateful_set *set = object_of(KIND_STATEFUL_SET,
        "{\"metadata\":{\"name\":\"db\",\"namespace\":\"n\",\"uid\":\"u\"},\"spec\":{"
        "\"serviceName\":\"s\","
        "\"volumeClaimTemplates\":[{\"metadata\":{\"name\":\"data\"}}]}}");
    const struct revision *revision =
        object_of(KIND_REVISION, "{\"metadata\":{\"name\":\"db-x\"},\"revision\":1,\"data\":{"
                                 "\"spec\":{\"template\":{\"$patch\":"
                                 "\"replace\",\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{"
                                 "\"containers\":[],\"volumes\":["
                                 "{\"name\":\"data\",\"emptyDir\":{}},{\"name\":\"other\"}]}}}}}");
    cJSON *pod = sts_pod_json(set, revision, 3);
    const cJSON *labels = json_path(pod, "metadata.labels"),
                *volumes = json_path(pod, "spec.volumes");

    CU_ASSERT_STRING_EQUAL(json_string_at(pod, "metadata.name"), "db-3");
    CU_ASSERT_PTR_NULL(json_path(pod, "metadata.generateName"));
    CU_ASSERT_STRING_EQUAL(json_string_at(pod, "spec.hostname"), "db-3");
    CU_ASSERT_STRING_EQUAL(json_string_at(pod, "spec.subdomain"), "s");
    CU_ASSERT_STRING_EQUAL(json_string(labels, "statefulset.kubernetes.io/pod-name"), "db-3");
    CU_ASSERT_STRING_EQUAL(json_string(labels, "apps.kubernetes.io/pod-index"), "3");
    CU_ASSERT_STRING_EQUAL(json_string(labels, "controller-revision-hash"), "db-x");
    CU_ASSERT_STRING_EQUAL(json_string(labels, "a"), "b");
    CU_ASSERT_EQUAL(cJSON_GetArraySize(volumes), 2);
    CU_ASSERT_STRING_EQUAL(
        json_string_at(cJSON_GetArrayItem(volumes, 1), "persistentVolumeClaim.claimName"),
        "data-db-3");
    cJSON_Delete(pod);
    projected_unref(set);
    projected_unref(revision);
}

const CU_TestInfo statefulset_tests[] = {
    {"plans", test_plans},
    {"ordinals of names", test_ordinals},
    {"identity and volumes of a pod", test_pod},
    CU_TEST_INFO_NULL,
};
