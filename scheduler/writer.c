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

struct job {
    struct job *next;
    const struct pod *pod;
    char *node;   /* bind */
    char *reason; /* refuse */
    char *message;
    uint32_t attempts;
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

static void run_bind(struct writer *w, const struct job *job)
{
    struct error err = {0};
    struct event_ref ref = pod_event_ref(job->pod);
    int64_t start_ns = env_now_ns(w->env);
    int r = bind_until_clear(w, job, &err);

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
                     });
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
    return patch;
}

static bool says_so_already(const struct job *job)
{
    const struct pod_condition *now = pod_condition(job->pod, "PodScheduled");

    return now && c_eq(now->status, "False") && c_eq(now->reason, job->reason) &&
           c_eq(now->message, job->message);
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

static bool is_in_hand(const struct writer *w, const struct job *job)
{
    for (size_t i = 0; i < w->task_count; i++)
        if (w->running[i] && c_eq(w->running[i]->pod->meta.uid, job->pod->meta.uid))
            return true;
    return false;
}

/* The first job that may run now, taken off the list; NULL when there is none. */
static struct job *take_job(struct writer *w)
{
    for (struct job **at = &w->first; *at; at = &(*at)->next) {
        struct job *job = *at;
        if (is_in_hand(w, job))
            continue;
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
        struct job *job = take_job(w);
        if (!job) {
            w->idle++;
            env_wait_until(w->env, &w->changed, &w->lock, ENV_FOREVER);
            w->idle--;
            continue;
        }
        w->running[slot] = job;
        env_unlock(w->env, &w->lock);
        if (job->node)
            run_bind(w, job);
        else
            run_refuse(w, job);
        env_lock(w->env, &w->lock);
        w->running[slot] = NULL;
        if (w->first)
            env_signal(w->env, &w->changed); /* a job of this pod may have waited for it */
        job_free(job);
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

void writer_bind(struct writer *w, const struct pod *pod, const char *node, uint32_t attempts)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->pod = projected_ref(pod);
    job->node = xstrdup(node);
    job->attempts = attempts;
    add_job(w, job);
}

void writer_refuse(struct writer *w, const struct pod *pod, const char *reason, const char *message)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->pod = projected_ref(pod);
    job->reason = xstrdup(reason);
    job->message = xstrdup(message);
    add_job(w, job);
}
