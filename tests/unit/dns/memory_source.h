/* A zone_source over lists of Services and EndpointSlices in memory, for tests. */
#pragma once

#include "dns/zone.h"

struct memory_source {
    struct projected_array services, slices;
};

/* {"services": [...], "slices": [...]} */
void memory_source_init(struct memory_source *m, const cJSON *tree);
void memory_source_done(struct memory_source *m);
struct zone_source memory_source_zone(struct memory_source *m);
