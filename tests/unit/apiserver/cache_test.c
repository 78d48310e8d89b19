/* The cache's reads, writes, watches and snapshots, over the embedded store and over a shared one
 * in memory. */
#include <CUnit/CUnit.h>

#include "apiserver/cache/cache_internal.h"
#include "common/limits.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

struct fixture {
    struct env *env;
    struct store *store;
    struct cache *cache;
    char *dir;
};

static struct store *embedded(struct env *env, const char *dir)
{
    struct store_embedded_config config = {.dir = dir};
    struct store *s = NULL;
    struct error err = {0};

    CU_ASSERT_FATAL(store_embedded_new(env, &config, &s, &err) == 0);
    return s;
}

static void setup(struct fixture *f, bool shared)
{
    *f = (struct fixture){.env = env_new_real(), .dir = test_dir()};
    f->store = shared ? fake_store_new(f->env, 5 * NS_PER_MS) : embedded(f->env, f->dir);
    f->cache = test_cache(f->env, f->store);
}

static void teardown(struct fixture *f)
{
    cache_free(f->cache);
    test_dir_done(f->dir);
    env_free(f->env);
}

static int64_t revision_of(
    struct fixture *f, const struct resource *r, const char *ns, const char *name)
{
    struct object *o = cache_get(f->cache, r, str_of(ns), str_of(name));
    int64_t revision = o ? o->revision : 0;

    object_unref(o);
    return revision;
}

static void check_basics(bool shared)
{
    struct fixture f;

    setup(&f, shared);
    int64_t start = cache_version(f.cache),
            a = test_put(f.env, f.cache, &res_pods, "x", "a", NULL, NULL, 1);

    CU_ASSERT(a > start && revision_of(&f, &res_pods, "x", "a") == a);
    CU_ASSERT(cache_version(f.cache) >= a);
    int64_t b = test_put(f.env, f.cache, &res_pods, "x", "a", NULL, NULL, 2);

    CU_ASSERT(b > a);
    struct object *now = cache_get(f.cache, &res_pods, STR("x"), STR("a"));
    struct object *next = test_object(&res_pods, "x", "a", NULL, NULL, 3),
                  *stale = object_at_revision(now, a);

    CU_ASSERT_EQUAL(test_write(f.env, f.cache, &res_pods, stale, next, false, NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(test_write(f.env, f.cache, &res_pods, NULL, next, false, NULL), -ERR_CONFLICT);
    /* the same content: nothing is committed */
    struct object *same = test_object(&res_pods, "x", "a", NULL, NULL, 2), *result = NULL;

    CU_ASSERT_EQUAL(test_write(f.env, f.cache, &res_pods, now, same, false, &result), 0);
    CU_ASSERT(result == now);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "a"), b);
    object_unref(result);
    CU_ASSERT_EQUAL(test_write(f.env, f.cache, &res_pods, now, NULL, false, &result), 0);
    CU_ASSERT(result->revision > b);
    CU_ASSERT_EQUAL(test_number(result), 2);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "a"), 0);
    int64_t c = test_put(f.env, f.cache, &res_pods, "x", "a", NULL, NULL, 4);

    CU_ASSERT(c > result->revision);
    object_unref(result);
    object_unref(now);
    object_unref(next);
    object_unref(stale);
    object_unref(same);
    teardown(&f);
}

static void test_basics(void)
{
    check_basics(false);
    check_basics(true);
}

/* --- writes on writes --- */

struct async {
    struct write write;
    struct write_op ops[2];
    struct env *env;
    struct lock lock;
    struct cond cond;
    bool done;
};

static void async_done(struct write *w)
{
    struct async *a = container_of(w, struct async, write);

    env_lock(a->env, &a->lock);
    a->done = true;
    env_signal(a->env, &a->cond);
    env_unlock(a->env, &a->lock);
}

static struct async *async_start(struct fixture *f, const char *name, struct object *base,
    struct object *next, const char *second_name, struct object *second)
{
    struct async *a = (struct async *)xcalloc(1, sizeof(*a));

    a->env = f->env;
    env_lock_init(&a->lock);
    env_cond_init(&a->cond);
    a->ops[0] = (struct write_op){.resource = &res_pods,
        .namespace_ = STR("x"),
        .name = str_of(name),
        .base = base,
        .next = next};
    a->ops[1] = (struct write_op){
        .resource = &res_pods, .namespace_ = STR("x"), .name = str_of(second_name), .next = second};
    a->write = (struct write){.ops = a->ops, .op_count = second ? 2 : 1, .done = async_done};
    cache_submit(f->cache, &a->write);
    return a;
}

static int async_end(struct async *a, int64_t *ret_version)
{
    env_lock(a->env, &a->lock);
    while (!a->done)
        env_wait_until(a->env, &a->cond, &a->lock, ENV_FOREVER);
    env_unlock(a->env, &a->lock);
    int result = a->write.result;

    if (ret_version)
        *ret_version = a->ops[0].result ? a->ops[0].result->revision : 0;
    for (size_t i = 0; i < a->write.op_count; i++)
        object_unref(a->ops[i].result);
    env_lock_done(&a->lock);
    env_cond_done(&a->cond);
    free(a);
    return result;
}

static void check_chain(bool shared)
{
    struct fixture f;
    struct object *o[4];
    struct async *w[4];
    int64_t v[4];

    setup(&f, shared);
    for (int i = 0; i < 4; i++)
        o[i] = test_object(
            &res_pods, "x", "a", NULL, NULL, i == 2 ? 1 : i); /* the third changes nothing */
    for (int i = 0; i < 4; i++) {
        struct object *newest = cache_newest(f.cache, &res_pods, STR("x"), STR("a"));

        CU_ASSERT(i == 0 ? newest == NULL : newest && newest == o[i == 3 ? 1 : i - 1]);
        w[i] = async_start(&f, "a", newest, o[i], NULL, NULL);
        object_unref(newest); /* the writer before holds it */
    }
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(async_end(w[i], &v[i]), 0);
    CU_ASSERT(v[0] < v[1] && v[1] == v[2] && v[2] < v[3]);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "a"), v[3]);
    for (int i = 0; i < 4; i++)
        object_unref(o[i]);
    teardown(&f);
}

static void test_chain(void)
{
    check_chain(false);
    check_chain(true);
}

static void test_groups(void)
{
    struct fixture f;

    setup(&f, true);
    test_put(f.env, f.cache, &res_pods, "x", "taken", NULL, NULL, 1);
    struct object *a = test_object(&res_pods, "x", "a", NULL, NULL, 1),
                  *b = test_object(&res_pods, "x", "b", NULL, NULL, 1),
                  *taken = test_object(&res_pods, "x", "taken", NULL, NULL, 2);

    CU_ASSERT_EQUAL(async_end(async_start(&f, "a", NULL, a, "taken", taken), NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "a"), 0);
    CU_ASSERT_EQUAL(async_end(async_start(&f, "a", NULL, a, "b", b), NULL), 0);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "b"), revision_of(&f, &res_pods, "x", "a") + 1);
    object_unref(a);
    object_unref(b);
    object_unref(taken);
    teardown(&f);
}

/* Neither may reach the store, and neither may end the process. */
static void test_refused(void)
{
    struct fixture f;
    char name[2001];

    setup(&f, false);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct object *o = test_object(&res_pods, "x", name, NULL, NULL, 1);

    CU_ASSERT_EQUAL(test_write(f.env, f.cache, &res_pods, NULL, o, false, NULL), -ERR_TOO_LARGE);
    CU_ASSERT_PTR_NULL(cache_newest(f.cache, &res_pods, STR("x"), str_of(name)));
    CU_ASSERT_EQUAL(async_end(async_start(&f, "a", NULL, o, "a", o), NULL), -ERR_INTERNAL);
    object_unref(o);
    teardown(&f);
}

/* Somebody else changes the key first: our write fails, and so does all that was computed on it. */
static void test_cascade(void)
{
    struct fixture f;
    autostrbuf struct strbuf value;

    setup(&f, true);
    strbuf_init(&value, 0);
    int64_t v = test_put(f.env, f.cache, &res_pods, "x", "a", NULL, NULL, 1);
    struct object *base = cache_get(f.cache, &res_pods, STR("x"), STR("a"));
    struct object *foreign = test_object(&res_pods, "x", "a", NULL, NULL, 50);
    struct object *n1 = test_object(&res_pods, "x", "a", NULL, NULL, 2),
                  *n2 = test_object(&res_pods, "x", "a", NULL, NULL, 3),
                  *other = test_object(&res_pods, "x", "b", NULL, NULL, 1),
                  *n3 = test_object(&res_pods, "x", "b", NULL, NULL, 2);

    object_to_value(foreign, &value);
    int64_t theirs = fake_store_change(f.store, "pods/x/a", strbuf_str(&value), false);
    struct async *w1 = async_start(&f, "a", base, n1, NULL, NULL);
    struct async *w2 = async_start(
        &f, "a", n1, n2, "b", other); /* may be told at once when the first has failed */
    struct async *w3 = async_start(&f, "b", other, n3, NULL, NULL);

    CU_ASSERT_EQUAL(async_end(w1, NULL), -ERR_CONFLICT);
    /* by now the cache shows why */
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "a"), theirs);
    CU_ASSERT_EQUAL(async_end(w2, NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(async_end(w3, NULL), -ERR_CONFLICT);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "b"), 0);
    CU_ASSERT(theirs > v);
    CU_ASSERT(test_put(f.env, f.cache, &res_pods, "x", "a", NULL, NULL, 60) > theirs);
    object_unref(base);
    object_unref(foreign);
    object_unref(n1);
    object_unref(n2);
    object_unref(n3);
    object_unref(other);
    teardown(&f);
}

/* --- watches --- */

static void count_wakes(void *arg)
{
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
}

static struct watcher *watch(struct fixture *f, const struct resource *r, int64_t version,
    const char *ns, const char *name, struct selector *labels, struct selector *fields, int *wakes)
{
    struct watch_filter filter = {str_of(ns), str_of(name), labels, fields};
    struct watcher *w = NULL;
    struct error err;
    int result = watcher_new(f->cache, r, version, &filter, count_wakes, wakes, &w, &err);

    CU_ASSERT_FATAL(result == 0);
    return w;
}

/* "A:name M:name D:name " of all there is. */
static const char *drain(struct watcher *w, char *buf, size_t size)
{
    const struct event *e;
    enum event_type as;
    struct error err;
    size_t n = 0;
    int result;

    buf[0] = '\0';
    while ((result = watcher_next(w, &e, &as, &err)) == 1) {
        n += (size_t)snprintf(buf + n, size - n, "%c:%.*s ", "AMD"[as], STR_FMT(e->object->name));
        autofree char *wanted = str_format("\"resourceVersion\":\"%lld\"", (long long)e->version);
        autofree char *text = str_dup(event_encoded(e, as, EVENT_JSON));

        CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted));
    }
    if (result < 0)
        snprintf(buf + n, size - n, "expired");
    return buf;
}

static struct selector *labels_of(const char *text)
{
    struct selector *s = NULL;
    struct error err;

    CU_ASSERT_FATAL(selector_parse(str_of(text), &s, &err) == 0);
    return s;
}

static struct selector *fields_of(const char *text)
{
    struct selector *s = NULL;
    struct error err;

    CU_ASSERT_FATAL(field_selector_parse(str_of(text), &s, &err) == 0);
    return s;
}

static void check_filters(bool shared)
{
    struct fixture f;
    int wakes[8] = {0};
    char buf[512];

    setup(&f, shared);
    int64_t start = cache_version(f.cache);
    struct selector *web = labels_of("app=web"), *on_n1 = fields_of("spec.nodeName=n1");
    struct selector *running = fields_of("status.phase!=Running");
    struct watcher *all = watch(&f, &res_pods, start, "", "", NULL, NULL, &wakes[0]);
    struct watcher *ns = watch(&f, &res_pods, start, "x", "", NULL, NULL, &wakes[1]);
    struct watcher *one = watch(&f, &res_pods, start, "x", "a", NULL, NULL, &wakes[2]);
    struct watcher *label = watch(&f, &res_pods, start, "", "", web, NULL, &wakes[3]);
    struct watcher *node = watch(&f, &res_pods, start, "", "", NULL, on_n1, &wakes[4]);
    struct watcher *phase = watch(&f, &res_pods, start, "", "", NULL, running, &wakes[5]);
    struct watcher *others[] = {all, ns, one, label, node, phase};

    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        CU_ASSERT_STRING_EQUAL(drain(others[i], buf, sizeof(buf)), "");
    test_put(f.env, f.cache, &res_pods, "x", "a", "web", NULL, 1);
    test_put(f.env, f.cache, &res_pods, "y", "b", NULL, "n1", 1);
    test_put(f.env, f.cache, &res_pods, "x", "a", NULL, "n1", 2);
    test_put(f.env, f.cache, &res_pods, "x", "a", NULL, "n2", 3);
    test_put(f.env, f.cache, &res_config_maps, "x", "a", "web", NULL, 3);
    test_delete(f.env, f.cache, &res_pods, "x", "a");
    int64_t end = test_delete(f.env, f.cache, &res_pods, "y", "b");

    CU_ASSERT_STRING_EQUAL(drain(all, buf, sizeof(buf)), "A:a A:b M:a M:a D:a D:b ");
    CU_ASSERT_STRING_EQUAL(drain(ns, buf, sizeof(buf)), "A:a M:a M:a D:a ");
    CU_ASSERT_STRING_EQUAL(drain(one, buf, sizeof(buf)), "A:a M:a M:a D:a ");
    CU_ASSERT_STRING_EQUAL(drain(label, buf, sizeof(buf)), "A:a D:a ");
    CU_ASSERT_STRING_EQUAL(drain(node, buf, sizeof(buf)), "A:b A:a D:a D:b ");
    CU_ASSERT_STRING_EQUAL(drain(phase, buf, sizeof(buf)), "A:a A:b M:a M:a D:a D:b ");
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        CU_ASSERT_EQUAL(__atomic_load_n(&wakes[i], __ATOMIC_RELAXED), 1); /* armed once */
        CU_ASSERT(watcher_version(others[i]) >= end);
        watcher_free(others[i]);
    }
    /* from the past: the same again */
    node = watch(&f, &res_pods, start, "", "", NULL, on_n1, &wakes[6]);
    CU_ASSERT_STRING_EQUAL(drain(node, buf, sizeof(buf)), "A:b A:a D:a D:b ");
    watcher_free(node);
    all = watch(&f, &res_pods, start, "", "", NULL, NULL, &wakes[7]);
    CU_ASSERT_STRING_EQUAL(drain(all, buf, sizeof(buf)), "A:a A:b M:a M:a D:a D:b ");
    watcher_free(all);
    selector_free(web);
    selector_free(on_n1);
    selector_free(running);
    teardown(&f);
}

static void test_filters(void)
{
    check_filters(false);
    check_filters(true);
}

static void test_leaving_carries_old_state(void)
{
    struct fixture f;
    int wakes = 0;
    struct selector *web = labels_of("app=web");
    const struct event *e;
    enum event_type as;
    struct error err;

    setup(&f, false);
    test_put(f.env, f.cache, &res_pods, "x", "a", "web", NULL, 1);
    struct watcher *w = watch(&f, &res_pods, cache_version(f.cache), "", "", web, NULL, &wakes);
    int64_t v = test_put(f.env, f.cache, &res_pods, "x", "a", "db", NULL, 2);

    CU_ASSERT_EQUAL_FATAL(watcher_next(w, &e, &as, &err), 1);
    CU_ASSERT_EQUAL(as, EVENT_DELETED);
    autofree char *text = str_dup(event_encoded(e, as, EVENT_JSON)),
                  *version = str_format("\"resourceVersion\":\"%lld\"", (long long)v);

    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "{\"type\":\"DELETED\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"app\":\"web\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, version));
    CU_ASSERT(event_encoded(e, as, EVENT_JSON).p == event_encoded(e, as, EVENT_JSON).p);
    watcher_free(w);
    selector_free(web);
    teardown(&f);
}

static void put_big(struct fixture *f, const char *name, int64_t n)
{
    autofree char *fill = (char *)xcalloc(1, 100001);

    memset(fill, 'x', 100000);
    test_put(f->env, f->cache, &res_pods, "x", name, NULL, fill, n);
}

static void test_history_bounds(void)
{
    struct fixture f;
    int wakes[3] = {0};
    char buf[4096];
    struct error err;
    struct watcher *late = NULL;
    struct watch_filter everything = {0};

    setup(&f, false);
    int64_t start = cache_version(f.cache);
    struct watcher *slow = watch(&f, &res_pods, start, "", "", NULL, NULL, &wakes[0]);
    struct watcher *slow_one = watch(&f, &res_pods, start, "x", "big", NULL, NULL, &wakes[1]);
    struct watcher *other = watch(&f, &res_pods, start, "x", "small", NULL, NULL, &wakes[2]);
    int64_t middle = 0;

    for (int i = 0; i < 60; i++) {
        put_big(&f, "big", i);
        if (i == 40)
            middle = test_put(f.env, f.cache, &res_pods, "x", "small", NULL, NULL, 1);
    }
    CU_ASSERT_STRING_EQUAL(drain(slow, buf, sizeof(buf)), "expired");
    CU_ASSERT_STRING_EQUAL(drain(slow_one, buf, sizeof(buf)), "expired");
    CU_ASSERT_STRING_EQUAL(
        drain(other, buf, sizeof(buf)), "A:small "); /* others' changes cost it nothing */
    CU_ASSERT_EQUAL(
        watcher_new(f.cache, &res_pods, start, &everything, count_wakes, &wakes[0], &late, &err),
        -ERR_EXPIRED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "too old resource version"));
    CU_ASSERT_EQUAL(
        watcher_new(f.cache, &res_pods, middle, &everything, count_wakes, &wakes[0], &late, &err),
        0);
    watcher_free(late);
    watcher_free(slow);
    watcher_free(slow_one);
    watcher_free(other);
    teardown(&f);
}

/* What watchers had encoded counts as well: 20 changes of 100 KB fit, with their frames they don't.
 */
static void test_history_counts_frames(void)
{
    struct fixture f;
    int wakes = 0;
    struct error err;
    struct watch_filter everything = {0};
    const struct event *e;
    enum event_type as;

    for (int encode = 0; encode <= 1; encode++) {
        setup(&f, false);
        int64_t start = cache_version(f.cache);
        struct watcher *w = watch(&f, &res_pods, start, "", "", NULL, NULL, &wakes), *late = NULL;
        for (int i = 0; i < 20; i++) {
            put_big(&f, "big", i);
            CU_ASSERT_EQUAL_FATAL(watcher_next(w, &e, &as, &err), 1);
            if (encode)
                CU_ASSERT(event_encoded(e, as, EVENT_JSON).n > 100000);
        }
        CU_ASSERT_EQUAL(
            watcher_new(f.cache, &res_pods, start, &everything, count_wakes, &wakes, &late, &err),
            encode ? -ERR_EXPIRED : 0);
        watcher_free(late);
        watcher_free(w);
        teardown(&f);
    }
}

/* --- snapshots --- */

/* Of a name in a namespace the one object, once; of a name alone all that may have it. */
static void test_candidates(const struct snapshot *s)
{
    struct watch_filter f = {.namespace_ = STR("x"), .name = STR("n03")};
    const struct object *o = snapshot_candidate(s, &f, STR(""), STR(""));

    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    CU_ASSERT(str_eqc(o->name, "n03") && str_eqc(o->namespace_, "x"));
    CU_ASSERT_PTR_NULL(snapshot_candidate(s, &f, o->namespace_, o->name));
    CU_ASSERT_PTR_EQUAL(snapshot_candidate(s, &f, STR("x"), STR("n01")), o);
    CU_ASSERT_PTR_NULL(snapshot_candidate(s, &f, STR("y"), STR("n00")));
    f.namespace_ = STR("y");
    CU_ASSERT_PTR_NULL(snapshot_candidate(s, &f, STR(""), STR("")));
    f.namespace_ = STR("");
    CU_ASSERT_PTR_EQUAL(
        snapshot_candidate(s, &f, STR(""), STR("")), snapshot_next(s, STR(""), STR(""), STR("")));
}

static void test_snapshots(void)
{
    struct fixture f;
    struct snapshot *s, *again = NULL, *gone = NULL;
    struct error err;
    char name[16];
    size_t count = 0;

    setup(&f, false);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "n%02d", i);
        test_put(f.env, f.cache, &res_pods, i % 2 ? "x" : "y", name, NULL, NULL, i);
    }
    s = snapshot_take(f.cache, &res_pods);
    CU_ASSERT_EQUAL(snapshot_version(s), cache_version(f.cache));
    CU_ASSERT_EQUAL(snapshot_count(s, STR("")), 100);
    CU_ASSERT_EQUAL(snapshot_count(s, STR("x")), 50);
    CU_ASSERT_EQUAL(snapshot_count(s, STR("z")), 0);
    int64_t version = snapshot_version(s);

    snapshot_hold(s);
    snapshot_free(s);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "n%02d", i);
        test_delete(f.env, f.cache, &res_pods, i % 2 ? "x" : "y", name);
    }
    CU_ASSERT_EQUAL_FATAL(snapshot_at(f.cache, &res_pods, version, &again, &err), 0);
    CU_ASSERT_EQUAL(snapshot_at(f.cache, &res_pods, version - 1, &gone, &err), -ERR_EXPIRED);
    const struct object *o = snapshot_next(again, STR("x"), STR("x"), STR("n01"));

    for (; o; o = snapshot_next(again, STR("x"), o->namespace_, o->name)) {
        CU_ASSERT(str_eqc(o->namespace_, "x"));
        count++;
    }
    CU_ASSERT_EQUAL(count, 49);
    for (o = NULL, count = 0;
         (o = snapshot_next(again, STR(""), o ? o->namespace_ : STR(""), o ? o->name : STR("")));)
        count++;
    CU_ASSERT_EQUAL(count, 100);
    test_candidates(again);
    snapshot_free(again);
    s = snapshot_take(f.cache, &res_pods);
    CU_ASSERT_PTR_NULL(snapshot_next(s, STR(""), STR(""), STR("")));
    snapshot_free(s);
    teardown(&f);
}

/* --- waiting --- */

struct told {
    struct env *env;
    struct lock lock;
    struct cond cond;
    int count, code;
};

static void tell(void *arg, const struct error *err)
{
    struct told *t = (struct told *)arg;

    env_lock(t->env, &t->lock);
    t->count++;
    t->code = err ? (int)err->code : 0;
    env_signal(t->env, &t->cond);
    env_unlock(t->env, &t->lock);
}

static void wait_told(struct told *t, int count)
{
    env_lock(t->env, &t->lock);
    while (t->count < count)
        env_wait_until(t->env, &t->cond, &t->lock, ENV_FOREVER);
    env_unlock(t->env, &t->lock);
}

static void test_waiting(void)
{
    struct fixture f;
    struct told t = {0};

    setup(&f, true);
    t.env = f.env;
    env_lock_init(&t.lock);
    env_cond_init(&t.cond);
    int64_t v = fake_store_change(f.store, "configmaps/x/a", STR("not ours"), true);

    CU_ASSERT(!cache_fresh(f.cache, tell, &t));
    CU_ASSERT(!cache_fresh(f.cache, tell, &t));
    wait_told(&t, 2);
    CU_ASSERT_EQUAL(t.code, 0);
    CU_ASSERT(cache_version(f.cache) >= v);
    CU_ASSERT(cache_reached(f.cache, v, tell, &t));
    CU_ASSERT_EQUAL(t.count, 3);
    CU_ASSERT(!cache_reached(f.cache, v + 1000, tell, &t));
    for (int i = 0; i < 9; i++)
        test_put(f.env, f.cache, &res_pods, "x", "a", NULL, NULL, i);
    wait_told(&t, 4);
    CU_ASSERT_EQUAL(t.code, 0);
    int64_t before = env_now_ns(f.env);

    CU_ASSERT(!cache_reached(f.cache, v + 100000000, tell, &t));
    wait_told(&t, 5);
    CU_ASSERT_EQUAL(t.code, ERR_TIMEOUT);
    CU_ASSERT(env_now_ns(f.env) - before > 2900 * NS_PER_MS);
    CU_ASSERT(!cache_reached(f.cache, v + 100000000, tell, &t)); /* stopping tells it */
    teardown(&f);
    CU_ASSERT_EQUAL(t.code, ERR_UNAVAILABLE);
}

/* --- losing the watch, restarting, expiring --- */

static void test_reload(void)
{
    struct fixture f;
    int wakes = 0;
    char buf[64];
    autostrbuf struct strbuf value;

    setup(&f, true);
    strbuf_init(&value, 0);
    test_put(f.env, f.cache, &res_pods, "x", "kept", NULL, NULL, 1);
    test_put(f.env, f.cache, &res_pods, "x", "gone", NULL, NULL, 1);
    struct object *kept = cache_get(f.cache, &res_pods, STR("x"), STR("kept"));
    struct object *fresh = test_object(&res_pods, "x", "new", NULL, NULL, 1);
    struct watcher *w = watch(&f, &res_pods, cache_version(f.cache), "", "", NULL, NULL, &wakes);

    drain(w, buf, sizeof(buf));
    object_to_value(fresh, &value);
    fake_store_lose_watch(f.store);
    do {
        fake_store_change(f.store, "pods/x/new", strbuf_str(&value), false);
        fake_store_change(f.store, "pods/x/gone", STR(""), true);
        env_sleep_ns(f.env, NS_PER_MS);
    } while (__atomic_load_n(&wakes, __ATOMIC_RELAXED) == 0);
    while (!strstr(drain(w, buf, sizeof(buf)), "expired"))
        env_sleep_ns(f.env, NS_PER_MS);
    int64_t v = test_put(f.env, f.cache, &res_pods, "x", "after", NULL, NULL, 1);

    CU_ASSERT(v > 0 && revision_of(&f, &res_pods, "x", "new") > 0);
    CU_ASSERT_EQUAL(revision_of(&f, &res_pods, "x", "gone"), 0);
    struct object *still = cache_get(f.cache, &res_pods, STR("x"), STR("kept"));

    CU_ASSERT(still == kept); /* unchanged objects are not made again */
    object_unref(still);
    object_unref(kept);
    object_unref(fresh);
    watcher_free(w);
    teardown(&f);
}

static void test_restart(void)
{
    struct fixture f;
    int wakes = 0;
    char buf[256];
    struct selector *web = labels_of("app=web");

    setup(&f, false);
    test_put(f.env, f.cache, &res_pods, "x", "a", "web", NULL, 1);
    int64_t v = test_put(f.env, f.cache, &res_pods, "x", "b", "web", NULL, 1);

    test_put(f.env, f.cache, &res_pods, "x", "a", "db", NULL, 2);
    test_put(f.env, f.cache, &res_pods, "x", "c", "web", NULL, 1);
    test_delete(f.env, f.cache, &res_pods, "x", "b");
    int64_t end = cache_version(f.cache);

    cache_free(f.cache);
    f.store = embedded(f.env, f.dir);
    f.cache = test_cache(f.env, f.store);
    CU_ASSERT_EQUAL(cache_version(f.cache), end);
    struct watcher *w = watch(&f, &res_pods, v, "", "", web, NULL, &wakes);

    CU_ASSERT_STRING_EQUAL(drain(w, buf, sizeof(buf)), "D:a A:c D:b ");
    watcher_free(w);
    w = watch(&f, &res_pods, 0, "", "", NULL, NULL, &wakes);
    CU_ASSERT_STRING_EQUAL(drain(w, buf, sizeof(buf)), "A:a A:b M:a A:c D:b ");
    watcher_free(w);
    selector_free(web);
    teardown(&f);
}

static void test_events_expire(void)
{
    struct fixture f;

    setup(&f, false);
    int64_t old = test_put(f.env, f.cache, &res_events, "x", "old", NULL, NULL, 1);

    for (int i = 0; i < 250; i++) {
        char name[16];

        snprintf(name, sizeof(name), "more%d", i);
        old = test_put(f.env, f.cache, &res_events, "x", name, NULL, NULL, 1);
    }
    test_put(f.env, f.cache, &res_events, "x", "young", NULL, NULL, 1);
    test_put(f.env, f.cache, &res_pods, "x", "old", NULL, NULL, 1);
    cache_expire_events(f.cache, 0);
    CU_ASSERT(revision_of(&f, &res_events, "x", "old") > 0);
    cache_expire_events(f.cache, old);
    struct snapshot *s = snapshot_take(f.cache, &res_events);

    CU_ASSERT_EQUAL(snapshot_count(s, STR("")), 1);
    snapshot_free(s);
    CU_ASSERT(revision_of(&f, &res_events, "x", "young") > 0);
    CU_ASSERT(revision_of(&f, &res_pods, "x", "old") > 0);
    /* from before a start: their own times count (these have none, so they are as old as can be) */
    cache_free(f.cache);
    f.store = embedded(f.env, f.dir);
    f.cache = test_cache(f.env, f.store);
    cache_expire_events(f.cache, 0);
    CU_ASSERT_EQUAL(revision_of(&f, &res_events, "x", "young"), 0);
    teardown(&f);
}

const CU_TestInfo cache_tests[] = {
    {"create, update, delete, conflicts", test_basics},
    {"writes computed on writes", test_chain},
    {"groups are all or none", test_groups},
    {"refused at once", test_refused},
    {"a conflict takes along what depends on it", test_cascade},
    {"watch filters", test_filters},
    {"leaving a selector", test_leaving_carries_old_state},
    {"history and slow watchers", test_history_bounds},
    {"history counts the frames of its events", test_history_counts_frames},
    {"snapshots", test_snapshots},
    {"waiting for versions", test_waiting},
    {"losing the store's watch", test_reload},
    {"history survives a restart", test_restart},
    {"Events expire", test_events_expire},
    CU_TEST_INFO_NULL,
};
