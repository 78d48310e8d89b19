/*
 * Stopping: containers by preStop, TERM and KILL, then the sandbox, then volumes; never waiting in
 * between.
 *
 * The deadline is absolute: what preStop uses is missing for TERM, but a container gets at least
 * two seconds after its hook. Sidecars end after all other containers, the last of them first. The
 * pod's API object is deleted only when nothing runs, the network is down and the volumes are
 * unmounted.
 *
 * Upstream: kuberuntime_container.go killContainer, SyncTerminatingPod, SyncTerminatedPod.
 */
#include "kubelet/sync.h"

#include "common/log.h"
#include "common/time.h"

#define MINIMUM_AFTER_HOOK_NS (2 * NS_PER_S)

static int send_signal(
    struct sync *s, struct container_info *info, const char *signal, struct error *err)
{
    struct runtime *rt = s->agent->runtime;

    if (rt->ops->signal(rt, info->id, signal, err) < 0)
        return -err->code;
    runtime_cache_touch(s->agent->cache, s->record->uid, info->id);
    return 0;
}

static void begin_stop(
    struct sync *s, struct container_record *c, struct container_info *info, int64_t deadline_ns)
{
    free(c->stop_id);
    c->stop_id = xstrdup(info->id);
    c->stop = STOP_PRESTOP;
    c->stop_deadline_ns = deadline_ns;
    env_lock(s->agent->env, &s->record->lock);
    work_set(&c->pre_stop, WORK_NONE, NULL, NULL);
    env_unlock(s->agent->env, &s->record->lock);
    if (!c->kill_for_restart)
        pod_event(
            s->record, s->spec, c->name, EVENT_NORMAL, "Killing", "Stopping container %s", c->name);
}

/* Runs the hook once; true when TERM may be sent. */
static bool hook_is_over(struct sync *s, struct container_record *c, struct container_info *info)
{
    const cJSON *container = pod_container(s->spec, c->name, NULL);
    const cJSON *hook = json_path(container, "lifecycle.preStop");
    enum work_state state;

    if (!hook || s->agent->runtime->pretends)
        return true;
    env_lock(s->agent->env, &s->record->lock);
    state = c->pre_stop.state;
    env_unlock(s->agent->env, &s->record->lock);
    if (state == WORK_NONE) {
        hook_start(
            s, c, &c->pre_stop, container, hook, info, "PreStop", c->stop_deadline_ns - s->now_ns);
        return false;
    }
    return state != WORK_RUNNING;
}

static bool had_hook(struct sync *s, struct container_record *c)
{
    env_lock(s->agent->env, &s->record->lock);
    bool had = c->pre_stop.state != WORK_NONE;
    env_unlock(s->agent->env, &s->record->lock);
    return had;
}

int container_stop(struct sync *s, struct container_info *info, int64_t deadline_ns, bool with_hook,
    struct error *err)
{
    struct container_record *c = record_container(s->record, info->container);

    if (c->stop == STOP_NONE || !c_eq(c->stop_id, info->id))
        begin_stop(s, c, info, deadline_ns);
    if (deadline_ns < c->stop_deadline_ns)
        c->stop_deadline_ns = deadline_ns;
    if (c->stop == STOP_PRESTOP &&
        (!with_hook || hook_is_over(s, c, info) || s->now_ns >= c->stop_deadline_ns)) {
        const char *signal =
            json_string_at(pod_container(s->spec, c->name, NULL), "lifecycle.stopSignal");
        if (send_signal(s, info,
                signal              ? signal
                : info->stop_signal ? info->stop_signal
                                    : "SIGTERM",
                err) < 0)
            return -err->code;
        if (had_hook(s, c) && c->stop_deadline_ns < s->now_ns + MINIMUM_AFTER_HOOK_NS)
            c->stop_deadline_ns = s->now_ns + MINIMUM_AFTER_HOOK_NS;
        c->stop = STOP_TERM;
    }
    if (c->stop == STOP_TERM && s->now_ns >= c->stop_deadline_ns) {
        if (send_signal(s, info, "SIGKILL", err) < 0)
            return -err->code;
        c->stop = STOP_KILL;
    } else if (c->stop == STOP_KILL) {
        sync_again(s, NS_PER_S); /* a kill that Docker has not seen through yet */
    }
    if (c->stop != STOP_KILL)
        sync_again(s, c->stop_deadline_ns - s->now_ns);
    return 0;
}

/* The grace in force: of the deletion, else of the spec, else of the containers' labels. */
static int64_t grace_ns(struct sync *s)
{
    int64_t seconds = 30;

    if (s->pod && s->pod->meta.deletion_grace_seconds.set)
        seconds = s->pod->meta.deletion_grace_seconds.value;
    else if (s->pod)
        seconds = pod_grace_seconds(s->spec);
    else if (s->sandbox && s->sandbox->grace_seconds >= 0)
        seconds = s->sandbox->grace_seconds;
    return (seconds < 1 ? 1 : seconds) * NS_PER_S;
}

static int64_t kill_deadline(struct sync *s)
{
    struct pod_record *r = s->record;
    int64_t grace = grace_ns(s), deadline = s->now_ns + grace;

    /* The API's time of death counts, as long as the two clocks agree that it lies within the
     * grace. */
    if (s->pod && s->in_api && s->pod->meta.deletion_ns > 0) {
        int64_t left = s->pod->meta.deletion_ns - s->wall_ns;
        if (left < grace)
            deadline = s->now_ns + (left > 0 ? left : 0);
    }
    if (r->kill_deadline_ns == 0 || deadline < r->kill_deadline_ns)
        r->kill_deadline_ns = deadline;
    return r->kill_deadline_ns;
}

static struct container_info *running_instance(struct sync *s, const char *name)
{
    for (size_t i = 0; i < s->containers.count; i++)
        if (s->containers.items[i]->state == CONTAINER_RUNNING &&
            c_eq(s->containers.items[i]->container, name))
            return s->containers.items[i];
    return NULL;
}

static bool is_sidecar_name(struct sync *s, const char *name)
{
    bool is_init;
    const cJSON *container = pod_container(s->spec, name, &is_init);

    return container && is_init && container_is_sidecar(container);
}

/* Number of containers that still run; each was told to stop, as far as it is its turn. */
static int stop_all(struct sync *s, size_t *ret_running, struct error *err)
{
    int64_t deadline = kill_deadline(s);
    const cJSON *inits = json_get(s->spec, "initContainers");
    size_t running = 0;

    for (size_t i = 0; i < s->containers.count; i++) {
        struct container_info *info = s->containers.items[i];

        if (info->state != CONTAINER_RUNNING || container_is_sandbox(info) ||
            is_sidecar_name(s, info->container))
            continue;
        running++;
        if (container_stop(s, info, deadline, true, err) < 0)
            return -err->code;
    }
    for (int i = cJSON_GetArraySize(inits) - 1; i >= 0 && running == 0; i--) {
        const cJSON *container = cJSON_GetArrayItem(inits, i);
        struct container_info *info = container_is_sidecar(container)
                                          ? running_instance(s, json_string(container, "name"))
                                          : NULL;

        if (!info)
            continue;
        running++;
        if (container_stop(s, info, deadline, true, err) < 0)
            return -err->code;
    }
    *ret_running = running;
    return 0;
}

static void stop_probes(struct sync *s)
{
    for (size_t i = 0; i < s->record->container_count; i++) {
        struct container_record *c = s->record->containers[i];
        struct container_info *running = running_instance(s, c->name);
        const cJSON *container = pod_container(s->spec, c->name, NULL);

        /* Readiness goes on while the container does; liveness would only kill what is dying. */
        if (running && container)
            probes_update(s, c, container, running);
        else
            probes_remove(s->record, c);
    }
}

enum step_result stop_step(struct sync *s, struct error *err)
{
    size_t running = 0;

    if (!s->terminating && !s->ended)
        return STEP_NEXT;
    s->sandbox_up = s->sandbox && s->sandbox->state == CONTAINER_RUNNING && s->record->pod_ip[0];
    if (stop_all(s, &running, err) < 0)
        return STEP_ERROR;
    stop_probes(s);
    if (running > 0)
        return STEP_FINISH;
    if (!s->record->down) {
        if (sandbox_down(s, err) < 0 || (!s->agent->runtime->pretends && volumes_down(s, err) < 0))
            return STEP_ERROR;
        s->record->down = true;
    }
    s->sandbox_up = false;
    s->stopped = true;
    if (s->terminating && s->in_api) {
        env_lock(s->agent->env, &s->record->lock);
        s->record->finished = true;
        env_unlock(s->agent->env, &s->record->lock);
    }
    return STEP_NEXT;
}
