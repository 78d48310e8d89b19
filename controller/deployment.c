/*
 * Controller "deployment": rolls a pod template out through ReplicaSets.
 *
 * reconcile: claim the ReplicaSets; then one of: only the status (being deleted), scale (paused, or
 * spec.replicas changed), recreate, or one step of a rolling update. Each step is small; the events
 * of what it did wake the next one. Rollback is a template change by the client: the old ReplicaSet
 * becomes the new one and gets the next revision.
 *
 * Upstream: pkg/controller/deployment.
 */
#include "controller/deployment.h"

#include "common/log.h"
#include "common/time.h"
#include "controller/pods.h"
#include "controller/status.h"

static struct selector *selector_of(const void *object)
{
    return selector_of_json(((const struct deployment *)object)->selector);
}

static void on_replica_set(struct controller *c, const void *old_object, const void *new_object)
{
    controller_add_pod_owners(c, KIND_DEPLOYMENT, selector_of, old_object, new_object);
}

/* Recreate waits for the last old pod to be gone; nobody else looks at single pods here. */
static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *pod = old_object, *now = new_object;
    const struct owner_ref *owner = pod ? object_controller(&pod->meta) : NULL;

    if (!owner || (now && !(pod_is_terminal(now) && !pod_is_terminal(pod))))
        return;
    auto_object const struct replica_set *rs =
        kind_get_uid(c->m, KIND_REPLICA_SET, pod->meta.namespace_, owner->name, owner->uid);
    const struct owner_ref *parent = rs ? object_controller(&rs->meta) : NULL;
    if (!parent)
        return;
    auto_object const struct deployment *d =
        kind_get_uid(c->m, KIND_DEPLOYMENT, pod->meta.namespace_, parent->name, parent->uid);
    if (d && !strcmp(d->strategy, "Recreate"))
        controller_add(c, &d->meta);
}

/* Paused and resumed are told in the Progressing condition, so that the deadline does not run
 * meanwhile. */
static int check_paused(struct rollout *r, struct error *err)
{
    const cJSON *progressing = NULL, *item;

    if (!has_progress_deadline(r->d))
        return 0;
    cJSON_ArrayForEach(
        item, json_get(r->status, "conditions")) if (c_eq(json_string(item, "type"), "Progressing"))
        progressing = item;
    const char *reason = progressing ? json_string(progressing, "reason") : NULL;
    if (c_eq(reason, "ProgressDeadlineExceeded"))
        return 0;
    bool says_paused = c_eq(reason, "DeploymentPaused");
    if (r->d->paused == says_paused)
        return 0;
    cJSON *status = cJSON_Duplicate(r->status, true);
    deployment_set_condition(status, "Progressing", "Unknown",
        r->d->paused ? "DeploymentPaused" : "DeploymentResumed",
        r->d->paused ? "Deployment is paused" : "Deployment is resumed", r->now_ns);
    return deployment_write_status(r, status, NULL, err);
}

/* Some set was last scaled for another spec.replicas. */
static bool is_scaling(struct rollout *r)
{
    for (size_t i = 0; i < r->count; i++) {
        int64_t desired = set_desired(&r->sets[i]);
        if (r->sets[i].replicas > 0 && desired >= 0 && desired != r->plan.replicas)
            return true;
    }
    return false;
}

static int scale_and_report(struct rollout *r, struct error *err)
{
    if (sets_sync_revision(r, false, err) < 0 || scale_all(r, err) < 0)
        return -(int)err->code;
    if (r->d->paused && sets_clean_up(r, err) < 0)
        return -(int)err->code;
    return status_sync(r, err);
}

static int roll(struct rollout *r, int64_t *ret_again_ns, struct error *err)
{
    bool scaled = false;

    if (sets_sync_revision(r, true, err) < 0 || roll_new(r, &scaled, err) < 0)
        return -(int)err->code;
    if (!scaled && roll_old(r, &scaled, err) < 0)
        return -(int)err->code;
    if (!scaled && deployment_complete(r->d, r->status) && sets_clean_up(r, err) < 0)
        return -(int)err->code;
    return status_sync_rollout(r, ret_again_ns, err);
}

static bool old_pods_run(struct rollout *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct set *s = &r->sets[i];
        if (s == new_set(r))
            continue;
        if (s->rs->status_replicas > 0)
            return true;
        auto_objects struct projected_array pods =
            kind_by(r->c->m, KIND_POD, INDEX_OWNER, s->rs->meta.uid);
        for (size_t k = 0; k < pods.count; k++)
            if (!pod_is_terminal(pods.objects[k]))
                return true;
    }
    return false;
}

static int recreate(struct rollout *r, int64_t *ret_again_ns, struct error *err)
{
    bool scaled = false;

    if (sets_sync_revision(r, false, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < r->count; i++)
        if (&r->sets[i] != new_set(r) && r->sets[i].replicas > 0 &&
            scale_to(r, &r->sets[i], 0, &scaled, err) < 0)
            return -(int)err->code;
    if (scaled || old_pods_run(r))
        return status_sync_rollout(r, ret_again_ns, err);
    if (!new_set(r) && sets_sync_revision(r, true, err) < 0)
        return -(int)err->code;
    if (new_set(r) && scale_to(r, new_set(r), r->plan.replicas, &scaled, err) < 0)
        return -(int)err->code;
    if (deployment_complete(r->d, r->status) && sets_clean_up(r, err) < 0)
        return -(int)err->code;
    return status_sync_rollout(r, ret_again_ns, err);
}

static int selects_all(struct rollout *r, struct error *err)
{
    controller_event(r->c, KIND_DEPLOYMENT, &r->d->meta, EVENT_WARNING, "SelectingAll",
        "This deployment is selecting all pods. A non-empty selector is required.");
    if (r->d->observed_generation >= r->d->meta.generation)
        return 0;
    cJSON *status = cJSON_Duplicate(r->status, true);
    json_set(status, "observedGeneration", json_new_int64(r->d->meta.generation));
    return deployment_write_status(r, status, NULL, err);
}

static int sync(struct rollout *r, int64_t *ret_again_ns, struct error *err)
{
    auto_selector struct selector *selector = selector_of_json(r->d->selector);

    if (selector_is_everything(selector))
        return selects_all(r, err);
    if (sets_load(r, err) < 0)
        return -(int)err->code;
    if (r->d->meta.deletion_ns)
        return status_sync(r, err);
    if (check_paused(r, err) < 0)
        return -(int)err->code;
    if (r->d->paused)
        return scale_and_report(r, err);
    if (is_scaling(r))
        return scale_and_report(r, err);
    return r->plan.rolling ? roll(r, ret_again_ns, err) : recreate(r, ret_again_ns, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct rollout r = {.c = c, .newest = -1};

    r.d = kind_get_key(c->m, KIND_DEPLOYMENT, key);
    if (!r.d)
        return 0;
    r.now_ns = env_wall_ns(manager_env(c->m));
    r.status = json_of_text(r.d->status);
    r.plan = plan_of(r.d);
    int result = sync(&r, ret_again_ns, err);
    sets_done(&r);
    cJSON_Delete(r.status);
    projected_unref(r.d);
    if (result == -ERR_NOT_FOUND || (result < 0 && is_terminating_namespace(err)))
        return 0; /* the Deployment or its namespace is going away */
    return result;
}

const struct controller_info controller_deployment = {
    .name = "deployment-controller",
    .component = "deployment-controller",
    .workers = 4,
    .watch_count = 3,
    .watches = {{KIND_DEPLOYMENT, controller_on_object}, {KIND_REPLICA_SET, on_replica_set},
        {KIND_POD, on_pod}},
    .reconcile = reconcile,
};
