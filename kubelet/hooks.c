/*
 * Lifecycle hooks, each on a task of its own: a preStop that takes its whole grace must not hold up
 * another pod's. The pod is woken when its hook is over; its deadline is kept by pod_stop.c, not
 * here.
 */
#include "kubelet/sync.h"

#include "common/log.h"
#include "common/time.h"

#define OUTPUT_MAX 4096
/* postStart has no time of its own; nobody waits longer than a day for it. */
#define NO_LIMIT_NS (24 * 3600 * NS_PER_S)

struct hook {
    struct pod_record *record; /* referenced */
    struct work *work;         /* of a container record, which lives as long as the pod's */
    cJSON *container, *handler;
    char *container_name, *container_id, *name;
    char pod_ip[64];
    int64_t timeout_ns;
};

static void hook_free(struct hook *h)
{
    record_unref(h->record);
    cJSON_Delete(h->container);
    cJSON_Delete(h->handler);
    free(h->container_name);
    free(h->container_id);
    free(h->name);
    free(h);
}

static void hook_task(void *arg)
{
    struct hook *h = arg;
    struct agent *agent = h->record->agent;
    autostrbuf struct strbuf output = STRBUF_EMPTY;
    struct error err;

    strbuf_init(&output, OUTPUT_MAX);
    int r = handler_run(h->record, h->container, h->handler, h->container_id, h->pod_ip,
        h->timeout_ns, &output, &err);
    if (r < 0) {
        autofree char *reason = str_format("Failed%sHook", h->name);
        autojson cJSON *spec = json_make("{\"containers\":[]}");
        cJSON_AddItemToArray(json_get(spec, "containers"), cJSON_Duplicate(h->container, true));
        pod_event(h->record, spec, h->container_name, EVENT_WARNING, reason, "%sHook failed: %s",
            h->name, err.text);
    }
    env_lock(agent->env, &h->record->lock);
    if (c_eq(h->work->subject, h->container_id))
        work_set(
            h->work, r < 0 ? WORK_FAILED : WORK_DONE, h->container_id, r < 0 ? err.text : NULL);
    env_unlock(agent->env, &h->record->lock);
    record_wake(h->record);
    hook_free(h);
}

void hook_start(struct sync *s, struct container_record *c, struct work *work,
    const cJSON *container, const cJSON *handler, const struct container_info *running,
    const char *name, int64_t timeout_ns)
{
    struct hook *h = xcalloc(1, sizeof(*h));

    h->record = record_find(s->agent, s->record->uid);
    if (!h->record) {
        free(h);
        return;
    }
    h->work = work;
    h->container = cJSON_Duplicate(container, true);
    h->handler = cJSON_Duplicate(handler, true);
    h->container_name = xstrdup(c->name);
    h->container_id = xstrdup(running->id);
    h->name = xstrdup(name);
    memcpy(h->pod_ip, s->record->pod_ip, sizeof(h->pod_ip));
    h->timeout_ns = timeout_ns > 0 ? timeout_ns : NO_LIMIT_NS;
    env_lock(s->agent->env, &s->record->lock);
    work_set(work, WORK_RUNNING, running->id, NULL);
    env_unlock(s->agent->env, &s->record->lock);
    agent_task_begin(s->agent, "hook", hook_task, h);
}
