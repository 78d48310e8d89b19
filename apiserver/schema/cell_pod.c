/*
 * Cells of pods: READY, STATUS, RESTARTS and the wide ones.
 *
 * STATUS is not the phase: it is the most telling reason among the containers, init containers
 * first, as upstream's printPod derives it.
 */
#include "apiserver/schema/cell.h"
#include "common/time.h"

struct summary {
    int64_t ready, total, restarts, sidecar_restarts;
    const char *last_restart, *last_sidecar_restart; /* finishedAt of the newest termination */
    struct strbuf reason;
    bool initializing;
};

static const cJSON *status_named(const cJSON *statuses, const char *name)
{
    for (const cJSON *s = statuses ? statuses->child : NULL; s; s = s->next)
        if (!strcmp(value_string(json_get(s, "name")), name))
            return s;
    return NULL;
}

static bool is_sidecar(const cJSON *pod, const char *name)
{
    const cJSON *c = status_named(json_path(pod, "spec.initContainers"), name);
    return c && !strcmp(value_string(json_get(c, "restartPolicy")), "Always");
}

static void note_restart(struct summary *s, const cJSON *status)
{
    const char *finished = json_string_at(status, "lastState.terminated.finishedAt");
    s->restarts += json_int64_at(status, "restartCount", 0);
    if (finished && (!s->last_restart || strcmp(finished, s->last_restart) > 0))
        s->last_restart = finished;
}

static void note_sidecar_restart(struct summary *s, const cJSON *pod, const cJSON *status)
{
    const char *finished = json_string_at(status, "lastState.terminated.finishedAt");
    if (!is_sidecar(pod, value_string(json_get(status, "name"))))
        return;
    s->sidecar_restarts += json_int64_at(status, "restartCount", 0);
    if (finished && (!s->last_sidecar_restart || strcmp(finished, s->last_sidecar_restart) > 0))
        s->last_sidecar_restart = finished;
}

static void set_reason(struct summary *s, const char *prefix, const char *reason)
{
    strbuf_clear(&s->reason);
    strbuf_addf(&s->reason, "%s%s", prefix, reason);
}

/* "Signal:9" or "ExitCode:1" for a termination without a reason. */
static void set_exit(struct summary *s, const char *prefix, const cJSON *terminated)
{
    int64_t signal = json_int64_at(terminated, "signal", 0);
    const char *reason = value_string(json_get(terminated, "reason"));
    strbuf_clear(&s->reason);
    if (*reason)
        strbuf_addf(&s->reason, "%s%s", prefix, reason);
    else if (signal)
        strbuf_addf(&s->reason, "%sSignal:%lld", prefix, (long long)signal);
    else
        strbuf_addf(&s->reason, "%sExitCode:%lld", prefix,
            (long long)json_int64_at(terminated, "exitCode", 0));
}

/* false when this init container lets the next one be looked at. */
static bool sum_init(
    struct summary *s, const cJSON *pod, const cJSON *status, size_t index, size_t count)
{
    const cJSON *terminated = json_path(status, "state.terminated");
    const char *waiting = value_string(json_path(status, "state.waiting.reason"));
    bool sidecar = is_sidecar(pod, value_string(json_get(status, "name")));
    if (terminated && json_int64_at(terminated, "exitCode", 0) == 0)
        return false;
    if (sidecar && json_bool(status, "started", false)) {
        if (json_bool(status, "ready", false))
            s->ready++;
        return false;
    }
    if (terminated) {
        set_exit(s, "Init:", terminated);
    } else if (*waiting && strcmp(waiting, "PodInitializing") != 0) {
        set_reason(s, "Init:", waiting);
    } else {
        strbuf_clear(&s->reason);
        strbuf_addf(&s->reason, "Init:%zu/%zu", index, count);
    }
    return true;
}

static void sum_inits(struct summary *s, const cJSON *pod)
{
    size_t index = 0, count = (size_t)count_of(pod, "spec.initContainers");
    for (const cJSON *c = first_of(pod, "spec.initContainers"); c; c = c->next)
        s->total += !strcmp(value_string(json_get(c, "restartPolicy")), "Always");
    for (const cJSON *st = first_of(pod, "status.initContainerStatuses"); st;
         st = st->next, index++) {
        note_restart(s, st);
        note_sidecar_restart(s, pod, st);
        if (sum_init(s, pod, st, index, count)) {
            s->initializing = true;
            return;
        }
    }
}

static bool condition_is_true(const cJSON *o, const char *type)
{
    const cJSON *list = json_path(o, "status.conditions");
    for (const cJSON *c = list ? list->child : NULL; c; c = c->next)
        if (!strcmp(value_string(json_get(c, "type")), type))
            return !strcmp(value_string(json_get(c, "status")), "True");
    return false;
}

static void sum_containers(struct summary *s, const cJSON *pod)
{
    bool running = false;
    s->restarts = s->sidecar_restarts; /* those of finished init containers no longer matter */
    s->last_restart = s->last_sidecar_restart;
    const cJSON *all = json_path(pod, "status.containerStatuses"), *last = all ? all->child : NULL;
    while (last && last->next)
        last = last->next;
    /* from the last to the first, so that the first one's reason stands */
    for (const cJSON *st = last; st; st = st == all->child ? NULL : st->prev) {
        const cJSON *terminated = json_path(st, "state.terminated");
        const char *waiting = value_string(json_path(st, "state.waiting.reason"));
        note_restart(s, st);
        if (*waiting) {
            set_reason(s, "", waiting);
        } else if (terminated) {
            set_exit(s, "", terminated);
        } else if (json_bool(st, "ready", false) && json_path(st, "state.running")) {
            running = true;
            s->ready++;
        }
    }
    if (running && !strcmp(s->reason.data, "Completed"))
        set_reason(s, "", condition_is_true(pod, "Ready") ? "Running" : "NotReady");
}

static void summarise(const cJSON *pod, struct summary *s)
{
    const char *reason = value_string(json_path(pod, "status.reason"));
    *s = (struct summary){.total = count_of(pod, "spec.containers")};
    strbuf_init(&s->reason, 0);
    set_reason(s, "", *reason ? reason : value_string(json_path(pod, "status.phase")));
    for (const cJSON *c = first_of(pod, "status.conditions"); c; c = c->next)
        if (!strcmp(value_string(json_get(c, "type")), "PodScheduled") &&
            !strcmp(value_string(json_get(c, "reason")), "SchedulingGated"))
            set_reason(s, "", "SchedulingGated");
    sum_inits(s, pod);
    if (!s->initializing || condition_is_true(pod, "Initialized"))
        sum_containers(s, pod);
    const char *phase = value_string(json_path(pod, "status.phase"));
    if (json_string_at(pod, "metadata.deletionTimestamp")) {
        if (!strcmp(reason, "NodeLost"))
            set_reason(s, "", "Unknown");
        else if (strcmp(phase, "Succeeded") != 0 && strcmp(phase, "Failed") != 0)
            set_reason(s, "", "Terminating");
    }
}

cJSON *cell_pod_ready(const cJSON *o, int64_t now_ns)
{
    char text[48];
    struct summary s;
    (void)now_ns;
    summarise(o, &s);
    strbuf_done(&s.reason);
    snprintf(text, sizeof(text), "%lld/%lld", (long long)s.ready, (long long)s.total);
    return cell_text(text);
}

cJSON *cell_pod_status(const cJSON *o, int64_t now_ns)
{
    struct summary s;
    (void)now_ns;
    summarise(o, &s);
    return cell_buffer(&s.reason);
}

cJSON *cell_pod_restarts(const cJSON *o, int64_t now_ns)
{
    struct summary s;
    summarise(o, &s);
    strbuf_clear(&s.reason);
    strbuf_addf(&s.reason, "%lld", (long long)s.restarts);
    if (s.restarts > 0 && s.last_restart) {
        strbuf_addc(&s.reason, " (");
        print_age(s.last_restart, now_ns, &s.reason);
        strbuf_addc(&s.reason, " ago)");
    }
    return cell_buffer(&s.reason);
}

cJSON *cell_pod_ip(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    const cJSON *first = first_of(o, "status.podIPs");
    const char *ip = first ? json_string(first, "ip") : json_string_at(o, "status.podIP");
    return cell_text_or(ip, "<none>");
}

cJSON *cell_pod_node(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "spec.nodeName"), "<none>");
}

cJSON *cell_pod_nominated(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "status.nominatedNodeName"), "<none>");
}

cJSON *cell_pod_gates(const cJSON *o, int64_t now_ns)
{
    char text[48];
    int64_t total = 0, ready = 0;
    (void)now_ns;
    for (const cJSON *g = first_of(o, "spec.readinessGates"); g; g = g->next, total++)
        ready += condition_is_true(o, value_string(json_get(g, "conditionType")));
    if (total == 0)
        return cell_text("<none>");
    snprintf(text, sizeof(text), "%lld/%lld", (long long)ready, (long long)total);
    return cell_text(text);
}
