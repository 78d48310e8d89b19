/*
 * Work queue: keys waiting for a worker; each at most once, never with two workers at a time.
 *
 * A key added while it is worked on runs again afterwards. Failures come back after 5 ms * 2^n, at
 * most `backoff_ms_max`, forgotten on success. workqueue_run() starts workers over a reconcile
 * function and is the whole controller loop:
 *
 *     int reconcile(void *arg, const char *key, int64_t *ret_again_ns, struct error *err);
 *
 * returns 0, or an error that is logged once and retried with back-off. *ret_again_ns > 0 asks for
 * another run after that time. Metrics are upstream's workqueue_* names with the queue's name as
 * label.
 *
 * Threads: any.
 */
#pragma once

#include "common/env.h"
#include "common/error.h"

struct workqueue;

typedef int reconcile_fn(void *arg, const char *key, int64_t *ret_again_ns, struct error *err);

struct workqueue *workqueue_new(struct env *env, const char *name, int64_t backoff_ms_max);
void workqueue_free(struct workqueue *q); /* stops the workers first */
void workqueue_add(struct workqueue *q, const char *key);
void workqueue_addf(struct workqueue *q, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void workqueue_add_after(
    struct workqueue *q, const char *key, int64_t delay_ns); /* the earlier time wins */
void workqueue_run(struct workqueue *q, int workers, reconcile_fn *fn, void *arg);
void workqueue_stop(struct workqueue *q); /* no new work; returns when the running ones are done */
size_t workqueue_depth(struct workqueue *q);
