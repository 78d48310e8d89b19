/*
 * The embedded engine's database: opening and checking it, its statements, loading.
 *
 * A file that is not ours, or of a newer format, is refused and left as it is. One process at a
 * time: skiff.lock is held by flock for the life of the store (not with a VFS given by a simulator,
 * which has no files).
 */
#include "apiserver/store/embedded.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "common/time.h"

#define APPLICATION_ID 0x534b4946 /* "SKIF" */
#define FORMAT 1
#define BUSY_WAIT_NS (1 * NS_PER_MS)
#define BUSY_TRIES 30000
/* Below 16 MB of free pages the file stays as it is: later rows use them, and shrinking is writing,
 * too. */
#define VACUUM_PAGES 4096

static const char *const create_sql =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE kv(version INTEGER PRIMARY KEY, key BLOB NOT NULL, created INTEGER NOT NULL,"
    " prev INTEGER NOT NULL, removed INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('reserved', 0), ('compacted', 0);"
    "PRAGMA application_id = 1397442886;"
    "PRAGMA user_version = 1;"
    "COMMIT;";

int embedded_error(struct embedded *e, sqlite3 *db, const char *what, struct error *err)
{
    int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;
    int system = db ? sqlite3_system_errno(db) : 0;

    if (code == SQLITE_FULL || (code == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT)))
        return error_set(err, ERR_UNAVAILABLE,
            "no space left to write %s; free some space, writes go on by themselves then", e->path);
    if (code == SQLITE_READONLY || code == SQLITE_PERM || code == SQLITE_CANTOPEN)
        return error_set(err, ERR_UNAVAILABLE, "%s %s: %s; check the folder's owner and mode", what,
            e->path, sqlite3_errmsg(db));
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return error_set(err, ERR_UNAVAILABLE, "%s %s: %s; restore it from a backup", what, e->path,
            sqlite3_errmsg(db));
    return error_set(err, ERR_UNAVAILABLE, "%s %s: %s%s%s", what, e->path,
        db ? sqlite3_errmsg(db) : "out of memory", system ? ": " : "",
        system ? strerror(system) : "");
}

int embedded_exec(struct embedded *e, const char *sql, struct error *err)
{
    if (sqlite3_exec(e->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return embedded_error(e, e->db, "database", err);
    return 0;
}

static int wait_for_lock(void *arg, int tries)
{
    struct embedded *e = (struct embedded *)arg;

    env_sleep_ns(e->env, BUSY_WAIT_NS);
    return tries < BUSY_TRIES;
}

int embedded_connect(struct embedded *e, sqlite3 **ret, struct error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    sqlite3 *db = NULL;

    if (sqlite3_open_v2(e->path, &db, flags, e->vfs) != SQLITE_OK) {
        embedded_error(e, db, "cannot open", err);
        sqlite3_close(db);
        return -err->code;
    }
    sqlite3_extended_result_codes(db, 0);
    sqlite3_busy_handler(db, wait_for_lock, e);
    sqlite3_exec(db,
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY; "
        "PRAGMA secure_delete = ON",
        NULL, NULL, NULL);
    *ret = db;
    return 0;
}

static int query_int(struct embedded *e, const char *sql, int64_t *ret, struct error *err)
{
    sqlite3_stmt *statement;
    int result = 0;

    if (sqlite3_prepare_v2(e->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return embedded_error(e, e->db, "cannot read", err);
    int rc = sqlite3_step(statement);

    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    else if (rc == SQLITE_DONE)
        *ret = 0;
    else
        result = embedded_error(e, e->db, "cannot read", err);
    sqlite3_finalize(statement);
    return result;
}

static int check_format(struct embedded *e, struct error *err)
{
    int64_t id, format, tables;

    if (query_int(e, "PRAGMA application_id", &id, err) < 0 ||
        query_int(e, "PRAGMA user_version", &format, err) < 0 ||
        query_int(e, "SELECT count(*) FROM sqlite_master", &tables, err) < 0)
        return -err->code;
    if (id == 0 && format == 0 && tables == 0) {
        if (embedded_exec(e, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL", err) <
            0)
            return -err->code;
        return embedded_exec(e, create_sql, err);
    }
    if (id != APPLICATION_ID)
        return error_set(err, ERR_USAGE,
            "%s is another program's database (application id 0x%08" PRIx64
            "); it was left as it is, choose another --data-dir",
            e->path, (uint64_t)id);
    if (format != FORMAT)
        return error_set(err, ERR_USAGE,
            "%s has format %" PRId64 " and this version of Skiff knows %d only; it was "
            "left as it is, %s",
            e->path, format, FORMAT,
            format > FORMAT ? "use the newer version" : "restore a backup");
    return embedded_exec(e, "PRAGMA journal_mode = WAL", err);
}

static int lock_folder(struct embedded *e, const char *dir, struct error *err)
{
    autofree char *path = str_format("%s/skiff.lock", dir);

    e->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (e->lock_fd < 0)
        return error_sys(err, errno, "cannot open %s", path);
    if (flock(e->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return error_set(err, ERR_USAGE,
                "%s is in use by another process; stop it or choose another --data-dir", dir);
        return error_sys(err, errno, "cannot lock %s", path);
    }
    return 0;
}

static int prepare(struct embedded *e, const char *sql, sqlite3_stmt **ret, struct error *err)
{
    if (sqlite3_prepare_v3(e->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) != SQLITE_OK)
        return embedded_error(e, e->db, "cannot prepare", err);
    return 0;
}

int embedded_open(struct embedded *e, struct error *err)
{
    if (!e->vfs) {
        autofree char *dir = str_dup(str_range(e->path, (size_t)(strrchr(e->path, '/') - e->path)));

        if (file_make_dirs(dir, 0700, err) < 0 || lock_folder(e, dir, err) < 0)
            return -err->code;
    }
    if (embedded_connect(e, &e->db, err) < 0 || check_format(e, err) < 0)
        return -err->code;
    if (query_int(e, "SELECT max(version) FROM kv", &e->version, err) < 0 ||
        query_int(e, "SELECT value FROM meta WHERE name = 'reserved'", &e->reserved, err) < 0 ||
        query_int(e, "SELECT value FROM meta WHERE name = 'compacted'", &e->compacted, err) < 0)
        return -err->code;
    if (prepare(e, "INSERT INTO kv VALUES(?1, ?2, ?3, ?4, ?5, ?6)", &e->insert, err) < 0 ||
        prepare(e, "DELETE FROM kv WHERE version = ?1", &e->remove, err) < 0 ||
        prepare(e, "SELECT key FROM kv WHERE version = ?1", &e->key_of, err) < 0 ||
        prepare(e, "UPDATE meta SET value = ?2 WHERE name = ?1", &e->set_meta, err) < 0)
        return -err->code;
    if (e->compacted > e->version)
        e->version = e->compacted;
    e->base.gap_from = e->version;
    if (e->reserved > e->version)
        e->version = e->reserved;
    e->base.gap_to = e->version;
    return 0;
}

void embedded_close(struct embedded *e)
{
    sqlite3_finalize(e->insert);
    sqlite3_finalize(e->remove);
    sqlite3_finalize(e->key_of);
    sqlite3_finalize(e->set_meta);
    if (e->db && sqlite3_close(e->db) != SQLITE_OK)
        log_error("database was not closed cleanly, it recovers at the next start", NULL);
    if (e->lock_fd >= 0)
        close(e->lock_fd);
}

static int step(struct embedded *e, sqlite3_stmt *statement, const char *what, struct error *err)
{
    int rc = sqlite3_step(statement), result = 0;

    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        result = embedded_error(e, e->db, what, err);
    sqlite3_reset(statement);
    return result;
}

int embedded_insert(struct embedded *e, struct str key, int64_t version, int64_t created,
    int64_t prev, bool removed, struct str value, struct error *err)
{
    sqlite3_bind_int64(e->insert, 1, version);
    sqlite3_bind_blob(e->insert, 2, key.p, (int)key.n, SQLITE_STATIC);
    sqlite3_bind_int64(e->insert, 3, created);
    sqlite3_bind_int64(e->insert, 4, prev);
    sqlite3_bind_int(e->insert, 5, removed);
    sqlite3_bind_blob(e->insert, 6, value.n ? value.p : "", (int)value.n, SQLITE_STATIC);
    return step(e, e->insert, "cannot write", err);
}

int embedded_set_meta(struct embedded *e, const char *name, int64_t value, struct error *err)
{
    sqlite3_bind_text(e->set_meta, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(e->set_meta, 2, value);
    return step(e, e->set_meta, "cannot write", err);
}

int embedded_key_is(
    struct embedded *e, int64_t version, struct str key, bool *ret, struct error *err)
{
    int result = 0;

    sqlite3_bind_int64(e->key_of, 1, version);
    int rc = sqlite3_step(e->key_of);

    if (rc == SQLITE_ROW) {
        const char *p = (const char *)sqlite3_column_blob(e->key_of, 0);

        *ret = str_eq(str_range(p, (size_t)sqlite3_column_bytes(e->key_of, 0)), key);
    } else if (rc == SQLITE_DONE) {
        *ret = false;
    } else {
        result = embedded_error(e, e->db, "cannot read", err);
    }
    sqlite3_reset(e->key_of);
    return result;
}

void embedded_vacuum(struct embedded *e)
{
    int64_t unused = 0, pages = 0;
    struct error ignored; /* it is tried again after the next compaction */

    if (query_int(e, "PRAGMA freelist_count", &unused, &ignored) < 0 ||
        query_int(e, "PRAGMA page_count", &pages, &ignored) < 0)
        return;
    if (unused > VACUUM_PAGES && 4 * unused > pages)
        sqlite3_exec(e->db, "PRAGMA incremental_vacuum(1000)", NULL, NULL, NULL);
}

void embedded_supersede(struct embedded *e, int64_t version, int64_t by)
{
    if (e->superseded_count == e->superseded_capacity) {
        size_t left = e->superseded_count - e->superseded_head;

        if (e->superseded_head > left) { /* mostly consumed: move instead of growing */
            memmove(
                e->superseded, e->superseded + e->superseded_head, left * sizeof(*e->superseded));
            e->superseded_count = left;
            e->superseded_head = 0;
        } else {
            e->superseded_capacity = 2 * e->superseded_capacity + 256;
            e->superseded = (struct superseded *)xrealloc(
                e->superseded, e->superseded_capacity * sizeof(*e->superseded));
        }
    }
    e->superseded[e->superseded_count++] = (struct superseded){version, by};
}

/* --- loading --- */

static struct str column_str(sqlite3_stmt *s, int column)
{
    const char *p = (const char *)sqlite3_column_blob(s, column);

    return str_range(p ? p : "", (size_t)sqlite3_column_bytes(s, column));
}

static uint64_t version_hash(int64_t version)
{
    return (uint64_t)version * 0x9e3779b97f4a7c15ull >> 7;
}

/* Newest row first, so that a row's successor has been seen when it comes. */
static int load_row(struct embedded *e, sqlite3_stmt *s, struct key_index *replaced,
    struct str prefix,
    int (*row)(void *arg, struct str key, struct str value, int64_t version, struct error *err),
    void *arg, struct error *err)
{
    int64_t version = sqlite3_column_int64(s, 0), prev = sqlite3_column_int64(s, 3);
    bool removed = sqlite3_column_int(s, 4);

    if (removed)
        embedded_supersede(e, version, version);
    if (prev) {
        key_index_add(replaced, version_hash(prev), prev, 0);
        embedded_supersede(e, prev, version);
    }
    if (removed || key_index_find(replaced, version_hash(version), version))
        return 0;
    struct str key = column_str(s, 1);

    if (!e->loaded)
        key_index_add(e->index, key_index_hash(key), version, sqlite3_column_int64(s, 2));
    if (!str_starts(key, prefix))
        return 0;
    return row(arg, key, column_str(s, 5), version, err);
}

static void reverse(struct superseded *list, size_t count)
{
    for (size_t i = 0, j = count; i + 1 < j; i++) {
        struct superseded t = list[--j];

        list[j] = list[i];
        list[i] = t;
    }
}

int embedded_load(struct store *store, struct str prefix,
    int (*row)(void *arg, struct str key, struct str value, int64_t version, struct error *err),
    void *arg, int64_t *ret_version, struct error *err)
{
    struct embedded *e = container_of(store, struct embedded, base);
    struct key_index *replaced = key_index_new();
    sqlite3_stmt *s;
    int result = 0, rc;

    assert(!e->loaded);
    if (prepare(e,
            "SELECT version, key, created, prev, removed, value FROM kv ORDER BY version DESC", &s,
            err) < 0) {
        key_index_free(replaced);
        return -err->code;
    }
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && result == 0)
        result = load_row(e, s, replaced, prefix, row, arg, err);
    if (rc != SQLITE_DONE && result == 0)
        result = embedded_error(e, e->db, "cannot read", err);
    sqlite3_finalize(s);
    key_index_free(replaced);
    if (result < 0)
        return result;
    reverse(e->superseded, e->superseded_count);
    e->loaded = true;
    *ret_version = e->version;
    return 0;
}

int embedded_history(struct store *store,
    int (*row)(void *arg, const struct store_change *change, struct error *err), void *arg,
    int64_t *ret_floor, struct error *err)
{
    struct embedded *e = container_of(store, struct embedded, base);
    sqlite3_stmt *s;
    int result = 0, rc;

    if (prepare(e, "SELECT version, key, prev, removed, value FROM kv ORDER BY version DESC", &s,
            err) < 0)
        return -err->code;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && result == 0) {
        struct store_change change = {
            .version = sqlite3_column_int64(s, 0),
            .key = column_str(s, 1),
            .replaced = sqlite3_column_int64(s, 2),
            .removed = sqlite3_column_int(s, 3),
            .value = column_str(s, 4),
        };

        result = row(arg, &change, err);
    }
    if (rc != SQLITE_DONE && result == 0)
        result = embedded_error(e, e->db, "cannot read", err);
    sqlite3_finalize(s);
    if (result < 0)
        return result;
    *ret_floor = e->compacted;
    return 0;
}
