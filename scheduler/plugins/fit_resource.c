/*
 * Filter "FitResource": refuses nodes with too little free of a resource the pod requests, or no
 * free pod slot.
 *
 * Free is allocatable less the requests of every pod assigned to the node, whatever its phase,
 * until it is gone. A request above the node's allocatable amount is unresolvable: eviction would
 * not help.
 *
 * Cost:     one comparison a node and requested resource, over arrays.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/noderesources, fit.go.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/hot.h"
#include "scheduler/plugin.h"
#include "scheduler/profile.h"

static plugin_filter_fn fit_filter;
static plugin_explain_fn fit_explain;
static plugin_without_fn fit_without;

const struct plugin plugin_fit_resource = {
    .name = "FitResource",
    .upstream_name = "NodeResourcesFit",
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_ALLOCATABLE | EVENT_POD_REMOVED,
    .filter = fit_filter,
    .explain = fit_explain,
    .without = fit_without,
};

/* Keeps the rows of set that have at least `need` left. */
HOT static void keep_at_least(const int64_t *left, int64_t need, struct node_set *set)
{
    for (size_t w = 0; w < set->word_count; w++, left += 64) {
        uint64_t enough = 0;
        if (!set->words[w])
            continue;
        for (unsigned part = 0; part < 64; part += 8) {
            uint64_t bits = 0;
            for (unsigned bit = 0; bit < 8; bit++)
                bits |= (uint64_t)(left[part + bit] >= need) << bit;
            enough |= bits << part;
        }
        set->words[w] &= enough;
    }
}

static void keep_with_free(
    const struct node_table *nodes, uint32_t resource, int64_t need, struct node_set *fits)
{
    if (need <= 0)
        return;
    if (resource >= nodes->resource_count || !nodes->resources[resource].free)
        node_set_clear(fits);
    else
        keep_at_least(nodes->resources[resource].free, need, fits);
}

/* Resources that another component checks, by the profile's arguments. */
static bool is_ignored(const struct cycle *cycle, uint32_t id)
{
    const struct profile *profile = cycle->profile;
    const char *name = cycle->nodes->names.names[id];

    for (size_t i = 0; i < profile->ignored_count; i++) {
        const char *ignored = profile->ignored_resources[i];
        size_t n = strlen(ignored);
        if (n && ignored[n - 1] == '/' ? !strncmp(name, ignored, n) : c_eq(name, ignored))
            return true;
    }
    return false;
}

static void fit_filter(const struct cycle *cycle, struct node_set *fits)
{
    const struct pod_info *pod = cycle->pod;

    keep_with_free(cycle->nodes, RESOURCE_PODS, 1, fits);
    for (uint32_t id = 0; id < RESOURCE_REQUESTABLE; id++)
        keep_with_free(cycle->nodes, id, pod->request[id], fits);
    for (uint32_t i = 0; i < pod->extended_count; i++)
        if (!is_ignored(cycle, pod->extended[i].id))
            keep_with_free(cycle->nodes, pod->extended[i].id, pod->extended[i].amount, fits);
}

/* The refused rows that have less than needed: those too small for it even when empty can't be
 * helped. */
static void explain_one(const struct cycle *cycle, const struct node_set *refused, uint32_t id,
    int64_t need, struct reasons *reasons)
{
    struct node_set enough = node_set_new_like(cycle->arena, refused);
    struct node_set large = node_set_new_like(cycle->arena, refused);
    struct node_set lacking = node_set_new_like(cycle->arena, refused);

    if (need <= 0)
        return;
    node_set_copy(&enough, refused);
    keep_with_free(cycle->nodes, id, need, &enough);
    node_set_copy(&lacking, refused);
    node_set_and_not(&lacking, &enough);
    if (id < cycle->nodes->resource_count && cycle->nodes->resources[id].allocatable) {
        node_set_copy(&large, &lacking);
        keep_at_least(cycle->nodes->resources[id].allocatable, need, &large);
    }
    const char *name = cycle->nodes->names.names[id];
    node_set_and_not(&lacking, &large);
    if (!node_set_is_empty(&large))
        reasons_add(reasons, &large, false, "Insufficient %s", name);
    if (!node_set_is_empty(&lacking))
        reasons_add(reasons, &lacking, true, "Insufficient %s", name);
}

static void fit_explain(
    const struct cycle *cycle, const struct node_set *refused, struct reasons *reasons)
{
    const struct pod_info *pod = cycle->pod;
    struct node_set full = node_set_new_like(cycle->arena, refused);
    struct node_set roomy = node_set_new_like(cycle->arena, refused);

    node_set_copy(&full, refused);
    node_set_copy(&roomy, refused);
    keep_with_free(cycle->nodes, RESOURCE_PODS, 1, &roomy);
    node_set_and_not(&full, &roomy);
    if (!node_set_is_empty(&full))
        reasons_add(reasons, &full, false, "Too many pods");
    for (uint32_t id = 0; id < RESOURCE_REQUESTABLE; id++)
        explain_one(cycle, refused, id, pod->request[id], reasons);
    for (uint32_t i = 0; i < pod->extended_count; i++)
        if (!is_ignored(cycle, pod->extended[i].id))
            explain_one(cycle, refused, pod->extended[i].id, pod->extended[i].amount, reasons);
}

static int64_t freed(struct pod_info *const *pods, size_t count, uint32_t id)
{
    int64_t sum = 0;

    for (size_t p = 0; p < count; p++) {
        if (id < RESOURCE_REQUESTABLE)
            sum += pods[p]->request[id];
        for (uint32_t i = 0; i < pods[p]->extended_count; i++)
            if (pods[p]->extended[i].id == id)
                sum += pods[p]->extended[i].amount;
    }
    return sum;
}

static bool enough_without(const struct cycle *cycle, uint32_t row, struct pod_info *const *pods,
    size_t count, uint32_t id, int64_t need)
{
    return need <= 0 || need <= node_table_free_of(cycle->nodes, id, row) + freed(pods, count, id);
}

static bool fit_without(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count)
{
    const struct pod_info *pod = cycle->pod;
    bool fits = node_table_free_of(cycle->nodes, RESOURCE_PODS, row) + (int64_t)count >= 1;

    for (uint32_t id = 0; fits && id < RESOURCE_REQUESTABLE; id++)
        fits = enough_without(cycle, row, pods, count, id, pod->request[id]);
    for (uint32_t i = 0; fits && i < pod->extended_count; i++)
        fits =
            is_ignored(cycle, pod->extended[i].id) ||
            enough_without(cycle, row, pods, count, pod->extended[i].id, pod->extended[i].amount);
    return fits;
}
