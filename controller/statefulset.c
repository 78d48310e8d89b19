/*
 * Controller "statefulset": pods with fixed names, started, stopped and updated in order.
 *
 * reconcile: claim the pods and the history - plan a round (statefulset_plan.c) - carry it out;
 * each write is seen by the informer before the status is counted. A pod's name is its identity: a
 * pod is made only when no object of its name is there, so two of one identity never exist.
 *
 * Upstream: pkg/controller/statefulset.
 */
#include "controller/statefulset.h"

#include "common/log.h"
#include "controller/fanout.h"
#include "controller/pods.h"
#include "controller/status.h"

struct round {
    struct controller *c;
    const struct stateful_set *set;
    struct history history;
    const struct revision *current; /* the update revision when the status names none */
    struct pod_list pods;
    struct sts_step *steps;
    size_t step_count;
};

static struct selector *selector_of(const void *object)
{
    return selector_of_json(((const struct stateful_set *)object)->selector);
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    controller_add_pod_owners(c, KIND_STATEFUL_SET, selector_of, old_object, new_object);
}

static bool is_member(const struct object_meta *owner, const struct pod *pod)
{
    return sts_ordinal(pod->meta.name, owner->name) >= 0;
}

static int claim(struct round *r, struct error *err)
{
    auto_selector struct selector *selector = selector_of_json(r->set->selector);
    struct pod_list pods;

    if (pods_claim(r->c, KIND_STATEFUL_SET, &r->set->meta, selector, is_member, &pods, err) < 0)
        return -(int)err->code;
    pod_list_done(&r->pods);
    r->pods = pods;
    return 0;
}

static struct sts_view view_of(const struct round *r)
{
    const struct stateful_set *set = r->set;
    autojson cJSON *status = json_of_text(set->status);

    return (struct sts_view){.replicas = set->replicas.set ? set->replicas.value : 1,
        .start = set->start_ordinal.value,
        .partition = set->partition,
        .parallel = !strcmp(set->pod_management, "Parallel"),
        .on_delete = !strcmp(set->strategy, "OnDelete"),
        .deleting = set->meta.deletion_ns != 0,
        .min_ready_seconds = set->min_ready_seconds,
        .now_ns = env_wall_ns(manager_env(r->c->m)),
        .current_revision = r->current->meta.name,
        .update_revision = r->history.update->meta.name,
        .current_replicas = json_int64_at(status, "currentReplicas", 0),
        .pods = r->pods.pods,
        .pod_count = r->pods.count};
}

/* --- steps --- */

/* Somebody else's pod has the name: the set can't go on, and its user must be told. */
static bool is_foreign(struct round *r, const char *name)
{
    auto_object const struct pod *pod = kind_get(r->c->m, KIND_POD, r->set->meta.namespace_, name);
    return pod && !is_controlled_by(&pod->meta, &r->set->meta);
}

static int create_pod(struct round *r, const struct sts_step *step, struct error *err)
{
    const struct stateful_set *set = r->set;
    struct api_ref ref = {
        .group_version = "v1", .plural = "pods", .namespace_ = set->meta.namespace_};
    autojson cJSON *pod = sts_pod_json(
                       set, step->updated ? r->history.update : r->current, step->ordinal),
                   *made = NULL;
    const char *name = json_string_at(pod, "metadata.name");

    if (sts_claim_is_stale(r->c, set, step->ordinal))
        return error_set(err, ERR_UNAVAILABLE, "a claim of pod %s is about to be deleted", name);
    if (sts_make_claims(r->c, set, step->ordinal, err) < 0)
        return -(int)err->code;
    int result = api_create(manager_client(r->c->m), &ref, pod, &made, err);
    if (result < 0) {
        if ((result != -ERR_ALREADY_EXISTS || is_foreign(r, name)) &&
            !is_terminating_namespace(err))
            controller_event(r->c, KIND_STATEFUL_SET, &set->meta, EVENT_WARNING, "FailedCreate",
                "create Pod %s in StatefulSet %s failed error: %s", name, set->meta.name,
                err->text);
        return result;
    }
    controller_event(r->c, KIND_STATEFUL_SET, &set->meta, EVENT_NORMAL, "SuccessfulCreate",
        "create Pod %s in StatefulSet %s successful", name, set->meta.name);
    return kind_wait_version(
        r->c->m, KIND_POD, json_string_at(made, "metadata.resourceVersion"), err);
}

static int delete_pod(struct round *r, const struct sts_step *step, struct error *err)
{
    const struct stateful_set *set = r->set;
    const struct object_meta *meta = &step->pod->meta;

    if (object_delete(r->c->m, KIND_POD, meta, NULL, err) < 0) {
        controller_event(r->c, KIND_STATEFUL_SET, &set->meta, EVENT_WARNING, "FailedDelete",
            "delete Pod %s in StatefulSet %s failed error: %s", meta->name, set->meta.name,
            err->text);
        return -(int)err->code;
    }
    controller_event(r->c, KIND_STATEFUL_SET, &set->meta, EVENT_NORMAL, "SuccessfulDelete",
        "delete Pod %s in StatefulSet %s successful", meta->name, set->meta.name);
    return kind_wait_gone(r->c->m, KIND_POD, &meta, 1, err);
}

static int do_step(void *arg, size_t i, struct error *err)
{
    struct round *r = arg;
    const struct sts_step *step = &r->steps[i];

    return step->action == STS_CREATE ? create_pod(r, step, err) : delete_pod(r, step, err);
}

/* Owners of claims and labels of pods, before anything is deleted. */
static int keep_order(struct round *r, const struct sts_view *v, struct error *err)
{
    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        int64_t ordinal = sts_ordinal(pod->meta.name, r->set->meta.name);
        bool condemned = ordinal < v->start || ordinal >= v->start + v->replicas;
        if (sts_retain_claims(r->c, r->set, ordinal, pod, condemned, err) < 0)
            return -(int)err->code;
        if (!condemned && pod_is_active(pod) && sts_restore_identity(r->c, r->set, pod, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int act(struct round *r, int64_t *again_ns, struct error *err)
{
    struct sts_view view = view_of(r);
    struct error first;

    if (!view.deleting && keep_order(r, &view, err) < 0)
        return -(int)err->code;
    r->steps = xcalloc((size_t)view.replicas + view.pod_count + 1, sizeof(*r->steps));
    r->step_count = sts_plan(&view, r->steps, again_ns);
    size_t done = view.parallel
                      ? fanout_slow_start(manager_env(r->c->m), r->step_count, do_step, r, &first)
                      : fanout(manager_env(r->c->m), r->step_count, do_step, r, &first);
    if (done == r->step_count)
        return 0;
    *err = first;
    return -(int)first.code;
}

/* --- status --- */

static int write_status(struct round *r, int64_t *again_ns, struct error *err)
{
    struct sts_view view = view_of(r);
    struct sts_counts n = sts_count(&view, again_ns);
    const char *current = view.current_revision;
    autojson cJSON *status = json_of_text(r->set->status);

    if (sts_is_complete(&view, &n)) {
        current = view.update_revision;
        n.current = n.updated;
    }
    json_set(status, "observedGeneration", json_new_int64(r->set->meta.generation));
    json_set(status, "replicas", json_new_int64(n.replicas));
    json_set(status, "availableReplicas", json_new_int64(n.available));
    status_set_count(status, "readyReplicas", n.ready);
    status_set_count(status, "currentReplicas", n.current);
    status_set_count(status, "updatedReplicas", n.updated);
    json_set_string(status, "currentRevision", current);
    json_set_string(status, "updateRevision", view.update_revision);
    json_set(status, "collisionCount", json_new_int64(r->history.collisions));
    int result =
        object_status_write(r->c->m, KIND_STATEFUL_SET, &r->set->meta, r->set->status, status, err);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

static bool is_live(void *arg, const struct revision *revision)
{
    struct round *r = arg;

    if (revision == r->history.update || revision == r->current)
        return true;
    for (size_t i = 0; i < r->pods.count; i++)
        if (c_eq(string_map_get(&r->pods.pods[i]->meta.labels, REVISION_HASH), revision->meta.name))
            return true;
    return false;
}

static int sync(struct round *r, int64_t *again_ns, struct error *err)
{
    const struct stateful_set *set = r->set;
    struct error acted;

    if (claim(r, err) < 0 || history_load(r->c, KIND_STATEFUL_SET, &set->meta, set->selector,
                                 set->template, &set->collision_count, &r->history, err) < 0)
        return -(int)err->code;
    r->current = history_find(&r->history, set->current_revision);
    if (!r->current)
        r->current = r->history.update;
    int result = act(r, again_ns, &acted);
    if ((r->step_count > 0 && claim(r, err) < 0) || write_status(r, again_ns, err) < 0)
        return -(int)err->code;
    if (result < 0) {
        *err = acted;
        return result;
    }
    return history_truncate(r->c, &r->history, &set->revision_history_limit, is_live, r, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct stateful_set *set = kind_get_key(c->m, KIND_STATEFUL_SET, key);
    struct round r = {.c = c, .set = set};

    if (!set)
        return 0;
    int result = sync(&r, ret_again_ns, err);
    if (r.history.update)
        revisions_done(&r.history);
    pod_list_done(&r.pods);
    free(r.steps);
    return result < 0 && is_terminating_namespace(err) ? 0 : result;
}

const struct controller_info controller_statefulset = {
    .name = "statefulset-controller",
    .component = "statefulset-controller",
    .workers = 2,
    .watch_count = 4,
    .watches = {{KIND_STATEFUL_SET, controller_on_object}, {KIND_POD, on_pod},
        {KIND_REVISION, NULL}, {KIND_CLAIM, NULL}},
    .reconcile = reconcile,
};
