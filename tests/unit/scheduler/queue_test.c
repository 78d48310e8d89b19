/* The queue: order, back-off, waking. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "scheduler/plugin.h"
#include "tests/unit/scheduler/objects.h"

static struct resource_names names;
static struct pod_index *pods;

static struct pod_info *pod(const char *name, const char *spec)
{
    struct pod *object = test_pod(name, spec);

    resource_names_init(&names);
    if (!pods)
        pods = pod_index_new();
    struct pod_info *info = pod_info_new(&names, pods, object);
    resource_names_done(&names);
    projected_unref(object);
    return info;
}

static uint64_t mask_of(const char *name)
{
    for (size_t i = 0; i < plugin_count; i++)
        if (c_eq(plugins[i]->name, name))
            return 1ull << i;
    return 0;
}

static void priority_then_time(void)
{
    struct queue *q = queue_new();
    struct pod_info *p[] = {pod("a", ""), pod("b", "\"priority\":5"), pod("c", ""),
        pod("d", "\"priority\":-1"), pod("e", "\"priority\":5")};
    static const char order[] = "beacd";
    int64_t arrived_ns;

    for (size_t i = 0; i < ARRAY_COUNT(p); i++)
        queue_add(q, p[i], (int64_t)i + 1);
    for (size_t i = 0; i < ARRAY_COUNT(p); i++) {
        struct pod_info *next = queue_pop(q, 10);
        CU_ASSERT_EQUAL_FATAL(next->object->meta.name[0], order[i]);
        CU_ASSERT_EQUAL(queue_taken(q, next, &arrived_ns), 1);
    }
    CU_ASSERT_PTR_NULL(queue_pop(q, 10));
    for (size_t i = 0; i < ARRAY_COUNT(p); i++)
        pod_info_free(pods, p[i]);
    queue_free(q);
}

static bool say(void *arg, const struct pod_info *info, uint64_t interested, uint64_t *refused_by)
{
    *refused_by = mask_of("TaintToleration");
    return *(bool *)arg;
}

static void wakes_on_its_events_only(void)
{
    struct queue *q = queue_new();
    struct pod_info *p = pod("a", "");
    bool yes = true, no = false;

    queue_add(q, p, 0);
    CU_ASSERT_PTR_EQUAL(queue_pop(q, 0), p);
    queue_put_unschedulable(q, p, mask_of("FitResource"), 0);
    CU_ASSERT_PTR_NULL(queue_pop(q, 0));
    queue_wake(q, EVENT_NODE_RELABELLED, say, &yes, 1);
    CU_ASSERT_EQUAL(queue_count(q, QUEUE_UNSCHEDULABLE), 1);
    queue_wake(q, EVENT_NODE_TAINTED, say, &yes, 1);
    CU_ASSERT_EQUAL(queue_count(q, QUEUE_UNSCHEDULABLE), 1);
    queue_wake(q, EVENT_POD_REMOVED, say, &no, 1); /* refused for a taint now */
    CU_ASSERT_EQUAL(queue_count(q, QUEUE_UNSCHEDULABLE), 1);
    queue_wake(q, EVENT_NODE_TAINTED, say, &no, 1);
    CU_ASSERT(p->queued->refused_by & mask_of("TaintToleration"));
    queue_wake(q, EVENT_POD_REMOVED, say, &yes, 1);
    CU_ASSERT_EQUAL(queue_count(q, QUEUE_BACKING_OFF), 1);
    /* nothing else to do, so it need not wait for its second of back-off */
    CU_ASSERT_PTR_EQUAL(queue_pop(q, 1), p);
    queue_put_unschedulable(q, p, mask_of("FitResource"), 2);
    int64_t due = queue_tick(q, 2);
    CU_ASSERT(due > 2 && due <= 31 * NS_PER_S);
    queue_tick(q, 301 * NS_PER_S);
    CU_ASSERT_EQUAL(queue_count(q, QUEUE_ACTIVE), 1);
    queue_remove(q, p);
    CU_ASSERT_PTR_NULL(p->queued);
    pod_info_free(pods, p);
    queue_free(q);
}

static void errors_back_off(void)
{
    static const int64_t seconds[] = {1, 2, 4, 8, 10, 10};
    struct queue *q = queue_new();
    struct pod_info *p = pod("a", "");
    int64_t now_ns = 0;

    queue_add(q, p, 0);
    for (size_t i = 0; i < ARRAY_COUNT(seconds); i++) {
        CU_ASSERT_PTR_EQUAL_FATAL(queue_pop(q, now_ns), p);
        queue_put_failed(q, p, 0, now_ns);
        CU_ASSERT_PTR_NULL(queue_pop(q, now_ns + seconds[i] * NS_PER_S - 1));
        CU_ASSERT_EQUAL(queue_tick(q, now_ns), now_ns + seconds[i] * NS_PER_S);
        now_ns += seconds[i] * NS_PER_S;
    }
    queue_remove(q, p);
    pod_info_free(pods, p);
    queue_free(q);
}

static void gates(void)
{
    struct queue *q = queue_new();
    struct pod_info *p = pod("a", "\"schedulingGates\":[{\"name\":\"x\"}]"), *open = pod("a", "");

    queue_add(q, p, 0);
    CU_ASSERT_PTR_NULL(queue_pop(q, 0));
    CU_ASSERT_EQUAL(queue_count(q, QUEUE_GATED), 1);
    queue_replace(q, p, open, true, 1);
    CU_ASSERT_PTR_EQUAL(queue_pop(q, 1), open);
    queue_put_unschedulable(q, open, 0, 1);
    queue_remove(q, open);
    pod_info_free(pods, p);
    pod_info_free(pods, open);
    queue_free(q);
}

const CU_TestInfo queue_tests[] = {
    {"priority, then time", priority_then_time},
    {"wakes on its events only", wakes_on_its_events_only},
    {"errors back off", errors_back_off},
    {"gates", gates},
    CU_TEST_INFO_NULL,
};
