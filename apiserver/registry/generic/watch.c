/*
 * WATCH: a generator of frames: initial state, then the history's events, bookmarks, and an end in
 * time.
 *
 * resourceVersion unset or "0": the snapshot as ADDED, then what is newer. N: only what is newer;
 * too old is an ERROR event with a Status 410 in a 200 stream. sendInitialEvents ends the initial
 * state with a marked bookmark. The generator is asked only when the client has room; a client too
 * slow for the history gets 410 and relists. One timer a watch serves bookmarks and the end.
 *
 * Threads: the cache's writer and the timer only wake. Upstream: endpoints/handlers/watch.go,
 * storage/cacher.
 */
#include "apiserver/registry/generic/form.h"
#include "apiserver/registry/generic/read.h"
#include "apiserver/request/measure.h"
#include "apiserver/server.h"
#include "common/time.h"

#define CHUNK_BYTES (64u << 10)
#define BOOKMARK_NS (60 * NS_PER_S)
#define TIMEOUT_MIN_NS (1800 * NS_PER_S)

struct watch {
    struct request *q;
    const struct list_options *options;
    struct watcher *watcher;
    struct snapshot *snapshot; /* while the initial state is sent */
    struct str at_namespace, at_name;
    bool initial_end_wanted;
    bool columns_sent;
    bool ended;
    int64_t version; /* of the last bookmark */
    int64_t next_bookmark_ns, end_ns;
    struct env_timer timer;
    struct error failure; /* found before the stream began */
};

static void watch_free(void *arg)
{
    struct watch *w = arg;

    env_timer_cancel(w->q->server->env, &w->timer);
    watcher_free(w->watcher);
    snapshot_free(w->snapshot);
}

static void watch_wake(void *arg)
{
    struct watch *w = arg;

    request_wake(w->q);
}

static void set_timer(struct watch *w)
{
    int64_t at = w->end_ns;

    if (w->options->bookmarks && w->next_bookmark_ns < at)
        at = w->next_bookmark_ns;
    env_timer_set(w->q->server->env, &w->timer, at);
}

/* --- frames --- */

static void put_event(
    struct watch *w, enum event_type type, const struct object *o, struct strbuf *out)
{
    static const char *const names[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};

    form_event(w->q, names[type], o, !w->columns_sent, out);
    w->columns_sent = true;
}

static void put_bookmark(struct watch *w, int64_t version, bool initial_end, struct strbuf *out)
{
    if (version <= 0 || (version < w->version && !initial_end))
        return;
    w->version = version;
    form_bookmark(w->q, version, initial_end, out);
}

/* true: the initial state is out. */
static bool put_initial(struct watch *w, int64_t start_ns, struct strbuf *out)
{
    const struct watch_filter *f = &w->options->filter;
    size_t sent = 0;

    for (int i = 1;; i++) {
        const struct object *o = snapshot_candidate(w->snapshot, f, w->at_namespace, w->at_name);
        if (!o)
            break;
        w->at_namespace = o->namespace_;
        w->at_name = o->name;
        if (filter_matches(f, o)) {
            put_event(w, EVENT_ADDED, o, out);
            sent++;
        }
        if (out->n >= CHUNK_BYTES || (i % 16 == 0 && request_turn_over(w->q, start_ns))) {
            measure_events(w->q, sent);
            return false;
        }
    }
    measure_events(w->q, sent);
    if (w->initial_end_wanted)
        put_bookmark(w, snapshot_version(w->snapshot), true, out);
    snapshot_free(w->snapshot);
    w->snapshot = NULL;
    return true;
}

enum live { LIVE_IDLE, LIVE_MORE, LIVE_FAILED };

static enum live put_live(struct watch *w, int64_t start_ns, struct strbuf *out)
{
    struct request *q = w->q;
    bool plain = q->form == FORM_OBJECT && q->resource == q->resource->storage;
    enum event_encoding encoding = q->media == MEDIA_PROTOBUF ? EVENT_PROTOBUF : EVENT_JSON;

    for (int i = 1;; i++) {
        const struct event *e;
        enum event_type as;
        struct error err;
        int r = watcher_next(w->watcher, &e, &as, &err);
        if (r <= 0) {
            measure_events(q, (size_t)i - 1);
            if (r == 0)
                return LIVE_IDLE;
            form_error(q, &err, out);
            return LIVE_FAILED;
        }
        if (plain && e->object->resource == q->resource) {
            strbuf_add(out, event_encoded(e, as, encoding));
        } else {
            /* Leaving the selector shows the state before, at the version of the change. */
            struct object *moved = NULL;
            const struct object *o = e->object;
            if (as == EVENT_DELETED && e->type != EVENT_DELETED && e->old_object)
                o = moved = object_at_revision(e->old_object, e->version);
            put_event(w, as, o, out);
            object_unref(moved);
        }
        if (out->n >= CHUNK_BYTES || (i % 16 == 0 && request_turn_over(q, start_ns))) {
            measure_events(q, (size_t)i);
            return LIVE_MORE;
        }
    }
}

static enum body_result end(struct watch *w, struct strbuf *out)
{
    if (w->options->bookmarks && w->watcher && !w->snapshot)
        put_bookmark(w, watcher_version(w->watcher), false, out);
    w->ended = true;
    return BODY_END;
}

static enum body_result watch_next(struct request *q, struct strbuf *out)
{
    struct watch *w = q->body_state;
    int64_t now = env_now_ns(q->server->env);

    if (w->ended)
        return BODY_END;
    if (w->failure.code != ERR_NONE) {
        form_error(q, &w->failure, out);
        w->ended = true;
        return BODY_END;
    }
    if (now >= w->end_ns || atomic_load(&q->server->stopping))
        return end(w, out);
    if (w->snapshot && !put_initial(w, now, out)) {
        if (out->n > 0)
            return BODY_CHUNK;
        request_wake(q);
        return BODY_WAIT;
    }
    enum live live = put_live(w, now, out);
    if (live == LIVE_MORE)
        return BODY_CHUNK;
    if (live == LIVE_FAILED) {
        w->ended = true;
        return BODY_END;
    }
    if (w->options->bookmarks && now >= w->next_bookmark_ns) {
        put_bookmark(w, watcher_version(w->watcher), false, out);
        w->next_bookmark_ns = now + env_jitter_ns(q->server->env, BOOKMARK_NS, 0.1);
        set_timer(w);
    }
    return BODY_WAIT;
}

/* --- the start --- */

static void set_times(struct watch *w)
{
    struct env *env = w->q->server->env;
    int64_t now = env_now_ns(env);

    w->end_ns = now + (w->options->timeout_s > 0 ? w->options->timeout_s * NS_PER_S
                                                 : env_jitter_ns(env, TIMEOUT_MIN_NS, 1.0));
    w->next_bookmark_ns = now + env_jitter_ns(env, BOOKMARK_NS, 0.1);
    set_timer(w);
}

static bool wants_initial_state(const struct list_options *l)
{
    if (l->send_initial_events >= 0)
        return l->send_initial_events;
    return l->version <= 0;
}

enum stage_result read_watch_stage(struct request *q)
{
    const struct resource *r = q->resource->storage;
    struct watch *w = arena_zalloc(q->arena, sizeof(*w));
    int64_t version;

    w->q = q;
    w->options = q->read->options;
    w->initial_end_wanted = w->options->send_initial_events == 1 && w->options->bookmarks;
    env_timer_init(&w->timer, watch_wake, w);
    request_on_free(q, watch_free, w);
    if (wants_initial_state(w->options) || w->options->version <= 0) {
        w->snapshot = snapshot_take(q->server->cache, r);
        version = snapshot_version(w->snapshot);
        if (!wants_initial_state(w->options)) {
            snapshot_free(w->snapshot);
            w->snapshot = NULL;
        }
    } else {
        version = w->options->version;
    }
    if (watcher_new(q->server->cache, r, version, &w->options->filter, watch_wake, w, &w->watcher,
            &w->failure) == 0)
        w->failure.code = ERR_NONE;
    else if (w->failure.code != ERR_EXPIRED)
        return request_fail_error(q, &w->failure);
    set_times(w);
    q->long_running = true;
    return request_reply_body(q, 200,
        q->media == MEDIA_PROTOBUF ? "application/vnd.kubernetes.protobuf;stream=watch"
                                   : "application/json",
        watch_next, w);
}
