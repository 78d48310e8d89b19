/*
 * Fairness between clients: who may have how much of the server at once.
 *
 * A request belongs to a *level* by who sends it (the table in flow.c) and to a *flow* inside of
 * it: all requests of one user. A level has seats, a flow may take a share of them; a request holds
 * its seats from its admission to the end of its answer. When the loops are busy and others want
 * something, too, a flow that uses more than its part of their time is refused until it has calmed
 * down. A refusal is 429 with Retry-After. The exempt level (system:masters) is bounded by
 * connections only; what keeps the cluster alive has a level of its own.
 *
 * This is where API priority and fairness (FlowSchemas, queues) fits in: flow_admit may say
 * STAGE_WAIT, and the table would come from objects.
 *
 * Memory: a fixed table; users whose names collide share a flow. Threads: any; counters are atomic.
 * Upstream: apiserver/pkg/util/flowcontrol, server/filters/maxinflight.go.
 */
#pragma once

#include "apiserver/request/request.h"

struct flows;

struct flows *flows_new(int loops); /* threads that serve */
void flows_free(struct flows *f);   /* NULL is fine */

/* STAGE_DONE and the seats taken (again: nothing happens), or the refusal. */
enum stage_result flow_admit(struct request *q, unsigned seats);
/* Gives the seats back. */
void flow_leave(struct request *q);
/* The request has used a thread for so long. */
void flow_charge(struct request *q, int64_t now_ns, int64_t used_ns);
