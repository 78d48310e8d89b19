/*
 * The list of plugins. Filters run in this order (upstream's), so a node's reason is that of the
 * first plugin here that refuses it; weights are upstream's defaults.
 */
#include "scheduler/plugin.h"

extern const struct plugin plugin_node_unschedulable;
extern const struct plugin plugin_node_name;
extern const struct plugin plugin_taint_toleration;
extern const struct plugin plugin_node_selector;
extern const struct plugin plugin_node_ports;
extern const struct plugin plugin_fit_resource;
extern const struct plugin plugin_least_requested;
extern const struct plugin plugin_no_disk_conflict;
extern const struct plugin plugin_volume_binding;
extern const struct plugin plugin_topology_spread;
extern const struct plugin plugin_inter_pod_affinity;
extern const struct plugin plugin_balanced_allocation;
extern const struct plugin plugin_image_locality;

const struct plugin *const plugins[] = {
    &plugin_node_unschedulable,
    &plugin_node_name,
    &plugin_taint_toleration,
    &plugin_node_selector,
    &plugin_node_ports,
    &plugin_fit_resource,
    &plugin_no_disk_conflict,
    &plugin_volume_binding,
    &plugin_topology_spread,
    &plugin_inter_pod_affinity,
    &plugin_least_requested,
    &plugin_balanced_allocation,
    &plugin_image_locality,
};
const size_t plugin_count = ARRAY_COUNT(plugins);
