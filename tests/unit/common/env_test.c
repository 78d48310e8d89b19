/* Tests of common/env.c and common/env_real.c: clocks, tasks, conditions, timers. */
#include "common/env.h"

#include <CUnit/CUnit.h>

#include "common/str.h"
#include "common/time.h"

struct shared {
    struct env *env;
    struct lock lock;
    struct cond changed;
    int count;
    char order[8];
};

static void shared_init(struct shared *s)
{
    *s = (struct shared){.env = env_new_real()};
    env_lock_init(&s->lock);
    env_cond_init(&s->changed);
}

static void shared_done(struct shared *s)
{
    env_cond_done(&s->changed);
    env_lock_done(&s->lock);
    env_free(s->env);
}

static void count_up(void *arg)
{
    struct shared *s = arg;

    env_lock(s->env, &s->lock);
    s->count++;
    env_broadcast(s->env, &s->changed);
    env_unlock(s->env, &s->lock);
}

static bool wait_count(struct shared *s, int wanted, int64_t ns)
{
    int64_t deadline_ns = env_now_ns(s->env) + ns;
    bool in_time = true;

    env_lock(s->env, &s->lock);
    while (s->count < wanted && in_time)
        in_time = env_wait_until(s->env, &s->changed, &s->lock, deadline_ns);
    bool reached = s->count >= wanted;
    env_unlock(s->env, &s->lock);
    return reached;
}

static void test_clock_and_random(void)
{
    struct env *env = env_new_real();
    int64_t before = env_now_ns(env);

    env_sleep_ns(env, 2 * NS_PER_MS);
    CU_ASSERT(env_now_ns(env) - before >= 2 * NS_PER_MS);
    CU_ASSERT(env_wall_ns(env) > 1600000000 * NS_PER_S);
    CU_ASSERT(env_random(env) != env_random(env));
    for (int i = 0; i < 100; i++) {
        double u = env_random_unit(env);
        CU_ASSERT(u >= 0 && u < 1);
        int64_t jittered = env_jitter_ns(env, 1000, 0.5);
        CU_ASSERT(jittered >= 1000 && jittered < 1500);
    }
    env_free(env);
}

static void test_tasks(void)
{
    struct shared s;
    struct task *tasks[16];

    shared_init(&s);
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        tasks[i] = env_spawn(s.env, "a-name-longer-than-fifteen", count_up, &s);
    CU_ASSERT(wait_count(&s, 16, 10 * NS_PER_S));
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        env_join(s.env, tasks[i]);
    CU_ASSERT_EQUAL(s.count, 16);
    CU_ASSERT_FALSE(wait_count(&s, 17, 5 * NS_PER_MS));
    shared_done(&s);
}

struct note {
    struct shared *shared;
    char letter;
};

static void note_letter(void *arg)
{
    struct note *n = arg;

    env_lock(n->shared->env, &n->shared->lock);
    n->shared->order[n->shared->count++] = n->letter;
    env_broadcast(n->shared->env, &n->shared->changed);
    env_unlock(n->shared->env, &n->shared->lock);
}

static void test_timers_run_in_order(void)
{
    struct shared s;
    struct note notes[4];
    struct env_timer timers[4];
    static const int order[] = {2, 0, 3, 1};

    shared_init(&s);
    int64_t now = env_now_ns(s.env);
    for (size_t i = 0; i < 4; i++) {
        notes[i] = (struct note){&s, (char)('a' + order[i])};
        env_timer_init(&timers[i], note_letter, &notes[i]);
        env_timer_set(s.env, &timers[i], now + (10 + 5 * order[i]) * NS_PER_MS);
    }
    env_timer_cancel(s.env, &timers[3]);
    env_timer_set(s.env, &timers[1], now + 40 * NS_PER_MS); /* the "a" goes behind all others */
    CU_ASSERT(wait_count(&s, 3, 10 * NS_PER_S));
    CU_ASSERT_STRING_EQUAL(s.order, "cda");
    for (size_t i = 0; i < 4; i++)
        env_timer_cancel(s.env, &timers[i]);
    shared_done(&s);
}

static void slow_count(void *arg)
{
    struct shared *s = arg;

    count_up(s);
    env_sleep_ns(s->env, 20 * NS_PER_MS);
    count_up(s);
}

static void test_cancel_waits_for_a_running_timer(void)
{
    struct shared s;
    struct env_timer timer;

    shared_init(&s);
    env_timer_init(&timer, slow_count, &s);
    env_timer_set(s.env, &timer, 0);
    CU_ASSERT(wait_count(&s, 1, 10 * NS_PER_S));
    env_timer_cancel(s.env, &timer);
    CU_ASSERT_EQUAL(s.count, 2);
    shared_done(&s);
}

static void test_many_timers(void)
{
    enum { COUNT = 500 };
    static struct env_timer timers[COUNT];
    struct shared s;
    int cancelled = 0;

    shared_init(&s);
    int64_t now = env_now_ns(s.env);
    for (int i = 0; i < COUNT; i++) {
        env_timer_init(&timers[i], count_up, &s);
        env_timer_set(s.env, &timers[i], now + 30 * NS_PER_MS + i * 7919 % 1000 * NS_PER_US);
    }
    for (int i = 0; i < COUNT; i += 3, cancelled++)
        env_timer_cancel(s.env, &timers[i]);
    CU_ASSERT(wait_count(&s, COUNT - cancelled, 10 * NS_PER_S));
    CU_ASSERT_FALSE(wait_count(&s, COUNT - cancelled + 1, 5 * NS_PER_MS));
    shared_done(&s);
}

const CU_TestInfo env_tests[] = {
    {"clock and random", test_clock_and_random},
    {"tasks and conditions", test_tasks},
    {"timers run in order", test_timers_run_in_order},
    {"cancel waits for a running timer", test_cancel_waits_for_a_running_timer},
    {"many timers", test_many_timers},
    CU_TEST_INFO_NULL,
};
