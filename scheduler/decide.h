/*
 * Decide: which node gets a pod. The pure core of the scheduler: node table and pod in, row or
 * reasons out.
 *
 *     struct decider *d = decider_new(env);
 *     struct decision choice;
 *     scheduler_decide(d, nodes, pod, &choice);
 *     if (choice.row == ROW_NONE) puts(choice.message);
 *
 * All nodes are looked at. The profile's filters run in the order of plugins.c on one node set;
 * scores of the nodes that are left are normalised, weighted and summed; one of the best is chosen
 * at random. Pods of the same kind as one decided shortly before reuse what it learnt of rows that
 * have not changed (kept.h).
 *
 * Pods that wait for a node of their choice (node_table_nominate) with no lower priority are
 * counted there for the filters, as upstream does: the pod must fit with them and without them.
 *
 * When nothing fits, message has upstream's wording ("0/3 nodes are available: 1 Insufficient cpu,
 * 2 node(s) had untolerated taint {k: v}. preemption: 0/3 nodes are available: ...") and refused_by
 * says which plugins removed a node, so that the queue knows which events may help. preemption then
 * says which pods would have to go; its victims live until the next decision or change.
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
#include "scheduler/preempt.h"
#include "scheduler/profile.h"

struct decider;
struct volume_choice;

struct decision {
    uint32_t row; /* ROW_NONE: no node fits */
    int64_t score;
    size_t fitting;                /* nodes that passed all filters */
    uint64_t refused_by;           /* bit i: plugins[i] refused at least one node */
    const char *message;           /* why not; NULL when a node was found */
    struct volume_choice *volumes; /* to bind before the pod; until the next decision */
    size_t volume_count;
    struct preemption preemption; /* no node fits, but one would without some pods */
};

struct decider *decider_new(struct env *env);
void decider_free(struct decider *d);
/* Profiles are borrowed; without any the default one stands for every pod. */
void decider_set_profiles(struct decider *d, const struct profile *profiles, size_t count);
/* Ties are broken in the same way from here on; for tests. */
void decider_seed(struct decider *d, uint64_t seed);
void decider_set_storage(struct decider *d, struct storage *storage);
/* Is there a profile of this name? */
bool decider_serves(const struct decider *d, const char *scheduler_name);
const struct profile *decider_profile(const struct decider *d, const struct pod *pod);

void scheduler_decide(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    struct decision *ret);

/* Would the pod fit this one node now? The queue's question before it wakes a pod. *ret_refused_by
 * (may be NULL) gets the plugins that say no. */
bool decider_fits_row(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    uint32_t row, uint64_t *ret_refused_by);

/* Runs one hook over a cycle of its own: a cycle for the pod in the decider's cleared arena. */
struct cycle decider_cycle(
    struct decider *d, const struct node_table *nodes, const struct pod_info *pod);
/* All filters of the profile over fits; NULL, or the sentence of the one that refused the pod. */
const char *decider_filter(const struct cycle *cycle, struct node_set *fits, uint64_t *refused_by);
