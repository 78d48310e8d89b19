/*
 * The embedded engine: commits and compares, reopening, soft writes and the gap they leave, history
 * and compaction, refusals, a full disk, and kill -9 at random moments.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

struct rows {
    char text[4096]; /* "key=value@version;" sorted as they come */
    size_t count;
};

static int collect(void *arg, struct str key, struct str value, int64_t version, struct error *err)
{
    struct rows *r = (struct rows *)arg;
    size_t n = strlen(r->text);

    snprintf(r->text + n, sizeof(r->text) - n, "%.*s=%.*s@%lld;", STR_FMT(key), STR_FMT(value),
        (long long)version);
    r->count++;
    return 0;
}

static struct store *open_store(
    struct env *env, const char *dir, const char *vfs, struct rows *rows, int64_t *version)
{
    struct store_embedded_config config = {.dir = dir, .vfs = vfs};
    struct store *s = NULL;
    struct error err = {0};
    int64_t at;

    memset(rows, 0, sizeof(*rows));
    CU_ASSERT_FATAL(store_embedded_new(env, &config, &s, &err) == 0);
    CU_ASSERT_FATAL(s->ops->load(s, STR(""), collect, rows, &at, &err) == 0);
    if (version)
        *version = at;
    return s;
}

static void test_commit_and_reopen(void)
{
    struct env *env = env_new_real();
    char *dir = test_dir();
    struct rows rows;
    int64_t a, b, c, d, version;
    struct store *s = open_store(env, dir, NULL, &rows, &version);

    CU_ASSERT_EQUAL(version, 0);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/a", 0, "1", false, &a, NULL), 0);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/b", 0, "1", false, &b, NULL), 0);
    CU_ASSERT(0 < a && a < b);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/a", 0, "2", false, NULL, NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/a", b, "2", false, NULL, NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/a", a, "2", false, &c, NULL), 0);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/b", b, NULL, false, &d, NULL), 0);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/b", b, NULL, false, NULL, NULL), -ERR_CONFLICT);
    CU_ASSERT(b < c && c < d);
    s->ops->free(s);
    s = open_store(env, dir, NULL, &rows, &version);
    CU_ASSERT_STRING_EQUAL(rows.text, "pods/x/a=2@3;");
    CU_ASSERT_EQUAL(version, d);
    CU_ASSERT_EQUAL(test_commit(env, s, "pods/x/b", 0, "new", false, &a, NULL), 0);
    CU_ASSERT(a > d);
    s->ops->free(s);
    test_dir_done(dir);
    env_free(env);
}

struct many {
    struct store_group groups[200];
    struct store_op ops[200];
    char keys[200][16];
    struct env *env;
    struct lock lock;
    struct cond cond;
    int done, commits;
    int64_t last;
    bool ordered;
};

static struct many *many_now;

static void many_done(struct store_group *g, int result, const struct error *err)
{
    struct many *m = many_now;

    env_lock(m->env, &m->lock);
    m->done++;
    m->commits += !g->more;
    m->ordered &= g->ops[0].version > m->last;
    m->last = g->ops[0].version;
    env_signal(m->env, &m->cond);
    env_unlock(m->env, &m->lock);
}

static void test_group_commit(void)
{
    struct env *env = env_new_real();
    char *dir = test_dir();
    struct rows rows;
    struct store *s = open_store(env, dir, NULL, &rows, NULL);
    struct many *m = many_now = (struct many *)xcalloc(1, sizeof(*m));

    m->env = env;
    m->ordered = true;
    env_lock_init(&m->lock);
    env_cond_init(&m->cond);
    for (int i = 0; i < 200; i++) {
        snprintf(m->keys[i], sizeof(m->keys[i]), "k/-/%d", i);
        m->ops[i] = (struct store_op){.key = str_of(m->keys[i]), .value = STR("v")};
        m->groups[i] = (struct store_group){.ops = &m->ops[i], .op_count = 1, .done = many_done};
        s->ops->commit(s, &m->groups[i]);
    }
    env_lock(env, &m->lock);
    while (m->done < 200)
        env_wait_until(env, &m->cond, &m->lock, ENV_FOREVER);
    env_unlock(env, &m->lock);
    CU_ASSERT(m->ordered);
    CU_ASSERT(m->commits < 100); /* most of them waited for the first and went together */
    s->ops->free(s);
    env_lock_done(&m->lock);
    env_cond_done(&m->cond);
    free(m);
    test_dir_done(dir);
    env_free(env);
}

static size_t wal_bytes(const char *dir)
{
    autofree char *path = str_format("%s/skiff.db-wal", dir);
    struct stat st;

    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

static void test_soft(void)
{
    struct env *env = env_new_real();
    char *dir = test_dir();
    struct rows rows;
    int64_t first, v, version;
    struct store *s = open_store(env, dir, NULL, &rows, NULL);

    CU_ASSERT_EQUAL(test_commit(env, s, "leases/x/a", 0, "0", false, &first, NULL), 0);
    CU_ASSERT_EQUAL(test_commit(env, s, "leases/x/a", first, "1", true, &v, NULL),
        0); /* reserves a block durably */
    size_t bytes = wal_bytes(dir);

    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(test_commit(env, s, "leases/x/a", v, "2", true, &v, NULL), 0);
    CU_ASSERT_EQUAL(wal_bytes(dir), bytes);
    CU_ASSERT_EQUAL(test_commit(env, s, "leases/x/a", first, "3", true, NULL, NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(test_commit(env, s, "leases/x/a", v, "3", false, &v, NULL),
        0); /* hard, on top of a soft one */
    CU_ASSERT(wal_bytes(dir) > bytes);
    CU_ASSERT_EQUAL(test_commit(env, s, "leases/x/a", v, "4", true, &v, NULL), 0);
    s->ops->free(s); /* writes what is left, and returns the reservation */
    s = open_store(env, dir, NULL, &rows, &version);
    CU_ASSERT_EQUAL(version, v);
    CU_ASSERT_EQUAL(s->gap_from, s->gap_to);
    CU_ASSERT_EQUAL(rows.count, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(rows.text, "leases/x/a=4@"));
    s->ops->free(s);
    test_dir_done(dir);
    env_free(env);
}

struct history {
    int count, removed, with_value;
    int64_t last;
    bool descending;
};

static int history_row(void *arg, const struct store_change *c, struct error *err)
{
    struct history *h = (struct history *)arg;

    h->descending &= c->version < h->last;
    h->last = c->version;
    h->count++;
    h->removed += c->removed;
    h->with_value += c->value.n > 0;
    return 0;
}

static struct history read_history(struct store *s, int64_t *floor)
{
    struct history h = {.last = INT64_MAX, .descending = true};
    struct error err;

    CU_ASSERT_EQUAL(s->ops->history(s, history_row, &h, floor, &err), 0);
    return h;
}

static void test_compaction(void)
{
    struct env *env = env_new_real();
    char *dir = test_dir();
    struct rows rows;
    int64_t v = 0, floor, version, gone;
    struct store *s = open_store(env, dir, NULL, &rows, NULL);
    struct error err;

    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/gone", 0, "1", false, &gone, NULL), 0);
    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/gone", gone, NULL, false, &gone, NULL), 0);
    for (int i = 0; i < 600; i++)
        CU_ASSERT_EQUAL(test_commit(env, s, "c/x/a", v, "some value", false, &v, NULL), 0);
    int64_t middle = v;

    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(test_commit(env, s, "c/x/a", v, "some value", false, &v, NULL), 0);
    s->ops->free(s);
    s = open_store(env, dir, NULL, &rows, NULL);
    struct history h = read_history(s, &floor);

    CU_ASSERT(h.descending);
    CU_ASSERT_EQUAL(h.count, 612);
    CU_ASSERT_EQUAL(floor, 0);
    CU_ASSERT_EQUAL(s->ops->compact(s, middle, &err), 0);
    /* each commit lets the writer do a step */
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(test_commit(env, s, "c/x/a", v, "some value", false, &v, NULL), 0);
    s->ops->free(s);
    s = open_store(env, dir, NULL, &rows, &version);
    CU_ASSERT_EQUAL(version, v);
    CU_ASSERT_EQUAL(rows.count, 1);
    h = read_history(s, &floor);
    CU_ASSERT(floor > gone && floor <= middle);
    CU_ASSERT(h.count < 300);
    CU_ASSERT_EQUAL(h.removed, 0);
    s->ops->free(s);
    test_dir_done(dir);
    env_free(env);
}

static void expect_refused(struct env *env, const char *dir, const char *words)
{
    struct store_embedded_config config = {.dir = dir};
    struct store *s = NULL;
    struct error err = {0};

    CU_ASSERT_FATAL(store_embedded_new(env, &config, &s, &err) < 0);
    if (!strstr(err.text, words))
        fprintf(stderr, "expected '%s' in: %s\n", words, err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, words));
}

static void run_sql(const char *dir, const char *sql)
{
    autofree char *path = str_format("%s/skiff.db", dir);
    sqlite3 *db;

    CU_ASSERT_FATAL(sqlite3_open(path, &db) == SQLITE_OK);
    CU_ASSERT(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
}

static void test_refusals(void)
{
    struct env *env = env_new_real();
    char *dir = test_dir(), *other = test_dir(), *garbage = test_dir();
    struct rows rows;
    struct store *s = open_store(env, dir, NULL, &rows, NULL);

    expect_refused(env, dir, "in use by another process");
    s->ops->free(s);
    run_sql(dir, "PRAGMA user_version = 7");
    expect_refused(env, dir, "format 7");
    run_sql(other, "CREATE TABLE t(x)");
    expect_refused(env, other, "another program's database");
    autofree char *path = str_format("%s/skiff.db", garbage);
    FILE *f = fopen(path, "w");

    for (int i = 0; i < 1000; i++)
        fputs("not a database", f);
    fclose(f);
    expect_refused(env, garbage, "not a database");
    expect_refused(env, "/proc/no/such", "/proc/no");
    test_dir_done(dir);
    test_dir_done(other);
    test_dir_done(garbage);
    env_free(env);
}

/* --- a VFS whose disk can be full --- */

static sqlite3_io_methods full_methods[4]; /* one for each table that the real VFS uses */
static const sqlite3_io_methods *real_methods[4];
static sqlite3_vfs full_vfs;
static bool disk_is_full; /* atomic */

static int full_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 offset)
{
    if (__atomic_load_n(&disk_is_full, __ATOMIC_RELAXED))
        return SQLITE_FULL;
    return real_methods[0]->xWrite(file, p, n, offset);
}

static int full_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    sqlite3_vfs *base = (sqlite3_vfs *)vfs->pAppData;
    int rc = base->xOpen(base, name, file, flags, out);

    for (size_t i = 0; rc == SQLITE_OK && file->pMethods && i < ARRAY_COUNT(full_methods); i++) {
        if (!real_methods[i]) {
            real_methods[i] = file->pMethods;
            full_methods[i] = *file->pMethods;
            full_methods[i].xWrite = full_write;
        }
        if (real_methods[i] == file->pMethods) {
            file->pMethods = &full_methods[i];
            break;
        }
    }
    return rc;
}

static void test_disk_full(void)
{
    struct env *env = env_new_real();
    char *dir = test_dir();
    struct rows rows;
    int64_t v, w;
    struct error err;

    full_vfs = *sqlite3_vfs_find(NULL);
    full_vfs.pAppData = sqlite3_vfs_find(NULL);
    full_vfs.zName = "full";
    full_vfs.xOpen = full_open;
    full_vfs.pNext = NULL;
    CU_ASSERT_FATAL(sqlite3_vfs_register(&full_vfs, 0) == SQLITE_OK);
    struct store *s = open_store(env, dir, "full", &rows, NULL);

    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/a", 0, "1", false, &v, NULL), 0);
    __atomic_store_n(&disk_is_full, true, __ATOMIC_RELAXED);
    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/a", v, "2", false, NULL, &err), -ERR_UNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no space left"));
    CU_ASSERT(!s->ops->healthy(s, &err));
    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/b", 0, "2", false, NULL, &err), -ERR_UNAVAILABLE);
    __atomic_store_n(&disk_is_full, false, __ATOMIC_RELAXED);
    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/a", v, "3", false, &w, &err), 0);
    CU_ASSERT(w > v);
    CU_ASSERT(s->ops->healthy(s, &err));
    CU_ASSERT_EQUAL(test_commit(env, s, "c/x/b", 0, "3", false, NULL, &err), 0);
    s->ops->free(s);
    s = open_store(env, dir, "full", &rows, NULL);
    CU_ASSERT_EQUAL(rows.count, 2);
    s->ops->free(s);
    sqlite3_vfs_unregister(&full_vfs);
    test_dir_done(dir);
    env_free(env);
}

/* --- kill -9 --- */

#define WRITERS 3

struct report { /* what the child says it was told */
    int writer;
    int64_t number, version;
    bool soft;
};

struct child_writer {
    struct env *env;
    struct store *store;
    int index, fd;
};

static void child_write(void *arg)
{
    struct child_writer *w = (struct child_writer *)arg;
    char key[32];
    int64_t version = 0;

    for (int64_t n = 1;; n++) {
        char value[64];
        bool soft = w->index == 0 && version && n % 3 == 0;

        if (n % 20 == 1) {
            snprintf(key, sizeof(key), "c/w%d/%lld", w->index, (long long)n);
            version = 0;
        }
        snprintf(value, sizeof(value), "%lld", (long long)n);
        if (test_commit(w->env, w->store, key, version, value, soft, &version, NULL) != 0)
            _exit(3);
        struct report report = {w->index, n, version, soft};

        if (write(w->fd, &report, sizeof(report)) != sizeof(report))
            _exit(4);
    }
}

static int ignore_row(
    void *arg, struct str key, struct str value, int64_t version, struct error *err)
{
    return 0;
}

static void child_main(const char *dir, int fd)
{
    struct env *env = env_new_real();
    struct store_embedded_config config = {.dir = dir};
    struct child_writer writers[WRITERS];
    struct store *s;
    struct error err;
    int64_t version;

    if (store_embedded_new(env, &config, &s, &err) < 0 ||
        s->ops->load(s, STR(""), ignore_row, NULL, &version, &err) < 0)
        _exit(2);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct child_writer){env, s, i, fd};
        env_spawn(env, "writer", child_write, &writers[i]);
    }
    pause();
}

struct found {
    const struct report *last; /* newest durable report of each writer */
    int matches;
    int64_t newest;
};

static int find_reports(
    void *arg, struct str key, struct str value, int64_t version, struct error *err)
{
    struct found *f = (struct found *)arg;
    int64_t number;

    f->newest = version > f->newest ? version : f->newest;
    for (int i = 0; i < WRITERS; i++) {
        autofree char *prefix =
            str_format("c/w%d/%lld", i, (long long)((f->last[i].number - 1) / 20 * 20 + 1));

        if (f->last[i].number && str_eqc(key, prefix)) {
            /* it may be newer than what was reported, never older */
            CU_ASSERT_FATAL(str_parse_int64(value, &number, err) == 0);
            CU_ASSERT(number >= f->last[i].number && version >= f->last[i].version);
            f->matches++;
        }
    }
    return 0;
}

static void check_after_kill(const char *dir, const struct report *hard, int64_t newest_told)
{
    struct env *env = env_new_real();
    struct store_embedded_config config = {.dir = dir};
    struct found found = {.last = hard};
    struct store *s = NULL;
    struct error err = {0};
    int64_t version, next;
    int wanted = 0;

    CU_ASSERT_FATAL(store_embedded_new(env, &config, &s, &err) == 0);
    CU_ASSERT_FATAL(s->ops->load(s, STR(""), find_reports, &found, &version, &err) == 0);
    for (int i = 0; i < WRITERS; i++)
        wanted += hard[i].number > 0;
    CU_ASSERT_EQUAL(found.matches, wanted);
    CU_ASSERT(version >= newest_told && version >= found.newest);
    CU_ASSERT(s->gap_to >= newest_told);
    CU_ASSERT_EQUAL(test_commit(env, s, "after", 0, "x", false, &next, NULL), 0);
    CU_ASSERT(next > newest_told);
    s->ops->free(s);
    env_free(env);
}

static void kill_round(unsigned *seed)
{
    char *dir = test_dir();
    struct report hard[WRITERS] = {0}, report;
    int64_t newest = 0;
    int fds[2], status;

    CU_ASSERT_FATAL(pipe(fds) == 0);
    pid_t pid = fork();

    if (pid == 0) {
        close(fds[0]);
        child_main(dir, fds[1]);
        _exit(1);
    }
    close(fds[1]);
    usleep(20000 + (unsigned)rand_r(seed) % 60000);
    kill(pid, SIGKILL);
    while (read(fds[0], &report, sizeof(report)) == sizeof(report)) {
        newest = report.version > newest ? report.version : newest;
        if (!report.soft)
            hard[report.writer] = report;
    }
    close(fds[0]);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFSIGNALED(status));
    check_after_kill(dir, hard, newest);
    test_dir_done(dir);
}

static void test_kill(void)
{
    const char *rounds = getenv("SKIFF_KILL_ROUNDS");
    int64_t count = 10;
    struct error err;
    unsigned seed = (unsigned)getpid();

    if (rounds)
        str_parse_int64(str_of(rounds), &count, &err);
    for (int64_t i = 0; i < count; i++)
        kill_round(&seed);
}

const CU_TestInfo store_embedded_tests[] = {
    {"commit, compare, reopen", test_commit_and_reopen},
    {"group commit", test_group_commit},
    {"soft writes", test_soft},
    {"history and compaction", test_compaction},
    {"refusals", test_refusals},
    {"full disk", test_disk_full},
    {"kill -9", test_kill},
    CU_TEST_INFO_NULL,
};
