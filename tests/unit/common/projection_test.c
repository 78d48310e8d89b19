/* Tests of common/projection.c: every field type, absent and wrong values, references. */
#include "common/projection.h"

#include <CUnit/CUnit.h>

#include "common/time.h"

struct port {
    const char *name;
    int64_t number;
};
struct container {
    const char *image;
    int64_t cpu_milli;
    struct projected_list ports;
};
struct status {
    const char *phase;
    int64_t started_ns;
};
struct thing {
    struct object_meta meta;
    const char *node, *target_port, *fraction, *affinity, *nothing;
    struct opt_int replicas, paused, absent_int;
    bool host_network, has_selector, has_null;
    int64_t memory, count;
    struct string_map selector;
    struct string_list args;
    struct projected_list containers;
    struct status status;
};

static const struct projection_field port_fields[] = {
    PROJECT(struct port, name, "name", P_STRING),
    PROJECT(struct port, number, "containerPort", P_INT),
};
static const struct projection port_projection = PROJECTION(struct port, port_fields);
static const struct projection_field container_fields[] = {
    PROJECT(struct container, image, "image", P_STRING),
    PROJECT(struct container, cpu_milli, "resources.requests.cpu", P_QUANTITY_MILLI),
    PROJECT_OF(struct container, ports, "ports", P_LIST, &port_projection),
};
static const struct projection container_projection =
    PROJECTION(struct container, container_fields);
static const struct projection_field status_fields[] = {
    PROJECT(struct status, phase, "phase", P_STRING),
    PROJECT(struct status, started_ns, "startTime", P_TIME),
};
static const struct projection status_projection = PROJECTION(struct status, status_fields);
static const struct projection_field thing_fields[] = {
    PROJECT(struct thing, node, "spec.nodeName", P_STRING),
    PROJECT(struct thing, target_port, "spec.targetPort", P_STRING),
    PROJECT(struct thing, fraction, "spec.fraction", P_STRING),
    PROJECT(struct thing, affinity, "spec.affinity", P_JSON),
    PROJECT(struct thing, nothing, "spec.nothing", P_JSON),
    PROJECT(struct thing, replicas, "spec.replicas", P_OPT_INT),
    PROJECT(struct thing, paused, "spec.paused", P_OPT_BOOL),
    PROJECT(struct thing, absent_int, "spec.absent", P_OPT_INT),
    PROJECT(struct thing, host_network, "spec.hostNetwork", P_BOOL),
    PROJECT(struct thing, has_selector, "spec.selector", P_PRESENT),
    PROJECT(struct thing, has_null, "spec.null", P_PRESENT),
    PROJECT(struct thing, memory, "spec.memory", P_QUANTITY),
    PROJECT(struct thing, count, "spec.count", P_INT),
    PROJECT(struct thing, selector, "spec.selector", P_MAP),
    PROJECT(struct thing, args, "spec.args", P_STRINGS),
    PROJECT_OF(struct thing, containers, "spec.containers", P_LIST, &container_projection),
    PROJECT_OF(struct thing, status, "status", P_STRUCT, &status_projection),
};
static const struct projection thing_projection = PROJECTION(struct thing, thing_fields);

static void test_full(void)
{
    autojson cJSON *tree = json_make("%s",
        "{\"metadata\":{\"namespace\":\"default\",\"name\":\"a\",\"uid\":\"u-1\","
        "\"resourceVersion\":\"99\","
        "\"generation\":4,\"creationTimestamp\":\"1970-01-01T00:00:05Z\","
        "\"deletionGracePeriodSeconds\":0,"
        "\"labels\":{\"z\":\"1\",\"app\":\"web\",\"n\":3},\"annotations\":{\"k\":\"v\"},"
        "\"finalizers\":[\"f1\",\"f2\"],\"ownerReferences\":[{\"kind\":\"X\",\"name\":\"x\","
        "\"uid\":\"u0\"},"
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"ReplicaSet\",\"name\":\"rs\",\"uid\":\"u2\",\"controller\":true}]},"
        "\"spec\":{\"nodeName\":\"n1\",\"targetPort\":8080,\"fraction\":1.5,\"affinity\":{\"a\":[1]"
        "},"
        "\"replicas\":0,\"paused\":false,\"hostNetwork\":true,\"null\":null,\"memory\":\"1500m\","
        "\"count\":12345678901234567,\"selector\":{\"b\":\"2\",\"a\":\"1\"},\"args\":[\"x\",7,"
        "\"y\"],"
        "\"containers\":[{\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"1.5\"}},"
        "\"ports\":[{\"name\":\"p\",\"containerPort\":80}]},{}]},"
        "\"status\":{\"phase\":\"Running\",\"startTime\":\"1970-01-01T00:00:01Z\"}}");
    const struct thing *t = projected_new(&thing_projection, tree);
    const struct container *c = t->containers.items;

    CU_ASSERT_STRING_EQUAL(t->meta.namespace_, "default");
    CU_ASSERT_STRING_EQUAL(t->meta.resource_version, "99");
    CU_ASSERT_EQUAL(t->meta.generation, 4);
    CU_ASSERT_EQUAL(t->meta.creation_ns, 5 * NS_PER_S);
    CU_ASSERT_EQUAL(t->meta.deletion_ns, 0);
    CU_ASSERT(t->meta.deletion_grace_seconds.set && t->meta.deletion_grace_seconds.value == 0);
    CU_ASSERT_EQUAL(t->meta.labels.count, 2);
    CU_ASSERT_STRING_EQUAL(string_map_get(&t->meta.labels, "app"), "web");
    CU_ASSERT_STRING_EQUAL(string_map_label(&t->meta.labels, "z"), "1");
    CU_ASSERT_PTR_NULL(string_map_get(&t->meta.labels, "n"));
    CU_ASSERT_STRING_EQUAL(string_map_get(&t->meta.annotations, "k"), "v");
    CU_ASSERT_EQUAL(t->meta.finalizers.count, 2);
    CU_ASSERT_STRING_EQUAL(object_controller(&t->meta)->name, "rs");
    CU_ASSERT_STRING_EQUAL(t->node, "n1");
    CU_ASSERT_STRING_EQUAL(t->target_port, "8080");
    CU_ASSERT_STRING_EQUAL(t->fraction, "1.5");
    CU_ASSERT_STRING_EQUAL(t->affinity, "{\"a\":[1]}");
    CU_ASSERT_PTR_NULL(t->nothing);
    CU_ASSERT(t->replicas.set && t->replicas.value == 0);
    CU_ASSERT(t->paused.set && t->paused.value == 0);
    CU_ASSERT(!t->absent_int.set);
    CU_ASSERT(t->host_network && t->has_selector && !t->has_null);
    CU_ASSERT_EQUAL(t->memory, 2);
    CU_ASSERT_EQUAL(t->count, 12345678901234567);
    CU_ASSERT_STRING_EQUAL(t->selector.pairs[0].key, "a");
    CU_ASSERT_EQUAL(t->args.count, 2);
    CU_ASSERT_STRING_EQUAL(t->args.strings[1], "y");
    CU_ASSERT_EQUAL_FATAL(t->containers.count, 2);
    CU_ASSERT_STRING_EQUAL(c[0].image, "i");
    CU_ASSERT_EQUAL(c[0].cpu_milli, 1500);
    CU_ASSERT_EQUAL(((const struct port *)c[0].ports.items)->number, 80);
    CU_ASSERT_STRING_EQUAL(c[1].image, "");
    CU_ASSERT_EQUAL(c[1].ports.count, 0);
    CU_ASSERT_STRING_EQUAL(t->status.phase, "Running");
    CU_ASSERT_EQUAL(t->status.started_ns, NS_PER_S);
    CU_ASSERT(projected_bytes(t) > sizeof(*t) && projected_bytes(t) < 4096);
    projected_unref(t);
}

static void check_empty(const char *text)
{
    autojson cJSON *tree = json_make("%s", text);
    const struct thing *t = projected_new(&thing_projection, tree);

    CU_ASSERT_STRING_EQUAL(t->meta.name, "");
    CU_ASSERT_STRING_EQUAL(t->meta.namespace_, "");
    CU_ASSERT_STRING_EQUAL(t->node, "");
    CU_ASSERT_STRING_EQUAL(t->status.phase, "");
    CU_ASSERT_EQUAL(t->containers.count + t->args.count + t->selector.count, 0);
    CU_ASSERT_EQUAL(t->meta.owners.count, 0);
    CU_ASSERT(!t->replicas.set && !t->host_network && t->memory == 0);
    CU_ASSERT_PTR_NULL(object_controller(&t->meta));
    projected_unref(projected_ref(t));
    projected_unref(t);
}

static void test_absent_and_wrong(void)
{
    check_empty("{}");
    check_empty("[]");
    check_empty("{\"metadata\":null,\"spec\":7,\"status\":\"x\"}");
    check_empty(
        "{\"metadata\":{\"name\":[],\"labels\":[\"x\"],\"ownerReferences\":{\"a\":1}},"
        "\"spec\":{\"nodeName\":{},\"replicas\":\"3\",\"hostNetwork\":1,\"memory\":\"much\","
        "\"containers\":{},\"args\":\"x\",\"selector\":\"x\"}}");
}

static void test_no_annotations(void)
{
    struct projection lean = thing_projection;
    autojson cJSON *tree = json_make("{\"metadata\":{\"annotations\":{\"a\":\"b\"}}}");

    lean.no_annotations = true;
    const struct thing *t = projected_new(&lean, tree);
    CU_ASSERT_EQUAL(t->meta.annotations.count, 0);
    projected_unref(t);
}

/* Words that every object says are shared, not copied. */
static void test_words(void)
{
    static const char *const words[] = {
        "Active", "ReplicaSet", "True", "apps/v1", "node.kubernetes.io/not-ready", "v1", "web"};
    static const struct projection_field word_fields[] = {
        PROJECT(struct thing, node, "word", P_STRING)};
    static const struct projection words_projection = PROJECTION(struct thing, word_fields);

    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        cJSON *tree = json_make("{\"word\":\"%s\"}", words[i]);
        struct thing *a = projected_new(&words_projection, tree);
        struct thing *b = projected_new(&words_projection, tree);
        CU_ASSERT_STRING_EQUAL(a->node, words[i]);
        CU_ASSERT_PTR_EQUAL(a->node, b->node);
        projected_unref(a);
        projected_unref(b);
        cJSON_Delete(tree);
    }
}

const CU_TestInfo projection_tests[] = {
    {"every field type", test_full},
    {"absent and wrong values", test_absent_and_wrong},
    {"without annotations", test_no_annotations},
    {"words", test_words},
    CU_TEST_INFO_NULL,
};
