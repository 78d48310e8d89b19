/*
 * DaemonSet: which daemon pods to make and to delete (pure).
 */
#pragma once

#include "controller/kinds.h"

/* A node and the set's pods on it. */
struct daemon_node {
    const char *name;
    bool should_run, may_stay; /* by affinity and taints */
    const struct pod **pods;   /* borrowed; oldest first */
    size_t count;
    int64_t failed_wait_ns; /* a finished pod stays as long as this */
};

struct daemon_plan {
    const char **create; /* node names */
    size_t create_count;
    const struct pod **remove;
    size_t remove_count;
    int64_t again_ns; /* plan again after this time; 0: no need */
};

struct daemon_update {
    bool rolling;
    int64_t max_unavailable, max_surge; /* numbers of pods */
    int64_t min_ready_seconds, now_ns;
    const char *hash; /* controller-revision-hash of the present template */
};

/* Fills a plan (arrays with room for all nodes and all pods). First what is missing or too much;
 * when there is nothing of that, the next step of a rolling update. */
void daemon_plan(const struct daemon_node *nodes, size_t count, const struct daemon_update *update,
    struct daemon_plan *plan);

struct daemon_counts {
    int64_t desired, current, misscheduled, ready, updated, available;
};
struct daemon_counts daemon_count(const struct daemon_node *nodes, size_t count,
    const struct daemon_update *update, int64_t *again_ns);
