/* Rules on nodes that several plugins apply; each belongs to one of them. */
#pragma once

#include "scheduler/plugin.h"

/* Keeps the nodes of set that meet the pod's nodeSelector and required node affinity. */
void node_selector_keep(const struct cycle *cycle, struct node_set *set);
/* Keeps the nodes of set that match one of the terms (struct node_term). */
void node_terms_keep(
    const struct cycle *cycle, const struct projected_list *terms, struct node_set *set);
/* Keeps the nodes of set with one of the values of each key (struct node_requirement). */
void node_values_keep(
    const struct cycle *cycle, const struct projected_list *requirements, struct node_set *set);
/* Keeps the nodes of set without a NoSchedule or NoExecute taint that the pod does not tolerate. */
void taints_keep(const struct cycle *cycle, struct node_set *set);
