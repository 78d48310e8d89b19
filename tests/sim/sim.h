/*
 * The simulator's kernel: a clock, tasks of which exactly one runs at a time, and processes made of
 * tasks.
 *
 * A task gives up its turn in sim_wait() (or at a point where the seed says so, sim_step()); the
 * next one is drawn among those whose predicate holds. When none can run the clock jumps to the
 * earliest deadline. `sim->hash` mixes every choice and everything passed to sim_trace(), so equal
 * hashes mean equal runs.
 *
 * Threads: all functions are called by the task that has the turn.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

struct sim;

/* One simulated operating-system process: what dies together. Its env is what the component inside
 * is made with. */
struct sim_process {
    struct env env; /* first: struct env * and struct sim_process * are the same address */
    struct sim *sim;
    const char *name;
    bool dead;
    struct sim_process *next;
    struct env_timer **timers;
    size_t timer_count;
    struct env_timer *running_timer;
    bool timer_task_started;
};

struct sim *sim_new(
    uint64_t seed); /* the calling thread becomes a task of the process sim_root() */
struct sim_process *sim_root(struct sim *sim);
struct sim_process *sim_process_new(struct sim *sim, const char *name);
/* Nothing of it runs any more, once the calling task has given up its turn. */
void sim_kill(struct sim_process *p);

uint64_t sim_random(struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t n); /* 0 .. n-1 */
int64_t sim_now_ns(struct sim *sim);
uint64_t sim_steps(struct sim *sim);
uint64_t sim_hash(struct sim *sim);
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
extern bool sim_verbose;

/* A point where another task may go on instead. */
void sim_step(struct sim *sim);
/* Waits until ready(arg) or the deadline; false when the deadline passed first. */
bool sim_wait(struct sim *sim, bool (*ready)(void *arg), void *arg, int64_t deadline_ns);
/* Called before each step, with the number of it; the fault injector's hook. */
void sim_on_step(struct sim *sim, void (*fn)(void *arg, uint64_t step), void *arg);
/* The process of the running task. */
struct sim_process *sim_self(struct sim *sim);
