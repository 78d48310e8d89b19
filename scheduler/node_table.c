/*
 * Node table: rows, resource columns and host ports. See node_table.h; labels and taints are in
 * labels.c.
 *
 * Invariant: for every live row and resource id with a column, free[row] = allocatable[row] - sum
 * of the row's pods. A column made late (the first node that offers the resource) is recounted from
 * the pods.
 */
#include "scheduler/node_table.h"

#include <assert.h>

#include "scheduler/budgets.h"
#include "scheduler/workloads.h"

#define ROWS_MIN 64u

static void *grow_array(void *p, uint32_t old, uint32_t capacity, size_t size)
{
    p = xrealloc(p, capacity * size);
    memset((char *)p + old * size, 0, (capacity - old) * size);
    return p;
}

static void grow(struct node_table *t)
{
    uint32_t old = t->capacity, now = old ? old * 2 : ROWS_MIN;

    t->live.words = grow_array(t->live.words, old / 64, now / 64, sizeof(uint64_t));
    t->unschedulable.words =
        grow_array(t->unschedulable.words, old / 64, now / 64, sizeof(uint64_t));
    t->live.word_count = t->unschedulable.word_count = now / 64;
    t->rows = grow_array(t->rows, old, now, sizeof(*t->rows));
    for (size_t i = 0; i < 2; i++) {
        t->free_nonzero[i] = grow_array(t->free_nonzero[i], old, now, sizeof(int64_t));
        t->inverse[i] = grow_array(t->inverse[i], old, now, sizeof(double));
        t->largest_pod[i] = grow_array(t->largest_pod[i], old, now, sizeof(int64_t));
    }
    for (size_t i = 0; i < t->resource_count; i++) {
        struct resource_column *c = &t->resources[i];
        if (!c->free)
            continue;
        c->free = grow_array(c->free, old, now, sizeof(int64_t));
        c->allocatable = grow_array(c->allocatable, old, now, sizeof(int64_t));
    }
    t->lowest_priority = grow_array(t->lowest_priority, old, now, sizeof(int32_t));
    t->latest_start = grow_array(t->latest_start, old, now, sizeof(int64_t));
    for (uint32_t row = old; row < now; row++) {
        t->lowest_priority[row] = INT32_MAX;
        t->latest_start[row] = INT64_MIN;
    }
    t->capacity = now;
}

static void make_column(struct node_table *t, uint32_t id)
{
    if (id >= t->resource_count) {
        t->resources = xrealloc(t->resources, (id + 1) * sizeof(*t->resources));
        memset(t->resources + t->resource_count, 0,
            (id + 1 - t->resource_count) * sizeof(*t->resources));
        t->resource_count = id + 1;
    }
    t->resources[id].free = xcalloc(t->capacity, sizeof(int64_t));
    t->resources[id].allocatable = xcalloc(t->capacity, sizeof(int64_t));
}

static bool has_column(const struct node_table *t, uint32_t id)
{
    return id < t->resource_count && t->resources[id].free;
}

static int64_t requested(const struct pod_info *pod, uint32_t id)
{
    return id == RESOURCE_PODS ? 1 : pod_info_request(pod, id);
}

static void touch(struct node_table *t, uint32_t row)
{
    t->touched[t->version++ % NODE_TABLE_LOG] = row;
}

static void recount(struct node_table *t, uint32_t id)
{
    struct resource_column *c = &t->resources[id];

    NODE_SET_FOR_EACH(row, &t->live)
    {
        c->free[row] = c->allocatable[row];
        for (struct pod_info *p = t->rows[row]->pods; p; p = p->next)
            c->free[row] -= requested(p, id);
    }
}

struct node_table *node_table_new(void)
{
    struct node_table *t = xcalloc(1, sizeof(*t));

    resource_names_init(&t->names);
    t->pods = pod_index_new();
    t->workloads = workloads_new();
    t->budgets = budgets_new();
    t->touched = xcalloc(NODE_TABLE_LOG, sizeof(*t->touched));
    grow(t);
    for (uint32_t id = 0; id < RESOURCE_FIXED; id++)
        make_column(t, id);
    return t;
}

static void port_entry_free(struct node_table *t, struct port_entry *e)
{
    HASH_DEL(t->ports, e);
    free(e->uses);
    free(e);
}

void node_table_free(struct node_table *t)
{
    struct node_row *row, *next_row;
    struct port_entry *port, *next_port;

    if (!t)
        return;
    HASH_ITER(hh, t->by_name, row, next_row)
    node_table_remove(t, row->name);
    HASH_ITER(hh, t->ports, port, next_port)
    port_entry_free(t, port);
    label_index_done(&t->labels);
    taints_done(&t->taints);
    for (size_t i = 0; i < t->resource_count; i++) {
        free(t->resources[i].free);
        free(t->resources[i].allocatable);
    }
    free(t->resources);
    budgets_free(t->budgets, t->pods);
    pod_index_free(t->pods);
    free(t->lowest_priority);
    free(t->latest_start);
    free(t->largest_pod[0]);
    free(t->largest_pod[1]);
    workloads_free(t->workloads);
    free(t->disk_pods);
    free(t->nominated);
    free(t->touched);
    resource_names_done(&t->names);
    free(t->free_nonzero[0]);
    free(t->free_nonzero[1]);
    free(t->inverse[0]);
    free(t->inverse[1]);
    free(t->live.words);
    free(t->unschedulable.words);
    free(t->rows);
    free(t);
}

struct node_row *node_table_find(const struct node_table *t, const char *name)
{
    struct node_row *row;

    HASH_FIND_STR(t->by_name, name, row);
    return row;
}

static struct node_row *new_row(struct node_table *t, const char *name)
{
    uint32_t at = 0;

    if (t->count == t->capacity)
        grow(t);
    while (t->live.words[at / 64] == UINT64_MAX)
        at += 64;
    at += (uint32_t)__builtin_ctzll(~t->live.words[at / 64]);
    struct node_row *row = xcalloc(1, sizeof(*row));
    row->row = at;
    row->name = xstrdup(name);
    t->rows[at] = row;
    node_set_add(&t->live, at);
    HASH_ADD_KEYPTR(hh, t->by_name, row->name, strlen(row->name), row);
    t->count++;
    for (size_t i = 0; i < t->resource_count; i++)
        if (t->resources[i].free)
            t->resources[i].free[at] = t->resources[i].allocatable[at] = 0;
    t->free_nonzero[0][at] = t->free_nonzero[1][at] = 0;
    t->inverse[0][at] = t->inverse[1][at] = 0;
    return row;
}

static bool same_labels(const struct node_row *row, const struct string_map *labels)
{
    if (row->label_count != labels->count)
        return false;
    for (size_t i = 0; i < labels->count; i++)
        if (!c_eq(row->labels[i]->key->name, labels->pairs[i].key) ||
            !c_eq(row->labels[i]->text, labels->pairs[i].value))
            return false;
    return true;
}

static void drop_labels(struct node_table *t, struct node_row *row)
{
    for (uint32_t i = 0; i < row->label_count; i++)
        label_index_remove(&t->labels, row->labels[i], row->row, t->capacity);
    free(steal(&row->labels));
    row->label_count = 0;
}

static unsigned set_labels(
    struct node_table *t, struct node_row *row, const struct string_map *labels)
{
    if (same_labels(row, labels))
        return 0;
    drop_labels(t, row);
    row->labels = xcalloc(labels->count ? labels->count : 1, sizeof(*row->labels));
    row->label_count = (uint32_t)labels->count;
    for (size_t i = 0; i < labels->count; i++)
        row->labels[i] = label_index_add(
            &t->labels, labels->pairs[i].key, labels->pairs[i].value, row->row, t->capacity);
    return EVENT_NODE_RELABELLED;
}

static bool same_taints(const struct node_row *row, const struct projected_list *taints)
{
    const struct node_taint *t = taints->items;

    if (row->taint_count != taints->count)
        return false;
    for (size_t i = 0; i < taints->count; i++)
        if (!c_eq(row->taints[i]->key, t[i].key) || !c_eq(row->taints[i]->value, t[i].value) ||
            !c_eq(taint_effect_name(row->taints[i]->effect), t[i].effect))
            return false;
    return true;
}

static void drop_taints(struct node_table *t, struct node_row *row)
{
    for (uint32_t i = 0; i < row->taint_count; i++)
        taints_remove(&t->taints, row->taints[i], row->row, t->capacity);
    free(steal(&row->taints));
    row->taint_count = 0;
}

static unsigned set_taints(struct node_table *t, struct node_row *row, const struct node *node)
{
    const struct node_taint *taints = node->taints.items;
    unsigned changed = 0;

    if (node_set_has(&t->unschedulable, row->row) != node->unschedulable) {
        changed = EVENT_NODE_TAINTED;
        if (node->unschedulable)
            node_set_add(&t->unschedulable, row->row);
        else
            node_set_remove(&t->unschedulable, row->row);
    }
    if (same_taints(row, &node->taints))
        return changed;
    drop_taints(t, row);
    row->taints = xcalloc(node->taints.count ? node->taints.count : 1, sizeof(*row->taints));
    for (size_t i = 0; i < node->taints.count; i++) {
        struct taint *one = taints_add(
            &t->taints, taints[i].key, taints[i].value, taints[i].effect, row->row, t->capacity);
        /* The same taint twice is one taint: its column holds the row once. */
        bool known = !one;
        for (uint32_t k = 0; k < row->taint_count && !known; k++)
            known = row->taints[k] == one;
        if (!known)
            row->taints[row->taint_count++] = one;
    }
    return EVENT_NODE_TAINTED;
}

static unsigned set_allocatable(
    struct node_table *t, struct node_row *row, const struct string_map *allocatable)
{
    unsigned changed = 0;

    for (size_t i = 0; i < allocatable->count; i++) {
        uint32_t id = resource_id(&t->names, allocatable->pairs[i].key);
        if (!has_column(t, id)) {
            make_column(t, id);
            recount(t, id);
        }
    }
    for (uint32_t id = 0; id < t->resource_count; id++) {
        struct resource_column *c = &t->resources[id];
        if (!c->free)
            continue;
        const char *text = string_map_get(allocatable, t->names.names[id]);
        int64_t amount = text ? resource_amount(id, text) : 0;
        int64_t by = amount - c->allocatable[row->row];
        if (!by)
            continue;
        changed = EVENT_NODE_ALLOCATABLE;
        c->allocatable[row->row] = amount;
        c->free[row->row] += by;
        if (id > RESOURCE_MEMORY)
            continue;
        t->free_nonzero[id][row->row] += by;
        t->inverse[id][row->row] = amount ? 1 / (double)amount : 0;
        t->largest = amount > t->largest ? amount : t->largest;
    }
    return changed;
}

static void drop_images(struct node_table *t, struct node_row *row)
{
    for (uint32_t i = 0; i < row->image_count; i++) {
        struct image *image = row->images[i];
        column_remove(&image->nodes, row->row, t->capacity);
        if (image->nodes.count)
            continue;
        HASH_DEL(t->images, image);
        column_done(&image->nodes);
        free(image->name);
        free(image);
    }
    free(steal(&row->images));
    row->image_count = 0;
}

static struct image *image_get(struct node_table *t, const char *name, int64_t bytes)
{
    struct image *image;

    HASH_FIND_STR(t->images, name, image);
    if (image)
        return image;
    image = xcalloc(1, sizeof(*image));
    image->name = xstrdup(name);
    image->bytes = bytes;
    HASH_ADD_KEYPTR(hh, t->images, image->name, strlen(image->name), image);
    return image;
}

static bool same_images(const struct node_row *row, const struct projected_list *images)
{
    const struct node_image *list = images->items;
    uint32_t n = 0;

    for (size_t i = 0; i < images->count; i++)
        for (size_t k = 0; k < list[i].names.count; k++, n++)
            if (n >= row->image_count || !c_eq(row->images[n]->name, list[i].names.strings[k]))
                return false;
    return n == row->image_count;
}

static void set_images(
    struct node_table *t, struct node_row *row, const struct projected_list *images)
{
    const struct node_image *list = images->items;
    uint32_t n = 0;

    if (same_images(row, images))
        return;
    drop_images(t, row);
    for (size_t i = 0; i < images->count; i++)
        n += (uint32_t)list[i].names.count;
    row->images = xcalloc(n ? n : 1, sizeof(*row->images));
    for (size_t i = 0; i < images->count; i++)
        for (size_t k = 0; k < list[i].names.count; k++) {
            struct image *image = image_get(t, list[i].names.strings[k], list[i].bytes);
            if (column_has(&image->nodes, row->row))
                continue;
            column_add(&image->nodes, row->row, t->capacity);
            row->images[row->image_count++] = image;
        }
}

unsigned node_table_set(struct node_table *t, const struct node *node, uint32_t *ret_row)
{
    struct node_row *row = node_table_find(t, node->meta.name);
    unsigned changed = 0;

    if (!row) {
        row = new_row(t, node->meta.name);
        changed = EVENT_NODE_ADDED;
    }
    changed |= set_labels(t, row, &node->meta.labels);
    changed |= set_taints(t, row, node);
    changed |= set_allocatable(t, row, &node->allocatable);
    set_images(t, row, &node->images);
    touch(t, row->row);
    *ret_row = row->row;
    return changed;
}

bool node_table_remove(struct node_table *t, const char *name)
{
    struct node_row *row = node_table_find(t, name);

    if (!row)
        return false;
    while (row->pods)
        node_table_remove_pod(t, row->pods);
    for (size_t i = t->nominated_count; i-- > 0;)
        if (t->nominated[i]->nominated_row == row->row)
            node_table_denominate(t, t->nominated[i]);
    drop_labels(t, row);
    drop_taints(t, row);
    drop_images(t, row);
    node_set_remove(&t->live, row->row);
    node_set_remove(&t->unschedulable, row->row);
    touch(t, row->row);
    t->rows[row->row] = NULL;
    t->count--;
    HASH_DEL(t->by_name, row);
    free(row->name);
    free(row);
    return true;
}

static uint32_t port_key(const struct host_port *port)
{
    return (uint32_t)(unsigned char)port->protocol << 16 | port->port;
}

const struct port_entry *node_table_port(const struct node_table *t, const struct host_port *port)
{
    struct port_entry *e;
    uint32_t key = port_key(port);

    HASH_FIND(hh, t->ports, &key, sizeof(key), e);
    return e;
}

static void add_port(struct node_table *t, const struct host_port *port, uint32_t row)
{
    struct port_entry *e = (struct port_entry *)node_table_port(t, port);

    if (!e) {
        e = xcalloc(1, sizeof(*e));
        e->key = port_key(port);
        HASH_ADD(hh, t->ports, key, sizeof(e->key), e);
    }
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? e->capacity * 2 : 1;
        e->uses = xrealloc(e->uses, e->capacity * sizeof(*e->uses));
    }
    e->uses[e->count++] = (struct port_use){.row = row, .port = *port};
}

static void remove_port(struct node_table *t, const struct host_port *port, uint32_t row)
{
    struct port_entry *e = (struct port_entry *)node_table_port(t, port);
    uint32_t i = 0;

    assert(e);
    while (i < e->count && !(e->uses[i].row == row && e->uses[i].port.ip == port->ip))
        i++;
    assert(i < e->count);
    e->uses[i] = e->uses[--e->count];
    if (!e->count)
        port_entry_free(t, e);
}

/* Takes the pod's requests from its row (by = 1) or gives them back (by = -1). */
static void count_pod(struct node_table *t, const struct pod_info *pod, int by)
{
    for (uint32_t id = 0; id < RESOURCE_FIXED; id++)
        t->resources[id].free[pod->row] -= by * requested(pod, id);
    for (uint32_t i = 0; i < pod->extended_count; i++)
        if (has_column(t, pod->extended[i].id))
            t->resources[pod->extended[i].id].free[pod->row] -= by * pod->extended[i].amount;
    for (size_t i = 0; i < 2; i++)
        t->free_nonzero[i][pod->row] -= by * pod->nonzero[i];
}

/* Short lists of pods, in no order. */
static void list_add(struct pod_info ***list, size_t *count, struct pod_info *pod)
{
    if (!(*count & (*count - 1)))
        *list = xrealloc(*list, (*count ? *count * 2 : 1) * sizeof(**list));
    (*list)[(*count)++] = pod;
}

static void list_remove(struct pod_info **list, size_t *count, const struct pod_info *pod)
{
    size_t i = 0;

    while (i < *count && list[i] != pod)
        i++;
    if (i < *count)
        list[i] = list[--*count];
}

void node_table_nominate(struct node_table *t, struct pod_info *pod, uint32_t row)
{
    node_table_denominate(t, pod);
    pod->nominated_row = row;
    list_add(&t->nominated, &t->nominated_count, pod);
}

void node_table_denominate(struct node_table *t, struct pod_info *pod)
{
    if (pod->nominated_row == ROW_NONE)
        return;
    list_remove(t->nominated, &t->nominated_count, pod);
    pod->nominated_row = ROW_NONE;
}

/* What preemption asks first of a row's pods. */
struct pods_summary {
    int32_t lowest_priority;
    int64_t largest[2], latest_start;
};

static void summary_add(struct pods_summary *s, const struct pod_info *p)
{
    if (p->priority < s->lowest_priority)
        s->lowest_priority = p->priority;
    for (size_t i = 0; i < 2; i++)
        s->largest[i] = p->request[i] > s->largest[i] ? p->request[i] : s->largest[i];
    s->latest_start = p->start_ns > s->latest_start ? p->start_ns : s->latest_start;
}

static struct pods_summary summary_of(const struct node_row *r)
{
    struct pods_summary s = {INT32_MAX, {0, 0}, INT64_MIN};

    for (const struct pod_info *p = r->pods; p; p = p->next)
        summary_add(&s, p);
    return s;
}

static struct pods_summary summary_kept(const struct node_table *t, uint32_t row)
{
    return (struct pods_summary){t->lowest_priority[row],
        {t->largest_pod[0][row], t->largest_pod[1][row]}, t->latest_start[row]};
}

static void summary_keep(struct node_table *t, uint32_t row, const struct pods_summary *s)
{
    t->lowest_priority[row] = s->lowest_priority;
    t->largest_pod[0][row] = s->largest[0];
    t->largest_pod[1][row] = s->largest[1];
    t->latest_start[row] = s->latest_start;
}

/* Is the pod the extreme one in any respect? */
static bool is_extreme(const struct pods_summary *s, const struct pod_info *p)
{
    return p->priority == s->lowest_priority || p->request[0] == s->largest[0] ||
           p->request[1] == s->largest[1] || p->start_ns == s->latest_start;
}

void node_table_add_pod(struct node_table *t, struct pod_info *pod, uint32_t row)
{
    struct node_row *r = t->rows[row];

    assert(pod->row == ROW_NONE && r);
    pod->row = row;
    pod->previous = NULL;
    pod->next = r->pods;
    if (r->pods)
        r->pods->previous = pod;
    r->pods = pod;
    r->pod_count++;
    struct pods_summary summary = summary_kept(t, row);
    summary_add(&summary, pod);
    summary_keep(t, row, &summary);
    count_pod(t, pod, 1);
    for (uint32_t i = 0; i < pod->port_count; i++)
        add_port(t, &pod->ports[i], row);
    pod_index_add(t->pods, pod);
    if (pod->uses_disks)
        list_add(&t->disk_pods, &t->disk_pod_count, pod);
    touch(t, row);
}

void node_table_remove_pod(struct node_table *t, struct pod_info *pod)
{
    if (pod->row == ROW_NONE)
        return;
    struct node_row *r = t->rows[pod->row];
    if (pod->previous)
        pod->previous->next = pod->next;
    else
        r->pods = pod->next;
    if (pod->next)
        pod->next->previous = pod->previous;
    r->pod_count--;
    struct pods_summary summary = summary_kept(t, pod->row);
    if (is_extreme(&summary, pod)) {
        summary = summary_of(r);
        summary_keep(t, pod->row, &summary);
    }
    count_pod(t, pod, -1);
    for (uint32_t i = 0; i < pod->port_count; i++)
        remove_port(t, &pod->ports[i], pod->row);
    pod_index_remove(t->pods, pod);
    if (pod->uses_disks)
        list_remove(t->disk_pods, &t->disk_pod_count, pod);
    touch(t, pod->row);
    pod->row = ROW_NONE;
    pod->previous = pod->next = NULL;
}

int64_t node_table_free_of(const struct node_table *t, uint32_t resource, uint32_t row)
{
    return has_column(t, resource) ? t->resources[resource].free[row] : 0;
}

int64_t node_table_allocatable_of(const struct node_table *t, uint32_t resource, uint32_t row)
{
    return has_column(t, resource) ? t->resources[resource].allocatable[row] : 0;
}

static bool check_row(const struct node_table *t, const struct node_row *row, struct strbuf *why)
{
    uint32_t pods = 0;

    for (struct pod_info *p = row->pods; p; p = p->next)
        pods++;
    struct pods_summary kept = summary_kept(t, row->row), should = summary_of(row);
    if (kept.lowest_priority != should.lowest_priority || kept.largest[0] != should.largest[0] ||
        kept.largest[1] != should.largest[1] || kept.latest_start != should.latest_start)
        strbuf_addf(why, "row %u has a wrong summary of its pods; ", row->row);
    if (pods != row->pod_count)
        strbuf_addf(why, "row %u counts %u pods and has %u; ", row->row, row->pod_count, pods);
    for (uint32_t id = 0; id < t->resource_count; id++) {
        if (!t->resources[id].free)
            continue;
        int64_t left = t->resources[id].allocatable[row->row];
        for (struct pod_info *p = row->pods; p; p = p->next)
            left -= requested(p, id);
        if (left != t->resources[id].free[row->row])
            strbuf_addf(why, "row %u has %lld free of %s and should have %lld; ", row->row,
                (long long)t->resources[id].free[row->row], t->names.names[id], (long long)left);
    }
    for (uint32_t i = 0; i < row->label_count; i++)
        if (!column_has(&row->labels[i]->nodes, row->row))
            strbuf_addf(why, "row %u lacks its label %s; ", row->row, row->labels[i]->key->name);
    for (uint32_t i = 0; i < row->taint_count; i++)
        if (!column_has(&row->taints[i]->nodes, row->row))
            strbuf_addf(why, "row %u lacks its taint %s; ", row->row, row->taints[i]->key);
    return !why->n;
}

bool node_table_check(const struct node_table *t, struct strbuf *why)
{
    bool right = true;

    if (node_set_count(&t->live) != t->count || HASH_COUNT(t->by_name) != t->count)
        strbuf_addf(why, "%u nodes, %zu rows, %u names; ", t->count, node_set_count(&t->live),
            HASH_COUNT(t->by_name));
    NODE_SET_FOR_EACH(row, &t->live)
    right = check_row(t, t->rows[row], why) && right;
    right = pod_index_check(t->pods, why) && right;
    return right && !why->n;
}
