/*
 * The watch cache: loading, publishing, and the janitor task.
 *
 * The janitor wakes once a minute (and for deadlines): it notes which version is how old, has the
 * store compact what is older than the history is kept, lets go of expired snapshots, deletes
 * Events after an hour, and loads again after the store lost its watch. After such a reload every
 * watcher is expired, since changes in between are unknown.
 *
 * Upstream: apiserver's cacher and watch_cache, and etcd3's compactor.
 */
#include "apiserver/cache/cache_internal.h"

#include <assert.h>
#include <inttypes.h>

#include "common/limits.h"
#include "common/log.h"
#include "common/time.h"

#define TICK_NS_MAX (60 * NS_PER_S)
#define RELOAD_RETRY_NS (1 * NS_PER_S)
#define COMPACT_KEEP_NS                                                                        \
    (600 * NS_PER_S)                   /* history on disk: far longer than any reconnect takes \
                                        */
#define EVENT_TTL_NS (3600 * NS_PER_S) /* upstream's default */

const struct metric_info cache_metric_objects = {"apiserver_storage_objects", METRIC_GAUGE,
    "Number of stored objects at the time of last check split by kind.", {"resource"}};

/* --- keys --- */

struct str cache_key(
    const struct kind *k, struct str namespace_, struct str name, char buf[CACHE_KEY_BYTES])
{
    struct str ns = namespace_.n ? namespace_ : STR("-");
    size_t n = k->prefix.n + ns.n + 1 + name.n;
    char *p = buf;

    if (n > CACHE_KEY_BYTES || !name.n)
        return (struct str){0};
    memcpy(p, k->prefix.p, k->prefix.n);
    p += k->prefix.n;
    memcpy(p, ns.p, ns.n);
    p += ns.n;
    *p++ = '/';
    memcpy(p, name.p, name.n);
    return str_range(buf, n);
}

struct kind *cache_kind(const struct cache *cache, const struct resource *r)
{
    struct kind *k = cache_kind_at(cache, (size_t)r->id);

    assert(r->id >= 0 && (size_t)r->id < cache_kind_count(cache) && k);
    return k;
}

struct kind *cache_kind_of_key(
    struct cache *cache, struct str key, struct str *ret_namespace, struct str *ret_name)
{
    ssize_t slash = str_find(key, '/');

    if (slash < 0)
        return NULL;
    struct str rest = str_range(key.p + slash + 1, key.n - (size_t)slash - 1);
    struct kind *k = kind_of_prefix(cache, str_range(key.p, (size_t)slash + 1));

    slash = str_find(rest, '/');
    if (!k || slash < 0)
        return NULL;
    *ret_namespace = str_range(rest.p, (size_t)slash);
    if (str_eqc(*ret_namespace, "-"))
        *ret_namespace = STR("");
    *ret_name = str_range(rest.p + slash + 1, rest.n - (size_t)slash - 1);
    return k;
}

/* --- publishing --- */

void cache_mark_changed(struct cache *cache, struct kind *k)
{
    if (k->changed)
        return;
    k->changed = true;
    k->next_changed = cache->changed;
    cache->changed = k;
}

static void add_fresh(struct kind *k, struct event *e)
{
    if (k->fresh_count == k->fresh_capacity) {
        k->fresh_capacity = 2 * k->fresh_capacity + 16;
        k->fresh = (struct event **)xrealloc(k->fresh, k->fresh_capacity * sizeof(*k->fresh));
    }
    k->fresh[k->fresh_count++] = e;
}

const struct object *cache_apply(struct cache *cache, struct kind *k, struct str namespace_,
    struct str name, struct object *next, int64_t version)
{
    struct event *e;

    if (k->removed) { /* a write that was under way when the definition went, perhaps for its
                         successor */
        struct kind *heir = kind_of_prefix(cache, k->prefix);
        if (!heir) {
            object_unref(next);
            return NULL;
        }
        k = heir;
    }
    const struct object *old = tree_find(k->tree, namespace_, name);
    if (!next && !old)
        return NULL;
    if (k == cache->definitions)
        kinds_define(cache, name, next, version);
    e = (struct event *)xcalloc(1, sizeof(*e));
    e->refs = 1;
    e->version = version;
    e->type = !next ? EVENT_DELETED : old ? EVENT_MODIFIED : EVENT_ADDED;
    e->old_object = object_ref(old);
    e->object = next ? object_ref(next) : object_at_revision(old, version);
    if (next) {
        __atomic_store_n(&next->revision, version, __ATOMIC_RELAXED);
        tree_put(k->tree, next);
    } else {
        tree_remove(k->tree, namespace_, name);
    }
    add_fresh(k, e);
    cache_mark_changed(cache, k);
    return e->object;
}

void cache_publish(struct cache *cache, int64_t version, struct garbage *garbage)
{
    struct kind *k, *next;

    for (k = cache->changed; k; k = next) {
        next = k->next_changed;
        env_lock(cache->env, &k->lock);
        tree_publish(k->tree, version, garbage);
        for (size_t i = 0; i < k->fresh_count; i++)
            history_add(k, k->fresh[i]);
        k->fresh_count = 0;
        k->changed = false;
        held_expire(k, env_now_ns(cache->env), garbage);
        if (k->removed)
            history_end(k);
        env_unlock(cache->env, &k->lock);
        if (k->removed)
            kinds_end(k);
    }
    cache->changed = NULL;
    if (version > __atomic_load_n(&cache->version, __ATOMIC_RELAXED))
        __atomic_store_n(&cache->version, version, __ATOMIC_RELEASE);
}

/* --- loading --- */

/* A row of a kind that is not known (yet): its definition may come later in the load. */
struct row {
    struct row *next;
    int64_t version;
    struct str key, value;
};

struct loading {
    struct cache *cache;
    struct {
        struct object **objects;
        size_t count, capacity;
    } * kinds; /* by id */
    size_t kind_count;
    struct row *rows;
    size_t unknown;
};

static void keep_row(struct loading *l, struct str key, struct str value, int64_t version)
{
    struct row *row = (struct row *)xmalloc(sizeof(*row) + key.n + value.n);
    char *at = (char *)(row + 1);

    memcpy(at, key.p, key.n);
    memcpy(at + key.n, value.p, value.n);
    *row = (struct row){l->rows, version, str_range(at, key.n), str_range(at + key.n, value.n)};
    l->rows = row;
}

static void cover_kind(struct loading *l, size_t id)
{
    size_t need = id + 1;

    if (need <= l->kind_count)
        return;
    need += 64;
    l->kinds = (__typeof__(l->kinds))xrealloc(l->kinds, need * sizeof(*l->kinds));
    memset(l->kinds + l->kind_count, 0, (need - l->kind_count) * sizeof(*l->kinds));
    l->kind_count = need;
}

static int load_row(void *arg, struct str key, struct str value, int64_t version, struct error *err)
{
    struct loading *l = (struct loading *)arg;
    struct str namespace_, name;
    struct kind *k = cache_kind_of_key(l->cache, key, &namespace_, &name);
    struct object *o;

    if (!k) {
        if (l->cache->definitions)
            keep_row(l, key, value, version);
        else
            l->unknown++;
        return 0;
    }
    if (cache_read_value(l->cache, k, key, value, version, &o, err) < 0)
        return -(int)err->code;
    cover_kind(l, (size_t)k->id);
    __typeof__(l->kinds) list = &l->kinds[k->id];

    if (list->count == list->capacity) {
        list->capacity = 2 * list->capacity + 64;
        list->objects =
            (struct object **)xrealloc(list->objects, list->capacity * sizeof(*list->objects));
    }
    list->objects[list->count++] = o;
    return 0;
}

static int compare_objects(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;

    return key_cmp(x->namespace_, x->name, y->namespace_, y->name);
}

static struct loading *loading_new(struct cache *cache)
{
    struct loading *l = (struct loading *)xcalloc(1, sizeof(*l));

    l->cache = cache;
    cover_kind(l, cache_kind_count(cache));
    return l;
}

static void free_rows(struct loading *l)
{
    for (struct row *row = l->rows, *next; row; row = next) {
        next = row->next;
        free(row);
    }
    l->rows = NULL;
}

static void loading_free(struct loading *l, bool with_objects)
{
    for (size_t i = 0; i < l->kind_count; i++) {
        for (size_t k = 0; with_objects && k < l->kinds[i].count; k++)
            object_unref(l->kinds[i].objects[k]);
        free(l->kinds[i].objects);
    }
    free_rows(l);
    free(l->kinds);
    free(l);
}

static void sort_loaded(struct loading *l)
{
    for (size_t i = 0; i < l->kind_count; i++)
        if (l->kinds[i].count > 1)
            qsort(l->kinds[i].objects, l->kinds[i].count, sizeof(struct object *), compare_objects);
}

/* Once the definitions are known: what was kept for them. */
static int load_kept(struct loading *l, struct error *err)
{
    struct row *rows = l->rows, *next;
    int result = 0;

    l->rows = NULL;
    for (; rows; rows = next) {
        next = rows->next;
        if (result == 0)
            result = load_row(l, rows->key, rows->value, rows->version, err);
        free(rows);
    }
    for (struct row *row = l->rows; row; row = row->next)
        l->unknown++;
    free_rows(l);
    sort_loaded(l);
    if (l->unknown)
        log_warning("stored objects of kinds that are not served, ignoring them", "count", "%zu",
            l->unknown, NULL);
    return result;
}

static int load(struct cache *cache, struct loading *l, int64_t *ret_version, struct error *err)
{
    if (cache->store->ops->load(cache->store, STR(""), load_row, l, ret_version, err) < 0)
        return error_wrap(err, "loading");
    sort_loaded(l);
    return 0;
}

static void define_loaded(struct cache *cache, struct loading *l, int64_t version)
{
    if (!cache->definitions)
        return;
    __typeof__(l->kinds) list = &l->kinds[cache->definitions->id];

    for (size_t i = 0; i < list->count; i++)
        kinds_define(cache, list->objects[i]->name, list->objects[i], version);
}

static int load_first(struct cache *cache, struct error *err)
{
    struct loading *l = loading_new(cache);
    struct garbage garbage = {0};
    int64_t version;
    int result = load(cache, l, &version, err);

    if (result == 0) {
        define_loaded(cache, l, version);
        result = load_kept(l, err);
    }
    if (result < 0) {
        loading_free(l, true);
        return result;
    }
    cover_kind(l, cache->kind_count);
    for (size_t i = 0; i < cache->kind_count; i++) {
        struct kind *k = cache->kinds[i];

        if (!k)
            continue;
        tree_build(k->tree, l->kinds[i].objects, l->kinds[i].count);
        tree_publish(k->tree, version, &garbage);
        k->floor = version;
    }
    garbage_free(&garbage);
    loading_free(l, false);
    cache->version = cache->load_version = version;
    if (cache->store->ops->history)
        return cache_refill_history(cache, err);
    return 0;
}

/* Makes a kind's tree equal to what was loaded (sorted), keeping the objects that did not change.
 */
static void merge_loaded(
    struct cache *cache, struct kind *k, struct object **objects, size_t count, int64_t version)
{
    struct root *root;
    struct garbage garbage = {0};
    struct tree_cursor cursor;

    env_lock(cache->env, &k->lock);
    root = tree_acquire(k->tree);
    env_unlock(cache->env, &k->lock);
    const struct object *have = root_seek(root, STR(""), STR(""), &cursor);

    for (size_t i = 0; have || i < count;) {
        int c = !have        ? 1
                : i == count ? -1
                             : key_cmp(have->namespace_, have->name, objects[i]->namespace_,
                                   objects[i]->name);

        if (c < 0) {
            if (k == cache->definitions)
                kinds_define(cache, have->name, NULL, version);
            tree_remove(k->tree, have->namespace_, have->name);
        } else if (c > 0 || have->revision != objects[i]->revision) {
            if (k == cache->definitions)
                kinds_define(cache, objects[i]->name, objects[i], version);
            tree_put(k->tree, object_ref(objects[i]));
        }
        if (c <= 0)
            have = tree_cursor_next(&cursor);
        if (c >= 0)
            i++;
    }
    cache_mark_changed(cache, k);
    env_lock(cache->env, &k->lock);
    tree_release(k->tree, root, &garbage);
    env_unlock(cache->env, &k->lock);
    garbage_free(&garbage);
}

static void lost(void *arg, const struct error *err);

static bool is_live(const struct kind *k)
{
    return k && !k->removed;
}

/* The definitions first: they say which kinds the other rows are of. */
static int merge_definitions(
    struct cache *cache, struct loading *l, int64_t version, struct error *err)
{
    struct kind *k = cache->definitions;

    if (k)
        merge_loaded(cache, k, l->kinds[k->id].objects, l->kinds[k->id].count, version);
    if (load_kept(l, err) < 0)
        return -err->code;
    cover_kind(l, cache->kind_count);
    return 0;
}

static int reload(struct cache *cache, struct error *err)
{
    struct loading *l = loading_new(cache);
    struct garbage garbage = {0};
    int64_t version;

    if (load(cache, l, &version, err) < 0) {
        loading_free(l, true);
        return -err->code;
    }
    if (merge_definitions(cache, l, version, err) < 0) {
        loading_free(l, true);
        return -err->code;
    }
    for (size_t i = 0; i < cache->kind_count; i++)
        if (is_live(cache->kinds[i]) && cache->kinds[i] != cache->definitions)
            merge_loaded(cache, cache->kinds[i], l->kinds[i].objects, l->kinds[i].count, version);
    loading_free(l, true);
    for (size_t i = 0; i < cache->kind_count;
         i++) { /* before the version shows: no bookmark may hide the gap */
        if (!is_live(cache->kinds[i]))
            continue;
        env_lock(cache->env, &cache->kinds[i]->lock);
        history_reset(cache->kinds[i], version);
        env_unlock(cache->env, &cache->kinds[i]->lock);
    }
    env_lock(cache->env, &cache->lock);
    cache_publish(cache, version, &garbage);
    cache->lost = false;
    env_unlock(cache->env, &cache->lock);
    garbage_free(&garbage);
    cache_complete_unseen(cache, version);
    log_info(
        "loaded again, watchers are told to do the same", "version", "%" PRId64, version, NULL);
    return cache->store->ops->watch(cache->store, version, cache_on_events, lost, cache, err);
}

static void lost(void *arg, const struct error *err)
{
    struct cache *cache = (struct cache *)arg;

    env_lock(cache->env, &cache->lock);
    cache->reload = cache->lost = true;
    cache->health = *err;
    env_signal(cache->env, &cache->wake_janitor);
    env_unlock(cache->env, &cache->lock);
}

/* --- the janitor --- */

static void note_sample(struct cache *cache, int64_t now)
{
    if (cache->sample_count == cache->sample_max) {
        memmove(cache->samples, cache->samples + 1,
            (cache->sample_count - 1) * sizeof(cache->samples[0]));
        cache->sample_count--;
    }
    cache->samples[cache->sample_count++] = (struct sample){now, cache_version(cache)};
}

/* The newest version that is at least this old; 0: none is known to be. */
static int64_t version_before(const struct cache *cache, int64_t now, int64_t age_ns)
{
    int64_t version = 0;

    for (size_t i = 0; i < cache->sample_count; i++)
        if (now - cache->samples[i].at_ns >= age_ns)
            version = cache->samples[i].version;
    return version;
}

static void measure(struct cache *cache, struct kind *k)
{
    env_lock(cache->env, &k->lock);
    size_t count = root_count(tree_current(k->tree), STR(""));
    env_unlock(cache->env, &k->lock);
    metric_set(cache->metrics, &cache_metric_objects, (double)count, k->label);
}

static void tick(struct cache *cache, int64_t now)
{
    struct error err;
    struct garbage garbage = {0};

    note_sample(cache, now);
    kinds_reap(cache);
    for (size_t i = 0; i < cache_kind_count(cache); i++) {
        struct kind *k = cache_kind_at(cache, i);

        if (!k)
            continue;
        env_lock(cache->env, &k->lock);
        held_expire(k, now, &garbage);
        env_unlock(cache->env, &k->lock);
        measure(cache, k);
    }
    garbage_free(&garbage);
    int64_t old = version_before(cache, now, COMPACT_KEEP_NS);

    if (old && cache->store->ops->compact(cache->store, old, &err) < 0)
        log_warning("compaction failed, trying again in a minute", "err", "%s", err.text, NULL);
    cache_expire_events(cache, version_before(cache, now, cache->event_ttl_ns));
}

static struct waiter *take_overdue(struct cache *cache, int64_t now)
{
    struct waiter *overdue = NULL, **at = &cache->waiters;

    while (*at) {
        struct waiter *w = *at;

        if (w->deadline_ns > now) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = overdue;
        overdue = w;
    }
    return overdue;
}

static int64_t next_deadline(const struct cache *cache, int64_t tick_at)
{
    for (const struct waiter *w = cache->waiters; w; w = w->next)
        if (w->deadline_ns < tick_at)
            tick_at = w->deadline_ns;
    return tick_at;
}

static void try_reload(struct cache *cache)
{
    struct error err = {0};
    bool failed = reload(cache, &err) < 0;

    if (failed)
        log_warning("cannot load from the store, trying again", "err", "%s", err.text, NULL);
    env_lock(cache->env, &cache->lock);
    cache->reload |= failed;
    cache->health = err;
    env_unlock(cache->env, &cache->lock);
    if (failed)
        env_sleep_ns(cache->env, RELOAD_RETRY_NS);
}

static void janitor_run(void *arg)
{
    struct cache *cache = (struct cache *)arg;
    int64_t tick_at = env_now_ns(cache->env) + cache->tick_ns;

    for (;;) {
        struct error late;

        env_lock(cache->env, &cache->lock);
        if (!cache->stopping && !cache->reload)
            env_wait_until(
                cache->env, &cache->wake_janitor, &cache->lock, next_deadline(cache, tick_at));
        int64_t now = env_now_ns(cache->env);
        struct waiter *overdue = take_overdue(cache, now);
        bool stop = cache->stopping, do_reload = cache->reload;

        cache->reload = false;
        env_unlock(cache->env, &cache->lock);
        error_set(&late, ERR_TIMEOUT, "Too large resource version");
        cache_call_waiters(overdue, &late);
        if (stop)
            return;
        if (do_reload)
            try_reload(cache);
        if (now >= tick_at) {
            tick(cache, now);
            tick_at = now + cache->tick_ns;
        }
    }
}

/* --- making and ending --- */

/* How often to look at ages, and how many looks to remember: a quarter of the time that Events
 * live, at most a minute. */
static void set_ages(struct cache *cache, int64_t event_ttl_ns)
{
    cache->event_ttl_ns = event_ttl_ns > 0 ? event_ttl_ns : EVENT_TTL_NS;
    cache->tick_ns = cache->event_ttl_ns / 4;
    if (cache->tick_ns > TICK_NS_MAX)
        cache->tick_ns = TICK_NS_MAX;
    if (cache->tick_ns < NS_PER_S)
        cache->tick_ns = NS_PER_S;
    int64_t oldest_ns =
        cache->event_ttl_ns > COMPACT_KEEP_NS ? cache->event_ttl_ns : COMPACT_KEEP_NS;
    cache->sample_max = (size_t)(oldest_ns / cache->tick_ns) + 4;
    cache->samples = (struct sample *)xcalloc(cache->sample_max, sizeof(*cache->samples));
}

int cache_new(const struct cache_config *config, struct cache **ret, struct error *err)
{
    struct cache *cache = (struct cache *)xcalloc(1, sizeof(*cache));

    cache->env = config->env;
    cache->store = config->store;
    cache->encryption = config->encryption;
    cache->metrics = config->metrics;
    set_ages(cache, config->event_ttl_ns);
    cache->completed_end = &cache->completed;
    cache->unseen_end = &cache->unseen;
    env_lock_init(&cache->lock);
    env_cond_init(&cache->wake_janitor);
    kinds_init(cache, config);
    if (load_first(cache, err) < 0 ||
        (!cache->store->exclusive && cache->store->ops->watch(cache->store, cache->version,
                                         cache_on_events, lost, cache, err) < 0)) {
        cache_free(cache);
        return -err->code;
    }
    note_sample(cache, env_now_ns(cache->env));
    for (size_t i = 0; i < cache->kind_count; i++)
        if (cache->kinds[i])
            measure(cache, cache->kinds[i]);
    cache->janitor = env_spawn(cache->env, "cache", janitor_run, cache);
    *ret = cache;
    return 0;
}

static void cancel_waiters(struct cache *cache)
{
    struct error err;

    error_set(&err, ERR_UNAVAILABLE, "the server is stopping");
    cache_call_waiters(cache_take_waiters(cache, INT64_MAX), &err);
    cache_call_waiters(cache->fresh_asked, &err);
    cache_call_waiters(cache->fresh_waiting, &err);
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    env_lock(cache->env, &cache->lock);
    cache->stopping = true;
    env_signal(cache->env, &cache->wake_janitor);
    env_unlock(cache->env, &cache->lock);
    if (cache->janitor)
        env_join(cache->env, cache->janitor);
    cache->store->ops->free(cache->store); /* every commit completes */
    cache_complete_unseen(cache, INT64_MAX);
    cancel_waiters(cache);
    kinds_done(cache);
    free(cache->samples);
    env_cond_done(&cache->wake_janitor);
    env_lock_done(&cache->lock);
    free(cache);
}

bool cache_healthy(struct cache *cache, struct error *err)
{
    env_lock(cache->env, &cache->lock);
    bool lost_now = cache->lost;

    if (lost_now)
        *err = cache->health;
    env_unlock(cache->env, &cache->lock);
    return !lost_now && cache->store->ops->healthy(cache->store, err);
}

int64_t cache_version(struct cache *cache)
{
    return __atomic_load_n(&cache->version, __ATOMIC_ACQUIRE);
}
