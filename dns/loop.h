/*
 * Loop: one epoll loop of descriptors and deadlines, for the DNS server.
 *
 *     w = loop_watch(loop, fd, EPOLLIN, on_readable, me);
 *     loop_run(loop);                       // until dns_loop_stop
 *
 * A tick is a function that the loop calls after each turn; it does what is due and returns when it
 * wants to be called next (monotonic ns, ENV_FOREVER for whenever).
 *
 * Threads: everything on the task that runs the loop, except dns_loop_stop: any. Watches and ticks
 * do not own their descriptors or arguments. A watch removed during a turn gets no more events of
 * that turn.
 */
#pragma once

#include <sys/epoll.h>

#include "common/env.h"
#include "common/error.h"

struct loop;
struct watch;

typedef void watch_fn(void *arg, uint32_t events);
typedef int64_t tick_fn(void *arg, int64_t now_ns);

int loop_new(struct env *env, struct loop **ret, struct error *err);
void loop_free(struct loop *loop);
struct watch *loop_watch(struct loop *loop, int fd, uint32_t events, watch_fn *fn, void *arg);
void loop_change(struct loop *loop, struct watch *watch, uint32_t events);
void loop_unwatch(struct loop *loop, struct watch *watch); /* before the descriptor is closed */
void loop_add_tick(struct loop *loop, tick_fn *fn, void *arg);
void loop_run(struct loop *loop);
void dns_loop_stop(struct loop *loop);
int64_t loop_now_ns(const struct loop *loop); /* of this turn */
