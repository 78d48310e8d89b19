/*
 * Controller "clusterrole-aggregation": the rules of a ClusterRole with an aggregationRule are the
 * union of the rules of the roles that its selectors match, ordered by role name, each rule once.
 * What no role gives any more is taken away.
 *
 * Upstream: pkg/controller/clusterroleaggregation.
 */
#include "controller/pods.h"
#include "controller/status.h"

static void on_role(struct controller *c, const void *old_object, const void *new_object)
{
    auto_objects struct projected_array roles = kind_list(c->m, KIND_CLUSTER_ROLE, NULL);

    for (size_t i = 0; i < roles.count; i++)
        if (((const struct cluster_role *)roles.objects[i])->aggregation)
            controller_add(c, roles.objects[i]);
}

static bool is_selected(const cJSON *aggregation, const struct object_meta *role)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(aggregation, "clusterRoleSelectors"))
    {
        struct selector *s = NULL;
        struct error err;
        if (selector_from_json(item, &s, &err) < 0)
            continue;
        bool matches = selector_matches(s, string_map_label, &role->labels);
        selector_free(s);
        if (matches)
            return true;
    }
    return false;
}

static void add_rules(cJSON *rules, const struct cluster_role *role)
{
    autojson cJSON *from = json_of_text(role->rules);
    const cJSON *rule, *have;

    cJSON_ArrayForEach(rule, from)
    {
        bool known = false;
        cJSON_ArrayForEach(have, rules) known |= json_equal(have, rule);
        if (!known)
            cJSON_AddItemToArray(rules, cJSON_Duplicate(rule, true));
    }
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct cluster_role *role = kind_get(c->m, KIND_CLUSTER_ROLE, "", key);

    if (!role || !role->aggregation || role->meta.deletion_ns)
        return 0;
    auto_objects struct projected_array roles = kind_list(c->m, KIND_CLUSTER_ROLE, NULL);
    autojson cJSON *aggregation = json_of_text(role->aggregation), *rules = cJSON_CreateArray();
    autojson cJSON *old = role->rules ? json_of_text(role->rules) : cJSON_CreateArray();
    for (size_t i = 0; i < roles.count; i++)
        if (strcmp(((const struct object_meta *)roles.objects[i])->name, key) &&
            is_selected(aggregation, roles.objects[i]))
            add_rules(rules, roles.objects[i]);
    if (json_equal(old, rules))
        return 0;
    cJSON *patch = cJSON_CreateObject();
    json_set(patch, "rules", steal(&rules));
    int r = object_patch(c->m, KIND_CLUSTER_ROLE, &role->meta, NULL, patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

const struct controller_info controller_clusterrole = {
    .name = "clusterrole-aggregation-controller",
    .component = "clusterrole-aggregation-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_CLUSTER_ROLE, on_role}},
    .reconcile = reconcile,
};
