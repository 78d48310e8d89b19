/*
 * The sandbox: a container that does nothing but hold the pod's namespaces, and the network in it.
 *
 * A sandbox counts when it runs and its network is set up; one found running without a network (the
 * kubelet died in between) gets it now. When it is dead, what still runs in it is stopped first,
 * then a new one with the next attempt is made.
 */
#include "kubelet/sync.h"

#include "common/log.h"
#include "common/time.h"

#define PORTS_MAX 64

struct ports {
    struct port_mapping items[PORTS_MAX];
    size_t count;
};

static void collect_ports(const cJSON *containers, struct ports *ports)
{
    const cJSON *container, *port;

    cJSON_ArrayForEach(container, containers)
    {
        cJSON_ArrayForEach(port, json_get(container, "ports"))
        {
            int64_t host = json_int64_at(port, "hostPort", 0);
            const char *protocol = json_string(port, "protocol");

            if (host <= 0 || ports->count == PORTS_MAX)
                continue;
            ports->items[ports->count++] = (struct port_mapping){.host_port = host,
                .container_port = json_int64_at(port, "containerPort", 0),
                .protocol = c_eq(protocol, "UDP")    ? "udp"
                            : c_eq(protocol, "SCTP") ? "sctp"
                                                     : "tcp",
                .host_ip = json_string(port, "hostIP")};
        }
    }
}

static struct pod_network network_of(
    struct sync *s, const struct container_info *sandbox, struct ports *ports)
{
    collect_ports(json_get(s->spec, "containers"), ports);
    collect_ports(json_get(s->spec, "initContainers"), ports);
    return (struct pod_network){.uid = s->record->uid,
        .namespace_ = s->record->namespace_,
        .pod = s->record->name,
        .sandbox_id = sandbox->id,
        .pid = sandbox->state == CONTAINER_RUNNING ? sandbox->pid : 0,
        .ports = ports->items,
        .port_count = ports->count};
}

static void set_address(struct sync *s, const struct network_result *result)
{
    struct pod_record *r = s->record;

    env_lock(s->agent->env, &r->lock);
    memcpy(r->pod_ip, result->ip, sizeof(r->pod_ip));
    memcpy(r->pod_ip_other, result->ip_other, sizeof(r->pod_ip_other));
    env_unlock(s->agent->env, &r->lock);
    free(r->network_sandbox);
    r->network_sandbox = xstrdup(s->sandbox->id);
}

/* The network of a running sandbox: known, kept from before a crash, or set up now. */
static int ensure_network(struct sync *s, bool is_new, struct error *err)
{
    struct runtime *rt = s->agent->runtime;
    struct network_result result = {0};
    struct ports ports = {0};

    if (c_eq(s->record->network_sandbox, s->sandbox->id) && s->record->pod_ip[0])
        return 0;
    if (pod_uses_host_network(s->spec)) {
        snprintf(result.ip, sizeof(result.ip), "%s", s->node->ip);
        set_address(s, &result);
        return 0;
    }
    struct pod_network net = network_of(s, s->sandbox, &ports);
    if (is_new || !rt->ops->network_get(rt, s->record->uid, s->sandbox->id, &result)) {
        if (!is_new && rt->ops->network_down(rt, &net, err) < 0)
            return -err->code;
        if (rt->ops->network_up(rt, &net, &result, err) < 0)
            return error_wrap(err,
                "failed to set up sandbox container \"%.12s\" network for pod \"%s\"",
                s->sandbox->id, s->record->name);
    }
    set_address(s, &result);
    return 0;
}

int sandbox_down(struct sync *s, struct error *err)
{
    struct runtime *rt = s->agent->runtime;

    for (size_t i = 0; i < s->containers.count; i++) {
        struct container_info *info = s->containers.items[i];
        struct ports ports = {0};

        if (!container_is_sandbox(info))
            continue;
        struct pod_network net = network_of(s, info, &ports);
        if (!pod_uses_host_network(s->spec) && rt->ops->network_down(rt, &net, err) < 0)
            return -err->code;
        if (rt->ops->remove(rt, info->id, err) < 0) {
            if (info->state == CONTAINER_RUNNING || err->code == ERR_UNAVAILABLE)
                return -err->code;
            /* Dead already, and Docker cannot clear it away (a mount is busy): it holds nothing up.
             */
            if (s->sandbox == info)
                s->sandbox = NULL;
            continue;
        }
        runtime_cache_drop(s->agent->cache, s->record->uid, info->id);
        if (s->sandbox == info)
            s->sandbox = NULL;
        container_info_unref(info);
        s->containers.items[i--] = s->containers.items[--s->containers.count];
    }
    free(s->record->network_sandbox);
    s->record->network_sandbox = NULL;
    return 0;
}

/* What runs in a dead sandbox must end before the next one; true when nothing does. */
static int clear_dead(struct sync *s, bool *ret_clear, struct error *err)
{
    *ret_clear = true;
    for (size_t i = 0; i < s->containers.count; i++) {
        struct container_info *info = s->containers.items[i];

        if (info->state != CONTAINER_RUNNING || container_is_sandbox(info))
            continue;
        *ret_clear = false;
        int64_t grace = pod_grace_seconds(s->spec) * NS_PER_S;
        record_container(s->record, info->container)->kill_for_restart = true;
        if (container_stop(s, info, s->now_ns + grace, false, err) < 0)
            return -err->code;
    }
    return 0;
}

static int make_sandbox(struct sync *s, int64_t attempt, struct error *err)
{
    struct runtime *rt = s->agent->runtime;
    struct container_info *info = NULL;
    autofree char *id = NULL;
    autojson cJSON *body = sandbox_body(s);
    struct container_spec spec = {
        .name = arena_printf(s->arena, "k8s_%s_%s_%s_%s_%lld", SANDBOX_NAME, s->record->name,
            s->record->namespace_, s->record->uid, (long long)attempt),
        .uid = s->record->uid,
        .namespace_ = s->record->namespace_,
        .pod = s->record->name,
        .container = SANDBOX_NAME,
        .attempt = attempt,
        .grace_seconds = pod_grace_seconds(s->spec),
        .body = body};

    if (rt->ops->create(rt, &spec, &id, err) < 0)
        return -err->code;
    int r = rt->ops->start(rt, id, err);
    if (r == 0)
        r = runtime_cache_refresh(s->agent->cache, s->record->uid, id, &info, err);
    if (r < 0) {
        struct error ignored;
        rt->ops->remove(rt, id, &ignored);
        runtime_cache_drop(s->agent->cache, s->record->uid, id);
        return r;
    }
    sync_replace(s, info);
    s->sandbox = info;
    if (info->state != CONTAINER_RUNNING)
        return error_set(
            err, ERR_INTERNAL, "the sandbox ended with exit code %lld", (long long)info->exit_code);
    return 0;
}

static enum step_result failed(struct sync *s, const struct error *why, struct error *err)
{
    if (why->code == ERR_UNAVAILABLE) {
        *err = *why; /* no fault of the pod's: no event, no long back-off */
        return STEP_ERROR;
    }
    pod_event(s->record, s->spec, NULL, EVENT_WARNING, "FailedCreatePodSandBox",
        "Failed to create pod sandbox: %s", why->text);
    log_warning("sandbox failed, retrying", "pod", "%s/%s", s->record->namespace_, s->record->name,
        "error", "%s", why->text, NULL);
    sync_failed(s);
    return STEP_FINISH;
}

static int replace_sandbox(struct sync *s, struct error *err)
{
    int64_t attempt = s->sandbox ? s->sandbox->attempt + 1 : 0;

    if (s->sandbox) {
        pod_event(s->record, s->spec, NULL, EVENT_NORMAL, "SandboxChanged",
            "Pod sandbox changed, it will be killed and re-created.");
        if (sandbox_down(s, err) < 0)
            return -err->code;
    }
    env_lock(s->agent->env, &s->record->lock);
    s->record->pod_ip[0] = s->record->pod_ip_other[0] = '\0';
    env_unlock(s->agent->env, &s->record->lock);
    return make_sandbox(s, attempt, err);
}

enum step_result sandbox_step(struct sync *s, struct error *err)
{
    bool alive = s->sandbox && s->sandbox->state == CONTAINER_RUNNING, clear = true, is_new = false;
    struct error why;

    if (!alive) {
        if (s->now_ns < s->record->retry_at_ns) {
            sync_again(s, s->record->retry_at_ns - s->now_ns);
            return STEP_FINISH;
        }
        if (clear_dead(s, &clear, err) < 0)
            return STEP_ERROR;
        if (!clear)
            return STEP_FINISH;
        if (replace_sandbox(s, &why) < 0)
            return failed(s, &why, err);
        is_new = true;
    }
    if (ensure_network(s, is_new, &why) < 0) {
        struct error ignored;
        sandbox_down(s, &ignored);
        return failed(s, &why, err);
    }
    s->record->retry_ns = s->record->retry_at_ns = 0;
    s->sandbox_up = true;
    if (!s->agent->runtime->pretends && hosts_write(s, err) < 0)
        return STEP_ERROR;
    return STEP_NEXT;
}
