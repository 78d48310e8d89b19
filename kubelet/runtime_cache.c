/*
 * What the runtime reported, by pod: filled by one list, kept by events, checked by a slow audit.
 *
 * An event marks a container and wakes its pod; the pod's own sync inspects what is marked. A list
 * is never taken as proof that something newer than the list is absent.
 *
 * Threads: any. `lock` guards the table; no call to the runtime is made under it.
 */
#include "kubelet/agent.h"

#include "common/log.h"

struct entry {
    struct container_info *info; /* NULL: only the id is known */
    char *id;
    bool stale;
    int64_t added_ns;
};

struct pod_entry {
    UT_hash_handle hh;
    char *uid;
    struct entry *entries;
    size_t count;
};

struct runtime_cache {
    struct agent *agent;
    struct lock lock;
    struct pod_entry *pods;
    size_t containers;
};

struct runtime_cache *runtime_cache_new(struct agent *agent)
{
    struct runtime_cache *cache = xcalloc(1, sizeof(*cache));

    cache->agent = agent;
    env_lock_init(&cache->lock);
    return cache;
}

static void remove_entry(struct runtime_cache *cache, struct pod_entry *pod, size_t index)
{
    container_info_unref(pod->entries[index].info);
    free(pod->entries[index].id);
    pod->entries[index] = pod->entries[--pod->count];
    cache->containers--;
    if (pod->count > 0)
        return;
    HASH_DEL(cache->pods, pod);
    free(pod->entries);
    free(pod->uid);
    free(pod);
}

void runtime_cache_free(struct runtime_cache *cache)
{
    struct pod_entry *pod, *next;

    if (!cache)
        return;
    HASH_ITER(hh, cache->pods, pod, next)
    {
        for (size_t n = pod->count; n > 0; n--)
            remove_entry(cache, pod, n - 1);
    }
    env_lock_done(&cache->lock);
    free(cache);
}

static struct pod_entry *pod_of(struct runtime_cache *cache, const char *uid, bool make)
{
    struct pod_entry *pod = NULL;

    HASH_FIND_STR(cache->pods, uid, pod);
    if (pod || !make)
        return pod;
    pod = xcalloc(1, sizeof(*pod));
    pod->uid = xstrdup(uid);
    HASH_ADD_KEYPTR(hh, cache->pods, pod->uid, strlen(pod->uid), pod);
    return pod;
}

static struct entry *entry_of(
    struct runtime_cache *cache, const char *uid, const char *id, bool make)
{
    struct pod_entry *pod = pod_of(cache, uid, make);

    for (size_t i = 0; pod && i < pod->count; i++)
        if (c_eq(pod->entries[i].id, id))
            return &pod->entries[i];
    if (!make)
        return NULL;
    pod->entries = xrealloc(pod->entries, (pod->count + 1) * sizeof(pod->entries[0]));
    struct entry *e = &pod->entries[pod->count++];
    *e =
        (struct entry){.id = xstrdup(id), .stale = true, .added_ns = env_now_ns(cache->agent->env)};
    cache->containers++;
    return e;
}

void runtime_cache_touch(struct runtime_cache *cache, const char *uid, const char *id)
{
    env_lock(cache->agent->env, &cache->lock);
    entry_of(cache, uid, id, true)->stale = true;
    env_unlock(cache->agent->env, &cache->lock);
}

void runtime_cache_drop(struct runtime_cache *cache, const char *uid, const char *id)
{
    env_lock(cache->agent->env, &cache->lock);
    struct pod_entry *pod = pod_of(cache, uid, false);
    for (size_t i = 0; pod && i < pod->count; i++) {
        if (!c_eq(pod->entries[i].id, id))
            continue;
        remove_entry(cache, pod, i);
        break;
    }
    env_unlock(cache->agent->env, &cache->lock);
}

int runtime_cache_refresh(struct runtime_cache *cache, const char *uid, const char *id,
    struct container_info **ret, struct error *err)
{
    struct runtime *rt = cache->agent->runtime;
    struct container_info *info = NULL;

    int r = rt->ops->inspect(rt, id, &info, err);
    if (r == -ERR_NOT_FOUND)
        runtime_cache_drop(cache, uid, id);
    if (r < 0)
        return r;
    env_lock(cache->agent->env, &cache->lock);
    struct entry *e = entry_of(cache, uid, id, true);
    container_info_unref(e->info);
    e->info = container_info_ref(info);
    e->stale = false;
    env_unlock(cache->agent->env, &cache->lock);
    if (ret)
        *ret = info;
    else
        container_info_unref(info);
    return 0;
}

/* Ids that must be inspected, heap strings. */
static char **stale_ids(struct runtime_cache *cache, const char *uid, size_t *ret_count)
{
    char **ids = NULL;
    size_t count = 0;

    env_lock(cache->agent->env, &cache->lock);
    struct pod_entry *pod = pod_of(cache, uid, false);
    for (size_t i = 0; pod && i < pod->count; i++) {
        if (!pod->entries[i].stale)
            continue;
        ids = xrealloc(ids, (count + 1) * sizeof(*ids));
        ids[count++] = xstrdup(pod->entries[i].id);
        /* An event that comes while we look marks it again. */
        pod->entries[i].stale = false;
    }
    env_unlock(cache->agent->env, &cache->lock);
    *ret_count = count;
    return ids;
}

int runtime_cache_pod(
    struct runtime_cache *cache, const char *uid, struct container_list *ret, struct error *err)
{
    size_t count = 0;
    char **ids = stale_ids(cache, uid, &count);
    int r = 0;

    for (size_t i = 0; i < count; i++) {
        struct error this_err;
        int one = runtime_cache_refresh(cache, uid, ids[i], NULL, &this_err);
        if (one < 0 && one != -ERR_NOT_FOUND) {
            runtime_cache_touch(cache, uid, ids[i]);
            *err = this_err;
            r = one;
        }
        free(ids[i]);
    }
    free(ids);
    if (r < 0)
        return r;
    env_lock(cache->agent->env, &cache->lock);
    struct pod_entry *pod = pod_of(cache, uid, false);
    for (size_t i = 0; pod && i < pod->count; i++)
        if (pod->entries[i].info)
            container_list_add(ret, container_info_ref(pod->entries[i].info));
    env_unlock(cache->agent->env, &cache->lock);
    return 0;
}

static void wake(struct agent *agent, const char *uid)
{
    struct pod_record *record = record_find(agent, uid);

    if (!record)
        return;
    record_wake(record);
    record_unref(record);
}

void runtime_cache_event(void *arg, const char *id, const char *uid, const char *action)
{
    struct agent *agent = arg;

    log_debug("docker event", "action", "%s", action, "container", "%s", id, NULL);
    if (c_eq(action, "destroy"))
        runtime_cache_drop(agent->cache, uid, id);
    else
        runtime_cache_touch(agent->cache, uid, id);
    wake(agent, uid);
}

static bool is_listed(const struct container_list *list, const char *id)
{
    for (size_t i = 0; i < list->count; i++)
        if (c_eq(list->items[i]->id, id))
            return true;
    return false;
}

/* Takes out what the list does not show any more; one pod a call, so that the wake-up is made
 * without the lock. */
static char *drop_one_missing(
    struct runtime_cache *cache, const struct container_list *list, int64_t listed_ns)
{
    char *uid = NULL;
    struct pod_entry *pod, *next;

    env_lock(cache->agent->env, &cache->lock);
    HASH_ITER(hh, cache->pods, pod, next)
    {
        for (size_t i = 0; i < pod->count; i++) {
            if (pod->entries[i].added_ns >= listed_ns || is_listed(list, pod->entries[i].id))
                continue;
            uid = xstrdup(pod->uid);
            remove_entry(cache, pod, i);
            break;
        }
        if (uid)
            break;
    }
    env_unlock(cache->agent->env, &cache->lock);
    return uid;
}

int runtime_cache_audit(struct runtime_cache *cache, bool all, struct error *err)
{
    struct agent *agent = cache->agent;
    struct container_list list = {0};
    int64_t listed_ns = env_now_ns(agent->env);
    char *uid;

    if (agent->runtime->ops->list(agent->runtime, &list, err) < 0)
        return -err->code;
    for (size_t i = 0; i < list.count; i++) {
        const struct container_info *seen = list.items[i];

        env_lock(agent->env, &cache->lock);
        struct entry *e = entry_of(cache, seen->uid, seen->id, true);
        /* A container that failed to start is "created" to the list and "exited" to us. */
        bool differs =
            !e->info || (e->info->state != seen->state && seen->state != CONTAINER_CREATED);
        if (differs || all)
            e->stale = true;
        env_unlock(agent->env, &cache->lock);
        if (differs || all)
            wake(agent, seen->uid);
    }
    while ((uid = drop_one_missing(cache, &list, listed_ns))) {
        wake(agent, uid);
        free(uid);
    }
    container_list_done(&list);
    return 0;
}

size_t runtime_cache_count(struct runtime_cache *cache)
{
    env_lock(cache->agent->env, &cache->lock);
    size_t count = cache->containers;
    env_unlock(cache->agent->env, &cache->lock);
    return count;
}
