/* See store_support.h. */
#include "tests/unit/apiserver/store_support.h"

#include <CUnit/CUnit.h>
#include <assert.h>
#include <unistd.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/time.h"

static const char *const pod_fields[] = {"spec.nodeName", "status.phase", "spec.hostNetwork", NULL};
static const char *const event_fields[] = {"reason", "source", NULL};

const struct resource res_pods = {.group = "",
    .version = "v1",
    .group_version = "v1",
    .plural = "pods",
    .kind = "Pod",
    .namespaced = true,
    .selectable = pod_fields,
    .stored = true,
    .id = 0,
    .storage = &res_pods};
const struct resource res_config_maps = {.group = "",
    .version = "v1",
    .group_version = "v1",
    .plural = "configmaps",
    .kind = "ConfigMap",
    .namespaced = true,
    .stored = true,
    .id = 1,
    .storage = &res_config_maps};
const struct resource res_leases = {.group = "coordination.k8s.io",
    .version = "v1",
    .group_version = "coordination.k8s.io/v1",
    .plural = "leases",
    .kind = "Lease",
    .namespaced = true,
    .stored = true,
    .id = 2,
    .storage = &res_leases};
const struct resource res_events = {.group = "",
    .version = "v1",
    .group_version = "v1",
    .plural = "events",
    .kind = "Event",
    .namespaced = true,
    .selectable = event_fields,
    .stored = true,
    .id = 3,
    .storage = &res_events};
const struct resource *const test_resources[4] = {
    &res_pods, &res_config_maps, &res_leases, &res_events};

struct object *test_object(const struct resource *r, const char *ns, const char *name,
    const char *label, const char *node, int64_t number)
{
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"%s\",\"uid\":\"u-%s\"},\"data\":{\"n\":\"%lld\"}}",
            name, name, (long long)number);
    struct object *o = NULL;
    struct error err;

    if (ns[0])
        json_set_string_at(tree, "metadata.namespace", ns);
    if (label)
        json_set_string_at(tree, "metadata.labels.app", label);
    if (node)
        json_set_string_at(tree, "spec.nodeName", node);
    int result = object_new(r, tree, &o, &err);

    assert(result == 0);
    return o;
}

int64_t test_number(const struct object *o)
{
    autojson cJSON *tree = object_tree(o);
    const char *n = json_string_at(tree, "data.n");

    return n ? strtoll(n, NULL, 10) : -1;
}

struct cache *test_cache(struct env *env, struct store *store)
{
    struct cache_config config = {.env = env,
        .store = store,
        .resources = test_resources,
        .resource_count = ARRAY_COUNT(test_resources)};
    struct cache *cache = NULL;
    struct error err = {0};
    int result = cache_new(&config, &cache, &err);

    if (result < 0)
        fprintf(stderr, "cache_new: %s\n", err.text);
    assert(result == 0);
    return cache;
}

struct blocking {
    struct env *env;
    struct lock lock;
    struct cond cond;
    bool finished;
    int result;
    int64_t version;
    struct error err;
};

static void blocking_init(struct blocking *b, struct env *env)
{
    *b = (struct blocking){.env = env};
    env_lock_init(&b->lock);
    env_cond_init(&b->cond);
}

static void blocking_finish(struct blocking *b)
{
    env_lock(b->env, &b->lock);
    b->finished = true;
    env_signal(b->env, &b->cond);
    env_unlock(b->env, &b->lock);
}

static void blocking_wait(struct blocking *b)
{
    env_lock(b->env, &b->lock);
    while (!b->finished)
        env_wait_until(b->env, &b->cond, &b->lock, ENV_FOREVER);
    env_unlock(b->env, &b->lock);
    env_cond_done(&b->cond);
    env_lock_done(&b->lock);
}

struct blocking_write {
    struct write write;
    struct write_op op;
    struct blocking b;
};

static void write_done(struct write *w)
{
    blocking_finish(&container_of(w, struct blocking_write, write)->b);
}

int test_write(struct env *env, struct cache *cache, const struct resource *r, struct object *base,
    struct object *next, bool soft, struct object **ret)
{
    const struct object *any = next ? next : base;
    struct blocking_write w = {.op = {.resource = r,
                                   .namespace_ = any->namespace_,
                                   .name = any->name,
                                   .base = base,
                                   .next = next}};

    blocking_init(&w.b, env);
    w.write = (struct write){.ops = &w.op, .op_count = 1, .soft = soft, .done = write_done};
    cache_submit(cache, &w.write);
    blocking_wait(&w.b);
    if (ret)
        *ret = w.op.result;
    else
        object_unref(w.op.result);
    return w.write.result;
}

int64_t test_put(struct env *env, struct cache *cache, const struct resource *r, const char *ns,
    const char *name, const char *label, const char *node, int64_t number)
{
    for (;;) {
        struct object *base = cache_newest(cache, r, str_of(ns), str_of(name)), *done = NULL;
        struct object *next = test_object(r, ns, name, label, node, number);
        int result = test_write(env, cache, r, base, next, false, &done);
        int64_t version = done ? done->revision : result;

        object_unref(base);
        object_unref(next);
        object_unref(done);
        if (result != -ERR_CONFLICT)
            return version;
    }
}

int64_t test_delete(struct env *env, struct cache *cache, const struct resource *r, const char *ns,
    const char *name)
{
    for (;;) {
        struct object *base = cache_newest(cache, r, str_of(ns), str_of(name)), *done = NULL;

        if (!base)
            return 0;
        int result = test_write(env, cache, r, base, NULL, false, &done);
        int64_t version = done ? done->revision : result;

        object_unref(base);
        object_unref(done);
        if (result != -ERR_CONFLICT)
            return version;
    }
}

char *test_dir(void)
{
    char *dir = xstrdup("/tmp/skiff-unit-XXXXXX");

    assert(mkdtemp(dir));
    return dir;
}

void test_dir_done(char *dir)
{
    struct error err;

    file_remove_tree(dir, &err);
    free(dir);
}

struct blocking_group {
    struct store_group group;
    struct blocking b;
};

static void group_done(struct store_group *group, int result, const struct error *err)
{
    struct blocking_group *g = container_of(group, struct blocking_group, group);

    g->b.result = result;
    if (err)
        g->b.err = *err;
    blocking_finish(&g->b);
}

int test_commit(struct env *env, struct store *s, const char *key, int64_t expected,
    const char *value, bool soft, int64_t *ret_version, struct error *err)
{
    struct store_op op = {
        .key = str_of(key), .expected = expected, .value = str_of(value), .remove = !value};
    struct blocking_group g = {
        .group = {.ops = &op, .op_count = 1, .soft = soft, .done = group_done}};

    blocking_init(&g.b, env);
    s->ops->commit(s, &g.group);
    blocking_wait(&g.b);
    if (err)
        *err = g.b.err;
    if (ret_version)
        *ret_version = op.version;
    return g.b.result;
}

/* --- the shared store in memory --- */

struct row {
    UT_hash_handle hh;
    char *key;
    struct strbuf value;
    int64_t version;
};

struct change {
    char *key;
    struct strbuf value;
    int64_t version;
    bool removed;
    struct change *next;
};

struct head_call {
    void (*fn)(void *arg, int64_t version, const struct error *err);
    void *arg;
    struct head_call *next;
};

struct fake {
    struct store base;
    struct env *env;
    int64_t delay_ns;
    struct lock lock;
    struct cond wake;
    struct row *rows;
    int64_t revision;
    struct store_group *queue, **queue_end;
    struct change *changes, **changes_end; /* not told yet */
    struct head_call *heads;
    void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to);
    void (*on_lost)(void *arg, const struct error *err);
    void *arg;
    bool lose, stopping;
    struct task *task;
};

static struct row *find_row(struct fake *f, struct str key)
{
    struct row *row;

    HASH_FIND(hh, f->rows, key.p, key.n, row);
    return row;
}

/* Lock held. */
static void change_row(
    struct fake *f, struct str key, struct str value, bool removed, int64_t version)
{
    struct row *row = find_row(f, key);
    struct change *c = (struct change *)xcalloc(1, sizeof(*c));

    if (removed && row) {
        HASH_DEL(f->rows, row);
        free(row->key);
        strbuf_done(&row->value);
        free(row);
    } else if (!removed) {
        if (!row) {
            row = (struct row *)xcalloc(1, sizeof(*row));
            row->key = str_dup(key);
            strbuf_init(&row->value, 0);
            HASH_ADD_KEYPTR(hh, f->rows, row->key, key.n, row);
        }
        strbuf_clear(&row->value);
        strbuf_add(&row->value, value);
        row->version = version;
    }
    c->key = str_dup(key);
    c->version = version;
    c->removed = removed;
    strbuf_init(&c->value, 0);
    strbuf_add(&c->value, value);
    *f->changes_end = c;
    f->changes_end = &c->next;
}

static bool holds(struct fake *f, const struct store_group *g)
{
    for (size_t i = 0; i < g->op_count; i++) {
        struct row *row = find_row(f, g->ops[i].key);

        if ((row ? row->version : 0) != g->ops[i].expected)
            return false;
    }
    return true;
}

static void complete(struct fake *f, struct store_group *g)
{
    struct error err;
    int result = 0;

    env_lock(f->env, &f->lock);
    if (holds(f, g)) {
        f->revision++;
        for (size_t i = 0; i < g->op_count; i++) {
            g->ops[i].version = f->revision * 128 + (int64_t)i;
            change_row(f, g->ops[i].key, g->ops[i].value, g->ops[i].remove, g->ops[i].version);
        }
    } else {
        result = error_set(&err, ERR_CONFLICT, "modified");
        g->seen = f->revision * 128 + 127;
    }
    env_unlock(f->env, &f->lock);
    g->done(g, result, result ? &err : NULL);
}

static void free_change(struct change *c)
{
    free(c->key);
    strbuf_done(&c->value);
    free(c);
}

static void tell_changes(struct fake *f)
{
    struct store_event events[256];
    size_t n = 0;

    env_lock(f->env, &f->lock);
    struct change *list = f->changes, *next;
    int64_t up_to = f->revision * 128 + 127;
    bool listening = f->on_events != NULL;

    if (listening) {
        f->changes = NULL;
        f->changes_end = &f->changes;
    }
    env_unlock(f->env, &f->lock);
    if (!listening || !list)
        return;
    for (struct change *c = list; c && n < ARRAY_COUNT(events); c = c->next)
        events[n++] =
            (struct store_event){str_of(c->key), c->version, strbuf_str(&c->value), c->removed};
    assert(n < ARRAY_COUNT(events));
    f->on_events(f->arg, events, n, up_to);
    for (struct change *c = list; c; c = next) {
        next = c->next;
        free_change(c);
    }
}

static void lose(struct fake *f)
{
    struct error err;

    env_lock(f->env, &f->lock);
    f->on_events = NULL;
    f->lose = false;
    struct change *list = f->changes, *next;

    f->changes = NULL;
    f->changes_end = &f->changes;
    env_unlock(f->env, &f->lock);
    for (struct change *c = list; c; c = next) {
        next = c->next;
        free_change(c);
    }
    error_set(&err, ERR_EXPIRED, "compacted");
    f->on_lost(f->arg, &err);
}

static void fake_run(void *arg)
{
    struct fake *f = (struct fake *)arg;

    for (;;) {
        env_lock(f->env, &f->lock);
        while (!f->queue && !f->heads && !f->lose && !f->stopping && !(f->changes && f->on_events))
            env_wait_until(f->env, &f->wake, &f->lock, ENV_FOREVER);
        struct store_group *g = f->queue;
        struct head_call *heads = f->heads, *next;
        int64_t revision = f->revision;
        bool do_lose = f->lose, stop = f->stopping && !g;

        if (g) {
            f->queue = g->next;
            if (!f->queue)
                f->queue_end = &f->queue;
        }
        f->heads = NULL;
        env_unlock(f->env, &f->lock);
        if (f->delay_ns && g)
            env_sleep_ns(f->env, (int64_t)(env_random(f->env) % (uint64_t)f->delay_ns));
        if (g)
            complete(f, g);
        for (; heads; heads = next) {
            next = heads->next;
            heads->fn(heads->arg, revision * 128 + 127, NULL);
            free(heads);
        }
        if (do_lose)
            lose(f);
        else
            tell_changes(f);
        if (stop)
            return;
    }
}

static struct fake *fake_of(struct store *s)
{
    return container_of(s, struct fake, base);
}

static int fake_load(struct store *s, struct str prefix,
    int (*fn)(void *arg, struct str key, struct str value, int64_t version, struct error *err),
    void *arg, int64_t *ret_version, struct error *err)
{
    struct fake *f = fake_of(s);
    struct row *row, *next;
    int result = 0;

    env_lock(f->env, &f->lock);
    HASH_ITER(hh, f->rows, row, next)
    if (result == 0)
        result = fn(arg, str_of(row->key), strbuf_str(&row->value), row->version, err);
    *ret_version = f->revision * 128 + 127;
    struct change *c;

    while ((c = f->changes)) { /* they are in what was loaded */
        f->changes = c->next;
        free_change(c);
    }
    f->changes_end = &f->changes;
    env_unlock(f->env, &f->lock);
    return result;
}

static void fake_commit(struct store *s, struct store_group *group)
{
    struct fake *f = fake_of(s);

    group->next = NULL;
    env_lock(f->env, &f->lock);
    *f->queue_end = group;
    f->queue_end = &group->next;
    env_signal(f->env, &f->wake);
    env_unlock(f->env, &f->lock);
}

static int fake_watch(struct store *s, int64_t version,
    void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to),
    void (*on_lost)(void *arg, const struct error *err), void *arg, struct error *err)
{
    struct fake *f = fake_of(s);

    env_lock(f->env, &f->lock);
    f->on_events = on_events;
    f->on_lost = on_lost;
    f->arg = arg;
    env_signal(f->env, &f->wake);
    env_unlock(f->env, &f->lock);
    return 0;
}

static void fake_head(
    struct store *s, void (*fn)(void *arg, int64_t version, const struct error *err), void *arg)
{
    struct fake *f = fake_of(s);
    struct head_call *h = (struct head_call *)xcalloc(1, sizeof(*h));

    h->fn = fn;
    h->arg = arg;
    env_lock(f->env, &f->lock);
    h->next = f->heads;
    f->heads = h;
    env_signal(f->env, &f->wake);
    env_unlock(f->env, &f->lock);
}

static int fake_compact(struct store *s, int64_t version, struct error *err)
{
    return 0;
}

static bool fake_healthy(struct store *s, struct error *err)
{
    return true;
}

static void fake_free(struct store *s)
{
    struct fake *f = fake_of(s);
    struct row *row, *next;
    struct change *c;

    env_lock(f->env, &f->lock);
    f->stopping = true;
    env_signal(f->env, &f->wake);
    env_unlock(f->env, &f->lock);
    env_join(f->env, f->task);
    HASH_ITER(hh, f->rows, row, next)
    {
        HASH_DEL(f->rows, row);
        free(row->key);
        strbuf_done(&row->value);
        free(row);
    }
    while ((c = f->changes)) {
        f->changes = c->next;
        free_change(c);
    }
    env_cond_done(&f->wake);
    env_lock_done(&f->lock);
    free(f);
}

static const struct store_ops fake_ops = {
    .load = fake_load,
    .commit = fake_commit,
    .watch = fake_watch,
    .head = fake_head,
    .compact = fake_compact,
    .healthy = fake_healthy,
    .free = fake_free,
};

struct store *fake_store_new(struct env *env, int64_t delay_ns)
{
    struct fake *f = (struct fake *)xcalloc(1, sizeof(*f));

    f->base.ops = &fake_ops;
    f->env = env;
    f->delay_ns = delay_ns;
    f->revision = 1;
    f->queue_end = &f->queue;
    f->changes_end = &f->changes;
    env_lock_init(&f->lock);
    env_cond_init(&f->wake);
    f->task = env_spawn(env, "fake", fake_run, f);
    return &f->base;
}

int64_t fake_store_change(struct store *s, const char *key, struct str value, bool remove)
{
    struct fake *f = fake_of(s);

    env_lock(f->env, &f->lock);
    f->revision++;
    int64_t version = f->revision * 128;

    change_row(f, str_of(key), value, remove, version);
    env_signal(f->env, &f->wake);
    env_unlock(f->env, &f->lock);
    return version;
}

void fake_store_lose_watch(struct store *s)
{
    struct fake *f = fake_of(s);

    env_lock(f->env, &f->lock);
    f->lose = true;
    env_signal(f->env, &f->wake);
    env_unlock(f->env, &f->lock);
}
