/*
 * Zones of nodes, and how fast pods may be evicted from silent ones (pure).
 *
 * When much of a zone falls silent at once it is more likely the network than the nodes: the larger
 * the part, the slower. When all nodes of all zones are silent nothing is evicted: then it is we
 * who are cut off.
 */
#pragma once

#include "controller/kinds.h"

struct zone_health {
    int64_t ready, not_ready;
};

/* "region:zone" of a node's labels; "" without. Heap. */
char *node_zone(const struct node *node);

/* The least time between two nodes' evictions in a zone; 0: at once, -1: never. all_down: no node
 * of any zone is ready. Upstream: ReducedQPSFunc, HealthyQPSFunc with the default flags. */
int64_t zone_pause_ns(const struct zone_health *zone, bool all_down);
