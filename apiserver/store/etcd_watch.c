/*
 * The one watch of the whole prefix.
 *
 * Each line of the answer is a JSON object with events; the events of one revision come together
 * (in fragments, where they are large, which are put together again). A revision's head key says
 * who wrote it and the indexes of what it deleted. Events of a revision are given in order of their
 * indexes. Those of our own transactions carry no value: whoever committed has it.
 *
 * A stream that breaks is opened again where it stopped. One that is silent although a newer
 * revision is known for a while is taken for dead. When the history was compacted meanwhile the
 * watch is lost, and its user loads again.
 */
#include "apiserver/store/etcd.h"

#include <assert.h>
#include <inttypes.h>
#include <zstd.h>

#include "common/log.h"
#include "common/time.h"

#define BEHIND_NS (1 * NS_PER_S)
#define QUIET_NS (5 * NS_PER_S)
#define REOPEN_NS (100 * NS_PER_MS)

/* An event of the revision that is being read. */
struct seen_event {
    size_t key_at, key_bytes, value_at, value_bytes; /* in text */
    int64_t revision;
    unsigned index;
    bool removed, own;
};

struct reader {
    struct etcd *e;
    ZSTD_DCtx *zstd;
    struct strbuf in, text, key;
    /* Of complete revisions up to revision_start, then of the one being read. */
    struct seen_event *events;
    size_t count, capacity, revision_start;
    int64_t revision;      /* being read; 0: none */
    struct etcd_head head; /* its; tree NULL: none seen */
    cJSON *frames;         /* the trees that pending values are in */
    const cJSON **kvs;     /* of events, until the revision is complete */
    struct store_event *out;
    bool opened; /* the last attempt did */
};

static struct str key_of(const struct reader *r, const struct seen_event *s)
{
    return str_range(r->text.data + s->key_at, s->key_bytes);
}

static void forget_revision(struct reader *r)
{
    cJSON_Delete(r->head.tree);
    r->head.tree = NULL;
    r->revision = 0;
}

static bool was_written(void *arg, struct str key)
{
    struct reader *r = (struct reader *)arg;

    for (size_t i = r->revision_start; i < r->count; i++)
        if (str_eq(key_of(r, &r->events[i]), key))
            return true;
    return false;
}

static unsigned removed_index(const struct reader *r, struct str key, unsigned otherwise)
{
    const cJSON *pair;

    cJSON_ArrayForEach(pair, r->head.removed)
    {
        int64_t index;

        if (cJSON_IsString(pair->child) && str_eqc(key, pair->child->valuestring) &&
            json_int64(pair->child->next, &index))
            return (unsigned)index % ETCD_INDEXES;
    }
    return otherwise;
}

static int by_index(const void *a, const void *b)
{
    const struct seen_event *x = (const struct seen_event *)a, *y = (const struct seen_event *)b;

    return x->index < y->index ? -1 : x->index > y->index;
}

/* All of a revision is there: indexes, order, and the batch of ours that it was. */
static int end_revision(struct reader *r, struct error *err)
{
    bool own = r->head.tree && c_eq(r->head.writer, r->e->writer);
    unsigned foreign = ETCD_INDEXES - 2;

    if (!r->revision)
        return 0;
    for (size_t i = r->revision_start; i < r->count; i++) {
        struct seen_event *s = &r->events[i];

        s->own = own;
        if (s->removed) {
            s->index = removed_index(r, key_of(r, s), foreign);
            foreign -= s->index == foreign;
            continue;
        }
        s->value_at = r->text.n;
        if (etcd_get_value(r->zstd, r->kvs[i], !own, &s->index, &r->text, err) < 0)
            return error_wrap(err, "%.*s", STR_FMT(key_of(r, s)));
        s->value_bytes = r->text.n - s->value_at;
    }
    qsort(
        r->events + r->revision_start, r->count - r->revision_start, sizeof(*r->events), by_index);
    if (own)
        etcd_resolve_seen(r->e, r->head.sequence, r->revision, was_written, r);
    r->revision_start = r->count;
    forget_revision(r);
    return 0;
}

static void deliver(struct reader *r, int64_t up_to)
{
    struct etcd *e = r->e;

    r->out = (struct store_event *)xrealloc(r->out, (r->count + 1) * sizeof(*r->out));
    for (size_t i = 0; i < r->count; i++) {
        const struct seen_event *s = &r->events[i];

        r->out[i] = (struct store_event){.key = key_of(r, s),
            .version = s->revision * ETCD_INDEXES + s->index,
            .value = str_range(r->text.data + s->value_at, s->value_bytes),
            .removed = s->removed,
            .own = s->own};
    }
    e->on_events(e->watch_arg, r->out, r->count, up_to * ETCD_INDEXES + ETCD_INDEXES - 1);
    r->count = r->revision_start = 0;
    strbuf_clear(&r->text);
    cJSON_Delete(r->frames);
    r->frames = NULL;
    env_lock(e->env, &e->lock);
    e->watched = up_to;
    env_unlock(e->env, &e->lock);
}

static void add_event(struct reader *r, const cJSON *kv, bool removed)
{
    if (r->count == r->capacity) {
        r->capacity = 2 * r->capacity + 64;
        r->events = (struct seen_event *)xrealloc(r->events, r->capacity * sizeof(*r->events));
        r->kvs = (const cJSON **)xrealloc(r->kvs, r->capacity * sizeof(*r->kvs));
    }
    r->kvs[r->count] = kv;
    r->events[r->count++] = (struct seen_event){
        .key_at = r->text.n, .key_bytes = r->key.n, .revision = r->revision, .removed = removed};
    strbuf_add(&r->text, strbuf_str(&r->key));
}

static int take_event(struct reader *r, const cJSON *event, struct error *err)
{
    const cJSON *kv = json_get(event, "kv");
    bool removed = c_eq(json_string(event, "type"), "DELETE");
    int64_t revision = etcd_int(kv, "mod_revision");

    if (r->revision && revision != r->revision && end_revision(r, err) < 0)
        return -err->code;
    r->revision = revision;
    if (etcd_get_key(r->e, kv, &r->key, err) < 0)
        return -err->code;
    if (str_eqc(strbuf_str(&r->key), "head")) {
        if (removed)
            return 0;
        cJSON_Delete(r->head.tree);
        r->head.tree = NULL;
        return etcd_head_parse(kv, &r->head, err);
    }
    if (!r->key.n || r->key.data[0] == '~')
        return 0;
    add_event(r, kv, removed);
    return 0;
}

/* Keeps a frame's tree until the values in it have been read. */
static void keep_frame(struct reader *r, cJSON *tree)
{
    if (!r->frames)
        r->frames = cJSON_CreateArray();
    cJSON_AddItemToArray(r->frames, tree);
}

/* -ERR_EXPIRED: the watch is lost; other errors: open it again. */
static int take_result(struct reader *r, const cJSON *result, struct error *err)
{
    const char *reason = json_string(result, "cancel_reason");
    int64_t last = 0;
    const cJSON *event;

    if (json_bool(result, "canceled", false)) {
        if (etcd_int(result, "compact_revision"))
            return error_set(err, ERR_EXPIRED, "etcd has compacted the history");
        if (reason && (strstr(reason, "auth") || strstr(reason, "permission")))
            etcd_forget_token(r->e);
        return error_set(
            err, ERR_UNAVAILABLE, "etcd cancelled the watch: %s", reason ? reason : "no reason");
    }
    if (json_bool(result, "created", false))
        etcd_note_up(r->e, etcd_revision(result)); /* how its return is noticed when nobody asks */
    cJSON_ArrayForEach(event, json_get(result, "events"))
    {
        if (take_event(r, event, err) < 0)
            return -err->code;
        last = r->revision;
    }
    if (!last || json_bool(result, "fragment", false))
        return 0;
    if (end_revision(r, err) < 0)
        return -err->code;
    deliver(r, last);
    return 0;
}

static int take_line(struct reader *r, struct str line, struct error *err)
{
    cJSON *tree;

    if (json_parse(line, &tree, err) < 0)
        return error_wrap(err, "etcd's watch");
    keep_frame(r, tree);
    const cJSON *result = json_get(tree, "result");

    if (!result) {
        etcd_explain(200, tree, err);
        return -err->code;
    }
    return take_result(r, result, err);
}

static int take_lines(struct reader *r, struct error *err)
{
    struct str rest = strbuf_str(&r->in), line;
    int result = 0;

    while (result == 0 && memchr(rest.p, '\n', rest.n)) {
        str_split(&rest, '\n', &line);
        if (line.n)
            result = take_line(r, line, err);
    }
    strbuf_remove_front(&r->in, r->in.n - rest.n);
    return result;
}

static void reset(struct reader *r)
{
    strbuf_clear(&r->in);
    strbuf_clear(&r->text);
    cJSON_Delete(r->frames);
    r->frames = NULL;
    r->count = r->revision_start = 0;
    forget_revision(r);
}

static bool is_stopping(struct etcd *e)
{
    env_lock(e->env, &e->lock);
    bool stop = e->stopping;

    env_unlock(e->env, &e->lock);
    return stop;
}

/* Revision that is known and not shown, or 0. */
static int64_t behind(struct etcd *e)
{
    env_lock(e->env, &e->lock);
    int64_t newest = e->committed > e->watched ? e->committed : 0;

    env_unlock(e->env, &e->lock);
    return newest;
}

static int read_stream(struct reader *r, struct http_stream *stream, struct error *err)
{
    struct etcd *e = r->e;

    for (;;) {
        int64_t missing = behind(e);
        int got = http_stream_next(
            stream, env_now_ns(e->env) + (missing ? BEHIND_NS : QUIET_NS), &r->in, err);

        if (got == -ERR_TIMEOUT) {
            env_lock(e->env, &e->lock);
            bool dead = missing > e->watched;

            env_unlock(e->env, &e->lock);
            if (!dead)
                continue;
            etcd_next_endpoint(e, __atomic_load_n(&e->current, __ATOMIC_RELAXED));
            return error_set(err, ERR_TIMEOUT, "etcd's watch is silent");
        }
        if (got == 0)
            return error_set(err, ERR_CLOSED, "etcd ended the watch");
        if (got < 0)
            return got;
        if ((got = take_lines(r, err)) < 0)
            return got;
    }
}

static int open_watch(struct reader *r, struct http_stream **ret, struct error *err)
{
    struct etcd *e = r->e;
    autostrbuf struct strbuf body;

    strbuf_init(&body, 0);
    strbuf_addc(&body, "{\"create_request\":{\"key\":");
    etcd_put_key(e, STR(""), &body);
    strbuf_addc(&body, ",\"range_end\":");
    autofree char *end = xstrdup(e->prefix);

    end[strlen(end) - 1] = '/' + 1;
    etcd_put_bytes(str_of(end), &body);
    strbuf_addf(&body, ",\"start_revision\":\"%" PRId64 "\",\"fragment\":true}}", e->watched + 1);
    return etcd_open_stream(e, "/v3/watch", strbuf_str(&body), ret, err);
}

static void set_stream(struct etcd *e, struct http_stream *stream)
{
    env_lock(e->env, &e->lock);
    e->stream = stream;
    bool stop = e->stopping;

    env_unlock(e->env, &e->lock);
    if (stop && stream)
        http_stream_cancel(stream);
}

/* Until the stream breaks, the watch is lost or the store closes. */
static int watch_once(struct reader *r, struct error *err)
{
    struct http_stream *stream;

    r->opened = open_watch(r, &stream, err) == 0;
    if (!r->opened)
        return -err->code;
    set_stream(r->e, stream);
    int result = read_stream(r, stream, err);

    set_stream(r->e, NULL);
    http_stream_close(stream);
    reset(r);
    return result;
}

void etcd_watch_run(void *arg)
{
    struct etcd *e = (struct etcd *)arg;
    struct reader r = {.e = e, .zstd = ZSTD_createDCtx()};
    struct error err;
    bool told = false;
    int result = 0;

    strbuf_init(&r.in, 0);
    strbuf_init(&r.text, 0);
    strbuf_init(&r.key, 0);
    while (!is_stopping(e)) {
        result = watch_once(&r, &err);
        if (result == -ERR_EXPIRED || result == -ERR_INTERNAL || is_stopping(e))
            break;
        if (r.opened || !told)
            log_warning(
                "etcd's watch broke, opening it again until it works", "err", "%s", err.text, NULL);
        told = true;
        env_sleep_ns(e->env, REOPEN_NS);
    }
    reset(&r);
    ZSTD_freeDCtx(r.zstd);
    strbuf_done(&r.in);
    strbuf_done(&r.text);
    strbuf_done(&r.key);
    free(r.events);
    free(r.kvs);
    free(r.out);
    if (!is_stopping(e))
        e->on_lost(e->watch_arg, &err);
}

int etcd_watch_start(struct store *store, int64_t version,
    void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to),
    void (*on_lost)(void *arg, const struct error *err), void *arg, struct error *err)
{
    struct etcd *e = container_of(store, struct etcd, base);

    if (e->watcher)
        env_join(e->env, e->watcher); /* the last one has called on_lost */
    e->on_events = on_events;
    e->on_lost = on_lost;
    e->watch_arg = arg;
    env_lock(e->env, &e->lock);
    e->watched = version / ETCD_INDEXES;
    env_unlock(e->env, &e->lock);
    e->watcher = env_spawn(e->env, "etcd-watch", etcd_watch_run, e);
    return 0;
}

void etcd_watch_stop(struct etcd *e)
{
    env_lock(e->env, &e->lock);
    if (e->stream)
        http_stream_cancel(e->stream);
    env_unlock(e->env, &e->lock);
    if (e->watcher)
        env_join(e->env, e->watcher);
}
