/*
 * Inside the embedded engine: the database (embedded_sql.c) and the tasks that write it
 * (embedded.c).
 *
 * kv(version PRIMARY KEY, key, created, prev, removed, value) holds every change that compaction
 * has left; a row is current when no row names it as prev and it is no removal. meta holds
 * `reserved` (no version above it was ever handed out by a soft write) and `compacted` (the history
 * is complete above it).
 *
 * Threads: the writer task owns db, index, dirty and superseded (load and history run before it has
 * work). lock guards the queue and the small numbers behind it.
 */
#pragma once

#include <sqlite3.h>

#include "apiserver/store/key_index.h"
#include "apiserver/store/store.h"
#include "common/hash.h"

/* A row that a later change made history. */
struct superseded {
    int64_t version, by;
};

/* A soft write that is acknowledged and not yet on disk; newer ones of the key replace it. */
struct dirty {
    char *key;
    char *value;
    size_t value_bytes;
    int64_t version, created;
    int64_t replaced; /* the key's newest version on disk, 0: none */
    UT_hash_handle hh;
};

struct embedded {
    struct store base;
    struct env *env;
    char *path, *vfs;
    int lock_fd; /* -1: none */

    sqlite3 *db;
    sqlite3_stmt *insert, *remove, *key_of, *set_meta;
    struct key_index *index;
    struct dirty *dirty;
    size_t dirty_bytes;
    int64_t dirty_since_ns;
    struct superseded *superseded; /* by ascending `by` */
    size_t superseded_head, superseded_count, superseded_capacity;
    int64_t reserved, compacted;
    bool loaded, soft_seen;

    struct lock lock;
    struct cond wake, wake_checkpointer;
    struct store_group *queue, **queue_end;
    int64_t version; /* newest handed out */
    int64_t compact_to;
    int wal_pages;        /* after the last commit */
    struct error failure; /* of the last commit; code 0: it worked */
    bool stopping;
    struct task *writer, *checkpointer;
};

/* Opens (making it when there is none) and checks the file; fills db, the statements, version,
 * reserved, compacted. */
int embedded_open(struct embedded *e, struct error *err);
void embedded_close(struct embedded *e);
int embedded_connect(struct embedded *e, sqlite3 **ret, struct error *err);
/* ERR_UNAVAILABLE in words that say what to do. */
int embedded_error(struct embedded *e, sqlite3 *db, const char *what, struct error *err);
int embedded_exec(struct embedded *e, const char *sql, struct error *err);
int embedded_insert(struct embedded *e, struct str key, int64_t version, int64_t created,
    int64_t prev, bool removed, struct str value, struct error *err);
int embedded_set_meta(struct embedded *e, const char *name, int64_t value, struct error *err);
/* Is `key` the key of row `version`? */
int embedded_key_is(
    struct embedded *e, int64_t version, struct str key, bool *ret, struct error *err);
/* Gives pages back to the file system, a bounded number, when much of the file is free. */
void embedded_vacuum(struct embedded *e);
void embedded_supersede(struct embedded *e, int64_t version, int64_t by);

int embedded_load(struct store *s, struct str prefix,
    int (*row)(void *arg, struct str key, struct str value, int64_t version, struct error *err),
    void *arg, int64_t *ret_version, struct error *err);
int embedded_history(struct store *s,
    int (*row)(void *arg, const struct store_change *change, struct error *err), void *arg,
    int64_t *ret_floor, struct error *err);
