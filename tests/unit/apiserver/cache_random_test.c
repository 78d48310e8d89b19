/*
 * Writers, watchers and readers at random, checked against each other: a watcher that resumes now
 * and then ends with exactly what a list shows, its versions strictly rise, a read after a write's
 * answer shows the write, and a list is what a watch from its version continues.
 */
#include <CUnit/CUnit.h>

#include "common/hash.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

#define WRITERS 3
#define WATCHERS 5
#define KEYS 40
#define STEPS 400

struct shared {
    struct env *env;
    int steps;
    bool stop;     /* atomic */
    int64_t until; /* atomic: version that watchers must reach after stop */
    int failures;  /* atomic */
};

struct writer {
    struct shared *all;
    struct cache *cache;
    int index;
    unsigned seed;
};

struct seen {
    UT_hash_handle hh;
    char key[32];
    int64_t version;
};

struct follower {
    struct shared *all;
    struct cache *cache;
    int index;
    unsigned seed;
    struct watch_filter filter;
    struct selector *labels, *fields;
    struct watcher *watcher;
    struct seen *seen;
    int64_t version;
    int events, resumes;
    struct lock lock;
    struct cond cond;
    bool woken;
};

static void fail(struct shared *all, const char *what, int index)
{
    __atomic_fetch_add(&all->failures, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "random: %s (%d)\n", what, index);
}

static const char *space_of(unsigned k)
{
    static const char *const spaces[] = {"a", "b", "c"};

    return spaces[k % 3];
}

static void write_once(struct writer *w)
{
    static const char *const labels[] = {"web", "db", NULL}, *const nodes[] = {"n1", "n2", NULL};
    unsigned k = (unsigned)rand_r(&w->seed) % KEYS, what = (unsigned)rand_r(&w->seed) % 10;
    struct shared *all = w->all;
    char name[8];
    int64_t version;

    snprintf(name, sizeof(name), "k%u", k);
    if (what < 2)
        version = test_delete(all->env, w->cache, &res_pods, space_of(k), name);
    else
        version = test_put(all->env, w->cache, &res_pods, space_of(k), name,
            labels[(unsigned)rand_r(&w->seed) % 3], nodes[(unsigned)rand_r(&w->seed) % 3],
            rand_r(&w->seed));
    if (version < 0)
        fail(all, "write failed", (int)version);
    struct object *o = cache_get(w->cache, &res_pods, str_of(space_of(k)), str_of(name));

    if (cache_version(w->cache) < version || (what >= 2 && o && o->revision < version))
        fail(all, "own write not shown", w->index);
    object_unref(o);
}

static void writer_run(void *arg)
{
    struct writer *w = (struct writer *)arg;

    for (int i = 0; i < w->all->steps; i++)
        write_once(w);
}

static void wake_follower(void *arg)
{
    struct follower *f = (struct follower *)arg;

    env_lock(f->all->env, &f->lock);
    f->woken = true;
    env_signal(f->all->env, &f->cond);
    env_unlock(f->all->env, &f->lock);
}

static void forget_all(struct follower *f)
{
    struct seen *s, *next;

    HASH_ITER(hh, f->seen, s, next)
    {
        HASH_DEL(f->seen, s);
        free(s);
    }
}

static void note(struct follower *f, const struct object *o, bool removed, bool must_be_new)
{
    struct seen *s;
    char key[32] = {0};

    snprintf(key, sizeof(key), "%.*s/%.*s", STR_FMT(o->namespace_), STR_FMT(o->name));
    HASH_FIND_STR(f->seen, key, s);
    if (must_be_new != (s == NULL))
        fail(f->all, "type does not fit what was seen", f->index);
    if (removed && s) {
        HASH_DEL(f->seen, s);
        free(s);
    } else if (!removed) {
        if (!s) {
            s = (struct seen *)xcalloc(1, sizeof(*s));
            memcpy(s->key, key, sizeof(key));
            HASH_ADD_STR(f->seen, key, s);
        }
        s->version = o->revision;
    }
}

/* List, then watch from the list's version. */
static void start(struct follower *f)
{
    struct snapshot *s = snapshot_take(f->cache, &res_pods);
    struct str ns = STR(""), name = STR("");
    const struct object *o;
    struct error err;

    forget_all(f);
    while ((o = snapshot_next(s, STR(""), ns, name))) {
        ns = o->namespace_;
        name = o->name;
        if (o->revision > snapshot_version(s))
            fail(f->all, "list shows a version above its own", f->index);
        if (filter_matches(&f->filter, o))
            note(f, o, false, true);
    }
    f->version = snapshot_version(s);
    snapshot_free(s);
    if (watcher_new(
            f->cache, &res_pods, f->version, &f->filter, wake_follower, f, &f->watcher, &err) < 0)
        fail(f->all, err.text, f->index);
}

static void resume(struct follower *f)
{
    struct error err;

    f->version = watcher_version(f->watcher);
    watcher_free(f->watcher);
    f->watcher = NULL;
    f->resumes++;
    if (watcher_new(
            f->cache, &res_pods, f->version, &f->filter, wake_follower, f, &f->watcher, &err) < 0)
        start(f);
}

static void wait_for_wake(struct follower *f)
{
    env_lock(f->all->env, &f->lock);
    if (!f->woken)
        env_wait_until(f->all->env, &f->cond, &f->lock, env_now_ns(f->all->env) + 2 * NS_PER_MS);
    f->woken = false;
    env_unlock(f->all->env, &f->lock);
}

static bool follow_once(struct follower *f)
{
    const struct event *e;
    enum event_type as;
    struct error err;
    int result = watcher_next(f->watcher, &e, &as, &err);

    if (result < 0) {
        fail(f->all, "expired", f->index);
        return false;
    }
    if (result == 0)
        return false;
    if (e->version <= f->version)
        fail(f->all, "version did not rise", f->index);
    f->version = e->version;
    f->events++;
    note(f, e->object, as == EVENT_DELETED, as == EVENT_ADDED);
    if (event_encoded(e, as, EVENT_JSON).n < 20)
        fail(f->all, "encoding", f->index);
    return true;
}

static void follower_run(void *arg)
{
    struct follower *f = (struct follower *)arg;

    start(f);
    for (;;) {
        bool stop = __atomic_load_n(&f->all->stop, __ATOMIC_ACQUIRE);

        while (follow_once(f))
            if (rand_r(&f->seed) % 20 == 0)
                resume(f);
        if (stop &&
            watcher_version(f->watcher) >= __atomic_load_n(&f->all->until, __ATOMIC_RELAXED))
            break;
        wait_for_wake(f);
        if (rand_r(&f->seed) % 50 == 0)
            resume(f);
    }
    watcher_free(f->watcher);
}

static void check_end(struct follower *f)
{
    struct snapshot *s = snapshot_take(f->cache, &res_pods);
    struct str ns = STR(""), name = STR("");
    const struct object *o;
    size_t count = 0;

    while ((o = snapshot_next(s, STR(""), ns, name))) {
        struct seen *have;
        char key[32];

        ns = o->namespace_;
        name = o->name;
        if (!filter_matches(&f->filter, o))
            continue;
        count++;
        snprintf(key, sizeof(key), "%.*s/%.*s", STR_FMT(ns), STR_FMT(name));
        HASH_FIND_STR(f->seen, key, have);
        CU_ASSERT(have && have->version == o->revision);
    }
    CU_ASSERT_EQUAL(HASH_COUNT(f->seen), count);
    CU_ASSERT(f->events > 0);
    snapshot_free(s);
    forget_all(f);
}

static void follower_init(struct follower *f, struct shared *all, struct cache *cache, int index)
{
    struct error err;

    *f =
        (struct follower){.all = all, .cache = cache, .index = index, .seed = (unsigned)index + 77};
    env_lock_init(&f->lock);
    env_cond_init(&f->cond);
    if (index == 1)
        f->filter.namespace_ = STR("a");
    if (index == 2)
        CU_ASSERT(selector_parse(STR("app in (web)"), &f->labels, &err) == 0);
    if (index == 3)
        CU_ASSERT(field_selector_parse(STR("spec.nodeName=n1"), &f->fields, &err) == 0);
    if (index == 4)
        f->filter = (struct watch_filter){.namespace_ = STR("a"), .name = STR("k3")};
    f->filter.labels = f->labels;
    f->filter.fields = f->fields;
}

void cache_random_run(struct env *env, struct cache **caches, int count, int steps)
{
    struct shared all = {.env = env, .steps = steps};
    struct writer writers[WRITERS];
    struct follower followers[WATCHERS];
    struct task *tasks[WRITERS + WATCHERS];
    int64_t until = 0;

    for (int i = 0; i < WATCHERS; i++) {
        follower_init(&followers[i], &all, caches[i % count], i);
        tasks[WRITERS + i] = env_spawn(env, "follower", follower_run, &followers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&all, caches[i % count], i, (unsigned)i + 1};
        tasks[i] = env_spawn(env, "writer", writer_run, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        env_join(env, tasks[i]);
    for (int i = 0; i < count; i++)
        until = cache_version(caches[i]) > until ? cache_version(caches[i]) : until;
    __atomic_store_n(&all.until, until, __ATOMIC_RELAXED);
    __atomic_store_n(&all.stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < WATCHERS; i++) {
        env_join(env, tasks[WRITERS + i]);
        check_end(&followers[i]);
        selector_free(followers[i].labels);
        selector_free(followers[i].fields);
        env_lock_done(&followers[i].lock);
        env_cond_done(&followers[i].cond);
    }
    CU_ASSERT_EQUAL(all.failures, 0);
}

static void run(bool with_fake)
{
    struct env *env = env_new_real();
    char *dir = test_dir();
    struct store_embedded_config config = {.dir = dir};
    struct store *store = NULL;
    struct error err;

    if (with_fake)
        store = fake_store_new(env, NS_PER_MS / 5);
    else
        CU_ASSERT_FATAL(store_embedded_new(env, &config, &store, &err) == 0);
    struct cache *cache = test_cache(env, store);

    cache_random_run(env, &cache, 1, STEPS);
    cache_free(cache);
    test_dir_done(dir);
    env_free(env);
}

static void test_embedded(void)
{
    run(false);
}

static void test_shared(void)
{
    run(true);
}

const CU_TestInfo cache_random_tests[] = {
    {"embedded store", test_embedded},
    {"shared store", test_shared},
    CU_TEST_INFO_NULL,
};
