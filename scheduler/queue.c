/*
 * Queue of pods that wait. See queue.h.
 *
 * Active and backing-off pods are binary heaps whose items know their index; the others are arrays
 * that close gaps with their last item.
 */
#include "scheduler/queue.h"

#include <assert.h>

#include "common/env.h"
#include "common/time.h"
#include "scheduler/plugin.h"

#define BACKOFF_FIRST_NS (1 * NS_PER_S)
#define BACKOFF_MAX_NS (10 * NS_PER_S)
#define UNSCHEDULABLE_MAX_NS (300 * NS_PER_S)
#define FLUSH_EVERY_NS (30 * NS_PER_S)

struct place {
    struct queue_item **items;
    size_t count, capacity;
};

struct queue {
    struct place places[QUEUE_PLACES];
    uint64_t sequence;
    int64_t backoff_first_ns, backoff_max_ns;
    int64_t flush_ns; /* when unschedulable pods are looked through next */
};

struct queue *queue_new(void)
{
    struct queue *q = xcalloc(1, sizeof(*q));

    queue_set_backoff(q, BACKOFF_FIRST_NS, BACKOFF_MAX_NS);
    return q;
}

void queue_set_backoff(struct queue *q, int64_t first_ns, int64_t max_ns)
{
    q->backoff_first_ns = first_ns;
    q->backoff_max_ns = max_ns;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    for (size_t p = 0; p < QUEUE_PLACES; p++) {
        for (size_t i = 0; i < q->places[p].count; i++) {
            q->places[p].items[i]->pod->queued = NULL;
            free(q->places[p].items[i]);
        }
        free(q->places[p].items);
    }
    free(q);
}

static bool is_heap(enum queue_place place)
{
    return place == QUEUE_ACTIVE || place == QUEUE_BACKING_OFF;
}

static bool goes_first(
    enum queue_place place, const struct queue_item *a, const struct queue_item *b)
{
    if (place == QUEUE_BACKING_OFF)
        return a->ready_ns < b->ready_ns;
    if (a->pod->priority != b->pod->priority)
        return a->pod->priority > b->pod->priority;
    if (a->arrived_ns != b->arrived_ns)
        return a->arrived_ns < b->arrived_ns;
    return a->sequence < b->sequence;
}

static void put_at(struct place *p, size_t index, struct queue_item *item)
{
    p->items[index] = item;
    item->index = index;
}

static void sift(struct place *p, enum queue_place place, size_t index)
{
    struct queue_item *item = p->items[index];

    while (index && goes_first(place, item, p->items[(index - 1) / 2])) {
        put_at(p, index, p->items[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    for (;;) {
        size_t child = index * 2 + 1;
        if (child + 1 < p->count && goes_first(place, p->items[child + 1], p->items[child]))
            child++;
        if (child >= p->count || !goes_first(place, p->items[child], item))
            break;
        put_at(p, index, p->items[child]);
        index = child;
    }
    put_at(p, index, item);
}

static void enter(struct queue *q, struct queue_item *item, enum queue_place place)
{
    struct place *p = &q->places[place];

    if (p->count == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 16;
        p->items = xrealloc(p->items, p->capacity * sizeof(*p->items));
    }
    item->place = place;
    put_at(p, p->count++, item);
    if (is_heap(place))
        sift(p, place, item->index);
}

static void leave(struct queue *q, struct queue_item *item)
{
    struct place *p = &q->places[item->place];
    struct queue_item *last = p->items[--p->count];

    if (item == last)
        return;
    put_at(p, item->index, last);
    if (is_heap(item->place))
        sift(p, item->place, last->index);
}

static void enter_ready(struct queue *q, struct queue_item *item, int64_t now_ns)
{
    enter(q, item, item->ready_ns > now_ns ? QUEUE_BACKING_OFF : QUEUE_ACTIVE);
}

void queue_add(struct queue *q, struct pod_info *pod, int64_t now_ns)
{
    struct queue_item *item = xcalloc(1, sizeof(*item));

    assert(!pod->queued);
    item->pod = pod;
    item->sequence = q->sequence++;
    item->arrived_ns = now_ns;
    pod->queued = item;
    enter(q, item, pod->object->gates.count ? QUEUE_GATED : QUEUE_ACTIVE);
}

void queue_remove(struct queue *q, struct pod_info *pod)
{
    if (!pod->queued)
        return;
    leave(q, pod->queued);
    free(steal(&pod->queued));
}

void queue_replace(
    struct queue *q, struct pod_info *old, struct pod_info *pod, bool spec_changed, int64_t now_ns)
{
    struct queue_item *item = steal(&old->queued);

    leave(q, item);
    item->pod = pod;
    pod->queued = item;
    if (pod->object->gates.count)
        enter(q, item, QUEUE_GATED);
    else if (item->place == QUEUE_GATED || spec_changed)
        enter_ready(q, item, now_ns);
    else
        enter(q, item, item->place);
}

struct pod_info *queue_pop(struct queue *q, int64_t now_ns)
{
    struct place *active = &q->places[QUEUE_ACTIVE], *waiting = &q->places[QUEUE_BACKING_OFF];
    struct queue_item *item = NULL;

    if (active->count)
        item = active->items[0];
    else if (waiting->count &&
             (waiting->items[0]->ready_ns <= now_ns || !waiting->items[0]->failed))
        item = waiting->items[0];
    if (!item)
        return NULL;
    leave(q, item);
    item->attempts++;
    item->tried_ns = now_ns;
    return item->pod;
}

static int64_t backoff_ns(const struct queue *q, uint32_t attempts)
{
    int64_t ns = q->backoff_first_ns;

    for (uint32_t i = 1; i < attempts && ns < q->backoff_max_ns; i++)
        ns *= 2;
    return ns < q->backoff_max_ns ? ns : q->backoff_max_ns;
}

void queue_put_unschedulable(
    struct queue *q, struct pod_info *pod, uint64_t refused_by, int64_t now_ns)
{
    struct queue_item *item = pod->queued;

    item->refused_by = refused_by;
    item->failed = false;
    item->ready_ns = now_ns + backoff_ns(q, item->attempts);
    enter(q, item, QUEUE_UNSCHEDULABLE);
    if (!q->flush_ns)
        q->flush_ns = now_ns + FLUSH_EVERY_NS;
}

void queue_put_failed(struct queue *q, struct pod_info *pod, uint32_t attempts, int64_t now_ns)
{
    struct queue_item *item = pod->queued;

    if (!item) {
        item = pod->queued = xcalloc(1, sizeof(*item));
        item->pod = pod;
        item->sequence = q->sequence++;
        item->arrived_ns = now_ns;
        item->attempts = attempts;
    }
    item->failed = true;
    item->ready_ns = now_ns + backoff_ns(q, item->attempts);
    enter(q, item, QUEUE_BACKING_OFF);
}

void queue_retry(struct queue *q, struct pod_info *pod, int64_t now_ns)
{
    struct queue_item *item = pod->queued;

    if (item->place != QUEUE_UNSCHEDULABLE)
        return;
    leave(q, item);
    item->ready_ns = now_ns + backoff_ns(q, item->attempts);
    enter(q, item, QUEUE_BACKING_OFF);
}

void queue_take(struct queue *q, struct pod_info *pod)
{
    leave(q, pod->queued);
    pod->queued->attempts++;
}

void queue_wake_one(struct queue *q, struct pod_info *pod, int64_t now_ns)
{
    struct queue_item *item = pod->queued;

    if (item->place != QUEUE_UNSCHEDULABLE)
        return;
    leave(q, item);
    enter_ready(q, item, now_ns);
}

uint32_t queue_taken(struct queue *q, struct pod_info *pod, int64_t *ret_arrived_ns)
{
    struct queue_item *item = steal(&pod->queued);
    uint32_t attempts = item->attempts;

    (void)q;
    *ret_arrived_ns = item->arrived_ns;
    free(item);
    return attempts;
}

/* The plugins among those that refused the pod which one of the events may satisfy. */
static uint64_t interested(uint64_t refused_by, unsigned events)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < plugin_count; i++)
        if ((refused_by >> i & 1) && (plugins[i]->retry_on & events))
            mask |= 1ull << i;
    return mask;
}

void queue_wake(
    struct queue *q, unsigned events, queue_may_help_fn *may_help, void *arg, int64_t now_ns)
{
    struct place *p = &q->places[QUEUE_UNSCHEDULABLE];

    for (size_t i = p->count; i-- > 0;) {
        struct queue_item *item = p->items[i];
        uint64_t who = interested(item->refused_by, events), refused_by = 0;
        /* No plugin on record: there was no node at all, so whatever happens to one may help. */
        if (!who && item->refused_by)
            continue;
        if (!may_help(arg, item->pod, who, &refused_by)) {
            item->refused_by |= refused_by;
            continue;
        }
        leave(q, item);
        enter_ready(q, item, now_ns);
    }
}

static void flush_unschedulable(struct queue *q, int64_t now_ns)
{
    struct place *p = &q->places[QUEUE_UNSCHEDULABLE];

    for (size_t i = p->count; i-- > 0;) {
        struct queue_item *item = p->items[i];
        if (now_ns - item->tried_ns < UNSCHEDULABLE_MAX_NS)
            continue;
        leave(q, item);
        enter_ready(q, item, now_ns);
    }
    q->flush_ns = p->count ? now_ns + FLUSH_EVERY_NS : 0;
}

int64_t queue_tick(struct queue *q, int64_t now_ns)
{
    struct place *waiting = &q->places[QUEUE_BACKING_OFF];

    while (waiting->count && waiting->items[0]->ready_ns <= now_ns) {
        struct queue_item *item = waiting->items[0];
        leave(q, item);
        enter(q, item, QUEUE_ACTIVE);
    }
    if (q->flush_ns && q->flush_ns <= now_ns)
        flush_unschedulable(q, now_ns);
    int64_t next = q->flush_ns ? q->flush_ns : ENV_FOREVER;
    if (waiting->count && waiting->items[0]->ready_ns < next)
        next = waiting->items[0]->ready_ns;
    return next;
}

size_t queue_count(const struct queue *q, enum queue_place place)
{
    return q->places[place].count;
}
