/*
 * Probes: each is a key of the probe queue that comes back after its period; its verdict wakes the
 * pod.
 *
 * Startup gates the other two: until it has succeeded they don't run. A verdict changes only after
 * its threshold of equal answers in a row. Readiness begins as a failure, liveness and startup as
 * neither; after a restart of the kubelet the API's last word about a container that still runs is
 * believed until a probe speaks.
 *
 * Locks: results and the list under record.lock; everything else of a probe is immutable.
 * Upstream: pkg/kubelet/prober.
 */
#include "kubelet/sync.h"

#include "common/log.h"
#include "common/time.h"

#define OUTPUT_MAX (10u << 10)

static const struct kind {
    const char *field, *word, *title;
} kinds[PROBE_KINDS] = {
    [PROBE_STARTUP] = {"startupProbe", "startup", "Startup"},
    [PROBE_READINESS] = {"readinessProbe", "readiness", "Readiness"},
    [PROBE_LIVENESS] = {"livenessProbe", "liveness", "Liveness"},
};

static const struct metric_info probe_total = {"prober_probe_total", METRIC_COUNTER,
    "Cumulative number of a liveness, readiness or startup probe for a container by result.",
    {"probe_type", "result"}};

void probe_unref(struct probe *probe)
{
    if (!probe || __atomic_sub_fetch(&probe->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    cJSON_Delete(probe->spec);
    cJSON_Delete(probe->container_spec);
    free(probe->key);
    free(probe->container);
    free(probe->container_id);
    free(probe);
}

static int64_t seconds(const cJSON *spec, const char *name, int64_t otherwise)
{
    int64_t value = json_int64_at(spec, name, otherwise);

    return (value > 0 ? value : otherwise) * NS_PER_S;
}

static struct probe *probe_new(
    struct sync *s, const cJSON *container, int kind, const struct container_info *running)
{
    const cJSON *spec = json_get(container, kinds[kind].field);
    struct probe *p = xcalloc(1, sizeof(*p));

    p->references = 1;
    p->record = s->record;
    p->kind = kind;
    p->spec = cJSON_Duplicate(spec, true);
    p->container_spec = cJSON_Duplicate(container, true);
    p->container = xstrdup(json_string(container, "name"));
    p->container_id = xstrdup(running->id);
    p->key =
        str_format("%s/%s/%s/%.12s", s->record->uid, p->container, kinds[kind].word, running->id);
    p->initial_delay_ns = json_int64_at(spec, "initialDelaySeconds", 0) * NS_PER_S;
    p->period_ns = seconds(spec, "periodSeconds", 10);
    p->timeout_ns = seconds(spec, "timeoutSeconds", 1);
    p->success_threshold = seconds(spec, "successThreshold", 1) / NS_PER_S;
    p->failure_threshold = seconds(spec, "failureThreshold", 3) / NS_PER_S;
    int64_t age = s->wall_ns - running->started_ns;
    p->container_started_ns = s->now_ns - (age > 0 ? age : 0);
    return p;
}

/* What the API last said about this very container, for the time until probes have an opinion of
 * their own. */
static void trust_status(
    struct sync *s, struct container_record *c, const struct container_info *running)
{
    autofree char *id = str_format("docker://%s", running->id);
    const cJSON *status;

    if (c_eq(c->trusted_id, running->id))
        return;
    free(c->trusted_id);
    c->trusted_id = xstrdup(running->id);
    c->ready = c->started = false;
    cJSON_ArrayForEach(status, json_get(s->status, "containerStatuses"))
    {
        if (!c_eq(json_string(status, "name"), c->name) ||
            !c_eq(json_string(status, "containerID"), id))
            continue;
        c->ready = json_bool(status, "ready", false);
        c->started = json_bool(status, "started", false);
    }
}

void probes_update(struct sync *s, struct container_record *c, const cJSON *container,
    const struct container_info *running)
{
    trust_status(s, c, running);
    if (s->agent->runtime->pretends)
        return;
    for (int kind = 0; kind < PROBE_KINDS; kind++) {
        struct probe *old = c->probes[kind];
        bool wanted =
            json_get(container, kinds[kind].field) && !(s->terminating && kind != PROBE_READINESS);

        if (old && (!wanted || !c_eq(old->container_id, running->id))) {
            env_lock(s->agent->env, &s->record->lock);
            old->removed = true;
            c->probes[kind] = NULL;
            env_unlock(s->agent->env, &s->record->lock);
            probe_unref(old);
            old = NULL;
        }
        if (old || !wanted)
            continue;
        struct probe *p = probe_new(s, container, kind, running);
        if (c->started && kind == PROBE_STARTUP)
            p->result = RESULT_SUCCESS;
        if (c->ready && kind == PROBE_READINESS)
            p->result = RESULT_SUCCESS;
        env_lock(s->agent->env, &s->record->lock);
        c->probes[kind] = p;
        env_unlock(s->agent->env, &s->record->lock);
        int64_t wait = p->container_started_ns + p->initial_delay_ns - s->now_ns;
        if (wait > 0)
            workqueue_add_after(s->agent->probe_queue, p->key, wait);
        else
            workqueue_add(s->agent->probe_queue, p->key);
    }
}

void probes_remove(struct pod_record *record, struct container_record *c)
{
    for (int kind = 0; kind < PROBE_KINDS; kind++) {
        env_lock(record->agent->env, &record->lock);
        struct probe *p = c->probes[kind];
        c->probes[kind] = NULL;
        if (p)
            p->removed = true;
        env_unlock(record->agent->env, &record->lock);
        probe_unref(p);
    }
}

static enum probe_result result_of(struct pod_record *record, struct container_record *c, int kind)
{
    env_lock(record->agent->env, &record->lock);
    enum probe_result result = c->probes[kind] ? c->probes[kind]->result : RESULT_UNKNOWN;
    env_unlock(record->agent->env, &record->lock);
    return result;
}

static bool hook_is_done(struct pod_record *record, struct container_record *c)
{
    env_lock(record->agent->env, &record->lock);
    bool done = c->post_start.state == WORK_NONE || c->post_start.state == WORK_DONE;
    env_unlock(record->agent->env, &record->lock);
    return done;
}

bool probes_started(struct pod_record *record, struct container_record *c, const cJSON *container,
    const struct container_info *running)
{
    if (!running || c->kill_for_restart || !hook_is_done(record, c))
        return false;
    if (record->agent->runtime->pretends || !json_get(container, kinds[PROBE_STARTUP].field))
        return true;
    return result_of(record, c, PROBE_STARTUP) == RESULT_SUCCESS;
}

bool probes_ready(struct pod_record *record, struct container_record *c, const cJSON *container,
    const struct container_info *running)
{
    if (!probes_started(record, c, container, running))
        return false;
    if (record->agent->runtime->pretends || !json_get(container, kinds[PROBE_READINESS].field))
        return true;
    return result_of(record, c, PROBE_READINESS) == RESULT_SUCCESS;
}

int probes_unhealthy(struct pod_record *record, struct container_record *c)
{
    if (result_of(record, c, PROBE_STARTUP) == RESULT_FAILURE)
        return PROBE_STARTUP;
    return result_of(record, c, PROBE_LIVENESS) == RESULT_FAILURE ? PROBE_LIVENESS : -1;
}

/* The probe of a key, referenced, while its pod and container are there; the record is referenced
 * too. */
static struct probe *find(struct agent *agent, const char *key, struct pod_record **ret_record,
    struct container_record **ret_container)
{
    struct str rest = str_of(key), uid;
    struct probe *found = NULL;

    str_split(&rest, '/', &uid);
    autofree char *uid_text = str_dup(uid);
    struct pod_record *record = record_find(agent, uid_text);
    if (!record)
        return NULL;
    env_lock(agent->env, &record->lock);
    for (size_t i = 0; i < record->container_count && !found; i++) {
        for (int kind = 0; kind < PROBE_KINDS && !found; kind++) {
            struct probe *p = record->containers[i]->probes[kind];
            if (!p || !c_eq(p->key, key))
                continue;
            found = p;
            *ret_container = record->containers[i];
            __atomic_add_fetch(&p->references, 1, __ATOMIC_RELAXED);
        }
    }
    env_unlock(agent->env, &record->lock);
    if (found)
        *ret_record = record;
    else
        record_unref(record);
    return found;
}

/* Counts an answer; true when the verdict changed. lock held. */
static bool count(struct probe *p, bool success)
{
    enum probe_result before = p->result;

    p->run_of_successes = success ? p->run_of_successes + 1 : 0;
    p->run_of_failures = success ? 0 : p->run_of_failures + 1;
    if (success && p->run_of_successes >= p->success_threshold)
        p->result = RESULT_SUCCESS;
    if (!success && p->run_of_failures >= p->failure_threshold)
        p->result = RESULT_FAILURE;
    return p->result != before;
}

static void ask(struct pod_record *record, struct probe *p)
{
    struct agent *agent = record->agent;
    autostrbuf struct strbuf output = STRBUF_EMPTY;
    struct error err;
    char pod_ip[64];

    strbuf_init(&output, OUTPUT_MAX);
    env_lock(agent->env, &record->lock);
    memcpy(pod_ip, record->pod_ip, sizeof(pod_ip));
    env_unlock(agent->env, &record->lock);
    int r = handler_run(
        record, p->container_spec, p->spec, p->container_id, pod_ip, p->timeout_ns, &output, &err);
    metric_add(
        agent->metrics, &probe_total, 1, kinds[p->kind].title, r == 0 ? "successful" : "failed");
    env_lock(agent->env, &record->lock);
    bool told = p->removed, changed = !told && count(p, r == 0);
    env_unlock(agent->env, &record->lock);
    if (r < 0 && !told) {
        autojson cJSON *spec = json_make("{\"containers\":[]}");
        cJSON_AddItemToArray(
            json_get(spec, "containers"), cJSON_Duplicate(p->container_spec, true));
        pod_event(record, spec, p->container, EVENT_WARNING, "Unhealthy", "%s probe %s: %s",
            kinds[p->kind].title,
            json_get(p->spec, "exec") && r == -ERR_TIMEOUT ? "errored" : "failed", err.text);
    }
    if (changed)
        record_wake(record);
}

int probe_run(void *arg, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct agent *agent = arg;
    struct pod_record *record = NULL;
    struct container_record *c = NULL;
    struct probe *p = find(agent, key, &record, &c);

    (void)err;
    if (!p)
        return 0;
    enum probe_result startup = result_of(record, c, PROBE_STARTUP);
    env_lock(agent->env, &record->lock);
    bool gated = p->kind != PROBE_STARTUP && c->probes[PROBE_STARTUP] && startup != RESULT_SUCCESS;
    bool over = p->kind == PROBE_STARTUP && p->result == RESULT_SUCCESS;
    bool dead = p->kind != PROBE_READINESS && p->result == RESULT_FAILURE;
    env_unlock(agent->env, &record->lock);
    if (!gated && !over && !dead)
        ask(record, p);
    if (over || dead)
        *ret_again_ns = 0;
    else /* a startup probe that just succeeded lets the others begin soon */
        *ret_again_ns = gated && p->period_ns > NS_PER_S ? NS_PER_S : p->period_ns;
    probe_unref(p);
    record_unref(record);
    return 0;
}
