/*
 * LIST: a generator over one snapshot, with selectors and pages.
 *
 * A page with a limit is walked twice: first to find its last key and whether more follow (they
 * stand in the list's head), then to send it; both in turns of a millisecond. So is every list in
 * protobuf, whose head says how long it is: objects remember the length of their message. The
 * snapshot of an unfinished list is held for its continue token; when it is gone the client gets
 * 410 with a token that goes on at the newest version.
 *
 * Memory: one snapshot and a chunk, however long the list. Upstream: endpoints/handlers/get.go,
 * storage/continue.go.
 */
#include "apiserver/registry/generic/form.h"
#include "apiserver/registry/generic/read.h"
#include "apiserver/registry/generic/token.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"

#define CHUNK_BYTES (64u << 10)
#define COMPRESS_MIN_BYTES (128u << 10)
/* Asking the clock costs as much as a small item: once for so many. */
#define ITEMS_A_LOOK 16

#define EXPIRED_TEXT                                                                               \
    "The provided continue parameter is too old to display a consistent list result. You can "     \
    "start a "                                                                                     \
    "new list without the continue parameter, or use the continue token in this response to "      \
    "retrieve "                                                                                    \
    "the remainder of the results. Continuing with the provided token results in an inconsistent " \
    "list "                                                                                        \
    "- objects that were created, modified, or deleted between the time the first chunk was "      \
    "returned "                                                                                    \
    "and now may show up in the list."

struct list {
    struct snapshot *snapshot;
    const struct list_options *options;
    enum { COUNTING, HEAD, ITEMS, ENDED } phase;
    struct str from_namespace, from_name; /* the page starts behind this key */
    struct str at_namespace, at_name;     /* of the walk under way; borrowed from the snapshot */
    int64_t seen;                         /* objects on earlier pages; -1: not known */
    int64_t counted;
    struct form_list form;
    bool more; /* objects follow the page */
    struct str last_namespace, last_name;
};

static void list_free(void *arg)
{
    struct list *l = arg;

    snapshot_free(l->snapshot);
    form_list_done(&l->form);
}

static void rewind_to_page(struct list *l)
{
    l->at_namespace = l->from_namespace;
    l->at_name = l->from_name;
}

/* The next object of the walk that matches; NULL at its end, or (*ret_turn_over) when the turn is
 * used up. */
static const struct object *walk(
    struct request *q, struct list *l, int64_t start_ns, bool *ret_turn_over)
{
    *ret_turn_over = false;
    for (int i = 1;; i++) {
        const struct object *o =
            snapshot_candidate(l->snapshot, &l->options->filter, l->at_namespace, l->at_name);
        if (!o)
            return NULL;
        l->at_namespace = o->namespace_;
        l->at_name = o->name;
        if (filter_matches(&l->options->filter, o))
            return o;
        if (i % (4 * ITEMS_A_LOOK) == 0 && request_turn_over(q, start_ns)) {
            *ret_turn_over = true;
            return NULL;
        }
    }
}

/* Finds the last key of the page, and how long its items are. true when that is known. */
static bool count_page(struct request *q, struct list *l, int64_t start_ns)
{
    int look = q->media == MEDIA_PROTOBUF ? 1 : ITEMS_A_LOOK;
    bool over;

    for (;;) {
        const struct object *o = walk(q, l, start_ns, &over);
        if (over)
            return false;
        if (!o)
            break;
        if (l->options->limit > 0 && l->counted == l->options->limit) {
            l->more = true;
            break;
        }
        l->counted++;
        if (q->media == MEDIA_PROTOBUF)
            l->form.items_bytes += form_item_bytes(q, &l->form, o);
        l->last_namespace = o->namespace_;
        l->last_name = o->name;
        if (l->counted % look == 0 && request_turn_over(q, start_ns))
            return false;
    }
    rewind_to_page(l);
    return true;
}

static void put_head(struct request *q, struct list *l, struct strbuf *out)
{
    int64_t version = snapshot_version(l->snapshot), remaining = -1;
    const char *token = NULL;

    if (l->more) {
        int64_t seen = l->seen < 0 ? -1 : l->seen + l->counted;
        token = token_print(
            q->arena, &(struct continue_token){version, seen, l->last_namespace, l->last_name});
        if (seen >= 0 && !l->options->selective)
            remaining = (int64_t)snapshot_count(l->snapshot, l->options->filter.namespace_) - seen;
        snapshot_hold(l->snapshot);
    }
    l->form.version = version;
    l->form.token = token;
    l->form.remaining = remaining > 0 ? remaining : -1;
    form_list_head(q, &l->form, out);
}

static bool is_page_full(const struct list *l)
{
    return l->options->limit > 0 && (int64_t)l->form.count == l->options->limit;
}

/* Sends items until the chunk or the turn is full. true: the list is at its end. */
static bool put_items(struct request *q, struct list *l, int64_t start_ns, struct strbuf *out)
{
    bool over;
    size_t look = form_parses(q) ? 1 : ITEMS_A_LOOK;

    while (!is_page_full(l)) {
        const struct object *o = walk(q, l, start_ns, &over);
        if (!o)
            return !over;
        form_list_item(q, &l->form, o, out);
        if (out->n >= CHUNK_BYTES || (l->form.count % look == 0 && request_turn_over(q, start_ns)))
            return false;
    }
    return true;
}

static enum body_result list_next(struct request *q, struct strbuf *out)
{
    struct list *l = q->body_state;
    int64_t start_ns = env_now_ns(q->server->env);
    size_t before = out->n;

    if (l->phase == COUNTING && count_page(q, l, start_ns))
        l->phase = HEAD;
    if (l->phase == HEAD) {
        put_head(q, l, out);
        l->phase = ITEMS;
    }
    if (l->phase == ITEMS && put_items(q, l, start_ns, out)) {
        form_list_tail(q, &l->form, out);
        l->phase = ENDED;
    }
    if (l->phase == ENDED)
        return BODY_END;
    if (out->n > before)
        return BODY_CHUNK;
    request_wake(q);
    return BODY_WAIT;
}

static enum stage_result expired(struct request *q, const struct continue_token *t)
{
    q->status_continue =
        token_print(q->arena, &(struct continue_token){-1, -1, t->namespace_, t->name});
    return request_fail(q, ERR_EXPIRED, EXPIRED_TEXT);
}

static enum stage_result open_snapshot(struct request *q, struct list *l)
{
    const struct list_options *options = l->options;
    const struct resource *r = q->resource->storage;
    struct cache *cache = q->server->cache;
    struct error err;

    if (*options->token) {
        struct continue_token t;
        if (token_parse(q->arena, options->token, &t, &err) < 0)
            return request_fail_error(q, &err);
        l->from_namespace = t.namespace_;
        l->from_name = t.name;
        l->seen = t.seen;
        if (t.version > 0 && snapshot_at(cache, r, t.version, &l->snapshot, &err) < 0)
            return err.code == ERR_EXPIRED ? expired(q, &t) : request_fail_error(q, &err);
    } else if (c_eq(options->match, "Exact") ||
               (!*options->match && options->limit > 0 && options->version > 0)) {
        struct snapshot *newest = snapshot_take(cache, r);
        if (snapshot_version(newest) == options->version) {
            l->snapshot = newest;
            return STAGE_DONE;
        }
        snapshot_free(newest);
        if (snapshot_at(cache, r, options->version, &l->snapshot, &err) < 0)
            return request_fail(
                q, err.code, "The resourceVersion for the provided list is too old.");
    }
    if (!l->snapshot)
        l->snapshot = snapshot_take(cache, r);
    return STAGE_DONE;
}

enum stage_result read_list_stage(struct request *q)
{
    struct list *l = arena_zalloc(q->arena, sizeof(*l));

    l->options = q->read->options;
    if (open_snapshot(q, l) == STAGE_ERROR)
        return STAGE_ERROR;
    request_on_free(q, list_free, l);
    rewind_to_page(l);
    l->phase = l->options->limit > 0 || q->media == MEDIA_PROTOBUF ? COUNTING : HEAD;
    /* About 1 KB an object: the exact size is known at the end only. */
    size_t count = snapshot_count(l->snapshot, l->options->filter.namespace_);
    if (l->options->limit > 0 && (size_t)l->options->limit < count)
        count = (size_t)l->options->limit;
    q->response_large = count * 1024 >= COMPRESS_MIN_BYTES;
    return request_reply_body(q, 200, media_type(q->media), list_next, l);
}
