/*
 * Cluster: applies changes of pods and nodes. See cluster.h.
 *
 * Which waiting pods an event wakes is decided exactly where that is possible: the pod is tried on
 * the one row that changed. Plugins that look around (see plugin.h) are woken without that test.
 */
#include "scheduler/cluster.h"

#include <assert.h>

struct cluster *cluster_new(struct env *env)
{
    struct cluster *c = xcalloc(1, sizeof(*c));

    c->nodes = node_table_new();
    c->queue = queue_new();
    c->decider = decider_new(env);
    c->storage = storage_new();
    c->gangs = gangs_new();
    decider_set_storage(c->decider, c->storage);
    return c;
}

void cluster_free(struct cluster *c)
{
    struct pod_info *pod, *next;

    if (!c)
        return;
    queue_free(c->queue);
    HASH_ITER(hh, c->pods, pod, next)
    {
        HASH_DEL(c->pods, pod);
        gangs_remove(c->gangs, pod);
        node_table_denominate(c->nodes, pod);
        node_table_remove_pod(c->nodes, pod);
        pod_info_free(c->nodes->pods, pod);
    }
    node_table_free(c->nodes);
    decider_free(c->decider);
    storage_free(c->storage);
    gangs_free(c->gangs);
    free(c);
}

struct pod_info *cluster_find(const struct cluster *c, const char *uid)
{
    struct pod_info *pod;

    HASH_FIND_STR(c->pods, uid, pod);
    return pod;
}

struct wake_on {
    struct cluster *cluster;
    uint32_t row;                   /* ROW_NONE: no row in particular */
    const struct pod_info *changed; /* the pod that came or went, if that is what happened */
};

static bool may_help(
    void *arg, const struct pod_info *pod, uint64_t interested, uint64_t *ret_refused_by)
{
    struct wake_on *on = arg;

    for (size_t i = 0; i < plugin_count; i++) {
        const struct plugin *p = plugins[i];
        if ((interested >> i & 1) && p->looks_around &&
            (!p->concerns || !on->changed || p->concerns(pod, on->changed)))
            return true;
    }
    if (on->row == ROW_NONE)
        return false;
    return decider_fits_row(on->cluster->decider, on->cluster->nodes, pod, on->row, ret_refused_by);
}

static void wake(struct cluster *c, unsigned events, uint32_t row, const struct pod_info *changed,
    int64_t now_ns)
{
    struct wake_on on = {c, row, changed};

    if (events && queue_count(c->queue, QUEUE_UNSCHEDULABLE))
        queue_wake(c->queue, events, may_help, &on, now_ns);
}

static bool is_assigned(const struct pod_info *pod)
{
    return pod->object->node_name[0];
}

static bool is_homeless(const struct pod_info *pod)
{
    return is_assigned(pod) && pod->row == ROW_NONE;
}

static void settle(struct cluster *c, struct pod_info *pod)
{
    const struct node_row *row = node_table_find(c->nodes, pod->object->node_name);

    if (row)
        node_table_add_pod(c->nodes, pod, row->row);
    else
        c->homeless++;
}

static void unsettle(struct cluster *c, struct pod_info *pod)
{
    if (is_homeless(pod))
        c->homeless--;
    node_table_remove_pod(c->nodes, pod);
}

void cluster_drop(struct cluster *c, const char *uid, int64_t now_ns)
{
    struct pod_info *pod = cluster_find(c, uid);

    if (!pod)
        return;
    uint32_t row = pod->row;
    queue_remove(c->queue, pod);
    unsettle(c, pod);
    cluster_denominate(c, pod, now_ns);
    HASH_DEL(c->pods, pod);
    gangs_remove(c->gangs, pod);
    if (row != ROW_NONE)
        wake(c, EVENT_POD_REMOVED, row, pod, now_ns);
    pod_info_free(c->nodes->pods, pod);
}

static void insert(struct cluster *c, struct pod_info *pod)
{
    HASH_ADD_KEYPTR(hh, c->pods, pod->object->meta.uid, strlen(pod->object->meta.uid), pod);
    gangs_add(c->gangs, pod);
}

/* A pod came to a gang: the others may have waited for it. */
static void wake_gang(struct cluster *c, const struct pod_info *pod, int64_t now_ns)
{
    struct gang_view gang = gangs_view(c->gangs, pod);

    for (size_t i = 0; i < gang.count; i++)
        if (gang.members[i]->queued)
            queue_wake_one(c->queue, gang.members[i], now_ns);
}

static bool same_labels(const struct string_map *a, const struct string_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!c_eq(a->pairs[i].key, b->pairs[i].key) || !c_eq(a->pairs[i].value, b->pairs[i].value))
            return false;
    return true;
}

/* Did anything change that a plugin may look at? Status updates, our own condition above all, did
 * not. */
static bool spec_changed(const struct pod_info *old, const struct pod_info *pod)
{
    const struct pod *a = old->object, *b = pod->object;

    return a->meta.generation != b->meta.generation ||
           !same_labels(&a->meta.labels, &b->meta.labels) || a->gates.count != b->gates.count ||
           a->tolerations.count != b->tolerations.count ||
           memcmp(old->request, pod->request, sizeof(old->request)) != 0;
}

static bool needs_less(const struct pod_info *old, const struct pod_info *pod)
{
    for (size_t i = 0; i < RESOURCE_REQUESTABLE; i++)
        if (pod->request[i] < old->request[i])
            return true;
    return pod->extended_count < old->extended_count;
}

/* Puts pod in the place of old: same uid, newer object. */
static void replace(struct cluster *c, struct pod_info *old, struct pod_info *pod, int64_t now_ns)
{
    uint32_t row = old->row, nominated = old->nominated_row;
    bool wakes = needs_less(old, pod);

    HASH_DEL(c->pods, old);
    gangs_remove(c->gangs, old);
    insert(c, pod);
    if (is_assigned(pod)) {
        queue_remove(c->queue, old);
        node_table_denominate(c->nodes, old);
        unsettle(c, old);
        settle(c, pod);
        wakes = wakes || pod->row != row || pod->class_ != old->class_;
        if (nominated != ROW_NONE)
            wake(c, EVENT_POD_REMOVED, nominated, old, now_ns);
    } else if (old->assumed) {
        wakes = wakes || pod->class_ != old->class_;
        unsettle(c, old);
        pod->assumed = true;
        if (row != ROW_NONE)
            node_table_add_pod(c->nodes, pod, row);
    } else if (old->queued) {
        node_table_denominate(c->nodes, old);
        if (nominated != ROW_NONE)
            node_table_nominate(c->nodes, pod, nominated);
        queue_replace(c->queue, old, pod, spec_changed(old, pod), now_ns);
        if (nominated != ROW_NONE && (wakes || pod->class_ != old->class_))
            wake(c, EVENT_POD_REMOVED, nominated, old, now_ns);
    }
    if (wakes && row != ROW_NONE)
        wake(c, EVENT_POD_REMOVED, row, old, now_ns);
    pod_info_free(c->nodes->pods, old);
}

static bool is_over(const struct pod *pod)
{
    return c_eq(pod->phase, "Succeeded") || c_eq(pod->phase, "Failed");
}

static bool is_ours_to_place(const struct cluster *c, const struct pod *pod)
{
    return !pod->node_name[0] && !pod->meta.deletion_ns &&
           decider_serves(c->decider, pod->scheduler_name);
}

/* After a restart a pod may be nominated already. */
static void add_waiting(struct cluster *c, struct pod_info *pod, int64_t now_ns)
{
    const struct node_row *row = node_table_find(c->nodes, pod->object->nominated_node);

    queue_add(c->queue, pod, now_ns);
    if (row && pod->object->nominated_node[0])
        node_table_nominate(c->nodes, pod, row->row);
}

void cluster_pod_changed(
    struct cluster *c, const struct pod *old, const struct pod *pod, int64_t now_ns)
{
    if (old && (!pod || !c_eq(old->meta.uid, pod->meta.uid)))
        cluster_drop(c, old->meta.uid, now_ns);
    if (!pod)
        return;
    if (is_over(pod) || (!pod->node_name[0] && !is_ours_to_place(c, pod))) {
        cluster_drop(c, pod->meta.uid, now_ns);
        return;
    }
    struct pod_info *known = cluster_find(c, pod->meta.uid);
    if (known && is_assigned(known) && !pod->node_name[0])
        return; /* an older version, seen late: a pod never loses its node */
    struct pod_info *info = pod_info_new(&c->nodes->names, c->nodes->pods, pod);
    bool was_there = known && known->row != ROW_NONE && known->class_ == info->class_;
    if (known) {
        replace(c, known, info, now_ns);
    } else {
        insert(c, info);
        if (is_assigned(info))
            settle(c, info);
        else
            add_waiting(c, info, now_ns);
        if (pod_has_gang(pod))
            wake_gang(c, info, now_ns);
    }
    if (info->row != ROW_NONE && !was_there)
        wake(c, EVENT_POD_ADDED, info->row, info, now_ns);
}

static void house_the_homeless(struct cluster *c)
{
    struct pod_info *pod, *next;

    if (!c->homeless)
        return;
    HASH_ITER(hh, c->pods, pod, next)
    {
        if (!is_homeless(pod))
            continue;
        c->homeless--;
        settle(c, pod);
    }
}

static void remove_node(struct cluster *c, const char *name)
{
    const struct node_row *row = node_table_find(c->nodes, name);

    for (struct pod_info *p = row ? row->pods : NULL; p; p = p->next)
        c->homeless += is_assigned(p);
    node_table_remove(c->nodes, name);
}

void cluster_node_changed(
    struct cluster *c, const struct node *old, const struct node *node, int64_t now_ns)
{
    uint32_t row;

    if (!node) {
        remove_node(c, old->meta.name);
        wake(c, EVENT_NODE_REMOVED, ROW_NONE, NULL, now_ns);
        return;
    }
    unsigned changed = node_table_set(c->nodes, node, &row);
    if (changed & EVENT_NODE_ADDED)
        house_the_homeless(c);
    wake(c, changed, row, NULL, now_ns);
}

void cluster_namespace_changed(
    struct cluster *c, const char *name, const struct string_map *labels, int64_t now_ns)
{
    if (pod_index_set_namespace(c->nodes->pods, name, labels))
        wake(c, EVENT_NAMESPACE, ROW_NONE, NULL, now_ns);
}

void cluster_nominate(struct cluster *c, struct pod_info *pod, uint32_t row, int64_t now_ns)
{
    if (pod->nominated_row != row)
        cluster_denominate(c, pod, now_ns);
    node_table_nominate(c->nodes, pod, row);
}

void cluster_denominate(struct cluster *c, struct pod_info *pod, int64_t now_ns)
{
    uint32_t row = pod->nominated_row;

    if (row == ROW_NONE)
        return;
    node_table_denominate(c->nodes, pod);
    wake(c, EVENT_POD_REMOVED, row, pod, now_ns);
}

void cluster_retry(struct cluster *c, const char *uid, int64_t now_ns)
{
    struct pod_info *pod = cluster_find(c, uid);

    if (!pod || !pod->queued)
        return;
    cluster_denominate(c, pod, now_ns);
    queue_retry(c->queue, pod, now_ns);
}

void cluster_budget_changed(
    struct cluster *c, const struct disruption_budget *old, const struct disruption_budget *now)
{
    budgets_set(c->nodes->budgets, c->nodes->pods, old, now);
}

/* All waiting pods of the gang, out of the queue's places; the popped one is so already. */
static size_t take_waiting(
    struct cluster *c, const struct gang_view *gang, struct pod_info *pod, struct gang_place *list)
{
    size_t n = 0;

    list[n++].pod = pod;
    for (size_t i = 0; i < gang->count; i++) {
        struct pod_info *p = gang->members[i];
        if (p == pod || !p->queued || p->queued->place == QUEUE_GATED)
            continue;
        queue_take(c->queue, p);
        list[n++].pod = p;
    }
    return n;
}

/* Rows for all of them, each counted on its row for those behind it; false: `*ret` says why not. */
static bool find_rows(
    struct cluster *c, struct gang_place *list, size_t n, struct decision *ret, size_t *ret_failed)
{
    size_t placed = 0;

    for (; placed < n; placed++) {
        scheduler_decide(c->decider, c->nodes, list[placed].pod, ret);
        /* what is bound with a pod would have to be given back with it */
        if (ret->row == ROW_NONE || ret->volume_count)
            break;
        list[placed].row = ret->row;
        node_table_add_pod(c->nodes, list[placed].pod, ret->row);
    }
    for (size_t i = 0; i < placed; i++)
        node_table_remove_pod(c->nodes, list[i].pod);
    *ret_failed = placed;
    return placed == n;
}

size_t cluster_place_gang(struct cluster *c, struct pod_info *pod, int64_t now_ns,
    struct gang_place **ret, struct strbuf *message)
{
    struct gang_view gang = gangs_view(c->gangs, pod);
    struct gang_place *list = xcalloc(gang.count + 1, sizeof(*list));
    struct decision why = {.row = ROW_NONE};
    uint64_t refused_by = REFUSED_BY_GANG;
    size_t n = 1, failed = 0;

    *ret = list;
    list[0].pod = pod;
    strbuf_clear(message);
    if (gang.count < gang.size) {
        strbuf_addf(
            message, "waiting for the gang: %zu of %zu pods are there", gang.count, gang.size);
    } else {
        n = take_waiting(c, &gang, pod, list);
        if (find_rows(c, list, n, &why, &failed)) {
            for (size_t i = 0; i < n; i++)
                list[i].attempts =
                    cluster_assume(c, list[i].pod, list[i].row, now_ns, &list[i].arrived_ns);
            return n;
        }
        strbuf_addf(message, "the gang does not fit, pod %s: %s",
            list[failed].pod->object->meta.name,
            why.message ? why.message : "gangs can't wait for volumes to be bound");
        refused_by = why.refused_by | REFUSED_BY_GANG;
    }
    for (size_t i = 0; i < n; i++)
        queue_put_unschedulable(c->queue, list[i].pod, refused_by, now_ns);
    return 0;
}

void cluster_storage_changed(struct cluster *c, int64_t now_ns)
{
    wake(c, EVENT_STORAGE, ROW_NONE, NULL, now_ns);
}

uint32_t cluster_assume(
    struct cluster *c, struct pod_info *pod, uint32_t row, int64_t now_ns, int64_t *ret_arrived_ns)
{
    uint32_t attempts = queue_taken(c->queue, pod, ret_arrived_ns);

    pod->assumed = true;
    cluster_denominate(c, pod, now_ns);
    node_table_add_pod(c->nodes, pod, row);
    wake(c, EVENT_POD_ADDED, row, pod, now_ns);
    return attempts;
}

void cluster_forget(struct cluster *c, const char *uid, uint32_t attempts, int64_t now_ns)
{
    struct pod_info *pod = cluster_find(c, uid);

    if (!pod || !pod->assumed)
        return;
    uint32_t row = pod->row;
    pod->assumed = false;
    unsettle(c, pod);
    queue_put_failed(c->queue, pod, attempts, now_ns);
    if (row != ROW_NONE)
        wake(c, EVENT_POD_REMOVED, row, pod, now_ns);
}
