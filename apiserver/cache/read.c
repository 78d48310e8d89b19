/*
 * Reading the cache: objects, snapshots, and waiting until a version is shown.
 *
 * A snapshot's version is the newest published when it was taken, or its root's when that is being
 * published right then: a root holds whole commits, so every change up to that version is in it and
 * every later one comes by a watch.
 */
#include "apiserver/cache/cache_internal.h"

#include <assert.h>
#include <inttypes.h>

#include "common/limits.h"
#include "common/time.h"

#define REACHED_TIMEOUT_NS (3 * NS_PER_S)
/* Old versions kept alive for continue tokens, a kind: beyond it the oldest tokens expire early. */
#define HELD_BYTES (32u << 20)

struct snapshot {
    struct kind *kind;
    struct root *root;
    int64_t version;
    struct tree_cursor cursor;
    const struct object *last; /* where the cursor stands */
};

struct object *cache_get(
    struct cache *cache, const struct resource *r, struct str namespace_, struct str name)
{
    struct kind *k = cache_kind(cache, r);
    struct garbage garbage = {0};

    env_lock(cache->env, &k->lock);
    struct root *root = tree_acquire(k->tree);

    env_unlock(cache->env, &k->lock);
    struct object *o = object_ref(root_find(root, namespace_, name));

    env_lock(cache->env, &k->lock);
    tree_release(k->tree, root, &garbage);
    env_unlock(cache->env, &k->lock);
    garbage_free(&garbage);
    return o;
}

struct object *cache_newest(
    struct cache *cache, const struct resource *r, struct str namespace_, struct str name)
{
    struct kind *k = cache_kind(cache, r);
    bool pending;

    env_lock(cache->env, &cache->lock);
    struct object *o = pending_newest(cache, k, namespace_, name, &pending);

    if (!pending) /* roots are only published with cache->lock held */
        o = object_ref(root_find(tree_current(k->tree), namespace_, name));
    env_unlock(cache->env, &cache->lock);
    return o;
}

/* --- snapshots --- */

static struct snapshot *snapshot_make(struct kind *k, struct root *root, int64_t version)
{
    struct snapshot *s = (struct snapshot *)xcalloc(1, sizeof(*s));

    s->kind = k;
    s->root = root;
    s->version = version;
    return s;
}

struct snapshot *snapshot_take(struct cache *cache, const struct resource *r)
{
    struct kind *k = cache_kind(cache, r);
    int64_t version = cache_version(cache); /* before the root is taken */

    env_lock(cache->env, &k->lock);
    struct root *root = tree_acquire(k->tree);

    env_unlock(cache->env, &k->lock);
    return snapshot_make(k, root, root_version(root) > version ? root_version(root) : version);
}

int snapshot_at(struct cache *cache, const struct resource *r, int64_t version,
    struct snapshot **ret, struct error *err)
{
    struct kind *k = cache_kind(cache, r);
    struct garbage garbage = {0};
    struct root *root = NULL;

    env_lock(cache->env, &k->lock);
    held_expire(k, env_now_ns(cache->env), &garbage);
    for (struct held *h = k->held; h && !root; h = h->next)
        if (h->version == version)
            root = h->root;
    if (root)
        tree_ref_root(root);
    env_unlock(cache->env, &k->lock);
    garbage_free(&garbage);
    if (!root)
        return error_set(err, ERR_EXPIRED,
            "The provided continue parameter is too old to display a consistent list "
            "result. You can start a new list without the continue parameter.");
    *ret = snapshot_make(k, root, version);
    return 0;
}

void snapshot_hold(struct snapshot *s)
{
    struct kind *k = s->kind;
    struct env *env = k->cache->env;
    struct held **at = &k->held;
    struct garbage garbage = {0};
    int64_t until = env_now_ns(env) + LIMIT_CONTINUE_NS;

    env_lock(env, &k->lock);
    while (*at && (*at)->version != s->version)
        at = &(*at)->next;
    if (*at) {
        (*at)->until_ns = until;
    } else {
        struct held *h = (struct held *)xcalloc(1, sizeof(*h));

        *h = (struct held){.root = s->root, .version = s->version, .until_ns = until};
        tree_ref_root(s->root);
        *at = h;
    }
    held_expire(k, until - LIMIT_CONTINUE_NS, &garbage);
    env_unlock(env, &k->lock);
    garbage_free(&garbage);
}

void held_expire(struct kind *k, int64_t now_ns, struct garbage *garbage)
{
    struct held **at = &k->held;

    while (*at) {
        struct held *h = *at;
        bool too_much = at == &k->held && tree_dead_bytes(k->tree) > HELD_BYTES;

        if (h->until_ns > now_ns && !too_much) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        tree_release(k->tree, h->root, garbage);
        free(h);
    }
}

void snapshot_free(struct snapshot *s)
{
    struct garbage garbage = {0};

    if (!s)
        return;
    struct kind *k = s->kind;

    env_lock(k->cache->env, &k->lock);
    tree_release(k->tree, s->root, &garbage);
    env_unlock(k->cache->env, &k->lock);
    garbage_free(&garbage);
    free(s);
}

int64_t snapshot_version(const struct snapshot *s)
{
    return s->version;
}

size_t snapshot_count(const struct snapshot *s, struct str namespace_)
{
    return root_count(s->root, namespace_);
}

const struct object *snapshot_next(const struct snapshot *snapshot, struct str only_namespace,
    struct str after_namespace, struct str after_name)
{
    struct snapshot *s = (struct snapshot *)snapshot; /* the cursor only saves the search */
    const struct object *o;

    if (only_namespace.n && !after_name.n)
        after_namespace = only_namespace;
    if (s->last && after_name.p == s->last->name.p && after_namespace.p == s->last->namespace_.p)
        o = tree_cursor_next(&s->cursor);
    else
        o = root_seek(s->root, after_namespace, after_name, &s->cursor);
    s->last = o;
    if (o && only_namespace.n && !str_eq(o->namespace_, only_namespace))
        return NULL;
    return o;
}

const struct object *snapshot_candidate(const struct snapshot *s, const struct watch_filter *f,
    struct str after_namespace, struct str after_name)
{
    bool one = f->name.n > 0 && (f->namespace_.n > 0 || !s->kind->resource->namespaced);
    const struct object *o;

    if (!one)
        return snapshot_next(s, f->namespace_, after_namespace, after_name);
    o = root_find(s->root, f->namespace_, f->name);
    if (!o || after_name.n == 0)
        return o;
    int behind = str_cmp(o->namespace_, after_namespace);
    return behind > 0 || (behind == 0 && str_cmp(o->name, after_name) > 0) ? o : NULL;
}

/* --- waiting for versions --- */

static struct waiter *waiter_new(void (*fn)(void *arg, const struct error *err), void *arg)
{
    struct waiter *w = (struct waiter *)xcalloc(1, sizeof(*w));

    w->fn = fn;
    w->arg = arg;
    return w;
}

struct waiter *cache_take_waiters(struct cache *cache, int64_t version)
{
    struct waiter *due = NULL, **end = &due, **at = &cache->waiters;

    while (*at) {
        struct waiter *w = *at;

        if (w->version > version) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = NULL;
        *end = w;
        end = &w->next;
    }
    return due;
}

void cache_call_waiters(struct waiter *list, const struct error *err)
{
    while (list) {
        struct waiter *next = list->next;

        list->fn(list->arg, err);
        free(list);
        list = next;
    }
}

static void wait_for(struct cache *cache, struct waiter *w, int64_t version)
{
    w->version = version;
    w->deadline_ns = env_now_ns(cache->env) + REACHED_TIMEOUT_NS;
    w->next = cache->waiters;
    cache->waiters = w;
    env_signal(cache->env, &cache->wake_janitor);
}

bool cache_reached(
    struct cache *cache, int64_t version, void (*fn)(void *arg, const struct error *err), void *arg)
{
    env_lock(cache->env, &cache->lock);
    bool shown = cache_version(cache) >= version;

    if (!shown)
        wait_for(cache, waiter_new(fn, arg), version);
    env_unlock(cache->env, &cache->lock);
    if (shown)
        fn(arg, NULL);
    return shown;
}

/* The head as of now, for everybody who asked before the question was sent. */
void cache_head_arrived(void *arg, int64_t version, const struct error *err)
{
    struct cache *cache = (struct cache *)arg;
    struct waiter *due = NULL, *w;

    env_lock(cache->env, &cache->lock);
    struct waiter *asked = cache->fresh_asked;

    cache->fresh_asked = NULL;
    if (err || cache_version(cache) >= version) {
        due = asked;
    } else {
        while ((w = asked)) {
            asked = w->next;
            wait_for(cache, w, version);
        }
    }
    bool again = cache->fresh_waiting != NULL;

    cache->fresh_asked = cache->fresh_waiting;
    cache->fresh_waiting = NULL;
    cache->asking = again;
    env_unlock(cache->env, &cache->lock);
    cache_call_waiters(due, err);
    if (again)
        cache->store->ops->head(cache->store, cache_head_arrived, cache);
}

bool cache_fresh(struct cache *cache, void (*fn)(void *arg, const struct error *err), void *arg)
{
    if (cache->store->exclusive) {
        fn(arg, NULL);
        return true;
    }
    struct waiter *w = waiter_new(fn, arg);

    env_lock(cache->env, &cache->lock);
    bool ask = !cache->asking;
    struct waiter **list = ask ? &cache->fresh_asked : &cache->fresh_waiting;

    w->next = *list;
    *list = w;
    cache->asking = true;
    env_unlock(cache->env, &cache->lock);
    if (ask)
        cache->store->ops->head(cache->store, cache_head_arrived, cache);
    return false;
}
