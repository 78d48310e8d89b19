/* How fast zones are evicted: see node_zones.h. Upstream: ComputeZoneState and
 * handleDisruption of pkg/controller/nodelifecycle. */
#include "controller/node_zones.h"

#include "common/time.h"

#define REGION_LABEL "topology.kubernetes.io/region"
#define ZONE_LABEL "topology.kubernetes.io/zone"

#define NORMAL_PAUSE_NS (10 * NS_PER_S) /* --node-eviction-rate 0.1 */
#define SLOW_PAUSE_NS (100 * NS_PER_S)  /* --secondary-node-eviction-rate 0.01 */
#define LARGE_ZONE 50                   /* --large-cluster-size-threshold */
#define UNHEALTHY_PERCENT 55            /* --unhealthy-zone-threshold */

char *node_zone(const struct node *node)
{
    const char *region = string_map_get(&node->meta.labels, REGION_LABEL);
    const char *zone = string_map_get(&node->meta.labels, ZONE_LABEL);

    return region || zone ? str_format("%s:%s", region ? region : "", zone ? zone : "")
                          : xstrdup("");
}

int64_t zone_pause_ns(const struct zone_health *zone, bool all_down)
{
    int64_t total = zone->ready + zone->not_ready;

    if (all_down)
        return -1;
    bool partly = zone->ready > 0 && zone->not_ready > 2 &&
                  zone->not_ready * 100 >= total * UNHEALTHY_PERCENT;
    if (!partly)
        return NORMAL_PAUSE_NS;
    return total > LARGE_ZONE ? SLOW_PAUSE_NS : -1;
}
