/*
 * Work queue. A key has one entry while it waits, runs, or is due later; the entry goes when it is
 * none of these.
 *
 *     waiting --worker takes it--> running --done--> gone
 *                                                    or waiting again (dirty), or due later
 * (failed)
 *
 * `ready` is a first-in first-out list, `later` a heap by time. Idle workers wait on one condition;
 * at most one of them (the timekeeper) waits with the deadline of the heap's top, so a due key
 * wakes one task.
 *
 * Upstream: client-go's util/workqueue (typed rate limiting queue, per-item exponential back-off).
 */
#include "common/workqueue.h"

#include <assert.h>
#include <stdarg.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/str.h"
#include "common/time.h"

#define BACKOFF_FIRST_NS (5 * NS_PER_MS)

struct entry {
    UT_hash_handle hh;
    struct entry *next; /* in ready */
    int64_t added_ns;   /* when it got into ready */
    int64_t due_ns;
    size_t heap_at; /* place in later plus one; 0: not there */
    uint32_t failures;
    uint32_t error_hash; /* of the last error's text, so that a repeated one is logged once */
    bool ready, running, dirty;
    bool is_retry; /* due later only because it failed */
    char key[];
};

struct workqueue {
    struct env *env;
    char *name;
    int64_t backoff_max_ns;
    reconcile_fn *fn;
    void *arg;
    struct task **workers;
    int worker_count;
    struct lock lock; /* guards all below */
    struct cond changed;
    struct entry *entries;
    struct entry *first, *last;
    size_t ready_count;
    struct entry **later;
    size_t later_count, later_capacity;
    bool has_timekeeper;
    bool stopping;
};

static const double duration_buckets[] = {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 0};
static const struct metric_info metric_depth = {
    "workqueue_depth", METRIC_GAUGE, "Current depth of workqueue", {"name"}};
static const struct metric_info metric_adds = {
    "workqueue_adds_total", METRIC_COUNTER, "Total number of adds handled by workqueue", {"name"}};
static const struct metric_info metric_retries = {"workqueue_retries_total", METRIC_COUNTER,
    "Total number of retries handled by workqueue", {"name"}};
static const struct metric_info metric_queue_duration = {"workqueue_queue_duration_seconds",
    METRIC_HISTOGRAM, "How long in seconds an item stays in workqueue before being requested.",
    {"name"}, duration_buckets};
static const struct metric_info metric_work_duration = {"workqueue_work_duration_seconds",
    METRIC_HISTOGRAM, "How long in seconds processing an item from workqueue takes.", {"name"},
    duration_buckets};

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static void later_put(struct workqueue *q, size_t i, struct entry *e)
{
    q->later[i] = e;
    e->heap_at = i + 1;
}

static void later_up(struct workqueue *q, size_t i)
{
    struct entry *e = q->later[i];

    for (; i > 0 && q->later[(i - 1) / 2]->due_ns > e->due_ns; i = (i - 1) / 2)
        later_put(q, i, q->later[(i - 1) / 2]);
    later_put(q, i, e);
}

static void later_down(struct workqueue *q, size_t i)
{
    struct entry *e = q->later[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->later_count)
            break;
        if (child + 1 < q->later_count && q->later[child + 1]->due_ns < q->later[child]->due_ns)
            child++;
        if (q->later[child]->due_ns >= e->due_ns)
            break;
        later_put(q, i, q->later[child]);
        i = child;
    }
    later_put(q, i, e);
}

static void later_remove(struct workqueue *q, struct entry *e)
{
    size_t i = e->heap_at - 1;

    e->heap_at = 0;
    struct entry *moved = q->later[--q->later_count];
    if (moved == e)
        return;
    later_put(q, i, moved);
    later_down(q, i);
    later_up(q, moved->heap_at - 1);
}

/* Due at the earlier of its present time and this one. */
static void later_add(struct workqueue *q, struct entry *e, int64_t due_ns, bool is_retry)
{
    if (e->heap_at) {
        e->is_retry &= is_retry;
        if (due_ns >= e->due_ns)
            return;
        e->due_ns = due_ns;
        later_up(q, e->heap_at - 1);
    } else {
        if (q->later_count == q->later_capacity) {
            q->later_capacity = q->later_capacity ? 2 * q->later_capacity : 16;
            q->later = xrealloc(q->later, q->later_capacity * sizeof(*q->later));
        }
        e->due_ns = due_ns;
        e->is_retry = is_retry;
        later_put(q, q->later_count++, e);
        later_up(q, q->later_count - 1);
    }
    if (q->later[0] == e) /* the timekeeper waits for too long now, or there is none yet */
        env_broadcast(q->env, &q->changed);
}

static struct entry *entry_get(struct workqueue *q, const char *key)
{
    struct entry *e;
    size_t n = strlen(key);

    HASH_FIND(hh, q->entries, key, n, e);
    if (e)
        return e;
    e = xcalloc(1, sizeof(*e) + n + 1);
    memcpy(e->key, key, n + 1);
    HASH_ADD_KEYPTR(hh, q->entries, e->key, n, e);
    return e;
}

static void entry_free_if_idle(struct workqueue *q, struct entry *e)
{
    if (e->ready || e->running || e->heap_at)
        return;
    HASH_DEL(q->entries, e);
    free(e);
}

static void push_ready(struct workqueue *q, struct entry *e)
{
    assert(!e->ready && !e->running);
    e->ready = true;
    e->next = NULL;
    e->added_ns = env_now_ns(q->env);
    if (q->last)
        q->last->next = e;
    else
        q->first = e;
    q->last = e;
    q->ready_count++;
    metric_add(metrics_default(), &metric_depth, 1, q->name);
    env_signal(q->env, &q->changed);
}

static void add_entry(struct workqueue *q, struct entry *e)
{
    if (e->ready || e->dirty)
        return;
    metric_add(metrics_default(), &metric_adds, 1, q->name);
    if (e->running)
        e->dirty = true;
    else
        push_ready(q, e);
}

void workqueue_add(struct workqueue *q, const char *key)
{
    env_lock(q->env, &q->lock);
    if (!q->stopping)
        add_entry(q, entry_get(q, key));
    env_unlock(q->env, &q->lock);
}

void workqueue_addf(struct workqueue *q, const char *format, ...)
{
    char small[256];
    va_list ap;

    va_start(ap, format);
    int n = vsnprintf(small, sizeof(small), format, ap);
    va_end(ap);
    assert(n >= 0);
    if ((size_t)n < sizeof(small)) {
        workqueue_add(q, small);
        return;
    }
    autofree char *key = xmalloc((size_t)n + 1);
    va_start(ap, format);
    vsnprintf(key, (size_t)n + 1, format, ap);
    va_end(ap);
    workqueue_add(q, key);
}

void workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ns)
{
    if (delay_ns <= 0) {
        workqueue_add(q, key);
        return;
    }
    env_lock(q->env, &q->lock);
    if (!q->stopping)
        later_add(q, entry_get(q, key), env_now_ns(q->env) + delay_ns, false);
    env_unlock(q->env, &q->lock);
}

static void move_due(struct workqueue *q)
{
    if (q->later_count == 0)
        return;
    int64_t now = env_now_ns(q->env);
    while (q->later_count > 0 && q->later[0]->due_ns <= now) {
        struct entry *e = q->later[0];
        later_remove(q, e);
        add_entry(q, e);
    }
}

/* The next entry to work on, waiting for one; NULL when the queue stops. */
static struct entry *take(struct workqueue *q)
{
    for (;;) {
        if (q->stopping)
            return NULL;
        move_due(q);
        if (q->first)
            break;
        bool is_timekeeper = q->later_count > 0 && !q->has_timekeeper;
        if (is_timekeeper)
            q->has_timekeeper = true;
        env_wait_until(
            q->env, &q->changed, &q->lock, is_timekeeper ? q->later[0]->due_ns : ENV_FOREVER);
        if (is_timekeeper)
            q->has_timekeeper = false;
    }
    struct entry *e = q->first;
    q->first = e->next;
    if (!q->first)
        q->last = NULL;
    q->ready_count--;
    e->ready = false;
    e->running = true;
    if (q->first || (q->later_count > 0 && !q->has_timekeeper))
        env_signal(q->env, &q->changed); /* somebody else takes the next, or keeps the time */
    return e;
}

static int64_t backoff_ns(const struct workqueue *q, uint32_t failures)
{
    if (failures > 40)
        return q->backoff_max_ns;
    int64_t ns = BACKOFF_FIRST_NS << (failures - 1);
    return ns < q->backoff_max_ns ? ns : q->backoff_max_ns;
}

static uint32_t text_hash(const char *text)
{
    uint32_t hash = 2166136261u;

    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

static void entry_failed(struct workqueue *q, struct entry *e, const struct error *err)
{
    uint32_t hash = text_hash(err->text);
    bool is_known = e->failures > 0 && e->error_hash == hash;

    if (e->failures < UINT32_MAX)
        e->failures++;
    e->error_hash = hash;
    int64_t delay = backoff_ns(q, e->failures);
    if (is_known || err->code == ERR_CONFLICT || err->code == ERR_CANCELLED)
        log_debug("reconcile failed, retrying", "queue", "%s", q->name, "key", "%s", e->key,
            "error", "%s", err->text, NULL);
    else
        log_warning("reconcile failed, retrying", "queue", "%s", q->name, "key", "%s", e->key,
            "error", "%s", err->text, "after_ms", "%lld", (long long)(delay / NS_PER_MS), NULL);
    metric_add(metrics_default(), &metric_retries, 1, q->name);
    later_add(q, e, env_now_ns(q->env) + delay, true);
}

static void finish(
    struct workqueue *q, struct entry *e, int result, int64_t again_ns, const struct error *err)
{
    e->running = false;
    if (q->stopping) {
        entry_free_if_idle(q, e);
        return;
    }
    if (result < 0) {
        entry_failed(q, e, err);
    } else {
        e->failures = 0;
        if (e->heap_at && e->is_retry)
            later_remove(q, e);
        if (again_ns > 0)
            later_add(q, e, env_now_ns(q->env) + again_ns, false);
    }
    if (e->dirty) {
        e->dirty = false;
        push_ready(q, e);
    }
    entry_free_if_idle(q, e);
}

static void work(void *arg)
{
    struct workqueue *q = arg;
    struct entry *e;

    env_lock(q->env, &q->lock);
    while ((e = take(q))) {
        int64_t started_ns = env_now_ns(q->env), again_ns = 0, waited_ns = started_ns - e->added_ns;
        struct error err = {.code = ERR_NONE};
        env_unlock(q->env, &q->lock);
        metric_add(metrics_default(), &metric_depth, -1, q->name);
        metric_observe(metrics_default(), &metric_queue_duration, seconds(waited_ns), q->name);
        int result = q->fn(q->arg, e->key, &again_ns, &err);
        metric_observe(metrics_default(), &metric_work_duration,
            seconds(env_now_ns(q->env) - started_ns), q->name);
        env_lock(q->env, &q->lock);
        finish(q, e, result, again_ns, &err);
    }
    env_unlock(q->env, &q->lock);
}

struct workqueue *workqueue_new(struct env *env, const char *name, int64_t backoff_ms_max)
{
    struct workqueue *q = xcalloc(1, sizeof(*q));

    q->env = env;
    q->name = xstrdup(name);
    q->backoff_max_ns = backoff_ms_max * NS_PER_MS;
    env_lock_init(&q->lock);
    env_cond_init(&q->changed);
    return q;
}

void workqueue_run(struct workqueue *q, int workers, reconcile_fn *fn, void *arg)
{
    assert(!q->workers && workers > 0);
    q->fn = fn;
    q->arg = arg;
    q->workers = xcalloc((size_t)workers, sizeof(*q->workers));
    q->worker_count = workers;
    for (int i = 0; i < workers; i++)
        q->workers[i] = env_spawn(q->env, q->name, work, q);
}

void workqueue_stop(struct workqueue *q)
{
    env_lock(q->env, &q->lock);
    q->stopping = true;
    env_broadcast(q->env, &q->changed);
    env_unlock(q->env, &q->lock);
    for (int i = 0; i < q->worker_count; i++)
        env_join(q->env, q->workers[i]);
    q->worker_count = 0;
}

void workqueue_free(struct workqueue *q)
{
    struct entry *e, *next;

    if (!q)
        return;
    workqueue_stop(q);
    metric_add(metrics_default(), &metric_depth, -(double)q->ready_count, q->name);
    HASH_ITER(hh, q->entries, e, next)
    {
        HASH_DEL(q->entries, e);
        free(e);
    }
    free(q->later);
    free(q->workers);
    free(q->name);
    env_cond_done(&q->changed);
    env_lock_done(&q->lock);
    free(q);
}

size_t workqueue_depth(struct workqueue *q)
{
    env_lock(q->env, &q->lock);
    move_due(q);
    size_t depth = q->ready_count;
    env_unlock(q->env, &q->lock);
    return depth;
}
