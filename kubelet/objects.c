/*
 * ConfigMaps and Secrets that pods use, read by name through a short-lived cache.
 *
 * A caller says how old an answer may be; one that is too old is fetched again, once for all that
 * wait for it. So a new pod never sees a value older than itself, and a hundred pods that refresh
 * the same object cost one request. What nobody asked for within ten minutes is dropped.
 *
 * Threads: any. `lock` guards the table; a fetch is made without it.
 */
#include "kubelet/agent.h"

#include "common/time.h"

#define KEEP_NS (600 * NS_PER_S)

struct object_entry {
    UT_hash_handle hh;
    char *key;
    struct shared_tree *tree; /* NULL: never fetched, or not there */
    int64_t used_ns;
    bool fetching;
};

struct objects {
    struct api_client *api;
    struct env *env;
    struct lock lock;
    struct cond fetched;
    struct object_entry *entries;
};

struct objects *objects_new(struct api_client *api)
{
    struct objects *o = xcalloc(1, sizeof(*o));

    o->api = api;
    o->env = api_client_env(api);
    env_lock_init(&o->lock);
    env_cond_init(&o->fetched);
    return o;
}

void shared_tree_unref(struct shared_tree *tree)
{
    if (!tree || __atomic_sub_fetch(&tree->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    cJSON_Delete(tree->tree);
    free(tree);
}

static void entry_free(struct objects *o, struct object_entry *e)
{
    HASH_DEL(o->entries, e);
    shared_tree_unref(e->tree);
    free(e->key);
    free(e);
}

void objects_free(struct objects *o)
{
    struct object_entry *e, *next;

    if (!o)
        return;
    HASH_ITER(hh, o->entries, e, next)
    entry_free(o, e);
    env_lock_done(&o->lock);
    env_cond_done(&o->fetched);
    free(o);
}

static struct object_entry *entry_of(struct objects *o, const char *key, int64_t now_ns)
{
    struct object_entry *e = NULL, *next;

    HASH_FIND_STR(o->entries, key, e);
    if (e)
        return e;
    HASH_ITER(hh, o->entries, e, next)
    {
        if (!e->fetching && e->used_ns + KEEP_NS < now_ns)
            entry_free(o, e);
    }
    e = xcalloc(1, sizeof(*e));
    e->key = xstrdup(key);
    HASH_ADD_KEYPTR(hh, o->entries, e->key, strlen(e->key), e);
    return e;
}

static struct shared_tree *take(struct object_entry *e)
{
    __atomic_add_fetch(&e->tree->references, 1, __ATOMIC_RELAXED);
    return e->tree;
}

int objects_get(struct objects *o, const char *plural, const char *namespace_, const char *name,
    int64_t not_before_ns, struct shared_tree **ret, struct error *err)
{
    autofree char *key = str_format("%s/%s/%s", plural, namespace_, name);
    struct api_ref ref = {
        .group_version = "v1", .plural = plural, .namespace_ = namespace_, .name = name};
    cJSON *tree = NULL;

    if (!name[0])
        return error_set(err, ERR_NOT_FOUND, "an object without a name");
    env_lock(o->env, &o->lock);
    struct object_entry *e = entry_of(o, key, env_now_ns(o->env));
    while (e->fetching)
        env_wait_until(o->env, &o->fetched, &o->lock, ENV_FOREVER);
    e->used_ns = env_now_ns(o->env);
    if (e->tree && e->tree->fetched_ns >= not_before_ns) {
        *ret = take(e);
        env_unlock(o->env, &o->lock);
        return 0;
    }
    e->fetching = true;
    env_unlock(o->env, &o->lock);
    int64_t asked_ns = env_now_ns(o->env);
    int r = api_get(o->api, &ref, &tree, err);
    env_lock(o->env, &o->lock);
    e->fetching = false;
    if (r == 0) {
        shared_tree_unref(e->tree);
        e->tree = xcalloc(1, sizeof(*e->tree));
        *e->tree = (struct shared_tree){.references = 1, .tree = tree, .fetched_ns = asked_ns};
        *ret = take(e);
    }
    env_broadcast(o->env, &o->fetched);
    env_unlock(o->env, &o->lock);
    return r;
}
