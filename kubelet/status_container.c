/*
 * The status of each container: state, lastState, restartCount, ids; see status.h.
 *
 * State moves Waiting - Running - Terminated. A container that ended and will run again shows the
 * reason it waits (CrashLoopBackOff) with its end in lastState. What the runtime has forgotten is
 * kept from the previous status.
 */
#include "kubelet/status_container.h"

#include "common/time.h"

static const cJSON *named(const cJSON *statuses, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, statuses)
    {
        if (c_eq(json_string(item, "name"), name))
            return item;
    }
    return NULL;
}

static const cJSON *old_status_of(const struct status_input *in, bool init, const char *name)
{
    const char *list = init ? "initContainerStatuses" : "containerStatuses";
    const cJSON *found = named(json_get(in->old_status, list), name);

    return found ? found : named(json_get(in->old_status, "ephemeralContainerStatuses"), name);
}

static const struct container_hint *hint_of(const struct status_input *in, const char *name)
{
    for (size_t i = 0; i < in->hint_count; i++)
        if (c_eq(in->hints[i].name, name))
            return &in->hints[i];
    return NULL;
}

static void set_time(cJSON *object, const char *name, int64_t ns)
{
    char text[TIME_TEXT_BYTES];

    if (ns > 0)
        json_set_string(object, name, time_print_s(ns, text));
    else
        json_set(object, name, cJSON_CreateNull());
}

static void set_container_id(cJSON *object, const struct container_info *info)
{
    autofree char *id = str_format("docker://%s", info->id);

    json_set_string(object, "containerID", id);
}

/* Started, but not really: Docker could not run its command. */
static bool could_not_run(const struct container_info *info)
{
    return info->state == CONTAINER_EXITED && info->error && info->started_ns == info->created_ns;
}

static cJSON *terminated(
    const struct status_input *in, const cJSON *container, const struct container_info *info)
{
    cJSON *state = cJSON_CreateObject();
    const char *reason = info->oom_killed       ? "OOMKilled"
                         : could_not_run(info)  ? "ContainerCannotRun"
                         : info->exit_code == 0 ? "Completed"
                                                : "Error";
    autofree char *message =
        in->termination_message ? in->termination_message(in->arg, container, info) : NULL;

    json_set(state, "exitCode", json_new_int64(info->exit_code));
    json_set_string(state, "reason", reason);
    if (message && message[0])
        json_set_string(state, "message", message);
    else if (info->error)
        json_set_string(state, "message", info->error);
    set_time(state, "startedAt", info->started_ns);
    set_time(state, "finishedAt", info->finished_ns);
    set_container_id(state, info);
    return state;
}

/* {"running": {...}} and the like; NULL for an instance that says nothing yet (created, not
 * started). */
static cJSON *state_of(
    const struct status_input *in, const cJSON *container, const struct container_info *info)
{
    cJSON *state = cJSON_CreateObject();

    if (info->state == CONTAINER_RUNNING) {
        cJSON *running = cJSON_CreateObject();
        set_time(running, "startedAt", info->started_ns);
        json_set(state, "running", running);
    } else if (info->state == CONTAINER_EXITED) {
        json_set(state, "terminated", terminated(in, container, info));
    } else {
        cJSON_Delete(state);
        return NULL;
    }
    return state;
}

static cJSON *waiting(const char *reason, const char *message)
{
    cJSON *state = json_make("{\"waiting\":{}}");

    json_set_string_at(state, "waiting.reason", reason);
    if (message && message[0])
        json_set_string_at(state, "waiting.message", message);
    return state;
}

/* A container that ran by the previous status and of which nothing is left: gone behind our back.
 */
static cJSON *lost(const cJSON *old)
{
    cJSON *state = json_make(
        "{\"terminated\":{\"exitCode\":137,\"reason\":\"ContainerStatusUnknown\","
        "\"message\":\"The container could not be located when the pod was terminated\"}}");
    const char *id = json_string(old, "containerID");

    json_set_at(state, "terminated.startedAt", cJSON_CreateNull());
    json_set_at(state, "terminated.finishedAt", cJSON_CreateNull());
    if (id)
        json_set_string_at(state, "terminated.containerID", id);
    return state;
}

static bool is_initialized(const struct status_input *in)
{
    const cJSON *container;

    cJSON_ArrayForEach(container, json_get(in->spec, "initContainers"))
    {
        struct container_info *newest =
            newest_instance(in->containers, json_string(container, "name"), NULL, NULL);
        const struct container_hint *hint = hint_of(in, json_string(container, "name"));
        if (!newest)
            return false;
        if (container_is_sidecar(container)
                ? !(newest->state == CONTAINER_RUNNING && hint && hint->started)
                : !(newest->state == CONTAINER_EXITED && newest->exit_code == 0))
            return false;
    }
    return true;
}

/* Of a pod that is over no container waits any more: it has ended, one way or another. */
static void settle(cJSON *status)
{
    cJSON *last = json_path(status, "lastState.terminated");

    if (!json_path(status, "state.waiting"))
        return;
    if (last) {
        cJSON *state = cJSON_CreateObject();
        json_set(state, "terminated", cJSON_Duplicate(last, true));
        json_set(status, "state", state);
        json_set(status, "lastState", cJSON_CreateObject());
    } else {
        json_set(status, "state", lost(status));
    }
}

/* Nothing in the runtime: what it will be, or what it was. */
static void fill_absent(const struct status_input *in, cJSON *status, const cJSON *old,
    const struct container_hint *hint, bool init)
{
    const cJSON *old_state = json_get(old, "state");
    const char *old_id = json_string(old, "containerID");
    bool has_init = cJSON_GetArraySize(json_get(in->spec, "initContainers")) > 0;
    cJSON *state, *last = NULL;

    if (json_get(old_state, "terminated")) {
        state = cJSON_Duplicate(old_state, true);
    } else if (json_get(old_state, "running")) {
        state = lost(old);
    } else {
        const char *reason = init                              ? "PodInitializing"
                             : has_init && !is_initialized(in) ? "PodInitializing"
                                                               : "ContainerCreating";
        state = waiting(reason, NULL);
    }
    if (hint && hint->waiting_reason && !in->will_not_restart) {
        if (json_get(state, "terminated"))
            last = state;
        else
            cJSON_Delete(state);
        state = waiting(hint->waiting_reason, hint->waiting_message);
    }
    if (!last)
        last = cJSON_Duplicate(json_get(old, "lastState"), true);
    json_set(status, "state", state);
    json_set(status, "lastState", last ? last : cJSON_CreateObject());
    json_set_string(
        status, "imageID", json_string(old, "imageID") ? json_string(old, "imageID") : "");
    if (old_id)
        json_set_string(status, "containerID", old_id);
}

static void fill_present(const struct status_input *in, cJSON *status, const cJSON *container,
    const cJSON *old, const struct container_hint *hint, bool init,
    const struct container_info *newest, const struct container_info *before)
{
    cJSON *state = state_of(in, container, newest),
          *last = before ? state_of(in, container, before) : NULL;

    if (!state) {
        state = last && json_get(last, "terminated") ? steal(&last)
                                                     : waiting("ContainerCreating", NULL);
        if (json_get(state, "waiting") && before)
            last = state_of(in, container, before);
    }
    if (json_get(state, "terminated") && hint && hint->waiting_reason && !in->will_not_restart &&
        container_should_run(in->spec, container, init, newest)) {
        cJSON_Delete(last);
        last = state;
        state = waiting(hint->waiting_reason, hint->waiting_message);
    }
    if (last && !json_get(last, "terminated")) {
        cJSON_Delete(last);
        last = NULL;
    }
    if (!last && json_path(old, "lastState.terminated"))
        last = cJSON_Duplicate(json_get(old, "lastState"), true);
    json_set(status, "state", state);
    json_set(status, "lastState", last ? last : cJSON_CreateObject());
    autofree char *image_id = newest->image_digest
                                  ? str_format("docker-pullable://%s", newest->image_digest)
                              : newest->image_id ? str_format("docker://%s", newest->image_id)
                                                 : xstrdup("");
    json_set_string(status, "imageID", image_id);
    set_container_id(status, newest);
}

/* What a running container has been given: what its spec asks for, or what it had before. */
static void set_resources(
    cJSON *status, const cJSON *container, const cJSON *old, bool is_refused, bool is_failed)
{
    const cJSON *requests = json_path(container, "resources.requests"),
                *resources = json_get(container, "resources"), *had = json_get(old, "resources"),
                *allocated = json_get(old, "allocatedResources");

    if (is_refused && had)
        requests = allocated;
    if ((is_refused || is_failed) && had)
        resources = had;
    cJSON *shown = resources ? cJSON_Duplicate(resources, true) : cJSON_CreateObject();
    json_remove(shown, "claims");
    json_set(status, "resources", shown);
    if (cJSON_GetArraySize(requests) > 0)
        json_set(status, "allocatedResources", cJSON_Duplicate(requests, true));
}

static cJSON *one_status(const struct status_input *in, const cJSON *container, bool init)
{
    const char *name = json_string(container, "name"), *image = json_string(container, "image");
    const cJSON *old = old_status_of(in, init, name);
    const struct container_hint *hint = hint_of(in, name);
    struct container_info *before = NULL,
                          *newest = newest_instance(in->containers, name, NULL, &before);
    cJSON *status = cJSON_CreateObject();
    int64_t restarts = json_int64_at(old, "restartCount", 0);
    bool running = newest && newest->state == CONTAINER_RUNNING;

    json_set_string(status, "name", name);
    json_set_string(status, "image", newest && newest->image ? newest->image : image ? image : "");
    if (newest && newest->attempt > restarts)
        restarts = newest->attempt;
    json_set(status, "restartCount", json_new_int64(restarts));
    if (newest)
        fill_present(in, status, container, old, hint, init, newest, before);
    else
        fill_absent(in, status, old, hint, init);
    if (in->will_not_restart && in->stopped && !init)
        settle(status);
    bool ready = running && hint && hint->ready;
    if (init && !container_is_sidecar(container))
        ready = newest && newest->state == CONTAINER_EXITED && newest->exit_code == 0;
    if (!newest && init && !container_is_sidecar(container))
        ready = json_int64_at(status, "state.terminated.exitCode", -1) == 0;
    json_set(status, "ready", cJSON_CreateBool(ready));
    json_set(status, "started", cJSON_CreateBool(running && hint && hint->started));
    if (running)
        set_resources(
            status, container, old, hint && hint->resize_pending, hint && hint->resize_failed);
    return status;
}

/* Nobody waits for them: never ready. */
cJSON *ephemeral_statuses(const struct status_input *in)
{
    const cJSON *container;
    cJSON *list = cJSON_CreateArray();

    cJSON_ArrayForEach(container, json_get(in->spec, "ephemeralContainers"))
    {
        if (!json_string(container, "name"))
            continue;
        cJSON *status = one_status(in, container, false);
        json_set(status, "ready", cJSON_CreateFalse());
        json_remove(status, "started");
        json_remove(status, "resources");
        cJSON_AddItemToArray(list, status);
    }
    return list;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(json_string(*(cJSON *const *)a, "name"), json_string(*(cJSON *const *)b, "name"));
}

cJSON *container_statuses(const struct status_input *in, bool init)
{
    const cJSON *containers = json_get(in->spec, init ? "initContainers" : "containers"),
                *container;
    cJSON *list = cJSON_CreateArray();
    int n = cJSON_GetArraySize(containers);

    if (n == 0)
        return list;
    cJSON **items = xcalloc((size_t)n, sizeof(*items));
    n = 0;
    cJSON_ArrayForEach(container, containers)
    {
        if (json_string(container, "name"))
            items[n++] = one_status(in, container, init);
    }
    if (!init)
        qsort(items, (size_t)n, sizeof(*items), by_name);
    for (int i = 0; i < n; i++)
        cJSON_AddItemToArray(list, items[i]);
    free(items);
    return list;
}
