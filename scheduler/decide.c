/*
 * Decide: filters, scores and the choice among the best. See decide.h.
 *
 * On the way to a decision nothing is recorded but bits; only when no node fits are the filters run
 * again, one at a time, to learn which of them refused which node.
 */
#include "scheduler/decide.h"

#include <assert.h>

#include "scheduler/diagnosis.h"

struct decider {
    struct env *env;
    struct arena *arena;
    int64_t *scores, *total; /* one a row */
    uint32_t capacity;
    uint64_t random; /* state of the generator that breaks ties */
    struct strbuf message;
};

struct decider *decider_new(struct env *env)
{
    struct decider *d = xcalloc(1, sizeof(*d));

    assert(plugin_count <= PLUGINS_MAX);
    d->env = env;
    d->arena = arena_new();
    d->random = env_random(env) | 1;
    strbuf_init(&d->message, 0);
    return d;
}

void decider_free(struct decider *d)
{
    if (!d)
        return;
    arena_free(d->arena);
    strbuf_done(&d->message);
    free(d->scores);
    free(d->total);
    free(d);
}

static uint64_t next_random(struct decider *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

static void reserve_rows(struct decider *d, uint32_t capacity)
{
    if (d->capacity >= capacity)
        return;
    d->scores = xrealloc(d->scores, capacity * sizeof(int64_t));
    d->total = xrealloc(d->total, capacity * sizeof(int64_t));
    d->capacity = capacity;
}

/* Runs the narrowing hooks and filters; returns the sentence of a hook that refused the whole pod,
 * or NULL. */
static const char *run_filters(
    const struct cycle *cycle, struct node_set *fits, uint64_t *refused_by)
{
    size_t left = node_set_count(fits);
    const char *whole_pod = NULL;

    for (size_t i = 0; i < plugin_count && !whole_pod; i++) {
        if (!plugins[i]->narrow)
            continue;
        whole_pod = plugins[i]->narrow(cycle, fits);
        size_t now = whole_pod ? 0 : node_set_count(fits);
        if (now < left)
            *refused_by |= 1ull << i;
        left = now;
    }
    if (whole_pod)
        node_set_clear(fits);
    for (size_t i = 0; i < plugin_count && left; i++) {
        if (!plugins[i]->filter)
            continue;
        plugins[i]->filter(cycle, fits);
        size_t now = node_set_count(fits);
        if (now < left)
            *refused_by |= 1ull << i;
        left = now;
    }
    return whole_pod;
}

static void normalize(enum plugin_normalize how, const struct node_set *fits, int64_t *scores)
{
    int64_t highest = 0;

    if (how == NORMALIZE_NONE)
        return;
    NODE_SET_FOR_EACH(row, fits)
    highest = scores[row] > highest ? scores[row] : highest;
    NODE_SET_FOR_EACH(row, fits)
    {
        int64_t score = highest ? scores[row] * PLUGIN_SCORE_MAX / highest : 0;
        scores[row] = how == NORMALIZE_REVERSED ? PLUGIN_SCORE_MAX - score : score;
    }
}

static void run_scores(struct decider *d, const struct cycle *cycle, const struct node_set *fits)
{
    memset(d->total, 0, cycle->nodes->capacity * sizeof(int64_t));
    for (size_t i = 0; i < plugin_count; i++) {
        if (!plugins[i]->score)
            continue;
        memset(d->scores, 0, cycle->nodes->capacity * sizeof(int64_t));
        if (!plugins[i]->score(cycle, fits, d->scores))
            continue;
        normalize(plugins[i]->normalize, fits, d->scores);
        NODE_SET_FOR_EACH(row, fits)
        d->total[row] += plugins[i]->weight * d->scores[row];
    }
}

/* The row of the highest total; among equals each is as likely as the others. */
static uint32_t choose(struct decider *d, const struct node_set *fits)
{
    int64_t best = INT64_MIN;
    uint64_t equals = 0;

    NODE_SET_FOR_EACH(row, fits)
    {
        equals = d->total[row] > best ? 1 : equals + (d->total[row] == best);
        best = d->total[row] > best ? d->total[row] : best;
    }
    uint64_t skip = next_random(d) % equals;
    uint32_t chosen = ROW_NONE;
    NODE_SET_FOR_EACH(row, fits)
    {
        if (d->total[row] == best && skip-- == 0)
            chosen = row;
    }
    return chosen;
}

/* Why each node was refused: the filters once more, one after the other. */
static void diagnose(const struct cycle *cycle, struct diagnosis *why)
{
    struct node_set fits = node_set_new_like(cycle->arena, &cycle->nodes->live);
    struct node_set before = node_set_new_like(cycle->arena, &cycle->nodes->live);

    node_set_copy(&fits, &cycle->nodes->live);
    for (size_t i = 0; i < plugin_count; i++) {
        size_t left = node_set_count(&fits);
        if (!plugins[i]->narrow)
            continue;
        plugins[i]->narrow(cycle, &fits);
        diagnosis_add_nodes(why,
            arena_printf(
                cycle->arena, "node(s) didn't satisfy plugin(s) [%s]", plugins[i]->upstream_name),
            left - node_set_count(&fits), true);
    }
    for (size_t i = 0; i < plugin_count; i++) {
        if (!plugins[i]->filter)
            continue;
        node_set_copy(&before, &fits);
        plugins[i]->filter(cycle, &fits);
        node_set_and_not(&before, &fits);
        NODE_SET_FOR_EACH(row, &before)
        diagnosis_add_node(why, cycle, plugins[i], row);
    }
}

static void explain(
    struct decider *d, const struct cycle *cycle, const char *whole_pod, struct decision *ret)
{
    struct diagnosis why = {
        .reasons = {.arena = d->arena},
        .nodes = cycle->nodes->count,
        .whole_pod = whole_pod,
    };

    if (!whole_pod)
        diagnose(cycle, &why);
    strbuf_clear(&d->message);
    diagnosis_print(&why, cycle->pod->object, &d->message);
    diagnosis_done(&why);
    ret->message = d->message.data;
}

void scheduler_decide(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    struct decision *ret)
{
    struct cycle cycle = {.nodes = nodes, .pod = pod, .arena = d->arena};

    *ret = (struct decision){.row = ROW_NONE};
    arena_clear(d->arena);
    reserve_rows(d, nodes->capacity);
    struct node_set fits = node_set_new_like(d->arena, &nodes->live);
    node_set_copy(&fits, &nodes->live);
    const char *whole_pod = run_filters(&cycle, &fits, &ret->refused_by);
    ret->fitting = node_set_count(&fits);
    if (!ret->fitting) {
        explain(d, &cycle, whole_pod, ret);
        return;
    }
    run_scores(d, &cycle, &fits);
    ret->row = choose(d, &fits);
    ret->score = d->total[ret->row];
}

bool decider_fits_row(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    uint32_t row, uint64_t *ret_refused_by)
{
    struct cycle cycle = {.nodes = nodes, .pod = pod, .arena = d->arena};
    uint64_t refused_by = 0;

    arena_clear(d->arena);
    if (!node_set_has(&nodes->live, row))
        return false;
    struct node_set fits = node_set_new_like(d->arena, &nodes->live);
    node_set_add(&fits, row);
    run_filters(&cycle, &fits, &refused_by);
    if (ret_refused_by)
        *ret_refused_by = refused_by;
    return !node_set_is_empty(&fits);
}
