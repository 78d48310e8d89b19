/* Which taints a node's conditions ask for: see node_taints.h. One row a taint. */
#include "controller/node_taints.h"

#include "common/time.h"

#define KEY(name) "node.kubernetes.io/" name

/* Present while the condition has the status (or spec.unschedulable is set: condition NULL). */
static const struct rule {
    const char *key, *effect, *condition, *status;
} rules[] = {
    {KEY("not-ready"), "NoSchedule", "Ready", "False"},
    {KEY("unreachable"), "NoSchedule", "Ready", "Unknown"},
    {KEY("memory-pressure"), "NoSchedule", "MemoryPressure", "True"},
    {KEY("disk-pressure"), "NoSchedule", "DiskPressure", "True"},
    {KEY("pid-pressure"), "NoSchedule", "PIDPressure", "True"},
    {KEY("network-unavailable"), "NoSchedule", "NetworkUnavailable", "True"},
    {KEY("unschedulable"), "NoSchedule", NULL, NULL},
    {KEY("not-ready"), "NoExecute", "Ready", "False"},
    {KEY("unreachable"), "NoExecute", "Ready", "Unknown"},
};

static bool applies(const struct rule *rule, const struct node *node)
{
    if (!rule->condition)
        return node->unschedulable;
    const struct node_condition *c = node_condition(node, rule->condition);
    return c && !strcmp(c->status, rule->status);
}

static const struct rule *rule_of(const struct node_taint *taint)
{
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++)
        if (!strcmp(rules[i].key, taint->key) && !strcmp(rules[i].effect, taint->effect))
            return &rules[i];
    return NULL;
}

static cJSON *taint_json(const char *key, const char *value, const char *effect, int64_t added_ns)
{
    char text[TIME_TEXT_BYTES];
    cJSON *json = cJSON_CreateObject();

    json_set_string(json, "key", key);
    if (*value)
        json_set_string(json, "value", value);
    json_set_string(json, "effect", effect);
    if (added_ns)
        json_set_string(json, "timeAdded", time_print_s(added_ns, text));
    return json;
}

cJSON *node_taints_wanted(const struct node *node, bool may_evict, int64_t now_ns)
{
    const struct node_taint *taints = node->taints.items;
    cJSON *array = cJSON_CreateArray();
    bool have[ARRAY_COUNT(rules)] = {false}, changed = false;

    for (size_t i = 0; i < node->taints.count; i++) {
        const struct rule *rule = rule_of(&taints[i]);
        if (rule && !applies(rule, node)) {
            changed = true;
            continue;
        }
        if (rule)
            have[rule - rules] = true;
        cJSON_AddItemToArray(array,
            taint_json(taints[i].key, taints[i].value, taints[i].effect, taints[i].added_ns));
    }
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
        bool evicts = !strcmp(rules[i].effect, "NoExecute");
        if (have[i] || !applies(&rules[i], node) || (evicts && !may_evict))
            continue;
        cJSON_AddItemToArray(array, taint_json(rules[i].key, "", rules[i].effect, now_ns));
        changed = true;
    }
    if (changed)
        return array;
    cJSON_Delete(array);
    return NULL;
}
