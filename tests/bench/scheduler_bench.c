/*
 * What a decision of the scheduler costs, without an API: `bench-scheduler [NODES]`.
 *
 * Method: the cluster picture is filled with nodes and pods as the informers would; then pods are
 * popped, decided and assumed one after the other, and the CPU time of these three is divided by
 * their number. "Distinct" pods differ in what they request, so that nothing can be reused. Every
 * default plugin runs and all nodes are looked at.
 *
 * Prints NAME <tab> VALUE <tab> UNIT <tab> TARGET.
 */
#include <malloc.h>
#include <time.h>

#include "common/time.h"
#include "scheduler/cluster.h"
#include "scheduler/workloads.h"

#define ZONES 10

struct bench {
    struct env *env;
    struct cluster *cluster;
    uint32_t nodes;
    int made;
};

static void add_node(struct bench *b, uint32_t i)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"node-%u\",\"labels\":{\"kubernetes.io/hostname\":\"node-%u\","
        "\"topology.kubernetes.io/zone\":\"zone-%u\",\"kubernetes.io/os\":\"linux\","
        "\"kubernetes.io/arch\":\"amd64\"}},\"status\":{\"allocatable\":{\"cpu\":\"%u\","
        "\"memory\":\"%uGi\",\"pods\":\"110\",\"ephemeral-storage\":\"100Gi\"}}}",
        i, i, i % ZONES, 16 + i % 3 * 16, 64 + i % 5 * 32);
    struct node *node = projected_new(&node_projection, tree);

    cluster_node_changed(b->cluster, NULL, node, 0);
    projected_unref(node);
}

static struct bench start(uint32_t nodes)
{
    struct bench b = {.env = env_new_real(), .nodes = nodes};

    b.cluster = cluster_new(b.env);
    for (uint32_t i = 0; i < nodes; i++)
        add_node(&b, i);
    return b;
}

static void stop(struct bench *b)
{
    cluster_free(b->cluster);
    env_free(b->env);
}

/* spec: further members, each with a comma behind it. node: NULL for a pod that waits. */
static void add_pod(struct bench *b, const char *app, int milli_cpu, int memory_mi,
    const char *node, const char *spec)
{
    int i = b->made++;
    autofree char *on = node ? str_format("\"nodeName\":\"%s\",", node) : xstrdup("");
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"pod-%d\",\"namespace\":\"default\",\"uid\":\"uid-%d\","
                  "\"labels\":"
                  "{\"app\":\"%s\"}},\"spec\":{%s%s\"schedulerName\":\"default-scheduler\","
                  "\"containers\":[{\"image\":\"registry/"
                  "app:1\",\"resources\":{\"requests\":{\"cpu\":\"%dm\","
                  "\"memory\":\"%dMi\"}}}]},\"status\":{\"phase\":\"Pending\"}}",
            i, i, app, on, spec, milli_cpu, memory_mi);
    struct pod *pod = projected_new(&pod_projection, tree);

    cluster_pod_changed(b->cluster, NULL, pod, i);
    projected_unref(pod);
}

/* CPU time of this process: other work on the machine does not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Decides everything that waits; microseconds a pod. */
static double decide_all(struct bench *b)
{
    struct cluster *c = b->cluster;
    struct pod_info *pod;
    struct decision d;
    int64_t arrived_ns, start_ns = cpu_ns();
    size_t n = 0, refused = 0;

    for (; (pod = queue_pop(c->queue, start_ns)); n++) {
        scheduler_decide(c->decider, c->nodes, pod, &d);
        if (d.row == ROW_NONE) {
            refused++;
            queue_put_unschedulable(c->queue, pod, d.refused_by, start_ns);
        } else {
            cluster_assume(c, pod, d.row, start_ns, &arrived_ns);
        }
    }
    if (refused)
        fprintf(stderr, "%zu of %zu pods found no node\n", refused, n);
    return (double)(cpu_ns() - start_ns) / 1e3 / (double)n;
}

static void print(const char *name, double value, const char *unit, const char *target)
{
    printf("%s\t%.2f\t%s\t%s\n", name, value, unit, target);
    fflush(stdout);
}

#define SPREAD                                                                                \
    "\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":"                          \
    "\"topology.kubernetes.io/zone\",\"whenUnsatisfiable\":\"%s\",\"labelSelector\":{"        \
    "\"matchLabels\":{\"app\":\"web\"}}},{\"maxSkew\":1,\"topologyKey\":"                     \
    "\"kubernetes.io/hostname\",\"whenUnsatisfiable\":\"ScheduleAnyway\",\"labelSelector\":{" \
    "\"matchLabels\":{\"app\":\"web\"}}}],"
#define TERM(key) \
    "{\"topologyKey\":\"" key "\",\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}}}"
#define PREFERRED                                                                               \
    "\"affinity\":{\"podAffinity\":{\"preferredDuringSchedulingIgnoredDuringExecution\":[{"     \
    "\"weight\":10,\"podAffinityTerm\":" TERM(                                                  \
        "topology.kubernetes.io/zone") "}]},"                                                   \
                                       "\"podAntiAffinity\":{"                                  \
                                       "\"preferredDuringSchedulingIgnoredDuringExecution\":[{" \
                                       "\"weight\":5,"                                          \
                                       "\"podAffinityTerm\":" TERM(                             \
                                           "kubernetes.io/hostname") "}]}},"
#define REQUIRED                                                                                 \
    "\"affinity\":{\"podAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[" TERM(  \
        "topology.kubernetes.io/zone") "]},\"podAntiAffinity\":{"                                \
                                       "\"requiredDuringSchedulingIgnoredDuringExecution\":[{"   \
                                       "\"topologyKey\":"                                        \
                                       "\"kubernetes.io/"                                        \
                                       "hostname\",\"labelSelector\":{\"matchLabels\":{\"app\":" \
                                       "\"rival\"}}}]}},"

struct kind {
    const char *name, *app, *spec, *target;
    bool service;
};

static const struct kind kinds[] = {
    {"basic", "none", "", "20", false},
    {"zone and host spread", "web", SPREAD, "40", false},
    {"preferred affinity", "web", PREFERRED, "40", false},
    {"default spreading", "web", "", "40", true},
};

static void add_service(struct bench *b)
{
    autojson cJSON *tree = json_make("{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},"
                                     "\"spec\":{\"selector\":{\"app\":\"web\"}}}");
    struct service *s = projected_new(&owning_service_projection, tree);

    workloads_set_service(b->cluster->nodes->workloads, NULL, s);
    projected_unref(s);
}

static void add_many(struct bench *b, const struct kind *kind, int pods, bool identical)
{
    for (int i = 0; i < pods; i++)
        add_pod(b, kind->app, identical ? 100 : 50 + i % 997, identical ? 128 : 64 + i % 1009, NULL,
            kind->spec);
}

static void time_kind(const struct kind *kind, uint32_t nodes)
{
    struct bench b = start(nodes);

    if (kind->service)
        add_service(&b);
    for (int i = 0; i < 10000; i++) { /* there are running pods */
        char node[32];
        snprintf(node, sizeof(node), "node-%u", (unsigned)i % nodes);
        add_pod(&b, i % 4 ? "other" : kind->app, 100, 128, node, "");
    }
    add_many(&b, kind, 500, false);
    decide_all(&b);
    add_many(&b, kind, 2000, false);
    autofree char *distinct = str_format("%s, distinct pods", kind->name);
    print(distinct, decide_all(&b), "us", kind->target);
    add_many(&b, kind, 2000, true);
    autofree char *identical = str_format("%s, identical pods", kind->name);
    print(identical, decide_all(&b), "us", "5");
    stop(&b);
}

static void time_required(uint32_t nodes)
{
    static const struct kind kind = {"required affinity", "web", REQUIRED, "60", false};
    struct bench b = start(nodes);

    for (int i = 0; i < 50000; i++) {
        char node[32];
        snprintf(node, sizeof(node), "node-%u", (unsigned)i % nodes);
        add_pod(&b,
            i % 100 == 0 ? "rival"
            : i % 3      ? "web"
                         : "other",
            10, 16, node, i % 7 ? "" : REQUIRED);
    }
    add_many(&b, &kind, 1000, false);
    print("required affinity, 50000 pods, distinct", decide_all(&b), "us", "60");
    add_many(&b, &kind, 1000, true);
    print("required affinity, 50000 pods, identical", decide_all(&b), "us", "5");
    stop(&b);
}

static void time_preemption(uint32_t nodes)
{
    struct bench b = start(0);
    int64_t spent = 0;
    const int decisions = 300;

    for (uint32_t i = 0; i < nodes; i++) {
        char node[32];
        add_node(&b, i);
        snprintf(node, sizeof(node), "node-%u", i);
        for (uint32_t k = 0; k < 16 + i % 3 * 16; k += 4)
            add_pod(&b, "low", 3900, 512, node, "");
    }
    for (int i = 0; i < decisions; i++) {
        add_pod(&b, "high", 9000 + i, 512, NULL, "\"priority\":1000,");
        struct pod_info *pod = queue_pop(b.cluster->queue, i);
        struct decision d;
        int64_t start_ns = cpu_ns();
        scheduler_decide(b.cluster->decider, b.cluster->nodes, pod, &d);
        spent += cpu_ns() - start_ns;
        if (!d.preemption.victim_count)
            fprintf(stderr, "no victims: %s\n", d.message);
        queue_put_unschedulable(b.cluster->queue, pod, d.refused_by, i);
        char uid[32];
        snprintf(uid, sizeof(uid), "uid-%d", b.made - 1);
        cluster_drop(b.cluster, uid, i);
    }
    print("preemption among full nodes", (double)spent / 1e3 / decisions, "us", "500");
    stop(&b);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static void measure_memory(uint32_t nodes)
{
    size_t before = heap_bytes();
    struct bench b = start(nodes);
    size_t with_nodes = heap_bytes();

    print("memory a node", (double)(with_nodes - before) / nodes, "B", "2048");
    for (uint32_t i = 0; i < nodes * 5; i++) {
        char node[32];
        snprintf(node, sizeof(node), "node-%u", i % nodes);
        add_pod(&b, "web", 100, 128, node, "");
    }
    print("memory a running pod", (double)(heap_bytes() - with_nodes) / nodes / 5, "B", "300");
    stop(&b);
}

static double basic_at(uint32_t nodes)
{
    struct bench b = start(nodes);

    add_many(&b, &kinds[0], 100, false);
    decide_all(&b);
    add_many(&b, &kinds[0], 400, false);
    double us = decide_all(&b);
    stop(&b);
    return us;
}

int main(int argc, char **argv)
{
    uint32_t nodes = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 5000;
    const char *only = argc > 2 ? argv[2] : NULL;

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (!only || c_eq(only, kinds[i].name))
            time_kind(&kinds[i], nodes);
    if (!only || c_eq(only, "required"))
        time_required(nodes);
    if (!only || c_eq(only, "preemption"))
        time_preemption(nodes);
    if (only)
        return 0;
    measure_memory(nodes);
    print("basic at 1000 nodes, a node", basic_at(1000), "ns", "2");
    print("basic at 100000 nodes, a node", basic_at(100000) / 100, "ns", "2");
    return 0;
}
