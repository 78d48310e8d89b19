/* What objects use of a quota: see quota.h. Upstream: pkg/quota/v1/evaluator/core. */
#include "common/quota.h"

#include "common/time.h"

#define COUNT_PREFIX "count/"
#define CLASS_SUFFIX ".storageclass.storage.k8s.io/"

static bool starts(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

const char *quota_counted(const char *name)
{
    return starts(name, COUNT_PREFIX) ? name + sizeof(COUNT_PREFIX) - 1 : name;
}

enum quota_source quota_source_of(const char *name)
{
    static const char *const counted[] = {
        "replicationcontrollers", "secrets", "configmaps", "resourcequotas"};
    const char *what = quota_counted(name);

    if (!strcmp(what, "pods"))
        return QUOTA_PODS;
    if (!strcmp(what, "services") || starts(name, "services."))
        return QUOTA_SERVICES;
    if (!strcmp(what, "persistentvolumeclaims") || !strcmp(name, "requests.storage") ||
        strstr(name, CLASS_SUFFIX))
        return QUOTA_CLAIMS;
    if (what != name)
        return QUOTA_OBJECTS;
    for (size_t i = 0; i < ARRAY_COUNT(counted); i++)
        if (!strcmp(name, counted[i]))
            return QUOTA_OBJECTS;
    return QUOTA_PODS;
}

static void add(struct quota_sum *sum, struct quantity q)
{
    sum->used = quantity_add(sum->used, q);
}

static void add_count(struct quota_sum *sum, int64_t n)
{
    add(sum, quantity_of_value(n, QUANTITY_DECIMAL_SI));
}

static struct quantity quantity_at(const cJSON *map, const char *name)
{
    const cJSON *item = json_get(map, name);
    struct quantity q = {0};
    struct error ignored;

    if (cJSON_IsString(item))
        (void)quantity_parse(str_of(item->valuestring), &q, &ignored);
    else if (cJSON_IsNumber(item))
        q = quantity_of_value((int64_t)item->valuedouble, QUANTITY_DECIMAL_SI);
    return q;
}

/* --- pods --- */

static struct quantity larger(struct quantity a, struct quantity b)
{
    return quantity_cmp(a, b) < 0 ? b : a;
}

/* What a pod asks for (kind "requests") or may take ("limits"): its containers together, or one of
 * its init containers beside the sidecars before it, whichever is more; and its overhead. */
static struct quantity pod_resource(const cJSON *spec, const char *kind, const char *name)
{
    struct quantity sum = {0}, sidecars = {0}, init = {0};
    const cJSON *c;

    cJSON_ArrayForEach(c, json_get(spec, "containers"))
    {
        sum = quantity_add(sum, quantity_at(json_get(json_get(c, "resources"), kind), name));
    }
    cJSON_ArrayForEach(c, json_get(spec, "initContainers"))
    {
        struct quantity q = quantity_at(json_get(json_get(c, "resources"), kind), name);
        if (c_eq(json_string(c, "restartPolicy"), "Always")) {
            sidecars = quantity_add(sidecars, q);
            init = larger(init, sidecars);
        } else {
            init = larger(init, quantity_add(sidecars, q));
        }
    }
    struct quantity total = larger(quantity_add(sum, sidecars), init);
    if (total.nano)
        total = quantity_add(total, quantity_at(json_get(spec, "overhead"), name));
    return total;
}

static bool is_over(const cJSON *pod, int64_t now_ns)
{
    const char *phase = json_string_at(pod, "status.phase");
    const char *deleted = json_string_at(pod, "metadata.deletionTimestamp");
    int64_t at;
    struct error ignored;

    return c_eq(phase, "Succeeded") || c_eq(phase, "Failed") ||
           (deleted && time_parse(str_of(deleted), &at, &ignored) == 0 && now_ns > at);
}

void quota_add_pod(struct quota_sum *sums, size_t count, const cJSON *pod, int64_t now_ns)
{
    const cJSON *spec = json_get(pod, "spec");
    bool over = is_over(pod, now_ns);

    for (size_t i = 0; i < count; i++) {
        const char *name = sums[i].name;
        if (sums[i].source != QUOTA_PODS)
            continue;
        if (!strcmp(name, "count/pods"))
            add_count(&sums[i], 1);
        else if (over)
            continue;
        else if (!strcmp(name, "pods"))
            add_count(&sums[i], 1);
        else if (starts(name, "limits."))
            add(&sums[i], pod_resource(spec, "limits", name + 7));
        else
            add(&sums[i],
                pod_resource(spec, "requests", starts(name, "requests.") ? name + 9 : name));
    }
}

static bool is_best_effort(const cJSON *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    static const char *const kinds[] = {"requests", "limits"};
    static const char *const names[] = {"cpu", "memory"};
    const cJSON *c;

    for (size_t l = 0; l < ARRAY_COUNT(lists); l++)
        cJSON_ArrayForEach(c, json_get(spec, lists[l]))
        {
            for (size_t k = 0; k < ARRAY_COUNT(kinds); k++)
                for (size_t n = 0; n < ARRAY_COUNT(names); n++)
                    if (quantity_at(json_get(json_get(c, "resources"), kinds[k]), names[n]).nano)
                        return false;
        }
    return true;
}

static bool crosses_namespaces(const cJSON *affinity)
{
    static const char *const kinds[] = {"podAffinity", "podAntiAffinity"};
    static const char *const lists[] = {"requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution"};
    const cJSON *item;

    for (size_t k = 0; k < ARRAY_COUNT(kinds); k++)
        for (size_t l = 0; l < ARRAY_COUNT(lists); l++)
            cJSON_ArrayForEach(item, json_get(json_get(affinity, kinds[k]), lists[l]))
            {
                const cJSON *term = l ? json_get(item, "podAffinityTerm") : item;
                const cJSON *namespaces = json_get(term, "namespaces");
                if ((namespaces && namespaces->child) || json_get(term, "namespaceSelector"))
                    return true;
            }
    return false;
}

static bool has_scope(const char *scope, const cJSON *pod)
{
    const cJSON *spec = json_get(pod, "spec");
    bool ends = json_get(spec, "activeDeadlineSeconds") != NULL;

    if (c_eq(scope, "Terminating"))
        return ends;
    if (c_eq(scope, "NotTerminating"))
        return !ends;
    if (c_eq(scope, "BestEffort"))
        return is_best_effort(spec);
    if (c_eq(scope, "NotBestEffort"))
        return !is_best_effort(spec);
    if (c_eq(scope, "CrossNamespacePodAffinity"))
        return crosses_namespaces(json_get(spec, "affinity"));
    if (c_eq(scope, "PriorityClass")) {
        const char *class = json_string(spec, "priorityClassName");
        return class && *class;
    }
    return false;
}

static bool expression_matches(const cJSON *expression, const cJSON *pod)
{
    const char *scope = json_string(expression, "scopeName");
    const char *operator_ = json_string(expression, "operator");
    const char *class = json_string_at(pod, "spec.priorityClassName");
    const cJSON *value;
    bool in = false;

    if (!c_eq(scope, "PriorityClass") || c_eq(operator_, "Exists"))
        return has_scope(scope, pod);
    if (c_eq(operator_, "DoesNotExist"))
        return !has_scope(scope, pod);
    cJSON_ArrayForEach(value, json_get(expression, "values"))
    {
        in |= c_eq(cJSON_GetStringValue(value), class ? class : "");
    }
    return c_eq(operator_, "In") ? in : !in;
}

bool quota_scope_matches(const cJSON *spec, const cJSON *pod)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(spec, "scopes"))
    {
        if (!has_scope(cJSON_GetStringValue(item), pod))
            return false;
    }
    cJSON_ArrayForEach(item, json_path(spec, "scopeSelector.matchExpressions"))
    {
        if (!expression_matches(item, pod))
            return false;
    }
    return true;
}

/* --- services and claims --- */

static int64_t node_ports(const cJSON *service)
{
    const char *type = json_string_at(service, "spec.type");
    bool balancer = c_eq(type, "LoadBalancer");
    bool all = c_eq(type, "NodePort") || (balancer && json_bool(json_get(service, "spec"),
                                                          "allocateLoadBalancerNodePorts", true));
    int64_t n = 0;
    const cJSON *port;

    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        n += all || (balancer && json_int64_at(port, "nodePort", 0) > 0);
    }
    return n;
}

void quota_add_service(struct quota_sum *sums, size_t count, const cJSON *service)
{
    bool balancer = c_eq(json_string_at(service, "spec.type"), "LoadBalancer");

    for (size_t i = 0; i < count; i++) {
        if (sums[i].source != QUOTA_SERVICES)
            continue;
        if (!strcmp(sums[i].name, "services.nodeports"))
            add_count(&sums[i], node_ports(service));
        else if (!strcmp(sums[i].name, "services.loadbalancers"))
            add_count(&sums[i], balancer);
        else
            add_count(&sums[i], 1);
    }
}

/* The larger of what is asked for and what there is. */
static struct quantity claim_size(const cJSON *claim)
{
    struct quantity asked = quantity_at(json_path(claim, "spec.resources.requests"), "storage");
    return larger(asked, quantity_at(json_path(claim, "status.allocatedResources"), "storage"));
}

void quota_add_claim(struct quota_sum *sums, size_t count, const cJSON *claim)
{
    const char *class = json_string_at(claim, "spec.storageClassName");
    const char *old = json_string(
        json_path(claim, "metadata.annotations"), "volume.beta.kubernetes.io/storage-class");

    class = old ? old : class ? class : "";
    for (size_t i = 0; i < count; i++) {
        const char *name = sums[i].name, *suffix = strstr(name, CLASS_SUFFIX);
        if (sums[i].source != QUOTA_CLAIMS)
            continue;
        if (suffix &&
            (strlen(class) != (size_t)(suffix - name) || strncmp(name, class, strlen(class)) != 0))
            continue;
        const char *what = suffix ? suffix + sizeof(CLASS_SUFFIX) - 1 : name;
        if (!strcmp(what, "requests.storage"))
            add(&sums[i], claim_size(claim));
        else
            add_count(&sums[i], 1);
    }
}
