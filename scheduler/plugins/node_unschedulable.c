/*
 * Filter "NodeUnschedulable": refuses cordoned nodes, unless the pod tolerates the taint that goes
 * with it.
 *
 * Cost:     one AND-NOT of two bitmaps.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/nodeunschedulable.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/plugins/tolerations.h"

static plugin_filter_fn unschedulable_filter;

const struct plugin plugin_node_unschedulable = {
    .name = "NodeUnschedulable",
    .upstream_name = "NodeUnschedulable",
    .reason = "node(s) were unschedulable",
    .unresolvable = true,
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_TAINTED,
    .filter = unschedulable_filter,
};

static void unschedulable_filter(const struct cycle *cycle, struct node_set *fits)
{
    if (!pod_tolerates(cycle->pod->object, "node.kubernetes.io/unschedulable", "", "NoSchedule"))
        node_set_and_not(fits, &cycle->nodes->unschedulable);
}
