/*
 * The way in: optimistic writes, one at a time per key, published when they are durable.
 *
 * A key with writes under way has a slot: a queue of operations, of which only the head's write may
 * be at the store; the tail's object is what cache_newest gives, so that the next writer computes
 * on it. A write is sent when all its operations are heads. When it fails, everything that was
 * computed on it fails too (-ERR_CONFLICT: look again).
 *
 * With an exclusive store a commit is published when it completes. With a shared one the watch
 * publishes: a completed write waits in `unseen` until the watch has shown its version, and so does
 * a refused one, until the cache shows why.
 *
 * Threads: cache->lock guards slots and lists; done functions run without it.
 */
#include "apiserver/cache/cache_internal.h"

#include <assert.h>

#include "common/log.h"

struct pending_op {
    struct pending *owner;
    struct slot *slot;         /* NULL: not queued (any more) */
    struct pending_op *behind; /* the key's next writer */
};

struct pending {
    struct store_group group;
    struct cache *cache;
    struct write *write;
    size_t blocked; /* operations that are not their key's head */
    bool unchanged; /* commits nothing: completes when its base is durable */
    bool sent, committed;
    int64_t wait_for; /* in unseen: told when the cache shows this version */
    int result;
    struct error err;
    struct strbuf data; /* keys and values */
    struct pending *next;
    struct store_op *store_ops;
    struct pending_op *ops;
};

struct slot {
    UT_hash_handle hh;
    struct pending_op *head, *tail;
    size_t key_bytes;
    char key[];
};

/* What the publisher does once it has let go of the lock. */
struct outcome {
    struct pending *done, **done_end;
    struct pending *ready, **ready_end;
};

static void outcome_init(struct outcome *out)
{
    *out = (struct outcome){0};
    out->done_end = &out->done;
    out->ready_end = &out->ready;
}

static void add_done(struct outcome *out, struct pending *p)
{
    p->next = NULL;
    *out->done_end = p;
    out->done_end = &p->next;
}

static void add_ready(struct outcome *out, struct pending *p)
{
    p->next = NULL;
    *out->ready_end = p;
    out->ready_end = &p->next;
}

/* --- making --- */

static bool is_unchanged(struct cache *cache, const struct write *w)
{
    const struct object *base = w->ops[0].base, *next = w->ops[0].next;

    return w->op_count == 1 && base && next && str_eq(base->body, next->body) &&
           (base == next || !cache_is_stale(cache, base));
}

static struct pending *pending_new(struct cache *cache, struct write *w)
{
    size_t bytes = sizeof(struct pending) +
                   w->op_count * (sizeof(struct store_op) + sizeof(struct pending_op));
    struct pending *p = (struct pending *)xcalloc(1, bytes);
    size_t at = 0;

    p->cache = cache;
    p->write = w;
    p->store_ops = (struct store_op *)(p + 1);
    p->ops = (struct pending_op *)(p->store_ops + w->op_count);
    p->unchanged = is_unchanged(cache, w);
    p->group = (struct store_group){
        .ops = p->store_ops, .op_count = w->op_count, .soft = w->soft, .done = cache_on_done};
    strbuf_init(&p->data, 0);
    for (size_t i = 0; i < w->op_count; i++) {
        struct write_op *op = &w->ops[i];
        struct store_op *s = &p->store_ops[i];
        char key[CACHE_KEY_BYTES];

        op->result = NULL;
        p->ops[i].owner = p;
        s->remove = !op->next;
        s->key = cache_key(cache_kind(cache, op->resource), op->namespace_, op->name, key);
        if (!s->key.n)
            p->result = error_set(&p->err, ERR_TOO_LARGE, "the name is too long to be stored");
        strbuf_add(&p->data, s->key);
        size_t value_at = p->data.n;

        if (op->next && !p->unchanged)
            cache_store_value(cache, cache_kind(cache, op->resource), s->key, op->next, &p->data);
        s->value.n = p->data.n - value_at;
    }
    for (size_t i = 0; i < w->op_count; i++) { /* the buffer has stopped moving */
        struct store_op *s = &p->store_ops[i];

        s->key.p = p->data.data + at;
        s->value.p = s->key.p + s->key.n;
        at += s->key.n + s->value.n;
        for (size_t k = 0; k < i; k++)
            if (str_eq(p->store_ops[k].key, s->key))
                p->result =
                    error_set(&p->err, ERR_INTERNAL, "one write names %.*s twice", STR_FMT(s->key));
    }
    return p;
}

static void finish(struct pending *p)
{
    struct write *w = p->write;

    w->result = p->result;
    w->err = p->err;
    strbuf_done(&p->data);
    free(p);
    w->done(w);
}

/* --- slots; all with cache->lock held --- */

static struct slot *find_slot(struct cache *cache, struct str key)
{
    struct slot *s = NULL;

    if (cache->slots)
        HASH_FIND(hh, cache->slots, key.p, key.n, s);
    return s;
}

static struct slot *make_slot(struct cache *cache, struct str key)
{
    struct slot *s = find_slot(cache, key);

    if (s)
        return s;
    s = (struct slot *)xmalloc(sizeof(*s) + key.n);
    *s = (struct slot){.key_bytes = key.n};
    memcpy(s->key, key.p, key.n);
    HASH_ADD(hh, cache->slots, key, s->key_bytes, s);
    return s;
}

static void free_slot(struct cache *cache, struct slot *s)
{
    HASH_DEL(cache->slots, s);
    free(s);
}

static struct object *next_of(const struct pending_op *op)
{
    const struct write_op *w = &op->owner->write->ops[op - op->owner->ops];

    return op->owner->unchanged ? w->base : w->next;
}

struct object *pending_newest(
    struct cache *cache, struct kind *k, struct str namespace_, struct str name, bool *ret_pending)
{
    char buf[CACHE_KEY_BYTES];
    struct slot *s = cache->slots ? find_slot(cache, cache_key(k, namespace_, name, buf)) : NULL;

    *ret_pending = s != NULL;
    return s ? object_ref(next_of(s->tail)) : NULL;
}

static bool same_version(const struct object *a, const struct object *b)
{
    if (a == b)
        return true;
    return a && b && object_revision(a) && object_revision(a) == object_revision(b);
}

static bool bases_hold(struct cache *cache, const struct pending *p)
{
    for (size_t i = 0; i < p->write->op_count; i++) {
        const struct write_op *op = &p->write->ops[i];
        struct slot *s = find_slot(cache, p->store_ops[i].key);
        const struct object *newest =
            s ? next_of(s->tail)
              : root_find(
                    tree_current(cache_kind(cache, op->resource)->tree), op->namespace_, op->name);

        if (!same_version(newest, op->base))
            return false;
    }
    return true;
}

static void enqueue(struct cache *cache, struct pending *p)
{
    for (size_t i = 0; i < p->write->op_count; i++) {
        struct pending_op *op = &p->ops[i];

        op->slot = make_slot(cache, p->store_ops[i].key);
        if (op->slot->tail) {
            op->slot->tail->behind = op;
            p->blocked++;
        } else {
            op->slot->head = op;
        }
        op->slot->tail = op;
    }
}

static void refuse(struct pending *p)
{
    p->result = -ERR_CONFLICT;
    error_set(&p->err, ERR_CONFLICT,
        "the object has been modified; please apply your changes to the latest version "
        "and try again");
}

/* The write is durable: its keys' next writers move up. */
static void pass_on(struct cache *cache, struct pending *p, struct outcome *out)
{
    for (size_t i = 0; i < p->group.op_count; i++) {
        struct slot *s = p->ops[i].slot;

        assert(s && s->head == &p->ops[i]);
        s->head = p->ops[i].behind;
        if (!s->head)
            free_slot(cache, s);
        else if (--s->head->owner->blocked == 0)
            add_ready(out, s->head->owner);
    }
}

/* Takes an operation and all behind it out of its slot; their writes go to *failed, once each. */
static void cut(struct cache *cache, struct pending_op *op, struct pending **failed)
{
    struct slot *s = op->slot;
    struct pending_op *before = NULL, *next;

    if (!s)
        return;
    for (struct pending_op *o = s->head; o != op; o = o->behind)
        before = o;
    for (struct pending_op *o = op; o; o = next) {
        next = o->behind;
        o->behind = NULL;
        o->slot = NULL;
        if (o != op && !o->owner->result) {
            refuse(o->owner);
            o->owner->next = *failed;
            *failed = o->owner;
        }
    }
    s->tail = before;
    if (before)
        before->behind = NULL;
    else
        free_slot(cache, s);
}

/* The write failed: so does, transitively, what was computed on it. */
static void fail_behind(struct cache *cache, struct pending *p, struct outcome *out)
{
    struct pending *failed = NULL;

    for (size_t i = 0; i < p->group.op_count; i++)
        cut(cache, &p->ops[i], &failed);
    while (failed) {
        struct pending *q = failed;

        failed = q->next;
        for (size_t i = 0; i < q->group.op_count; i++)
            cut(cache, &q->ops[i], &failed);
        add_done(out, q);
    }
}

/* --- outcomes, without the lock --- */

static void send_to_store(struct pending *p)
{
    for (size_t i = 0; i < p->group.op_count; i++) {
        const struct object *base = p->write->ops[i].base;

        p->store_ops[i].expected = base ? object_revision(base) : 0;
    }
    p->sent = true;
    p->cache->store->ops->commit(p->cache->store, &p->group);
}

/* Writes that change nothing are done as soon as their turn comes, which may bring others their
 * turn. Lock held. */
static void settle_unchanged(struct cache *cache, struct outcome *out)
{
    struct pending *ready = out->ready, *next;

    out->ready = NULL;
    out->ready_end = &out->ready;
    for (; ready; ready = next) {
        next = ready->next;
        if (!ready->unchanged) {
            add_ready(out, ready);
            continue;
        }
        struct outcome more;

        outcome_init(&more);
        ready->write->ops[0].result = object_ref(ready->write->ops[0].base);
        pass_on(cache, ready, &more);
        add_done(out, ready);
        if (more.ready) { /* look at it next */
            *more.ready_end = next;
            next = more.ready;
        }
    }
}

static void carry_out(struct outcome *out)
{
    struct pending *p, *next;

    for (p = out->ready; p; p = next) {
        next = p->next;
        send_to_store(p);
    }
    for (p = out->done; p; p = next) {
        next = p->next;
        finish(p);
    }
}

void cache_submit(struct cache *cache, struct write *write)
{
    struct pending *p = pending_new(cache, write);
    struct outcome out;

    outcome_init(&out);
    env_lock(cache->env, &cache->lock);
    if (cache->stopping) {
        p->result = error_set(&p->err, ERR_UNAVAILABLE, "the server is stopping");
        add_done(&out, p);
    } else if (p->result < 0) {
        add_done(&out, p);
    } else if (!bases_hold(cache, p)) {
        refuse(p);
        add_done(&out, p);
    } else {
        enqueue(cache, p);
        if (!p->blocked)
            add_ready(&out, p);
        settle_unchanged(cache, &out);
    }
    env_unlock(cache->env, &cache->lock);
    carry_out(&out);
}

/* --- an exclusive store: what it completes is published at once --- */

static int64_t apply_write(struct cache *cache, struct pending *p)
{
    int64_t version = 0;

    for (size_t i = 0; i < p->group.op_count; i++) {
        struct write_op *op = &p->write->ops[i];
        const struct object *shown =
            cache_apply(cache, cache_kind(cache, op->resource), op->namespace_, op->name,
                op->next ? object_ref(op->next) : NULL, p->store_ops[i].version);

        op->result = object_ref(shown);
        version = p->store_ops[i].version;
    }
    return version;
}

static void publish_completed(struct cache *cache)
{
    struct pending *list = cache->completed, *next;
    struct garbage garbage = {0};
    struct outcome out;
    int64_t version = 0;

    cache->completed = NULL;
    cache->completed_end = &cache->completed;
    outcome_init(&out);
    for (struct pending *p = list; p; p = p->next)
        if (p->result == 0)
            version = apply_write(cache, p);
    env_lock(cache->env, &cache->lock);
    if (version)
        cache_publish(cache, version, &garbage);
    for (struct pending *p = list; p; p = next) {
        next = p->next;
        if (p->result == 0)
            pass_on(cache, p, &out);
        else
            fail_behind(cache, p, &out);
        add_done(&out, p);
    }
    settle_unchanged(cache, &out);
    struct waiter *due = cache->waiters ? cache_take_waiters(cache, cache_version(cache)) : NULL;

    env_unlock(cache->env, &cache->lock);
    carry_out(&out);
    cache_call_waiters(due, NULL);
    garbage_free(&garbage);
}

/* --- a shared store: the watch publishes --- */

/* In the order in which they will be told. */
static void add_unseen(struct cache *cache, struct pending *p, int64_t version)
{
    p->wait_for = version;
    p->next = NULL;
    *cache->unseen_end = p;
    cache->unseen_end = &p->next;
}

/* The event was lost with the watch, so the results are made here. */
static void make_results(struct pending *p)
{
    for (size_t i = 0; i < p->group.op_count; i++) {
        struct write_op *op = &p->write->ops[i];

        if (op->result)
            continue;
        if (op->next && !object_revision(op->next))
            __atomic_store_n(&op->next->revision, p->store_ops[i].version, __ATOMIC_RELAXED);
        op->result =
            op->next ? object_ref(op->next) : object_at_revision(op->base, p->store_ops[i].version);
    }
}

static void complete_shared(struct cache *cache, struct pending *p)
{
    struct outcome out;

    outcome_init(&out);
    env_lock(cache->env, &cache->lock);
    int64_t version = p->store_ops[p->group.op_count - 1].version;

    if (p->result == 0 && version > cache_version(cache)) {
        p->committed = true;
        add_unseen(cache, p, version);
    } else if (p->result == 0) { /* a reload has shown it already */
        make_results(p);
        pass_on(cache, p, &out);
        add_done(&out, p);
        settle_unchanged(cache, &out);
    } else {
        fail_behind(cache, p, &out);
        if (p->group.seen > cache_version(cache))
            add_unseen(cache, p, p->group.seen);
        else
            add_done(&out, p);
        settle_unchanged(cache, &out);
    }
    env_unlock(cache->env, &cache->lock);
    carry_out(&out);
}

/* Our own write that made this change, while it waits to be seen. */
static struct pending_op *own_change(struct cache *cache, const struct store_event *event)
{
    struct slot *s = find_slot(cache, event->key);

    if (!s || !s->head->owner->committed)
        return NULL;
    struct pending *p = s->head->owner;

    return p->store_ops[s->head - p->ops].version == event->version ? s->head : NULL;
}

static void apply_event(struct cache *cache, const struct store_event *event)
{
    struct str namespace_, name;
    struct kind *k = cache_kind_of_key(cache, event->key, &namespace_, &name);
    struct object *next = NULL;
    struct error err;

    if (!k)
        return;
    env_lock(cache->env, &cache->lock);
    struct pending_op *own = own_change(cache, event);

    if (own && !event->removed)
        next = object_ref(next_of(own));
    env_unlock(cache->env, &cache->lock);
    if (!event->removed && !next && event->own)
        error_set(&err, ERR_INTERNAL, "%.*s: nobody has the value", STR_FMT(event->key));
    if (!event->removed && !next &&
        (event->own || cache_read_value(
                           cache, k, event->key, event->value, event->version, &next, &err) < 0)) {
        log_error("a change in the store cannot be read, the server is not ready", "err", "%s",
            err.text, NULL);
        env_lock(cache->env, &cache->lock);
        cache->lost = true;
        cache->health = err;
        env_unlock(cache->env, &cache->lock);
        return;
    }
    const struct object *shown = cache_apply(cache, k, namespace_, name, next, event->version);

    if (own)
        own->owner->write->ops[own - own->owner->ops].result = object_ref(shown);
}

/* Lock held. */
static void take_seen(struct cache *cache, int64_t up_to, struct outcome *out)
{
    struct pending **at = &cache->unseen;

    while (*at) {
        struct pending *p = *at;

        if (p->wait_for > up_to) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        if (p->committed) {
            make_results(p);
            pass_on(cache, p, out);
        }
        add_done(out, p);
    }
    cache->unseen_end = at;
}

static void show(struct cache *cache, int64_t up_to, bool publish)
{
    struct garbage garbage = {0};
    struct outcome out;

    outcome_init(&out);
    env_lock(cache->env, &cache->lock);
    if (publish)
        cache_publish(cache, up_to, &garbage);
    take_seen(cache, up_to, &out);
    settle_unchanged(cache, &out);
    struct waiter *due = cache->waiters ? cache_take_waiters(cache, cache_version(cache)) : NULL;

    env_unlock(cache->env, &cache->lock);
    carry_out(&out);
    cache_call_waiters(due, NULL);
    garbage_free(&garbage);
}

void cache_complete_unseen(struct cache *cache, int64_t up_to)
{
    show(cache, up_to, false);
}

void cache_on_events(void *arg, const struct store_event *events, size_t count, int64_t up_to)
{
    struct cache *cache = (struct cache *)arg;

    for (size_t i = 0; i < count; i++)
        apply_event(cache, &events[i]);
    show(cache, up_to, true);
}

void cache_on_done(struct store_group *group, int result, const struct error *err)
{
    struct pending *p = container_of(group, struct pending, group);
    struct cache *cache = p->cache;
    bool more = group->more;

    p->result = result;
    if (result == -ERR_CONFLICT)
        refuse(p);
    else if (result < 0)
        p->err = *err;
    if (!cache->store->exclusive) {
        complete_shared(cache, p);
        return;
    }
    p->next = NULL;
    *cache->completed_end = p;
    cache->completed_end = &p->next;
    if (!more)
        publish_completed(cache);
}
