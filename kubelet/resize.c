/*
 * In-place resize: a running container gets the cpu and memory that its spec asks for now, without
 * a restart unless its resizePolicy wants one.
 *
 * What a container has is read from the runtime, so nothing is kept for it. A node that can never
 * hold the pod says so (Infeasible); one that can't hold it now tries again later (Deferred). The
 * pod's other containers are treated each for itself. What can't be applied, like memory below what
 * is in use, is an error of the resize and is tried again; the container goes on with what it has.
 *
 * Threads: the pod's worker. Upstream: pkg/kubelet/allocation, kuberuntime_manager.go
 * (computePodResizeAction).
 */
#include "kubelet/sync.h"

#include "common/time.h"

#define AGAIN_NS (10 * NS_PER_S)

static struct container_limits wanted_limits(const cJSON *container)
{
    struct resource_pair requests = container_requests(container),
                         limits = container_limits(container);

    return (struct container_limits){.known = true,
        .cpu_shares = cpu_shares(requests.cpu_milli),
        .cpu_quota = limits.cpu_milli > 0 ? cpu_quota(limits.cpu_milli) : 0,
        .memory_bytes = limits.memory_bytes > 0 ? limits.memory_bytes : 0};
}

static bool differ(const struct container_limits *a, const struct container_limits *b)
{
    return a->cpu_shares != b->cpu_shares || a->cpu_quota != b->cpu_quota ||
           a->memory_bytes != b->memory_bytes;
}

/* --- does it fit? --- */

static void add_requests(const cJSON *spec, struct resource_pair *sum)
{
    static const char *const lists[] = {"containers", "initContainers"};
    const cJSON *container;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        cJSON_ArrayForEach(container, json_get(spec, lists[i]))
        {
            struct resource_pair one = container_requests(container);
            if (i == 1 && !container_is_sidecar(container))
                continue;
            sum->cpu_milli += one.cpu_milli > 0 ? one.cpu_milli : 0;
            sum->memory_bytes += one.memory_bytes > 0 ? one.memory_bytes : 0;
        }
}

/* Of the node's other pods. */
static void add_others(struct sync *s, struct resource_pair *sum)
{
    struct projected_array pods = informer_list(s->agent->pods, NULL);

    for (size_t i = 0; i < pods.count; i++) {
        const struct pod_view *pod = pods.objects[i];
        autojson cJSON *spec = NULL, *status = NULL;
        struct error ignored;
        if (c_eq(pod->meta.uid, s->record->uid) || !c_eq(pod->node_name, s->node->name) ||
            !pod->spec || json_parse(str_of(pod->spec), &spec, &ignored) < 0)
            continue;
        if (pod->status && json_parse(str_of(pod->status), &status, &ignored) == 0 &&
            status_terminal_phase(status))
            continue;
        add_requests(spec, sum);
    }
    projected_array_done(&pods);
}

/* Why the resources are not there; NULL when they are. */
static const char *misfit(struct sync *s, bool *ret_never)
{
    struct resource_pair own = {0}, all = {0};

    env_lock(s->agent->env, &s->node->lock);
    struct resource_pair node = s->node->allocatable;
    env_unlock(s->agent->env, &s->node->lock);
    add_requests(s->spec, &own);
    *ret_never = true;
    if (own.cpu_milli > node.cpu_milli)
        return arena_printf(s->arena,
            "Node didn't have enough capacity: cpu, requested: %lld, capacity: %lld",
            (long long)own.cpu_milli, (long long)node.cpu_milli);
    if (own.memory_bytes > node.memory_bytes)
        return arena_printf(s->arena,
            "Node didn't have enough capacity: memory, requested: %lld, capacity: %lld",
            (long long)own.memory_bytes, (long long)node.memory_bytes);
    *ret_never = false;
    add_others(s, &all);
    if (own.cpu_milli + all.cpu_milli > node.cpu_milli)
        return arena_printf(s->arena,
            "Node didn't have enough resource: cpu, requested: %lld, used: %lld, capacity: %lld",
            (long long)own.cpu_milli, (long long)all.cpu_milli, (long long)node.cpu_milli);
    if (own.memory_bytes + all.memory_bytes > node.memory_bytes)
        return arena_printf(s->arena,
            "Node didn't have enough resource: memory, requested: %lld, used: %lld, capacity: %lld",
            (long long)own.memory_bytes, (long long)all.memory_bytes, (long long)node.memory_bytes);
    return NULL;
}

/* --- apply --- */

static void note(struct container_record *c, enum resize_state state, const char *message)
{
    c->resize = state;
    free(c->resize_message);
    c->resize_message = message ? xstrdup(message) : NULL;
}

static bool wants_restart(const cJSON *container, const struct container_limits *has,
    const struct container_limits *wants)
{
    const cJSON *policy;

    cJSON_ArrayForEach(policy, json_get(container, "resizePolicy"))
    {
        const char *name = json_string(policy, "resourceName");
        bool changes = c_eq(name, "memory") ? has->memory_bytes != wants->memory_bytes
                                            : has->cpu_shares != wants->cpu_shares ||
                                                  has->cpu_quota != wants->cpu_quota;
        if (changes && c_eq(json_string(policy, "restartPolicy"), "RestartContainer"))
            return true;
    }
    return false;
}

/* A daemon without a controller passes over what it can't do: asked once, it is not asked again. */
static bool is_tried(
    const struct container_record *c, const char *id, const struct container_limits *wants)
{
    return c_eq(c->resized_id, id) && !differ(&c->resized, wants);
}

/* A limit below what is in use would kill the container, or be refused. */
static int check_memory(struct sync *s, const struct container_info *running,
    const struct container_limits *wants, struct error *err)
{
    struct runtime *rt = s->agent->runtime;
    struct usage usage;
    struct error ignored;

    if (wants->memory_bytes == 0 || !rt->ops->usage ||
        (running->limits.memory_bytes > 0 && wants->memory_bytes >= running->limits.memory_bytes) ||
        rt->ops->usage(rt, running, &usage, &ignored) < 0 ||
        usage.memory_bytes < wants->memory_bytes)
        return 0;
    return error_set(err, ERR_BAD_REQUEST,
        "attempting to set container memory limit (%lld) below current usage (%lld)",
        (long long)wants->memory_bytes, (long long)usage.memory_bytes);
}

static void update(struct sync *s, struct container_record *c, struct container_info *running,
    const struct container_limits *wants)
{
    struct runtime *rt = s->agent->runtime;
    struct container_info *info = NULL;
    struct error err;

    if (check_memory(s, running, wants, &err) < 0 ||
        rt->ops->update(rt, running->id, wants, &err) < 0) {
        note(c, RESIZE_ERROR, err.text);
        sync_again(s, AGAIN_NS);
        return;
    }
    free(c->resized_id);
    c->resized_id = xstrdup(running->id);
    c->resized = *wants;
    note(c, RESIZE_NONE, NULL);
    if (runtime_cache_refresh(s->agent->cache, s->record->uid, running->id, &info, &err) == 0)
        sync_replace(s, info);
}

bool container_resize(struct sync *s, struct container_record *c, const cJSON *container,
    struct container_info *running)
{
    struct container_limits wants = wanted_limits(container), has = running->limits;
    bool never = false;

    if (!has.known || !differ(&has, &wants) || is_tried(c, running->id, &wants) || s->terminating) {
        note(c, RESIZE_NONE, NULL);
        return false;
    }
    const char *why = misfit(s, &never);
    if (why) {
        note(c, never ? RESIZE_INFEASIBLE : RESIZE_DEFERRED, why);
        if (!never)
            sync_again(s, AGAIN_NS);
        return false;
    }
    if (wants_restart(container, &has, &wants)) {
        note(c, RESIZE_NONE, NULL);
        return true;
    }
    update(s, c, running, &wants);
    return false;
}
