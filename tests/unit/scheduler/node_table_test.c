/* The node table: rows, request arithmetic, and counters that always equal a recount. */
#include <CUnit/CUnit.h>

#include "tests/unit/scheduler/objects.h"

static struct pod_info *info_of(struct node_table *t, struct pod *take_pod)
{
    struct pod_info *info = pod_info_new(&t->names, t->pods, take_pod);

    projected_unref(take_pod);
    return info;
}

static unsigned set_node(struct node_table *t, struct node *take_node, uint32_t *row)
{
    unsigned changed = node_table_set(t, take_node, row);

    projected_unref(take_node);
    return changed;
}

static void check(struct node_table *t)
{
    autostrbuf struct strbuf why;

    strbuf_init(&why, 0);
    if (!node_table_check(t, &why)) {
        printf("%s\n", why.data);
        CU_FAIL("the table differs from a recount");
    }
}

static void reports_what_changed(void)
{
    struct node_table *t = node_table_new();
    uint32_t row, again;

    CU_ASSERT(
        set_node(t, test_node("a", "4", "8Gi", "\"zone\":\"x\"", ""), &row) & EVENT_NODE_ADDED);
    CU_ASSERT_EQUAL(set_node(t, test_node("a", "4", "8Gi", "\"zone\":\"x\"", ""), &again), 0);
    CU_ASSERT_EQUAL(row, again);
    CU_ASSERT_EQUAL(
        set_node(t, test_node("a", "4", "8Gi", "\"zone\":\"y\"", ""), &row), EVENT_NODE_RELABELLED);
    CU_ASSERT_EQUAL(set_node(t, test_node("a", "5", "8Gi", "\"zone\":\"y\"", ""), &row),
        EVENT_NODE_ALLOCATABLE);
    CU_ASSERT_EQUAL(
        set_node(t, test_node("a", "5", "8Gi", "\"zone\":\"y\"", "\"unschedulable\":true"), &row),
        EVENT_NODE_TAINTED);
    CU_ASSERT_EQUAL(node_table_allocatable_of(t, RESOURCE_CPU, row), 5000);
    CU_ASSERT_PTR_NULL(label_key_value(label_index_key(&t->labels, "zone"), "x"));
    check(t);
    CU_ASSERT(node_table_remove(t, "a"));
    CU_ASSERT(!node_table_remove(t, "a"));
    CU_ASSERT_PTR_NULL(label_index_key(&t->labels, "zone"));
    node_table_free(t);
}

static void request_arithmetic(void)
{
    struct node_table *t = node_table_new();
    struct pod_info *p = info_of(
        t, test_pod("p",
               "\"overhead\":{\"cpu\":\"10m\"},"
               "\"initContainers\":["
               "{\"name\":\"i1\",\"resources\":{\"requests\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}},"
               "{\"name\":\"s\",\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":"
               "\"200m\"}}},"
               "{\"name\":\"i2\",\"resources\":{\"requests\":{\"cpu\":\"2\"}}}],"
               "\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{\"cpu\":\"300m\","
               "\"memory\":\"100Mi\",\"example.com/gpu\":\"2\"}}},{\"name\":\"b\"}]"));

    /* init i2 runs beside the sidecar: 2200m, above 300m + 200m; plus overhead */
    CU_ASSERT_EQUAL(p->request[RESOURCE_CPU], 2210);
    CU_ASSERT_EQUAL(p->request[RESOURCE_MEMORY], 1ll << 30);
    CU_ASSERT_EQUAL(p->extended_count, 1);
    CU_ASSERT_EQUAL(p->extended[0].amount, 2);
    CU_ASSERT_EQUAL(p->nonzero[0], 2210);
    CU_ASSERT_EQUAL(p->nonzero[1], 1ll << 30);
    pod_info_free(t->pods, p);
    p = info_of(t, test_pod("q", ""));
    CU_ASSERT_EQUAL(p->request[RESOURCE_CPU], 0);
    CU_ASSERT_EQUAL(p->nonzero[0], 100);
    CU_ASSERT_EQUAL(p->nonzero[1], 200ll << 20);
    pod_info_free(t->pods, p);
    p = info_of(t, test_pod("r", "\"resources\":{\"requests\":{\"cpu\":\"5\"}},"
                                 "\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{"
                                 "\"cpu\":\"1\",\"memory\":\"bad\"}}}]"));
    CU_ASSERT_EQUAL(p->request[RESOURCE_CPU], 5000);
    CU_ASSERT_EQUAL(p->request[RESOURCE_MEMORY], 0);
    pod_info_free(t->pods, p);
    p = info_of(t, test_pod_requests("s", "\"memory\":\"9E\",\"cpu\":\"9E\""));
    CU_ASSERT_EQUAL(p->request[RESOURCE_MEMORY], RESOURCE_AMOUNT_MAX);
    CU_ASSERT_EQUAL(p->request[RESOURCE_CPU], RESOURCE_AMOUNT_MAX);
    pod_info_free(t->pods, p);
    node_table_free(t);
}

static void counts_pods(void)
{
    struct node_table *t = node_table_new();
    uint32_t row;

    set_node(t, test_node("a", "4", "8Gi", "", ""), &row);
    struct pod_info *p =
        info_of(t, test_pod_requests("p", "\"cpu\":\"500m\",\"example.com/x\":\"3\""));
    node_table_add_pod(t, p, row);
    CU_ASSERT_EQUAL(node_table_free_of(t, RESOURCE_CPU, row), 3500);
    CU_ASSERT_EQUAL(node_table_free_of(t, RESOURCE_PODS, row), 109);
    check(t);
    /* A resource that appears after a pod that uses it is counted from the pods. */
    autojson cJSON *tree = json_make("{\"metadata\":{\"name\":\"a\"},\"status\":{\"allocatable\":"
                                     "{\"cpu\":\"4\",\"example.com/x\":\"10\"}}}");
    set_node(t, projected_new(&node_projection, tree), &row);
    CU_ASSERT_EQUAL(node_table_free_of(t, p->extended[0].id, row), 7);
    check(t);
    node_table_remove_pod(t, p);
    CU_ASSERT_EQUAL(node_table_free_of(t, p->extended[0].id, row), 10);
    check(t);
    pod_info_free(t->pods, p);
    node_table_free(t);
}

static void random_changes(void)
{
    struct node_table *t = node_table_new();
    struct pod_info *pods[200] = {NULL};
    uint32_t state = 7, row;

    for (int step = 0; step < 20000; step++) {
        state = state * 1664525 + 1013904223;
        uint32_t r = state >> 10, n = r % 200;
        char name[16], cpu[16], zone[40];
        snprintf(name, sizeof(name), "n%u", n);
        if (r / 200 % 3 == 0 && !pods[n] && t->count) {
            snprintf(cpu, sizeof(cpu), "\"cpu\":\"%um\"", r % 700);
            pods[n] = info_of(t, test_pod_requests(name, cpu));
            uint32_t at = r % t->capacity;
            while (!node_set_has(&t->live, at))
                at = (at + 1) % t->capacity;
            node_table_add_pod(t, pods[n], at);
        } else if (r / 200 % 3 == 0) {
            if (pods[n])
                node_table_remove_pod(t, pods[n]);
            pod_info_free(t->pods, pods[n]);
            pods[n] = NULL;
        } else if (r / 200 % 9 == 1) {
            node_table_remove(t, name);
        } else {
            snprintf(cpu, sizeof(cpu), "%u", r % 64);
            snprintf(zone, sizeof(zone), "\"zone\":\"%u\",\"host\":\"%u\"", r % 5, n);
            set_node(t,
                test_node(name, cpu, "1Gi", zone,
                    r % 4
                        ? ""
                        : "\"taints\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]"),
                &row);
        }
        if (step % 100 == 0)
            check(t);
    }
    check(t);
    for (size_t i = 0; i < ARRAY_COUNT(pods); i++) {
        if (pods[i])
            node_table_remove_pod(t, pods[i]);
        pod_info_free(t->pods, pods[i]);
    }
    node_table_free(t);
}

const CU_TestInfo node_table_tests[] = {
    {"set reports what changed", reports_what_changed},
    {"request arithmetic", request_arithmetic},
    {"pods are counted", counts_pods},
    {"random changes keep every counter right", random_changes},
    CU_TEST_INFO_NULL,
};
