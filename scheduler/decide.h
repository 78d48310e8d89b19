/*
 * Decide: which node gets a pod. The pure core of the scheduler: node table and pod in, row or
 * reasons out.
 *
 *     struct decider *d = decider_new(env);
 *     struct decision choice;
 *     scheduler_decide(d, nodes, pod, &choice);
 *     if (choice.row == ROW_NONE) puts(choice.message);
 *
 * All nodes are looked at. Filters of plugins.c run in order on one node set; scores of the nodes
 * that are left are normalised, weighted and summed; one of the best is chosen at random.
 *
 * When nothing fits, message has upstream's wording ("0/3 nodes are available: 1 Insufficient cpu,
 * 2 node(s) had untolerated taint {k: v}. preemption: 0/3 nodes are available: ...") and refused_by
 * says which plugins removed a node, so that the queue knows which events may help.
 *
 * Known difference: upstream 1.34 has "no new claims to deallocate, " before "preemption:"; it
 * comes from dynamic resource allocation, which is not here.
 *
 * Threads: a decider belongs to one task. message lives until the next decision.
 * Upstream: schedule_one.go (schedulePod), framework/types.go (FitError).
 */
#pragma once

#include "common/env.h"
#include "scheduler/plugin.h"

struct decider;

struct decision {
    uint32_t row; /* ROW_NONE: no node fits */
    int64_t score;
    size_t fitting;      /* nodes that passed all filters */
    uint64_t refused_by; /* bit i: plugins[i] refused at least one node */
    const char *message; /* why not; NULL when a node was found */
};

struct decider *decider_new(struct env *env);
void decider_free(struct decider *d);

void scheduler_decide(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    struct decision *ret);

/* Would the pod fit this one node now? The queue's question before it wakes a pod. *ret_refused_by
 * (may be NULL) gets the plugins that say no. */
bool decider_fits_row(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    uint32_t row, uint64_t *ret_refused_by);
