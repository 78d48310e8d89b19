/*
 * Disruption budgets: the arithmetic (pure).
 */
#pragma once

#include "controller/kinds.h"

/* How long a pod whose eviction was accepted counts as gone, though it is still there. */
#define DISRUPTION_TIMEOUT_NS (120 * 1000000000ll)

/* Whether the budget needs the number of pods that the pods' controllers want. */
bool budget_needs_scale(const struct budget *b);

struct budget_sum {
    int64_t expected, desired, healthy, allowed;
};
/* pods: how many match; scale: what their controllers want; healthy: ready, and not on their way
 * out. */
struct budget_sum budget_sum(const struct budget *b, int64_t pods, int64_t scale, int64_t healthy);
