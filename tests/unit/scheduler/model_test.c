/*
 * Random clusters: the choice must be one a slow, separately written model would make: every node
 * that the model lets through and no other, and the highest score of the model.
 */
#include <CUnit/CUnit.h>

#include <math.h>

#include "tests/unit/scheduler/objects.h"

#define NODES 150

struct model_node {
    long cpu, mem_mi, used_cpu, used_mem, used_cpu_nonzero, used_mem_nonzero, pods;
    int zone;
    bool tainted, cordoned;
};

static uint32_t state = 99;

static uint32_t roll(uint32_t n)
{
    state = state * 1664525 + 1013904223;
    return (state >> 9) % n;
}

static bool fits(const struct model_node *n, long cpu, long mem, int zone, bool tolerates)
{
    return !n->cordoned && (!n->tainted || tolerates) && (zone < 0 || n->zone == zone) &&
           n->pods < 110 && (!cpu || n->used_cpu + cpu <= n->cpu) &&
           (!mem || n->used_mem + mem <= n->mem_mi);
}

static long part(long used, long of)
{
    return used > of ? 0 : (of - used) * 100 / of;
}

static long score(const struct model_node *n, long cpu, long mem)
{
    long cpu0 = cpu ? cpu : 100, mem0 = mem ? mem : 200;
    long total =
        (part(n->used_cpu_nonzero + cpu0, n->cpu) + part(n->used_mem_nonzero + mem0, n->mem_mi)) /
        2;
    double a = (double)(n->used_cpu + cpu) / (double)n->cpu;
    double b = (double)((n->used_mem + mem) << 20) / (double)(n->mem_mi << 20);

    if (cpu || mem)
        total += (long)((1 - fabs(((a > 1 ? 1 : a) - (b > 1 ? 1 : b)) / 2)) * 100);
    return total;
}

static void random_clusters(void)
{
    struct env *env = env_new_real();
    struct cluster *c = cluster_new(env);
    struct model_node nodes[NODES] = {{0}};

    for (int i = 0; i < NODES; i++) {
        struct model_node *n = &nodes[i];
        char name[16], cpu[16], mem[16], labels[32];
        *n = (struct model_node){.cpu = 1000 + 100 * roll(70),
            .mem_mi = 1024 + roll(20000),
            .zone = (int)roll(3),
            .tainted = roll(6) == 0,
            .cordoned = roll(12) == 0};
        snprintf(name, sizeof(name), "n%d", i);
        snprintf(cpu, sizeof(cpu), "%ldm", n->cpu);
        snprintf(mem, sizeof(mem), "%ldMi", n->mem_mi);
        snprintf(labels, sizeof(labels), "\"zone\":\"z%d\"", n->zone);
        autofree char *spec = str_format("\"unschedulable\":%s%s", n->cordoned ? "true" : "false",
            n->tainted ? ",\"taints\":[{\"key\":\"k\",\"effect\":\"NoSchedule\"}]" : "");
        struct node *node = test_node(name, cpu, mem, labels, spec);
        cluster_node_changed(c, NULL, node, 0);
        projected_unref(node);
    }
    for (int i = 0; i < 3000; i++) {
        long cpu = roll(4) ? 50 * roll(20) : 0, mem = roll(4) ? roll(700) : 0;
        int zone = roll(3) ? -1 : (int)roll(3);
        bool tolerates = roll(2);
        char name[16];
        snprintf(name, sizeof(name), "p%d", i);
        autofree char *spec = str_format("\"nodeSelector\":{%s%.*d%s},\"tolerations\":[%s],"
                                         "\"containers\":[{\"resources\":{\"requests\":{"
                                         "%s%.*ld%s}}}]",
            zone < 0 ? "" : "\"zone\":\"z", zone < 0 ? 0 : 1, zone < 0 ? 0 : zone,
            zone < 0 ? "" : "\"",
            tolerates ? "{\"operator\":\"Exists\",\"effect\":\"NoSchedule\",\"key\":\"k\"}" : "",
            cpu ? "\"cpu\":\"" : "", cpu ? 1 : 0, cpu, cpu ? "m\"" : "");
        if (mem) {
            char *end = strstr(spec, "}}}]");
            autofree char *front = str_dup(str_range(spec, (size_t)(end - spec)));
            char *with = str_format("%s%s\"memory\":\"%ldMi\"}}}]", front, cpu ? "," : "", mem);
            free(spec);
            spec = with;
        }
        struct pod *pod = test_pod(name, spec);
        cluster_pod_changed(c, NULL, pod, i);
        projected_unref(pod);
        struct pod_info *info = queue_pop(c->queue, i);
        CU_ASSERT_PTR_NOT_NULL_FATAL(info);
        struct decision d;
        scheduler_decide(c->decider, c->nodes, info, &d);
        size_t fitting = 0;
        long best = -1;
        for (int k = 0; k < NODES; k++) {
            if (!fits(&nodes[k], cpu, mem, zone, tolerates))
                continue;
            fitting++;
            long s = score(&nodes[k], cpu, mem);
            best = s > best ? s : best;
        }
        CU_ASSERT_EQUAL_FATAL(d.fitting, fitting);
        if (!fitting) {
            CU_ASSERT_EQUAL(d.row, ROW_NONE);
            queue_put_unschedulable(c->queue, info, d.refused_by, i);
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(d.score, best);
        struct model_node *n = &nodes[strtol(c->nodes->rows[d.row]->name + 1, NULL, 10)];
        CU_ASSERT_FATAL(fits(n, cpu, mem, zone, tolerates));
        CU_ASSERT_EQUAL_FATAL(score(n, cpu, mem), best);
        n->used_cpu += cpu;
        n->used_mem += mem;
        n->used_cpu_nonzero += cpu ? cpu : 100;
        n->used_mem_nonzero += mem ? mem : 200;
        n->pods++;
        int64_t arrived_ns;
        cluster_assume(c, info, d.row, 0, &arrived_ns);
    }
    cluster_free(c);
    env_free(env);
}

const CU_TestInfo model_tests[] = {
    {"random clusters, against a slow model", random_clusters},
    CU_TEST_INFO_NULL,
};
