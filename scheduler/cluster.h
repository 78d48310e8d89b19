/*
 * Cluster: the scheduler's picture of nodes and pods, kept by changes: node table, queue, and all
 * pods by uid.
 *
 * It takes objects as the informers report them (old and new, one of them NULL) in any order and
 * any number of times, and the outcomes of binds; it decides nothing and calls no API, so tests
 * drive it directly.
 *
 *     cluster_node_changed(c, NULL, node, now);
 *     cluster_pod_changed(c, NULL, pod, now);
 *     while ((pod = queue_pop(c->queue, now))) ...
 *
 * Threads: the scheduler's loop only.
 */
#pragma once

#include "scheduler/decide.h"
#include "scheduler/gang.h"
#include "scheduler/queue.h"
#include "scheduler/storage.h"

struct cluster {
    struct node_table *nodes;
    struct queue *queue;
    struct decider *decider;
    struct storage *storage;
    struct gangs *gangs;
    struct pod_info *pods; /* by uid: waiting, assumed or assigned */
    size_t homeless;       /* assigned pods whose node is not in the table */
};

struct cluster *cluster_new(struct env *env);
void cluster_free(struct cluster *c);

void cluster_node_changed(
    struct cluster *c, const struct node *old, const struct node *node, int64_t now_ns);
void cluster_pod_changed(
    struct cluster *c, const struct pod *old, const struct pod *pod, int64_t now_ns);

/* labels: NULL when the namespace is gone. */
void cluster_namespace_changed(
    struct cluster *c, const char *name, const struct string_map *labels, int64_t now_ns);

/* A popped pod goes to `row` until cluster_pod_changed confirms it or cluster_forget takes it back.
 * Returns the attempts it took. */
uint32_t cluster_assume(
    struct cluster *c, struct pod_info *pod, uint32_t row, int64_t now_ns, int64_t *ret_arrived_ns);
/* The bind of a pod failed: off its row and back to the queue (unless gone or bound otherwise
 * meanwhile). */
void cluster_forget(struct cluster *c, const char *uid, uint32_t attempts, int64_t now_ns);
/* A pod that is gone though no event has said so yet. */
void cluster_drop(struct cluster *c, const char *uid, int64_t now_ns);
/* A popped pod waits on `row` for its victims to leave. */
void cluster_nominate(struct cluster *c, struct pod_info *pod, uint32_t row, int64_t now_ns);
/* It does so no more (no-op when it did not): others may have the place. */
void cluster_denominate(struct cluster *c, struct pod_info *pod, int64_t now_ns);
/* A waiting pod's eviction of others failed: try it again soon. */
void cluster_retry(struct cluster *c, const char *uid, int64_t now_ns);
void cluster_budget_changed(
    struct cluster *c, const struct disruption_budget *old, const struct disruption_budget *now);
/* A volume, claim or storage class changed: pods that wait for storage may go now. */
void cluster_storage_changed(struct cluster *c, int64_t now_ns);
/*
 * A popped pod whose gang is not placed yet: all its waiting pods get rows, which `ret` (a heap
 * array) lists, or none does. Returns how many; 0: why not is in *ret_message (the decider's, or
 * heap memory that lives until the next call), all are back in the queue and `pod` was tried.
 */
struct gang_place {
    struct pod_info *pod;
    uint32_t row, attempts;
    int64_t arrived_ns;
};
size_t cluster_place_gang(struct cluster *c, struct pod_info *pod, int64_t now_ns,
    struct gang_place **ret, struct strbuf *ret_message);
struct pod_info *cluster_find(const struct cluster *c, const char *uid);
