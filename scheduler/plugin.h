/*
 * Scheduler plugins: rules that remove nodes (filter) and prefer nodes (score), over the node
 * table.
 *
 * A plugin is called once a pod, for all nodes: a filter clears bits of a node set, a score writes
 * to an array with one number a row. A plugin is one file in plugins/, one `const struct plugin`
 * and one line in plugins.c; the order of that list is the order of filters. Hooks that it has no
 * use for are NULL.
 *
 *     narrow    before all filters: cuts the nodes to a few that the pod names, or refuses the pod
 *     filter    clears the nodes that can't take the pod; only bits that are set need a look
 *     explain   after a failure: why these nodes were refused; without it .reason is the answer
 *     applies   after filter in the same cycle: can it refuse this pod at all? Without it, it can
 *     without   would the node do if these pods left? for choosing whom to evict; needed where
 *               the refusal depends on other pods (not .unresolvable). Called after filter in the
 *               same cycle; the pods are all on `row`
 *     score     writes scores[row] for the rows of fits (others may hold anything); false: nothing
 *               to say of this pod. Scores are then mapped to 0..100 as .normalize says, times the
 *               profile's weight
 *     concerns  may the pod that came to a node or left one help the waiting pod, which this plugin
 *               refused? Without it, it may
 *
 * Filter and score decide each row by that row alone unless .looks_around says otherwise: then a
 * change of one node or pod can make another node fit. The queue relies on it, and so does the
 * decider, which keeps the results of rows that have not changed for the next pod that is alike.
 *
 * Threads: the scheduler's loop. Memory: cycle->arena, gone after the decision.
 * Upstream: framework.FilterPlugin, PreFilterPlugin, ScorePlugin, EnqueueExtensions.
 */
#pragma once

#include "scheduler/node_table.h"

struct profile;
struct storage;
struct spread_state;
struct affinity_state;
struct volume_state;

/* What plugins work out once a cycle; in its arena. */
struct cycle_state {
    struct spread_state *spread;
    struct affinity_state *affinity;
    struct volume_state *volumes;
};

struct cycle {
    const struct node_table *nodes;
    const struct pod_info *pod;
    const struct profile *profile;
    struct storage *storage; /* NULL: no volumes are known */
    struct cycle_state *state;
    struct arena *arena;
};

/* Takes reasons from explain(): one for each of the rows. Unresolvable: no eviction on these nodes
 * would help. */
struct reasons;
void reasons_add(struct reasons *reasons, const struct node_set *rows, bool unresolvable,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

typedef const char *plugin_narrow_fn(const struct cycle *cycle, struct node_set *fits);
typedef void plugin_filter_fn(const struct cycle *cycle, struct node_set *fits);
typedef void plugin_explain_fn(
    const struct cycle *cycle, const struct node_set *refused, struct reasons *reasons);
typedef bool plugin_applies_fn(const struct cycle *cycle);
typedef bool plugin_without_fn(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count);
typedef bool plugin_score_fn(
    const struct cycle *cycle, const struct node_set *fits, int32_t *scores);

typedef bool plugin_concerns_fn(const struct pod_info *waiting, const struct pod_info *changed);

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
    /* narrow: NULL, or a sentence that says why no node at all can do */
    plugin_narrow_fn *narrow;
    plugin_filter_fn *filter;
    plugin_explain_fn *explain;
    plugin_applies_fn *applies;
    plugin_without_fn *without;
    plugin_score_fn *score;
    plugin_concerns_fn *concerns;
    enum plugin_normalize normalize;
    int64_t weight;
};

#define PLUGIN_SCORE_MAX 100
#define PLUGINS_MAX 64 /* a set of plugins is a 64-bit mask */

extern const struct plugin *const plugins[];
extern const size_t plugin_count;

static inline uint64_t plugin_bit(const struct plugin *plugin)
{
    for (size_t i = 0; i < plugin_count; i++)
        if (plugins[i] == plugin)
            return 1ull << i;
    return 0;
}

static inline bool plugin_is_one_of(
    const struct pod_info *pod, struct pod_info *const *pods, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pods[i] == pod)
            return true;
    return false;
}
