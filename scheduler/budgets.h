/*
 * Budgets: PodDisruptionBudgets, as preemption asks about them.
 *
 * Threads: the scheduler's loop only. Upstream: preemption.go (filterPodsWithPDBViolation).
 */
#pragma once

#include "scheduler/pod_info.h"

struct disruption_budget {
    struct object_meta meta;
    struct label_selector selector;
    int64_t allowed;             /* status.disruptionsAllowed */
    struct string_map disrupted; /* status.disruptedPods: names whose eviction is under way */
};
extern const struct projection budget_projection;

struct budgets;

struct budgets *budgets_new(void);
void budgets_free(struct budgets *b, struct pod_index *index);
void budgets_set(struct budgets *b, struct pod_index *index, const struct disruption_budget *old,
    const struct disruption_budget *now);
bool budgets_any(const struct budgets *b);
/* Sets violates[i] for pods whose eviction, in the order given, would break a budget. */
void budgets_judge(
    const struct budgets *b, struct pod_info *const *pods, size_t count, bool *violates);
