/* Several tasks over one list of indexes. */
#include <CUnit/CUnit.h>

#include <stdatomic.h>

#include "controller/fanout.h"

struct counter {
    atomic_int seen[300];
    atomic_int calls;
    size_t fail_at;
};

static int count_one(void *arg, size_t i, struct error *err)
{
    struct counter *c = arg;

    atomic_fetch_add(&c->seen[i], 1);
    atomic_fetch_add(&c->calls, 1);
    return i == c->fail_at ? error_set(err, ERR_FORBIDDEN, "no %zu", i) : 0;
}

static void test_all(void)
{
    struct env *env = env_new_real();
    struct counter c = {.fail_at = SIZE_MAX};
    struct error err;

    CU_ASSERT_EQUAL(fanout(env, 300, count_one, &c, &err), 300);
    for (size_t i = 0; i < 300; i++)
        CU_ASSERT_EQUAL(atomic_load(&c.seen[i]), 1);
    CU_ASSERT_EQUAL(fanout(env, 0, count_one, &c, &err), 0);
    env_free(env);
}

static void test_slow_start(void)
{
    struct env *env = env_new_real();
    struct counter good = {.fail_at = SIZE_MAX}, bad = {.fail_at = 4};
    struct error err;

    CU_ASSERT_EQUAL(fanout_slow_start(env, 300, count_one, &good, &err), 300);
    CU_ASSERT_EQUAL(atomic_load(&good.calls), 300);
    /* Batches of 1, 2 and 4: the failure at index 4 ends it after the third. */
    CU_ASSERT_EQUAL(fanout_slow_start(env, 300, count_one, &bad, &err), 6);
    CU_ASSERT_EQUAL(atomic_load(&bad.calls), 7);
    CU_ASSERT_EQUAL(err.code, ERR_FORBIDDEN);
    CU_ASSERT_STRING_EQUAL(err.text, "no 4");
    env_free(env);
}

const CU_TestInfo fanout_tests[] = {
    {"each index once", test_all},
    {"slow start stops at a failure", test_slow_start},
    CU_TEST_INFO_NULL,
};
