/* Preempt. See preempt.h. Everything lies in the cycle's arena. */
#include "scheduler/preempt.h"

#include <assert.h>

#include "scheduler/profile.h"

extern const struct plugin plugin_fit_resource;

/* How good a set of victims is; compared field by field. */
struct cost {
    size_t violations;
    int64_t highest, sum;
    size_t count;
    int64_t oldest_start_ns; /* of the victims of highest priority; later is better */
};

struct search {
    const struct cycle *cycle;
    struct pod_info **lower; /* pods of lower priority on the row in question, by importance */
    bool *violates, *evicted;
    struct pod_info **gone; /* scratch for without() */
    size_t capacity;
    bool resources_only; /* no rule but FitResource can be helped or hurt */
    struct cost best_cost;
    struct preemption *best;
};

static bool is_better(const struct cost *a, const struct cost *b)
{
    if (a->violations != b->violations)
        return a->violations < b->violations;
    if (a->highest != b->highest)
        return a->highest < b->highest;
    if (a->sum != b->sum)
        return a->sum < b->sum;
    if (a->count != b->count)
        return a->count < b->count;
    return a->oldest_start_ns > b->oldest_start_ns;
}

static int by_importance(const void *a, const void *b)
{
    const struct pod_info *p = *(struct pod_info *const *)a, *q = *(struct pod_info *const *)b;

    if (p->priority != q->priority)
        return p->priority > q->priority ? -1 : 1;
    if (p->start_ns != q->start_ns)
        return p->start_ns < q->start_ns ? -1 : 1;
    return 0;
}

static void sort_by_importance(struct pod_info **pods, size_t n)
{
    if (n > 32) {
        qsort(pods, n, sizeof(*pods), by_importance);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct pod_info *p = pods[i];
        size_t k = i;
        for (; k && by_importance(&p, &pods[k - 1]) < 0; k--)
            pods[k] = pods[k - 1];
        pods[k] = p;
    }
}

static void reserve(struct search *s, size_t n)
{
    struct arena *arena = s->cycle->arena;

    if (n <= s->capacity)
        return;
    s->capacity = n * 2;
    s->lower = arena_new_array(arena, struct pod_info *, s->capacity);
    s->gone = arena_new_array(arena, struct pod_info *, s->capacity);
    s->violates = arena_new_array(arena, bool, s->capacity);
    s->evicted = arena_new_array(arena, bool, s->capacity);
}

static size_t find_lower(struct search *s, uint32_t row)
{
    const struct node_row *r = s->cycle->nodes->rows[row];
    size_t n = 0;

    reserve(s, r->pod_count);
    for (struct pod_info *p = r->pods; p; p = p->next)
        if (p->priority < s->cycle->pod->priority)
            s->lower[n++] = p;
    sort_by_importance(s->lower, n);
    return n;
}

/* Would the pod fit the row without those that are marked? */
static const struct plugin *refuser(struct search *s, uint32_t row, size_t n)
{
    const struct cycle *cycle = s->cycle;
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        if (s->evicted[i])
            s->gone[count++] = s->lower[i];
    for (size_t i = 0; i < plugin_count; i++)
        if (plugins[i]->without && (cycle->profile->filters >> i & 1) &&
            !plugins[i]->without(cycle, row, s->gone, count))
            return plugins[i];
    return NULL;
}

static size_t evict_any(struct search *s, uint32_t row, size_t n)
{
    size_t violations = 0;

    budgets_judge(s->cycle->nodes->budgets, s->lower, n, s->violates);
    for (int protected_ = 1; protected_ >= 0; protected_--)
        for (size_t i = 0; i < n; i++) {
            if (s->violates[i] != protected_)
                continue;
            s->evicted[i] = false;
            if (!refuser(s, row, n))
                continue;
            s->evicted[i] = true;
            violations += (size_t)protected_;
        }
    return violations;
}

/* The same where only CPU, memory, disk and pod slots are at stake. False: they do not suffice. */
static bool evict_for_resources(struct search *s, uint32_t row, size_t n)
{
    const struct node_table *nodes = s->cycle->nodes;
    const struct pod_info *pod = s->cycle->pod;
    int64_t left[RESOURCE_REQUESTABLE], slots;

    slots = nodes->resources[RESOURCE_PODS].free[row] + (int64_t)n - 1;
    for (size_t id = 0; id < RESOURCE_REQUESTABLE; id++) {
        left[id] = nodes->resources[id].free[row] - pod->request[id];
        for (size_t i = 0; i < n; i++)
            left[id] += s->lower[i]->request[id];
        if (left[id] < 0 && pod->request[id])
            return false;
    }
    if (slots < 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool stays = slots > 0;
        for (size_t id = 0; id < RESOURCE_REQUESTABLE; id++)
            stays = stays && (!pod->request[id] || left[id] >= s->lower[i]->request[id]);
        s->evicted[i] = !stays;
        slots -= stays;
        for (size_t id = 0; stays && id < RESOURCE_REQUESTABLE; id++)
            left[id] -= s->lower[i]->request[id];
    }
    return true;
}

static struct cost cost_of(const struct search *s, size_t n, size_t violations)
{
    struct cost c = {.violations = violations, .highest = INT64_MIN, .oldest_start_ns = INT64_MAX};

    for (size_t i = 0; i < n; i++) {
        const struct pod_info *p = s->lower[i];
        if (!s->evicted[i])
            continue;
        c.count++;
        c.sum += (int64_t)p->priority + INT32_MAX + 1;
        if (p->priority > c.highest) {
            c.highest = p->priority;
            c.oldest_start_ns = INT64_MAX;
        }
        if (p->priority == c.highest && p->start_ns < c.oldest_start_ns)
            c.oldest_start_ns = p->start_ns;
    }
    return c;
}

static void take(struct search *s, uint32_t row, size_t n, const struct cost *cost)
{
    struct preemption *best = s->best;

    s->best_cost = *cost;
    best->row = row;
    best->victim_count = 0;
    best->victims = arena_new_array(s->cycle->arena, struct pod_info *, cost->count);
    for (size_t i = 0; i < n; i++)
        if (s->evicted[i])
            best->victims[best->victim_count++] = s->lower[i];
}

/* Looks at one row; returns the plugin that refuses it even without all lower pods, or NULL. */
static const struct plugin *look_at(struct search *s, uint32_t row)
{
    size_t n = find_lower(s, row), violations = 0;

    if (s->resources_only) {
        if (!evict_for_resources(s, row, n))
            return &plugin_fit_resource;
    } else {
        memset(s->evicted, 1, n);
        const struct plugin *no = refuser(s, row, n);
        if (no)
            return no;
        violations = evict_any(s, row, n);
    }
    struct cost cost = cost_of(s, n, violations);
    if (s->best->row == ROW_NONE || is_better(&cost, &s->best_cost))
        take(s, row, n, &cost);
    return NULL;
}

/* The least that victims on the row could cost: as many of the largest pods as are needed, all of
 * the lowest priority and as young as the youngest. */
static struct cost bound_of(const struct search *s, uint32_t row)
{
    const struct node_table *nodes = s->cycle->nodes;
    int64_t count = 1;

    for (size_t id = 0; id < 2; id++) {
        int64_t lacks = s->cycle->pod->request[id] - nodes->resources[id].free[row];
        int64_t largest = nodes->largest_pod[id][row];
        if (s->cycle->pod->request[id] && largest && lacks > largest)
            count =
                (lacks + largest - 1) / largest > count ? (lacks + largest - 1) / largest : count;
    }
    int64_t lowest = nodes->lowest_priority[row];
    return (struct cost){
        .highest = lowest,
        .sum = count * (lowest + INT32_MAX + 1),
        .count = (size_t)count,
        .oldest_start_ns = nodes->latest_start[row],
    };
}

static bool only_resources_matter(const struct cycle *cycle)
{

    if (budgets_any(cycle->nodes->budgets) || cycle->pod->extended_count ||
        !(cycle->profile->filters & plugin_bit(&plugin_fit_resource)))
        return false;
    for (size_t i = 0; i < plugin_count; i++) {
        if (!plugins[i]->without || plugins[i] == &plugin_fit_resource ||
            !(cycle->profile->filters >> i & 1))
            continue;
        if (plugins[i]->applies && !plugins[i]->applies(cycle))
            continue;
        return false;
    }
    return true;
}

/* A pod that was nominated waits for victims that are still leaving. */
static bool waits_for_victims(const struct cycle *cycle, const struct node_set *candidates)
{
    uint32_t row = cycle->pod->nominated_row;

    if (row == ROW_NONE || !node_set_has(candidates, row))
        return false;
    for (const struct pod_info *p = cycle->nodes->rows[row]->pods; p; p = p->next)
        if (p->priority < cycle->pod->priority && p->object->meta.deletion_ns)
            return true;
    return false;
}

void preempt_find(const struct cycle *cycle, const struct node_set *candidates,
    struct strbuf *message, struct preemption *ret)
{
    const struct node_table *nodes = cycle->nodes;
    struct reasons why = reasons_new(cycle->arena, candidates);
    size_t resolvable = node_set_count(candidates), without_victims = 0;

    *ret = (struct preemption){.row = ROW_NONE};
    if (c_eq(cycle->pod->object->preemption_policy, "Never")) {
        strbuf_addc(message, " preemption: not eligible due to preemptionPolicy=Never.");
        return;
    }
    if (waits_for_victims(cycle, candidates)) {
        strbuf_addc(
            message, " preemption: not eligible due to a terminating pod on the nominated node.");
        ret->row = cycle->pod->nominated_row;
        return;
    }
    struct search search = {.cycle = cycle, .best = ret};
    search.resources_only = resolvable && only_resources_matter(cycle);
    NODE_SET_FOR_EACH(row, candidates)
    {
        int32_t lowest = nodes->lowest_priority[row];
        if (lowest >= cycle->pod->priority) {
            without_victims++;
            continue;
        }
        struct cost bound = bound_of(&search, row);
        if (ret->row != ROW_NONE && !is_better(&bound, &search.best_cost))
            continue;
        const struct plugin *no = look_at(&search, row);
        if (!no || ret->row != ROW_NONE)
            continue;
        struct node_set one = node_set_new_like(cycle->arena, candidates);
        node_set_add(&one, row);
        reasons_of_plugin(&why, cycle, no, &one);
    }
    if (ret->row != ROW_NONE) {
        reasons_done(&why);
        return;
    }
    reasons_count(&why, without_victims, "No preemption victims found for incoming pod");
    reasons_count(&why, nodes->count - resolvable, "Preemption is not helpful for scheduling");
    strbuf_addf(message, " preemption: 0/%u nodes are available:", nodes->count);
    reasons_print(&why, message);
    reasons_done(&why);
}
