/*
 * The operating system behind common/env.h: monotonic clock, getrandom, POSIX threads, one timer
 * task.
 *
 * Timers are a binary heap of pointers; a timer's `state` is its place in the heap plus one, 0 when
 * it is not set. The timer task starts with the first timer. It runs one fn at a time without the
 * lock; `running` names it, so that a cancel can wait for it.
 */
#include "common/env.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/random.h>
#include <time.h>

#include "common/str.h"
#include "common/time.h"

/* What a task may use of its stack; sanitizers' frames are several times larger. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (2048u << 10)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACK_BYTES (2048u << 10)
#endif
#endif
#ifndef STACK_BYTES
#define STACK_BYTES (256u << 10)
#endif

struct task {
    pthread_t thread;
    task_fn *fn;
    void *arg;
    char name[16];
};

struct env_real {
    struct env base;
    struct lock lock; /* guards all below */
    struct cond changed;
    struct cond finished; /* a timer's fn returned */
    struct env_timer **heap;
    size_t count, capacity;
    struct env_timer *running;
    struct task *task;
    bool stopping;
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static int64_t real_now_ns(struct env *env)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static int64_t real_wall_ns(struct env *env)
{
    return clock_ns(CLOCK_REALTIME);
}

static void real_random_bytes(struct env *env, void *buf, size_t n)
{
    char *p = buf;

    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        assert(got > 0);
        p += got;
        n -= (size_t)got;
    }
}

static void *task_start(void *arg)
{
    struct task *task = arg;

    pthread_setname_np(pthread_self(), task->name);
    task->fn(task->arg);
    return NULL;
}

static struct task *real_spawn(struct env *env, const char *name, task_fn *fn, void *arg)
{
    struct task *task = xcalloc(1, sizeof(*task));
    pthread_attr_t attr;

    task->fn = fn;
    task->arg = arg;
    snprintf(task->name, sizeof(task->name), "%s", name);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int failed = pthread_create(&task->thread, &attr, task_start, task);
    pthread_attr_destroy(&attr);
    if (failed) { /* like memory, threads are bounded by our own limits; being out of them is fatal
                   */
        fprintf(stderr, "cannot start task %s: %s\n", name, strerror(failed));
        abort();
    }
    return task;
}

static void real_join(struct env *env, struct task *task)
{
    if (!task)
        return;
    int failed = pthread_join(task->thread, NULL);
    assert(!failed);
    free(task);
}

static void real_sleep_until(struct env *env, int64_t deadline_ns)
{
    struct timespec ts = timespec_of(deadline_ns);

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

static void real_lock(struct env *env, struct lock *lock)
{
    pthread_mutex_lock(&lock->mutex);
}

static void real_unlock(struct env *env, struct lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

static bool real_wait_until(
    struct env *env, struct cond *cond, struct lock *lock, int64_t deadline_ns)
{
    if (deadline_ns == ENV_FOREVER)
        return pthread_cond_wait(&cond->cond, &lock->mutex) == 0;
    if (deadline_ns < 0)
        deadline_ns = 0;
    struct timespec ts = timespec_of(deadline_ns);
    return pthread_cond_timedwait(&cond->cond, &lock->mutex, &ts) != ETIMEDOUT;
}

static void real_signal(struct env *env, struct cond *cond, bool all)
{
    if (all)
        pthread_cond_broadcast(&cond->cond);
    else
        pthread_cond_signal(&cond->cond);
}

static void heap_put(struct env_real *e, size_t i, struct env_timer *t)
{
    e->heap[i] = t;
    t->state = (int)i + 1;
}

static void heap_up(struct env_real *e, size_t i)
{
    struct env_timer *t = e->heap[i];

    for (; i > 0 && e->heap[(i - 1) / 2]->at_ns > t->at_ns; i = (i - 1) / 2)
        heap_put(e, i, e->heap[(i - 1) / 2]);
    heap_put(e, i, t);
}

static void heap_down(struct env_real *e, size_t i)
{
    struct env_timer *t = e->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= e->count)
            break;
        if (child + 1 < e->count && e->heap[child + 1]->at_ns < e->heap[child]->at_ns)
            child++;
        if (e->heap[child]->at_ns >= t->at_ns)
            break;
        heap_put(e, i, e->heap[child]);
        i = child;
    }
    heap_put(e, i, t);
}

static void heap_remove(struct env_real *e, struct env_timer *t)
{
    size_t i = (size_t)t->state - 1;

    assert(i < e->count && e->heap[i] == t);
    t->state = 0;
    struct env_timer *last = e->heap[--e->count];
    if (last == t)
        return;
    heap_put(e, i, last);
    heap_down(e, i);
    heap_up(e, (size_t)last->state - 1);
}

static void timer_run(void *arg)
{
    struct env_real *e = arg;

    real_lock(&e->base, &e->lock);
    while (!e->stopping) {
        struct env_timer *t = e->count > 0 ? e->heap[0] : NULL;
        if (!t || t->at_ns > real_now_ns(&e->base)) {
            real_wait_until(&e->base, &e->changed, &e->lock, t ? t->at_ns : ENV_FOREVER);
            continue;
        }
        heap_remove(e, t);
        e->running = t;
        task_fn *fn = t->fn;
        void *fn_arg = t->arg;
        real_unlock(&e->base, &e->lock);
        fn(fn_arg); /* may free t's owner */
        real_lock(&e->base, &e->lock);
        e->running = NULL;
        real_signal(&e->base, &e->finished, true);
    }
    real_unlock(&e->base, &e->lock);
}

static void real_timer_set(struct env *env, struct env_timer *t, int64_t at_ns)
{
    struct env_real *e = (struct env_real *)env;

    real_lock(env, &e->lock);
    if (t->state)
        heap_remove(e, t);
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 16;
        e->heap = xrealloc(e->heap, e->capacity * sizeof(*e->heap));
    }
    t->at_ns = at_ns;
    heap_put(e, e->count++, t);
    heap_up(e, e->count - 1);
    if (!e->task)
        e->task = real_spawn(env, "timers", timer_run, e);
    else if (e->heap[0] == t)
        real_signal(env, &e->changed, false);
    real_unlock(env, &e->lock);
}

static void real_timer_cancel(struct env *env, struct env_timer *t)
{
    struct env_real *e = (struct env_real *)env;

    real_lock(env, &e->lock);
    bool is_self = e->task && pthread_equal(e->task->thread, pthread_self());
    for (;;) {
        if (t->state)
            heap_remove(e, t);
        if (e->running != t || is_self)
            break;
        real_wait_until(env, &e->finished, &e->lock, ENV_FOREVER);
    }
    real_unlock(env, &e->lock);
}

static void real_free(struct env *env)
{
    struct env_real *e = (struct env_real *)env;

    real_lock(env, &e->lock);
    e->stopping = true;
    real_signal(env, &e->changed, true);
    real_unlock(env, &e->lock);
    real_join(env, e->task);
    free(e->heap);
    env_cond_done(&e->changed);
    env_cond_done(&e->finished);
    env_lock_done(&e->lock);
    free(e);
}

struct env *env_new_real(void)
{
    static const struct env_ops ops = {
        .now_ns = real_now_ns,
        .wall_ns = real_wall_ns,
        .random_bytes = real_random_bytes,
        .spawn = real_spawn,
        .join = real_join,
        .sleep_until = real_sleep_until,
        .lock = real_lock,
        .unlock = real_unlock,
        .wait_until = real_wait_until,
        .signal = real_signal,
        .timer_set = real_timer_set,
        .timer_cancel = real_timer_cancel,
        .free = real_free,
    };
    struct env_real *e = xcalloc(1, sizeof(*e));

    e->base.ops = &ops;
    env_lock_init(&e->lock);
    env_cond_init(&e->changed);
    env_cond_init(&e->finished);
    return &e->base;
}
