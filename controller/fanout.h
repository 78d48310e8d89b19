/*
 * Fan-out: runs fn(arg, i) for i in [0, count) on several tasks at once and returns when all are
 * done.
 *
 * The calling task works too. Tasks live for one call, so an idle process keeps none.
 */
#pragma once

#include "common/env.h"
#include "common/error.h"

/* Concurrent API calls of one reconcile: enough to fill the store's batches, few enough for its
 * connections. */
#define FANOUT_TASKS 8

typedef int fanout_fn(void *arg, size_t i, struct error *err);

/* The number of successes; the first error (in time) is in *first_error when there are fewer than
 * count. */
size_t fanout(struct env *env, size_t count, fanout_fn *fn, void *arg, struct error *first_error);

/* Slow start: batches of 1, 2, 4 ... until one has a failure; the rest is skipped then. */
size_t fanout_slow_start(
    struct env *env, size_t count, fanout_fn *fn, void *arg, struct error *first_error);
