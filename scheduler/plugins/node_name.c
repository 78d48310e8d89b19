/*
 * Filter "NodeName": a pod that names its node fits that node only.
 *
 * Such pods bypass the queue; the rule counts where a manifest is tried out without creating it.
 *
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/nodename.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/plugin.h"

static plugin_filter_fn node_name_filter;

const struct plugin plugin_node_name = {
    .name = "NodeName",
    .upstream_name = "NodeName",
    .reason = "node(s) didn't match the requested node name",
    .unresolvable = true,
    .retry_on = EVENT_NODE_ADDED,
    .filter = node_name_filter,
};

static void node_name_filter(const struct cycle *cycle, struct node_set *fits)
{
    const char *name = cycle->pod->object->node_name;

    if (!name[0])
        return;
    const struct node_row *row = node_table_find(cycle->nodes, name);
    bool fitted = row && node_set_has(fits, row->row);
    node_set_clear(fits);
    if (fitted)
        node_set_add(fits, row->row);
}
