/*
 * The simulator's kernel; see sim.h.
 *
 * Every task is a thread that waits for its turn on a condition of its own. The turn is passed
 * under one real mutex; a task that runs holds the turn, not the mutex. Predicates of waiting tasks
 * are evaluated by whoever gives up its turn, so they only read.
 */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdarg.h>

#include "common/time.h"

#define STACK_BYTES (2u << 20)
#define START_WALL_NS (1767225600ll * NS_PER_S) /* 2026-01-01T00:00:00Z */
/* A task that takes a free lock goes on at once with this chance, so that runs don't drown in
 * switches. */
#define STEP_EVERY 6

bool sim_verbose;

enum task_state { TASK_READY, TASK_WAITING, TASK_DONE };

struct task {
    pthread_t thread;
    pthread_cond_t turn;
    struct sim_process *process;
    char name[24];
    task_fn *fn;
    void *arg;
    enum task_state state;
    bool (*ready)(void *arg);
    void *ready_arg;
    int64_t deadline_ns;
    struct cond *waits_for; /* env_wait_until */
    bool signalled;
    struct task *next;
    uint64_t number;
};

struct sim {
    pthread_mutex_t mutex;
    struct task *tasks, **last;
    struct task *current;
    struct sim_process *root, *processes;
    int64_t now_ns;
    uint64_t random, steps, hash, task_count;
    void (*on_step)(void *arg, uint64_t step);
    void *on_step_arg;
};

static const struct env_ops sim_ops;
static int64_t earliest(const struct sim_process *p);

/* --- randomness and the trace --- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t sim_random(struct sim *sim)
{
    return mix(sim->random += 0x9e3779b97f4a7c15ull);
}

uint64_t sim_below(struct sim *sim, uint64_t n)
{
    return n ? sim_random(sim) % n : 0;
}

int64_t sim_now_ns(struct sim *sim)
{
    return sim->now_ns;
}

uint64_t sim_steps(struct sim *sim)
{
    return sim->steps;
}

uint64_t sim_hash(struct sim *sim)
{
    return sim->hash;
}

static void add_to_hash(struct sim *sim, uint64_t value)
{
    sim->hash = mix(sim->hash ^ value);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (int i = 0; i < n && i < (int)sizeof(text) - 1; i++)
        sim->hash = (sim->hash ^ (unsigned char)text[i]) * 0x100000001b3ull;
    if (sim_verbose)
        fprintf(stderr, "%10.3f #%-7llu %-20s %s\n", (double)sim->now_ns / NS_PER_S,
            (unsigned long long)sim->steps, sim->current ? sim->current->name : "-", text);
}

/* --- turns --- */

static bool can_run(struct sim *sim, struct task *t)
{
    if (t->state == TASK_DONE)
        return false;
    if (t->state == TASK_READY || t->process->dead)
        return true;
    return t->deadline_ns <= sim->now_ns || (t->ready && t->ready(t->ready_arg));
}

static struct task *draw(struct sim *sim)
{
    struct task *candidates[1024];
    size_t count = 0;
    int64_t next_ns = INT64_MAX;
    for (struct task *t = sim->tasks; t; t = t->next) {
        if (can_run(sim, t) && count < ARRAY_COUNT(candidates))
            candidates[count++] = t;
        else if (t->state == TASK_WAITING && t->deadline_ns < next_ns)
            next_ns = t->deadline_ns;
    }
    if (count > 0)
        return candidates[sim_below(sim, count)];
    for (struct sim_process *p = sim->processes; p; p = p->next)
        if (!p->dead && earliest(p) < next_ns)
            next_ns = earliest(p);
    if (next_ns == INT64_MAX) {
        fprintf(stderr, "sim: nothing can run any more; the tasks that wait:\n");
        for (struct task *t = sim->tasks; t; t = t->next)
            if (t->state == TASK_WAITING)
                fprintf(stderr, "  %s/%s\n", t->process->name, t->name);
        abort();
    }
    sim->now_ns = next_ns;
    return draw(sim);
}

/* Removes tasks that ended, so that a long run stays fast. */
static void forget_done(struct sim *sim)
{
    struct task **p = &sim->tasks;
    while (*p) {
        struct task *t = *p;
        if (t->state == TASK_DONE && t->process->dead && t != sim->current)
            *p = t->next;
        else
            p = &t->next;
    }
    sim->last = p;
}

static void pass_turn(struct sim *sim, struct task *self)
{
    sim->steps++;
    if (sim->on_step)
        sim->on_step(sim->on_step_arg, sim->steps);
    if (sim->steps % 256 == 0)
        forget_done(sim);
    struct task *next = draw(sim);
    add_to_hash(sim, next->number);
    pthread_mutex_lock(&sim->mutex);
    sim->current = next;
    pthread_cond_signal(&next->turn);
    while (sim->current != self && self->state != TASK_DONE)
        pthread_cond_wait(&self->turn, &sim->mutex);
    pthread_mutex_unlock(&sim->mutex);
}

static void end_if_dead(struct sim *sim, struct task *self)
{
    if (!self->process->dead)
        return;
    self->state = TASK_DONE;
    pass_turn(sim, self);
    pthread_exit(NULL);
}

bool sim_wait(struct sim *sim, bool (*ready)(void *arg), void *arg, int64_t deadline_ns)
{
    struct task *self = sim->current;
    self->state = TASK_WAITING;
    self->ready = ready;
    self->ready_arg = arg;
    self->deadline_ns = deadline_ns;
    pass_turn(sim, self);
    end_if_dead(sim, self);
    self->state = TASK_READY;
    return ready && ready(arg);
}

void sim_step(struct sim *sim)
{
    struct task *self = sim->current;
    pass_turn(sim, self);
    end_if_dead(sim, self);
}

void sim_on_step(struct sim *sim, void (*fn)(void *arg, uint64_t step), void *arg)
{
    sim->on_step = fn;
    sim->on_step_arg = arg;
}

struct sim_process *sim_self(struct sim *sim)
{
    return sim->current->process;
}

/* --- processes and tasks --- */

struct sim_process *sim_process_new(struct sim *sim, const char *name)
{
    struct sim_process *p = xcalloc(1, sizeof(*p));
    p->env.ops = &sim_ops;
    p->sim = sim;
    p->name = name;
    p->next = sim->processes;
    sim->processes = p;
    return p;
}

void sim_kill(struct sim_process *p)
{
    sim_trace(p->sim, "kill %s", p->name);
    p->dead = true;
}

struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = xcalloc(1, sizeof(*sim));
    struct task *t = xcalloc(1, sizeof(*t));
    pthread_mutex_init(&sim->mutex, NULL);
    sim->random = mix(seed + 1);
    sim->now_ns = NS_PER_S;
    sim->root = sim_process_new(sim, "test");
    pthread_cond_init(&t->turn, NULL);
    t->process = sim->root;
    snprintf(t->name, sizeof(t->name), "main");
    sim->tasks = sim->current = t;
    sim->last = &t->next;
    return sim;
}

struct sim_process *sim_root(struct sim *sim)
{
    return sim->root;
}

static void *task_main(void *arg)
{
    struct task *self = arg;
    struct sim *sim = self->process->sim;
    pthread_mutex_lock(&sim->mutex);
    while (sim->current != self)
        pthread_cond_wait(&self->turn, &sim->mutex);
    pthread_mutex_unlock(&sim->mutex);
    end_if_dead(sim, self);
    self->fn(self->arg);
    self->state = TASK_DONE;
    pass_turn(sim, self);
    return NULL;
}

static struct sim_process *process_of(struct env *env)
{
    return (struct sim_process *)env;
}

static struct task *op_spawn(struct env *env, const char *name, task_fn *fn, void *arg)
{
    struct sim_process *p = process_of(env);
    struct sim *sim = p->sim;
    struct task *t = xcalloc(1, sizeof(*t));
    pthread_attr_t attr;
    t->process = p;
    t->fn = fn;
    t->arg = arg;
    t->number = ++sim->task_count;
    snprintf(t->name, sizeof(t->name), "%.8s/%s", p->name, name);
    pthread_cond_init(&t->turn, NULL);
    *sim->last = t;
    sim->last = &t->next;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&t->thread, &attr, task_main, t);
    assert(!failed);
    pthread_attr_destroy(&attr);
    sim_step(sim);
    return t;
}

static bool is_done(void *arg)
{
    return ((struct task *)arg)->state == TASK_DONE;
}

static void op_join(struct env *env, struct task *task)
{
    struct sim *sim = process_of(env)->sim;
    while (!is_done(task))
        sim_wait(sim, is_done, task, ENV_FOREVER);
    for (struct task **p = &sim->tasks; *p; p = &(*p)->next) {
        if (*p != task)
            continue;
        *p = task->next;
        if (sim->last == &task->next)
            sim->last = p;
        break;
    }
}

static int64_t op_now_ns(struct env *env)
{
    return process_of(env)->sim->now_ns;
}

static int64_t op_wall_ns(struct env *env)
{
    return START_WALL_NS + process_of(env)->sim->now_ns;
}

static void op_random_bytes(struct env *env, void *buf, size_t n)
{
    unsigned char *out = buf;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)(sim_random(process_of(env)->sim) >> 24);
}

static void op_sleep_until(struct env *env, int64_t deadline_ns)
{
    sim_wait(process_of(env)->sim, NULL, NULL, deadline_ns);
}

/* --- locks and conditions --- */

static bool is_free(void *arg)
{
    return ((struct lock *)arg)->holder == NULL;
}

static void op_lock(struct env *env, struct lock *lock)
{
    struct sim *sim = process_of(env)->sim;
    if (sim_below(sim, STEP_EVERY) == 0)
        sim_step(sim);
    assert(lock->holder != sim->current);
    while (lock->holder)
        sim_wait(sim, is_free, lock, ENV_FOREVER);
    lock->holder = sim->current;
}

static void op_unlock(struct env *env, struct lock *lock)
{
    assert(lock->holder == process_of(env)->sim->current);
    lock->holder = NULL;
}

static bool is_signalled(void *arg)
{
    return ((struct task *)arg)->signalled;
}

static bool op_wait_until(
    struct env *env, struct cond *cond, struct lock *lock, int64_t deadline_ns)
{
    struct sim *sim = process_of(env)->sim;
    struct task *self = sim->current;
    self->waits_for = cond;
    self->signalled = false;
    op_unlock(env, lock);
    bool signalled = sim_wait(sim, is_signalled, self, deadline_ns);
    self->waits_for = NULL;
    while (lock->holder)
        sim_wait(sim, is_free, lock, ENV_FOREVER);
    lock->holder = self;
    return signalled;
}

static void op_signal(struct env *env, struct cond *cond, bool all)
{
    struct sim *sim = process_of(env)->sim;
    size_t waiting = 0;
    for (struct task *t = sim->tasks; t; t = t->next)
        waiting += t->waits_for == cond && !t->signalled && t->state == TASK_WAITING;
    size_t chosen = waiting ? sim_below(sim, waiting) : 0;
    for (struct task *t = sim->tasks; t; t = t->next)
        if (t->waits_for == cond && !t->signalled && t->state == TASK_WAITING &&
            (all || chosen-- == 0)) {
            t->signalled = true;
            if (!all)
                break;
        }
}

/* --- timers: a task a process --- */

static int64_t earliest(const struct sim_process *p)
{
    int64_t at_ns = ENV_FOREVER;
    for (size_t i = 0; i < p->timer_count; i++)
        if (p->timers[i]->at_ns < at_ns)
            at_ns = p->timers[i]->at_ns;
    return at_ns;
}

static bool timer_due(void *arg)
{
    struct sim_process *p = arg;
    return earliest(p) <= p->sim->now_ns;
}

static void timer_remove(struct sim_process *p, const struct env_timer *timer)
{
    for (size_t i = 0; i < p->timer_count; i++) {
        if (p->timers[i] != timer)
            continue;
        memmove(&p->timers[i], &p->timers[i + 1], (p->timer_count - i - 1) * sizeof(p->timers[0]));
        p->timer_count--;
        return;
    }
}

static void run_timers(void *arg)
{
    struct sim_process *p = arg;
    for (;;) {
        while (!timer_due(p))
            sim_wait(p->sim, timer_due, p, ENV_FOREVER);
        struct env_timer *due = NULL;
        for (size_t i = 0; i < p->timer_count; i++)
            if (!due || p->timers[i]->at_ns < due->at_ns)
                due = p->timers[i];
        timer_remove(p, due);
        p->running_timer = due;
        due->fn(due->arg);
        p->running_timer = NULL;
    }
}

static void op_timer_set(struct env *env, struct env_timer *timer, int64_t at_ns)
{
    struct sim_process *p = process_of(env);
    timer_remove(p, timer);
    timer->at_ns = at_ns;
    p->timers = xrealloc(p->timers, (p->timer_count + 1) * sizeof(p->timers[0]));
    p->timers[p->timer_count++] = timer;
    if (!p->timer_task_started) {
        p->timer_task_started = true;
        op_spawn(env, "timers", run_timers, p);
    }
}

struct running {
    struct sim_process *process;
    const struct env_timer *timer;
};

static bool timer_finished(void *arg)
{
    const struct running *r = arg;
    return r->process->running_timer != r->timer;
}

static void op_timer_cancel(struct env *env, struct env_timer *timer)
{
    struct running r = {process_of(env), timer};
    timer_remove(r.process, timer);
    while (!timer_finished(&r))
        sim_wait(r.process->sim, timer_finished, &r, ENV_FOREVER);
}

static void op_free(struct env *env)
{
    (void)env; /* lives as long as the run */
}

static const struct env_ops sim_ops = {
    .now_ns = op_now_ns,
    .wall_ns = op_wall_ns,
    .random_bytes = op_random_bytes,
    .spawn = op_spawn,
    .join = op_join,
    .sleep_until = op_sleep_until,
    .lock = op_lock,
    .unlock = op_unlock,
    .wait_until = op_wait_until,
    .signal = op_signal,
    .timer_set = op_timer_set,
    .timer_cancel = op_timer_cancel,
    .free = op_free,
};
