/* Does a pod tolerate a taint? Shared by the plugins that read taints. */
#pragma once

#include "scheduler/plugin.h"

/* Upstream's ToleratesTaint over all of the pod's tolerations. */
bool pod_tolerates(const struct pod *pod, const char *key, const char *value, const char *effect);
