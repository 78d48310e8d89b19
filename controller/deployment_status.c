/*
 * Status of a Deployment: counts, the conditions Available, Progressing and ReplicaFailure, and the
 * deadline.
 *
 * Progress is a rise of updated, ready or available pods or a fall of old ones between the stored
 * status and the new one. The deadline runs from the last progress (lastUpdateTime of Progressing).
 * A rollout that completed is not judged again until its template changes.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/deployment.h"
#include "controller/status.h"

bool has_progress_deadline(const struct deployment *d)
{
    return d->progress_deadline_seconds.set && d->progress_deadline_seconds.value != INT32_MAX;
}

static cJSON *conditions_of(cJSON *status)
{
    cJSON *conditions = json_get(status, "conditions");

    if (!conditions) {
        conditions = cJSON_CreateArray();
        json_set(status, "conditions", conditions);
    }
    return conditions;
}

static cJSON *find(cJSON *status, const char *type)
{
    return conditions_get(json_get(status, "conditions"), type);
}

/* Removes and adds, so that the changed one is last; keeps lastTransitionTime while the status
 * stays. */
static void replace(cJSON *status, const char *type, const char *condition_status,
    const char *reason, const char *message, int64_t now_ns)
{
    cJSON *conditions = conditions_of(status), *old = conditions_get(conditions, type), *item;
    const char *since = old && c_eq(json_string(old, "status"), condition_status)
                            ? json_string(old, "lastTransitionTime")
                            : NULL;
    char now[TIME_TEXT_BYTES];

    time_print_s(now_ns, now);
    item = cJSON_CreateObject();
    json_set_string(item, "type", type);
    json_set_string(item, "status", condition_status);
    json_set_string(item, "lastUpdateTime", now);
    json_set_string(item, "lastTransitionTime", since ? since : now);
    json_set_string(item, "reason", reason);
    json_set_string(item, "message", message);
    conditions_remove(conditions, type);
    cJSON_AddItemToArray(conditions, item);
}

void deployment_set_condition(cJSON *status, const char *type, const char *condition_status,
    const char *reason, const char *message, int64_t now_ns)
{
    cJSON *old = find(status, type);

    if (old && c_eq(json_string(old, "status"), condition_status) &&
        c_eq(json_string(old, "reason"), reason))
        return;
    replace(status, type, condition_status, reason, message, now_ns);
}

int deployment_write_status(
    struct rollout *r, cJSON *take_status, const char *revision, struct error *err)
{
    autojson cJSON *status = take_status;
    bool same_revision =
        !revision || c_eq(string_map_get(&r->d->meta.annotations, REVISION), revision);
    struct manager *m = r->c->m;

    if (json_get(status, "conditions") && !json_get(status, "conditions")->child)
        json_remove(status, "conditions");
    cJSON *diff = merge_diff(r->status, status);
    if (!diff && same_revision)
        return 0;
    cJSON *patch = cJSON_CreateObject();
    if (diff)
        json_set(patch, "status", diff);
    if (!same_revision) {
        cJSON *annotations = cJSON_CreateObject();
        json_set_string(annotations, REVISION, revision);
        json_set_at(patch, "metadata.annotations", annotations);
    }
    if (object_patch(m, KIND_DEPLOYMENT, &r->d->meta, "status", patch, err) < 0)
        return -(int)err->code;
    const struct deployment *fresh =
        kind_get_uid(m, KIND_DEPLOYMENT, r->d->meta.namespace_, r->d->meta.name, r->d->meta.uid);
    if (!fresh)
        return error_set(err, ERR_NOT_FOUND, "deployment %s is gone", r->d->meta.name);
    /* Somebody changed what was decided on: start again. */
    bool moved_on = fresh->meta.generation != r->d->meta.generation;
    projected_unref(r->d);
    r->d = fresh;
    cJSON_Delete(r->status);
    r->status = json_of_text(fresh->status);
    return moved_on ? error_set(err, ERR_CONFLICT, "deployment %s changed", fresh->meta.name) : 0;
}

static cJSON *calculate(struct rollout *r)
{
    int64_t replicas = 0, spec_replicas = 0, ready = 0, available = 0;
    cJSON *status = cJSON_CreateObject();

    for (size_t i = 0; i < r->count; i++) {
        const struct set *s = &r->sets[i];
        replicas += s->rs->status_replicas;
        spec_replicas += s->replicas;
        ready += s->rs->status_ready;
        available += s->rs->status_available;
    }
    json_set(status, "observedGeneration", json_new_int64(r->d->meta.generation));
    status_set_count(status, "replicas", replicas);
    status_set_count(status, "updatedReplicas", new_set(r) ? new_set(r)->rs->status_replicas : 0);
    status_set_count(status, "readyReplicas", ready);
    status_set_count(status, "availableReplicas", available);
    status_set_count(
        status, "unavailableReplicas", spec_replicas > available ? spec_replicas - available : 0);
    cJSON *collisions = json_get(r->status, "collisionCount");
    if (collisions)
        json_set(status, "collisionCount", cJSON_Duplicate(collisions, true));
    cJSON *conditions = json_get(r->status, "conditions");
    if (conditions)
        json_set(status, "conditions", cJSON_Duplicate(conditions, true));
    if (available >= r->plan.replicas - r->plan.max_unavailable)
        deployment_set_condition(status, "Available", "True", "MinimumReplicasAvailable",
            "Deployment has minimum availability.", r->now_ns);
    else
        deployment_set_condition(status, "Available", "False", "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.", r->now_ns);
    return status;
}

int status_sync(struct rollout *r, struct error *err)
{
    return deployment_write_status(r, calculate(r), NULL, err);
}

bool deployment_complete(const struct deployment *d, const cJSON *status)
{
    int64_t want = d->replicas.set ? d->replicas.value : 1;

    return json_int64_at(status, "updatedReplicas", 0) == want &&
           json_int64_at(status, "replicas", 0) == want &&
           json_int64_at(status, "availableReplicas", 0) == want &&
           json_int64_at(status, "observedGeneration", 0) >= d->meta.generation;
}

static bool is_progressing(const cJSON *old, const cJSON *now)
{
    int64_t was_updated = json_int64_at(old, "updatedReplicas", 0);
    int64_t updated = json_int64_at(now, "updatedReplicas", 0);

    return updated > was_updated ||
           json_int64_at(now, "replicas", 0) - updated <
               json_int64_at(old, "replicas", 0) - was_updated ||
           json_int64_at(now, "readyReplicas", 0) > json_int64_at(old, "readyReplicas", 0) ||
           json_int64_at(now, "availableReplicas", 0) > json_int64_at(old, "availableReplicas", 0);
}

/* When the deadline is over; 0: it does not run. */
static int64_t deadline_of(const struct deployment *d, const cJSON *progressing)
{
    int64_t since = 0;
    struct error err;
    const char *text = progressing ? json_string(progressing, "lastUpdateTime") : NULL;

    if (!has_progress_deadline(d) || !text || time_parse(str_of(text), &since, &err) < 0)
        return 0;
    return since + d->progress_deadline_seconds.value * NS_PER_S;
}

static bool is_timed_out(struct rollout *r, cJSON *status)
{
    cJSON *progressing = find(status, "Progressing");
    const char *reason = progressing ? json_string(progressing, "reason") : NULL;
    int64_t deadline = deadline_of(r->d, progressing);

    if (!progressing || c_eq(reason, "NewReplicaSetAvailable"))
        return false;
    return c_eq(reason, "ProgressDeadlineExceeded") || (deadline && deadline < r->now_ns);
}

static void judge_progress(struct rollout *r, cJSON *status)
{
    static const char *const words[] = {
        "has successfully progressed.", "is progressing.", "has timed out progressing."};
    const char *what = new_set(r) ? "ReplicaSet" : "Deployment";
    const char *name = new_set(r) ? new_set(r)->name : r->d->meta.name;
    char message[400];

    if (deployment_complete(r->d, status)) {
        snprintf(message, sizeof(message), "%s \"%s\" %s", what, name, words[0]);
        deployment_set_condition(
            status, "Progressing", "True", "NewReplicaSetAvailable", message, r->now_ns);
    } else if (is_progressing(r->status, status)) {
        /* Also with the same reason: lastUpdateTime is what the deadline counts from. */
        snprintf(message, sizeof(message), "%s \"%s\" %s", what, name, words[1]);
        replace(status, "Progressing", "True", "ReplicaSetUpdated", message, r->now_ns);
    } else if (is_timed_out(r, status)) {
        snprintf(message, sizeof(message), "%s \"%s\" %s", what, name, words[2]);
        deployment_set_condition(
            status, "Progressing", "False", "ProgressDeadlineExceeded", message, r->now_ns);
    }
}

static void copy_failure(struct rollout *r, cJSON *status)
{
    const struct condition *failure = NULL;

    if (new_set(r))
        failure = conditions_find(&new_set(r)->rs->conditions, "ReplicaFailure");
    for (size_t i = 0; i < r->count && !failure; i++)
        failure = conditions_find(&r->sets[i].rs->conditions, "ReplicaFailure");
    if (failure)
        deployment_set_condition(status, "ReplicaFailure", failure->status, failure->reason,
            failure->message, r->now_ns);
    else
        conditions_remove(json_get(status, "conditions"), "ReplicaFailure");
}

int status_sync_rollout(struct rollout *r, int64_t *ret_again_ns, struct error *err)
{
    cJSON *status = calculate(r), *current = find(r->status, "Progressing");
    bool was_complete =
        current && c_eq(json_string(current, "reason"), "NewReplicaSetAvailable") &&
        json_int64_at(status, "replicas", 0) == json_int64_at(status, "updatedReplicas", 0);

    if (!has_progress_deadline(r->d))
        conditions_remove(json_get(status, "conditions"), "Progressing");
    else if (!was_complete)
        judge_progress(r, status);
    copy_failure(r, status);
    bool complete = deployment_complete(r->d, status);
    if (deployment_write_status(r, status, NULL, err) < 0)
        return -(int)err->code;
    current = find(r->status, "Progressing");
    int64_t deadline = deadline_of(r->d, current);
    if (!complete && deadline &&
        !c_eq(json_string(current, "reason"), "ProgressDeadlineExceeded")) {
        int64_t left = deadline - r->now_ns;
        *ret_again_ns = left < NS_PER_S ? NS_PER_S : left + NS_PER_S;
    }
    return 0;
}
