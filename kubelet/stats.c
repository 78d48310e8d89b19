/*
 * Collects usage, computes rates, remembers sizes; see stats.h.
 *
 * The history holds one counter a container (and one for the node, "/") of an earlier look. It is
 * replaced when it is ten seconds old, so that a rate spans between one and sixty seconds however
 * many ask at once.
 */
#include "kubelet/stats.h"

#include <sys/stat.h>

#include "common/time.h"

#define RATE_MIN_NS (1 * NS_PER_S)
#define RATE_KEEP_NS (10 * NS_PER_S)
#define RATE_MAX_NS (60 * NS_PER_S)
#define DISK_FRESH_NS (60 * NS_PER_S)
#define NODE_ID "/"

struct sample {
    UT_hash_handle hh;
    char *id;
    int64_t cpu_ns, time_ns;
};

struct size {
    UT_hash_handle hh;
    char *id;
    struct disk_usage usage;
    int64_t walked_ns;
};

struct stats_history {
    struct env *env;
    struct lock lock;
    struct sample *samples;
    int64_t taken_ns; /* monotonic; 0: never */
    struct size *sizes;
};

struct stats_history *stats_history_new(struct env *env)
{
    struct stats_history *h = xcalloc(1, sizeof(*h));

    h->env = env;
    env_lock_init(&h->lock);
    return h;
}

static void forget_samples(struct stats_history *h)
{
    struct sample *one, *next;

    HASH_ITER(hh, h->samples, one, next)
    {
        HASH_DEL(h->samples, one);
        free(one->id);
        free(one);
    }
}

static void forget_sizes(struct stats_history *h, int64_t before_ns)
{
    struct size *one, *next;

    HASH_ITER(hh, h->sizes, one, next)
    {
        if (one->walked_ns >= before_ns)
            continue;
        HASH_DEL(h->sizes, one);
        free(one->id);
        free(one);
    }
}

void stats_history_free(struct stats_history *h)
{
    if (!h)
        return;
    forget_samples(h);
    forget_sizes(h, INT64_MAX);
    env_lock_done(&h->lock);
    free(h);
}

/* --- a look --- */

static void add_container(struct agent *agent, struct stats_pod *p, struct container_info *info)
{
    struct stats_container c = {.nano_cores = -1};
    struct error ignored;

    if (info->state != CONTAINER_RUNNING || !agent->runtime->ops->usage ||
        agent->runtime->ops->usage(agent->runtime, info, &c.usage, &ignored) < 0)
        return;
    if (container_is_sandbox(info) && p->interfaces.count == 0)
        (void)agent->runtime->ops->interfaces(agent->runtime, info, &p->interfaces, &ignored);
    c.info = container_info_ref(info);
    p->items = xrealloc(p->items, (p->count + 1) * sizeof(p->items[0]));
    p->items[p->count++] = c;
}

static void add_pod(struct agent *agent, struct stats *s, const struct pod_view *pod)
{
    struct container_list list = {0};
    struct stats_pod *p = &s->pods[s->pod_count];
    struct error ignored;

    if (runtime_cache_pod(agent->cache, pod->meta.uid, &list, &ignored) < 0)
        return;
    for (size_t i = 0; i < list.count; i++)
        add_container(agent, p, list.items[i]);
    container_list_done(&list);
    if (p->count == 0)
        return;
    p->pod = projected_ref(pod);
    s->pod_count++;
}

int stats_take(struct agent *agent, struct stats *ret, struct error *err)
{
    *ret = (struct stats){.nano_cores = -1};
    if (usage_of_host("", env_wall_ns(agent->env), &ret->node, err) < 0)
        return -err->code;
    struct projected_array pods = informer_list(agent->pods, NULL);
    ret->pods = xcalloc(pods.count + 1, sizeof(ret->pods[0]));
    for (size_t i = 0; i < pods.count; i++)
        add_pod(agent, ret, pods.objects[i]);
    projected_array_done(&pods);
    return 0;
}

void stats_done(struct stats *s)
{
    for (size_t i = 0; i < s->pod_count; i++) {
        struct stats_pod *p = &s->pods[i];
        for (size_t j = 0; j < p->count; j++)
            container_info_unref(p->items[j].info);
        free(p->items);
        interface_list_done(&p->interfaces);
        projected_unref(p->pod);
    }
    free(s->pods);
    *s = (struct stats){0};
}

/* --- rates --- */

static void remember(struct stats_history *h, const char *id, const struct usage *u)
{
    struct sample *one = xcalloc(1, sizeof(*one));

    one->id = xstrdup(id);
    one->cpu_ns = u->cpu_ns;
    one->time_ns = u->time_ns;
    HASH_ADD_KEYPTR(hh, h->samples, one->id, strlen(one->id), one);
}

static void remember_all(struct stats_history *h, const struct stats *s)
{
    forget_samples(h);
    h->taken_ns = env_now_ns(h->env);
    remember(h, NODE_ID, &s->node);
    for (size_t i = 0; i < s->pod_count; i++)
        for (size_t j = 0; j < s->pods[i].count; j++)
            remember(h, s->pods[i].items[j].info->id, &s->pods[i].items[j].usage);
}

/* Since the last look, or since the start of one that began in between. */
static int64_t rate(
    struct stats_history *h, const char *id, int64_t started_ns, const struct usage *u)
{
    struct sample *before = NULL;
    int64_t cpu_ns = 0, since_ns = started_ns;

    HASH_FIND_STR(h->samples, id, before);
    if (before) {
        cpu_ns = before->cpu_ns;
        since_ns = before->time_ns;
    }
    int64_t span_ns = u->time_ns - since_ns;
    if (u->cpu_ns < cpu_ns || span_ns <= 0 || since_ns == 0)
        return -1;
    return (int64_t)((double)(u->cpu_ns - cpu_ns) * 1e9 / (double)span_ns);
}

static void set_rates(struct stats_history *h, struct stats *s)
{
    s->nano_cores = rate(h, NODE_ID, 0, &s->node);
    for (size_t i = 0; i < s->pod_count; i++)
        for (size_t j = 0; j < s->pods[i].count; j++) {
            struct stats_container *c = &s->pods[i].items[j];
            c->nano_cores = rate(h, c->info->id, c->info->started_ns, &c->usage);
        }
}

/* 0: done; else how long to wait before the next look. */
static int64_t compare(struct stats_history *h, struct stats *s)
{
    env_lock(h->env, &h->lock);
    int64_t age_ns = env_now_ns(h->env) - h->taken_ns, wait_ns = 0;
    if (h->taken_ns == 0 || age_ns > RATE_MAX_NS) {
        remember_all(h, s);
        wait_ns = RATE_MIN_NS;
    } else if (age_ns < RATE_MIN_NS) {
        wait_ns = RATE_MIN_NS - age_ns;
    } else {
        set_rates(h, s);
        if (age_ns >= RATE_KEEP_NS)
            remember_all(h, s);
    }
    env_unlock(h->env, &h->lock);
    return wait_ns;
}

int stats_take_rates(struct agent *agent, struct stats *ret, struct error *err)
{
    int64_t wait_ns;

    for (;;) {
        if (stats_take(agent, ret, err) < 0)
            return -err->code;
        wait_ns = compare(agent->stats, ret);
        if (wait_ns == 0)
            return 0;
        stats_done(ret);
        if (agent_sleep(agent, wait_ns))
            return error_set(err, ERR_UNAVAILABLE, "the kubelet is stopping");
    }
}

/* --- sizes --- */

static bool find_size(struct stats_history *h, const char *id, struct disk_usage *ret)
{
    struct size *one = NULL;

    env_lock(h->env, &h->lock);
    HASH_FIND_STR(h->sizes, id, one);
    bool found = one && env_now_ns(h->env) - one->walked_ns < DISK_FRESH_NS;
    if (found)
        *ret = one->usage;
    env_unlock(h->env, &h->lock);
    return found;
}

static void keep_size(struct stats_history *h, const char *id, struct disk_usage usage)
{
    struct size *one = NULL;

    env_lock(h->env, &h->lock);
    int64_t now_ns = env_now_ns(h->env);
    forget_sizes(h, now_ns - DISK_FRESH_NS);
    HASH_FIND_STR(h->sizes, id, one);
    if (!one) {
        one = xcalloc(1, sizeof(*one));
        one->id = xstrdup(id);
        HASH_ADD_KEYPTR(hh, h->sizes, one->id, strlen(one->id), one);
    }
    one->usage = usage;
    one->walked_ns = now_ns;
    env_unlock(h->env, &h->lock);
}

struct disk_usage stats_disk(struct agent *agent, const struct container_info *info)
{
    struct disk_usage usage = {.bytes = -1, .inodes = -1, .log_bytes = -1};
    struct stat st;

    if (find_size(agent->stats, info->id, &usage))
        return usage;
    if (info->layer_path)
        usage.bytes = usage_of_folder(info->layer_path, &usage.inodes);
    if (info->log_path && stat(info->log_path, &st) == 0)
        usage.log_bytes = st.st_blocks * 512;
    keep_size(agent->stats, info->id, usage);
    return usage;
}
