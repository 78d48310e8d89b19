/*
 * Score "BalancedAllocation": prefers nodes where the used fractions of CPU and memory would be
 * alike.
 *
 *     score = (1 - |cpu fraction - memory fraction| / 2) * 100, cut to an integer
 *
 * in the same floating point operations as upstream, so that results are equal. A pod that requests
 * neither has no say.
 *
 * Cost:     two divisions a node.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/noderesources, balanced_allocation.go.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include <math.h>

#include "scheduler/plugin.h"

static plugin_score_fn balanced_score;

const struct plugin plugin_balanced_allocation = {
    .name = "BalancedAllocation",
    .upstream_name = "NodeResourcesBalancedAllocation",
    .score = balanced_score,
    .weight = 1,
};

static bool balanced_score(const struct cycle *cycle, const struct node_set *fits, int64_t *scores)
{
    const struct node_table *nodes = cycle->nodes;
    const struct pod_info *pod = cycle->pod;

    if (!pod->request[RESOURCE_CPU] && !pod->request[RESOURCE_MEMORY])
        return false;
    NODE_SET_FOR_EACH(row, fits)
    {
        double fraction[2], deviation = 0;
        size_t n = 0;
        for (uint32_t id = RESOURCE_CPU; id <= RESOURCE_MEMORY; id++) {
            int64_t of = nodes->resources[id].allocatable[row];
            int64_t used = of - nodes->resources[id].free[row] + pod->request[id];
            if (of)
                fraction[n++] = used < of ? (double)used / (double)of : 1;
        }
        if (n == 2)
            deviation = fabs((fraction[0] - fraction[1]) / 2);
        scores[row] = (int64_t)((1 - deviation) * PLUGIN_SCORE_MAX);
    }
    return true;
}
