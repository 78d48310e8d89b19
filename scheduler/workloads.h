/*
 * Workloads: the selectors of Services and of the controllers that own pods, for default spreading.
 *
 * A pod that says nothing about spreading is spread among the pods that its services and its
 * ReplicationController, ReplicaSet or StatefulSet select: the selectors of all of them together.
 *
 * Threads: the scheduler's loop only. Upstream: plugins/helper/spread.go (DefaultSelector).
 */
#pragma once

#include "scheduler/pod_info.h"

struct service {
    struct object_meta meta;
    struct string_map selector;
};
struct workload { /* ReplicaSet, StatefulSet */
    struct object_meta meta;
    struct label_selector selector;
};
struct rc { /* ReplicationController */
    struct object_meta meta;
    struct string_map selector;
};

extern const struct projection owning_service_projection;
extern const struct projection workload_projection;
extern const struct projection rc_projection;

struct workloads;

struct workloads *workloads_new(void);
void workloads_free(struct workloads *w);
/* Each: old or new is NULL for added and deleted objects. */
void workloads_set_service(
    struct workloads *w, const struct service *old, const struct service *new_service);
/* kind: "ReplicaSet", "StatefulSet", "ReplicationController". */
void workloads_set_owner(struct workloads *w, const char *kind, const void *old, const void *now);

/* The pods to spread among, as a reference to a matcher; NULL: nothing selects the pod. */
struct matcher *workloads_matcher(
    const struct workloads *w, struct pod_index *index, const struct pod *pod);
/* Grows with every change. */
uint64_t workloads_version(const struct workloads *w);
