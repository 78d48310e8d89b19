/*
 * History and watchers.
 *
 * A kind's newest changes stand in a ring, numbered without gaps and bounded by bytes. A watcher of
 * a whole kind is a position in it: it takes a few events at a time and tests them on its own task;
 * when its position has left the ring it has fallen behind and is told so. A watcher of one name,
 * one node's pods or one namespace stands in a table under that word instead and is handed
 * references to just the changes that touch it, so others' changes cost it nothing; its queue is
 * bounded too.
 *
 * `armed` says that the watcher was told "nothing now" and wants a wake; wake runs with the kind's
 * lock held, so that it can't come after watcher_free.
 *
 * Upstream: cacher's watchCacheInterval, cacheWatcher and dispatchEvent.
 */
#include "apiserver/cache/cache_internal.h"

#include <assert.h>
#include <inttypes.h>

#include "apiserver/schema/protobuf.h"
#include "common/limits.h"

#define TAKE 16            /* events taken from the ring at once */
#define QUEUE_EVENTS 10000 /* of a watcher with a queue of its own */
#define RING_FIRST 64
#define TABLE_FIRST 16

struct watcher {
    struct kind *kind;
    struct watch_filter filter;
    void (*wake)(void *arg);
    void *arg;
    int64_t start;   /* only later changes count */
    int64_t version; /* of the last change that was taken */
    bool armed, expired;

    struct watcher_table *table; /* NULL: position in the ring */
    struct str word;             /* in the table; into the filter */
    struct watcher *next, **link;

    struct event **queue; /* with a table: handed over and not taken, from `head` on */
    size_t head, count, capacity, queue_bytes;
    uint64_t position; /* without: of the next event in the ring */

    /* its task's alone */
    struct event *batch[TAKE];
    size_t batch_at, batch_count;
    struct event *current; /* what watcher_next returned last */
};

/* --- events --- */

struct event *event_ref(const struct event *event)
{
    struct event *e = (struct event *)event;

    __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

void event_unref(struct event *e)
{
    if (!e || __atomic_fetch_sub(&e->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    object_unref(e->object);
    object_unref(e->old_object);
    for (size_t i = 0; i < EVENT_ENCODINGS; i++)
        for (size_t k = 0; k < ARRAY_COUNT(e->encoded[i]); k++)
            free(e->encoded[i][k]);
    free(e);
}

static const char *const event_names[] = {
    [EVENT_ADDED] = "ADDED",
    [EVENT_MODIFIED] = "MODIFIED",
    [EVENT_DELETED] = "DELETED",
};

static void put_json_event(const struct object *o, enum event_type as, struct strbuf *out)
{
    strbuf_reserve(out, o->body.n + 128);
    strbuf_addf(out, "{\"type\":\"%s\",\"object\":", event_names[as]);
    object_encode(o, out);
    strbuf_add(out, STR("}\n"));
}

static void put_protobuf_event(const struct object *o, enum event_type as, struct strbuf *out)
{
    const struct resource *r = o->resource;
    autostrbuf struct strbuf json = STRBUF_EMPTY;
    struct protobuf p;

    object_encode_item(o, &json);
    protobuf_init(&p);
    protobuf_object(&p, r->group_version, r->kind, r->schema, strbuf_str(&json));
    protobuf_event(&p, event_names[as]);
    strbuf_add(out, protobuf_bytes(&p));
    protobuf_done(&p);
}

static struct str *encode(const struct event *e, enum event_type as, enum event_encoding encoding)
{
    /* leaving a selector: the last state that matched, at the version of the change */
    struct object *left = as == EVENT_DELETED && e->type != EVENT_DELETED
                              ? object_at_revision(e->old_object, e->version)
                              : NULL;
    struct strbuf text;

    strbuf_init(&text, 0);
    (encoding == EVENT_JSON ? put_json_event : put_protobuf_event)(
        left ? left : e->object, as, &text);
    struct str *block = (struct str *)xmalloc(sizeof(*block) + text.n);

    memcpy(block + 1, text.data, text.n);
    *block = str_range((const char *)(block + 1), text.n);
    strbuf_done(&text);
    object_unref(left);
    return block;
}

#define LEFT_HISTORY ((size_t)1 << (8 * sizeof(size_t) - 1))

/* A frame counts for the history until its event leaves. Watchers encode without the kind's lock,
 * so the count may be short by a frame, or below zero, for a moment. */
static void account_frame(struct event *e, size_t bytes)
{
    if (!(__atomic_fetch_add(&e->encoded_bytes, bytes, __ATOMIC_ACQ_REL) & LEFT_HISTORY) && e->kind)
        __atomic_fetch_add(&e->kind->frame_bytes, (int64_t)bytes, __ATOMIC_RELAXED);
}

static void release_frames(struct event *e)
{
    size_t bytes = __atomic_fetch_or(&e->encoded_bytes, LEFT_HISTORY, __ATOMIC_ACQ_REL);

    __atomic_fetch_sub(&e->kind->frame_bytes, (int64_t)bytes, __ATOMIC_RELAXED);
}

struct str event_encoded(
    const struct event *event, enum event_type as, enum event_encoding encoding)
{
    struct str **place = (struct str **)&event->encoded[encoding][as], *made, *there = NULL;

    assert(as <= EVENT_DELETED);
    made = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (made)
        return *made;
    made = encode(event, as, encoding);
    if (__atomic_compare_exchange_n(
            place, &there, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        account_frame((struct event *)event, sizeof(*made) + made->n);
        return *made;
    }
    free(made); /* another task was faster */
    return *there;
}

/* --- filters --- */

static bool term_matches(const struct requirement *term, const struct object *o)
{
    struct str value;
    bool in = false;

    if (!object_field_get(o, term->key, &value))
        return false;
    for (size_t i = 0; i < term->value_count; i++)
        in |= str_eqc(value, term->values[i]);
    return term->op == SEL_NOT_IN ? !in : in;
}

bool filter_matches(const struct watch_filter *f, const struct object *o)
{
    if (f->namespace_.n && !str_eq(f->namespace_, o->namespace_))
        return false;
    if (f->name.n && !str_eq(f->name, o->name))
        return false;
    for (size_t i = 0; f->fields && i < f->fields->term_count; i++)
        if (!term_matches(&f->fields->terms[i], o))
            return false;
    if (f->fields && f->fields->nothing)
        return false;
    return !f->labels || selector_matches(f->labels, object_label_get, o);
}

/* What the change is to somebody who sees the filter's objects only; -1: nothing. */
static int seen_as(const struct watch_filter *f, const struct event *e)
{
    bool before = e->old_object && filter_matches(f, e->old_object);

    if (e->type == EVENT_DELETED)
        return before ? EVENT_DELETED : -1;
    bool after = filter_matches(f, e->object);

    if (after)
        return before ? EVENT_MODIFIED : EVENT_ADDED;
    return before ? EVENT_DELETED : -1;
}

/* --- the tables of watchers --- */

static struct watcher_list *bucket(const struct watcher_table *t, struct str word)
{
    return &t->buckets[hash_bytes(word.p, word.n) & t->mask];
}

static void link_watcher(struct watcher **list, struct watcher *w)
{
    w->next = *list;
    w->link = list;
    if (w->next)
        w->next->link = &w->next;
    *list = w;
}

static void unlink_watcher(struct watcher *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
}

static void table_add(struct watcher_table *t, struct watcher *w)
{
    if (t->count >= t->mask) {
        struct watcher_table bigger = {
            .mask = t->mask ? 2 * t->mask + 1 : TABLE_FIRST - 1, .count = t->count};
        struct watcher *moved;

        bigger.buckets = (struct watcher_list *)xcalloc(bigger.mask + 1, sizeof(*bigger.buckets));
        for (size_t i = 0; t->buckets && i <= t->mask; i++)
            while ((moved = t->buckets[i].first)) {
                unlink_watcher(moved);
                link_watcher(&bucket(&bigger, moved->word)->first, moved);
            }
        free(t->buckets);
        *t = bigger;
    }
    link_watcher(&bucket(t, w->word)->first, w);
    t->count++;
}

/* The word that a field selector fixes, or an empty view. */
static struct str fixed_field(const struct watch_filter *f, const char *path)
{
    for (size_t i = 0; f->fields && i < f->fields->term_count; i++) {
        const struct requirement *term = &f->fields->terms[i];

        if (c_eq(term->key, path) && term->op == SEL_IN && term->value_count == 1)
            return str_of(term->values[0]);
    }
    return (struct str){0};
}

static void choose_table(struct watcher *w)
{
    struct kind *k = w->kind;

    w->word = w->filter.name.n ? w->filter.name : fixed_field(&w->filter, "metadata.name");
    w->table = &k->by_name;
    if (w->word.n)
        return;
    w->word = k->node_field >= 0 ? fixed_field(&w->filter, "spec.nodeName") : STR("");
    w->table = &k->by_node;
    if (w->word.n)
        return;
    w->word = w->filter.namespace_.n ? w->filter.namespace_
                                     : fixed_field(&w->filter, "metadata.namespace");
    w->table = &k->by_namespace;
    if (!w->word.n)
        w->table = NULL;
}

/* --- handing over --- */

static void wake(struct watcher *w)
{
    if (!w->armed)
        return;
    w->armed = false;
    w->wake(w->arg);
}

static void clear_queue(struct watcher *w)
{
    while (w->count) {
        event_unref(w->queue[w->head++]);
        w->count--;
    }
    w->head = 0;
    w->queue_bytes = 0;
}

static void expire(struct watcher *w)
{
    clear_queue(w);
    w->expired = true;
    wake(w);
}

static void enqueue(struct watcher *w, const struct event *e)
{
    if (w->head + w->count == w->capacity) {
        if (w->head > w->count) {
            memmove(w->queue, w->queue + w->head, w->count * sizeof(*w->queue));
            w->head = 0;
        } else {
            w->capacity = 2 * w->capacity + 4;
            w->queue = (struct event **)xrealloc(w->queue, w->capacity * sizeof(*w->queue));
        }
    }
    w->queue[w->head + w->count++] = event_ref(e);
    w->queue_bytes += object_bytes(e->object);
}

/* A change that may concern a watcher with a table: the parts of the filter that are cheap are
 * looked at here. */
static void hand_over(struct watcher *w, const struct event *e)
{
    const struct watch_filter *f = &w->filter;

    if (w->expired || e->version <= w->start ||
        (f->namespace_.n && !str_eq(f->namespace_, e->object->namespace_)))
        return;
    if (w->count >= QUEUE_EVENTS || w->queue_bytes > LIMIT_HISTORY_BYTES) {
        expire(w);
        return;
    }
    enqueue(w, e);
    wake(w);
}

static void hand_over_all(const struct watcher_table *t, struct str word, const struct event *e)
{
    if (!t->count)
        return;
    for (struct watcher *w = bucket(t, word)->first; w; w = w->next)
        if (str_eq(w->word, word))
            hand_over(w, e);
}

static void tell_watchers(struct kind *k, const struct event *e)
{
    const struct object *o = e->object, *old = e->old_object;

    hand_over_all(&k->by_name, o->name, e);
    hand_over_all(&k->by_namespace, o->namespace_, e);
    if (k->by_node.count && (size_t)k->node_field < o->field_count) {
        hand_over_all(&k->by_node, o->fields[k->node_field], e);
        if (old && !str_eq(old->fields[k->node_field], o->fields[k->node_field]))
            hand_over_all(&k->by_node, old->fields[k->node_field], e);
    }
    for (struct watcher *w = k->broad; w; w = w->next)
        wake(w);
}

/* --- the ring --- */

static struct event **ring_at(const struct kind *k, uint64_t number)
{
    return &k->ring[number & (k->capacity - 1)];
}

static size_t event_bytes(const struct event *e)
{
    return sizeof(*e) + object_bytes(e->object);
}

void history_drop_oldest(struct kind *k)
{
    struct event *e = *ring_at(k, k->first++);

    k->floor = e->version;
    k->history_bytes -= event_bytes(e);
    release_frames(e);
    event_unref(e);
}

static void ring_grow(struct kind *k)
{
    size_t capacity = k->capacity ? 2 * k->capacity : RING_FIRST;
    struct event **ring = (struct event **)xcalloc(capacity, sizeof(*ring));

    for (uint64_t i = k->first; i < k->next; i++)
        ring[i & (capacity - 1)] = *ring_at(k, i);
    free(k->ring);
    k->ring = ring;
    k->capacity = capacity;
}

static size_t history_bytes(const struct kind *k)
{
    int64_t frames = __atomic_load_n(&k->frame_bytes, __ATOMIC_RELAXED);

    return k->history_bytes + (frames > 0 ? (size_t)frames : 0);
}

void history_add(struct kind *k, struct event *e)
{
    if (k->next - k->first == k->capacity)
        ring_grow(k);
    *ring_at(k, k->next++) = e;
    e->kind = k;
    k->history_bytes += event_bytes(e);
    while (history_bytes(k) > LIMIT_HISTORY_BYTES && k->next - k->first > 1)
        history_drop_oldest(k);
    tell_watchers(k, e);
}

static void each_watcher(struct kind *k, void (*fn)(struct watcher *w))
{
    struct watcher_table *tables[] = {&k->by_name, &k->by_node, &k->by_namespace};

    for (struct watcher *w = k->broad; w; w = w->next)
        fn(w);
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++)
        for (size_t i = 0; tables[t]->buckets && i <= tables[t]->mask; i++)
            for (struct watcher *w = tables[t]->buckets[i].first; w; w = w->next)
                fn(w);
}

void history_reset(struct kind *k, int64_t floor)
{
    while (k->first < k->next)
        history_drop_oldest(k);
    k->floor = floor;
    each_watcher(k, expire);
}

void history_end(struct kind *k)
{
    if (!k->watcher_count) {
        while (k->first < k->next)
            history_drop_oldest(k);
        return;
    }
    each_watcher(k, wake);
}

void history_done(struct kind *k)
{
    assert(!k->watcher_count);
    while (k->first < k->next)
        history_drop_oldest(k);
    free(k->ring);
    free(k->by_name.buckets);
    free(k->by_node.buckets);
    free(k->by_namespace.buckets);
}

/* Number of the first event after `version`. */
static uint64_t ring_after(const struct kind *k, int64_t version)
{
    uint64_t low = k->first, high = k->next;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if ((*ring_at(k, middle))->version <= version)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- watchers --- */

static bool touches(const struct watcher *w, const struct event *e)
{
    const struct object *o = e->object, *old = e->old_object;
    int node = w->kind->node_field;

    if (w->table == &w->kind->by_name)
        return str_eq(w->word, o->name);
    if (w->table == &w->kind->by_namespace)
        return str_eq(w->word, o->namespace_);
    return str_eq(w->word, o->fields[node]) || (old && str_eq(w->word, old->fields[node]));
}

/* Lock held: joins the live changes, with what is later than `version` already at hand. */
static void join(struct watcher *w)
{
    struct kind *k = w->kind;

    w->position = ring_after(k, w->start);
    if (w->table) {
        for (uint64_t i = w->position; i < k->next; i++)
            if (touches(w, *ring_at(k, i)))
                hand_over(w, *ring_at(k, i));
        table_add(w->table, w);
    } else {
        link_watcher(&k->broad, w);
    }
    k->watcher_count++;
}

static bool in_gap(const struct cache *cache, int64_t version)
{
    return version > cache->store->gap_from && version < cache->store->gap_to;
}

int watcher_new(struct cache *cache, const struct resource *r, int64_t version,
    const struct watch_filter *filter, void (*wake_fn)(void *arg), void *arg, struct watcher **ret,
    struct error *err)
{
    struct kind *k = cache_kind(cache, r);
    struct watcher *w = (struct watcher *)xcalloc(1, sizeof(*w));

    w->kind = k;
    w->filter = *filter;
    w->wake = wake_fn;
    w->arg = arg;
    w->start = w->version = version;
    choose_table(w);
    env_lock(cache->env, &k->lock);
    int64_t floor = k->floor;
    bool late = version < floor || in_gap(cache, version);

    if (!late)
        join(w);
    env_unlock(cache->env, &k->lock);
    if (late) {
        free(w);
        return error_set(err, ERR_EXPIRED, "too old resource version: %" PRId64 " (%" PRId64 ")",
            version, floor);
    }
    *ret = w;
    return 0;
}

void watcher_free(struct watcher *w)
{
    if (!w)
        return;
    struct kind *k = w->kind;

    env_lock(k->cache->env, &k->lock);
    unlink_watcher(w);
    if (w->table)
        w->table->count--;
    k->watcher_count--;
    if (k->removed && !k->watcher_count)
        history_end(k);
    env_unlock(k->cache->env, &k->lock);
    clear_queue(w);
    while (w->batch_at < w->batch_count)
        event_unref(w->batch[w->batch_at++]);
    event_unref(w->current);
    free(w->queue);
    free(w);
}

/* Lock held: the next few events into the batch, which only the watcher's task touches. */
static void fill_batch(struct watcher *w)
{
    struct kind *k = w->kind;

    w->batch_at = w->batch_count = 0;
    if (!w->table && w->position < k->first)
        w->expired = true;
    if (w->expired)
        return;
    while (w->table && w->count && w->batch_count < TAKE) {
        struct event *e = w->queue[w->head++];

        w->count--;
        w->queue_bytes -= object_bytes(e->object);
        w->batch[w->batch_count++] = e;
    }
    if (!w->count)
        w->head = 0;
    while (!w->table && w->position < k->next && w->batch_count < TAKE)
        w->batch[w->batch_count++] = event_ref(*ring_at(k, w->position++));
    w->armed = !w->batch_count;
    w->expired |= w->armed && k->removed;
}

int watcher_next(
    struct watcher *w, const struct event **ret, enum event_type *ret_as, struct error *err)
{
    struct env *env = w->kind->cache->env;

    for (;;) {
        event_unref(w->current);
        w->current = NULL;
        if (w->batch_at == w->batch_count) {
            env_lock(env, &w->kind->lock);
            fill_batch(w);
            bool expired = w->expired;

            env_unlock(env, &w->kind->lock);
            if (expired)
                return error_set(
                    err, ERR_EXPIRED, "too old resource version: %" PRId64, w->version);
            if (!w->batch_count)
                return 0;
        }
        w->current = w->batch[w->batch_at++];
        if (w->current->version <= w->start)
            continue;
        w->version = w->current->version;
        int as = seen_as(&w->filter, w->current);

        if (as < 0)
            continue;
        *ret = w->current;
        *ret_as = (enum event_type)as;
        return 1;
    }
}

int64_t watcher_version(const struct watcher *w)
{
    struct kind *k = w->kind;
    int64_t version =
        cache_version(k->cache); /* all changes up to here are in the history already */

    if (w->batch_at < w->batch_count)
        return w->version;
    env_lock(k->cache->env, &k->lock);
    bool idle = !w->expired && (w->table ? !w->count : w->position == k->next);

    env_unlock(k->cache->env, &k->lock);
    return idle && version > w->version ? version : w->version;
}
