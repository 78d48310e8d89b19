/* Pages of /metrics/resource: what is read, what is passed over, what is refused; rates. */
#include <CUnit/CUnit.h>

#include "apiserver/connect/usages.h"

static const char page[] =
    "# HELP node_cpu_usage_seconds_total x\n"
    "# TYPE node_cpu_usage_seconds_total counter\n"
    "node_cpu_usage_seconds_total 12.5 1700000000123\n"
    "node_memory_working_set_bytes 5e+06 1700000000123\n"
    "container_cpu_usage_seconds_total{container=\"b\",namespace=\"n\",pod=\"p\"} 2 1700000000500\n"
    "container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"p\"} 100 1\n"
    "container_start_time_seconds{container=\"b\",namespace=\"n\",pod=\"p\"} 1.7e9\n"
    "container_cpu_usage_seconds_total{pod=\"p\",namespace=\"n\",container=\"a\",other=\"z\"} 0.5\n"
    "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"q\"} 1 7\n"
    "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\"} 1 7\n"
    "container_cpu_usage_seconds_total{container=\"a\n"
    "container_cpu_usage_seconds_total{container=\"a\\\"\",namespace=\"n\",pod=\"q\"} 1 7\n"
    "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} -1\n"
    "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} NaN\n"
    "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 1 x\n"
    "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 3\n"
    "resource_scrape_error 0";

static void test_page(void)
{
    struct scrape *s = NULL;
    struct error err;
    size_t count;

    CU_ASSERT_EQUAL_FATAL(scrape_parse(str_of(page), 42, &s, &err), 0);
    CU_ASSERT_EQUAL(s->cpu_ns, 12500000000);
    CU_ASSERT_EQUAL(s->memory_bytes, 5000000);
    CU_ASSERT_EQUAL(s->time_ns, 1700000000123000000);
    CU_ASSERT_EQUAL(s->count, 3);
    const struct container_sample *c = scrape_pod(s, STR("n"), STR("p"), &count);
    CU_ASSERT_EQUAL_FATAL(count, 2);
    CU_ASSERT_STRING_EQUAL(c[0].container, "a");
    CU_ASSERT_EQUAL(c[0].cpu_ns, 500000000);
    CU_ASSERT_EQUAL(c[0].time_ns, 42);
    CU_ASSERT_EQUAL(c[0].memory_bytes, -1);
    CU_ASSERT_STRING_EQUAL(c[1].container, "b");
    CU_ASSERT_EQUAL(c[1].memory_bytes, 100);
    CU_ASSERT_EQUAL(c[1].started_ns, 1700000000000000000);
    scrape_pod(s, STR("n"), STR("q"), &count);
    CU_ASSERT_EQUAL(count, 1);
    scrape_pod(s, STR("n"), STR("o"), &count);
    CU_ASSERT_EQUAL(count, 0);
    scrape_pod(s, STR("z"), STR("o"), &count);
    CU_ASSERT_EQUAL(count, 0);
    scrape_unref(s);
}

static void test_refused(void)
{
    static const char *const pages[] = {"", "\n\n", "<html>", "node_cpu_usage_seconds_total 1\n",
        "node_cpu_usage_seconds_total x\nnode_memory_working_set_bytes 1\n"};
    struct scrape *s = NULL;
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(pages); i++)
        CU_ASSERT_EQUAL(scrape_parse(str_of(pages[i]), 0, &s, &err), -ERR_BAD_REQUEST);
    autostrbuf struct strbuf many = STRBUF_EMPTY;
    strbuf_addc(&many, "node_cpu_usage_seconds_total 1\nnode_memory_working_set_bytes 1\n");
    for (int i = 0; i < 60002; i++)
        strbuf_addf(&many,
            "container_cpu_usage_seconds_total{container=\"c%d\",namespace=\"n\",pod=\"p\"} 1\n",
            i);
    CU_ASSERT_EQUAL(scrape_parse(strbuf_str(&many), 0, &s, &err), -ERR_BAD_REQUEST);
}

static void test_rates(void)
{
    const int64_t s = 1000000000;
    static const struct {
        int64_t cpu, time, started; /* of the earlier look, seconds */
        int64_t now_cpu, now_time, now_started;
        int64_t rate, window; /* nano-cores, seconds; rate -1: not known */
    } cases[] = {
        {10, 100, 5, 20, 110, 5, 1000000000, 10},
        {10, 100, 5, 10, 120, 5, 0, 20},
        {10, 100, 5, 2, 110, 106, 500000000, 4}, /* another instance */
        {10, 100, 5, 2, 110, 5, 19047619, 105},  /* a counter that went back */
        {-1, 0, 0, 1, 110, 108, 500000000, 2},   /* the first look */
        {10, 100, 5, 20, 100, 5, -1, 0},
        {-1, 0, 0, 1, 110, 0, -1, 0},
        {10, 100, 5, -1, 110, 5, -1, 0},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct container_sample before = {.cpu_ns = cases[i].cpu < 0 ? -1 : cases[i].cpu * s,
                                    .time_ns = cases[i].time * s,
                                    .started_ns = cases[i].started * s},
                                now = {.cpu_ns = cases[i].now_cpu < 0 ? -1 : cases[i].now_cpu * s,
                                    .time_ns = cases[i].now_time * s,
                                    .started_ns = cases[i].now_started * s};
        int64_t window = 0;
        CU_ASSERT_EQUAL(
            usage_rate(cases[i].cpu < 0 ? NULL : &before, &now, &window), cases[i].rate);
        CU_ASSERT_EQUAL(window, cases[i].window * s);
    }
}

extern const CU_TestInfo scrape_tests[];
const CU_TestInfo scrape_tests[] = {
    {"page", test_page}, {"refused", test_refused}, {"rates", test_rates}, CU_TEST_INFO_NULL};
