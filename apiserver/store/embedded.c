/*
 * The embedded engine: one writer task with group commit, checkpoints beside it.
 *
 * All groups that arrived while the last commit was in flight are the next SQLite transaction; its
 * COMMIT syncs the WAL once, then their done functions run. A transaction that fails is rolled back
 * and every group of it told so; its versions are not used again, and the next commit tries anew,
 * so a full disk needs no restart.
 *
 * Soft groups (renewals of Leases) alone in a batch are acknowledged from memory: they go to
 * `dirty`, where the next renewal of the key replaces them, and reach the disk with a commit that
 * happens anyway after 20 s, alone after 60 s, or at the end. Their versions come from a block that
 * was reserved durably before, so that no version is ever given twice.
 *
 * Checkpoints run on a second connection: PASSIVE each 1,000 pages of WAL, RESTART from 16,384
 * pages (64 MB) on, which is the only time that a commit waits for one.
 *
 * Upstream counterpart: etcd's mvcc store with its backend's batch transactions.
 */
#include "apiserver/store/embedded.h"

#include <assert.h>
#include <inttypes.h>

#include "common/limits.h"
#include "common/log.h"
#include "common/time.h"

#define BATCH_GROUPS 1024
#define BATCH_BYTES (8u << 20)
#define DIRTY_JOIN_NS (20 * NS_PER_S)
#define DIRTY_ALONE_NS (60 * NS_PER_S)
#define DIRTY_BYTES (4u << 20)
#define RESERVE_BLOCK 1000
#define PRUNE_FEWEST 256
#define PRUNE_CHUNK 512
#define RETRY_NS (5 * NS_PER_S)
#define CHECKPOINT_PAGES 1000
#define RESTART_PAGES 16384

/* An index change of the open transaction, to take back when it fails. */
struct undo {
    uint64_t hash;
    struct key_entry before; /* version 0: the key was absent */
    int64_t after;           /* 0: the key is absent now */
};

struct batch {
    struct store_group *groups;
    struct undo *undo;
    size_t undo_count, undo_capacity;
    size_t superseded_left; /* entries of the ring before it */
    int64_t reserve;        /* new value of reserved, 0: none */
    bool dirty_flushed;
};

/* --- compares and the index --- */

static struct dirty *find_dirty(struct embedded *e, struct str key)
{
    struct dirty *d;

    HASH_FIND(hh, e->dirty, key.p, key.n, d);
    return d;
}

static void drop_dirty(struct embedded *e, struct dirty *d)
{
    e->dirty_bytes -= d->value_bytes;
    HASH_DEL(e->dirty, d);
    free(d->key);
    free(d->value);
    free(d);
}

/* 1: the compare holds, *ret_entry is the key's entry (NULL: absent); 0: it does not. */
static int compare(struct embedded *e, const struct store_op *op, uint64_t hash,
    struct key_entry **ret_entry, struct error *err)
{
    struct key_entry *entry;
    size_t cursor = 0;

    *ret_entry = NULL;
    if (op->expected) {
        *ret_entry = key_index_find(e->index, hash, op->expected);
        return *ret_entry != NULL;
    }
    while ((entry = key_index_next(e->index, hash, &cursor))) {
        struct dirty *d = find_dirty(e, op->key);
        bool same = d && d->version == entry->version;

        if (!same && embedded_key_is(e, entry->version, op->key, &same, err) < 0)
            return -err->code;
        if (same)
            return 0;
    }
    return 1;
}

static int check_group(struct embedded *e, const struct store_group *g, struct error *err)
{
    for (size_t i = 0; i < g->op_count; i++) {
        struct key_entry *entry;
        int holds = compare(e, &g->ops[i], key_index_hash(g->ops[i].key), &entry, err);

        if (holds < 0)
            return holds;
        if (!holds)
            return error_set(err, ERR_CONFLICT, "the object has been modified");
    }
    return 0;
}

static void note_undo(struct batch *b, struct undo u)
{
    if (b->undo_count == b->undo_capacity) {
        b->undo_capacity = 2 * b->undo_capacity + 64;
        b->undo = (struct undo *)xrealloc(b->undo, b->undo_capacity * sizeof(*b->undo));
    }
    b->undo[b->undo_count++] = u;
}

/* The index after one op; returns when the key was created. */
static int64_t update_index(
    struct embedded *e, struct batch *b, const struct store_op *op, int64_t version)
{
    uint64_t hash = key_index_hash(op->key);
    struct key_entry *entry = op->expected ? key_index_find(e->index, hash, op->expected) : NULL;
    struct undo u = {.hash = hash, .after = op->remove ? 0 : version};
    int64_t created = entry ? entry->created : version;

    if (entry)
        u.before = *entry;
    if (b)
        note_undo(b, u);
    if (entry && op->remove)
        key_index_remove(e->index, entry);
    else if (entry)
        entry->version = version;
    else if (!op->remove)
        key_index_add(e->index, hash, version, created);
    return created;
}

static void undo_index(struct embedded *e, struct batch *b)
{
    while (b->undo_count) {
        struct undo *u = &b->undo[--b->undo_count];
        struct key_entry *entry = u->after ? key_index_find(e->index, u->hash, u->after) : NULL;

        if (entry && u->before.version)
            *entry = u->before;
        else if (entry)
            key_index_remove(e->index, entry);
        else if (u->before.version)
            key_index_add(e->index, u->hash, u->before.version, u->before.created);
    }
    e->superseded_count = e->superseded_head + b->superseded_left;
}

static int64_t next_version(struct embedded *e)
{
    return __atomic_add_fetch(&e->version, 1, __ATOMIC_RELEASE);
}

/* --- soft writes --- */

static bool is_soft(const struct embedded *e, const struct store_group *g)
{
    if (!g->soft)
        return false;
    for (size_t i = 0; i < g->op_count; i++)
        if (g->ops[i].remove || !g->ops[i].expected)
            return false;
    return true;
}

static bool batch_is_soft(const struct embedded *e, const struct store_group *groups)
{
    int64_t versions = 0;

    for (const struct store_group *g = groups; g; g = g->next) {
        if (!is_soft(e, g))
            return false;
        versions += (int64_t)g->op_count;
    }
    return e->version + versions <= e->reserved && e->dirty_bytes < DIRTY_BYTES;
}

static void keep_dirty(struct embedded *e, struct store_op *op)
{
    struct dirty *d = find_dirty(e, op->key);

    op->version = next_version(e);
    int64_t created = update_index(e, NULL, op, op->version);

    if (!e->dirty)
        e->dirty_since_ns = env_now_ns(e->env);
    if (!d) {
        d = (struct dirty *)xcalloc(1, sizeof(*d));
        d->key = str_dup(op->key);
        d->replaced = op->expected;
        HASH_ADD_KEYPTR(hh, e->dirty, d->key, op->key.n, d);
    }
    e->dirty_bytes += op->value.n - d->value_bytes;
    d->value = (char *)xrealloc(d->value, op->value.n + 1);
    memcpy(d->value, op->value.p, op->value.n);
    d->value_bytes = op->value.n;
    d->version = op->version;
    d->created = created;
}

static void acknowledge(struct store_group *groups, const int *results, const struct error *err);

static void run_soft(struct embedded *e, struct store_group *groups, size_t count)
{
    autofree int *results = (int *)xcalloc(count, sizeof(int));
    struct error err = {0};
    size_t i = 0;

    for (struct store_group *g = groups; g; g = g->next, i++) {
        results[i] = check_group(e, g, &err);
        for (size_t k = 0; results[i] == 0 && k < g->op_count; k++)
            keep_dirty(e, &g->ops[k]);
    }
    acknowledge(groups, results, &err);
}

static int flush_dirty(struct embedded *e, struct batch *b, struct error *err)
{
    struct dirty *d, *next;

    HASH_ITER(hh, e->dirty, d, next)
    {
        if (embedded_insert(e, str_of(d->key), d->version, d->created, d->replaced, false,
                str_range(d->value, d->value_bytes), err) < 0)
            return -err->code;
        if (d->replaced)
            embedded_supersede(e, d->replaced, d->version);
    }
    b->dirty_flushed = true;
    return 0;
}

/* --- hard commits --- */

static int insert_op(struct embedded *e, struct batch *b, struct store_op *op, struct error *err)
{
    struct dirty *d = e->dirty ? find_dirty(e, op->key) : NULL;
    int64_t prev = d && !b->dirty_flushed ? d->replaced : op->expected;

    op->version = next_version(e);
    int64_t created = update_index(e, b, op, op->version);

    if (embedded_insert(e, op->key, op->version, created, prev, op->remove,
            op->remove ? STR("") : op->value, err) < 0)
        return -err->code;
    if (prev)
        embedded_supersede(e, prev, op->version);
    if (op->remove)
        embedded_supersede(e, op->version, op->version);
    return 0;
}

static int write_rows(
    struct embedded *e, struct batch *b, int *results, struct error *refused, struct error *err)
{
    size_t i = 0;

    if (embedded_exec(e, "BEGIN IMMEDIATE", err) < 0)
        return -err->code;
    if (e->dirty && env_now_ns(e->env) - e->dirty_since_ns >= DIRTY_JOIN_NS &&
        flush_dirty(e, b, err) < 0)
        return -err->code;
    for (struct store_group *g = b->groups; g; g = g->next, i++) {
        results[i] = check_group(e, g, refused);
        if (results[i] == -ERR_UNAVAILABLE) {
            *err = *refused;
            return results[i];
        }
        e->soft_seen |= g->soft;
        for (size_t k = 0; results[i] == 0 && k < g->op_count; k++)
            if (insert_op(e, b, &g->ops[k], err) < 0)
                return -err->code;
    }
    if (!b->groups || (e->soft_seen && e->reserved - e->version < RESERVE_BLOCK / 2)) {
        b->reserve = e->version + RESERVE_BLOCK;
        if (embedded_set_meta(e, "reserved", b->reserve, err) < 0)
            return -err->code;
    }
    return embedded_exec(e, "COMMIT", err);
}

/* Dirty entries that the commit has made superfluous: flushed, or replaced by a newer version. */
static void forget_dirty(struct embedded *e, const struct batch *b)
{
    struct dirty *d, *next;

    if (b->dirty_flushed) {
        HASH_ITER(hh, e->dirty, d, next)
        drop_dirty(e, d);
        return;
    }
    for (struct store_group *g = e->dirty ? b->groups : NULL; g; g = g->next)
        for (size_t i = 0; i < g->op_count; i++)
            if ((d = find_dirty(e, g->ops[i].key)) && g->ops[i].version > d->version)
                drop_dirty(e, d);
}

static void set_failure(struct embedded *e, const struct error *err)
{
    bool news;

    env_lock(e->env, &e->lock);
    news = e->failure.code != (err ? err->code : ERR_NONE);
    if (err)
        e->failure = *err;
    else
        e->failure.code = ERR_NONE;
    env_unlock(e->env, &e->lock);
    if (news && err)
        log_error(
            "commit failed, writes are refused until one works", "err", "%s", err->text, NULL);
    else if (news)
        log_info("commits work again", NULL);
}

static void finish_batch(struct embedded *e, struct batch *b)
{
    forget_dirty(e, b);
    if (b->reserve)
        e->reserved = b->reserve;
    set_failure(e, NULL);
}

static void run_hard(struct embedded *e, struct store_group *groups, size_t count)
{
    struct batch b = {
        .groups = groups, .superseded_left = e->superseded_count - e->superseded_head};
    autofree int *results = (int *)xcalloc(count + 1, sizeof(int));
    struct error refused = {0}, err = {0};

    if (write_rows(e, &b, results, &refused, &err) < 0) {
        sqlite3_exec(e->db, "ROLLBACK", NULL, NULL, NULL);
        undo_index(e, &b);
        set_failure(e, &err);
        for (size_t i = 0; i < count; i++)
            if (results[i] != -ERR_CONFLICT)
                results[i] = -ERR_UNAVAILABLE;
    } else {
        finish_batch(e, &b);
    }
    free(b.undo);
    if (groups)
        acknowledge(groups, results, err.code ? &err : &refused);
}

static void acknowledge(struct store_group *groups, const int *results, const struct error *err)
{
    for (size_t i = 0; groups; i++) {
        struct store_group *next = groups->next; /* groups is its owner's again after done */
        struct error told = *err;

        if (results[i] == -ERR_CONFLICT)
            error_set(&told, ERR_CONFLICT, "the object has been modified");
        groups->more = next != NULL;
        groups->done(groups, results[i], results[i] < 0 ? &told : NULL);
        groups = next;
    }
}

/* --- compaction --- */

static size_t prunable(const struct embedded *e, int64_t up_to, size_t most)
{
    size_t n = 0;

    while (n < most && e->superseded_head + n < e->superseded_count &&
           e->superseded[e->superseded_head + n].by <= up_to)
        n++;
    return n;
}

static int prune_rows(struct embedded *e, size_t count, struct error *err)
{
    int64_t floor = e->compacted;

    if (embedded_exec(e, "BEGIN IMMEDIATE", err) < 0)
        return -err->code;
    for (size_t i = 0; i < count; i++) {
        const struct superseded *old = &e->superseded[e->superseded_head + i];

        floor = old->by > floor ? old->by : floor;
        sqlite3_bind_int64(e->remove, 1, old->version);
        int rc = sqlite3_step(e->remove);

        sqlite3_reset(e->remove);
        if (rc != SQLITE_DONE)
            return embedded_error(e, e->db, "cannot write", err);
    }
    if (embedded_set_meta(e, "compacted", floor, err) < 0 || embedded_exec(e, "COMMIT", err) < 0)
        return -err->code;
    e->compacted = floor;
    e->superseded_head += count;
    return 0;
}

/* One bounded step; true when there is more to do. */
static bool prune(struct embedded *e, int64_t up_to)
{
    struct error err;
    size_t count = prunable(e, up_to, PRUNE_CHUNK);

    if (count < PRUNE_FEWEST)
        return false;
    if (prune_rows(e, count, &err) < 0) {
        sqlite3_exec(e->db, "ROLLBACK", NULL, NULL, NULL);
        log_warning("compaction failed, trying again later", "err", "%s", err.text, NULL);
        return false;
    }
    if (prunable(e, up_to, PRUNE_FEWEST) >= PRUNE_FEWEST)
        return true;
    embedded_vacuum(e);
    return false;
}

/* --- the writer task --- */

static struct store_group *take_batch(struct embedded *e, size_t *ret_count)
{
    struct store_group *first = e->queue, **end = &first;
    size_t bytes = 0;

    *ret_count = 0;
    while (*end && *ret_count < BATCH_GROUPS && bytes < BATCH_BYTES) {
        for (size_t i = 0; i < (*end)->op_count; i++)
            bytes += (*end)->ops[i].value.n;
        end = &(*end)->next;
        ++*ret_count;
    }
    e->queue = *end;
    if (!e->queue)
        e->queue_end = &e->queue;
    *end = NULL;
    return first;
}

static int64_t writer_deadline(const struct embedded *e, bool pruning)
{
    int64_t now = env_now_ns(e->env);

    if (pruning)
        return now;
    if (e->failure.code)
        return now + RETRY_NS;
    return e->dirty ? e->dirty_since_ns + DIRTY_ALONE_NS : ENV_FOREVER;
}

/* Flushes what soft writes left and gives back the unused reservation, so that a clean start
 * continues the numbers. */
static void write_last(struct embedded *e)
{
    struct batch b = {.superseded_left = e->superseded_count - e->superseded_head};
    struct error err;

    if (!e->loaded || (!e->dirty && e->reserved <= e->version))
        return;
    if (embedded_exec(e, "BEGIN IMMEDIATE", &err) < 0 || flush_dirty(e, &b, &err) < 0 ||
        embedded_set_meta(e, "reserved", e->version, &err) < 0 ||
        embedded_exec(e, "COMMIT", &err) < 0) {
        sqlite3_exec(e->db, "ROLLBACK", NULL, NULL, NULL);
        log_warning("last renewals of Leases were not written, holders renew them", "err", "%s",
            err.text, NULL);
        return;
    }
    finish_batch(e, &b);
}

static void writer_run(void *arg)
{
    struct embedded *e = (struct embedded *)arg;
    bool pruning = false;
    int64_t compact_to = 0;

    for (;;) {
        size_t count;

        env_lock(e->env, &e->lock);
        int64_t deadline = writer_deadline(e, pruning);

        while (!e->queue && !e->stopping && e->compact_to == compact_to &&
               env_wait_until(e->env, &e->wake, &e->lock, deadline))
            ;
        struct store_group *batch = take_batch(e, &count);
        bool stop = e->stopping && !batch, failed = e->failure.code != ERR_NONE;

        compact_to = e->compact_to;
        env_unlock(e->env, &e->lock);
        if (stop)
            break;
        if (batch && batch_is_soft(e, batch))
            run_soft(e, batch, count);
        else if (batch)
            run_hard(e, batch, count);
        else if (failed || (e->dirty && env_now_ns(e->env) - e->dirty_since_ns >= DIRTY_ALONE_NS))
            run_hard(e, NULL, 0);
        pruning = !failed && prune(e, compact_to);
    }
    write_last(e);
}

/* --- the checkpointer task --- */

static int wal_grew(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct embedded *e = (struct embedded *)arg;

    env_lock(e->env, &e->lock);
    e->wal_pages = pages;
    if (pages >= CHECKPOINT_PAGES)
        env_signal(e->env, &e->wake_checkpointer);
    env_unlock(e->env, &e->lock);
    return SQLITE_OK;
}

static void checkpoint(struct embedded *e, sqlite3 *db, int pages)
{
    struct error err;
    int rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    if (rc == SQLITE_OK && pages >= RESTART_PAGES)
        rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) {
        embedded_error(e, db, "checkpoint of", &err);
        log_warning(
            "checkpoint failed, trying again as the log grows", "err", "%s", err.text, NULL);
    }
}

static void checkpointer_run(void *arg)
{
    struct embedded *e = (struct embedded *)arg;
    int done_at = 0; /* pages when the last checkpoint ran */
    sqlite3 *db = NULL;
    struct error err;

    for (;;) {
        env_lock(e->env, &e->lock);
        while (!e->stopping && e->wal_pages < done_at + CHECKPOINT_PAGES) {
            env_wait_until(e->env, &e->wake_checkpointer, &e->lock, ENV_FOREVER);
            if (e->wal_pages < done_at)
                done_at = 0; /* the log started over */
        }
        int pages = e->wal_pages;
        bool stop = e->stopping;

        env_unlock(e->env, &e->lock);
        if (stop)
            break;
        if (!db && embedded_connect(e, &db, &err) < 0) {
            log_warning(
                "cannot checkpoint, trying again as the log grows", "err", "%s", err.text, NULL);
            db = NULL;
        }
        if (db)
            checkpoint(e, db, pages);
        done_at = pages;
    }
    sqlite3_close(db);
}

/* --- the store's table --- */

static void embedded_commit(struct store *store, struct store_group *group)
{
    struct embedded *e = container_of(store, struct embedded, base);

    group->next = NULL;
    env_lock(e->env, &e->lock);
    assert(e->loaded);
    if (!e->queue)
        env_signal(e->env, &e->wake);
    *e->queue_end = group;
    e->queue_end = &group->next;
    env_unlock(e->env, &e->lock);
}

static int embedded_watch(struct store *store, int64_t version,
    void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to),
    void (*on_lost)(void *arg, const struct error *err), void *arg, struct error *err)
{
    return error_set(err, ERR_NOT_IMPLEMENTED, "the only writer needs no watch");
}

static void embedded_head(
    struct store *store, void (*fn)(void *arg, int64_t version, const struct error *err), void *arg)
{
    struct embedded *e = container_of(store, struct embedded, base);

    fn(arg, __atomic_load_n(&e->version, __ATOMIC_ACQUIRE), NULL);
}

static int embedded_compact(struct store *store, int64_t version, struct error *err)
{
    struct embedded *e = container_of(store, struct embedded, base);

    env_lock(e->env, &e->lock);
    if (version > e->compact_to) {
        e->compact_to = version;
        env_signal(e->env, &e->wake);
    }
    env_unlock(e->env, &e->lock);
    return 0;
}

static bool embedded_healthy(struct store *store, struct error *err)
{
    struct embedded *e = container_of(store, struct embedded, base);

    env_lock(e->env, &e->lock);
    bool healthy = e->failure.code == ERR_NONE;

    if (!healthy)
        *err = e->failure;
    env_unlock(e->env, &e->lock);
    return healthy;
}

static void embedded_free(struct store *store)
{
    struct embedded *e = container_of(store, struct embedded, base);
    struct dirty *d, *next;

    env_lock(e->env, &e->lock);
    e->stopping = true;
    env_broadcast(e->env, &e->wake);
    env_broadcast(e->env, &e->wake_checkpointer);
    env_unlock(e->env, &e->lock);
    if (e->writer)
        env_join(e->env, e->writer);
    if (e->checkpointer)
        env_join(e->env, e->checkpointer);
    embedded_close(e);
    HASH_ITER(hh, e->dirty, d, next)
    drop_dirty(e, d);
    key_index_free(e->index);
    free(e->superseded);
    free(e->path);
    free(e->vfs);
    env_cond_done(&e->wake);
    env_cond_done(&e->wake_checkpointer);
    env_lock_done(&e->lock);
    free(e);
}

static const struct store_ops embedded_ops = {
    .load = embedded_load,
    .commit = embedded_commit,
    .watch = embedded_watch,
    .head = embedded_head,
    .compact = embedded_compact,
    .healthy = embedded_healthy,
    .free = embedded_free,
    .history = embedded_history,
};

int store_embedded_new(struct env *env, const struct store_embedded_config *config,
    struct store **ret, struct error *err)
{
    struct embedded *e = (struct embedded *)xcalloc(1, sizeof(*e));

    e->base.ops = &embedded_ops;
    e->base.exclusive = true;
    e->env = env;
    e->path = str_format("%s/skiff.db", config->dir);
    e->vfs = config->vfs ? xstrdup(config->vfs) : NULL;
    e->lock_fd = -1;
    e->index = key_index_new();
    e->queue_end = &e->queue;
    env_lock_init(&e->lock);
    env_cond_init(&e->wake);
    env_cond_init(&e->wake_checkpointer);
    if (embedded_open(e, err) < 0) {
        embedded_free(&e->base);
        return -err->code;
    }
    sqlite3_wal_hook(e->db, wal_grew, e);
    e->writer = env_spawn(env, "store-writer", writer_run, e);
    e->checkpointer = env_spawn(env, "store-ckpt", checkpointer_run, e);
    *ret = &e->base;
    return 0;
}
