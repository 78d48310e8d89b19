/*
 * Score "LeastRequested" and its alternatives "MostRequested" and "RequestedToCapacityRatio", as
 * the profile's scoring strategy says: prefers nodes by how much of their resources would be used.
 *
 *     least   (allocatable - requested) * 100 / allocatable
 *     most    requested * 100 / allocatable
 *     ratio   the shape's line at requested * 100 / allocatable percent
 *
 * averaged over the strategy's resources by weight, with integer division at each step so that
 * results equal upstream's. A pod that requests no CPU or memory counts as 100m and 200Mi a
 * container, so that idle pods spread too. A resource that the node does not have, or an extended
 * one that the pod does not request, has no say.
 *
 * Cost:     a few operations in vectors a node for the default (least of cpu and memory); two
 *           divisions a node and resource for others.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/noderesources: least_allocated.go, most_allocated.go,
 *           requested_to_capacity_ratio.go, resource_allocation.go.
 * Tests:    tests/unit/scheduler/plugins_test.c, rules_test.c
 */
#include <math.h>

#include "scheduler/hot.h"
#include "scheduler/plugin.h"
#include "scheduler/profile.h"

static plugin_score_fn requested_score;

const struct plugin plugin_least_requested = {
    .name = "LeastRequested",
    .upstream_name = "NodeResourcesFit",
    .score = requested_score,
    .weight = 1,
};

/* out += floor(left * 100 / of) for 64 rows with left <= of, 0 where nothing is left. The product
 * with the inverse is at most one off; all amounts are exact in a double (see EXACT_MAX). */
static inline void __attribute__((always_inline)) add_percents(const int64_t *of,
    const double *inverse, const int64_t *left, int64_t request, double *restrict out)
{
    for (unsigned i = 0; i < 64; i++) {
        double d = (double)of[i], n = (double)(left[i] - request) * PLUGIN_SCORE_MAX;
        n = n > 0 && d > 0 ? n : 0;
        double q = (double)(int32_t)(n * inverse[i]);
        double rest = n - q * d;
        q += rest < 0 ? -1 : 0;
        q += d > 0 && rest >= d ? 1 : 0;
        out[i] += q;
    }
}

HOT static void least_of_words(const struct node_table *nodes, const struct pod_info *pod,
    const struct node_set *fits, int32_t *restrict scores)
{
    const int64_t *cpu = nodes->resources[RESOURCE_CPU].allocatable;
    const int64_t *memory = nodes->resources[RESOURCE_MEMORY].allocatable;

    for (size_t w = 0; w < fits->word_count; w++) {
        double sums[64] = {0};
        size_t at = w * 64;
        if (!fits->words[w])
            continue;
        add_percents(
            cpu + at, nodes->inverse[0] + at, nodes->free_nonzero[0] + at, pod->nonzero[0], sums);
        add_percents(memory + at, nodes->inverse[1] + at, nodes->free_nonzero[1] + at,
            pod->nonzero[1], sums);
        for (unsigned i = 0; i < 64; i++) {
            int32_t sum = (int32_t)sums[i];
            scores[at + i] = cpu[at + i] && memory[at + i] ? sum >> 1 : sum;
        }
    }
}

/* Up to here a hundred times an amount is exact in a double: 80 TB, 80 billion cores. */
#define EXACT_MAX ((1ll << 53) / PLUGIN_SCORE_MAX)

/* Any strategy and resources, one row */

static int64_t line_at(const struct profile *p, int64_t utilization)
{
    const struct shape_point *s = p->shape;

    for (size_t i = 0; i < p->shape_count; i++) {
        if (utilization > s[i].utilization)
            continue;
        if (!i)
            return s[0].score;
        return s[i - 1].score + (s[i].score - s[i - 1].score) *
                                    (utilization - s[i - 1].utilization) /
                                    (s[i].utilization - s[i - 1].utilization);
    }
    return s[p->shape_count - 1].score;
}

static int64_t score_one(const struct profile *p, int64_t requested, int64_t of)
{
    switch (p->strategy) {
    case STRATEGY_LEAST:
        return requested > of ? 0 : (of - requested) * PLUGIN_SCORE_MAX / of;
    case STRATEGY_MOST:
        return (requested > of ? of : requested) * PLUGIN_SCORE_MAX / of;
    case STRATEGY_RATIO:
        return line_at(p, requested > of ? 100 : requested * 100 / of);
    }
    return 0;
}

/* What would be requested of a resource on the row, and of how much; 0 of 0: it has no say. */
static int64_t requested_of(
    const struct cycle *cycle, uint32_t id, uint32_t row, int64_t *ret_requested)
{
    const struct node_table *nodes = cycle->nodes;
    const struct pod_info *pod = cycle->pod;
    int64_t of = node_table_allocatable_of(nodes, id, row);

    if (id <= RESOURCE_MEMORY) {
        *ret_requested = of - nodes->free_nonzero[id][row] + pod->nonzero[id];
        return of;
    }
    int64_t request = pod_info_request(pod, id);
    *ret_requested = of - node_table_free_of(nodes, id, row) + request;
    return id >= RESOURCE_FIXED && !request ? 0 : of;
}

static int32_t score_row(const struct cycle *cycle, const uint32_t *ids, uint32_t row)
{
    const struct profile *p = cycle->profile;
    int64_t sum = 0, weights = 0;

    for (size_t i = 0; i < p->fit_count; i++) {
        int64_t requested, of = requested_of(cycle, ids[i], row, &requested);
        if (!of)
            continue;
        int64_t score = score_one(p, requested, of);
        if (p->strategy == STRATEGY_RATIO && score <= 0)
            continue;
        sum += score * p->fit[i].weight;
        weights += p->fit[i].weight;
    }
    if (!weights)
        return 0;
    return (int32_t)(p->strategy == STRATEGY_RATIO ? llround((double)sum / (double)weights)
                                                   : sum / weights);
}

static bool is_default(const struct profile *p)
{
    return p->strategy == STRATEGY_LEAST && p->fit_count == 2 && p->fit[0].weight == 1 &&
           p->fit[1].weight == 1 && c_eq(p->fit[0].name, "cpu") && c_eq(p->fit[1].name, "memory");
}

static bool requested_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    const struct profile *p = cycle->profile;
    uint32_t ids[PROFILE_RESOURCES_MAX];

    if (is_default(p) && cycle->nodes->largest <= EXACT_MAX) {
        least_of_words(cycle->nodes, cycle->pod, fits, scores);
        return true;
    }
    for (size_t i = 0; i < p->fit_count; i++)
        ids[i] = resource_names_find(&cycle->nodes->names, p->fit[i].name);
    NODE_SET_FOR_EACH(row, fits)
    scores[row] = score_row(cycle, ids, row);
    return true;
}
