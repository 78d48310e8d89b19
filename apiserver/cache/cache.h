/*
 * The watch cache: every current object, recent history, and the one way in (writes) and out
 * (reads, watches).
 *
 * Per stored resource a copy-on-write ordered tree keyed by namespace/name. The writer publishes a
 * new root per commit; a reader takes a snapshot without a lock and may hold it (LIST pages up to
 * LIMIT_CONTINUE_NS). Only what is durable is published. A write is optimistic: look at the newest
 * version (cache_newest, which includes accepted but not yet durable writes), compute, submit with
 * that object as base; a lost race is -ERR_CONFLICT and the caller recomputes.
 *
 *     struct object *base = cache_newest(cache, r, ns, name);          // may be NULL
 *     ... compute next ...
 *     write->ops[0] = (struct write_op){.base = base, .next = next};   // next NULL: delete
 *     cache_submit(cache, write);                                      // write->done(write) later,
 * any thread
 *
 * Threads: any may call anything, unless said. Callbacks run on the writer's thread (done of a
 * write that is refused at once: inside cache_submit) and must be short. A watcher's `wake` runs
 * with a lock of the cache held: it marks and signals, and must not call the cache. A snapshot or
 * watcher belongs to one task at a time.
 */
#pragma once

#include "apiserver/cache/object.h"
#include "apiserver/store/store.h"
#include "common/metrics.h"
#include "common/selector.h"

struct cache;
struct encryption;
struct snapshot; /* one resource at one version */
struct watcher;

struct cache_config {
    struct env *env;
    const struct api *api;                   /* or, where it is NULL (tests): */
    const struct resource *const *resources; /* the stored ones */
    size_t resource_count;
    struct store *store;           /* taken */
    struct encryption *encryption; /* of stored values; NULL: none */
    struct metrics *metrics;
    int64_t event_ttl_ns; /* Events go when unchanged for so long; 0: an hour */
    /* Kinds that come and go at run time, one for each object of this resource (NULL: there are
     * none), under that object's name, which is PLURAL.GROUP. define() is called for each change of
     * one, before it can be seen by anybody, in the order of the store, by the publisher: it must
     * not call the cache. It returns the resource that objects are stored as from now on, with `id`
     * in it and one reference for the cache; NULL: as before. definition NULL: it is gone. The
     * resource's last user calls cache_kind_released(kind), which is how the kind's memory goes. */
    const struct resource *definitions;
    const struct resource *(*define)(
        void *arg, struct str name, const struct object *definition, int id, void *kind);
    void *define_arg;
};
/* Loads everything; returns when the cache serves. */
int cache_new(const struct cache_config *config, struct cache **ret, struct error *err);
void cache_free(struct cache *cache);
void cache_kind_released(void *kind); /* any thread, any lock held */
/* Whether a write of the same object would be stored in another form: with a newer key. */
bool cache_is_stale(struct cache *cache, const struct object *o);
bool cache_healthy(struct cache *cache, struct error *err);

/* --- writes --- */
struct write_op {
    const struct resource *resource;
    struct str namespace_, name;
    struct object *base; /* what the writer saw (borrowed reference kept by the caller until done);
                            NULL: must be absent */
    struct object *next; /* the new version (reference taken); NULL: delete */
    struct object *result; /* out: committed object with its revision, or the deleted one at the
                              deletion's; referenced */
};
struct write {
    struct write_op *ops; /* all or none */
    size_t op_count;
    bool soft;  /* see store.h */
    int result; /* 0, -ERR_CONFLICT, -ERR_UNAVAILABLE, -ERR_TOO_LARGE, -ERR_INTERNAL */
    struct error err;
    void (*done)(struct write *write);
    struct write *next; /* the cache's */
};
/* Newest version of a key, referenced, or NULL. It may still be on its way to the store: then its
 * revision is 0 until it is there (object_revision). A `next` with the same body as its base
 * commits nothing: result is base, once that is durable. */
struct object *cache_newest(
    struct cache *cache, const struct resource *r, struct str namespace_, struct str name);
void cache_submit(struct cache *cache, struct write *write);

/* --- reads --- */
struct object *cache_get(
    struct cache *cache, const struct resource *r, struct str namespace_, struct str name);
/* Calls fn once the cache shows everything acknowledged by anybody before this call (fresh reads).
 * With an exclusive store it is called at once, from here. Returns true when it was. */
bool cache_fresh(struct cache *cache, void (*fn)(void *arg, const struct error *err), void *arg);
/* The same for a version: at once when it is shown already; -ERR_TIMEOUT after 3 s. */
bool cache_reached(struct cache *cache, int64_t version,
    void (*fn)(void *arg, const struct error *err), void *arg);
int64_t cache_version(struct cache *cache); /* newest published */

struct snapshot *snapshot_take(struct cache *cache, const struct resource *r);
/* One that is still held for continue tokens at exactly this version; ERR_EXPIRED otherwise. */
int snapshot_at(struct cache *cache, const struct resource *r, int64_t version,
    struct snapshot **ret, struct error *err);
void snapshot_hold(
    struct snapshot *s); /* for continue tokens: kept LIMIT_CONTINUE_NS within a memory bound */
void snapshot_free(struct snapshot *s); /* NULL is fine */
int64_t snapshot_version(const struct snapshot *s);
size_t snapshot_count(const struct snapshot *s, struct str namespace_ /* empty: all */);
/* Next object after (namespace, name) in key order within namespace_ (empty: all), or NULL;
 * borrowed from s. */
const struct object *snapshot_next(const struct snapshot *s, struct str only_namespace,
    struct str after_namespace, struct str after_name);

/* --- watches --- */
enum event_type { EVENT_ADDED, EVENT_MODIFIED, EVENT_DELETED, EVENT_BOOKMARK };
enum event_encoding { EVENT_JSON, EVENT_PROTOBUF, EVENT_ENCODINGS };

/* A change as the history keeps it: shared by all watchers. old_object NULL: created; object is the
 * last state when deleted. */
struct kind;
struct event {
    uint32_t refs;
    enum event_type type;
    int64_t version;
    const struct object *object, *old_object;
    /* private: by type, ADDED to DELETED, made once on first use; their bytes, atomic (see
     * account_frame); and the kind in whose history it is or was */
    struct str *encoded[EVENT_ENCODINGS][3];
    size_t encoded_bytes;
    struct kind *kind;
};
/* The frame of the plain form: {"type":...,"object":{...}}\n or the same in protobuf; lives as long
 * as the event. Thread-safe; DELETED events carry the object at the deletion's version. */
struct str event_encoded(
    const struct event *event, enum event_type as, enum event_encoding encoding);

struct watch_filter {
    struct str namespace_;         /* empty: all */
    struct str name;               /* empty: all */
    const struct selector *labels; /* NULL: everything; borrowed for the watcher's life */
    const struct selector *fields;
};
/* Starts after `version` (events newer than it). ERR_EXPIRED when the history is gone. wake(arg) is
 * called, from any thread, when watcher_next may have something after having had nothing. */
int watcher_new(struct cache *cache, const struct resource *r, int64_t version,
    const struct watch_filter *filter, void (*wake)(void *arg), void *arg, struct watcher **ret,
    struct error *err);
void watcher_free(struct watcher *w);
/* 1 and the next matching event (type adjusted to the filter: entering is ADDED, leaving DELETED;
 * borrowed until the next call), 0 when there is none now, -ERR_EXPIRED when the watcher fell
 * behind the history. */
int watcher_next(
    struct watcher *w, const struct event **ret, enum event_type *ret_as, struct error *err);
int64_t watcher_version(
    const struct watcher *w); /* everything up to here was returned or filtered: for bookmarks */
bool filter_matches(const struct watch_filter *f, const struct object *o);
/* As snapshot_next() for those that may match: a filter that names one object looks at that only.
 */
const struct object *snapshot_candidate(const struct snapshot *s, const struct watch_filter *f,
    struct str after_namespace, struct str after_name);
