/*
 * The containers of a pod whose sandbox is up: those added for debugging, once; init containers one
 * after the other, sidecars kept running, then all main containers at once.
 *
 * Whether a container is to run follows from its newest instance alone (status.h,
 * container_should_run), so a kubelet that died remembers as much as one that did not. The number
 * of an instance is its restart count.
 *
 * Upstream: kuberuntime_manager.go computePodActions, doBackOff; kuberuntime_container.go
 * startContainer.
 */
#include "kubelet/sync.h"

#include "common/log.h"
#include "common/time.h"

#define BACKOFF_MIN_NS (10 * NS_PER_S)
#define BACKOFF_MAX_NS (300 * NS_PER_S)
/* A container whose configuration is wrong is tried again this often. */
#define CONFIG_RETRY_NS (5 * NS_PER_S)

/* What became of looking after one container. */
enum outcome { RUNS, WAITS, ENDED_WELL, ENDED_BADLY };

static const cJSON *old_container_status(struct sync *s, const char *name, bool init)
{
    const cJSON *item;

    cJSON_ArrayForEach(
        item, json_get(s->status, init ? "initContainerStatuses" : "containerStatuses"))
    {
        if (c_eq(json_string(item, "name"), name))
            return item;
    }
    return NULL;
}

/* A container of which the runtime knows nothing any more, but the API that it ended for good. */
static bool ended_before(struct sync *s, const char *name, int64_t *ret_exit_code)
{
    const cJSON *ended = json_path(old_container_status(s, name, false), "state.terminated");
    const char *policy = pod_restart_policy(s->spec);

    if (!ended || c_eq(policy, "Always"))
        return false;
    *ret_exit_code = json_int64_at(ended, "exitCode", 1);
    return c_eq(policy, "Never") || *ret_exit_code == 0;
}

static int64_t next_attempt(
    struct sync *s, const char *name, bool init, const struct container_info *newest)
{
    const cJSON *old = old_container_status(s, name, init);
    int64_t attempt = newest ? newest->attempt + 1 : 0;

    if (json_string(old, "containerID") && json_int64_at(old, "restartCount", 0) + 1 > attempt)
        attempt = json_int64_at(old, "restartCount", 0) + 1;
    return attempt;
}

/* True while the container has to wait before it is started again. */
static bool backs_off(
    struct sync *s, struct container_record *c, const struct container_info *ended)
{
    int64_t end = ended->finished_ns;

    if (c->backoff_ns > 0 && end - c->backoff_updated_ns > 2 * BACKOFF_MAX_NS)
        c->backoff_ns = 0; /* it ran well for long enough */
    int64_t left = c->backoff_ns > 0 ? end + c->backoff_ns - s->wall_ns : 0;
    if (left > c->backoff_ns)
        left = c->backoff_ns; /* the clock was set back */
    if (left > 0) {
        autofree char *message =
            str_format("back-off %llds restarting failed container=%s pod=%s_%s(%s)",
                (long long)(c->backoff_ns / NS_PER_S), c->name, s->record->name,
                s->record->namespace_, s->record->uid);
        container_waiting(c, "CrashLoopBackOff", message);
        if (!c->backoff_told)
            pod_event(s->record, s->spec, c->name, EVENT_WARNING, "BackOff",
                "Back-off restarting failed container %s in pod %s_%s(%s)", c->name,
                s->record->name, s->record->namespace_, s->record->uid);
        c->backoff_told = true;
        sync_again(s, left);
        return true;
    }
    c->backoff_ns = c->backoff_ns == 0 ? BACKOFF_MIN_NS : c->backoff_ns * 2;
    if (c->backoff_ns > BACKOFF_MAX_NS)
        c->backoff_ns = BACKOFF_MAX_NS;
    c->backoff_updated_ns = s->wall_ns;
    c->backoff_told = false;
    return false;
}

static void start_failed(
    struct sync *s, struct container_record *c, const char *reason, const struct error *why)
{
    bool told = c_eq(c->waiting_reason, reason) && c_eq(c->waiting_message, why->text);

    container_waiting(c, reason, why->text);
    if (!told)
        pod_event(s->record, s->spec, c->name, EVENT_WARNING, "Failed", "Error: %s", why->text);
    sync_again(s, CONFIG_RETRY_NS);
}

/* Keeps the newest two instances: the last one that ended is what lastState and `logs --previous`
 * show. */
static void prune(struct sync *s, const char *name)
{
    struct container_info *before = NULL,
                          *newest = newest_instance(&s->containers, name, NULL, &before);

    for (size_t i = 0; i < s->containers.count; i++) {
        struct container_info *info = s->containers.items[i];
        struct error err;

        if (!c_eq(info->container, name) || info == newest || info == before ||
            info->state == CONTAINER_RUNNING)
            continue;
        if (s->agent->runtime->ops->remove(s->agent->runtime, info->id, &err) < 0)
            continue; /* the next restart tries again */
        runtime_cache_drop(s->agent->cache, s->record->uid, info->id);
        container_info_unref(info);
        s->containers.items[i--] = s->containers.items[--s->containers.count];
    }
}

static int create(struct sync *s, struct container_record *c, const cJSON *container, bool init,
    const struct image_info *image, const char **ret_failure, char **ret_id, struct error *err)
{
    struct runtime *rt = s->agent->runtime;
    struct container_info *newest = newest_instance(&s->containers, c->name, NULL, NULL);
    struct mount *mounts = NULL;
    size_t mount_count = 0;
    autojson cJSON *body = NULL;
    int64_t attempt = next_attempt(s, c->name, init, newest);

    const char *message =
        sync_pod_dir(s, arena_printf(s->arena, "containers/%s/%lld", c->name, (long long)attempt));

    *ret_failure = "CreateContainerConfigError";
    if (container_body(s, container, image, &body, err) < 0 ||
        (!rt->pretends && volumes_mounts(s, container, message, &mounts, &mount_count, err) < 0))
        return -err->code;
    *ret_failure = "CreateContainerError";
    struct container_spec spec = {
        .name = arena_printf(s->arena, "k8s_%s_%s_%s_%s_%lld", c->name, s->record->name,
            s->record->namespace_, s->record->uid, (long long)attempt),
        .uid = s->record->uid,
        .namespace_ = s->record->namespace_,
        .pod = s->record->name,
        .container = c->name,
        .attempt = attempt,
        .grace_seconds = pod_grace_seconds(s->spec),
        .sandbox_id = s->sandbox->id,
        .image = json_string(container, "image"),
        .image_digest = image->digest,
        .message_path = rt->pretends ? NULL : message,
        .body = body,
        .mounts = mounts,
        .mount_count = mount_count};
    int r = rt->ops->create(rt, &spec, ret_id, err);
    if (r == -ERR_ALREADY_EXISTS) {
        /* An instance of ours that the cache has not seen: look again. */
        struct error ignored;
        runtime_cache_audit(s->agent->cache, false, &ignored);
    }
    return r;
}

static void after_start(
    struct sync *s, struct container_record *c, const cJSON *container, struct container_info *info)
{
    const cJSON *hook = json_path(container, "lifecycle.postStart");

    container_waiting(c, NULL, NULL);
    c->kill_for_restart = false;
    c->stop = STOP_NONE;
    pod_event(
        s->record, s->spec, c->name, EVENT_NORMAL, "Started", "Started container %s", c->name);
    env_lock(s->agent->env, &s->record->lock);
    work_set(&c->post_start, WORK_NONE, NULL, NULL);
    env_unlock(s->agent->env, &s->record->lock);
    if (hook && info->state == CONTAINER_RUNNING && !s->agent->runtime->pretends)
        hook_start(s, c, &c->post_start, container, hook, info, "PostStart", 0);
    if (info->state == CONTAINER_RUNNING)
        probes_update(s, c, container, info);
    prune(s, c->name);
}

/* Image, create, start. RUNS when it does. */
static enum outcome start(
    struct sync *s, struct container_record *c, const cJSON *container, bool init)
{
    struct runtime *rt = s->agent->runtime;
    struct image_info image = {0};
    struct container_info *info = NULL;
    autofree char *id = NULL;
    const char *failure = NULL;
    struct error err;

    if (image_ensure(s, c, container, &image) < 0)
        return WAITS;
    int r = create(s, c, container, init, &image, &failure, &id, &err);
    image_info_done(&image);
    if (r < 0) {
        start_failed(s, c, failure, &err);
        return WAITS;
    }
    pod_event(
        s->record, s->spec, c->name, EVENT_NORMAL, "Created", "Created container: %s", c->name);
    r = rt->ops->start(rt, id, &err);
    if (runtime_cache_refresh(
            s->agent->cache, s->record->uid, id, &info, r < 0 ? &(struct error){0} : &err) == 0)
        sync_replace(s, info);
    if (r < 0) {
        error_wrap(&err, "failed to start container \"%s\": Error response from daemon", c->name);
        start_failed(s, c, "RunContainerError", &err);
        return WAITS;
    }
    if (!info) {
        start_failed(s, c, "RunContainerError", &err);
        return WAITS;
    }
    after_start(s, c, container, info);
    return info->state == CONTAINER_RUNNING ? RUNS : WAITS;
}

/* A running container that must not go on: stopped, to be started again. False when it is fine. */
static int restart_if_needed(struct sync *s, struct container_record *c, const cJSON *container,
    struct container_info *running, bool *ret_stopping, struct error *err)
{
    const char *image = json_string(container, "image");
    int64_t grace = pod_grace_seconds(s->spec) * NS_PER_S;
    bool hook_failed;

    if (!c->kill_for_restart) {
        int kind = probes_unhealthy(s->record, c);
        env_lock(s->agent->env, &s->record->lock);
        hook_failed =
            c->post_start.state == WORK_FAILED && c_eq(c->post_start.subject, running->id);
        env_unlock(s->agent->env, &s->record->lock);
        if (kind >= 0) {
            int64_t own = json_int64_at(container,
                kind == PROBE_LIVENESS ? "livenessProbe.terminationGracePeriodSeconds"
                                       : "startupProbe.terminationGracePeriodSeconds",
                -1);
            if (own >= 0)
                grace = own * NS_PER_S;
            pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "Killing",
                "Container %s failed %s probe, will be restarted", c->name,
                kind == PROBE_LIVENESS ? "liveness" : "startup");
        } else if (hook_failed) {
            pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "Killing", "FailedPostStartHook");
        } else if (image && running->image && !c_eq(image, running->image)) {
            pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "Killing",
                "Container %s definition changed, will be restarted", c->name);
        } else if (container_resize(s, c, container, running)) {
            pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "Killing",
                "Container %s resize requires restart", c->name);
        } else {
            *ret_stopping = false;
            return 0;
        }
        c->kill_for_restart = true;
        c->stop = STOP_NONE;
    } else {
        grace = c->stop_deadline_ns > s->now_ns ? c->stop_deadline_ns - s->now_ns : 0;
    }
    *ret_stopping = true;
    return container_stop(s, running, s->now_ns + grace, true, err);
}

/* One container, init or main. */
static int look_after(
    struct sync *s, const cJSON *container, bool init, enum outcome *ret, struct error *err)
{
    const char *name = json_string(container, "name");
    struct container_record *c = record_container(s->record, name);
    bool sidecar = init && container_is_sidecar(container), stopping = false;
    /* An init container runs again in a new sandbox; a main container that ended for good does not.
     */
    struct container_info *newest =
        newest_instance(&s->containers, name, init ? s->sandbox->id : NULL, NULL);
    int64_t exit_code;

    if (newest && newest->state == CONTAINER_RUNNING) {
        container_waiting(c, NULL, NULL);
        if (restart_if_needed(s, c, container, newest, &stopping, err) < 0)
            return -err->code;
        if (stopping)
            probes_remove(s->record, c);
        else
            probes_update(s, c, container, newest);
        *ret = stopping ? WAITS : RUNS;
        return 0;
    }
    probes_remove(s->record, c);
    if (newest && newest->state == CONTAINER_EXITED &&
        !container_should_run(s->spec, container, init, newest)) {
        *ret = newest->exit_code == 0 ? ENDED_WELL : ENDED_BADLY;
        return 0;
    }
    if (!newest && !init && ended_before(s, name, &exit_code)) {
        *ret = exit_code == 0 ? ENDED_WELL : ENDED_BADLY;
        return 0;
    }
    *ret = WAITS;
    if (newest && newest->state == CONTAINER_EXITED && backs_off(s, c, newest))
        return 0;
    *ret = start(s, c, container, init);
    /* A container that ended at once is looked at again: its end may be a success, or what comes
     * next. */
    if (*ret == WAITS && !c->waiting_reason && !sidecar)
        sync_again(s, NS_PER_MS);
    return 0;
}

/* Main containers of this sandbox exist: its init containers have done their work, whatever is left
 * of them. */
static bool is_past_init(struct sync *s)
{
    const cJSON *container;

    cJSON_ArrayForEach(container, json_get(s->spec, "containers"))
    {
        if (newest_instance(&s->containers, json_string(container, "name"), s->sandbox->id, NULL))
            return true;
    }
    return false;
}

/* True when the main containers may start. */
static int run_init(struct sync *s, bool *ret_done, struct error *err)
{
    bool past = is_past_init(s);
    const cJSON *container;

    *ret_done = false;
    cJSON_ArrayForEach(container, json_get(s->spec, "initContainers"))
    {
        bool sidecar = container_is_sidecar(container);
        enum outcome outcome;

        if (past && !sidecar)
            continue;
        if (look_after(s, container, true, &outcome, err) < 0)
            return -err->code;
        if (sidecar && outcome == RUNS) {
            const char *name = json_string(container, "name");
            struct container_info *running =
                newest_instance(&s->containers, name, s->sandbox->id, NULL);
            if (past ||
                probes_started(s->record, record_container(s->record, name), container, running))
                continue;
        }
        if (outcome != ENDED_WELL && !past)
            return 0;
    }
    *ret_done = true;
    return 0;
}

/* Has it ever been made, as far as the API knows? */
static bool was_there(struct sync *s, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(s->status, "ephemeralContainerStatuses"))
    {
        if (c_eq(json_string(item, "name"), name))
            return json_string(item, "containerID");
    }
    return false;
}

/* They run once, whatever the others do: what is debugged may be why those don't start. */
static int run_ephemeral(struct sync *s, struct error *err)
{
    const cJSON *container;

    cJSON_ArrayForEach(container, json_get(s->spec, "ephemeralContainers"))
    {
        const char *name = json_string(container, "name");
        enum outcome outcome;

        if (!newest_instance(&s->containers, name, NULL, NULL) && was_there(s, name))
            continue;
        if (look_after(s, container, false, &outcome, err) < 0)
            return -err->code;
    }
    return 0;
}

enum step_result containers_step(struct sync *s, struct error *err)
{
    const cJSON *container;
    bool initialized = false;

    if (run_ephemeral(s, err) < 0)
        return STEP_ERROR;
    if (run_init(s, &initialized, err) < 0)
        return STEP_ERROR;
    if (!initialized)
        return STEP_FINISH;
    cJSON_ArrayForEach(container, json_get(s->spec, "containers"))
    {
        enum outcome outcome;
        if (look_after(s, container, false, &outcome, err) < 0)
            return STEP_ERROR;
    }
    return STEP_NEXT;
}
