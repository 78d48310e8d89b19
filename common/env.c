/*
 * The functions of common/env.h over an environment's table; nothing here knows which one it is.
 */
#include "common/env.h"

#include <assert.h>

#include "common/str.h"

void env_free(struct env *env)
{
    if (env)
        env->ops->free(env);
}

int64_t env_now_ns(struct env *env)
{
    return env->ops->now_ns(env);
}

int64_t env_wall_ns(struct env *env)
{
    return env->ops->wall_ns(env);
}

void env_random_bytes(struct env *env, void *buf, size_t n)
{
    env->ops->random_bytes(env, buf, n);
}

uint64_t env_random(struct env *env)
{
    uint64_t bits;

    env->ops->random_bytes(env, &bits, sizeof(bits));
    return bits;
}

double env_random_unit(struct env *env)
{
    return (double)(env_random(env) >> 11) * 0x1p-53;
}

int64_t env_jitter_ns(struct env *env, int64_t ns, double f)
{
    return ns + (int64_t)((double)ns * f * env_random_unit(env));
}

struct task *env_spawn(struct env *env, const char *name, task_fn *fn, void *arg)
{
    return env->ops->spawn(env, name, fn, arg);
}

void env_join(struct env *env, struct task *task)
{
    env->ops->join(env, task);
}

void env_sleep_ns(struct env *env, int64_t ns)
{
    if (ns > 0)
        env->ops->sleep_until(env, env->ops->now_ns(env) + ns);
}

void env_lock_init(struct lock *lock)
{
    int failed = pthread_mutex_init(&lock->mutex, NULL);

    assert(!failed);
    lock->holder = NULL;
}

void env_lock_done(struct lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

void env_cond_init(struct cond *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(&cond->cond, &attr);
    assert(!failed);
    pthread_condattr_destroy(&attr);
    cond->waiters = NULL;
}

void env_cond_done(struct cond *cond)
{
    pthread_cond_destroy(&cond->cond);
}

void env_lock(struct env *env, struct lock *lock)
{
    env->ops->lock(env, lock);
}

void env_unlock(struct env *env, struct lock *lock)
{
    env->ops->unlock(env, lock);
}

bool env_wait_until(struct env *env, struct cond *cond, struct lock *lock, int64_t deadline_ns)
{
    return env->ops->wait_until(env, cond, lock, deadline_ns);
}

void env_signal(struct env *env, struct cond *cond)
{
    env->ops->signal(env, cond, false);
}

void env_broadcast(struct env *env, struct cond *cond)
{
    env->ops->signal(env, cond, true);
}

void env_timer_init(struct env_timer *timer, task_fn *fn, void *arg)
{
    *timer = (struct env_timer){.fn = fn, .arg = arg};
}

void env_timer_set(struct env *env, struct env_timer *timer, int64_t at_ns)
{
    env->ops->timer_set(env, timer, at_ns);
}

void env_timer_cancel(struct env *env, struct env_timer *timer)
{
    env->ops->timer_cancel(env, timer);
}
