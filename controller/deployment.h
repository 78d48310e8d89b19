/*
 * The Deployment controller's inner parts: one `struct rollout` lives for one reconcile.
 *
 * deployment.c: what to do, in which order; deployment_sets.c: the ReplicaSets, their revisions and
 * annotations; deployment_scale.c: how many pods each should have (pure) and the scaling writes;
 * deployment_status.c: counts, conditions, deadline.
 */
#pragma once

#include "controller/controller.h"

#define REVISION "deployment.kubernetes.io/revision"
#define REVISION_HISTORY "deployment.kubernetes.io/revision-history"
#define DESIRED_REPLICAS "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS "deployment.kubernetes.io/max-replicas"
#define POD_TEMPLATE_HASH "pod-template-hash"

/* One ReplicaSet as the arithmetic sees it. */
struct set {
    const struct replica_set *rs; /* referenced; NULL only for one about to be made, and in tests */
    const char *name;
    int64_t replicas, available, creation_ns;
    int64_t max_replicas; /* of the annotation; 0: none */
};

/* A Deployment as the arithmetic sees it. */
struct plan {
    int64_t replicas, max_surge, max_unavailable; /* numbers of pods, fenceposts resolved */
    int64_t status_replicas;
    bool rolling;
};

struct rollout {
    struct controller *c;
    const struct deployment *d; /* referenced; replaced by its newer version after a write */
    cJSON *status;              /* of d, parsed */
    struct plan plan;
    struct set *sets; /* oldest first */
    size_t count;
    ssize_t newest; /* index of the set of the current template, or -1 */
    int64_t now_ns; /* wall clock */
};

/* --- deployment_sets.c --- */

int sets_load(struct rollout *r, struct error *err);
void sets_done(struct rollout *r);
struct set *new_set(struct rollout *r); /* or NULL */
/* Brings the new set's revision, annotations and minReadySeconds up to date; makes it when it is
 * missing and `create`. */
int sets_sync_revision(struct rollout *r, bool create, struct error *err);
int sets_clean_up(struct rollout *r, struct error *err);
int64_t set_desired(const struct set *s); /* of the annotation; -1: none */
void deployment_hash(
    const char *template, const struct opt_int *collisions, char *buf, size_t buf_bytes);
bool templates_equal(const char *a, const char *b);

/* --- deployment_scale.c --- */

struct plan plan_of(const struct deployment *d);
/* The size of the new set, given all (it is one of them). */
int64_t plan_new_size(
    const struct plan *p, const struct set *sets, size_t count, const struct set *fresh);
/* Changes `replicas` of the old sets (oldest first) as one step of a rolling update may. */
void plan_scale_down(const struct plan *p, struct set *sets, size_t count, ssize_t newest);
/* Distributes a changed total over active sets (in any order; order changes). */
void plan_proportional(const struct plan *p, struct set **active, size_t count);

/* Each writes what differs from the stored sizes. *ret_scaled: something was scaled. */
int scale_to(
    struct rollout *r, struct set *s, int64_t replicas, bool *ret_scaled, struct error *err);
int scale_all(
    struct rollout *r, struct error *err); /* for a changed spec.replicas or a paused Deployment */
int roll_new(struct rollout *r, bool *ret_scaled, struct error *err);
int roll_old(struct rollout *r, bool *ret_scaled, struct error *err);

/* --- deployment_status.c --- */

bool has_progress_deadline(const struct deployment *d);
/* Sets a condition by upstream's rule: nothing changes while status and reason are the same. */
void deployment_set_condition(cJSON *status, const char *type, const char *condition_status,
    const char *reason, const char *message, int64_t now_ns);
/* Writes `status` (taken) in place of r->status, and the revision annotation when not NULL; looks
 * up r->d again. */
int deployment_write_status(
    struct rollout *r, cJSON *take_status, const char *revision, struct error *err);
int status_sync(struct rollout *r, struct error *err); /* counts and Available only */
int status_sync_rollout(
    struct rollout *r, int64_t *ret_again_ns, struct error *err); /* and progress */
bool deployment_complete(const struct deployment *d, const cJSON *status);
