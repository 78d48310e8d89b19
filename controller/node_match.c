/*
 * Whether a template may run on a node: see node_match.h.
 *
 * Upstream: component-helpers/scheduling/corev1, pkg/controller/daemon/util.
 */
#include "controller/node_match.h"

#include "controller/taint_eviction.h"

static bool list_has(const cJSON *values, const char *text)
{
    const cJSON *item;

    cJSON_ArrayForEach(
        item, values) if (cJSON_IsString(item) && !strcmp(item->valuestring, text)) return true;
    return false;
}

static bool compare(const cJSON *values, const char *text, bool greater)
{
    int64_t have, want;
    struct error err;
    const cJSON *first = values ? values->child : NULL;

    if (!cJSON_IsString(first) || str_parse_int64(str_of(text), &have, &err) < 0 ||
        str_parse_int64(str_of(first->valuestring), &want, &err) < 0)
        return false;
    return greater ? have > want : have < want;
}

static bool expression_matches(const cJSON *expression, const char *value)
{
    const char *operator_ = json_string(expression, "operator");
    const cJSON *values = json_get(expression, "values");

    if (!operator_)
        return false;
    if (!strcmp(operator_, "In"))
        return value && list_has(values, value);
    if (!strcmp(operator_, "NotIn"))
        return !value || !list_has(values, value);
    if (!strcmp(operator_, "Exists"))
        return value != NULL;
    if (!strcmp(operator_, "DoesNotExist"))
        return value == NULL;
    return value && compare(values, value, !strcmp(operator_, "Gt"));
}

static bool term_matches(const cJSON *term, const struct node *node)
{
    const cJSON *expressions = json_get(term, "matchExpressions"),
                *fields = json_get(term, "matchFields");
    const cJSON *item;

    if ((!expressions || !expressions->child) && (!fields || !fields->child))
        return false; /* an empty term matches nothing */
    cJSON_ArrayForEach(item, expressions)
    {
        const char *key = json_string(item, "key");
        if (!key || !expression_matches(item, string_map_get(&node->meta.labels, key)))
            return false;
    }
    cJSON_ArrayForEach(item, fields) if (!c_eq(json_string(item, "key"), "metadata.name") ||
                                         !expression_matches(item, node->meta.name)) return false;
    return true;
}

bool node_matches_affinity(const cJSON *spec, const struct node *node)
{
    const char *name = json_string(spec, "nodeName");
    const cJSON *pair, *term;
    const cJSON *required =
        json_path(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");

    if (name && *name && strcmp(name, node->meta.name))
        return false;
    cJSON_ArrayForEach(pair,
        json_get(spec, "nodeSelector")) if (!c_eq(string_map_get(&node->meta.labels, pair->string),
                                                cJSON_GetStringValue(pair))) return false;
    if (!required || cJSON_IsNull(required))
        return true;
    cJSON_ArrayForEach(
        term, json_get(required, "nodeSelectorTerms")) if (term_matches(term, node)) return true;
    return false;
}

static bool is_tolerated(const cJSON *tolerations, const struct node_taint *taint)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, tolerations)
    {
        const char *key = json_string(item, "key"), *operator_ = json_string(item, "operator");
        const char *value = json_string(item, "value"), *effect = json_string(item, "effect");
        struct pod_toleration t = {.key = key ? key : "",
            .operator_ = operator_ ? operator_ : "",
            .value = value ? value : "",
            .effect = effect ? effect : ""};
        if (toleration_matches(&t, taint))
            return true;
    }
    return false;
}

struct taint_fit node_taint_fit(const cJSON *spec, const struct node *node)
{
    const struct node_taint *taints = node->taints.items;
    struct taint_fit fit = {true, true};
    autojson cJSON *copy = cJSON_CreateObject();

    if (json_get(spec, "tolerations"))
        json_set(copy, "tolerations", cJSON_Duplicate(json_get(spec, "tolerations"), true));
    if (json_bool(spec, "hostNetwork", false))
        json_set(copy, "hostNetwork", cJSON_CreateTrue());
    daemon_add_tolerations(copy);
    for (size_t i = 0; i < node->taints.count; i++) {
        if (!strcmp(taints[i].effect, "PreferNoSchedule") ||
            is_tolerated(json_get(copy, "tolerations"), &taints[i]))
            continue;
        fit.schedule = false;
        if (!strcmp(taints[i].effect, "NoExecute"))
            fit.execute = false;
    }
    return fit;
}

void daemon_add_tolerations(cJSON *spec)
{
    static const struct {
        const char *key, *effect;
        bool host_network;
    } extra[] = {
        {"node.kubernetes.io/not-ready", "NoExecute", false},
        {"node.kubernetes.io/unreachable", "NoExecute", false},
        {"node.kubernetes.io/disk-pressure", "NoSchedule", false},
        {"node.kubernetes.io/memory-pressure", "NoSchedule", false},
        {"node.kubernetes.io/pid-pressure", "NoSchedule", false},
        {"node.kubernetes.io/unschedulable", "NoSchedule", false},
        {"node.kubernetes.io/network-unavailable", "NoSchedule", true},
    };
    cJSON *tolerations = json_get(spec, "tolerations");

    if (!cJSON_IsArray(tolerations)) {
        tolerations = cJSON_CreateArray();
        json_set(spec, "tolerations", tolerations);
    }
    for (size_t i = 0; i < ARRAY_COUNT(extra); i++) {
        if (extra[i].host_network && !json_bool(spec, "hostNetwork", false))
            continue;
        struct node_taint taint = {.key = extra[i].key, .value = "", .effect = extra[i].effect};
        if (is_tolerated(tolerations, &taint))
            continue;
        cJSON *t = cJSON_CreateObject();
        json_set_string(t, "key", extra[i].key);
        json_set_string(t, "operator", "Exists");
        json_set_string(t, "effect", extra[i].effect);
        cJSON_AddItemToArray(tolerations, t);
    }
}

void daemon_pin(cJSON *spec, const char *node_name)
{
    cJSON *required =
        json_make("{\"nodeSelectorTerms\":[{\"matchFields\":[{\"key\":\"metadata.name\","
                  "\"operator\":\"In\",\"values\":[\"%s\"]}]}]}",
            node_name);

    json_set_at(
        spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution", required);
}

const char *daemon_pod_node(const char *node_name, const char *affinity, char *buf, size_t bytes)
{
    autojson cJSON *tree = NULL;
    struct error err;
    const cJSON *term, *field;

    snprintf(buf, bytes, "%s", node_name);
    if (*node_name || !affinity || json_parse(str_of(affinity), &tree, &err) < 0)
        return buf;
    const cJSON *required =
        json_path(tree, "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    cJSON_ArrayForEach(term, json_get(required, "nodeSelectorTerms"))
        cJSON_ArrayForEach(field, json_get(term, "matchFields"))
    {
        const cJSON *values = json_get(field, "values");
        if (c_eq(json_string(field, "key"), "metadata.name") && values && values->child)
            snprintf(buf, bytes, "%s", cJSON_GetStringValue(values->child));
    }
    return buf;
}
