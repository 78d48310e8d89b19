/*
 * Fan-out: see fanout.h. Indexes are handed out by an atomic counter, in order.
 */
#include "controller/fanout.h"

#include <stdatomic.h>

#include "common/str.h"

struct batch {
    struct env *env;
    fanout_fn *fn;
    void *arg;
    size_t base, count;
    atomic_size_t next, succeeded;
    struct lock lock;
    struct error *first_error;
    bool failed;
};

static void work(void *arg)
{
    struct batch *b = arg;
    size_t i;

    while ((i = atomic_fetch_add(&b->next, 1)) < b->count) {
        struct error err;
        if (b->fn(b->arg, b->base + i, &err) == 0) {
            atomic_fetch_add(&b->succeeded, 1);
            continue;
        }
        env_lock(b->env, &b->lock);
        if (!b->failed)
            *b->first_error = err;
        b->failed = true;
        env_unlock(b->env, &b->lock);
    }
}

static size_t run(
    struct env *env, size_t base, size_t count, fanout_fn *fn, void *arg, struct error *first_error)
{
    struct batch b = {
        .env = env, .fn = fn, .arg = arg, .base = base, .count = count, .first_error = first_error};
    struct task *tasks[FANOUT_TASKS - 1];
    size_t helpers = count > 1 ? count - 1 : 0;

    if (helpers > ARRAY_COUNT(tasks))
        helpers = ARRAY_COUNT(tasks);
    env_lock_init(&b.lock);
    for (size_t i = 0; i < helpers; i++)
        tasks[i] = env_spawn(env, "fanout", work, &b);
    work(&b);
    for (size_t i = 0; i < helpers; i++)
        env_join(env, tasks[i]);
    env_lock_done(&b.lock);
    return atomic_load(&b.succeeded);
}

size_t fanout(struct env *env, size_t count, fanout_fn *fn, void *arg, struct error *first_error)
{
    return run(env, 0, count, fn, arg, first_error);
}

size_t fanout_slow_start(
    struct env *env, size_t count, fanout_fn *fn, void *arg, struct error *first_error)
{
    size_t done = 0, size = 1;

    while (done < count) {
        size = size < count - done ? size : count - done;
        size_t succeeded = run(env, done, size, fn, arg, first_error);
        if (succeeded < size)
            return done + succeeded;
        done += size;
        size *= 2;
    }
    return done;
}
