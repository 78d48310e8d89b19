/*
 * Pods: what the server fills in, what may change after creation, how long a deletion waits, and
 * binding to a node.
 *
 * Upstream: registry/core/pod/strategy.go, apis/core/validation (ValidatePodUpdate),
 * registry/core/pod/storage (BindingREST).
 */
#include "apiserver/registry/pod.h"

#include "apiserver/registry/generic/generic.h"
#include "common/quantity.h"
#include "common/time.h"

/* --- quality of service --- */

static bool quantity_at(
    const cJSON *resources, const char *list, const char *name, struct quantity *ret)
{
    const char *text = json_string(json_get(resources, list), name);
    struct error err;
    return text && quantity_parse(str_of(text), ret, &err) == 0 && ret->nano != 0;
}

/* BestEffort: nothing asked for; Guaranteed: every container has cpu and memory limits equal to its
 * requests. */
static void look_at(const cJSON *containers, bool *any, bool *guaranteed)
{
    static const char *const names[] = {"cpu", "memory"};
    const cJSON *container;
    cJSON_ArrayForEach(container, containers)
    {
        const cJSON *resources = json_get(container, "resources");
        for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
            struct quantity request, limit;
            bool has_request = quantity_at(resources, "requests", names[i], &request);
            bool has_limit = quantity_at(resources, "limits", names[i], &limit);
            *any = *any || has_request || has_limit;
            if (!has_limit || (has_request && quantity_cmp(request, limit) != 0))
                *guaranteed = false;
        }
    }
}

const char *pod_qos_class(const cJSON *spec)
{
    bool any = false, guaranteed = true;
    look_at(json_get(spec, "containers"), &any, &guaranteed);
    look_at(json_get(spec, "initContainers"), &any, &guaranteed);
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

/* --- writes --- */

static void pod_prepare(struct write_context *w)
{
    if (w->kind == WRITE_CREATE) {
        cJSON *status = cJSON_CreateObject();
        json_set_string(status, "phase", "Pending");
        json_set_string(status, "qosClass", pod_qos_class(json_get(w->tree, "spec")));
        json_set(w->tree, "status", status);
        if (cJSON_GetArraySize(json_path(w->tree, "spec.schedulingGates")) > 0)
            json_set(status, "conditions",
                json_make("[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":"
                          "\"SchedulingGated\",\"message\":"
                          "\"Scheduling is blocked due to non-empty scheduling gates\"}]"));
    } else if (w->kind == WRITE_STATUS && w->old) {
        const cJSON *qos = json_path(w->old, "status.qosClass"); /* of the server, for ever */
        if (qos && !json_path(w->tree, "status.qosClass"))
            json_set_at(w->tree, "status.qosClass", cJSON_Duplicate(qos, true));
    }
}

/* A pod with nothing but its spec, without what may change. */
static cJSON *fixed_part(const cJSON *spec, bool gated)
{
    static const char *const lists[] = {"containers", "initContainers"};
    static const char *const free_fields[] = {
        "activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"};
    cJSON *copy = cJSON_Duplicate(spec, true), *container;
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        cJSON_ArrayForEach(container, json_get(copy, lists[i])) json_remove(container, "image");
    }
    for (size_t i = 0; i < ARRAY_COUNT(free_fields); i++)
        json_remove(copy, free_fields[i]);
    if (gated) { /* a gated pod's node selection may still be narrowed */
        json_remove(copy, "nodeSelector");
        json_remove(copy, "affinity");
    }
    cJSON *pod = cJSON_CreateObject();
    json_set(pod, "spec", copy);
    return pod;
}

static bool only_added(const cJSON *old_list, const cJSON *new_list)
{
    const cJSON *before, *now;
    cJSON_ArrayForEach(before, old_list)
    {
        bool found = false;
        cJSON_ArrayForEach(now, new_list) found = found || json_equal(before, now);
        if (!found)
            return false;
    }
    return true;
}

static bool may_update(const struct write_context *w)
{
    const cJSON *old = json_get(w->old, "spec"), *now = json_get(w->tree, "spec");
    const char *grace = "terminationGracePeriodSeconds";
    bool gated = cJSON_GetArraySize(json_get(old, "schedulingGates")) > 0;
    autojson cJSON *old_fixed = fixed_part(old, gated);
    autojson cJSON *new_fixed = fixed_part(now, gated);
    bool grace_ok = json_int64_at(old, grace, 30) == json_int64_at(now, grace, 30) ||
                    (json_int64_at(old, grace, 30) < 0 && json_int64_at(now, grace, 30) == 1);
    return schema_equal(w->resource->schema, old_fixed, new_fixed) && grace_ok &&
           only_added(json_get(old, "tolerations"), json_get(now, "tolerations")) &&
           only_added(json_get(now, "schedulingGates"), json_get(old, "schedulingGates"));
}

static void pod_validate(const struct write_context *w, struct field_errors *errors)
{
    int64_t old_deadline, new_deadline;
    if (w->kind == WRITE_CREATE &&
        cJSON_GetArraySize(json_path(w->tree, "spec.ephemeralContainers")) > 0)
        field_error_add(
            errors, FIELD_FORBIDDEN, "spec.ephemeralContainers", NULL, "cannot be set on create");
    if (w->kind == WRITE_SUBRESOURCE)
        pod_parts_validate(w, errors);
    if (w->kind != WRITE_UPDATE)
        return;
    if (!may_update(w))
        field_error_add(errors, FIELD_FORBIDDEN, "spec", NULL,
            "pod updates may not change fields other than "
            "`spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
            "tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
            "negative)");
    bool had = json_int64(json_path(w->old, "spec.activeDeadlineSeconds"), &old_deadline);
    bool has = json_int64(json_path(w->tree, "spec.activeDeadlineSeconds"), &new_deadline);
    if (had && (!has || new_deadline > old_deadline))
        field_error_add(errors, FIELD_INVALID, "spec.activeDeadlineSeconds", has ? "" : "null",
            "must be less than or equal to previous value");
}

static int64_t pod_grace_seconds(const struct write_context *w, int64_t asked)
{
    const char *phase = json_string_at(w->old, "status.phase");
    const char *node = json_string_at(w->old, "spec.nodeName");
    int64_t grace =
        asked >= 0 ? asked : json_int64_at(w->old, "spec.terminationGracePeriodSeconds", 30);
    if (!node || !*node || c_eq(phase, "Succeeded") || c_eq(phase, "Failed"))
        return 0;
    return grace < 0 ? 1 : grace;
}

/* --- binding --- */

static int check_binding(
    const struct write_context *w, const cJSON *binding, const char *name, struct error *err)
{
    const char *uid = json_string_at(binding, "metadata.uid"),
               *own = json_string_at(w->old, "metadata.uid");
    const char *node = json_string_at(w->old, "spec.nodeName");
    if (!w->old)
        return error_set(err, ERR_NOT_FOUND, "pods \"%s\" not found", name);
    if (uid && *uid && !c_eq(uid, own))
        return error_set(err, ERR_CONFLICT,
            "Operation cannot be fulfilled on pods/binding \"%s\": the UID in the bound object "
            "reference (%s) does not "
            "match the UID in record. The object might have been deleted and then recreated",
            name, uid);
    if (json_path(w->old, "metadata.deletionTimestamp"))
        return error_set(err, ERR_CONFLICT,
            "Operation cannot be fulfilled on pods/binding \"%s\": pod %s is being deleted, cannot "
            "be assigned to a host",
            name, name);
    if (node && *node)
        return error_set(err, ERR_CONFLICT,
            "Operation cannot be fulfilled on pods/binding \"%s\": pod %s is already assigned to "
            "node \"%s\"",
            name, name, node);
    if (cJSON_GetArraySize(json_path(w->old, "spec.schedulingGates")) > 0)
        return error_set(err, ERR_CONFLICT,
            "Operation cannot be fulfilled on pods/binding \"%s\": pod %s has non-empty "
            ".spec.schedulingGates",
            name, name);
    return 0;
}

static void set_scheduled(struct write_context *w)
{
    char now[TIME_TEXT_BYTES];
    cJSON *conditions = json_path(w->tree, "status.conditions"), *item;
    autojson cJSON *fresh =
        json_make("{\"type\":\"PodScheduled\",\"status\":\"True\",\"lastProbeTime\":null,"
                  "\"lastTransitionTime\":\"%s\"}",
            time_print_s(w->now_ns, now));
    json_set(fresh, "observedGeneration",
        json_new_int64(json_int64_at(w->tree, "metadata.generation", 0)));
    if (!conditions)
        json_set_at(w->tree, "status.conditions", conditions = cJSON_CreateArray());
    int index = 0;
    cJSON_ArrayForEach(item, conditions)
    {
        if (c_eq(json_string(item, "type"), "PodScheduled")) {
            cJSON_ReplaceItemInArray(conditions, index, cJSON_Duplicate(fresh, true));
            return;
        }
        index++;
    }
    cJSON_AddItemToArray(conditions, cJSON_Duplicate(fresh, true));
}

static void merge_map(struct write_context *w, const cJSON *from, const char *member)
{
    cJSON *metadata = json_get(w->tree, "metadata");
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(json_get(from, "metadata"), member))
    {
        if (!json_get(metadata, member))
            json_set(metadata, member, cJSON_CreateObject());
        json_set(json_get(metadata, member), item->string, cJSON_Duplicate(item, true));
    }
}

static int bind(struct write_context *w, void *arg, struct error *err)
{
    const struct object_write *o = arg;
    if (check_binding(w, o->body, o->name, err) < 0)
        return -err->code;
    json_set_string_at(w->tree, "spec.nodeName", json_string_at(o->body, "target.name"));
    merge_map(w, o->body, "annotations");
    merge_map(w, o->body, "labels");
    set_scheduled(w);
    return 0;
}

enum stage_result pod_binding_run(struct request *q)
{
    struct object_write *o = q->write;
    const char *kind = json_string_at(o->body, "target.kind"),
               *node = json_string_at(o->body, "target.name");
    struct field_errors *errors = field_errors_new(q->arena);
    static const char *const kinds[] = {"Node", "<empty>", NULL};
    const char *name = json_string_at(o->body, "metadata.name");
    if (*q->name && name && *name && !c_eq(name, q->name))
        return request_fail(
            q, ERR_BAD_REQUEST, "name in URL does not match name in Binding object");
    if (kind && *kind && !c_eq(kind, "Node"))
        field_error_not_supported(errors, "target.kind", kind, kinds);
    if (!node || !*node)
        field_error_add(errors, FIELD_REQUIRED, "target.name", NULL, "%s", "");
    if (field_errors_count(errors))
        return request_fail_fields(
            q, errors, api_find_plural(q->server->api, "", "bindings"), o->name);
    o->kind = WRITE_SUBRESOURCE;
    o->resource = api_find_plural(q->server->api, "", "pods");
    o->change = bind;
    o->change_arg = o;
    o->fresh_tree = false;
    o->reply = reply_success;
    return STAGE_DONE;
}

static const struct subresource_handler subresources[] = {
    {"binding", pod_binding_run},
    {"ephemeralcontainers", pod_ephemeral_containers_run},
    {"eviction", pod_eviction_run},
    {"resize", pod_resize_run},
};

const struct strategy strategy_pod = {
    .group = "",
    .plural = "pods",
    .prepare = pod_prepare,
    .validate = pod_validate,
    .grace_seconds = pod_grace_seconds,
    .subresources = subresources,
    .subresource_count = ARRAY_COUNT(subresources),
};

/* POST .../bindings: the old way to say the same; the pod's name is the Binding's. */
static enum stage_result binding_answer(struct request *q)
{
    const char *name = json_string_at(q->write->body, "metadata.name");
    if (!name || !*name)
        return request_fail(q, ERR_BAD_REQUEST, "name is required in the Binding's metadata");
    q->write->name = name;
    return pod_binding_run(q);
}

const struct strategy strategy_binding = {
    .group = "",
    .plural = "bindings",
    .answer = binding_answer,
};
