/*
 * Score "BalancedAllocation": prefers nodes where the used fractions of the profile's resources (by
 * default CPU and memory) would be alike.
 *
 *     score = (1 - standard deviation of the fractions) * 100, cut to an integer
 *
 * in the same floating point operations as upstream, so that results are equal. A pod that requests
 * none of them has no say.
 *
 * Cost:     two divisions a node, in vectors for the default.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/noderesources, balanced_allocation.go.
 * Tests:    tests/unit/scheduler/plugins_test.c, rules_test.c
 */
#include <math.h>

#include "scheduler/hot.h"
#include "scheduler/plugin.h"
#include "scheduler/profile.h"

static plugin_score_fn balanced_score;

const struct plugin plugin_balanced_allocation = {
    .name = "BalancedAllocation",
    .upstream_name = "NodeResourcesBalancedAllocation",
    .score = balanced_score,
    .weight = 1,
};

/* The used fraction of one resource in 64 rows; 2 where there is none of it. */
static inline void __attribute__((always_inline)) used_fractions(const struct resource_column *c,
    const double *inverse, size_t at, int64_t request, double *restrict out)
{
    const int64_t *of = c->allocatable + at, *left = c->free + at;

    for (unsigned i = 0; i < 64; i++) {
        double all = (double)of[i], used = (double)(of[i] - left[i] + request);
        double fraction = quotient(used, all, inverse[at + i]);
        fraction = fraction > 1 ? 1 : fraction;
        out[i] = all > 0 ? fraction : 2;
    }
}

HOT static void balance_of_words(const struct node_table *nodes, const struct pod_info *pod,
    const struct node_set *fits, int32_t *restrict scores)
{
    double cpu[64], memory[64];

    for (size_t w = 0; w < fits->word_count; w++) {
        if (!fits->words[w])
            continue;
        used_fractions(&nodes->resources[RESOURCE_CPU], nodes->inverse[0], w * 64,
            pod->request[RESOURCE_CPU], cpu);
        used_fractions(&nodes->resources[RESOURCE_MEMORY], nodes->inverse[1], w * 64,
            pod->request[RESOURCE_MEMORY], memory);
        for (unsigned i = 0; i < 64; i++) {
            double deviation = fabs((cpu[i] - memory[i]) / 2);
            deviation = cpu[i] > 1 || memory[i] > 1 ? 0 : deviation;
            scores[w * 64 + i] = (int32_t)((1 - deviation) * PLUGIN_SCORE_MAX);
        }
    }
}

/* Any resources, one row */

static double deviation_of(const double *fractions, size_t n)
{
    double total = 0, sum = 0;

    if (n < 2)
        return 0;
    if (n == 2)
        return fabs((fractions[0] - fractions[1]) / 2);
    for (size_t i = 0; i < n; i++)
        total += fractions[i];
    double mean = total / (double)n;
    for (size_t i = 0; i < n; i++)
        sum += (fractions[i] - mean) * (fractions[i] - mean);
    return sqrt(sum / (double)n);
}

static int32_t score_row(const struct cycle *cycle, const uint32_t *ids, size_t count, uint32_t row)
{
    double fractions[PROFILE_RESOURCES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        int64_t of = node_table_allocatable_of(cycle->nodes, ids[i], row);
        int64_t request = pod_info_request(cycle->pod, ids[i]);
        int64_t used = of - node_table_free_of(cycle->nodes, ids[i], row) + request;
        if (!of || (ids[i] >= RESOURCE_FIXED && !request))
            continue;
        double fraction = (double)used / (double)of;
        fractions[n++] = fraction > 1 ? 1 : fraction;
    }
    return (int32_t)((1 - deviation_of(fractions, n)) * PLUGIN_SCORE_MAX);
}

static bool balanced_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    const struct profile *p = cycle->profile;
    uint32_t ids[PROFILE_RESOURCES_MAX];
    bool requests_any = false;

    for (size_t i = 0; i < p->balanced_count; i++) {
        ids[i] = resource_names_find(&cycle->nodes->names, p->balanced[i].name);
        requests_any = requests_any || pod_info_request(cycle->pod, ids[i]) > 0;
    }
    if (!requests_any)
        return false;
    if (p->balanced_count == 2 && ids[0] == RESOURCE_CPU && ids[1] == RESOURCE_MEMORY) {
        balance_of_words(cycle->nodes, cycle->pod, fits, scores);
        return true;
    }
    NODE_SET_FOR_EACH(row, fits)
    scores[row] = score_row(cycle, ids, p->balanced_count, row);
    return true;
}
