/*
 * Scheduler plugins: rules that remove nodes (filter) and prefer nodes (score), over the node
 * table.
 *
 * A plugin is called once a pod, for all nodes: a filter clears bits of a node set, a score writes
 * to an array with one number a row. A plugin is one file in plugins/, one `const struct plugin`
 * and one line in plugins.c; the order of that list is the order of filters. Hooks that it has no
 * use for are NULL.
 *
 *     filter    clears the nodes that can't take the pod; only bits that are set need a look
 *     explain   after a failure: why one node was refused; without it .reason is the answer
 *     without   would the node do if these pods left? for choosing whom to evict; needed where
 *               the refusal depends on other pods (not .unresolvable)
 *     score     writes scores[row] for the rows of fits (all zero before); false: nothing to say of
 *               this pod. Scores are then mapped to 0..100 as .normalize says, times .weight
 *
 * A filter decides each row by that row alone unless .looks_around says otherwise: then a change of
 * one node or pod can make another node fit. The queue relies on it.
 *
 * Threads: the scheduler's loop. Memory: cycle->arena, gone after the decision.
 * Upstream: framework.FilterPlugin, PreFilterPlugin, ScorePlugin, EnqueueExtensions.
 */
#pragma once

#include "scheduler/node_table.h"

struct cycle {
    const struct node_table *nodes;
    const struct pod_info *pod;
    struct arena *arena;
};

/* Takes reasons from explain(). text is copied; unresolvable: no eviction on that node would help.
 */
struct reasons;
void reasons_add(struct reasons *reasons, bool unresolvable, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef void plugin_filter_fn(const struct cycle *cycle, struct node_set *fits);
typedef void plugin_explain_fn(const struct cycle *cycle, uint32_t row, struct reasons *reasons);
typedef bool plugin_without_fn(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count);
typedef bool plugin_score_fn(
    const struct cycle *cycle, const struct node_set *fits, int64_t *scores);
/* Before all filters: cuts the nodes to a few that the pod names. Returns NULL, or a sentence that
 * says why no node at all can do. */
typedef const char *plugin_narrow_fn(const struct cycle *cycle, struct node_set *fits);

enum plugin_normalize {
    NORMALIZE_NONE,     /* scores are 0..100 already */
    NORMALIZE_HIGHEST,  /* the highest becomes 100 */
    NORMALIZE_REVERSED, /* the highest becomes 0, zero becomes 100 */
};

struct plugin {
    const char *name;
    const char *upstream_name; /* in messages and configuration files */
    const char *reason;        /* for all nodes it refuses, unless explain says more */
    bool unresolvable;         /* .reason can't be helped by evicting pods */
    bool looks_around;
    unsigned retry_on; /* enum cluster_event: what may help a pod it refused */
    plugin_narrow_fn *narrow;
    plugin_filter_fn *filter;
    plugin_explain_fn *explain;
    plugin_without_fn *without;
    plugin_score_fn *score;
    enum plugin_normalize normalize;
    int64_t weight;
};

#define PLUGIN_SCORE_MAX 100
#define PLUGINS_MAX 64 /* a set of plugins is a 64-bit mask */

extern const struct plugin *const plugins[];
extern const size_t plugin_count;
