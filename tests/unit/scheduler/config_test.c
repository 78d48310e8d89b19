/* KubeSchedulerConfiguration: what it changes, and errors that name the field. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "scheduler/config.h"
#include "scheduler/plugin.h"

#define HEAD "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

static void full(void)
{
    static const char text[] =
        HEAD "podInitialBackoffSeconds: 2\npodMaxBackoffSeconds: 30\nleaderElection:\n  "
             "leaderElect: true\n"
             "profiles:\n- schedulerName: packer\n  plugins:\n    score:\n      disabled:\n      - "
             "name: '*'\n"
             "      enabled:\n      - name: NodeResourcesFit\n        weight: 7\n    postFilter:\n"
             "      disabled:\n      - name: DefaultPreemption\n  pluginConfig:\n"
             "  - name: NodeResourcesFit\n    args:\n      scoringStrategy:\n"
             "        type: RequestedToCapacityRatio\n        resources:\n        - name: cpu\n"
             "          weight: 3\n        requestedToCapacityRatio:\n          shape:\n"
             "          - {utilization: 0, score: 0}\n          - {utilization: 100, score: 10}\n"
             "  - name: InterPodAffinity\n    args: {hardPodAffinityWeight: 9}\n"
             "  - name: PodTopologySpread\n    args:\n      defaultingType: List\n"
             "      defaultConstraints:\n      - {maxSkew: 2, topologyKey: rack, "
             "whenUnsatisfiable: DoNotSchedule}\n"
             "- schedulerName: other\n";
    struct config c;
    struct error err;

    config_init(&c);
    CU_ASSERT_EQUAL_FATAL(config_parse(str_of(text), &c, &err), 0);
    CU_ASSERT_EQUAL_FATAL(c.profile_count, 2);
    const struct profile *p = &c.profiles[0];
    CU_ASSERT_STRING_EQUAL(p->scheduler_name, "packer");
    CU_ASSERT_EQUAL(c.backoff_first_ns, 2 * NS_PER_S);
    CU_ASSERT(c.leader_elect);
    CU_ASSERT_EQUAL(__builtin_popcountll(p->scores), 1);
    CU_ASSERT_EQUAL(p->weights[__builtin_ctzll(p->scores)], 7);
    CU_ASSERT(p->no_preemption);
    CU_ASSERT_EQUAL(p->strategy, STRATEGY_RATIO);
    CU_ASSERT_EQUAL(p->fit_count, 1);
    CU_ASSERT_EQUAL(p->fit[0].weight, 3);
    CU_ASSERT_EQUAL(p->shape[1].score, 100);
    CU_ASSERT_EQUAL(p->hard_affinity_weight, 9);
    CU_ASSERT_EQUAL_FATAL(p->spread_count, 1);
    CU_ASSERT(p->spread[0].hard);
    CU_ASSERT_EQUAL(c.profiles[1].filters, p->filters);
    CU_ASSERT(c.profiles[1].scores != p->scores);
    config_done(&c);
}

static void errors_name_the_field(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"kind: Pod\n", "no kind \"Pod\" is registered for version \"\""},
        {HEAD "profile: []\n", "unknown field \"profile\""},
        {HEAD "profiles:\n- schedulerName: ''\n", "profiles[0].schedulerName: Required value"},
        {HEAD "profiles:\n- {}\n- {}\n",
            "profiles[1].schedulerName: Duplicate value: \"default-scheduler\""},
        {HEAD "profiles:\n- plugins: {score: {enabled: [{name: Nope}]}}\n",
            "profiles[0].plugins.score.enabled[0].name: Invalid value: \"Nope\""},
        {HEAD "profiles:\n- plugins: {scores: {}}\n",
            "unknown field \"profiles[0].plugins.scores\""},
        {HEAD "profiles:\n- pluginConfig: [{name: InterPodAffinity, args: "
              "{hardPodAffinityWeight: 101}}]\n",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: must be "
            "an "
            "integer between 0 and 100"},
        {HEAD "profiles:\n- pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: "
              "Best}}}]\n",
            "scoringStrategy.type: Unsupported value: \"Best\""},
        {HEAD
            "profiles:\n- pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: "
            "RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: "
            "1}, {utilization: 5, score: 2}]}}}}]\n",
            "shape[1].utilization: Invalid value: 5: utilization values must be sorted"},
        {HEAD "podMaxBackoffSeconds: 0\n", "podMaxBackoffSeconds: Invalid value: 0"},
        {HEAD "extenders: [{urlPrefix: 'http://x'}]\n", "extenders: Invalid value"},
        {HEAD "profiles: 7\n", "profiles: Invalid value: 7: must be a list"},
        {HEAD "profiles: [7]\n", "profiles[0]: Invalid value: 7: must be an object"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config c;
        struct error err = {0};
        config_init(&c);
        CU_ASSERT(config_parse(str_of(cases[i].text), &c, &err) < 0);
        if (!strstr(err.text, cases[i].error))
            fprintf(stderr, "case %zu: %s\n", i, err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].error));
        CU_ASSERT_STRING_EQUAL(c.profiles[0].scheduler_name, "default-scheduler");
        config_done(&c);
    }
}

const CU_TestInfo config_tests[] = {
    {"a file with everything", full},
    {"errors name the field", errors_name_the_field},
    CU_TEST_INFO_NULL,
};
