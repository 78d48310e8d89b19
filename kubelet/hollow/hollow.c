/*
 * Hollow nodes' runtime: see hollow.h.
 *
 * A container's id says all there is to know (name, attempt, sandbox), so inspect() can describe
 * one without having kept it; whether it has been signalled is the only thing remembered, until it
 * is removed.
 */
#include "kubelet/hollow/hollow.h"

#include "common/hash.h"
#include "common/time.h"

struct pretended {
    UT_hash_handle hh;
    struct container_info *info;
};

struct hollow {
    struct runtime base;
    struct lock lock;
    struct pretended *containers; /* by id */
    uint64_t next_id;
    uint32_t next_address;
};

static struct hollow *hollow_of(struct runtime *rt)
{
    return container_of(rt, struct hollow, base);
}

static int hollow_prepare(struct runtime *rt, struct error *err)
{
    (void)rt, (void)err;
    return 0;
}

static int hollow_facts(struct runtime *rt, struct node_facts *ret, struct error *err)
{
    (void)rt, (void)err;
    *ret = (struct node_facts){.cpus = 4,
        .memory_bytes = 32ll << 30,
        .disk_bytes = 100ll << 30,
        .machine_id = "hollow",
        .system_uuid = "hollow",
        .boot_id = "hollow",
        .kernel = "0",
        .os_image = "hollow",
        .runtime_version = "hollow://1",
        .architecture = "amd64"};
    return 0;
}

static int hollow_list(struct runtime *rt, struct container_list *ret, struct error *err)
{
    struct hollow *h = hollow_of(rt);
    struct pretended *p, *next;

    (void)err;
    env_lock(rt->env, &h->lock);
    HASH_ITER(hh, h->containers, p, next)
    container_list_add(ret, container_info_ref(p->info));
    env_unlock(rt->env, &h->lock);
    return 0;
}

static int hollow_inspect(
    struct runtime *rt, const char *id, struct container_info **ret, struct error *err)
{
    struct hollow *h = hollow_of(rt);
    struct pretended *p = NULL;

    env_lock(rt->env, &h->lock);
    HASH_FIND_STR(h->containers, id, p);
    if (p)
        *ret = container_info_ref(p->info);
    env_unlock(rt->env, &h->lock);
    return p ? 0 : error_set(err, ERR_NOT_FOUND, "no such container: %s", id);
}

static int hollow_create(
    struct runtime *rt, const struct container_spec *spec, char **ret_id, struct error *err)
{
    struct hollow *h = hollow_of(rt);
    struct pretended *p = xcalloc(1, sizeof(*p));
    struct container_info *info = container_info_new();

    (void)err;
    info->uid = xstrdup(spec->uid);
    info->namespace_ = xstrdup(spec->namespace_);
    info->pod = xstrdup(spec->pod);
    info->container = xstrdup(spec->container);
    info->sandbox_id = spec->sandbox_id ? xstrdup(spec->sandbox_id) : NULL;
    info->image = spec->image ? xstrdup(spec->image) : NULL;
    info->attempt = spec->attempt;
    info->state = CONTAINER_CREATED;
    info->complete = true;
    info->created_ns = env_wall_ns(rt->env);
    p->info = info;
    env_lock(rt->env, &h->lock);
    info->id = str_format("%016llx%016llx", (unsigned long long)env_wall_ns(rt->env),
        (unsigned long long)++h->next_id);
    *ret_id = xstrdup(info->id);
    HASH_ADD_KEYPTR(hh, h->containers, info->id, strlen(info->id), p);
    env_unlock(rt->env, &h->lock);
    return 0;
}

/* Descriptions are immutable: a change is a copy. */
static struct container_info *copy_info(const struct container_info *from)
{
    struct container_info *to = container_info_new();
    const char *strings[] = {from->id, from->uid, from->namespace_, from->pod, from->container,
        from->sandbox_id, from->image};
    char **targets[] = {
        &to->id, &to->uid, &to->namespace_, &to->pod, &to->container, &to->sandbox_id, &to->image};

    for (size_t i = 0; i < ARRAY_COUNT(strings); i++)
        *targets[i] = strings[i] ? xstrdup(strings[i]) : NULL;
    to->attempt = from->attempt;
    to->complete = true;
    to->created_ns = from->created_ns;
    to->started_ns = from->started_ns;
    return to;
}

static int change(struct runtime *rt, const char *id, enum container_state state, int64_t exit_code,
    struct error *err)
{
    struct hollow *h = hollow_of(rt);
    struct pretended *p = NULL;

    env_lock(rt->env, &h->lock);
    HASH_FIND_STR(h->containers, id, p);
    if (p) {
        struct container_info *new = copy_info(p->info), *old = p->info;
        new->state = state;
        new->exit_code = exit_code;
        new->pid = state == CONTAINER_RUNNING ? 1 : 0;
        if (state == CONTAINER_RUNNING)
            new->started_ns = env_wall_ns(rt->env);
        else
            new->finished_ns = env_wall_ns(rt->env);
        /* The table's key lies in the description. */
        HASH_DEL(h->containers, p);
        p->info = new;
        HASH_ADD_KEYPTR(hh, h->containers, new->id, strlen(new->id), p);
        container_info_unref(old);
    }
    env_unlock(rt->env, &h->lock);
    return p ? 0 : error_set(err, ERR_NOT_FOUND, "no such container: %s", id);
}

static int hollow_start(struct runtime *rt, const char *id, struct error *err)
{
    return change(rt, id, CONTAINER_RUNNING, 0, err);
}

static int hollow_signal(struct runtime *rt, const char *id, const char *signal, struct error *err)
{
    return change(rt, id, CONTAINER_EXITED, c_eq(signal, "SIGKILL") ? 137 : 0, err);
}

static int hollow_remove(struct runtime *rt, const char *id, struct error *err)
{
    struct hollow *h = hollow_of(rt);
    struct pretended *p = NULL;

    (void)err;
    env_lock(rt->env, &h->lock);
    HASH_FIND_STR(h->containers, id, p);
    if (p) {
        HASH_DEL(h->containers, p);
        container_info_unref(p->info);
        free(p);
    }
    env_unlock(rt->env, &h->lock);
    return 0;
}

static int hollow_open_stream(struct runtime *rt, const char *id, const struct stream_options *o,
    struct runtime_stream **ret, struct error *err)
{
    (void)rt, (void)id, (void)o, (void)ret;
    return error_set(
        err, ERR_NOT_IMPLEMENTED, "the containers of a hollow node are pretended: nothing runs");
}

static int hollow_logs(struct runtime *rt, const char *id, const struct log_options *options,
    log_sink_fn *sink, void *arg, bool (*gone)(void *arg), struct error *err)
{
    (void)rt, (void)id, (void)options, (void)sink, (void)arg, (void)gone, (void)err;
    return 0;
}

static int hollow_network_up(struct runtime *rt, const struct pod_network *net,
    struct network_result *ret, struct error *err)
{
    struct hollow *h = hollow_of(rt);

    (void)net, (void)err;
    env_lock(rt->env, &h->lock);
    uint32_t n = h->next_address++;
    env_unlock(rt->env, &h->lock);
    /* 11.0.0.0/8, which no Skiff cluster uses for anything else. */
    snprintf(ret->ip, sizeof(ret->ip), "11.%u.%u.%u", n >> 16 & 255, n >> 8 & 255, n & 255);
    return 0;
}

static int hollow_network_down(struct runtime *rt, const struct pod_network *net, struct error *err)
{
    (void)rt, (void)net, (void)err;
    return 0;
}

static bool hollow_network_get(
    struct runtime *rt, const char *uid, const char *sandbox_id, struct network_result *ret)
{
    (void)rt, (void)uid, (void)sandbox_id, (void)ret;
    return false;
}

static bool hollow_network_ready(struct runtime *rt, struct strbuf *why_not)
{
    (void)rt, (void)why_not;
    return true;
}

static void hollow_free(struct runtime *rt)
{
    struct hollow *h = hollow_of(rt);
    struct pretended *p, *next;

    HASH_ITER(hh, h->containers, p, next)
    {
        HASH_DEL(h->containers, p);
        container_info_unref(p->info);
        free(p);
    }
    env_lock_done(&h->lock);
    free(h);
}

static const struct runtime_ops hollow_ops = {
    .prepare = hollow_prepare,
    .facts = hollow_facts,
    .list = hollow_list,
    .inspect = hollow_inspect,
    .create = hollow_create,
    .start = hollow_start,
    .signal = hollow_signal,
    .remove = hollow_remove,
    .open_stream = hollow_open_stream,
    .logs = hollow_logs,
    .network_up = hollow_network_up,
    .network_down = hollow_network_down,
    .network_get = hollow_network_get,
    .network_ready = hollow_network_ready,
    .free = hollow_free,
};

struct runtime *hollow_runtime_new(struct env *env)
{
    struct hollow *h = xcalloc(1, sizeof(*h));

    h->base = (struct runtime){.ops = &hollow_ops, .env = env, .pretends = true};
    h->next_address = 1;
    env_lock_init(&h->lock);
    return &h->base;
}
