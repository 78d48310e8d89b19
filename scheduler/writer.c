/*
 * Writer: binding, the PodScheduled condition and the events about both. See writer.h.
 *
 * A task takes the first job whose pod is not in another task's hands. Lock: w->lock guards the
 * list and the tasks; no call is made with it held. Upstream: plugins/defaultbinder,
 * schedule_one.go (bindingCycle, handleSchedulingFailure, updatePod).
 */
#include "scheduler/writer.h"

#include "common/log.h"
#include "common/time.h"

#define BIND_TRIES_MAX 5
#define BIND_RETRY_FIRST_NS (100 * NS_PER_MS)
#define VOLUMES_WAIT_NS (600 * NS_PER_S)
#define VOLUMES_LOOK_NS (500 * NS_PER_MS)

struct job {
    struct job *next;
    const struct pod *pod;
    char *node;   /* bind */
    char *reason; /* refuse */
    char *message;
    char *nominated;           /* refuse: status.nominatedNodeName; alone: clear it */
    const struct pod *evictor; /* evict `pod` for this one, from `node` */
    uint32_t attempts;
    struct volume_choice *volumes; /* bind: first these */
    size_t volume_count;
    int64_t not_before_ns, give_up_ns; /* while its volumes are awaited */
};

struct writer {
    struct api_client *client;
    struct env *env;
    struct events *events;
    writer_bound_fn *bound;
    void *arg;
    struct lock lock;
    struct cond changed;
    struct job *first, **last;
    const struct job *running[WRITER_TASKS_MAX];
    struct task *tasks[WRITER_TASKS_MAX];
    size_t task_count, idle;
    bool stop;
};

static void job_free(struct job *job)
{
    projected_unref(job->pod);
    volume_choices_free(job->volumes, job->volume_count);
    if (job->evictor)
        projected_unref(job->evictor);
    free(job->nominated);
    free(job->node);
    free(job->reason);
    free(job->message);
    free(job);
}

static struct api_ref pod_ref(const struct pod *pod, const char *subresource)
{
    return (struct api_ref){
        .group_version = "v1",
        .plural = "pods",
        .namespace_ = pod->meta.namespace_,
        .name = pod->meta.name,
        .subresource = subresource,
    };
}

static struct event_ref pod_event_ref(const struct pod *pod)
{
    return (struct event_ref){
        .api_version = "v1",
        .kind = "Pod",
        .namespace_ = pod->meta.namespace_,
        .name = pod->meta.name,
        .uid = pod->meta.uid,
        .resource_version = pod->meta.resource_version,
    };
}

static bool is_unclear(int result)
{
    return result == -ERR_CLOSED || result == -ERR_TIMEOUT || result == -ERR_UNAVAILABLE ||
           result == -ERR_INTERNAL || result == -ERR_SYSTEM;
}

static int post_binding(struct writer *w, const struct job *job, struct error *err)
{
    struct api_ref ref = pod_ref(job->pod, "binding");
    autojson cJSON *body = cJSON_CreateObject();

    json_set_string(body, "apiVersion", "v1");
    json_set_string(body, "kind", "Binding");
    json_set_string_at(body, "metadata.name", job->pod->meta.name);
    json_set_string_at(body, "metadata.namespace", job->pod->meta.namespace_);
    json_set_string_at(body, "metadata.uid", job->pod->meta.uid);
    json_set_string_at(body, "target.kind", "Node");
    json_set_string_at(body, "target.name", job->node);
    return api_call(w->client, "POST", &ref, NULL, body, NULL, err);
}

/* After an answer that leaves it open: 1 the pod is on our node, 0 it is on none, or the error. */
static int look_where(struct writer *w, const struct job *job, struct error *err)
{
    struct api_ref ref = pod_ref(job->pod, NULL);
    autojson cJSON *pod = NULL;
    int r = api_get(w->client, &ref, &pod, err);

    if (r < 0)
        return r;
    if (!c_eq(json_string_at(pod, "metadata.uid"), job->pod->meta.uid))
        return error_set(err, ERR_NOT_FOUND, "the pod was replaced by another of the same name");
    const char *node = json_string_at(pod, "spec.nodeName");
    if (!node || !node[0])
        return 0;
    if (c_eq(node, job->node))
        return 1;
    return error_set(err, ERR_CONFLICT, "the pod is already assigned to node \"%s\"", node);
}

static int bind_until_clear(struct writer *w, const struct job *job, struct error *err)
{
    int64_t pause_ns = BIND_RETRY_FIRST_NS;

    for (int i = 0;; i++) {
        int r = post_binding(w, job, err);
        if (r == 0 || (!is_unclear(r) && r != -ERR_CONFLICT))
            return r;
        struct error look_err;
        int where = look_where(w, job, &look_err);
        if (where == 1)
            return 0;
        if (where < 0 && !is_unclear(where)) {
            *err = look_err;
            return where;
        }
        if (r == -ERR_CONFLICT || i + 1 == BIND_TRIES_MAX || w->stop)
            return r;
        env_sleep_ns(w->env, pause_ns);
        pause_ns *= 2;
    }
}

/* Puts the claim into the volume's claimRef; the volume controller does the rest. */
static int bind_volume(struct writer *w, const struct volume_choice *c, struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = "persistentvolumes", .name = c->volume->meta.name};
    autojson cJSON *patch = cJSON_CreateObject();

    json_set_string_at(patch, "metadata.resourceVersion", c->volume->meta.resource_version);
    json_set_string_at(patch, "spec.claimRef.kind", "PersistentVolumeClaim");
    json_set_string_at(patch, "spec.claimRef.apiVersion", "v1");
    json_set_string_at(patch, "spec.claimRef.namespace", c->claim->meta.namespace_);
    json_set_string_at(patch, "spec.claimRef.name", c->claim->meta.name);
    json_set_string_at(patch, "spec.claimRef.uid", c->claim->meta.uid);
    json_set_string_at(patch, "spec.claimRef.resourceVersion", c->claim->meta.resource_version);
    cJSON *annotations = cJSON_CreateObject();
    json_set_string(annotations, "pv.kubernetes.io/bound-by-controller", "yes");
    json_set_at(patch, "metadata.annotations", annotations);
    return api_patch(w->client, &ref, PATCH_MERGE, patch, NULL, err);
}

static struct api_ref claim_ref(const struct claim *claim)
{
    return (struct api_ref){
        .group_version = "v1",
        .plural = "persistentvolumeclaims",
        .namespace_ = claim->meta.namespace_,
        .name = claim->meta.name,
    };
}

static int select_node(
    struct writer *w, const struct volume_choice *c, const char *node, struct error *err)
{
    struct api_ref ref = claim_ref(c->claim);
    autojson cJSON *patch = cJSON_CreateObject();
    cJSON *annotations = cJSON_CreateObject();

    json_set_string_at(patch, "metadata.uid", c->claim->meta.uid);
    json_set_string(annotations, "volume.kubernetes.io/selected-node", node);
    json_set_at(patch, "metadata.annotations", annotations);
    return api_patch(w->client, &ref, PATCH_MERGE, patch, NULL, err);
}

/* 1: the claim is bound; 0: not yet; or the error that ends the wait. */
static int is_claim_bound(struct writer *w, const struct volume_choice *c, struct error *err)
{
    struct api_ref ref = claim_ref(c->claim);
    autojson cJSON *claim = NULL;
    int r = api_get(w->client, &ref, &claim, err);

    if (r < 0)
        return is_unclear(r) ? 0 : r;
    const cJSON *annotations = json_path(claim, "metadata.annotations");
    if (!c->volume && !json_string(annotations, "volume.kubernetes.io/selected-node"))
        return error_set(err, ERR_CONFLICT,
            "the provisioner can't serve the selected node, persistentvolumeclaim \"%s\"",
            c->claim->meta.name);
    return json_string(annotations, "pv.kubernetes.io/bind-completed") != NULL;
}

/* Asks for the volumes at the first call. 1: all are there; 0: look again later. */
static int bind_volumes(struct writer *w, struct job *job, struct error *err)
{
    int64_t now_ns = env_now_ns(w->env);
    int r = 1;

    for (size_t i = 0; i < job->volume_count && !job->give_up_ns && r >= 0; i++)
        r = job->volumes[i].volume ? bind_volume(w, &job->volumes[i], err)
                                   : select_node(w, &job->volumes[i], job->node, err);
    if (r < 0)
        return r;
    if (!job->give_up_ns)
        job->give_up_ns = now_ns + VOLUMES_WAIT_NS;
    for (size_t i = 0; i < job->volume_count; i++) {
        r = is_claim_bound(w, &job->volumes[i], err);
        if (r < 0)
            return r;
        if (r == 0 && now_ns >= job->give_up_ns)
            return error_set(err, ERR_TIMEOUT,
                "binding volumes: timed out waiting for "
                "persistentvolumeclaim \"%s\"",
                job->volumes[i].claim->meta.name);
        if (r == 0)
            return 0;
    }
    return 1;
}

/* False: its volumes are not there yet. */
static bool run_bind(struct writer *w, struct job *job)
{
    struct error err = {0};
    struct event_ref ref = pod_event_ref(job->pod);
    int64_t start_ns = env_now_ns(w->env);
    int r = job->volume_count ? bind_volumes(w, job, &err) : 1;

    if (r == 0)
        return false;
    if (r > 0)
        r = bind_until_clear(w, job, &err);

    if (r == 0) {
        events_emit(w->events, &ref, EVENT_NORMAL, "Scheduled", "Successfully assigned %s/%s to %s",
            job->pod->meta.namespace_, job->pod->meta.name, job->node);
        log_info("pod bound", "pod", "%s/%s", job->pod->meta.namespace_, job->pod->meta.name,
            "node", "%s", job->node, "took_ms", "%lld",
            (long long)((env_now_ns(w->env) - start_ns) / NS_PER_MS), NULL);
    }
    w->bound(w->arg, &(struct bind_result){
                         .pod = job->pod,
                         .node = job->node,
                         .attempts = job->attempts,
                         .error = r,
                         .text = r < 0 ? err.text : "",
                         .volumes = job->volumes,
                         .volume_count = job->volume_count,
                     });
    return true;
}

/* In the patch of the status, when it changes. */
static void set_nomination(cJSON *patch, const struct job *job)
{
    if (c_eq(job->nominated, job->pod->nominated_node))
        return;
    json_set_at(patch, "status.nominatedNodeName",
        job->nominated[0] ? cJSON_CreateString(job->nominated) : cJSON_CreateNull());
}

static cJSON *condition_patch(struct writer *w, const struct job *job)
{
    const struct pod_condition *now = pod_condition(job->pod, "PodScheduled");
    cJSON *patch = cJSON_CreateObject(), *list = cJSON_CreateArray(), *c = cJSON_CreateObject();
    char when[TIME_TEXT_BYTES];

    json_set_string(c, "type", "PodScheduled");
    json_set_string(c, "status", "False");
    json_set_string(c, "reason", job->reason);
    json_set_string(c, "message", job->message);
    if (job->pod->meta.generation)
        json_set(c, "observedGeneration", json_new_int64(job->pod->meta.generation));
    if (!now || !c_eq(now->status, "False"))
        json_set_string(c, "lastTransitionTime", time_print_s(env_wall_ns(w->env), when));
    cJSON_AddItemToArray(list, c);
    json_set_string_at(patch, "metadata.uid", job->pod->meta.uid);
    json_set_at(patch, "status.conditions", list);
    set_nomination(patch, job);
    return patch;
}

static bool says_so_already(const struct job *job)
{
    const struct pod_condition *now = pod_condition(job->pod, "PodScheduled");

    return c_eq(job->nominated, job->pod->nominated_node) && now && c_eq(now->status, "False") &&
           c_eq(now->reason, job->reason) && c_eq(now->message, job->message);
}

static void run_refuse(struct writer *w, const struct job *job)
{
    struct event_ref event = pod_event_ref(job->pod);
    struct error err;

    events_emit(w->events, &event, EVENT_WARNING, "FailedScheduling", "%s", job->message);
    if (says_so_already(job))
        return;
    struct api_ref ref = pod_ref(job->pod, "status");
    autojson cJSON *patch = condition_patch(w, job);
    int r = api_patch(w->client, &ref, PATCH_STRATEGIC, patch, NULL, &err);
    if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_CONFLICT)
        log_warning("can't write the pod's PodScheduled condition, the next attempt will", "pod",
            "%s/%s", job->pod->meta.namespace_, job->pod->meta.name, "error", "%s", err.text, NULL);
}

static void run_clear(struct writer *w, const struct job *job)
{
    struct api_ref ref = pod_ref(job->pod, "status");
    autojson cJSON *patch = cJSON_CreateObject();
    struct error err;

    json_set_string_at(patch, "metadata.uid", job->pod->meta.uid);
    json_set_at(patch, "status.nominatedNodeName", cJSON_CreateNull());
    if (api_patch(w->client, &ref, PATCH_STRATEGIC, patch, NULL, &err) < 0)
        log_debug("can't clear a nominated node, the next attempt will", "pod", "%s/%s",
            job->pod->meta.namespace_, job->pod->meta.name, "error", "%s", err.text, NULL);
}

/* Why the pod is deleted, where its owner and its budget look. */
static int mark_disrupted(struct writer *w, const struct job *job, struct error *err)
{
    struct api_ref ref = pod_ref(job->pod, "status");
    autojson cJSON *patch = cJSON_CreateObject();
    cJSON *list = cJSON_CreateArray(), *c = cJSON_CreateObject();
    char when[TIME_TEXT_BYTES];

    json_set_string(c, "type", "DisruptionTarget");
    json_set_string(c, "status", "True");
    json_set_string(c, "reason", "PreemptionByScheduler");
    autofree char *message = str_format(
        "%s: preempting to accommodate a higher priority pod", job->evictor->scheduler_name);
    json_set_string(c, "message", message);
    json_set_string(c, "lastTransitionTime", time_print_s(env_wall_ns(w->env), when));
    cJSON_AddItemToArray(list, c);
    json_set_string_at(patch, "metadata.uid", job->pod->meta.uid);
    json_set_at(patch, "status.conditions", list);
    return api_patch(w->client, &ref, PATCH_STRATEGIC, patch, NULL, err);
}

static int evict(struct writer *w, const struct job *job, struct error *err)
{
    struct api_ref ref = pod_ref(job->pod, NULL);
    autojson cJSON *options = cJSON_CreateObject();
    int r = mark_disrupted(w, job, err);

    if (r == 0) {
        json_set_string_at(options, "preconditions.uid", job->pod->meta.uid);
        r = api_call(w->client, "DELETE", &ref, NULL, options, NULL, err);
    }
    return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? 0 : r;
}

static void run_evict(struct writer *w, const struct job *job)
{
    struct event_ref ref = pod_event_ref(job->pod);
    struct error err = {0};
    int64_t pause_ns = BIND_RETRY_FIRST_NS;
    int r = evict(w, job, &err);

    for (int i = 1; r < 0 && is_unclear(r) && i < BIND_TRIES_MAX && !w->stop; i++) {
        env_sleep_ns(w->env, pause_ns);
        pause_ns *= 2;
        r = evict(w, job, &err);
    }
    if (r == 0) {
        events_emit(w->events, &ref, EVENT_NORMAL, "Preempted", "Preempted by pod %s on node %s",
            job->evictor->meta.uid, job->node);
        return;
    }
    log_warning("can't evict a pod, its preemptor tries again", "pod", "%s/%s",
        job->pod->meta.namespace_, job->pod->meta.name, "error", "%s", err.text, NULL);
    w->bound(w->arg,
        &(struct bind_result){.pod = job->evictor, .error = r, .text = err.text, .evicting = true});
}

/* False: to be run again at job->not_before_ns. */
static bool run_job(struct writer *w, struct job *job)
{
    if (job->evictor)
        run_evict(w, job);
    else if (job->node)
        return run_bind(w, job);
    else if (job->reason)
        run_refuse(w, job);
    else
        run_clear(w, job);
    return true;
}

static bool is_in_hand(const struct writer *w, const struct job *job)
{
    for (size_t i = 0; i < w->task_count; i++)
        if (w->running[i] && c_eq(w->running[i]->pod->meta.uid, job->pod->meta.uid))
            return true;
    return false;
}

/* The first job that may run now, taken off the list; NULL when there is none, and when to look
 * again. */
static struct job *take_job(struct writer *w, int64_t *ret_next_ns)
{
    int64_t now_ns = env_now_ns(w->env);

    for (struct job **at = &w->first; *at; at = &(*at)->next) {
        struct job *job = *at;
        if (is_in_hand(w, job))
            continue;
        if (job->not_before_ns > now_ns) {
            *ret_next_ns = job->not_before_ns < *ret_next_ns ? job->not_before_ns : *ret_next_ns;
            continue;
        }
        *at = job->next;
        if (w->last == &job->next)
            w->last = at;
        return job;
    }
    return NULL;
}

struct writer_task {
    struct writer *writer;
    size_t slot;
};

static void writer_run(void *arg)
{
    struct writer_task *me = arg;
    struct writer *w = me->writer;
    size_t slot = me->slot;

    free(me);
    env_lock(w->env, &w->lock);
    while (!w->stop) {
        int64_t next_ns = ENV_FOREVER;
        struct job *job = take_job(w, &next_ns);
        if (!job) {
            w->idle++;
            env_wait_until(w->env, &w->changed, &w->lock, next_ns);
            w->idle--;
            continue;
        }
        w->running[slot] = job;
        env_unlock(w->env, &w->lock);
        bool is_done = run_job(w, job);
        env_lock(w->env, &w->lock);
        w->running[slot] = NULL;
        if (w->first)
            env_signal(w->env, &w->changed); /* a job of this pod may have waited for it */
        if (is_done) {
            job_free(job);
            continue;
        }
        job->not_before_ns = env_now_ns(w->env) + VOLUMES_LOOK_NS;
        job->next = NULL;
        *w->last = job;
        w->last = &job->next;
    }
    env_unlock(w->env, &w->lock);
}

static void add_job(struct writer *w, struct job *job)
{
    env_lock(w->env, &w->lock);
    *w->last = job;
    w->last = &job->next;
    if (!w->idle && w->task_count < WRITER_TASKS_MAX) {
        struct writer_task *t = xmalloc(sizeof(*t));
        *t = (struct writer_task){w, w->task_count};
        w->tasks[w->task_count++] = env_spawn(w->env, "writer", writer_run, t);
    } else {
        env_signal(w->env, &w->changed);
    }
    env_unlock(w->env, &w->lock);
}

struct writer *writer_new(
    struct api_client *client, struct events *events, writer_bound_fn *bound, void *arg)
{
    struct writer *w = xcalloc(1, sizeof(*w));

    w->client = client;
    w->env = api_client_env(client);
    w->events = events;
    w->bound = bound;
    w->arg = arg;
    w->last = &w->first;
    env_lock_init(&w->lock);
    env_cond_init(&w->changed);
    return w;
}

void writer_free(struct writer *w)
{
    if (!w)
        return;
    env_lock(w->env, &w->lock);
    w->stop = true;
    env_broadcast(w->env, &w->changed);
    env_unlock(w->env, &w->lock);
    for (size_t i = 0; i < w->task_count; i++)
        env_join(w->env, w->tasks[i]);
    while (w->first) {
        struct job *job = w->first;
        w->first = job->next;
        job_free(job);
    }
    env_cond_done(&w->changed);
    env_lock_done(&w->lock);
    free(w);
}

void writer_bind(struct writer *w, const struct pod *pod, const char *node, uint32_t attempts,
    struct volume_choice *take_volumes, size_t volume_count)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->pod = projected_ref(pod);
    job->node = xstrdup(node);
    job->attempts = attempts;
    job->volumes = take_volumes;
    job->volume_count = volume_count;
    add_job(w, job);
}

void writer_clear_nomination(struct writer *w, const struct pod *pod)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->pod = projected_ref(pod);
    add_job(w, job);
}

void writer_evict(
    struct writer *w, const struct pod *victim, const struct pod *pod, const char *node)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->pod = projected_ref(victim);
    job->evictor = projected_ref(pod);
    job->node = xstrdup(node);
    add_job(w, job);
}

void writer_refuse(struct writer *w, const struct pod *pod, const char *reason, const char *message,
    const char *nominated_node)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->pod = projected_ref(pod);
    job->reason = xstrdup(reason);
    job->message = xstrdup(message);
    job->nominated = xstrdup(nominated_node);
    add_job(w, job);
}
