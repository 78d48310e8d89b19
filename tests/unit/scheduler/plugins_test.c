/* Each plugin: which nodes it leaves, why it refuses, what it scores. Figures are computed by hand
 * after upstream. */
#include <CUnit/CUnit.h>

#include "tests/unit/scheduler/objects.h"

struct fixture {
    struct env *env;
    struct cluster *cluster;
};

static struct fixture start(void)
{
    struct fixture f = {.env = env_new_real()};

    f.cluster = cluster_new(f.env);
    return f;
}

static void stop(struct fixture *f)
{
    cluster_free(f->cluster);
    env_free(f->env);
}

static void add_node(struct fixture *f, struct node *take)
{
    cluster_node_changed(f->cluster, NULL, take, 0);
    projected_unref(take);
}

static void add_pod(struct fixture *f, struct pod *take)
{
    cluster_pod_changed(f->cluster, NULL, take, 0);
    projected_unref(take);
}

/* Decides on a pod that stays outside of the cluster; "" or why not. */
static const char *decide(struct fixture *f, struct pod *take, struct decision *d)
{
    static char text[4096];
    struct pod_info *info = pod_info_new(&f->cluster->nodes->names, f->cluster->nodes->pods, take);

    projected_unref(take);
    scheduler_decide(f->cluster->decider, f->cluster->nodes, info, d);
    snprintf(text, sizeof(text), "%s", d->message ? d->message : "");
    pod_info_free(f->cluster->nodes->pods, info);
    return text;
}

static const char *chosen(struct fixture *f, struct pod *take)
{
    struct decision d;

    decide(f, take, &d);
    return d.row == ROW_NONE ? "" : f->cluster->nodes->rows[d.row]->name;
}

static void no_nodes(void)
{
    struct fixture f = start();
    struct decision d;

    CU_ASSERT_STRING_EQUAL(
        decide(&f, test_pod("p", ""), &d), "no nodes available to schedule pods");
    CU_ASSERT_EQUAL(d.row, ROW_NONE);
    stop(&f);
}

#define TAINT(key, value, effect) \
    "\"taints\":[{\"key\":\"" key "\",\"value\":\"" value "\",\"effect\":\"" effect "\"}]"

static void upstream_message(void)
{
    struct fixture f = start();
    struct decision d;

    add_node(&f, test_node("a", "1", "8Gi", "", ""));
    add_node(&f, test_node("b", "4", "8Gi", "", TAINT("k", "v", "NoSchedule")));
    add_node(&f, test_node("c", "4", "8Gi", "", TAINT("k", "v", "NoExecute")));
    CU_ASSERT_STRING_EQUAL(decide(&f, test_pod_requests("p", "\"cpu\":\"2\""), &d),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}. "
        "preemption: "
        "0/3 nodes are available: 3 Preemption is not helpful for scheduling.");
    add_pod(&f, test_pod("x", "\"nodeName\":\"a\",\"containers\":[{\"resources\":{\"requests\":{"
                              "\"cpu\":\"800m\"}}}]"));
    CU_ASSERT_STRING_EQUAL(
        decide(&f, test_pod_requests("p", "\"cpu\":\"900m\",\"memory\":\"9Gi\""), &d),
        "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had "
        "untolerated taint "
        "{k: v}. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.");
    CU_ASSERT_STRING_EQUAL(decide(&f, test_pod_requests("p", "\"cpu\":\"900m\""), &d),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}. "
        "preemption: "
        "0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is "
        "not "
        "helpful for scheduling.");
    CU_ASSERT_STRING_EQUAL(
        decide(
            &f, test_pod("p", "\"preemptionPolicy\":\"Never\",\"nodeSelector\":{\"x\":\"y\"}"), &d),
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) "
        "had "
        "untolerated taint {k: v}. preemption: not eligible due to preemptionPolicy=Never.");
    stop(&f);
}

static void taints(void)
{
    struct fixture f = start();

    add_node(&f, test_node("a", "4", "8Gi", "", TAINT("k", "v", "NoSchedule")));
    CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", "")), "");
    static const char *const tolerated[] = {
        "{\"key\":\"k\",\"operator\":\"Equal\",\"value\":\"v\",\"effect\":\"NoSchedule\"}",
        "{\"key\":\"k\",\"value\":\"v\"}",
        "{\"key\":\"k\",\"operator\":\"Exists\"}",
        "{\"operator\":\"Exists\"}",
        "{\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}",
    };
    static const char *const refused[] = {
        "{\"key\":\"k\",\"operator\":\"Equal\",\"value\":\"w\"}",
        "{\"key\":\"j\",\"operator\":\"Exists\"}",
        "{\"operator\":\"Exists\",\"effect\":\"NoExecute\"}",
        "{\"key\":\"k\",\"operator\":\"Bogus\",\"value\":\"v\"}",
    };
    for (size_t i = 0; i < ARRAY_COUNT(tolerated); i++) {
        autofree char *spec = str_format("\"tolerations\":[%s]", tolerated[i]);
        CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", spec)), "a");
    }
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        autofree char *spec = str_format("\"tolerations\":[%s]", refused[i]);
        CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", spec)), "");
    }
    add_node(&f, test_node("b", "4", "8Gi", "", TAINT("k", "v", "PreferNoSchedule")));
    CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", "")), "b");
    add_node(&f, test_node("c", "4", "8Gi", "", ""));
    CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", "")), "c");
    stop(&f);
}

static void unschedulable(void)
{
    struct fixture f = start();
    struct decision d;

    add_node(&f, test_node("a", "4", "8Gi", "", "\"unschedulable\":true"));
    CU_ASSERT_STRING_EQUAL(decide(&f, test_pod("p", ""), &d),
        "0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are "
        "available: 1 "
        "Preemption is not helpful for scheduling.");
    CU_ASSERT_STRING_EQUAL(
        chosen(&f, test_pod("p", "\"tolerations\":[{\"key\":\"node.kubernetes.io/"
                                 "unschedulable\",\"operator\":\"Exists\"}]")),
        "a");
    stop(&f);
}

static void node_affinity(void)
{
    static const struct {
        const char *expression, *nodes;
    } cases[] = {
        {"{\"key\":\"zone\",\"operator\":\"In\",\"values\":[\"x\",\"z\"]}", "a"},
        {"{\"key\":\"zone\",\"operator\":\"NotIn\",\"values\":[\"x\"]}", "bc"},
        {"{\"key\":\"zone\",\"operator\":\"Exists\"}", "ab"},
        {"{\"key\":\"zone\",\"operator\":\"DoesNotExist\"}", "c"},
        {"{\"key\":\"size\",\"operator\":\"Gt\",\"values\":[\"4\"]}", "b"},
        {"{\"key\":\"size\",\"operator\":\"Lt\",\"values\":[\"9\"]}", "a"},
        {"{\"key\":\"size\",\"operator\":\"Gt\",\"values\":[\"many\"]}", ""},
        {"{\"key\":\"none\",\"operator\":\"Exists\"}", ""},
        {"{\"key\":\"none\",\"operator\":\"DoesNotExist\"}", "abc"},
        {"{\"key\":\"zone\",\"operator\":\"Near\",\"values\":[\"x\"]}", ""},
    };
    struct fixture f = start();

    add_node(&f, test_node("a", "4", "8Gi", "\"zone\":\"x\",\"size\":\"4\"", ""));
    add_node(&f, test_node("b", "4", "8Gi", "\"zone\":\"y\",\"size\":\"10\"", ""));
    add_node(&f, test_node("c", "4", "8Gi", "\"size\":\"big\"", ""));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *spec = str_format(
            "\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":"
            "{\"nodeSelectorTerms\":[{\"matchExpressions\":[%s]}]}}}",
            cases[i].expression);
        struct pod *pod = test_pod("p", spec);
        struct pod_info *info = pod_info_new(&f.cluster->nodes->names, f.cluster->nodes->pods, pod);
        char fits[4] = "";
        for (uint32_t row = 0, n = 0; row < 3; row++)
            if (decider_fits_row(f.cluster->decider, f.cluster->nodes, info, row, NULL))
                fits[n++] = f.cluster->nodes->rows[row]->name[0];
        CU_ASSERT_STRING_EQUAL(fits, cases[i].nodes);
        pod_info_free(f.cluster->nodes->pods, info);
        projected_unref(pod);
    }
    stop(&f);
}

#define REQUIRED                                                                          \
    "\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":" \
    "{\"nodeSelectorTerms\":["
#define NAME_IS(name) "{\"key\":\"metadata.name\",\"operator\":\"In\",\"values\":[\"" name "\"]}"

static void node_names(void)
{
    struct fixture f = start();
    struct decision d;

    add_node(&f, test_node("a", "1", "8Gi", "", ""));
    add_node(&f, test_node("b", "4", "8Gi", "", ""));
    add_node(&f, test_node("c", "4", "8Gi", "", ""));
    CU_ASSERT_STRING_EQUAL(
        chosen(&f, test_pod("p", REQUIRED "{\"matchFields\":[" NAME_IS("b") "]}]}}}")), "b");
    CU_ASSERT_STRING_EQUAL(decide(&f,
                               test_pod("p", REQUIRED "{\"matchFields\":[" NAME_IS(
                                                 "a") "]}]}},"
                                                      "\"x\":0},\"containers\":[{\"resources\":{"
                                                      "\"requests\":{\"cpu\":\"2\"}}}]"),
                               &d),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) "
        "[NodeAffinity]. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.");
    CU_ASSERT_STRING_EQUAL(
        decide(&f,
            test_pod("p", REQUIRED "{\"matchFields\":[" NAME_IS("a") "," NAME_IS("b") "]}]}}}"),
            &d),
        "0/3 nodes are available: pod affinity terms conflict. preemption: 0/3 nodes are "
        "available: 3 "
        "Preemption is not helpful for scheduling.");
    CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", REQUIRED "{}]}}}")), "");
    CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", "\"nodeName\":\"c\"")), "c");
    stop(&f);
}

static void preferred_affinity(void)
{
    struct fixture f = start();

    add_node(&f, test_node("a", "4", "8Gi", "\"disk\":\"ssd\"", ""));
    add_node(&f, test_node("b", "4", "8Gi", "\"zone\":\"x\"", ""));
    CU_ASSERT_STRING_EQUAL(
        chosen(&f, test_pod("p", "\"affinity\":{\"nodeAffinity\":{"
                                 "\"preferredDuringSchedulingIgnoredDuringExecution\":["
                                 "{\"weight\":10,\"preference\":{\"matchExpressions\":[{\"key\":"
                                 "\"disk\",\"operator\":\"Exists\"}]}},"
                                 "{\"weight\":90,\"preference\":{\"matchExpressions\":[{\"key\":"
                                 "\"zone\",\"operator\":\"In\","
                                 "\"values\":[\"x\"]}]}}]}}")),
        "b");
    stop(&f);
}

static void ports(void)
{
    struct fixture f = start();
    struct decision d;

    add_node(&f, test_node("a", "4", "8Gi", "", ""));
    add_pod(&f, test_pod("x", "\"nodeName\":\"a\",\"containers\":[{\"ports\":["
                              "{\"hostPort\":80,\"protocol\":\"TCP\",\"hostIP\":\"10.0.0.1\"},{"
                              "\"hostPort\":53,\"protocol\":\"UDP\"}]}]"));
    CU_ASSERT_STRING_EQUAL(
        chosen(
            &f, test_pod("p", "\"containers\":[{\"ports\":["
                              "{\"hostPort\":80,\"protocol\":\"TCP\",\"hostIP\":\"10.0.0.2\"}]}]")),
        "a");
    CU_ASSERT_STRING_EQUAL(chosen(&f, test_pod("p", "\"containers\":[{\"ports\":["
                                                    "{\"hostPort\":53,\"protocol\":\"TCP\"}]}]")),
        "a");
    CU_ASSERT_STRING_EQUAL(decide(&f,
                               test_pod("p", "\"containers\":[{\"ports\":["
                                             "{\"hostPort\":80,\"protocol\":\"TCP\"}]}]"),
                               &d),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. "
        "preemption: "
        "0/1 nodes are available: 1 No preemption victims found for incoming pod.");
    CU_ASSERT_STRING_EQUAL(
        chosen(&f,
            test_pod("p", "\"containers\":[{\"ports\":["
                          "{\"hostPort\":53,\"protocol\":\"UDP\",\"hostIP\":\"127.0.0.1\"}]}]")),
        "");
    stop(&f);
}

/* cpu: (4000-0-1000)*100/4000 = 75; memory: (8-2)*100/8 = 75; least 75; balanced |.25-.25| -> 100
 */
static void scores_of_an_empty_node(void)
{
    struct fixture f = start();
    struct decision d;

    add_node(&f, test_node("a", "4", "8Gi", "", ""));
    decide(&f, test_pod_requests("p", "\"cpu\":\"1\",\"memory\":\"2Gi\""), &d);
    CU_ASSERT_EQUAL(d.score, 175);
    /* no requests: 100m and 200Mi: cpu (4000-100)*100/4000 = 97, memory (8192-200)*100/8192 = 97;
     * no balance */
    decide(&f, test_pod("p", ""), &d);
    CU_ASSERT_EQUAL(d.score, 97);
    /* cpu 3/4 used, memory not: least (25 + 100*(8192-200)/8192 = 97) / 2 = 61; 1-|.75-0|/2 = .625
     * -> 62 */
    decide(&f, test_pod_requests("p", "\"cpu\":\"3\""), &d);
    CU_ASSERT_EQUAL(d.score, 61 + 62);
    stop(&f);
}

/* The score's division without a division: against the plain one, near every border. */
static void exact_percentages(void)
{
    static const long long sizes[] = {
        1, 3, 7, 97, 1000, 4096, 8191, (1ll << 33) + 1, (1ll << 44) - 1, 1ll << 49};
    struct fixture f = start();
    struct decision d;

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        char memory[32];
        snprintf(memory, sizeof(memory), "%lld", sizes[i]);
        add_node(&f, test_node("a", "0", memory, "", ""));
        for (long long k = 0; k <= 100; k++)
            for (long long by = -1; by <= 1; by++) {
                long long ask = sizes[i] - (sizes[i] / 100 * k + sizes[i] % 100 * k / 100 + by);
                if (ask < 1 || ask > sizes[i])
                    continue;
                autofree char *requests = str_format("\"cpu\":\"0\",\"memory\":\"%lld\"", ask);
                decide(&f, test_pod_requests("p", requests), &d);
                /* one resource: no balance to keep, which scores 100 */
                CU_ASSERT_EQUAL(
                    d.score, 100 + (long long)((__int128)(sizes[i] - ask) * 100 / sizes[i]));
            }
    }
    stop(&f);
}

static void spreads(void)
{
    struct fixture f = start();
    unsigned seen = 0;

    for (char name[2] = "a"; name[0] < 'e'; name[0]++)
        add_node(&f, test_node(name, "4", "8Gi", "", ""));
    for (int i = 0; i < 200; i++)
        seen |= 1u << (chosen(&f, test_pod("p", ""))[0] - 'a');
    CU_ASSERT_EQUAL(seen, 15);
    stop(&f);
}

const CU_TestInfo plugins_tests[] = {
    {"no nodes at all", no_nodes},
    {"upstream's sentence", upstream_message},
    {"taints and tolerations", taints},
    {"cordoned nodes", unschedulable},
    {"node affinity operators", node_affinity},
    {"nodes by name", node_names},
    {"preferred affinity", preferred_affinity},
    {"host ports", ports},
    {"scores equal upstream's", scores_of_an_empty_node},
    {"percentages are exact", exact_percentages},
    {"equals are all chosen", spreads},
    CU_TEST_INFO_NULL,
};
