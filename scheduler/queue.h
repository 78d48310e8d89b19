/*
 * Queue: the pods that wait for a node.
 *
 *     active          may be tried now; highest priority first, then first come
 *     backing off     failed not long ago: 1 s after the first failure, doubled up to 10 s
 *     unschedulable   no node fitted; wakes when something happens that may change that
 *     gated           has scheduling gates; wakes when the last one is gone
 *
 * When nothing is active, a pod that backs off is tried at once rather than leaving the scheduler
 * idle, unless its last failure was an error (a bind that was refused). Every unschedulable pod is
 * tried again after 5 minutes whatever happened.
 *
 * Ownership: owns the struct queue_item of each pod, borrows the pod infos; pod->queued is non-NULL
 * while a pod is in the queue. Threads: the scheduler's loop only. Upstream:
 * internal/queue/scheduling_queue.go.
 */
#pragma once

#include "scheduler/pod_info.h"

enum queue_place {
    QUEUE_ACTIVE,
    QUEUE_BACKING_OFF,
    QUEUE_UNSCHEDULABLE,
    QUEUE_GATED,
    QUEUE_PLACES
};

struct queue_item {
    struct pod_info *pod;
    enum queue_place place;
    size_t index;      /* in its place */
    uint64_t sequence; /* of its arrival, to break ties */
    int64_t arrived_ns;
    int64_t ready_ns; /* end of its back-off */
    int64_t tried_ns; /* last attempt */
    uint32_t attempts;
    uint64_t refused_by; /* plugins that refused a node at the last attempt */
    bool failed;         /* the last attempt ended in an error */
};

struct queue;

struct queue *queue_new(void);
void queue_set_backoff(struct queue *q, int64_t first_ns, int64_t max_ns);
void queue_free(struct queue *q);

/* A pod that is new to the queue, or came back from a bind that failed. */
void queue_add(struct queue *q, struct pod_info *pod, int64_t now_ns);
void queue_remove(struct queue *q, struct pod_info *pod); /* no-op when it is not queued */
/* The pod's object was replaced: takes the place of `old`; spec_changed: try it again. */
void queue_replace(
    struct queue *q, struct pod_info *old, struct pod_info *pod, bool spec_changed, int64_t now_ns);

/* The next pod to try, or NULL. It stays in nobody's list until queue_put_back or queue_taken. */
struct pod_info *queue_pop(struct queue *q, int64_t now_ns);
/* After queue_pop: no node fitted. */
void queue_put_unschedulable(
    struct queue *q, struct pod_info *pod, uint64_t refused_by, int64_t now_ns);
/* After queue_pop, or later with attempts given: an error; back off. */
void queue_put_failed(struct queue *q, struct pod_info *pod, uint32_t attempts, int64_t now_ns);
/* Whatever it waits for: back off, then try it again. */
void queue_retry(struct queue *q, struct pod_info *pod, int64_t now_ns);
/* As if queue_pop had given this waiting pod. */
void queue_take(struct queue *q, struct pod_info *pod);
/* If the pod is unschedulable, it may be tried again, after its back-off. */
void queue_wake_one(struct queue *q, struct pod_info *pod, int64_t now_ns);
/* After queue_pop: a node was found; returns the number of attempts it took. */
uint32_t queue_taken(struct queue *q, struct pod_info *pod, int64_t *ret_arrived_ns);

/* Something happened. Wakes unschedulable pods that a plugin interested in one of `events` refused
 * and for which may_help (called with arg) says so. Where it does not, the plugins that refuse the
 * pod now go to *ret_refused_by and are remembered beside the earlier ones: a node that was refused
 * for its taint, and would now be for its size, must wake the pod when it grows. */
typedef bool queue_may_help_fn(
    void *arg, const struct pod_info *pod, uint64_t interested_plugins, uint64_t *ret_refused_by);
void queue_wake(
    struct queue *q, unsigned events, queue_may_help_fn *may_help, void *arg, int64_t now_ns);

/* Moves what is due; returns when to call again at the latest (ENV_FOREVER: nothing waits for
 * time). */
int64_t queue_tick(struct queue *q, int64_t now_ns);
size_t queue_count(const struct queue *q, enum queue_place place);
