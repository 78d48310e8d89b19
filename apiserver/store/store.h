/*
 * Durable state behind one interface: load, commit batches of compare-and-swap groups, watch,
 * compact.
 *
 * Two engines: embedded (SQLite) and etcd (v3 JSON gateway). In etcd a resourceVersion is revision
 * * 128 + index in the batch, and every commit also writes /skiff/head; embedded counts by one. The
 * only caller is the cache (apiserver/cache/cache.h), which knows every current object: a commit's
 * compares are expected to hold. Groups complete in the order of their versions. With an engine
 * that is watched, a group's done comes before on_events with its changes.
 *
 * Keys: "<plural>[.group]/<namespace or ->/<name>", below the engine's prefix. Values:
 * object_to_value, opaque here. Threads: commit may be called from any task; callbacks run on the
 * engine's own task.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

struct store;

struct store_op {
    struct str key;
    int64_t expected; /* resourceVersion that the key has now; 0: absent */
    struct str value;
    bool remove;     /* value unused */
    int64_t version; /* out: resourceVersion of this change */
};

/* All ops of a group happen or none. */
struct store_group {
    struct store_op *ops;
    size_t op_count;
    bool soft; /* may be acknowledged before it is durable (renewal of a Lease) */
    /* 0, -ERR_CONFLICT (a compare failed), -ERR_UNAVAILABLE (nothing known about the outcome is
     * never reported as a failure: the engine finds out first), -ERR_TOO_LARGE. */
    void (*done)(struct store_group *group, int result, const struct error *err);
    bool more;    /* out: another group of the same commit completes right after this one */
    int64_t seen; /* out, on a conflict: the watch will show by this version why; 0: nothing to wait
                     for */
    struct store_group *next; /* the engine's */
};

/* One change by anybody (another API server on the same etcd included), in order of version. */
struct store_event {
    struct str key;
    int64_t version;
    struct str value; /* empty when removed, and when own */
    bool removed;
    bool own; /* committed through this store: its group has completed, whoever gave the value has
                 it */
};

/* A row of the history: the change that made `version`, and the version it replaced (0: none). */
struct store_change {
    struct str key, value; /* value empty when removed */
    int64_t version, replaced;
    bool removed;
};

struct store_ops {
    /* Every key below prefix at one revision; *ret_version is that snapshot's (revision * 128 +
     * 127). */
    int (*load)(struct store *, struct str prefix,
        int (*row)(void *arg, struct str key, struct str value, int64_t version, struct error *err),
        void *arg, int64_t *ret_version, struct error *err);
    void (*commit)(struct store *, struct store_group *group); /* borrowed until done */
    /* Events after `version`, in batches of whole revisions; own commits included. ERR_EXPIRED when
     * compacted: on_lost is called once and the caller loads again. */
    int (*watch)(struct store *, int64_t version,
        void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to),
        void (*on_lost)(void *arg, const struct error *err), void *arg, struct error *err);
    /* Calls fn(arg, version) with the newest version as of now, seen by every writer
     * (linearizable). */
    void (*head)(
        struct store *, void (*fn)(void *arg, int64_t version, const struct error *err), void *arg);
    int (*compact)(struct store *, int64_t version, struct error *err);
    bool (*healthy)(struct store *, struct error *err);
    void (*free)(struct store *);
    /* Newest first, the changes that compaction has left; row returns 1 to stop. The history is
     * complete above *ret_floor. NULL: none to be had cheaply (etcd). Only before the first commit.
     */
    int (*history)(struct store *,
        int (*row)(void *arg, const struct store_change *change, struct error *err), void *arg,
        int64_t *ret_floor, struct error *err);
};
struct store {
    const struct store_ops *ops;
    bool exclusive; /* this process is the only writer: head() needs no round trip, no watch is
                       needed */
    /* After load: versions in (gap_from, gap_to] may have been acknowledged before a crash without
     * being durable (soft groups); a resume from inside is refused. Equal: no gap. */
    int64_t gap_from, gap_to;
};

struct store_embedded_config {
    const char *dir; /* holds skiff.db */
    const char *vfs; /* SQLite VFS name for simulation, or NULL */
};
int store_embedded_new(struct env *env, const struct store_embedded_config *config,
    struct store **ret, struct error *err);

struct store_etcd_config {
    const char *servers; /* "https://a:2379,https://b:2379" */
    const char *prefix;  /* "/skiff" */
    const char *ca_file, *cert_file, *key_file;
    const char *username, *password_file;
};
int store_etcd_new(
    struct env *env, const struct store_etcd_config *config, struct store **ret, struct error *err);
