/* What a Job does next; index sets. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "controller/job.h"
#include "tests/unit/controller/objects.h"

#define S NS_PER_S

static const struct {
    const char *what;
    int64_t completions, parallelism, backoff_limit; /* completions -1: not set */
    struct job_facts facts;
    const char *end, *reason;
    int64_t want_active;
} cases[] = {
    {"begins", 3, 2, 6, {0}, NULL, NULL, 2},
    {"no more than are left", 3, 2, 6, {.succeeded = 2, .active = 1}, NULL, NULL, 1},
    {"complete", 3, 2, 6, {.succeeded = 3}, "Complete", "CompletionsReached", 0},
    {"work queue: first success stops new pods", -1, 4, 6, {.succeeded = 1, .active = 2}, NULL,
        NULL, 2},
    {"work queue: all ended", -1, 4, 6, {.succeeded = 1}, "Complete", "CompletionsReached", 0},
    {"too many failures", 1, 1, 2, {.failed = 3}, "Failed", "BackoffLimitExceeded", 0},
    {"as many as the limit", 1, 1, 2, {.failed = 2}, NULL, NULL, 1},
    {"waits after a failure", 1, 1, 6,
        {.failed = 1, .recent_failures = 1, .last_failure_ns = 95 * S, .now_ns = 100 * S}, NULL,
        NULL, 0},
    {"waited", 1, 1, 6,
        {.failed = 1, .recent_failures = 1, .last_failure_ns = 90 * S, .now_ns = 100 * S}, NULL,
        NULL, 1},
    {"no completions wanted", 0, 1, 6, {0}, "Complete", "CompletionsReached", 0},
};

static void test_decide(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct job_want want = {.parallelism = cases[i].parallelism,
            .backoff_limit = cases[i].backoff_limit,
            .completions = {cases[i].completions, cases[i].completions >= 0}};
        struct job_decision d = job_decide(&want, &cases[i].facts);
        if (!c_eq(d.end, cases[i].end) || (d.end && !c_eq(d.reason, cases[i].reason)) ||
            (!d.end && d.want_active != cases[i].want_active)) {
            printf("\nwrong: %s\n", cases[i].what);
            CU_FAIL("decision");
        }
    }
}

static void test_deadline_and_restarts(void)
{
    struct job_want want = {.parallelism = 1,
        .backoff_limit = 3,
        .completions = {1, true},
        .active_deadline_ns = 60 * S,
        .restarts_in_place = true};
    struct job_facts facts = {.started_ns = 100 * S, .now_ns = 130 * S, .active = 1};

    CU_ASSERT_EQUAL(job_decide(&want, &facts).again_ns, 30 * S);
    facts.now_ns = 160 * S;
    CU_ASSERT_STRING_EQUAL(job_decide(&want, &facts).reason, "DeadlineExceeded");
    facts.now_ns = 130 * S;
    facts.restarts = 3;
    CU_ASSERT_STRING_EQUAL(job_decide(&want, &facts).reason, "BackoffLimitExceeded");
    want.suspend = true;
    facts = (struct job_facts){.started_ns = 1, .now_ns = 1000 * S, .active = 1};
    CU_ASSERT_EQUAL(job_decide(&want, &facts).want_active, 0);
}

static void test_backoff(void)
{
    CU_ASSERT_EQUAL(job_backoff_ns(0), 0);
    CU_ASSERT_EQUAL(job_backoff_ns(1), 10 * S);
    CU_ASSERT_EQUAL(job_backoff_ns(3), 40 * S);
    CU_ASSERT_EQUAL(job_backoff_ns(1000), 600 * S);
}

static void test_indexes(void)
{
    static const struct {
        const char *text, *printed;
        int64_t count;
    } sets[] = {{"", "", 0}, {"0", "0", 1}, {"0-2,5", "0-2,5", 4}, {"3,4", "3,4", 2},
        {"1,2,3", "1-3", 3}, {"8-20", "8,9", 2}, {"x,4", "4", 1}};

    for (size_t i = 0; i < ARRAY_COUNT(sets); i++) {
        struct index_set s;
        index_set_parse(sets[i].text, 10, &s);
        char *text = index_set_print(&s);
        CU_ASSERT_STRING_EQUAL(text, sets[i].printed);
        CU_ASSERT_EQUAL(index_set_count(&s), sets[i].count);
        free(text);
        index_set_done(&s);
    }
}

static void test_ends_by_policy(void)
{
    struct job_want want = {.parallelism = 2,
        .backoff_limit = INT32_MAX,
        .completions = {4, true},
        .per_index = true,
        .max_failed_indexes = {1, true}};

    struct job_facts facts = {.succeeded = 2, .failed_indexes = 1, .active = 1};
    CU_ASSERT_EQUAL(job_decide(&want, &facts).want_active, 1);
    facts = (struct job_facts){.succeeded = 3, .failed_indexes = 1};
    CU_ASSERT_STRING_EQUAL(job_decide(&want, &facts).reason, "FailedIndexes");
    facts = (struct job_facts){.failed_indexes = 2, .active = 2};
    CU_ASSERT_STRING_EQUAL(job_decide(&want, &facts).reason, "MaxFailedIndexesExceeded");
    facts = (struct job_facts){.active = 2, .policy_success = "yes"};
    CU_ASSERT_STRING_EQUAL(job_decide(&want, &facts).reason, "SuccessPolicy");
    facts = (struct job_facts){.active = 2, .policy_success = "yes", .policy_failure = "no"};
    CU_ASSERT_STRING_EQUAL(job_decide(&want, &facts).reason, "PodFailurePolicy");
    want.only_replaces_failed = true;
    facts = (struct job_facts){.terminating = 1};
    CU_ASSERT_EQUAL(job_decide(&want, &facts).want_active, 1);
}

static const struct {
    const char *rules, *pod;
    enum job_action action;
    const char *message;
} policies[] = {
    {"{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":\"In\",\"values\":[42]}}", "42",
        JOB_FAIL_JOB,
        "Container c for pod ns/p failed with exit code 42 matching FailJob rule at index 0"},
    {"{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":\"In\",\"values\":[42]}}", "1",
        JOB_COUNT, NULL},
    {"{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":\"NotIn\",\"values\":[0,1]}}", "0",
        JOB_COUNT, NULL},
    {"{\"action\":\"FailIndex\",\"onExitCodes\":{\"operator\":\"NotIn\",\"values\":[1]}}", "2",
        JOB_FAIL_INDEX, NULL},
    {"{\"action\":\"Ignore\",\"onExitCodes\":{\"containerName\":\"other\",\"operator\":\"In\","
     "\"values\":[1]}}",
        "1", JOB_COUNT, NULL},
    {"{\"action\":\"Count\",\"onPodConditions\":[{\"type\":\"Other\",\"status\":\"True\"}]},"
     "{\"action\":\"Ignore\",\"onPodConditions\":[{\"type\":\"DisruptionTarget\",\"status\":"
     "\"True\"}]}",
        "1", JOB_IGNORE, NULL},
    {"{\"action\":\"FailJob\",\"onPodConditions\":[{\"type\":\"DisruptionTarget\",\"status\":"
     "\"True\"}]}",
        "1", JOB_FAIL_JOB,
        "Pod ns/p has condition DisruptionTarget matching FailJob rule at index 0"},
};

static void test_failure_policy(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(policies); i++) {
        const struct pod *pod = object_of(KIND_POD,
            "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\"},\"status\":{\"phase\":\"Failed\","
            "\"containerStatuses\":[{\"name\":\"c\",\"state\":{\"terminated\":{\"exitCode\":%s}}}],"
            "\"conditions\":[{\"type\":\"DisruptionTarget\",\"status\":\"True\"}]}}",
            policies[i].pod);
        cJSON *policy = json_make("{\"rules\":[%s]}", policies[i].rules);
        char *message = NULL;
        CU_ASSERT_EQUAL(job_failure_action(policy, pod, &message), policies[i].action);
        CU_ASSERT(c_eq(message, policies[i].message));
        free(message);
        cJSON_Delete(policy);
        projected_unref(pod);
    }
}

static void test_success_policy(void)
{
    static const struct {
        const char *rules, *done;
        int rule;
    } rows[] = {
        {"{\"succeededIndexes\":\"0\"}", "0", 0},
        {"{\"succeededIndexes\":\"0\"}", "1-4", -1},
        {"{\"succeededCount\":2}", "1", -1},
        {"{\"succeededCount\":2}", "1,4", 0},
        {"{\"succeededIndexes\":\"0\"},{\"succeededIndexes\":\"2-4\",\"succeededCount\":1}", "3",
            1},
        {"{\"succeededIndexes\":\"2-4\",\"succeededCount\":2}", "0-2", -1},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct index_set done;
        cJSON *policy = json_make("{\"rules\":[%s]}", rows[i].rules);
        index_set_parse(rows[i].done, 5, &done);
        CU_ASSERT_EQUAL(job_success_rule(policy, &done), rows[i].rule);
        index_set_done(&done);
        cJSON_Delete(policy);
    }
}

const CU_TestInfo job_tests[] = {
    {"decisions", test_decide},
    {"deadline, restarts, suspension", test_deadline_and_restarts},
    {"back-off", test_backoff},
    {"sets of indexes", test_indexes},
    {"ends by policy", test_ends_by_policy},
    {"failure policy", test_failure_policy},
    {"success policy", test_success_policy},
    CU_TEST_INFO_NULL,
};
