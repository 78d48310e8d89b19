/*
 * One look at a pod and the next steps: the kubelet's only reconcile function.
 *
 * The steps stand in the table below. Whatever happens to a pod (an API change, a container that
 * ended, a probe's verdict, a timer) only puts its uid into the queue; here everything is looked at
 * again, so a step that was missed, or done by a kubelet that died, makes no difference.
 *
 * Threads: workers of pod_queue; never two with the same pod.
 * Upstream: pod_workers.go, kubelet.go SyncPod/SyncTerminatingPod, kuberuntime_manager.go
 * computePodActions.
 */
#include "kubelet/sync.h"

#include "common/file.h"
#include "common/log.h"
#include "common/time.h"

#define RETRY_MIN_NS (500 * NS_PER_MS)
#define RETRY_MAX_NS (120 * NS_PER_S)

typedef enum step_result step_fn(struct sync *s, struct error *err);

static step_fn observe_step, decide_step, remains_step, admit_step, announce_step, volumes_step;

static const struct step {
    const char *name;
    step_fn *run;
} steps[] = {
    {"observe", observe_step}, /* what the runtime has of this pod */
    {"decide", decide_step},   /* is it to run, ending, or over? */
    {"stop", stop_step},       /* ending or over: stop, take down; the rest is for pods that run */
    {"remains", remains_step}, /* it is gone from the API: remove what is left, forget it */
    {"admit", admit_step},     /* once: can this node run it at all? */
    {"announce", announce_step},     /* once: the pod is on its way (ContainerCreating) */
    {"volumes", volumes_step},       /* set up, or refreshed */
    {"sandbox", sandbox_step},       /* namespaces and network */
    {"containers", containers_step}, /* init containers in order, then all others */
};

void sync_again(struct sync *s, int64_t delay_ns)
{
    if (delay_ns < NS_PER_MS)
        delay_ns = NS_PER_MS;
    if (s->again_ns == 0 || delay_ns < s->again_ns)
        s->again_ns = delay_ns;
}

void sync_failed(struct sync *s)
{
    struct pod_record *r = s->record;

    r->retry_ns = r->retry_ns == 0 ? RETRY_MIN_NS : r->retry_ns * 2;
    if (r->retry_ns > RETRY_MAX_NS)
        r->retry_ns = RETRY_MAX_NS;
    r->retry_at_ns = s->now_ns + r->retry_ns;
    sync_again(s, r->retry_ns);
}

void sync_replace(struct sync *s, struct container_info *take_info)
{
    for (size_t i = 0; i < s->containers.count; i++) {
        if (!c_eq(s->containers.items[i]->id, take_info->id))
            continue;
        if (s->sandbox == s->containers.items[i])
            s->sandbox = take_info;
        container_info_unref(s->containers.items[i]);
        s->containers.items[i] = take_info;
        return;
    }
    container_list_add(&s->containers, take_info);
}

char *sync_pod_dir(struct sync *s, const char *below)
{
    return arena_printf(s->arena, "%s/pods/%s%s%s", s->agent->config->root_dir, s->record->uid,
        below ? "/" : "", below ? below : "");
}

static enum step_result observe_step(struct sync *s, struct error *err)
{
    if (runtime_cache_pod(s->agent->cache, s->record->uid, &s->containers, err) < 0)
        return STEP_ERROR;
    s->sandbox = newest_instance(&s->containers, SANDBOX_NAME, NULL, NULL);
    return STEP_NEXT;
}

static void fail_pod(struct sync *s, const char *reason, const char *message)
{
    free(s->record->fail_reason);
    free(s->record->fail_message);
    s->record->fail_reason = xstrdup(reason);
    s->record->fail_message = xstrdup(message);
}

static void check_deadline(struct sync *s)
{
    int64_t seconds = json_int64_at(s->spec, "activeDeadlineSeconds", -1), start_ns;
    const char *start = json_string(s->status, "startTime");
    struct error err;

    if (seconds < 0 || !start || s->record->fail_reason ||
        time_parse(str_of(start), &start_ns, &err) < 0)
        return;
    int64_t left_ns = start_ns + seconds * NS_PER_S - s->wall_ns;
    if (left_ns > 0) {
        sync_again(s, left_ns);
        return;
    }
    fail_pod(
        s, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
    pod_event(s->record, s->spec, NULL, EVENT_NORMAL, "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline");
}

static enum step_result decide_step(struct sync *s, struct error *err)
{
    const char *phase;

    (void)err;
    s->terminating = !s->in_api || s->pod->meta.deletion_ns > 0;
    if (s->terminating)
        return STEP_NEXT;
    if (!status_terminal_phase(s->status))
        check_deadline(s);
    s->ended = s->record->fail_reason || status_terminal_phase(s->status) ||
               pod_has_ended(s->spec, &s->containers, &phase);
    return STEP_NEXT;
}

static enum step_result remains_step(struct sync *s, struct error *err)
{
    if (!s->terminating && !s->ended)
        return STEP_NEXT;
    if (s->in_api || !s->stopped)
        return STEP_FINISH;
    bool failed = false;
    for (size_t i = 0; i < s->containers.count; i++) {
        const char *id = s->containers.items[i]->id;
        if (s->agent->runtime->ops->remove(s->agent->runtime, id, err) < 0)
            failed = true; /* the others first, then again */
        else
            runtime_cache_drop(s->agent->cache, s->record->uid, id);
    }
    if (failed)
        return STEP_ERROR;
    if (!s->agent->runtime->pretends && file_remove_tree(sync_pod_dir(s, NULL), err) < 0)
        return STEP_ERROR;
    log_info("pod removed", "pod", "%s/%s", s->record->namespace_, s->record->name, "uid", "%s",
        s->record->uid, NULL);
    record_forget(s->record);
    return STEP_FINISH;
}

static enum step_result admit_step(struct sync *s, struct error *err)
{
    char *reason = NULL, *message = NULL;

    (void)err;
    env_lock(s->agent->env, &s->agent->lock);
    s->record->admitted = s->record->admitted || s->containers.count > 0;
    bool admitted = s->record->admitted;
    env_unlock(s->agent->env, &s->agent->lock);
    if (admitted)
        return STEP_NEXT;
    if (pod_admit(s, &reason, &message) < 0) {
        fail_pod(s, reason, message);
        pod_event(s->record, s->spec, NULL, EVENT_WARNING, reason, "%s", message);
        free(reason);
        free(message);
        s->ended = s->stopped = s->record->rejected = true;
        return STEP_FINISH;
    }
    return STEP_NEXT;
}

static enum step_result volumes_step(struct sync *s, struct error *err)
{
    struct error why;

    (void)err;
    if (s->agent->runtime->pretends)
        return STEP_NEXT;
    bool running = s->record->volumes_up;
    if (running ? s->now_ns < s->record->volumes_fresh_ns : s->now_ns < s->record->retry_at_ns) {
        sync_again(s, (running ? s->record->volumes_fresh_ns : s->record->retry_at_ns) - s->now_ns);
        return running ? STEP_NEXT : STEP_FINISH;
    }
    if (volumes_up(s, &why) == 0) {
        if (!running)
            s->record->retry_ns = s->record->retry_at_ns = 0;
        return STEP_NEXT;
    }
    pod_event(s->record, s->spec, NULL, EVENT_WARNING, "FailedMount", "%s", why.text);
    if (running)
        return STEP_NEXT; /* it has its volumes; what they hold is refreshed later */
    sync_failed(s);
    return STEP_FINISH;
}

/* The newer of what the API showed and what it answered to our last write. */
static cJSON *base_status(struct pod_record *record, const struct pod_view *view)
{
    cJSON *tree = NULL;
    struct error err;
    int64_t seen = 0, written = 0;

    env_lock(record->agent->env, &record->lock);
    const char *text = view ? view->status : NULL;
    if (record->written_status &&
        (!view || (str_parse_int64(str_of(record->written_version), &written, &err) == 0 &&
                      str_parse_int64(str_of(view->meta.resource_version), &seen, &err) == 0 &&
                      written > seen)))
        text = record->written_status;
    if (!text || json_parse(str_of(text), &tree, &err) < 0)
        tree = cJSON_CreateObject();
    env_unlock(record->agent->env, &record->lock);
    return tree;
}

static void make_hints(struct sync *s, struct container_hint *hints, size_t *ret_count)
{
    size_t n = 0;

    for (size_t i = 0; i < s->record->container_count; i++) {
        struct container_record *c = s->record->containers[i];
        const cJSON *container = pod_container(s->spec, c->name, NULL);
        struct container_info *newest = newest_instance(&s->containers, c->name, NULL, NULL);
        bool running = container && newest && newest->state == CONTAINER_RUNNING;

        hints[n++] = (struct container_hint){.name = c->name,
            .waiting_reason = c->waiting_reason,
            .waiting_message = c->waiting_message,
            .resize_pending = c->resize == RESIZE_DEFERRED     ? "Deferred"
                              : c->resize == RESIZE_INFEASIBLE ? "Infeasible"
                                                               : NULL,
            .resize_failed = c->resize == RESIZE_ERROR,
            .resize_message = c->resize_message,
            .started = running && probes_started(s->record, c, container, newest),
            .ready = running && probes_ready(s->record, c, container, newest)};
    }
    *ret_count = n;
}

/* Computes the status and hands it to the writer when it says something new. */
static void report(struct sync *s)
{
    struct pod_record *r = s->record;
    struct container_hint *hints =
        arena_new_array(s->arena, struct container_hint, r->container_count + 1);
    size_t count = 0;

    if (!s->in_api)
        return;
    make_hints(s, hints, &count);
    struct status_input in = {.pod = s->pod,
        .spec = s->spec,
        .old_status = s->status,
        .containers = &s->containers,
        .hints = hints,
        .hint_count = count,
        .host_ip = s->node->ip,
        .pod_ip = r->pod_ip,
        .pod_ip_other = r->pod_ip_other,
        .sandbox_ready = s->sandbox_up,
        .sandbox_id = s->sandbox ? s->sandbox->id : NULL,
        .will_not_restart = s->terminating || s->ended,
        .stopped = s->stopped,
        .rejected = r->rejected ||
                    (status_terminal_phase(s->status) && !json_get(s->status, "containerStatuses")),
        .fail_reason = r->fail_reason,
        .fail_message = r->fail_message,
        .now_ns = s->wall_ns,
        .termination_message = s->agent->runtime->pretends ? NULL : termination_message,
        .arg = s};
    autojson cJSON *status = status_compute(&in);
    autojson cJSON *patch = status_patch(r->uid, s->status, status);
    env_lock(s->agent->env, &r->lock);
    bool differs = patch != NULL || r->finished;
    cJSON_Delete(r->wanted_status);
    r->wanted_status = differs ? steal(&status) : NULL;
    env_unlock(s->agent->env, &r->lock);
    if (differs)
        workqueue_add(s->agent->status_queue, r->uid);
}

static enum step_result announce_step(struct sync *s, struct error *err)
{
    (void)err;
    if (!json_get(s->status, "containerStatuses"))
        report(s);
    return STEP_NEXT;
}

static int run_steps(struct sync *s, struct error *err)
{
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        enum step_result result = steps[i].run(s, err);

        if (result == STEP_ERROR)
            return error_wrap(err, "%s", steps[i].name);
        if (result == STEP_FINISH) {
            log_debug("pod looked at", "pod", "%s/%s", s->record->namespace_, s->record->name,
                "step", "%s", steps[i].name, NULL);
            return 0;
        }
    }
    return 0;
}

static void sync_begin(struct sync *s, struct agent *agent, struct pod_record *record)
{
    struct error err;

    *s =
        (struct sync){.agent = agent, .node = record->node, .record = record, .arena = arena_new()};
    s->now_ns = env_now_ns(agent->env);
    s->wall_ns = env_wall_ns(agent->env);
    env_lock(agent->env, &agent->lock);
    int64_t returns = agent->runtime_returns;
    env_unlock(agent->env, &agent->lock);
    if (record->runtime_returns != returns)
        record->retry_ns = record->retry_at_ns =
            0; /* what failed while the runtime was away is tried at once */
    record->runtime_returns = returns;
    s->pod = record_view(record, &s->in_api);
    s->status = base_status(record, s->pod);
    if (!s->pod || !s->pod->spec || json_parse(str_of(s->pod->spec), &s->spec, &err) < 0)
        s->spec = cJSON_CreateObject();
}

static void sync_end(struct sync *s)
{
    container_list_done(&s->containers);
    cJSON_Delete(s->spec);
    cJSON_Delete(s->status);
    if (s->pod)
        projected_unref(s->pod);
    arena_free(s->arena);
}

int pod_sync(void *arg, const char *uid, int64_t *ret_again_ns, struct error *err)
{
    struct pod_record *record = record_find(arg, uid);
    struct sync s;

    if (!record)
        return 0;
    sync_begin(&s, arg, record);
    env_lock(s.agent->env, &record->lock);
    bool finished = record->finished;
    env_unlock(s.agent->env, &record->lock);
    int r = 0;
    if (!(finished && s.in_api)) { /* else only the status writer has work left */
        r = run_steps(&s, err);
        if (r == 0)
            report(&s);
        else
            r = error_wrap(err, "pod %s/%s", record->namespace_, record->name);
    }
    *ret_again_ns = s.again_ns;
    sync_end(&s);
    record_unref(record);
    return r;
}
