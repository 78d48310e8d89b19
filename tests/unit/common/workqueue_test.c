/* Tests of common/workqueue.c: one run a key at a time, dirty keys, back-off, delays, stop. */
#include "common/workqueue.h"

#include <CUnit/CUnit.h>

#include "common/str.h"
#include "common/time.h"

#define KEYS 8

struct bench {
    struct env *env;
    struct workqueue *q;
    struct lock lock;
    struct cond changed;
    int runs;          /* of all keys */
    int running[KEYS]; /* by the key's number */
    int worst;         /* most workers seen with one key */
    int fail;          /* so many runs fail */
    int64_t times[16];
    int64_t again_ns;
    int64_t work_ns;
    bool add_while_running;
};

static int reconcile(void *arg, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct bench *b = arg;
    int n = key[0] - '0';

    env_lock(b->env, &b->lock);
    if (++b->running[n] > b->worst)
        b->worst = b->running[n];
    bool fails = b->fail > 0 && b->fail--;
    bool add = b->add_while_running;
    b->add_while_running = false;
    env_unlock(b->env, &b->lock);
    if (add) {
        workqueue_add(b->q, key);
        workqueue_add(b->q, key);
    }
    env_sleep_ns(b->env, b->work_ns);
    env_lock(b->env, &b->lock);
    b->running[n]--;
    if (b->runs < (int)ARRAY_COUNT(b->times))
        b->times[b->runs] = env_now_ns(b->env);
    b->runs++;
    if (!fails) {
        *ret_again_ns = b->again_ns;
        b->again_ns = 0;
    }
    env_broadcast(b->env, &b->changed);
    env_unlock(b->env, &b->lock);
    return fails ? error_set(err, ERR_CONFLICT, "told to fail") : 0;
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.env = env_new_real()};
    env_lock_init(&b->lock);
    env_cond_init(&b->changed);
    b->q = workqueue_new(b->env, "test", 40);
}

static void bench_done(struct bench *b)
{
    workqueue_free(b->q);
    env_cond_done(&b->changed);
    env_lock_done(&b->lock);
    env_free(b->env);
}

static int wait_runs(struct bench *b, int wanted, int64_t ns)
{
    int64_t deadline_ns = env_now_ns(b->env) + ns;
    bool in_time = true;

    env_lock(b->env, &b->lock);
    while (b->runs < wanted && in_time)
        in_time = env_wait_until(b->env, &b->changed, &b->lock, deadline_ns);
    int runs = b->runs;
    env_unlock(b->env, &b->lock);
    return runs;
}

static void test_a_key_waits_once(void)
{
    struct bench b;

    bench_init(&b);
    for (int i = 0; i < 5; i++)
        workqueue_add(b.q, "0");
    workqueue_addf(b.q, "%d", 1);
    CU_ASSERT_EQUAL(workqueue_depth(b.q), 2);
    workqueue_run(b.q, 2, reconcile, &b);
    CU_ASSERT_EQUAL(wait_runs(&b, 2, 10 * NS_PER_S), 2);
    CU_ASSERT_EQUAL(wait_runs(&b, 3, 10 * NS_PER_MS), 2);
    bench_done(&b);
}

static void test_never_two_workers(void)
{
    struct bench b;

    bench_init(&b);
    b.work_ns = NS_PER_MS / 5;
    workqueue_run(b.q, 8, reconcile, &b);
    for (int i = 0; i < 2000; i++) {
        workqueue_addf(b.q, "%d", i % KEYS);
        if (i % 10 == 0)
            env_sleep_ns(b.env, 50 * NS_PER_US);
    }
    CU_ASSERT(wait_runs(&b, KEYS, 10 * NS_PER_S) >= KEYS);
    workqueue_stop(b.q);
    CU_ASSERT_EQUAL(b.worst, 1);
    bench_done(&b);
}

static void test_added_while_running(void)
{
    struct bench b;

    bench_init(&b);
    b.add_while_running = true;
    workqueue_run(b.q, 3, reconcile, &b);
    workqueue_add(b.q, "0");
    CU_ASSERT_EQUAL(wait_runs(&b, 2, 10 * NS_PER_S), 2);
    CU_ASSERT_EQUAL(wait_runs(&b, 3, 10 * NS_PER_MS), 2);
    CU_ASSERT_EQUAL(b.worst, 1);
    bench_done(&b);
}

static void test_failures_back_off(void)
{
    struct bench b;

    bench_init(&b);
    b.fail = 5; /* 5, 10, 20, 40, 40 ms */
    workqueue_run(b.q, 2, reconcile, &b);
    int64_t started = env_now_ns(b.env);
    workqueue_add(b.q, "0");
    CU_ASSERT_EQUAL(wait_runs(&b, 6, 10 * NS_PER_S), 6);
    CU_ASSERT(b.times[5] - started >= 115 * NS_PER_MS);
    CU_ASSERT(b.times[1] - b.times[0] >= 5 * NS_PER_MS);
    CU_ASSERT(b.times[5] - b.times[4] >= 40 * NS_PER_MS);
    CU_ASSERT_EQUAL(wait_runs(&b, 7, 60 * NS_PER_MS), 6);
    bench_done(&b);
}

static void test_success_forgets_the_retry(void)
{
    struct bench b;

    bench_init(&b);
    b.fail = 4; /* the last retry waits for 40 ms */
    workqueue_run(b.q, 1, reconcile, &b);
    workqueue_add(b.q, "0");
    CU_ASSERT_EQUAL(wait_runs(&b, 4, 10 * NS_PER_S), 4);
    workqueue_add(b.q, "0");
    CU_ASSERT_EQUAL(wait_runs(&b, 5, 10 * NS_PER_S), 5);
    CU_ASSERT_EQUAL(wait_runs(&b, 6, 80 * NS_PER_MS), 5);
    bench_done(&b);
}

static void test_delays(void)
{
    struct bench b;

    bench_init(&b);
    workqueue_run(b.q, 3, reconcile, &b);
    int64_t started = env_now_ns(b.env);
    workqueue_add_after(b.q, "0", 10 * NS_PER_S);
    workqueue_add_after(b.q, "0", 20 * NS_PER_MS);
    workqueue_add_after(b.q, "0", 5 * NS_PER_S);
    workqueue_add_after(b.q, "1", 40 * NS_PER_MS);
    CU_ASSERT_EQUAL(wait_runs(&b, 2, 10 * NS_PER_S), 2);
    CU_ASSERT(b.times[0] - started >= 20 * NS_PER_MS && b.times[0] - started < 5 * NS_PER_S);
    CU_ASSERT(b.times[1] - started >= 40 * NS_PER_MS);
    b.again_ns = 15 * NS_PER_MS;
    workqueue_add(b.q, "2");
    CU_ASSERT_EQUAL(wait_runs(&b, 4, 10 * NS_PER_S), 4);
    CU_ASSERT(b.times[3] - b.times[2] >= 15 * NS_PER_MS);
    bench_done(&b);
}

static void test_stop_with_work_left(void)
{
    struct bench b;

    bench_init(&b);
    b.work_ns = 5 * NS_PER_MS;
    workqueue_run(b.q, 2, reconcile, &b);
    for (int i = 0; i < KEYS; i++) {
        workqueue_addf(b.q, "%d", i);
        workqueue_add_after(b.q, "7", NS_PER_S);
    }
    CU_ASSERT(wait_runs(&b, 1, 10 * NS_PER_S) >= 1);
    workqueue_stop(b.q);
    int runs = b.runs;
    workqueue_add(b.q, "0");
    CU_ASSERT_EQUAL(wait_runs(&b, runs + 1, 10 * NS_PER_MS), runs);
    bench_done(&b);
}

const CU_TestInfo workqueue_tests[] = {
    {"a key waits once", test_a_key_waits_once},
    {"a key never has two workers", test_never_two_workers},
    {"a key added while it runs", test_added_while_running},
    {"failures back off", test_failures_back_off},
    {"success forgets the retry", test_success_forgets_the_retry},
    {"delays", test_delays},
    {"stop with work left", test_stop_with_work_left},
    CU_TEST_INFO_NULL,
};
