/* The picture of the cluster: events in any order, assume, confirm, forget. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "tests/unit/scheduler/objects.h"

static struct env *env;

static struct cluster *start(void)
{
    env = env_new_real();
    return cluster_new(env);
}

static void stop(struct cluster *c)
{
    autostrbuf struct strbuf why;

    strbuf_init(&why, 0);
    CU_ASSERT(node_table_check(c->nodes, &why));
    cluster_free(c);
    env_free(env);
}

static int64_t free_cpu(struct cluster *c, const char *node)
{
    return node_table_free_of(c->nodes, RESOURCE_CPU, node_table_find(c->nodes, node)->row);
}

static struct pod_info *schedule(struct cluster *c, int64_t now_ns)
{
    struct pod_info *pod = queue_pop(c->queue, now_ns);
    struct decision d;
    int64_t arrived_ns;

    if (!pod)
        return NULL;
    scheduler_decide(c->decider, c->nodes, pod, &d);
    if (d.row == ROW_NONE)
        queue_put_unschedulable(c->queue, pod, d.refused_by, now_ns);
    else
        cluster_assume(c, pod, d.row, 0, &arrived_ns);
    return pod;
}

#define CPU(x) "\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"" x "\"}}}]"

static void assume_confirm(void)
{
    struct cluster *c = start();
    struct node *node = test_node("n", "4", "8Gi", "", "");
    struct pod *waiting = test_pod("p", CPU("1"));
    struct pod *bound = test_pod("p", "\"nodeName\":\"n\"," CPU("1"));

    cluster_node_changed(c, NULL, node, 0);
    cluster_pod_changed(c, NULL, waiting, 0);
    CU_ASSERT_PTR_NOT_NULL(schedule(c, 0));
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    cluster_pod_changed(c, waiting, waiting, 0); /* a status update while the bind is under way */
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    CU_ASSERT_PTR_NULL(queue_pop(c->queue, 0));
    cluster_pod_changed(c, waiting, bound, 0);
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    CU_ASSERT(!cluster_find(c, "uid-p")->assumed);
    cluster_forget(c, "uid-p", 1, 0); /* the answer came late: the pod is bound */
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    cluster_pod_changed(c, bound, waiting, 0); /* an old version */
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    cluster_pod_changed(c, bound, NULL, 0);
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 4000);
    projected_unref(node);
    projected_unref(waiting);
    projected_unref(bound);
    stop(c);
}

static void failed_bind(void)
{
    struct cluster *c = start();
    struct node *node = test_node("n", "1", "8Gi", "", "");
    struct pod *p = test_pod("p", CPU("1")), *q = test_pod("q", CPU("1"));

    cluster_node_changed(c, NULL, node, 0);
    cluster_pod_changed(c, NULL, p, 0);
    cluster_pod_changed(c, NULL, q, 1);
    CU_ASSERT_PTR_NOT_NULL(schedule(c, 2));
    CU_ASSERT_PTR_NOT_NULL(schedule(c, 2));
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 1);
    cluster_forget(c, "uid-p", 1, 3);
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 1000);
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 0); /* q got its chance */
    struct pod_info *next = schedule(c, 3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(next);
    CU_ASSERT_EQUAL(next->row, 0);
    CU_ASSERT_STRING_EQUAL(next->object->meta.name, "q");
    projected_unref(node);
    projected_unref(p);
    projected_unref(q);
    stop(c);
}

static void nodes_come_and_go(void)
{
    struct cluster *c = start();
    struct node *node = test_node("n", "4", "8Gi", "", "");
    struct pod *bound = test_pod("b", "\"nodeName\":\"n\"," CPU("3"));
    struct pod *big = test_pod("p", CPU("2"));

    cluster_pod_changed(c, NULL, bound, 0); /* before its node is known */
    CU_ASSERT_EQUAL(c->homeless, 1);
    cluster_pod_changed(c, NULL, big, 0);
    CU_ASSERT_PTR_NOT_NULL(schedule(c, 0));
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 1);
    cluster_node_changed(c, NULL, node, 1);
    CU_ASSERT_EQUAL(c->homeless, 0);
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 1000);
    CU_ASSERT_EQUAL(
        queue_count(c->queue, QUEUE_UNSCHEDULABLE), 1); /* it would not fit: not woken */
    cluster_pod_changed(c, bound, NULL, 2);
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 0); /* room was made */
    struct node *more = test_node("n", "5", "8Gi", "", "");
    cluster_node_changed(c, node, NULL, 3);
    cluster_node_changed(c, NULL, more, 3);
    CU_ASSERT_PTR_NOT_NULL(schedule(c, 4));
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    cluster_node_changed(c, more, NULL, 5); /* the node vanishes while the bind is under way */
    CU_ASSERT_EQUAL(cluster_find(c, "uid-p")->row, ROW_NONE);
    cluster_forget(c, "uid-p", 1, 6);
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_BACKING_OFF), 1);
    projected_unref(node);
    projected_unref(more);
    projected_unref(bound);
    projected_unref(big);
    stop(c);
}

/* A node arrives tainted and without resources, as kubelets do: each step alone does not help, the
 * last does. */
static void nodes_grow_up(void)
{
    struct cluster *c = start();
    struct pod *pod = test_pod("p", CPU("1"));
    struct node *full = test_node("full", "1", "8Gi", "", "");
    struct pod *there = test_pod("x", "\"nodeName\":\"full\"," CPU("1"));
    static const char taint[] =
        "\"taints\":[{\"key\":\"node.kubernetes.io/not-ready\",\"effect\":\"NoSchedule\"}]";
    struct node *steps[] = {test_node("n", "0", "0", "", taint),
        test_node("n", "4", "8Gi", "", taint), test_node("n", "4", "8Gi", "", "")};

    for (int with_node = 0; with_node < 2; with_node++) {
        if (with_node) {
            cluster_node_changed(c, NULL, full, 0);
            cluster_pod_changed(c, NULL, there, 0);
        }
        cluster_pod_changed(c, NULL, pod, 0);
        schedule(c, 0);
        CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 1);
        for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
            cluster_node_changed(c, i ? steps[i - 1] : NULL, steps[i], 1);
            CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), i + 1 < ARRAY_COUNT(steps));
        }
        cluster_pod_changed(c, pod, NULL, 2);
        cluster_node_changed(c, steps[2], NULL, 2);
    }
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        projected_unref(steps[i]);
    projected_unref(pod);
    projected_unref(full);
    projected_unref(there);
    stop(c);
}

/* Another scheduler binds a nominated pod elsewhere: what was kept free for it is free for others.
 */
static void nominated_and_bound_elsewhere(void)
{
    struct cluster *c = start();
    struct node *a = test_node("a", "1", "8Gi", "", ""), *b = test_node("b", "1", "8Gi", "", "");
    struct pod *there = test_pod("x", "\"nodeName\":\"b\"," CPU("1"));
    struct pod *chosen = test_pod("p", CPU("1")), *other = test_pod("q", CPU("1"));
    struct pod *bound = test_pod("p", "\"nodeName\":\"b\"," CPU("1"));

    cluster_node_changed(c, NULL, a, 0);
    cluster_node_changed(c, NULL, b, 0);
    cluster_pod_changed(c, NULL, there, 0);
    cluster_pod_changed(c, NULL, chosen, 0);
    struct pod_info *first = queue_pop(c->queue, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    cluster_nominate(c, first, node_table_find(c->nodes, "a")->row, 0);
    queue_put_unschedulable(c->queue, first, 1, 0);
    cluster_pod_changed(c, NULL, other, 1);
    CU_ASSERT_PTR_NOT_NULL(schedule(c, 1));
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 2);
    cluster_pod_changed(c, chosen, bound, 2);
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 0);
    projected_unref(a);
    projected_unref(b);
    projected_unref(there);
    projected_unref(chosen);
    projected_unref(other);
    projected_unref(bound);
    stop(c);
}

static void not_ours(void)
{
    struct cluster *c = start();
    struct node *node = test_node("n", "4", "8Gi", "", "");
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"o\",\"namespace\":\"default\",\"uid\":\"u\"},"
                  "\"spec\":{\"schedulerName\":\"other\"}}");
    struct pod *other = projected_new(&pod_projection, tree);
    json_set_string_at(tree, "spec.schedulerName", "default-scheduler");
    json_set_string_at(tree, "metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
    struct pod *leaving = projected_new(&pod_projection, tree);

    cluster_node_changed(c, NULL, node, 0);
    cluster_pod_changed(c, NULL, other, 0);
    CU_ASSERT_PTR_NULL(schedule(c, 0));
    cluster_pod_changed(c, other, leaving, 0);
    CU_ASSERT_PTR_NULL(schedule(c, 0));
    CU_ASSERT_EQUAL(HASH_COUNT(c->pods), 0);
    projected_unref(node);
    projected_unref(other);
    projected_unref(leaving);
    stop(c);
}

static void add_member(struct cluster *c, const char *name, const char *cpu)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"uid\":\"uid-%s\",\"labels\":{"
        "\"skiff.io/gang\":\"g\",\"skiff.io/gang-size\":\"3\"}},\"spec\":{\"schedulerName\":"
        "\"default-scheduler\",\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"%s\"}}}]}}",
        name, name, cpu);
    struct pod *pod = projected_new(&pod_projection, tree);

    cluster_pod_changed(c, NULL, pod, 1);
    projected_unref(pod);
}

static size_t place_next(struct cluster *c, int64_t now_ns, struct strbuf *message)
{
    struct gang_place *places = NULL;
    struct pod_info *pod = queue_pop(c->queue, now_ns);
    size_t n = pod ? cluster_place_gang(c, pod, now_ns, &places, message) : 0;

    free(places);
    return n;
}

static void gangs(void)
{
    struct cluster *c = start();
    autostrbuf struct strbuf message = STRBUF_EMPTY;
    struct node *node = test_node("n", "4", "8Gi", "", "");
    struct node *large = test_node("n", "9", "8Gi", "", "");

    cluster_node_changed(c, NULL, node, 0);
    add_member(c, "a", "2");
    CU_ASSERT_EQUAL(place_next(c, 1, &message), 0);
    CU_ASSERT_STRING_EQUAL(message.data, "waiting for the gang: 1 of 3 pods are there");
    add_member(c, "b", "2");
    add_member(c, "c", "2");
    CU_ASSERT_EQUAL(place_next(c, NS_PER_S * 5, &message), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(message.data, "the gang does not fit, pod"));
    CU_ASSERT_PTR_NOT_NULL(strstr(message.data, "0/1 nodes are available: 1 Insufficient cpu"));
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 4000); /* nothing is held */
    CU_ASSERT_EQUAL(queue_count(c->queue, QUEUE_UNSCHEDULABLE), 3);
    cluster_node_changed(c, node, large, NS_PER_S * 20);
    CU_ASSERT_EQUAL(place_next(c, NS_PER_S * 20, &message), 3);
    CU_ASSERT_EQUAL(free_cpu(c, "n"), 3000);
    CU_ASSERT_PTR_NULL(queue_pop(c->queue, NS_PER_S * 20));
    projected_unref(node);
    projected_unref(large);
    stop(c);
}

const CU_TestInfo cluster_tests[] = {
    {"assume and confirm", assume_confirm},
    {"a failed bind gives the place back", failed_bind},
    {"nodes come and go", nodes_come_and_go},
    {"nodes grow up in steps", nodes_grow_up},
    {"a nominated pod bound elsewhere wakes others", nominated_and_bound_elsewhere},
    {"pods that are not ours to place", not_ours},
    {"gangs: all or none", gangs},
    CU_TEST_INFO_NULL,
};
