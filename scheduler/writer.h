/*
 * Writer: the scheduler's writes, asynchronous and pipelined, so that no API call delays a
 * decision.
 *
 * Jobs of one pod run one after the other in the order given; jobs of different pods run side by
 * side on up to WRITER_TASKS_MAX tasks, which are started as they are needed.
 *
 * A bind whose answer was lost is neither repeated blindly nor taken for failed: the pod is read,
 * and bound again only if it is still without a node. The outcome is told once, through `bound`.
 *
 * Threads: any may add; `bound` is called on a task of the writer. Borrows client, events.
 */
#pragma once

#include "common/api_client.h"
#include "common/events.h"
#include "scheduler/storage.h"

#define WRITER_TASKS_MAX 8

struct writer;

struct bind_result {
    const struct pod *pod; /* referenced by the receiver's choice */
    const char *node;
    uint32_t attempts;                   /* scheduling attempts before, given with the job */
    int error;                           /* 0, or -ERR_X; -ERR_NOT_FOUND: the pod is gone */
    const char *text;                    /* of the error */
    const struct volume_choice *volumes; /* given with the job */
    size_t volume_count;
    bool evicting; /* an eviction for the pod failed; pod, error and text alone are set */
};
typedef void writer_bound_fn(void *arg, const struct bind_result *result);

struct writer *writer_new(
    struct api_client *client, struct events *events, writer_bound_fn *bound, void *arg);
/* Finishes what is in flight, drops what is not begun. */
void writer_free(struct writer *w);

/* Volumes are bound first, and waited for up to 10 minutes without holding up other jobs. */
void writer_bind(struct writer *w, const struct pod *pod, const char *node, uint32_t attempts,
    struct volume_choice *take_volumes, size_t volume_count);
/* Sets condition PodScheduled=False with reason and message and status.nominatedNodeName ("":
 * none), and emits the FailedScheduling event. */
void writer_refuse(struct writer *w, const struct pod *pod, const char *reason, const char *message,
    const char *nominated_node);
void writer_clear_nomination(struct writer *w, const struct pod *pod);
/* Deletes the victim, with its own grace period, so that `pod` can have its place on the node. The
 * outcome is told through `bound` only when it failed. */
void writer_evict(
    struct writer *w, const struct pod *victim, const struct pod *pod, const char *node);
