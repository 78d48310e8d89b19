/*
 * Inside the watch cache. cache.c: loading, publishing, the janitor; write.c: the way in; watch.c:
 * history and watchers; read.c: objects, snapshots, waiting for versions; expire.c: Events that
 * have had their hour.
 *
 * Locks, in this order: cache->lock (keys being written, waiters, publishing), kind->lock (roots,
 * history, watchers). Trees are edited without a lock by the one publisher: the store's task, or
 * the janitor while it reloads.
 */
#pragma once

#include "apiserver/cache/cache.h"
#include "apiserver/cache/tree.h"
#include "apiserver/encryption/encryption.h"
#include "common/hash.h"

#define CACHE_KEY_BYTES 1024

/* A snapshot kept for continue tokens. */
struct held {
    struct root *root;
    int64_t version, until_ns;
    struct held *next; /* newer */
};

struct watcher_list {
    struct watcher *first;
};

struct watcher_table { /* by a string: a name, a node, a namespace */
    struct watcher_list *buckets;
    size_t mask, count;
};

struct kind {
    struct cache *cache;
    const struct resource *resource;
    struct str prefix; /* "pods/", "deployments.apps/" */
    char *label;       /* the same without the slash */
    struct tree *tree;
    int node_field; /* of spec.nodeName in resource->selectable, or -1 */
    bool expires;   /* Events */

    /* of a custom kind */
    bool custom;
    bool removed; /* its definition is gone: watchers end, nothing is taken (kind->lock to write) */
    int id;
    uint32_t refs; /* atomic: resources that name it, and one while it is served */
    struct kind *next_dead;

    /* the publisher's */
    struct event **fresh;
    size_t fresh_count, fresh_capacity;
    bool changed;
    struct kind *next_changed;

    struct lock lock;
    struct held *held;
    struct event **ring; /* history: events [first, next) at their number modulo capacity */
    size_t capacity, history_bytes;
    int64_t frame_bytes; /* atomic: of what watchers had encoded of events in the history */
    uint64_t first, next;
    int64_t floor; /* the history holds every change after this version */
    struct watcher *broad;
    struct watcher_table by_name, by_node, by_namespace;
    size_t watcher_count;
};

struct slot;
struct pending;

struct waiter {
    int64_t version, deadline_ns;
    void (*fn)(void *arg, const struct error *err);
    void *arg;
    struct waiter *next;
};

struct sample { /* what the newest version was at a time */
    int64_t at_ns, version;
};

struct cache {
    struct env *env;
    struct store *store;
    struct encryption *encryption;
    struct metrics *metrics;
    struct kind **kinds;     /* by resource->id; NULL: not served. Of a fixed size: never moves */
    size_t kind_count;       /* atomic: ids in use are below; see cache_kind_count */
    struct kind **by_prefix; /* sorted; the publisher's */
    size_t by_prefix_count, by_prefix_capacity;
    struct kind *definitions; /* or NULL */
    struct cache_config config;
    size_t kind_limit;
    struct kind *dead; /* atomic stack: custom kinds without users; the janitor frees them */
    int64_t version;   /* atomic: newest published */
    int64_t load_version;

    /* the publisher's */
    struct kind *changed;
    struct pending *completed, **completed_end; /* of the store's batch, in order */

    struct lock lock;
    struct cond wake_janitor;
    struct slot *slots; /* keys with writes under way */
    struct pending *unseen,
        **unseen_end;       /* committed or refused, not to be told before the cache shows why */
    struct waiter *waiters; /* for versions */
    struct waiter *fresh_waiting, *fresh_asked; /* for the store's head: not asked yet, asked */
    bool asking, reload, lost, stopping;
    struct error health; /* code 0: fine */
    struct task *janitor;
    struct sample *samples; /* a ring's worth: as far back as events or history are kept */
    size_t sample_count, sample_max;
    int64_t tick_ns, event_ttl_ns;
};

/* The store's key; an empty view when it would be too long to be one. */
struct str cache_key(
    const struct kind *k, struct str namespace_, struct str name, char buf[CACHE_KEY_BYTES]);
struct kind *cache_kind(const struct cache *cache, const struct resource *r);
static inline size_t cache_kind_count(const struct cache *cache)
{
    return __atomic_load_n(&cache->kind_count, __ATOMIC_ACQUIRE);
}
static inline struct kind *cache_kind_at(const struct cache *cache, size_t id)
{
    return __atomic_load_n(&cache->kinds[id], __ATOMIC_ACQUIRE);
}

/* kinds.c */
void kinds_init(struct cache *cache, const struct cache_config *config);
void kinds_done(struct cache *cache);
struct kind *kind_of_prefix(const struct cache *cache, struct str prefix);
/* The publisher: a definition has come, changed (definition) or gone (NULL). */
void kinds_define(
    struct cache *cache, struct str name, const struct object *definition, int64_t version);
void kinds_end(struct kind *k);       /* publishing: a removed kind is served no more */
void kinds_reap(struct cache *cache); /* the janitor: frees what nobody uses any more */
/* The kind of a store key, and the two parts behind its prefix; NULL: none that is served. */
struct kind *cache_kind_of_key(
    struct cache *cache, struct str key, struct str *ret_namespace, struct str *ret_name);

/* Publisher: the kind has something to publish. */
void cache_mark_changed(struct cache *cache, struct kind *k);
extern const struct metric_info cache_metric_objects;
/* Publisher: one change. next NULL: deletion. Takes next. Returns the object as the event has it
 * (borrowed), or NULL when there was nothing to delete. */
const struct object *cache_apply(struct cache *cache, struct kind *k, struct str namespace_,
    struct str name, struct object *next, int64_t version);
/* With cache->lock held: roots, history and the version become visible; watchers wake. */
void cache_publish(struct cache *cache, int64_t version, struct garbage *garbage);
/* Callbacks that are due once `version` is shown; called without a lock. */
struct waiter *cache_take_waiters(struct cache *cache, int64_t version);
void cache_call_waiters(struct waiter *list, const struct error *err);

/* stored.c: objects and what the store keeps of them. */
void cache_store_value(struct cache *cache, const struct kind *k, struct str key, struct object *o,
    struct strbuf *out);
/* As object_from_value; errors name the key. */
int cache_read_value(struct cache *cache, const struct kind *k, struct str key, struct str value,
    int64_t version, struct object **ret, struct error *err);

/* write.c */
void cache_on_done(struct store_group *group, int result, const struct error *err);
void cache_on_events(void *arg, const struct store_event *events, size_t count, int64_t up_to);
void cache_complete_unseen(struct cache *cache, int64_t up_to);
struct object *pending_newest(
    struct cache *cache, struct kind *k, struct str namespace_, struct str name, bool *ret_pending);

/* watch.c; all with kind->lock held */
void event_unref(struct event *e);
struct event *event_ref(const struct event *e);
void history_add(struct kind *k, struct event *e); /* takes it; wakes watchers */
void history_drop_oldest(struct kind *k);
void history_reset(struct kind *k, int64_t floor); /* forgets everything and expires all watchers */
void history_done(struct kind *k);
/* No more changes will come: watchers end when they have seen those that came. */
void history_end(struct kind *k);

/* read.c */
void held_expire(struct kind *k, int64_t now_ns, struct garbage *garbage);
void cache_head_arrived(void *arg, int64_t version, const struct error *err);

/* expire.c */
void cache_expire_events(struct cache *cache, int64_t before_version);
int cache_refill_history(struct cache *cache, struct error *err);
