/* The syncer against a ruleset in memory: restarts, failures, a flushed table, UDP flows. */
#include <CUnit/CUnit.h>

#include <netinet/in.h>

#include "common/str.h"
#include "tests/unit/proxy/objects.h"

#define SPEC \
    "\"clusterIP\":\"10.96.0.9\",\"ports\":[{\"name\":\"dns\",\"port\":53,\"protocol\":\"UDP\"}]"

static void set(struct syncer *s, const char *endpoints)
{
    struct service *service = test_service(SPEC);
    const struct endpoint_slice *slice = test_slice(endpoints);

    syncer_set(s, "default/web", service, &slice, 1);
    projected_unref(service);
    projected_unref(slice);
}

static void applies_and_recovers(void)
{
    struct memory_ruleset *m = (struct memory_ruleset *)memory_ruleset_new();
    struct syncer *s = syncer_new(&m->base, "a");
    struct error err;
    size_t n;

    set(s, "[{\"addresses\":[\"10.1.0.1\"]}]");
    CU_ASSERT_EQUAL(syncer_apply(s, &n, &err), 0);
    CU_ASSERT_EQUAL(n, 4);
    CU_ASSERT_EQUAL(syncer_apply(s, &n, &err), 0);
    CU_ASSERT_EQUAL(n, 0);
    set(s, "[{\"addresses\":[\"10.1.0.1\"]},{\"addresses\":[\"10.1.0.2\"]}]");
    m->fail_next = true;
    CU_ASSERT(syncer_apply(s, &n, &err) < 0);
    CU_ASSERT_EQUAL(syncer_apply(s, &n, &err), 0);
    CU_ASSERT_EQUAL(n, 3); /* endpoint 1, hairpin, and the chain of two */
    CU_ASSERT_EQUAL(m->loads, 2);
    CU_ASSERT_EQUAL(rule_table_count(m->table), 6);
    m->gone = true;
    CU_ASSERT(!syncer_check(s));
    CU_ASSERT_EQUAL(syncer_apply(s, &n, &err), 0);
    CU_ASSERT_EQUAL(n, 6);
    syncer_set(s, "default/web", NULL, NULL, 0);
    CU_ASSERT_EQUAL(syncer_apply(s, &n, &err), 0);
    CU_ASSERT_EQUAL(rule_table_count(m->table), 0);
    syncer_free(s);
}

static void ends_udp_flows(void)
{
    struct memory_ruleset *m = (struct memory_ruleset *)memory_ruleset_new();
    struct syncer *s = syncer_new(&m->base, "a");
    struct error err;

    m->flow = (struct udp_flow){
        .to_addr = 0x0a600009, .to_port = 53, .endpoint_addr = 0x0a010001, .endpoint_port = 5353};
    m->has_flow = true;
    set(s, "[{\"addresses\":[\"10.1.0.1\"]}]");
    syncer_apply(s, NULL, &err);
    CU_ASSERT(m->has_flow);
    set(s, "[{\"addresses\":[\"10.1.0.1\"]},{\"addresses\":[\"10.1.0.2\"]}]");
    syncer_apply(s, NULL, &err);
    CU_ASSERT(m->has_flow);
    set(s, "[{\"addresses\":[\"10.1.0.2\"]}]");
    syncer_apply(s, NULL, &err);
    CU_ASSERT(!m->has_flow);
    m->has_flow = true;
    m->flow.to_port = 54; /* not of this service */
    syncer_set(s, "default/web", NULL, NULL, 0);
    syncer_apply(s, NULL, &err);
    CU_ASSERT(m->has_flow);
    syncer_free(s);
}

const CU_TestInfo syncer_tests[] = {
    {"applies, and recovers from failures", applies_and_recovers},
    {"ends UDP flows to endpoints that are gone", ends_udp_flows},
    CU_TEST_INFO_NULL,
};
