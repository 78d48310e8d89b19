/*
 * Filter "NodePorts": refuses nodes where one of the pod's host ports is taken.
 *
 * Ports clash on (address, protocol, port), 0.0.0.0 with every address. Pods count from the moment
 * they are assigned to the node until they are gone.
 *
 * Cost:     the pods that use the same port, not the nodes.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/nodeports.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/plugin.h"

static plugin_filter_fn ports_filter;
static plugin_applies_fn ports_apply;
static plugin_without_fn ports_without;

const struct plugin plugin_node_ports = {
    .name = "NodePorts",
    .upstream_name = "NodePorts",
    .reason = "node(s) didn't have free ports for the requested pod ports",
    .retry_on = EVENT_NODE_ADDED | EVENT_POD_REMOVED,
    .filter = ports_filter,
    .applies = ports_apply,
    .without = ports_without,
};

static void ports_filter(const struct cycle *cycle, struct node_set *fits)
{
    for (uint32_t i = 0; i < cycle->pod->port_count; i++) {
        const struct host_port *wanted = &cycle->pod->ports[i];
        const struct port_entry *entry = node_table_port(cycle->nodes, wanted);
        for (uint32_t k = 0; entry && k < entry->count; k++)
            if (host_port_conflicts(wanted, &entry->uses[k].port))
                node_set_remove(fits, entry->uses[k].row);
    }
}

static bool uses_port(const struct pod_info *pod, const struct host_port *port)
{
    for (uint32_t i = 0; i < pod->port_count; i++)
        if (host_port_conflicts(&pod->ports[i], port))
            return true;
    return false;
}

static bool ports_apply(const struct cycle *cycle)
{
    return cycle->pod->port_count;
}

static bool ports_without(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count)
{
    for (const struct pod_info *p = cycle->nodes->rows[row]->pods; p; p = p->next)
        for (uint32_t i = 0; i < cycle->pod->port_count; i++)
            if (uses_port(p, &cycle->pod->ports[i]) && !plugin_is_one_of(p, pods, count))
                return false;
    return true;
}
