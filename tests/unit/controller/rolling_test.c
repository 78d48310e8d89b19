/* The arithmetic of a Deployment: sizes in a rolling update, proportional scaling, hashes. */
#include <CUnit/CUnit.h>

#include "controller/deployment.h"
#include "tests/unit/controller/objects.h"

static struct plan plan(int64_t replicas, const char *surge, const char *unavailable)
{
    const struct deployment *d = object_of(KIND_DEPLOYMENT,
        "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"replicas\":%lld,\"strategy\":{\"type\":"
        "\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":\"%s\",\"maxUnavailable\":\"%s\"}}}}",
        (long long)replicas, surge, unavailable);
    struct plan p = plan_of(d);

    projected_unref(d);
    return p;
}

static void test_fenceposts(void)
{
    static const struct {
        int64_t replicas;
        const char *surge, *unavailable;
        int64_t want_surge, want_unavailable;
    } cases[] = {{10, "25%", "25%", 3, 2}, {3, "25%", "25%", 1, 0}, {1, "0", "0", 0, 1},
        {4, "0%", "0%", 0, 1}, {2, "0", "5", 0, 2}, {0, "1", "25%", 1, 0}};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct plan p = plan(cases[i].replicas, cases[i].surge, cases[i].unavailable);
        CU_ASSERT_EQUAL(p.max_surge, cases[i].want_surge);
        CU_ASSERT_EQUAL(p.max_unavailable, cases[i].want_unavailable);
    }
}

static void test_new_size(void)
{
    struct plan p = plan(10, "2", "0");
    struct set sets[] = {{.name = "old", .replicas = 10, .available = 10}, {.name = "new"}};

    CU_ASSERT_EQUAL(plan_new_size(&p, sets, 2, &sets[1]), 2);
    sets[1].replicas = 2;
    CU_ASSERT_EQUAL(plan_new_size(&p, sets, 2, &sets[1]), 2);
    sets[0].replicas = 1;
    CU_ASSERT_EQUAL(plan_new_size(&p, sets, 2, &sets[1]), 10);
    p.rolling = false;
    CU_ASSERT_EQUAL(plan_new_size(&p, sets, 2, &sets[1]), 10);
}

static void test_scale_down(void)
{
    struct plan p = plan(10, "0", "2");
    struct set healthy[] = {{.name = "old", .replicas = 10, .available = 10}, {.name = "new"}};
    struct set broken[] = {{.name = "a", .replicas = 3, .available = 0},
        {.name = "b", .replicas = 8, .available = 8}, {.name = "new", .replicas = 0}};
    struct set waiting[] = {{.name = "old", .replicas = 8, .available = 8},
        {.name = "new", .replicas = 2, .available = 0}};

    plan_scale_down(&p, healthy, 2, 1);
    CU_ASSERT_EQUAL(healthy[0].replicas, 8);
    plan_scale_down(&p, broken, 3, 2); /* pods that serve nobody go first, the others may not */
    CU_ASSERT_EQUAL(broken[0].replicas, 0);
    CU_ASSERT_EQUAL(broken[1].replicas, 8);
    plan_scale_down(&p, waiting, 2, 1); /* what the new set lacks counts against the old */
    CU_ASSERT_EQUAL(waiting[0].replicas, 8);
}

/* Simulates a rollout in which every pod becomes available at once; checks the limits at each step.
 */
static void roll(int64_t replicas, const char *surge, const char *unavailable)
{
    struct plan p = plan(replicas, surge, unavailable);
    struct set sets[] = {
        {.name = "old", .replicas = replicas, .available = replicas}, {.name = "new"}};

    for (int step = 0; step < 200 && (sets[0].replicas || sets[1].replicas != replicas); step++) {
        int64_t size = plan_new_size(&p, sets, 2, &sets[1]);
        if (size == sets[1].replicas)
            plan_scale_down(&p, sets, 2, 1);
        sets[1].replicas = size;
        CU_ASSERT_TRUE(sets[0].replicas + sets[1].replicas <= replicas + p.max_surge);
        int64_t available =
            (sets[0].available < sets[0].replicas ? sets[0].available : sets[0].replicas) +
            sets[1].available;
        CU_ASSERT_TRUE(available >= replicas - p.max_unavailable);
        sets[0].available = sets[0].replicas;
        sets[1].available = sets[1].replicas;
    }
    CU_ASSERT_EQUAL(sets[0].replicas, 0);
    CU_ASSERT_EQUAL(sets[1].replicas, replicas);
}

static void test_whole_rollouts(void)
{
    static const char *const values[] = {"0", "1", "2", "25%", "50%", "100%"};

    for (int64_t replicas = 1; replicas <= 12; replicas++)
        for (size_t i = 0; i < ARRAY_COUNT(values); i++)
            for (size_t k = 0; k < ARRAY_COUNT(values); k++)
                roll(replicas, values[i], values[k]);
}

static void test_proportional(void)
{
    struct plan p = plan(15, "3", "2");
    struct set sets[] = {{.name = "a", .replicas = 5, .max_replicas = 13, .creation_ns = 1},
        {.name = "b", .replicas = 8, .max_replicas = 13, .creation_ns = 2}};
    struct set *active[] = {&sets[0], &sets[1]};

    plan_proportional(&p, active, 2); /* 13 pods of 10+3 become 18 */
    CU_ASSERT_EQUAL(sets[0].replicas + sets[1].replicas, 18);
    CU_ASSERT_EQUAL(sets[0].replicas, 7);
    CU_ASSERT_EQUAL(sets[1].replicas, 11);
    p = plan(0, "3", "2");
    plan_proportional(&p, active, 2);
    CU_ASSERT_EQUAL(sets[0].replicas, 0);
    CU_ASSERT_EQUAL(sets[1].replicas, 0);
}

static void test_hash(void)
{
    char a[24], b[24];
    struct opt_int collision = {1, true};

    deployment_hash("{\"x\":1,\"y\":{\"b\":2,\"a\":1}}", NULL, a, sizeof(a));
    deployment_hash("{\"y\":{\"a\":1,\"b\":2},\"x\":1}", NULL, b, sizeof(b));
    CU_ASSERT_STRING_EQUAL(a, b);
    deployment_hash("{\"y\":{\"a\":1,\"b\":2},\"x\":1}", &collision, b, sizeof(b));
    CU_ASSERT_STRING_NOT_EQUAL(a, b);
    CU_ASSERT_TRUE(
        templates_equal("{\"metadata\":{\"labels\":{\"a\":\"b\",\"pod-template-hash\":\"1\"}}}",
            "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}"));
    CU_ASSERT_FALSE(templates_equal("{\"spec\":{\"x\":1}}", "{\"spec\":{\"x\":2}}"));
}

static void test_condition(void)
{
    cJSON *status = cJSON_CreateObject();

    deployment_set_condition(status, "Available", "False", "R", "m", 1000000000);
    deployment_set_condition(status, "Available", "False", "R", "other", 2000000000);
    const cJSON *c = json_get(status, "conditions")->child;
    CU_ASSERT_STRING_EQUAL(json_string(c, "message"), "m");
    deployment_set_condition(status, "Available", "False", "R2", "m2", 3000000000);
    c = json_get(status, "conditions")->child;
    CU_ASSERT_STRING_EQUAL(json_string(c, "lastTransitionTime"), "1970-01-01T00:00:01Z");
    CU_ASSERT_STRING_EQUAL(json_string(c, "lastUpdateTime"), "1970-01-01T00:00:03Z");
    deployment_set_condition(status, "Available", "True", "R3", "m3", 4000000000);
    c = json_get(status, "conditions")->child;
    CU_ASSERT_STRING_EQUAL(json_string(c, "lastTransitionTime"), "1970-01-01T00:00:04Z");
    CU_ASSERT_PTR_NULL(c->next);
    cJSON_Delete(status);
}

const CU_TestInfo rolling_tests[] = {
    {"surge up, unavailable down, never both zero", test_fenceposts},
    {"size of the new set", test_new_size},
    {"old sets shrink by what availability allows", test_scale_down},
    {"whole rollouts keep their limits", test_whole_rollouts},
    {"proportional scaling", test_proportional},
    {"hash and template equality", test_hash},
    {"conditions keep their transition time", test_condition},
    CU_TEST_INFO_NULL,
};
