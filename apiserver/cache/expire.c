/*
 * What goes by age: Events after --event-ttl (an hour); and what comes back: the history, from the
 * store's, at start.
 *
 * Which Event is an hour old is known without a timer each: the janitor notes once a minute which
 * version was the newest, so every Event whose last version is not above that of that long ago is
 * due. Events from before this start carry times of their own. They are deleted by ordinary writes;
 * that another API server was faster is no error.
 *
 * The history of a kind is refilled newest first until its share of memory is full. Leases are left
 * out: renewals that were acknowledged before they were durable may be missing from the store's
 * history.
 */
#include "apiserver/cache/cache_internal.h"

#include <inttypes.h>

#include "common/limits.h"
#include "common/log.h"
#include "common/time.h"

#define DELETIONS_AT_ONCE 100
/* Rows of history looked at when starting: reading on costs more than the few watches that resume
 * that far back. */
#define REFILL_ROWS 50000

/* --- Events --- */

struct deletions {
    struct cache *cache;
    struct lock lock;
    struct cond finished;
    size_t under_way;
};

struct deletion {
    struct write write;
    struct write_op op;
    struct deletions *all;
};

static int64_t time_at(const cJSON *tree, const char *path)
{
    const char *text = json_string_at(tree, path);
    struct error ignored;
    int64_t ns = 0;

    if (text)
        time_parse(str_of(text), &ns, &ignored);
    return ns;
}

static int64_t last_seen_ns(const struct object *o)
{
    static const char *const paths[] = {
        "lastTimestamp", "deprecatedLastTimestamp", "eventTime", "series.lastObservedTime"};
    autojson cJSON *tree = object_tree(o);
    int64_t last = o->creation_ns;

    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        int64_t ns = time_at(tree, paths[i]);

        last = ns > last ? ns : last;
    }
    return last;
}

static bool is_due(
    const struct cache *cache, const struct object *o, int64_t before_version, int64_t now)
{
    if (o->revision <= before_version)
        return true;
    /* from before this start: creation is looked at first, parsing is for the few that are old
     * enough */
    return o->revision <= cache->load_version && o->creation_ns + cache->event_ttl_ns <= now &&
           last_seen_ns(o) + cache->event_ttl_ns <= now;
}

static void deletion_done(struct write *w)
{
    struct deletion *d = container_of(w, struct deletion, write);
    struct deletions *all = d->all;

    object_unref(d->op.base);
    object_unref(d->op.result);
    free(d);
    env_lock(all->cache->env, &all->lock);
    all->under_way--;
    env_signal(all->cache->env, &all->finished);
    env_unlock(all->cache->env, &all->lock);
}

static void delete_object(struct deletions *all, struct kind *k, const struct object *o)
{
    struct deletion *d = (struct deletion *)xcalloc(1, sizeof(*d));

    d->all = all;
    d->op = (struct write_op){.resource = k->resource,
        .namespace_ = o->namespace_,
        .name = o->name,
        .base = object_ref(o)};
    d->write = (struct write){.ops = &d->op, .op_count = 1, .done = deletion_done};
    env_lock(all->cache->env, &all->lock);
    while (all->under_way >= DELETIONS_AT_ONCE)
        env_wait_until(all->cache->env, &all->finished, &all->lock, ENV_FOREVER);
    all->under_way++;
    env_unlock(all->cache->env, &all->lock);
    cache_submit(all->cache, &d->write);
}

static void wait_for_all(struct deletions *all)
{
    env_lock(all->cache->env, &all->lock);
    while (all->under_way)
        env_wait_until(all->cache->env, &all->finished, &all->lock, ENV_FOREVER);
    env_unlock(all->cache->env, &all->lock);
}

static void expire_kind(struct deletions *all, struct kind *k, int64_t before_version)
{
    struct snapshot *s = snapshot_take(all->cache, k->resource);
    int64_t now = env_wall_ns(all->cache->env);
    struct str namespace_ = STR(""), name = STR("");
    const struct object *o;

    while ((o = snapshot_next(s, STR(""), namespace_, name))) {
        namespace_ = o->namespace_;
        name = o->name;
        if (is_due(all->cache, o, before_version, now))
            delete_object(all, k, o);
    }
    wait_for_all(all);
    snapshot_free(s);
}

void cache_expire_events(struct cache *cache, int64_t before_version)
{
    struct deletions all = {.cache = cache};

    env_lock_init(&all.lock);
    env_cond_init(&all.finished);
    for (size_t i = 0; i < cache->kind_count; i++)
        if (cache->kinds[i] && cache->kinds[i]->expires)
            expire_kind(&all, cache->kinds[i], before_version);
    env_cond_done(&all.finished);
    env_lock_done(&all.lock);
}

/* --- the history at start --- */

struct refill {
    struct cache *cache;
    struct {
        struct change *changes; /* newest first */
        size_t count, capacity, bytes;
        bool full;
    } * kinds;
    size_t rows;
    int64_t stopped_at; /* the version below which nothing was looked at; 0: all was */
};

struct change {
    struct object *object; /* NULL: a deletion */
    int64_t version, replaced;
};

static int refill_row(void *arg, const struct store_change *row, struct error *err)
{
    struct refill *r = (struct refill *)arg;
    struct str namespace_, name;
    struct kind *k = cache_kind_of_key(r->cache, row->key, &namespace_, &name);
    struct change change = {.version = row->version, .replaced = row->replaced};

    if (++r->rows > REFILL_ROWS) {
        r->stopped_at = row->version;
        return 1;
    }
    if (!k || c_eq(k->resource->plural, "leases"))
        return 0;
    __typeof__(r->kinds) list = &r->kinds[k->id];

    if (list->full)
        return 0;
    if (!row->removed && cache_read_value(r->cache, k, row->key, row->value, row->version,
                             &change.object, err) < 0) {
        if (err->code != ERR_FORBIDDEN)
            return -err->code;
        /* Its key is gone by now: the history starts after it. */
        r->stopped_at = row->version;
        return 1;
    }
    if (list->count == list->capacity) {
        list->capacity = 2 * list->capacity + 64;
        list->changes =
            (struct change *)xrealloc(list->changes, list->capacity * sizeof(*list->changes));
    }
    list->changes[list->count++] = change;
    list->bytes += row->value.n + sizeof(struct event);
    list->full = list->bytes > LIMIT_HISTORY_BYTES;
    return 0;
}

static struct change *find_change(struct change *list, size_t count, int64_t version)
{
    size_t low = 0, high = count; /* descending */

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (list[middle].version == version)
            return &list[middle];
        if (list[middle].version > version)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The object as it was loaded, where that is the same version: one body instead of two. */
static void share_current(struct kind *k, struct change *c)
{
    const struct object *current =
        c->object ? root_find(tree_current(k->tree), c->object->namespace_, c->object->name) : NULL;

    if (!current || current->revision != c->version)
        return;
    object_unref(c->object);
    c->object = object_ref(current);
}

/* Oldest first; stops claiming completeness where a change's predecessor is not there. */
static void refill_kind(
    struct kind *k, struct change *changes, size_t count, int64_t floor, bool full)
{
    for (size_t i = 0; i < count; i++)
        share_current(k, &changes[i]);
    k->floor = floor;
    for (size_t i = count; i-- > 0;) {
        struct change *c = &changes[i];
        struct change *old = c->replaced ? find_change(changes, count, c->replaced) : NULL;

        if (c->version <= floor)
            continue;
        if (((c->replaced || !c->object) && (!old || !old->object)) || (full && i + 1 == count)) {
            while (k->first < k->next) /* what is older than this is of no use */
                history_drop_oldest(k);
            k->floor = c->version;
            continue;
        }
        struct event *e = (struct event *)xcalloc(1, sizeof(*e));

        *e = (struct event){.refs = 1, .version = c->version};
        e->type = !c->object ? EVENT_DELETED : old ? EVENT_MODIFIED : EVENT_ADDED;
        e->old_object = old ? object_ref(old->object) : NULL;
        e->object = c->object ? object_ref(c->object) : object_at_revision(old->object, c->version);
        history_add(k, e);
    }
}

int cache_refill_history(struct cache *cache, struct error *err)
{
    struct refill r = {.cache = cache};
    int64_t floor = 0;
    int result;

    r.kinds = (__typeof__(r.kinds))xcalloc(cache->kind_count + 1, sizeof(*r.kinds));
    result = cache->store->ops->history(cache->store, refill_row, &r, &floor, err);
    floor = r.stopped_at > floor ? r.stopped_at : floor;
    for (size_t i = 0; i < cache->kind_count; i++) {
        struct kind *k = cache->kinds[i];
        __typeof__(r.kinds) list = &r.kinds[i];

        if (result == 0 && k && !c_eq(k->resource->plural, "leases")) {
            env_lock(cache->env, &k->lock);
            refill_kind(k, list->changes, list->count, floor, list->full);
            env_unlock(cache->env, &k->lock);
        }
        for (size_t c = 0; c < list->count; c++)
            object_unref(list->changes[c].object);
        free(list->changes);
    }
    free(r.kinds);
    return result;
}
