/* Container statuses of a pod; private to status.c. The list is new, in upstream's order (by name;
 * init containers as in the spec). */
#pragma once

#include "kubelet/status.h"

cJSON *container_statuses(const struct status_input *in, bool init);
cJSON *ephemeral_statuses(const struct status_input *in);
