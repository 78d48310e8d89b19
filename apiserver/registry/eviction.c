/*
 * pods/eviction: a deletion that asks the PodDisruptionBudget first.
 *
 * Where upstream writes three times (the budget's status, the pod's condition, the deletion) this
 * is one group of the cache: the budget pays and the pod is marked, or neither. Whoever changes the
 * pod or the budget meanwhile makes the whole look run again, so no two evictions spend the same
 * disruption, and none is paid for a pod that became ready a moment ago.
 *
 * The budget's status belongs to the disruption controller; only disruptionsAllowed, disruptedPods
 * and the condition DisruptionAllowed are written here.
 *
 * Cost: one selector a budget of the namespace. Upstream: registry/core/pod/storage/eviction.go.
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/registry/generic/options.h"
#include "apiserver/registry/pod.h"
#include "apiserver/request/status.h"
#include "common/time.h"

#include <stdarg.h>

/* So many evictions wait at most for the controller to see them. */
#define DISRUPTED_PODS_MAX 2000
#define RETRY_S 10
#define TOO_MANY_TEXT "Cannot evict pod as it would violate the pod's disruption budget."

struct budgets {
    struct object *first; /* referenced */
    size_t count;
};

static bool is_terminal(const cJSON *pod)
{
    const char *phase = json_string_at(pod, "status.phase");

    return c_eq(phase, "Succeeded") || c_eq(phase, "Failed");
}

/* Nothing runs that a budget could protect. */
static bool is_free_to_go(const cJSON *pod)
{
    return is_terminal(pod) || c_eq(json_string_at(pod, "status.phase"), "Pending") ||
           json_string_at(pod, "metadata.deletionTimestamp");
}

static bool is_ready(const cJSON *pod)
{
    const cJSON *condition;

    cJSON_ArrayForEach(condition, json_path(pod, "status.conditions"))
    {
        if (c_eq(json_string(condition, "type"), "Ready"))
            return c_eq(json_string(condition, "status"), "True");
    }
    return false;
}

/* An empty selector, or one that makes no sense, protects nothing. */
static bool selects(const struct object *budget, const cJSON *labels)
{
    autojson cJSON *tree = object_tree(budget);
    struct selector *s;
    struct error ignored;

    if (selector_from_json(json_path(tree, "spec.selector"), &s, &ignored) < 0)
        return false;
    bool matches = !selector_is_everything(s) && selector_matches_json(s, labels);
    selector_free(s);
    return matches;
}

static struct budgets find_budgets(const struct write_context *w, const struct object_write *o)
{
    const struct resource *r = api_find_plural(w->server->api, "policy", "poddisruptionbudgets");
    struct snapshot *s = snapshot_take(w->cache, r);
    const cJSON *labels = json_path(w->old, "metadata.labels");
    struct str namespace_ = str_of(o->namespace_), at = STR("");
    struct budgets ret = {0};
    const struct object *budget;

    while ((budget = snapshot_next(s, namespace_, namespace_, at))) {
        at = budget->name;
        if (!selects(budget, labels))
            continue;
        if (ret.count++ == 0)
            ret.first = cache_newest(w->cache, r, namespace_, budget->name);
    }
    snapshot_free(s);
    return ret;
}

/* --- refusals --- */

static int too_many(struct object_write *o, int retry_s, struct error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int too_many(struct object_write *o, int retry_s, struct error *err, const char *format, ...)
{
    struct request *q = o->request;
    cJSON *cause = cJSON_CreateObject();
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_set_string(cause, "reason", "DisruptionBudget");
    json_set_string(cause, "message", text);
    cJSON_Delete(q->status_details);
    q->status_details = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(q->status_details, "causes"), cause);
    q->retry_after_s = retry_s;
    return error_set(err, ERR_TOO_MANY_REQUESTS, TOO_MANY_TEXT);
}

static int forbidden(struct object_write *o, const char *name, const char *why, struct error *err)
{
    struct request *q = o->request;

    cJSON_Delete(q->status_details);
    q->status_details = json_make("{\"group\":\"policy\",\"kind\":\"poddisruptionbudget\"}");
    json_set_string(q->status_details, "name", name);
    return error_set(
        err, ERR_FORBIDDEN, "poddisruptionbudget.policy \"%s\" is forbidden: %s", name, why);
}

static int several(struct object_write *o, struct error *err)
{
    o->request->reason = "";
    return error_set(err, ERR_INTERNAL,
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
        "support.");
}

static cJSON *find_condition(const cJSON *conditions, const char *type)
{
    cJSON *item;

    cJSON_ArrayForEach(item, conditions)
    {
        if (c_eq(json_string(item, "type"), type))
            return item;
    }
    return NULL;
}

static int used_up(struct object_write *o, const cJSON *budget, const char *name, struct error *err)
{
    const cJSON *condition =
        find_condition(json_path(budget, "status.conditions"), "DisruptionAllowed");
    const char *message = json_string(condition, "message");

    if (c_eq(json_string(condition, "status"), "False") &&
        c_eq(json_string(condition, "reason"), "SyncFailed"))
        return too_many(o, 0, err,
            "The disruption budget %s does not allow evicting pods currently because it failed "
            "sync: %s",
            name, message ? message : "");
    return too_many(o, 0, err,
        "The disruption budget %s needs %lld healthy pods and has %lld currently", name,
        (long long)json_int64_at(budget, "status.desiredHealthy", 0),
        (long long)json_int64_at(budget, "status.currentHealthy", 0));
}

/* --- paying --- */

static void say_used_up(cJSON *budget, const char *now)
{
    cJSON *conditions = json_path(budget, "status.conditions"), *condition;

    if (!conditions)
        json_set_at(budget, "status.conditions", conditions = cJSON_CreateArray());
    condition = find_condition(conditions, "DisruptionAllowed");
    if (!condition) {
        condition = cJSON_CreateObject();
        json_set_string(condition, "type", "DisruptionAllowed");
        cJSON_AddItemToArray(conditions, condition);
    }
    if (!c_eq(json_string(condition, "status"), "False"))
        json_set_string(condition, "lastTransitionTime", now);
    json_set_string(condition, "status", "False");
    json_set_string(condition, "reason", "InsufficientPods");
    json_set_string(condition, "message", "");
    json_set(condition, "observedGeneration",
        json_new_int64(json_int64_at(budget, "status.observedGeneration", 0)));
}

/* The budget as it is when one more pod of it goes, as a write of the same group. */
static int pay(struct object_write *o, struct object *base, cJSON *budget, struct error *err)
{
    const struct resource *r = base->resource;
    int64_t left = json_int64_at(budget, "status.disruptionsAllowed", 0) - 1;
    char now[TIME_TEXT_BYTES];
    struct object *next;
    cJSON *pods = json_path(budget, "status.disruptedPods");

    time_print_s(o->context.now_ns, now);
    json_set_at(budget, "status.disruptionsAllowed", json_new_int64(left));
    if (left == 0)
        say_used_up(budget, now);
    if (!pods)
        json_set_at(budget, "status.disruptedPods", pods = cJSON_CreateObject());
    json_set_string(pods, o->name, now);
    schema_normalise(r->schema, budget);
    if (object_new(r, budget, &next, err) < 0)
        return -(int)err->code;
    o->extra.ops[o->extra.count++] = (struct write_op){.resource = r,
        .namespace_ = base->namespace_,
        .name = base->name,
        .base = object_ref(base),
        .next = next};
    return 0;
}

static int check_and_pay(
    struct object_write *o, struct object *base, cJSON *budget, const char *name, struct error *err)
{
    int64_t allowed = json_int64_at(budget, "status.disruptionsAllowed", 0);

    if (json_int64_at(budget, "status.observedGeneration", 0) <
        json_int64_at(budget, "metadata.generation", 0))
        return too_many(o, RETRY_S, err,
            "The disruption budget %s is still being processed by the server.", name);
    if (allowed < 0)
        return forbidden(o, name, "pdb disruptions allowed is negative", err);
    if (cJSON_GetArraySize(json_path(budget, "status.disruptedPods")) > DISRUPTED_PODS_MAX)
        return forbidden(o, name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller", err);
    if (allowed == 0)
        return used_up(o, budget, name, err);
    return pay(o, base, budget, err);
}

/* A pod that isn't ready counts for nobody, unless the budget wants even those kept. */
static bool counts(const cJSON *pod, const cJSON *budget)
{
    int64_t desired = json_int64_at(budget, "status.desiredHealthy", 0);

    if (is_ready(pod))
        return true;
    if (c_eq(json_string_at(budget, "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow"))
        return false;
    return !(json_int64_at(budget, "status.currentHealthy", 0) >= desired && desired > 0);
}

static int ask_budget(struct object_write *o, struct error *err)
{
    struct budgets budgets = find_budgets(&o->context, o);
    int r = 0;

    if (budgets.count > 1) {
        r = several(o, err);
    } else if (budgets.first) {
        autojson cJSON *tree = object_tree(budgets.first);
        autofree char *name = str_dup(budgets.first->name);
        if (counts(o->context.old, tree))
            r = check_and_pay(o, budgets.first, tree, name, err);
    }
    object_unref(budgets.first);
    return r;
}

/* --- the pod --- */

static void say_why(struct write_context *w)
{
    cJSON *conditions = json_path(w->tree, "status.conditions");
    char now[TIME_TEXT_BYTES];
    cJSON *old = find_condition(conditions, "DisruptionTarget");
    autojson cJSON *condition =
        json_make("{\"type\":\"DisruptionTarget\",\"status\":\"True\",\"lastProbeTime\":null,"
                  "\"lastTransitionTime\":\"%s\",\"reason\":\"EvictionByEvictionAPI\","
                  "\"message\":\"Eviction API: evicting\"}",
            time_print_s(w->now_ns, now));

    if (!conditions)
        json_set_at(w->tree, "status.conditions", conditions = cJSON_CreateArray());
    json_set(condition, "observedGeneration",
        json_new_int64(json_int64_at(w->tree, "metadata.generation", 0)));
    if (old)
        cJSON_ReplaceItemViaPointer(conditions, old, steal(&condition));
    else
        cJSON_AddItemToArray(conditions, steal(&condition));
}

static int evict(struct write_context *w, void *arg, struct error *err)
{
    struct object_write *o = arg;

    w->tree = cJSON_Duplicate(w->old, true);
    if (!is_free_to_go(w->old)) {
        if (ask_budget(o, err) < 0)
            return -(int)err->code;
        say_why(w);
    }
    return delete_compute(o, err);
}

enum stage_result pod_eviction_run(struct request *q)
{
    struct object_write *o = q->write;
    const char *name = json_string_at(o->body, "metadata.name");

    if (!c_eq(name ? name : "", q->name))
        return request_fail(
            q, ERR_BAD_REQUEST, "name in URL does not match name in Eviction object");
    /* dryRun may stand in the query, in the body, or in both. */
    if (options_read_delete(q, o, json_get(o->body, "deleteOptions")) == STAGE_ERROR)
        return STAGE_ERROR;
    o->kind = WRITE_DELETE;
    o->change = evict;
    o->reply = reply_success;
    return STAGE_DONE;
}
