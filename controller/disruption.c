/*
 * Controller "disruption": the status of PodDisruptionBudgets, by which evictions are allowed.
 *
 * reconcile: the pods that match - how many there should be (the scale of their controllers) - how
 * many are healthy - status. Pods in status.disruptedPods are on their way out: the API server put
 * them there when it accepted an eviction; they are taken off when they are gone, or stay longer
 * than two minutes. When the expected number can't be known, nothing may be evicted and the
 * condition says why.
 *
 * Keys: "namespace/name" of a budget; "pod namespace/name": a pod whose condition DisruptionTarget
 * may be stale.
 *
 * Upstream: pkg/controller/disruption.
 */
#include "controller/disruption.h"

#include "common/time.h"
#include "controller/conditions.h"
#include "controller/pods.h"
#include "controller/scale.h"
#include "controller/status.h"

#define POD_KEY "pod "

struct round {
    struct controller *c;
    const struct budget *budget;
    struct pod_list pods;
    int64_t now_ns, again_ns;
    cJSON *disrupted; /* what is left of status.disruptedPods */
    size_t unmanaged; /* pods without controller */
    cJSON *scales;    /* controllers seen: uid to replicas */
};

/* --- how many pods there should be --- */

static int owner_scale(struct round *r, const struct owner_ref *owner, int64_t *ret,
    bool *ret_found, struct error *err)
{
    autojson cJSON *scale = NULL;

    int got = scaler_read(r->c->state, owner->api_version, owner->kind, r->budget->meta.namespace_,
        owner->name, &scale, err);
    if (got == -ERR_NOT_FOUND)
        return 0;
    if (got < 0)
        return got;
    *ret = json_int64_at(scale, "spec.replicas", 0);
    *ret_found = true;
    return 0;
}

static int replicas_of(const struct opt_int *replicas, int64_t *ret, bool *ret_found)
{
    *ret = replicas->set ? replicas->value : 1;
    *ret_found = true;
    return 0;
}

/* Of a ReplicaSet that belongs to a Deployment, what the Deployment wants. */
static int set_scale(struct round *r, const struct owner_ref *owner, int64_t *ret, bool *ret_found,
    struct error *err)
{
    struct manager *m = r->c->m;
    const char *namespace_ = r->budget->meta.namespace_;
    auto_object const struct replica_set *rs =
        kind_get_uid(m, KIND_REPLICA_SET, namespace_, owner->name, owner->uid);
    const struct owner_ref *parent = rs ? object_controller(&rs->meta) : NULL;

    if (!rs)
        return 0;
    if (!parent)
        return replicas_of(&rs->replicas, ret, ret_found);
    if (strcmp(parent->kind, "Deployment") != 0)
        return owner_scale(r, parent, ret, ret_found, err);
    auto_object const struct deployment *d =
        kind_get_uid(m, KIND_DEPLOYMENT, namespace_, parent->name, parent->uid);
    return d ? replicas_of(&d->replicas, ret, ret_found) : 0;
}

static bool is_of(const struct owner_ref *owner, enum kind kind)
{
    return !strcmp(owner->kind, kinds[kind].kind) &&
           !strcmp(owner->api_version, kinds[kind].group_version);
}

static int controller_scale(struct round *r, const struct owner_ref *owner, int64_t *ret,
    bool *ret_found, struct error *err)
{
    struct manager *m = r->c->m;
    const char *namespace_ = r->budget->meta.namespace_;

    if (is_of(owner, KIND_REPLICA_SET))
        return set_scale(r, owner, ret, ret_found, err);
    if (is_of(owner, KIND_STATEFUL_SET)) {
        auto_object const struct stateful_set *s =
            kind_get_uid(m, KIND_STATEFUL_SET, namespace_, owner->name, owner->uid);
        return s ? replicas_of(&s->replicas, ret, ret_found) : 0;
    }
    if (is_of(owner, KIND_REPLICATION_CONTROLLER)) {
        auto_object const struct replica_set *s =
            kind_get_uid(m, KIND_REPLICATION_CONTROLLER, namespace_, owner->name, owner->uid);
        return s ? replicas_of(&s->replicas, ret, ret_found) : 0;
    }
    return owner_scale(r, owner, ret, ret_found, err);
}

static int sum_scales(struct round *r, int64_t *ret, struct error *err)
{
    *ret = 0;
    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        const struct owner_ref *owner = object_controller(&pod->meta);
        int64_t replicas = 0;
        bool found = false;
        if (!owner) {
            r->unmanaged++;
            continue;
        }
        if (json_get(r->scales, owner->uid))
            continue;
        if (controller_scale(r, owner, &replicas, &found, err) < 0)
            return -(int)err->code;
        if (!found)
            return error_set(
                err, ERR_BAD_REQUEST, "found no controllers for pod \"%s\"", pod->meta.name);
        json_set(r->scales, owner->uid, json_new_int64(replicas));
        *ret += replicas;
    }
    return 0;
}

/* --- pods on their way out --- */

static void lower(int64_t *again_ns, int64_t delay_ns)
{
    if (delay_ns > 0 && (!*again_ns || delay_ns < *again_ns))
        *again_ns = delay_ns;
}

static bool keep_disrupted(struct round *r, const struct pod *pod)
{
    const char *text = string_map_get(&r->budget->disrupted, pod->meta.name);
    int64_t since;
    struct error ignored;

    if (!text || pod->meta.deletion_ns || time_parse(str_of(text), &since, &ignored) < 0)
        return false;
    int64_t left = since + DISRUPTION_TIMEOUT_NS - r->now_ns;
    if (left < 0) {
        controller_event(r->c, KIND_POD, &pod->meta, EVENT_WARNING, "NotDeleted",
            "Pod was expected by PDB %s/%s to be deleted but it wasn't", r->budget->meta.namespace_,
            r->budget->meta.name);
        return false;
    }
    lower(&r->again_ns, left + 1);
    json_set_string(r->disrupted, pod->meta.name, text);
    return true;
}

static int64_t count_healthy(struct round *r)
{
    int64_t n = 0;

    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        bool leaves = keep_disrupted(r, pod);
        n += !leaves && !pod->meta.deletion_ns && pod_is_ready(pod);
    }
    return n;
}

/* --- status --- */

static void set_condition(cJSON *status, int64_t generation, bool allowed, const char *reason,
    const char *message, int64_t now_ns)
{
    cJSON *conditions = json_get(status, "conditions");

    if (!cJSON_IsArray(conditions)) {
        conditions = cJSON_CreateArray();
        json_set(status, "conditions", conditions);
    }
    conditions_set(
        conditions, "DisruptionAllowed", allowed ? "True" : "False", reason, message, now_ns, 0);
    json_set(conditions_get(conditions, "DisruptionAllowed"), "observedGeneration",
        json_new_int64(generation));
}

static int write_sum(struct round *r, const struct budget_sum *sum, struct error *err)
{
    const struct budget *b = r->budget;
    autojson cJSON *status = json_of_text(b->status);

    json_set(status, "expectedPods", json_new_int64(sum->expected));
    json_set(status, "desiredHealthy", json_new_int64(sum->desired));
    json_set(status, "currentHealthy", json_new_int64(sum->healthy));
    json_set(status, "disruptionsAllowed", json_new_int64(sum->allowed));
    json_set(status, "observedGeneration", json_new_int64(b->meta.generation));
    if (r->disrupted->child)
        json_set(status, "disruptedPods", cJSON_Duplicate(r->disrupted, true));
    else
        json_remove(status, "disruptedPods");
    set_condition(status, b->meta.generation, sum->allowed > 0,
        sum->allowed > 0 ? "SufficientPods" : "InsufficientPods", "", r->now_ns);
    return object_status_write(r->c->m, KIND_BUDGET, &b->meta, b->status, status, err);
}

/* Nobody may be evicted while it is not known how many there should be. */
static int write_failure(struct round *r, const struct error *why, struct error *err)
{
    const struct budget *b = r->budget;
    autojson cJSON *status = json_of_text(b->status);
    static const char *const required[] = {"expectedPods", "desiredHealthy", "currentHealthy"};

    for (size_t i = 0; i < ARRAY_COUNT(required); i++)
        if (!json_get(status, required[i]))
            json_set(status, required[i], json_new_int64(0));
    json_set(status, "disruptionsAllowed", json_new_int64(0));
    set_condition(status, b->meta.generation, false, "SyncFailed", why->text, r->now_ns);
    return object_status_write(r->c->m, KIND_BUDGET, &b->meta, b->status, status, err);
}

static void tell_unmanaged(struct round *r)
{
    autostrbuf struct strbuf shown = STRBUF_EMPTY;
    auto_selector struct selector *selector = selector_of_json(r->budget->selector);

    selector_print(selector, &shown);
    controller_event(r->c, KIND_BUDGET, &r->budget->meta, EVENT_WARNING, "UnmanagedPods",
        "Pods selected by this PodDisruptionBudget (selector: %s) were found to be unmanaged. As a "
        "result, the status of the PDB cannot be calculated correctly, which may result in "
        "undefined behavior. To account for these pods please set \".spec.minAvailable\" field of "
        "the PDB to an integer value.",
        shown.data);
}

/* --- the round --- */

static struct pod_list matching_pods(struct controller *c, const struct budget *b)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_POD, b->meta.namespace_);
    auto_selector struct selector *selector = selector_of_json(b->selector);
    struct pod_list list = {xcalloc(all.count + 1, sizeof(*list.pods)), 0};

    for (size_t i = 0; i < all.count; i++) {
        const struct pod *pod = all.objects[i];
        if (selector_matches(selector, string_map_label, &pod->meta.labels))
            list.pods[list.count++] = projected_ref(pod);
    }
    return list;
}

static int sync(struct round *r, struct error *err)
{
    const struct budget *b = r->budget;
    struct error why;
    int64_t scale = 0;

    if (r->pods.count == 0)
        controller_event(
            r->c, KIND_BUDGET, &b->meta, EVENT_NORMAL, "NoPods", "No matching pods found");
    if (budget_needs_scale(b) && sum_scales(r, &scale, &why) < 0) {
        controller_event(r->c, KIND_BUDGET, &b->meta, EVENT_WARNING,
            "CalculateExpectedPodCountFailed",
            "Failed to calculate the number of expected pods: %s", why.text);
        if (write_failure(r, &why, err) < 0)
            return -(int)err->code;
        *err = why;
        return -(int)why.code;
    }
    if (r->unmanaged)
        tell_unmanaged(r);
    struct budget_sum sum = budget_sum(b, (int64_t)r->pods.count, scale, count_healthy(r));
    return write_sum(r, &sum, err);
}

/* A pod that was to be disrupted and wasn't: the condition turns False after two minutes. */
static int sync_stale(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct pod *pod = kind_get_key(c->m, KIND_POD, key);
    const struct pod_condition *target = pod ? pod_condition(pod, "DisruptionTarget") : NULL;
    int64_t now = env_wall_ns(manager_env(c->m));
    char text[TIME_TEXT_BYTES];

    if (!target || strcmp(target->status, "True") != 0 || pod->meta.deletion_ns ||
        pod_is_terminal(pod))
        return 0;
    int64_t left = target->transition_ns + DISRUPTION_TIMEOUT_NS - now;
    if (left > 0) {
        *ret_again_ns = left;
        return 0;
    }
    struct api_ref ref = object_api_ref(KIND_POD, &pod->meta, "status");
    autojson cJSON *patch = json_make(
        "{\"metadata\":{\"uid\":\"%s\",\"resourceVersion\":\"%s\"},\"status\":{\"conditions\":[{"
        "\"type\":\"DisruptionTarget\",\"status\":\"False\",\"lastTransitionTime\":\"%s\"}]}}",
        pod->meta.uid, pod->meta.resource_version, time_print_s(now, text));
    int r = api_patch(manager_client(c->m), &ref, PATCH_STRATEGIC, patch, NULL, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    if (!strncmp(key, POD_KEY, sizeof(POD_KEY) - 1))
        return sync_stale(c, key + sizeof(POD_KEY) - 1, ret_again_ns, err);
    auto_object const struct budget *b = kind_get_key(c->m, KIND_BUDGET, key);
    if (!b)
        return 0;
    struct round r = {.c = c,
        .budget = b,
        .pods = matching_pods(c, b),
        .now_ns = env_wall_ns(manager_env(c->m)),
        .disrupted = cJSON_CreateObject(),
        .scales = cJSON_CreateObject()};
    int result = sync(&r, err);
    *ret_again_ns = r.again_ns;
    pod_list_done(&r.pods);
    cJSON_Delete(r.disrupted);
    cJSON_Delete(r.scales);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

/* --- events --- */

static void add_budgets_of(struct controller *c, const struct pod *pod)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_BUDGET, pod->meta.namespace_);

    for (size_t i = 0; i < all.count; i++) {
        const struct budget *b = all.objects[i];
        auto_selector struct selector *selector = selector_of_json(b->selector);
        if (selector_matches(selector, string_map_label, &pod->meta.labels))
            controller_add(c, &b->meta);
    }
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *now = new_object;
    const struct pod_condition *target = now ? pod_condition(now, "DisruptionTarget") : NULL;

    if (old_object)
        add_budgets_of(c, old_object);
    if (now)
        add_budgets_of(c, now);
    if (target && !strcmp(target->status, "True") && !now->meta.deletion_ns)
        workqueue_addf(c->queue, POD_KEY "%s/%s", now->meta.namespace_, now->meta.name);
}

static int start(struct controller *c, struct error *err)
{
    c->state = scaler_new(c->m);
    return 0;
}

static void stop(struct controller *c)
{
    scaler_free(c->state);
}

const struct controller_info controller_disruption = {
    .name = "disruption-controller",
    .component = "controllermanager",
    .workers = 2,
    .watch_count = 6,
    .watches = {{KIND_BUDGET, controller_on_object}, {KIND_POD, on_pod}, {KIND_REPLICA_SET, NULL},
        {KIND_DEPLOYMENT, NULL}, {KIND_STATEFUL_SET, NULL}, {KIND_REPLICATION_CONTROLLER, NULL}},
    .reconcile = reconcile,
    .start = start,
    .stop = stop,
};
