/*
 * Plugin "TaintToleration": refuses nodes with a NoSchedule or NoExecute taint that the pod does
 * not tolerate, and prefers nodes with fewer PreferNoSchedule taints that it does not tolerate.
 *
 * The message names the first such taint in the node's own order.
 *
 * Cost:     one AND-NOT of two bitmaps a distinct taint, however many nodes carry it.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/tainttoleration.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/plugins/spread.h"
#include "scheduler/plugins/tolerations.h"

static plugin_filter_fn taint_filter;
static plugin_explain_fn taint_explain;
static plugin_score_fn taint_score;

const struct plugin plugin_taint_toleration = {
    .name = "TaintToleration",
    .upstream_name = "TaintToleration",
    .unresolvable = true,
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_TAINTED,
    .filter = taint_filter,
    .explain = taint_explain,
    .score = taint_score,
    .normalize = NORMALIZE_REVERSED,
    .weight = 3,
};

static bool tolerates(
    const struct toleration *t, const char *key, const char *value, const char *effect)
{
    if (t->effect[0] && !c_eq(t->effect, effect))
        return false;
    if (t->key[0] && !c_eq(t->key, key))
        return false;
    if (c_eq(t->operator_, "Exists"))
        return true;
    return (!t->operator_[0] || c_eq(t->operator_, "Equal")) && t->key[0] && c_eq(t->value, value);
}

bool pod_tolerates(const struct pod *pod, const char *key, const char *value, const char *effect)
{
    const struct toleration *t = pod->tolerations.items;

    for (size_t i = 0; i < pod->tolerations.count; i++)
        if (tolerates(&t[i], key, value, effect))
            return true;
    return false;
}

static bool is_tolerated(const struct cycle *cycle, const struct taint *t)
{
    return pod_tolerates(cycle->pod->object, t->key, t->value, taint_effect_name(t->effect));
}

void taints_keep(const struct cycle *cycle, struct node_set *fits)
{
    for (const struct taint *t = cycle->nodes->taints; t; t = t->next)
        if (t->effect != TAINT_PREFER_NO_SCHEDULE && !is_tolerated(cycle, t))
            column_and_not(&t->nodes, fits);
}

static void taint_filter(const struct cycle *cycle, struct node_set *fits)
{
    taints_keep(cycle, fits);
}

/* The node's first taint, in its own order, that the pod does not tolerate. */
static const struct taint *first_untolerated(const struct cycle *cycle, const struct node_row *node)
{
    for (uint32_t i = 0; i < node->taint_count; i++)
        if (node->taints[i]->effect != TAINT_PREFER_NO_SCHEDULE &&
            !is_tolerated(cycle, node->taints[i]))
            return node->taints[i];
    return NULL;
}

static void taint_explain(
    const struct cycle *cycle, const struct node_set *refused, struct reasons *reasons)
{
    struct node_set rows = node_set_new_like(cycle->arena, refused);
    struct node_set rest = node_set_new_like(cycle->arena, refused);

    node_set_copy(&rest, refused);
    for (const struct taint *t = cycle->nodes->taints; t; t = t->next) {
        if (t->effect == TAINT_PREFER_NO_SCHEDULE || is_tolerated(cycle, t))
            continue;
        node_set_copy(&rows, &rest);
        column_and(&t->nodes, &rows);
        NODE_SET_FOR_EACH(row, &rows)
        if (cycle->nodes->rows[row]->taint_count > 1 &&
            first_untolerated(cycle, cycle->nodes->rows[row]) != t)
            node_set_remove(&rows, row);
        node_set_and_not(&rest, &rows);
        if (!node_set_is_empty(&rows))
            reasons_add(
                reasons, &rows, true, "node(s) had untolerated taint {%s: %s}", t->key, t->value);
    }
}

static bool taint_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    bool any = false;

    memset(scores, 0, cycle->nodes->capacity * sizeof(*scores));
    for (const struct taint *t = cycle->nodes->taints; t; t = t->next) {
        if (t->effect != TAINT_PREFER_NO_SCHEDULE || is_tolerated(cycle, t))
            continue;
        column_count(&t->nodes, fits, 1, scores);
        any = true;
    }
    return any;
}
