/*
 * DELETE of a collection: every object that the selectors match, each deleted as if alone, several
 * at a time.
 *
 * The objects are those of one snapshot. One that vanished or changed meanwhile is looked at again;
 * the first refusal ends the request once what is under way has finished. The answer is the list of
 * what was deleted or marked. Upstream: Store.DeleteCollection.
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/registry/generic/form.h"
#include "apiserver/registry/generic/options.h"
#include "apiserver/registry/generic/token.h"

#include <stdatomic.h>

#include "apiserver/admission/admission.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"

/* At once in flight: enough to fill a commit's batch. */
#define IN_FLIGHT_MAX 64
#define ROUNDS_MAX 100

struct deletion {
    struct object_write *write;
    bool in_flight, done;
};

struct collection {
    struct list_options *options;
    struct object_write *template_; /* delete options, dry run */
    struct snapshot *snapshot;
    struct str at_namespace, at_name;
    bool walked;
    int64_t taken; /* of the limit */
    struct deletion slots[IN_FLIGHT_MAX];
    bool failed;
    struct strbuf items; /* of the answer */
    struct form_list list;
};

static void collection_free(void *arg)
{
    struct collection *c = arg;

    snapshot_free(c->snapshot);
    strbuf_done(&c->items);
    form_list_done(&c->list);
}

static void add_item(struct request *q, struct collection *c, struct object_write *o)
{
    form_list_item(q, &c->list, o->result ? o->result : o->base, &c->items);
}

static void fail(struct request *q, struct collection *c, const struct error *err)
{
    if (!c->failed)
        q->err = *err;
    c->failed = true;
}

static void start_round(struct request *q, struct object_write *o)
{
    write_release_round(o);
    o->rounds++;
    o->context = (struct write_context){
        .request = q,
        .server = q->server,
        .cache = q->server->cache,
        .resource = o->resource->storage,
        .kind = WRITE_DELETE,
        .arena = q->arena,
        .now_ns = env_wall_ns(q->server->env),
        .dry_run = o->dry_run,
    };
    o->base = cache_newest(
        q->server->cache, o->resource->storage, str_of(o->namespace_), str_of(o->name));
}

/* Computes and submits one deletion. true: it is in flight. */
static bool begin_one(struct request *q, struct collection *c, struct object_write *o)
{
    struct error err = {0};

    start_round(q, o);
    if (!o->base)
        return false;
    o->context.old = object_tree(o->base);
    if (delete_compute(o, &err) < 0 ||
        (!o->unchanged && admission_validate(&o->context, &err) < 0)) {
        fail(q, c, &err);
        return false;
    }
    const struct strategy *s = o->context.resource->strategy;
    if (o->deleted && s && s->begin && s->begin(&o->context, &o->extra, &err) < 0) {
        fail(q, c, &err);
        return false;
    }
    if (o->unchanged || o->dry_run) {
        add_item(q, c, o);
        return false;
    }
    write_submit(o);
    return true;
}

/* What became of one; true: it goes another round. */
static bool finish_one(struct request *q, struct collection *c, struct object_write *o)
{
    if (o->write.result == -ERR_CONFLICT && o->rounds < ROUNDS_MAX)
        return begin_one(q, c, o);
    if (o->write.result < 0) {
        fail(q, c, &o->write.err);
        return false;
    }
    o->result = o->ops[0].result ? object_ref(o->ops[0].result) : NULL;
    add_item(q, c, o);
    return false;
}

static bool is_limit_reached(const struct collection *c)
{
    return c->options->limit > 0 && c->taken >= c->options->limit;
}

static const struct object *next_match(struct request *q, struct collection *c)
{
    const struct object *o;

    while (!is_limit_reached(c) && (o = snapshot_next(c->snapshot, c->options->filter.namespace_,
                                        c->at_namespace, c->at_name))) {
        c->at_namespace = o->namespace_;
        c->at_name = o->name;
        if (filter_matches(&c->options->filter, o)) {
            c->taken++;
            return o;
        }
    }
    c->walked = true;
    return NULL;
}

static struct object_write *new_deletion(
    struct request *q, const struct collection *c, const struct object *object)
{
    struct object_write *o = write_new(q);

    o->kind = WRITE_DELETE;
    o->namespace_ = arena_strdup(q->arena, object->namespace_);
    o->name = arena_strdup(q->arena, object->name);
    o->options = c->template_->options;
    o->dry_run = c->template_->dry_run;
    return o;
}

/* Behind the key of a continue token. */
static enum stage_result go_on(struct request *q, struct collection *c)
{
    struct continue_token t;
    struct error err;

    if (!*c->options->token)
        return STAGE_DONE;
    if (token_parse(q->arena, c->options->token, &t, &err) < 0)
        return request_fail_error(q, &err);
    c->at_namespace = t.namespace_;
    c->at_name = t.name;
    return STAGE_DONE;
}

static struct collection *begin(struct request *q)
{
    struct collection *c = arena_zalloc(q->arena, sizeof(*c));

    strbuf_init(&c->items, 0);
    request_on_free(q, collection_free, c);
    c->template_ = write_new(q);
    if (options_parse_delete(q, c->template_) == STAGE_ERROR ||
        options_parse_list(q, &c->options) == STAGE_ERROR || go_on(q, c) == STAGE_ERROR)
        return NULL;
    c->snapshot = snapshot_take(q->server->cache, q->resource->storage);
    return c;
}

static enum stage_result answer(struct request *q, struct collection *c)
{
    struct strbuf out;

    if (c->failed)
        return STAGE_ERROR;
    strbuf_init(&out, 0);
    c->list.version = cache_version(q->server->cache);
    c->list.remaining = -1;
    c->list.items_bytes = c->items.n;
    form_list_head(q, &c->list, &out);
    strbuf_add(&out, strbuf_str(&c->items));
    form_list_tail(q, &c->list, &out);
    return request_reply_text(q, 200, &out);
}

enum stage_result collection_delete_stage(struct request *q)
{
    struct collection *c = q->stage_state;
    int64_t start_ns = env_now_ns(q->server->env);
    size_t in_flight = 0;

    if (!c) {
        q->stage_state = c = begin(q);
        if (!c)
            return STAGE_ERROR;
    }
    for (size_t i = 0; i < IN_FLIGHT_MAX; i++) {
        struct deletion *d = &c->slots[i];
        if (d->in_flight && write_is_finished(d->write))
            d->in_flight = finish_one(q, c, d->write);
        while (!d->in_flight && !c->failed && !c->walked) {
            if (request_turn_over(q, start_ns)) {
                request_wake(q);
                return STAGE_WAIT;
            }
            const struct object *o = next_match(q, c);
            if (!o)
                break;
            d->write = new_deletion(q, c, o);
            d->in_flight = begin_one(q, c, d->write);
        }
        in_flight += d->in_flight;
    }
    return in_flight > 0 ? STAGE_WAIT : answer(q, c);
}
