/*
 * Controller "horizontal-pod-autoscaler": sets the scale of an object by what its pods use.
 *
 * Every 15 s for each HorizontalPodAutoscaler: the scale - a proposal of each metric - the largest
 * one, narrowed by behavior, history and limits - the scale written, if it differs - the status.
 * When some metric can't be read it never scales down. What was recommended and done lately is
 * remembered in memory, as upstream does: after a restart the window begins anew, with the present
 * replicas as the first recommendation.
 *
 * Upstream: pkg/controller/podautoscaler.
 */
#include "controller/hpa.h"

#include "common/hash.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/pods.h"
#include "controller/status.h"

#define PERIOD_NS (15 * NS_PER_S)

struct memory {
    UT_hash_handle hh;
    struct hpa_history history;
    char key[];
};

struct state {
    struct scaler *scaler;
    struct lock lock; /* guards memories; a memory belongs to the worker of its key */
    struct memory *memories;
};

struct round {
    struct controller *c;
    const struct autoscaler *hpa;
    struct memory *memory;
    cJSON *spec, *status, *scale;
    int64_t now_ns, current, desired, min, max;
    struct hpa_behavior behavior;
    const char *target_kind, *target_version, *target_name;
};

/* --- memory --- */

static struct memory *remember(struct controller *c, const char *key)
{
    struct state *s = c->state;
    struct env *env = manager_env(c->m);
    struct memory *m;

    env_lock(env, &s->lock);
    HASH_FIND_STR(s->memories, key, m);
    if (!m) {
        size_t n = strlen(key);
        m = xcalloc(1, sizeof(*m) + n + 1);
        memcpy(m->key, key, n + 1);
        HASH_ADD_KEYPTR(hh, s->memories, m->key, n, m);
    }
    env_unlock(env, &s->lock);
    return m;
}

static void memory_free(struct memory *m)
{
    free(m->history.recommendations);
    free(m->history.changes);
    free(m);
}

static void forget(struct controller *c, const char *key)
{
    struct state *s = c->state;
    struct env *env = manager_env(c->m);
    struct memory *m;

    env_lock(env, &s->lock);
    HASH_FIND_STR(s->memories, key, m);
    if (m)
        HASH_DEL(s->memories, m);
    env_unlock(env, &s->lock);
    if (m)
        memory_free(m);
}

/* --- status --- */

static void set_condition(
    struct round *r, const char *type, const char *status, const char *reason, const char *message)
{
    cJSON *conditions = json_get(r->status, "conditions");

    if (!cJSON_IsArray(conditions)) {
        conditions = cJSON_CreateArray();
        json_set(r->status, "conditions", conditions);
    }
    conditions_set(conditions, type, status, reason, message, r->now_ns, 0);
}

static int write_status(struct round *r, struct error *err)
{
    json_set(r->status, "currentReplicas", json_new_int64(r->current));
    json_set(r->status, "desiredReplicas", json_new_int64(r->desired));
    json_set(r->status, "observedGeneration", json_new_int64(r->hpa->meta.generation));
    if (r->current == 0)
        json_remove(r->status, "currentReplicas");
    return object_status_write(
        r->c->m, KIND_AUTOSCALER, &r->hpa->meta, r->hpa->status, r->status, err);
}

static void tell(struct round *r, const char *type, const char *reason, const char *message)
{
    controller_event(r->c, KIND_AUTOSCALER, &r->hpa->meta, type, reason, "%s", message);
}

/* --- metrics --- */

static cJSON *default_metrics(void)
{
    return json_make("[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":"
                     "\"Utilization\",\"averageUtilization\":80}}}]");
}

struct outcome {
    int64_t replicas;
    char *name;
    size_t count, invalid;
    char *first_text;
    const char *first_reason;
};

static void ask_all(
    struct round *r, const struct hpa_target *t, const cJSON *metrics, struct outcome *o)
{
    cJSON *statuses = cJSON_CreateArray();
    const cJSON *metric;

    cJSON_ArrayForEach(metric, metrics)
    {
        int64_t replicas = 0;
        cJSON *status = NULL;
        char *name = NULL;
        const char *reason = NULL;
        struct error err;
        o->count++;
        if (hpa_metric_propose(t, metric, &replicas, &status, &name, &reason, &err) < 0) {
            autofree char *text =
                str_format("the HPA was unable to compute the replica count: %s", err.text);
            tell(r, EVENT_WARNING, reason, err.text);
            if (!o->invalid++) {
                o->first_reason = reason;
                o->first_text = steal(&text);
            }
        } else {
            cJSON_AddItemToArray(statuses, status);
            if (!o->name || replicas > o->replicas) {
                o->replicas = replicas;
                free(o->name);
                o->name = steal(&name);
            }
        }
        free(name);
    }
    json_set(r->status, "currentMetrics", statuses);
}

/* The metrics' proposal; ERR_NOT_FOUND and a condition when they say nothing that may be acted on.
 */
static int ask_metrics(struct round *r, int64_t *ret, char **ret_name, struct error *err)
{
    autojson cJSON *own = NULL;
    const cJSON *metrics = json_get(r->spec, "metrics");
    const char *text = json_string_at(r->scale, "status.selector");
    struct selector *parsed = NULL;
    struct outcome o = {0};
    int result = 0;

    if (!text || !*text) {
        tell(r, EVENT_WARNING, "SelectorRequired", "selector is required");
        set_condition(r, "ScalingActive", "False", "InvalidSelector",
            "the HPA target's scale is missing a selector");
        return error_set(err, ERR_NOT_FOUND, "selector is required");
    }
    if (selector_parse(str_of(text), &parsed, err) < 0) {
        set_condition(r, "ScalingActive", "False", "InvalidSelector", err->text);
        return -(int)err->code;
    }
    if (!metrics || !metrics->child)
        metrics = own = default_metrics();
    struct hpa_target target = {.m = r->c->m,
        .namespace_ = r->hpa->meta.namespace_,
        .selector = text,
        .parsed = parsed,
        .current = r->current,
        .status_replicas = json_int64_at(r->scale, "status.replicas", 0),
        .now_ns = r->now_ns,
        .tolerance = {r->behavior.up.tolerance, r->behavior.down.tolerance}};
    ask_all(r, &target, metrics, &o);
    selector_free(parsed);
    if (o.invalid && (o.invalid >= o.count || o.replicas < r->current)) {
        set_condition(r, "ScalingActive", "False", o.first_reason, o.first_text);
        result = error_set(err, ERR_NOT_FOUND,
            "invalid metrics (%zu invalid out of %zu), first "
            "error is: %s",
            o.invalid, o.count, o.first_text);
    } else {
        autofree char *message = str_format(
            "the HPA was able to successfully calculate a replica count from %s", o.name);
        set_condition(r, "ScalingActive", "True", "ValidMetricFound", message);
        *ret = o.replicas;
        *ret_name = steal(&o.name);
    }
    free(o.first_text);
    free(o.name);
    return result;
}

/* --- deciding --- */

static void limit(struct round *r, int64_t proposed)
{
    struct hpa_history *h = &r->memory->history;
    int64_t window = r->behavior.up.window_ns > r->behavior.down.window_ns
                         ? r->behavior.up.window_ns
                         : r->behavior.down.window_ns;

    if (h->recommendation_count == 0)
        hpa_history_add(
            &h->recommendations, &h->recommendation_count, r->now_ns - 1, r->current, 0);
    struct hpa_limit l =
        hpa_limit(&r->behavior, h, r->now_ns, r->current, proposed, r->min, r->max);
    hpa_history_add(
        &h->recommendations, &h->recommendation_count, r->now_ns, proposed, r->now_ns - window);
    set_condition(r, "AbleToScale", "True", l.stabilized_reason, l.stabilized_message);
    set_condition(
        r, "ScalingLimited", l.limited ? "True" : "False", l.limit_reason, l.limit_message);
    r->desired = l.replicas;
}

/* *ret_why: heap; NULL when nothing is to be done. */
static int decide(struct round *r, char **ret_why, struct error *err)
{
    autofree char *name = NULL;
    int64_t proposed = 0;

    r->desired = r->current;
    if (r->current == 0 && r->min != 0) {
        r->desired = 0;
        set_condition(r, "ScalingActive", "False", "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero");
        return 0;
    }
    if (r->current > r->max || r->current < r->min) {
        bool above = r->current > r->max;
        r->desired = above ? r->max : r->min;
        *ret_why = xstrdup(above ? "Current number of replicas above Spec.MaxReplicas"
                                 : "Current number of replicas below Spec.MinReplicas");
        return 0;
    }
    if (ask_metrics(r, &proposed, &name, err) < 0)
        return -(int)err->code;
    limit(r, proposed);
    if (r->desired > r->current)
        *ret_why = str_format("%s above target", name);
    else if (r->desired < r->current)
        *ret_why = xstrdup("All metrics below target");
    return 0;
}

static int rescale(struct round *r, const char *why, struct error *err)
{
    struct state *s = r->c->state;
    struct hpa_history *h = &r->memory->history;
    char now[TIME_TEXT_BYTES];

    if (scaler_write(s->scaler, r->target_version, r->target_kind, r->scale, r->desired, err) < 0) {
        autofree char *text = str_format("the HPA controller was unable to update the target "
                                         "scale: %s",
            err->text);
        set_condition(r, "AbleToScale", "False", "FailedUpdateScale", text);
        controller_event(r->c, KIND_AUTOSCALER, &r->hpa->meta, EVENT_WARNING, "FailedRescale",
            "New size: %lld; reason: %s; error: %s", (long long)r->desired, why, err->text);
        r->desired = r->current;
        return -(int)err->code;
    }
    autofree char *text = str_format(
        "the HPA controller was able to update the target scale to %lld", (long long)r->desired);
    set_condition(r, "AbleToScale", "True", "SucceededRescale", text);
    controller_event(r->c, KIND_AUTOSCALER, &r->hpa->meta, EVENT_NORMAL, "SuccessfulRescale",
        "New size: %lld; reason: %s", (long long)r->desired, why);
    hpa_history_add(&h->changes, &h->change_count, r->now_ns, r->desired - r->current,
        r->now_ns - 1800 * NS_PER_S);
    json_set_string(r->status, "lastScaleTime", time_print_s(r->now_ns, now));
    return 0;
}

static int sync(struct round *r, struct error *err)
{
    struct state *s = r->c->state;
    autofree char *why = NULL;
    struct error ignored;

    if (scaler_read(s->scaler, r->target_version, r->target_kind, r->hpa->meta.namespace_,
            r->target_name, &r->scale, err) < 0) {
        autofree char *text = str_format(
            "the HPA controller was unable to get the target's current scale: %s", err->text);
        tell(r, EVENT_WARNING, "FailedGetScale", err->text);
        set_condition(r, "AbleToScale", "False", "FailedGetScale", text);
        r->current = json_int64_at(r->status, "currentReplicas", 0);
        r->desired = json_int64_at(r->status, "desiredReplicas", 0);
        return write_status(r, &ignored);
    }
    set_condition(r, "AbleToScale", "True", "SucceededGetScale",
        "the HPA controller was able to get the target's current scale");
    r->current = json_int64_at(r->scale, "spec.replicas", 0);
    int result = decide(r, &why, err);
    if (result < 0) {
        autofree char *text = str_format(
            "failed to compute desired number of replicas based on listed metrics for %s/%s/%s: %s",
            r->target_kind, r->hpa->meta.namespace_, r->target_name, err->text);
        tell(r, EVENT_WARNING, "FailedComputeMetricsReplicas", text);
    } else if (why && r->desired != r->current) {
        result = rescale(r, why, err);
    }
    /* What went wrong is in the conditions and looked at again in the next period. */
    if (write_status(r, &ignored) < 0 && ignored.code != ERR_NOT_FOUND) {
        *err = ignored;
        return -(int)ignored.code;
    }
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct autoscaler *hpa = kind_get_key(c->m, KIND_AUTOSCALER, key);

    if (!hpa || hpa->meta.deletion_ns) {
        forget(c, key);
        return 0;
    }
    struct round r = {.c = c,
        .hpa = hpa,
        .memory = remember(c, key),
        .spec = json_of_text(hpa->spec),
        .status = json_of_text(hpa->status),
        .now_ns = env_wall_ns(manager_env(c->m))};
    r.min = json_int64_at(r.spec, "minReplicas", 1);
    r.max = json_int64_at(r.spec, "maxReplicas", 1);
    r.target_kind = json_string_at(r.spec, "scaleTargetRef.kind");
    r.target_name = json_string_at(r.spec, "scaleTargetRef.name");
    r.target_version = json_string_at(r.spec, "scaleTargetRef.apiVersion");
    r.target_version = r.target_version ? r.target_version : "v1";
    hpa_behavior_parse(json_get(r.spec, "behavior"), &r.behavior);
    int result = sync(&r, err);
    cJSON_Delete(r.spec);
    cJSON_Delete(r.status);
    cJSON_Delete(r.scale);
    *ret_again_ns = PERIOD_NS;
    return result;
}

/* A changed spec is looked at at once; a written status is no news. */
static void on_hpa(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *old = old_object, *now = new_object;

    if (!old || !now || old->generation != now->generation || now->deletion_ns)
        controller_add(c, now ? now : old);
}

static int start(struct controller *c, struct error *err)
{
    struct state *s = xcalloc(1, sizeof(*s));

    s->scaler = scaler_new(c->m);
    env_lock_init(&s->lock);
    c->state = s;
    return 0;
}

static void stop(struct controller *c)
{
    struct state *s = c->state;
    struct memory *m, *next;

    HASH_ITER(hh, s->memories, m, next)
    {
        HASH_DEL(s->memories, m);
        memory_free(m);
    }
    scaler_free(s->scaler);
    env_lock_done(&s->lock);
    free(s);
}

const struct controller_info controller_hpa = {
    .name = "horizontal-pod-autoscaler-controller",
    .component = "horizontal-pod-autoscaler",
    .workers = 2,
    .watch_count = 2,
    .watches = {{KIND_AUTOSCALER, on_hpa}, {KIND_POD, NULL}},
    .reconcile = reconcile,
    .start = start,
    .stop = stop,
};
