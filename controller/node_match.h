/* Whether a pod's template may run on a node: nodeName, nodeSelector, required node affinity,
 * taints. */
#pragma once

#include "controller/kinds.h"

/* spec: of a pod template. */
bool node_matches_affinity(const cJSON *spec, const struct node *node);

struct taint_fit {
    bool schedule; /* no untolerated NoSchedule or NoExecute taint */
    bool execute;  /* no untolerated NoExecute taint */
};
/* spec: of a pod template; those every daemon pod tolerates count as tolerated. */
struct taint_fit node_taint_fit(const cJSON *spec, const struct node *node);

/* The tolerations that daemon pods get besides their template's. */
void daemon_add_tolerations(cJSON *spec);
/* Pins a pod to a node by node affinity on metadata.name, in place of other required terms. */
void daemon_pin(cJSON *spec, const char *node_name);
/* The node a daemon pod is pinned to or bound to; "" when neither. buf holds 254 bytes. */
const char *daemon_pod_node(const char *node_name, const char *affinity, char *buf, size_t bytes);
