/* When a taint drives a pod from its node. */
#pragma once

#include "controller/kinds.h"

bool toleration_matches(const struct pod_toleration *t, const struct node_taint *taint);
/* Wall-clock time; 0: now, INT64_MAX: never. */
int64_t eviction_time_ns(const struct pod *pod, const struct node *node, int64_t now_ns);
