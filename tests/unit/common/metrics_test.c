/* Tests of common/metrics.c: values, the text format, concurrent use. */
#include "common/metrics.h"

#include <CUnit/CUnit.h>

#include "common/env.h"

static const double bounds[] = {0.1, 1, 10, 0};
static const struct metric_info requests = {
    "requests_total", METRIC_COUNTER, "Requests.", {"verb", "code"}};
static const struct metric_info depth = {"depth", METRIC_GAUGE, "Depth.", {NULL}};
static const struct metric_info latency = {
    "latency_seconds", METRIC_HISTOGRAM, "Latency.", {"verb"}, bounds};

static void test_text(void)
{
    struct metrics *m = metrics_new();
    struct strbuf out;
    static const char expected[] = "# HELP depth Depth.\n"
                                   "# TYPE depth gauge\n"
                                   "depth -2.5\n"
                                   "# HELP latency_seconds Latency.\n"
                                   "# TYPE latency_seconds histogram\n"
                                   "latency_seconds_bucket{verb=\"GET\",le=\"0.1\"} 1\n"
                                   "latency_seconds_bucket{verb=\"GET\",le=\"1\"} 3\n"
                                   "latency_seconds_bucket{verb=\"GET\",le=\"10\"} 3\n"
                                   "latency_seconds_bucket{verb=\"GET\",le=\"+Inf\"} 4\n"
                                   "latency_seconds_sum{verb=\"GET\"} 101.55\n"
                                   "latency_seconds_count{verb=\"GET\"} 4\n"
                                   "# HELP requests_total Requests.\n"
                                   "# TYPE requests_total counter\n"
                                   "requests_total{verb=\"GET\",code=\"200\"} 3\n"
                                   "requests_total{verb=\"a\\\"b\\\\c\\nd\",code=\"500\"} 1\n"
                                   "# HELP process_cpu_seconds_total ";

    metric_add(m, &requests, 1, "GET", "200");
    metric_add(m, &requests, 2, "GET", "200");
    metric_add(m, &requests, 1, "a\"b\\c\nd", "500");
    metric_set(m, &depth, 4);
    metric_add(m, &depth, -6.5);
    metric_observe(m, &latency, 0.05, "GET");
    metric_observe(m, &latency, 0.5, "GET");
    metric_observe(m, &latency, 1, "GET");
    metric_observe(m, &latency, 100, "GET");
    CU_ASSERT_EQUAL(metric_value(m, &requests, "GET", "200"), 3);
    CU_ASSERT_EQUAL(metric_value(m, &requests, "GET", "404"), 0);
    CU_ASSERT_EQUAL(metric_value(m, &latency, "GET"), 4);
    strbuf_init(&out, 0);
    metrics_print(m, &out);
    CU_ASSERT(str_starts(strbuf_str(&out), str_of(expected)));
    if (!str_starts(strbuf_str(&out), str_of(expected)))
        printf("%s", out.data);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\nprocess_resident_memory_bytes "));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\nprocess_start_time_seconds 1"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\nprocess_open_fds "));
    strbuf_done(&out);
    metrics_free(m);
}

static void test_null_is_nothing(void)
{
    metric_add(NULL, &requests, 1, "GET", "200");
    CU_ASSERT_EQUAL(metric_value(NULL, &requests, "GET", "200"), 0);
    CU_ASSERT_PTR_EQUAL(metrics_default(), metrics_default());
}

static void add_many(void *arg)
{
    struct metrics *m = arg;
    char code[8];

    for (int i = 0; i < 5000; i++) {
        snprintf(code, sizeof(code), "%d", i % 50);
        metric_add(m, &requests, 1, "GET", code);
        metric_observe(m, &latency, i % 20, "GET");
    }
}

static void test_concurrent(void)
{
    struct env *env = env_new_real();
    struct metrics *m = metrics_new();
    struct task *tasks[4];

    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        tasks[i] = env_spawn(env, "add", add_many, m);
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        env_join(env, tasks[i]);
    CU_ASSERT_EQUAL(metric_value(m, &requests, "GET", "7"), 400);
    CU_ASSERT_EQUAL(metric_value(m, &latency, "GET"), 20000);
    metrics_free(m);
    env_free(env);
}

const CU_TestInfo metrics_tests[] = {
    {"text format", test_text},
    {"no registry", test_null_is_nothing},
    {"concurrent", test_concurrent},
    CU_TEST_INFO_NULL,
};
