/*
 * The seam for simulation: clock, randomness, tasks, locks and timers.
 *
 * Code above the libraries takes time, randomness and threads only from here, so that a whole
 * cluster can run in one process on a simulated clock with the same seed giving the same run.
 * env_new_real() is the operating system; the simulator in tests/sim makes another with the same
 * table. In simulation a task is still a thread, but exactly one runs at a time and the seed
 * chooses which, at each call here.
 *
 *     struct task *t = env_spawn(env, "binder", binder_run, binder);
 *     ...
 *     env_lock(env, &q->lock);
 *     while (!q->ready && env_wait_until(env, &q->changed, &q->lock, deadline_ns))
 *         ;
 *     env_unlock(env, &q->lock);
 *
 * Times: *_now_ns is monotonic, *_wall_ns is UTC since the epoch. Deadlines are monotonic.
 * Threads: every function may be called from any task.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENV_FOREVER INT64_MAX

struct env;
struct task;

struct lock {
    pthread_mutex_t mutex; /* real */
    void *holder;          /* simulated: the task that has it */
};
struct cond {
    pthread_cond_t cond; /* real; on the monotonic clock */
    void *waiters;       /* simulated */
};

typedef void task_fn(void *arg);

/* A one-shot timer embedded in its owner. fn runs on a task of env's own and must be short: it
 * wakes somebody. After env_timer_cancel returns, fn neither runs nor will run (do not call it with
 * a lock held that fn takes). */
struct env_timer {
    task_fn *fn;
    void *arg;
    int64_t at_ns; /* private from here on */
    struct env_timer *next;
    int state;
};

/* The table behind the functions below; a simulator fills its own. */
struct env_ops {
    int64_t (*now_ns)(struct env *);
    int64_t (*wall_ns)(struct env *);
    void (*random_bytes)(struct env *, void *buf, size_t n);
    struct task *(*spawn)(struct env *, const char *name, task_fn *fn, void *arg);
    void (*join)(struct env *, struct task *);
    void (*sleep_until)(struct env *, int64_t deadline_ns);
    void (*lock)(struct env *, struct lock *);
    void (*unlock)(struct env *, struct lock *);
    bool (*wait_until)(struct env *, struct cond *, struct lock *, int64_t deadline_ns);
    void (*signal)(struct env *, struct cond *, bool all);
    void (*timer_set)(struct env *, struct env_timer *, int64_t at_ns);
    void (*timer_cancel)(struct env *, struct env_timer *);
    void (*free)(struct env *);
};

struct env {
    const struct env_ops *ops;
};

struct env *env_new_real(void);
void env_free(struct env *env);

int64_t env_now_ns(struct env *env);
int64_t env_wall_ns(struct env *env);
void env_random_bytes(struct env *env, void *buf, size_t n);
uint64_t env_random(struct env *env);
double env_random_unit(struct env *env);                      /* [0, 1) */
int64_t env_jitter_ns(struct env *env, int64_t ns, double f); /* ns * [1, 1+f) */

/* name: at most 15 bytes are seen in ps. Stacks are 256 KiB of address space. */
struct task *env_spawn(struct env *env, const char *name, task_fn *fn, void *arg);
void env_join(struct env *env, struct task *task); /* waits and frees */
void env_sleep_ns(struct env *env, int64_t ns);

void env_lock_init(struct lock *lock);
void env_lock_done(struct lock *lock);
void env_cond_init(struct cond *cond);
void env_cond_done(struct cond *cond);
void env_lock(struct env *env, struct lock *lock);
void env_unlock(struct env *env, struct lock *lock);
/* false when the deadline passed; ENV_FOREVER waits without one. Spurious wake-ups happen. */
bool env_wait_until(struct env *env, struct cond *cond, struct lock *lock, int64_t deadline_ns);
void env_signal(struct env *env, struct cond *cond);
void env_broadcast(struct env *env, struct cond *cond);

void env_timer_init(struct env_timer *timer, task_fn *fn, void *arg);
void env_timer_set(
    struct env *env, struct env_timer *timer, int64_t at_ns); /* replaces an earlier time */
void env_timer_cancel(struct env *env, struct env_timer *timer);
