/*
 * The table of kinds: built-in ones, there from start to end, and custom ones, which come and go
 * with their definitions.
 *
 * A custom kind exists from the moment that its definition's creation is applied, in the order of
 * the store: so a change of one of its objects, made by whatever server, always finds it. It ends
 * with the definition: its watchers see what is left and end, nothing is taken any more. The memory
 * goes later, when nobody can name the kind: resources count as users of it (cache_kind_released),
 * and requests, snapshots, watchers and objects each hold a resource. The janitor frees the kinds
 * that were released, since the last user may hold any lock.
 *
 * Threads: kinds_define by the publisher; the table is read by anybody without a lock and never
 * moves.
 */
#include "apiserver/cache/cache_internal.h"

#include <assert.h>

#include "common/limits.h"
#include "common/log.h"

static struct kind *kind_new(struct cache *cache, const struct resource *r, const char *label)
{
    struct kind *k = (struct kind *)xcalloc(1, sizeof(*k));

    k->cache = cache;
    k->resource = r;
    k->label = xstrdup(label);
    k->prefix = str_of(str_format("%s/", k->label));
    k->tree = tree_new();
    k->node_field = -1;
    env_lock_init(&k->lock);
    return k;
}

/* Everything but the struct itself, which resources may still point to. */
static void kind_clear(struct kind *k)
{
    struct garbage garbage = {0};

    held_expire(k, INT64_MAX, &garbage);
    garbage_free(&garbage);
    history_done(k);
    tree_free(k->tree);
    free(k->fresh);
    k->tree = NULL;
    k->fresh = NULL;
}

static void kind_free_shell(struct kind *k)
{
    free((char *)(uintptr_t)k->prefix.p);
    free(k->label);
    env_lock_done(&k->lock);
    free(k);
}

/* --- the table --- */

/* Where the prefix stands, or would. */
static size_t position_of(const struct cache *cache, struct str prefix, bool *ret_found)
{
    size_t low = 0, high = cache->by_prefix_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = str_cmp(cache->by_prefix[middle]->prefix, prefix);

        if (c == 0) {
            *ret_found = true;
            return middle;
        }
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

struct kind *kind_of_prefix(const struct cache *cache, struct str prefix)
{
    bool found;
    size_t at = position_of(cache, prefix, &found);

    return found ? cache->by_prefix[at] : NULL;
}

static void add_prefix(struct cache *cache, struct kind *k)
{
    bool found;
    size_t at = position_of(cache, k->prefix, &found);

    assert(!found);
    if (cache->by_prefix_count == cache->by_prefix_capacity) {
        cache->by_prefix_capacity = 2 * cache->by_prefix_capacity + 64;
        cache->by_prefix = (struct kind **)xrealloc(
            cache->by_prefix, cache->by_prefix_capacity * sizeof(*cache->by_prefix));
    }
    memmove(cache->by_prefix + at + 1, cache->by_prefix + at,
        (cache->by_prefix_count - at) * sizeof(*cache->by_prefix));
    cache->by_prefix[at] = k;
    cache->by_prefix_count++;
}

static void remove_prefix(struct cache *cache, const struct kind *k)
{
    bool found;
    size_t at = position_of(cache, k->prefix, &found);

    assert(found && cache->by_prefix[at] == k);
    cache->by_prefix_count--;
    memmove(cache->by_prefix + at, cache->by_prefix + at + 1,
        (cache->by_prefix_count - at) * sizeof(*cache->by_prefix));
}

static void enter(struct cache *cache, struct kind *k, size_t id)
{
    k->id = (int)id;
    __atomic_store_n(&cache->kinds[id], k, __ATOMIC_RELEASE);
    if (id >= cache->kind_count)
        __atomic_store_n(&cache->kind_count, id + 1, __ATOMIC_RELEASE);
    add_prefix(cache, k);
}

static void add_built_in(struct cache *cache, const struct resource *r)
{
    autofree char *label =
        r->group[0] ? str_format("%s.%s", r->plural, r->group) : xstrdup(r->plural);
    struct kind *k = kind_new(cache, r, label);

    k->expires =
        c_eq(r->plural, "events") && (c_eq(r->group, "") || c_eq(r->group, "events.k8s.io"));
    for (int i = 0; r->selectable && r->selectable[i]; i++)
        if (c_eq(r->selectable[i], "spec.nodeName"))
            k->node_field = i;
    assert(!cache->kinds[r->id]);
    enter(cache, k, (size_t)r->id);
    if (r == cache->config.definitions)
        cache->definitions = k;
}

void kinds_init(struct cache *cache, const struct cache_config *config)
{
    size_t ids = 0;

    cache->config = *config;
    for (size_t i = 0; !config->api && i < config->resource_count; i++)
        if ((size_t)config->resources[i]->id >= ids)
            ids = (size_t)config->resources[i]->id + 1;
    if (config->api)
        ids = api_stored_count(config->api);
    cache->kind_limit = ids + (config->definitions ? LIMIT_CUSTOM_KINDS : 0);
    cache->kinds = (struct kind **)xcalloc(cache->kind_limit + 1, sizeof(*cache->kinds));
    for (size_t i = 0; !config->api && i < config->resource_count; i++)
        add_built_in(cache, config->resources[i]);
    for (size_t i = 0; config->api && i < api_count(config->api); i++) {
        const struct resource *r = api_at(config->api, i);

        if (r->stored && r->storage == r)
            add_built_in(cache, r);
    }
}

/* Nobody else is there any more, but resources may be let go later, by who made them. */
void kinds_done(struct cache *cache)
{
    kinds_reap(cache);
    for (size_t i = 0; i < cache->kind_count; i++)
        if (cache->kinds[i])
            kind_clear(cache->kinds[i]);
    for (struct kind *k = cache->dead, *next; k; k = next) { /* their objects were the last users */
        next = k->next_dead;
        cache->kinds[k->id] = NULL;
        kind_free_shell(k);
    }
    for (size_t i = 0; i < cache->kind_count; i++) {
        struct kind *k = cache->kinds[i];

        if (!k)
            continue;
        k->cache = NULL;
        if (!k->custom)
            kind_free_shell(k);
        else if (!k->removed)
            kinds_end(k);
    }
    free(cache->kinds);
    free(cache->by_prefix);
}

/* --- custom kinds --- */

static struct kind *add_custom(struct cache *cache, struct str name, int64_t version)
{
    autofree char *label = str_dup(name);
    size_t id = api_stored_count(cache->config.api);

    while (id < cache->kind_limit && cache->kinds[id])
        id++;
    if (id == cache->kind_limit)
        return NULL;
    struct kind *k = kind_new(cache, NULL, label);

    k->custom = true;
    k->refs = 1;
    k->floor = version - 1; /* every change from the definition on is there */
    enter(cache, k, id);
    return k;
}

static void remove_custom(struct cache *cache, struct kind *k)
{
    const struct object *o;
    struct tree_cursor cursor;
    struct garbage garbage = {0};

    env_lock(cache->env, &k->lock);
    struct root *root = tree_acquire(k->tree);

    env_unlock(cache->env, &k->lock);
    for (o = root_seek(root, STR(""), STR(""), &cursor); o; o = tree_cursor_next(&cursor))
        tree_remove(k->tree, o->namespace_, o->name);
    env_lock(cache->env, &k->lock);
    tree_release(k->tree, root, &garbage);
    env_unlock(cache->env, &k->lock);
    garbage_free(&garbage);
    remove_prefix(cache, k);
    k->removed = true;
    cache_mark_changed(cache, k); /* publishing ends its history */
}

void kinds_define(
    struct cache *cache, struct str name, const struct object *definition, int64_t version)
{
    char prefix[CACHE_KEY_BYTES];
    int n = snprintf(prefix, sizeof(prefix), "%.*s/", STR_FMT(name));
    struct kind *k = kind_of_prefix(cache, str_range(prefix, (size_t)n));
    const struct resource *old;

    if (n < 0 || (size_t)n >= sizeof(prefix) || (k && !k->custom))
        return;
    if (!definition && k) {
        remove_custom(cache, k);
        cache->config.define(cache->config.define_arg, name, NULL, k->id, k);
        return;
    }
    if (!k && (!definition || !(k = add_custom(cache, name, version)))) {
        log_error("too many custom kinds, one is not served", "name", "%.*s", STR_FMT(name), NULL);
        return;
    }
    old = k->resource;
    __atomic_fetch_add(&k->refs, 1, __ATOMIC_RELAXED);
    const struct resource *r =
        cache->config.define(cache->config.define_arg, name, definition, k->id, k);

    if (!r) {
        assert(old);
        __atomic_fetch_sub(&k->refs, 1, __ATOMIC_RELAXED);
        return;
    }
    k->resource = r;
    if (old)
        resource_drop(old);
}

void kinds_end(struct kind *k)
{
    const struct resource *r = k->resource;

    if (!r)
        return;
    k->resource = NULL;
    resource_drop(r);
    cache_kind_released(k);
}

void cache_kind_released(void *arg)
{
    struct kind *k = (struct kind *)arg;

    if (__atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (!k->cache) {
        kind_free_shell(k);
        return;
    }
    struct kind **dead = &k->cache->dead;

    k->next_dead = __atomic_load_n(dead, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(
        dead, &k->next_dead, k, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

void kinds_reap(struct cache *cache)
{
    struct kind *k = __atomic_exchange_n(&cache->dead, NULL, __ATOMIC_ACQUIRE), *next;

    for (; k; k = next) {
        next = k->next_dead;
        metric_set(cache->metrics, &cache_metric_objects, 0, k->label);
        __atomic_store_n(&cache->kinds[k->id], NULL, __ATOMIC_RELEASE);
        kind_clear(k);
        kind_free_shell(k);
    }
}
