/*
 * Queues of records, and records themselves; see sink.h.
 */
#include "apiserver/audit/sink.h"

#include "common/log.h"
#include "common/json.h"

#define QUEUE_BYTES_MAX (64u << 20)

static const struct metric_info audit_errors = {"apiserver_audit_error_total", METRIC_COUNTER,
    "Audit events that were lost: the backend failed or its buffer was full.", {"plugin"}};

/* --- records --- */

void audit_record_unref(struct audit_record *r)
{
    if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(r->head);
    free(r->tail);
    free(r->request);
    free(r->response);
    free(r);
}

static void strip_one(cJSON *object)
{
    cJSON *metadata = json_get(object, "metadata");

    if (metadata)
        json_remove(metadata, "managedFields");
}

static void print_body(const char *name, const char *text, bool strip, struct strbuf *out)
{
    autojson cJSON *tree = NULL;
    struct error err;

    if (!text)
        return;
    strbuf_addf(out, ",\"%s\":", name);
    if (!strip || !strstr(text, "\"managedFields\"") || json_parse(str_of(text), &tree, &err) < 0) {
        strbuf_addc(out, text);
        return;
    }
    cJSON *item;

    strip_one(tree);
    cJSON_ArrayForEach(item, json_get(tree, "items"))
    {
        strip_one(item);
    }
    json_print(tree, out);
}

void audit_record_print(const struct audit_record *r, struct strbuf *out)
{
    strbuf_addc(out, r->head);
    print_body("requestObject", r->request, r->strip, out);
    print_body("responseObject", r->response, r->strip, out);
    strbuf_addc(out, r->tail);
}

/* --- queues --- */

struct sink {
    struct env *env;
    struct metrics *metrics;
    const struct sink_ops *ops;
    void *state;
    struct sink_limits limits;
    struct lock lock;
    struct cond changed;
    struct audit_record **ring;
    size_t first, count, bytes;
    bool stopping;
    struct task *task;
};

static void count_lost(struct sink *s, size_t n, const char *why)
{
    metric_add(s->metrics, &audit_errors, (double)n, s->ops->plugin);
    log_error("audit events are lost", "plugin", "%s", s->ops->plugin, "count", "%zu", n, "err",
        "%s", why, NULL);
}

void sink_add(struct sink *s, struct audit_record *r)
{
    env_lock(s->env, &s->lock);
    bool room = s->count < s->limits.buffer_events && s->bytes + r->bytes <= QUEUE_BYTES_MAX;

    if (room) {
        __atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
        s->ring[(s->first + s->count++) % s->limits.buffer_events] = r;
        s->bytes += r->bytes;
        if (s->count == 1 || s->count == s->limits.batch_events)
            env_signal(s->env, &s->changed);
    }
    env_unlock(s->env, &s->lock);
    if (!room)
        count_lost(s, 1, "the buffer is full");
}

/* Waits for a batch: the first record, and until it is full, has waited long enough, or the end.
 * With the lock held. */
static void await_batch(struct sink *s)
{
    while (s->count == 0 && !s->stopping)
        env_wait_until(s->env, &s->changed, &s->lock, ENV_FOREVER);
    int64_t until_ns = env_now_ns(s->env) + s->limits.batch_wait_ns;

    while (s->count < s->limits.batch_events && !s->stopping &&
           env_wait_until(s->env, &s->changed, &s->lock, until_ns))
        ;
}

static size_t take_batch(struct sink *s, struct audit_record **batch)
{
    size_t n = s->count < s->limits.batch_events ? s->count : s->limits.batch_events;

    for (size_t i = 0; i < n; i++) {
        batch[i] = s->ring[s->first];
        s->bytes -= batch[i]->bytes;
        s->first = (s->first + 1) % s->limits.buffer_events;
    }
    s->count -= n;
    return n;
}

static void sink_run(void *arg)
{
    struct sink *s = arg;
    autofree struct audit_record **batch = xcalloc(s->limits.batch_events, sizeof(*batch));
    struct error err;

    for (;;) {
        env_lock(s->env, &s->lock);
        await_batch(s);
        size_t n = take_batch(s, batch);

        env_unlock(s->env, &s->lock);
        if (n == 0)
            return;
        if (s->ops->write(s->state, batch, n, &err) < 0)
            count_lost(s, n, err.text);
        for (size_t i = 0; i < n; i++)
            audit_record_unref(batch[i]);
    }
}

struct sink *sink_new(struct env *env, struct metrics *metrics, const struct sink_ops *ops,
    void *state, const struct sink_limits *limits)
{
    struct sink *s = xcalloc(1, sizeof(*s));

    s->env = env;
    s->metrics = metrics;
    s->ops = ops;
    s->state = state;
    s->limits = *limits;
    s->ring = xcalloc(limits->buffer_events, sizeof(*s->ring));
    env_lock_init(&s->lock);
    env_cond_init(&s->changed);
    metric_add(metrics, &audit_errors, 0, ops->plugin);
    s->task = env_spawn(env, "audit", sink_run, s);
    return s;
}

void sink_free(struct sink *s)
{
    if (!s)
        return;
    env_lock(s->env, &s->lock);
    s->stopping = true;
    env_signal(s->env, &s->changed);
    env_unlock(s->env, &s->lock);
    if (s->ops->stop)
        s->ops->stop(s->state);
    env_join(s->env, s->task);
    s->ops->free(s->state);
    free(s->ring);
    env_cond_done(&s->changed);
    env_lock_done(&s->lock);
    free(s);
}
