/*
 * Preempt: which pods to evict so that a pod fits that fits nowhere.
 *
 * For each node where eviction may help, all pods of lower priority are thought away; if the pod
 * fits then, as many as possible are kept, the most important first and those that a disruption
 * budget protects before the others. Of these sets the best is taken: fewest broken budgets, lowest
 * highest priority, lowest sum of priorities, fewest pods, youngest.
 *
 * Nothing is changed here: the caller nominates the pod and deletes the victims, which leave in
 * their own time; meanwhile the pod waits.
 *
 * Cost: nodes that can't beat the best so far are left out by their lowest priority; the others
 * cost a pass over their pods. Upstream: plugins/defaultpreemption, framework/preemption.
 * Difference: upstream looks at a tenth of the nodes, here it is all.
 */
#pragma once

#include "scheduler/budgets.h"
#include "scheduler/diagnosis.h"

struct preemption {
    uint32_t row; /* ROW_NONE: it helps nowhere */
    struct pod_info **victims;
    size_t victim_count;
};

/* cycle: all filters have run; candidates: rows whose reasons are all resolvable. The sentence that
 * upstream adds to the pod's message goes to `message` (nothing when victims were found). */
void preempt_find(const struct cycle *cycle, const struct node_set *candidates,
    struct strbuf *message, struct preemption *ret);
