/*
 * StatefulSet: the plan of one round (pure), and its pods and claims.
 *
 * statefulset.c: the controller; statefulset_plan.c: what to do next, by ordinals;
 * statefulset_pod.c: identity, volumes, claims.
 */
#pragma once

#include "controller/controller.h"
#include "controller/revisions.h"

/* What the plan looks at. */
struct sts_view {
    int64_t replicas, start;
    struct opt_int partition; /* of rollingUpdate; not set: by current_replicas */
    bool parallel, on_delete, deleting;
    int64_t min_ready_seconds, now_ns;
    const char *current_revision; /* of the status, or the update revision when it has none */
    const char *update_revision;
    int64_t current_replicas;      /* of the status */
    const struct pod *const *pods; /* the set's, in any order */
    size_t pod_count;
};

enum sts_action { STS_CREATE, STS_DELETE };

struct sts_step {
    enum sts_action action;
    int64_t ordinal;
    const struct pod *pod; /* to delete */
    bool updated;          /* create from the update revision */
};

/* The steps of this round into `steps` (room for replicas + pod_count); how many. OrderedReady
 * gives at most one. Wakes again after *again_ns (lowered) when minReadySeconds holds it up. */
size_t sts_plan(const struct sts_view *view, struct sts_step *steps, int64_t *again_ns);

struct sts_counts {
    int64_t replicas, ready, available, current, updated;
};
struct sts_counts sts_count(const struct sts_view *view, int64_t *again_ns);
/* All pods are of the update revision and ready: it becomes the current one. */
bool sts_is_complete(const struct sts_view *view, const struct sts_counts *n);

/* "web-3" and "web" give 3; -1 when the pod's name is no member's. */
int64_t sts_ordinal(const char *pod_name, const char *set_name);

/* --- pods and claims --- */

cJSON *sts_pod_json(
    const struct stateful_set *set, const struct revision *revision, int64_t ordinal);
/* Makes the claims of a pod that are missing. */
int sts_make_claims(
    struct controller *c, const struct stateful_set *set, int64_t ordinal, struct error *err);
/* Brings the owners of a pod's claims in line with persistentVolumeClaimRetentionPolicy. pod may be
 * NULL. */
int sts_retain_claims(struct controller *c, const struct stateful_set *set, int64_t ordinal,
    const struct pod *pod, bool condemned, struct error *err);
/* A claim of the pod belongs to an earlier pod of this name and is about to go. */
bool sts_claim_is_stale(struct controller *c, const struct stateful_set *set, int64_t ordinal);
/* Labels that an adopted or edited pod lacks. */
int sts_restore_identity(
    struct controller *c, const struct stateful_set *set, const struct pod *pod, struct error *err);
