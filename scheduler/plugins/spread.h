/* Inclusion of nodes in topology spreading, shared with the plugins that own the two rules. */
#pragma once

#include "scheduler/plugin.h"

/* Keeps the nodes of set that meet the pod's nodeSelector and required node affinity. */
void node_selector_keep(const struct cycle *cycle, struct node_set *set);
/* Keeps the nodes of set without a NoSchedule or NoExecute taint that the pod does not tolerate. */
void taints_keep(const struct cycle *cycle, struct node_set *set);
