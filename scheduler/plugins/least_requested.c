/*
 * Score "LeastRequested": prefers nodes that would have the larger part of their CPU and memory
 * left.
 *
 *     score = average over cpu and memory of (allocatable - requested) * 100 / allocatable
 *
 * with integer division at each step, so that results equal upstream's. A pod that requests nothing
 * counts as 100m and 200Mi a container, so that idle pods spread too.
 *
 * Cost:     one floating point division and its correction a node and resource.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/noderesources, least_allocated.go (the LeastAllocated strategy of
 * NodeResourcesFit). Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/plugin.h"

static plugin_score_fn least_score;

const struct plugin plugin_least_requested = {
    .name = "LeastRequested",
    .upstream_name = "NodeResourcesFit",
    .score = least_score,
    .weight = 1,
};

/* floor(left * 100 / of) for 0 <= left <= of. A double's quotient is at most one off; its
 * correction is several times cheaper than a 64-bit integer division. */
static int64_t percent(int64_t left, int64_t of)
{
    int64_t n = left * PLUGIN_SCORE_MAX;
    int64_t q = (int64_t)((double)n / (double)of);

    q -= q * of > n;
    q += (q + 1) * of <= n;
    return q;
}

static bool least_score(const struct cycle *cycle, const struct node_set *fits, int64_t *scores)
{
    const struct node_table *nodes = cycle->nodes;

    NODE_SET_FOR_EACH(row, fits)
    {
        int64_t sum = 0, weights = 0;
        for (uint32_t id = RESOURCE_CPU; id <= RESOURCE_MEMORY; id++) {
            int64_t of = nodes->resources[id].allocatable[row];
            int64_t left = nodes->free_nonzero[id][row] - cycle->pod->nonzero[id];
            weights += of != 0;
            sum += of && left > 0 ? percent(left, of) : 0;
        }
        scores[row] = weights == 2 ? sum / 2 : sum;
    }
    return true;
}
