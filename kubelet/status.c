/*
 * A pod's status as a whole: phase, conditions, addresses; see status.h. Container statuses:
 * status_container.c, patches: status_patch.c.
 */
#include "kubelet/status.h"

#include "common/time.h"
#include "kubelet/status_container.h"

struct tally {
    int init_pending, init_failed, sidecars_pending;
    int waiting, running, stopped, succeeded, unknown;
};

struct container_info *newest_instance(const struct container_list *list, const char *name,
    const char *sandbox_id, struct container_info **ret_before)
{
    struct container_info *newest = NULL, *before = NULL;

    for (size_t i = 0; i < list->count; i++) {
        struct container_info *info = list->items[i];

        if (!c_eq(info->container, name) || (sandbox_id && !c_eq(info->sandbox_id, sandbox_id)))
            continue;
        if (!newest || info->attempt > newest->attempt) {
            before = newest;
            newest = info;
        } else if (!before || info->attempt > before->attempt) {
            before = info;
        }
    }
    if (ret_before)
        *ret_before = before;
    return newest;
}

const char *status_terminal_phase(const cJSON *status)
{
    const char *phase = json_string(status, "phase");

    return c_eq(phase, "Failed") || c_eq(phase, "Succeeded") ? phase : NULL;
}

bool container_should_run(
    const cJSON *spec, const cJSON *container, bool is_init, const struct container_info *newest)
{
    const char *policy = pod_restart_policy(spec);

    if (!newest || newest->state == CONTAINER_CREATED)
        return true;
    if (newest->state == CONTAINER_RUNNING || container_is_ephemeral(spec, container))
        return false;
    if (is_init && container_is_sidecar(container))
        return true;
    if (is_init)
        return newest->exit_code != 0 && !c_eq(policy, "Never");
    return c_eq(policy, "Always") || (c_eq(policy, "OnFailure") && newest->exit_code != 0);
}

bool pod_has_ended(const cJSON *spec, const struct container_list *list, const char **ret_phase)
{
    const cJSON *container;
    bool failed = false;

    cJSON_ArrayForEach(container, json_get(spec, "initContainers"))
    {
        struct container_info *newest =
            newest_instance(list, json_string(container, "name"), NULL, NULL);

        if (container_is_sidecar(container) || !newest || newest->state != CONTAINER_EXITED)
            continue;
        if (newest->exit_code != 0 && c_eq(pod_restart_policy(spec), "Never")) {
            *ret_phase = "Failed";
            return true;
        }
    }
    cJSON_ArrayForEach(container, json_get(spec, "containers"))
    {
        struct container_info *newest =
            newest_instance(list, json_string(container, "name"), NULL, NULL);

        if (!newest || newest->state != CONTAINER_EXITED ||
            container_should_run(spec, container, false, newest))
            return false;
        failed = failed || newest->exit_code != 0;
    }
    *ret_phase = failed ? "Failed" : "Succeeded";
    return true;
}

static const cJSON *status_of(const cJSON *statuses, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, statuses)
    {
        if (c_eq(json_string(item, "name"), name))
            return item;
    }
    return NULL;
}

static void count_init(const cJSON *container, const cJSON *status, struct tally *t)
{
    const cJSON *state = json_get(status, "state"), *ended = json_get(state, "terminated");
    const cJSON *last = json_path(status, "lastState.terminated");

    if (container_is_sidecar(container)) {
        if (json_get(state, "running"))
            t->sidecars_pending += !json_bool(status, "started", false);
        else if (!ended && !last)
            t->init_pending++;
        return;
    }
    if (ended)
        t->init_failed += json_int64_at(ended, "exitCode", 0) != 0;
    else if (json_get(state, "waiting") && last)
        t->init_failed += json_int64_at(last, "exitCode", 0) != 0;
    else
        t->init_pending++;
}

static void count_main(const cJSON *status, struct tally *t)
{
    const cJSON *state = json_get(status, "state"), *ended = json_get(state, "terminated");

    if (json_get(state, "running")) {
        t->running++;
    } else if (ended) {
        t->stopped++;
        t->succeeded += json_int64_at(ended, "exitCode", 0) == 0;
    } else if (json_get(state, "waiting")) {
        if (json_path(status, "lastState.terminated"))
            t->stopped++;
        else
            t->waiting++;
    } else {
        t->unknown++;
    }
}

static const char *phase_of(
    const struct status_input *in, const cJSON *init_statuses, const cJSON *statuses)
{
    const char *policy = pod_restart_policy(in->spec);
    const cJSON *container;
    struct tally t = {0};

    cJSON_ArrayForEach(container, json_get(in->spec, "initContainers"))
        count_init(container, status_of(init_statuses, json_string(container, "name")), &t);
    cJSON_ArrayForEach(container, json_get(in->spec, "containers"))
        count_main(status_of(statuses, json_string(container, "name")), &t);
    if (t.init_failed > 0 && c_eq(policy, "Never"))
        return "Failed";
    if (t.init_pending > 0 || (t.sidecars_pending > 0 && t.running == 0 && t.stopped == 0))
        return "Pending";
    if (t.waiting > 0)
        return "Pending";
    if (t.running > 0 && t.unknown == 0)
        return "Running";
    if (t.stopped > 0 && t.unknown == 0) {
        if (in->will_not_restart && in->stopped)
            return t.stopped == t.succeeded ? "Succeeded" : "Failed";
        if (c_eq(policy, "Always"))
            return "Running";
        if (t.stopped == t.succeeded)
            return "Succeeded";
        return c_eq(policy, "Never") ? "Failed" : "Running";
    }
    return "Pending";
}

static void put_condition(const struct status_input *in, cJSON *list, const char *type,
    const char *status, const char *reason, const char *message)
{
    cJSON *item = cJSON_CreateObject();
    const cJSON *old, *same = NULL;
    char now[TIME_TEXT_BYTES];

    cJSON_ArrayForEach(old, json_get(in->old_status, "conditions"))
    {
        if (c_eq(json_string(old, "type"), type) && c_eq(json_string(old, "status"), status))
            same = old;
    }
    const char *since = same ? json_string(same, "lastTransitionTime") : NULL;
    json_set_string(item, "type", type);
    json_set_string(item, "status", status);
    if (in->pod->meta.generation > 0)
        json_set(item, "observedGeneration", json_new_int64(in->pod->meta.generation));
    json_set(item, "lastProbeTime", cJSON_CreateNull());
    json_set_string(item, "lastTransitionTime", since ? since : time_print_s(in->now_ns, now));
    if (reason)
        json_set_string(item, "reason", reason);
    if (message && message[0])
        json_set_string(item, "message", message);
    cJSON_AddItemToArray(list, item);
}

/* " a b" of the containers that are not ready, or not initialized. */
static void list_unready(
    const cJSON *containers, const cJSON *statuses, bool init, struct strbuf *out)
{
    const cJSON *container;

    cJSON_ArrayForEach(container, containers)
    {
        const char *name = json_string(container, "name");
        const cJSON *status = status_of(statuses, name);
        bool fine = json_bool(status, "ready", false);

        if (init && container_is_sidecar(container))
            fine = json_bool(status, "started", false);
        if (!fine)
            strbuf_addf(out, "%s%s", out->n ? " " : "", name);
    }
}

static void add_initialized(const struct status_input *in, const char *phase,
    const cJSON *init_statuses, const cJSON *statuses, cJSON *conditions)
{
    autostrbuf struct strbuf names = STRBUF_EMPTY;
    const cJSON *status;
    bool begun = false;

    strbuf_init(&names, 0);
    list_unready(json_get(in->spec, "initContainers"), init_statuses, true, &names);
    cJSON_ArrayForEach(status, statuses) begun = begun || json_string(status, "containerID");
    if (c_eq(phase, "Succeeded")) {
        put_condition(in, conditions, "Initialized", "True", "PodCompleted", NULL);
    } else if (names.n == 0 || begun) {
        put_condition(in, conditions, "Initialized", "True", NULL, NULL);
    } else {
        autofree char *message = str_format("containers with incomplete status: [%s]", names.data);
        put_condition(in, conditions, "Initialized", "False", "ContainersNotInitialized", message);
    }
}

static bool gates_are_open(const struct status_input *in, struct strbuf *why_not)
{
    const cJSON *gate, *condition;

    cJSON_ArrayForEach(gate, json_get(in->spec, "readinessGates"))
    {
        const char *type = json_string(gate, "conditionType"), *status = NULL;

        cJSON_ArrayForEach(condition, json_get(in->old_status, "conditions"))
        {
            if (c_eq(json_string(condition, "type"), type))
                status = json_string(condition, "status");
        }
        if (c_eq(status, "True"))
            continue;
        strbuf_addf(why_not, "%s", why_not->n ? ", " : "");
        if (status)
            strbuf_addf(why_not, "the status of pod readiness gate \"%s\" is not \"True\", but %s",
                type, status);
        else
            strbuf_addf(why_not,
                "corresponding condition of pod readiness gate \"%s\" does not exist.", type);
    }
    return why_not->n == 0;
}

static void add_ready(const struct status_input *in, const char *phase, const cJSON *init_statuses,
    const cJSON *statuses, cJSON *conditions)
{
    autostrbuf struct strbuf names = STRBUF_EMPTY, gates = STRBUF_EMPTY;
    const cJSON *container;
    bool ready = false;

    strbuf_init(&names, 0);
    strbuf_init(&gates, 0);
    cJSON_ArrayForEach(container, json_get(in->spec, "initContainers"))
    {
        const char *name = json_string(container, "name");
        if (container_is_sidecar(container) &&
            !json_bool(status_of(init_statuses, name), "ready", false))
            strbuf_addf(&names, "%s%s", names.n ? " " : "", name);
    }
    list_unready(json_get(in->spec, "containers"), statuses, false, &names);
    if (c_eq(phase, "Succeeded") || c_eq(phase, "Failed")) {
        const char *reason = c_eq(phase, "Failed") ? "PodFailed" : "PodCompleted";
        put_condition(in, conditions, "Ready", "False", reason, NULL);
        put_condition(in, conditions, "ContainersReady", "False", reason, NULL);
        return;
    }
    ready = names.n == 0;
    autofree char *message =
        ready ? NULL : str_format("containers with unready status: [%s]", names.data);
    if (!ready)
        put_condition(in, conditions, "Ready", "False", "ContainersNotReady", message);
    else if (!gates_are_open(in, &gates))
        put_condition(in, conditions, "Ready", "False", "ReadinessGatesNotReady", gates.data);
    else
        put_condition(in, conditions, "Ready", "True", NULL, NULL);
    put_condition(in, conditions, "ContainersReady", ready ? "True" : "False",
        ready ? NULL : "ContainersNotReady", message);
}

static void add_addresses(const struct status_input *in, cJSON *status)
{
    const char *ip = in->pod_ip, *other = in->pod_ip_other;

    if (in->host_ip && in->host_ip[0]) {
        cJSON *list = cJSON_CreateArray();
        json_set_string(status, "hostIP", in->host_ip);
        cJSON_AddItemToArray(list, json_make("{\"ip\":\"%s\"}", in->host_ip));
        json_set(status, "hostIPs", list);
    }
    if (ip && ip[0]) {
        cJSON *list = cJSON_CreateArray();
        json_set_string(status, "podIP", ip);
        cJSON_AddItemToArray(list, json_make("{\"ip\":\"%s\"}", ip));
        if (other && other[0])
            cJSON_AddItemToArray(list, json_make("{\"ip\":\"%s\"}", other));
        json_set(status, "podIPs", list);
        return;
    }
    /* Once known, an address stays, also when the pod has ended. */
    const char *old = json_string(in->old_status, "podIP");
    if (old && old[0]) {
        json_set_string(status, "podIP", old);
        json_set(status, "podIPs", cJSON_Duplicate(json_get(in->old_status, "podIPs"), true));
    }
}

/* There only while a container has not got what its spec asks for. */
static void add_resize(const struct status_input *in, cJSON *conditions)
{
    const struct container_hint *pending = NULL, *failed = NULL;

    for (size_t i = 0; i < in->hint_count && !in->will_not_restart; i++) {
        const struct container_hint *h = &in->hints[i];
        if (h->resize_pending && (!pending || c_eq(h->resize_pending, "Infeasible")))
            pending = h;
        if (h->resize_failed)
            failed = h;
    }
    if (pending)
        put_condition(in, conditions, "PodResizePending", "True", pending->resize_pending,
            pending->resize_message);
    if (failed)
        put_condition(
            in, conditions, "PodResizeInProgress", "True", "Error", failed->resize_message);
}

cJSON *status_compute(const struct status_input *in)
{
    cJSON *status = cJSON_CreateObject(), *conditions = cJSON_CreateArray();
    cJSON *init_statuses = container_statuses(in, true), *statuses = container_statuses(in, false);

    if (in->rejected) {
        cJSON_Delete(init_statuses);
        cJSON_Delete(statuses);
        init_statuses = cJSON_CreateArray();
        statuses = cJSON_CreateArray();
    }
    const char *phase = phase_of(in, init_statuses, statuses),
               *old_phase = status_terminal_phase(in->old_status);
    const char *start = json_string(in->old_status, "startTime"),
               *qos = json_string(in->old_status, "qosClass");
    char now[TIME_TEXT_BYTES];

    if (in->fail_reason)
        phase = "Failed";
    if (old_phase)
        phase = old_phase; /* an ended pod never comes back */
    if (in->pod->meta.generation > 0)
        json_set(status, "observedGeneration", json_new_int64(in->pod->meta.generation));
    json_set_string(status, "phase", phase);
    put_condition(in, conditions, "PodReadyToStartContainers", in->sandbox_ready ? "True" : "False",
        NULL, NULL);
    add_initialized(in, phase, init_statuses, statuses, conditions);
    add_ready(in, phase, init_statuses, statuses, conditions);
    put_condition(in, conditions, "PodScheduled", "True", NULL, NULL);
    add_resize(in, conditions);
    json_set(status, "conditions", conditions);
    const char *reason = in->fail_reason, *message = in->fail_message;
    if (!reason && old_phase) {
        reason = json_string(in->old_status, "reason");
        message = json_string(in->old_status, "message");
    }
    if (reason)
        json_set_string(status, "reason", reason);
    if (message)
        json_set_string(status, "message", message);
    add_addresses(in, status);
    json_set_string(status, "startTime", start ? start : time_print_s(in->now_ns, now));
    if (cJSON_GetArraySize(init_statuses) > 0)
        json_set(status, "initContainerStatuses", init_statuses);
    else
        cJSON_Delete(init_statuses);
    if (cJSON_GetArraySize(statuses) > 0)
        json_set(status, "containerStatuses", statuses);
    else
        cJSON_Delete(statuses);
    if (cJSON_GetArraySize(json_get(in->spec, "ephemeralContainers")) > 0)
        json_set(status, "ephemeralContainerStatuses", ephemeral_statuses(in));
    json_set_string(status, "qosClass", qos && qos[0] ? qos : pod_qos(in->spec));
    return status;
}
