/*
 * Projections of the kubelet's informers, and small questions about a pod's spec. Pure.
 */
#include "kubelet/pod.h"

static const struct projection_field pod_fields[] = {
    PROJECT(struct pod_view, node_name, "spec.nodeName", P_STRING),
    PROJECT(struct pod_view, spec, "spec", P_JSON),
    PROJECT(struct pod_view, status, "status", P_JSON),
};
const struct projection kubelet_pod_projection = PROJECTION(struct pod_view, pod_fields);

static const struct projection_field service_port_fields[] = {
    PROJECT(struct service_port_view, name, "name", P_STRING),
    PROJECT(struct service_port_view, protocol, "protocol", P_STRING),
    PROJECT(struct service_port_view, port, "port", P_INT),
};
static const struct projection service_port_projection =
    PROJECTION(struct service_port_view, service_port_fields);

static const struct projection_field service_fields[] = {
    PROJECT(struct service_view, cluster_ip, "spec.clusterIP", P_STRING),
    PROJECT(struct service_view, type, "spec.type", P_STRING),
    PROJECT_OF(struct service_view, ports, "spec.ports", P_LIST, &service_port_projection),
};
const struct projection kubelet_service_projection = {.size = sizeof(struct service_view),
    .fields = service_fields,
    .field_count = ARRAY_COUNT(service_fields),
    .no_annotations = true};

static const struct projection_field node_address_fields[] = {
    PROJECT(struct node_address_view, type, "type", P_STRING),
    PROJECT(struct node_address_view, address, "address", P_STRING),
};
static const struct projection node_address_projection =
    PROJECTION(struct node_address_view, node_address_fields);

static const struct projection_field node_condition_fields[] = {
    PROJECT(struct node_condition_view, type, "type", P_STRING),
    PROJECT(struct node_condition_view, status, "status", P_STRING),
};
static const struct projection node_condition_projection =
    PROJECTION(struct node_condition_view, node_condition_fields);

static const struct projection_field node_fields[] = {
    PROJECT(struct node_view, pod_cidr, "spec.podCIDR", P_STRING),
    PROJECT_OF(struct node_view, addresses, "status.addresses", P_LIST, &node_address_projection),
    PROJECT_OF(
        struct node_view, conditions, "status.conditions", P_LIST, &node_condition_projection),
    PROJECT(struct node_view, capacity, "status.capacity", P_MAP),
};
const struct projection kubelet_node_projection = {.size = sizeof(struct node_view),
    .fields = node_fields,
    .field_count = ARRAY_COUNT(node_fields),
    .no_annotations = true};

static const cJSON *find_named(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (c_eq(json_string(item, "name"), name))
            return item;
    }
    return NULL;
}

const cJSON *pod_container(const cJSON *spec, const char *name, bool *ret_is_init)
{
    const cJSON *found = find_named(json_get(spec, "containers"), name);

    if (ret_is_init)
        *ret_is_init = false;
    if (found)
        return found;
    found = find_named(json_get(spec, "initContainers"), name);
    if (found && ret_is_init)
        *ret_is_init = true;
    return found ? found : find_named(json_get(spec, "ephemeralContainers"), name);
}

bool container_is_ephemeral(const cJSON *spec, const cJSON *container)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(spec, "ephemeralContainers"))
    {
        if (item == container)
            return true;
    }
    return false;
}

bool container_is_sidecar(const cJSON *container)
{
    return c_eq(json_string(container, "restartPolicy"), "Always");
}

bool pod_uses_host_network(const cJSON *spec)
{
    return json_bool(spec, "hostNetwork", false);
}

int64_t pod_grace_seconds(const cJSON *spec)
{
    int64_t seconds = json_int64_at(spec, "terminationGracePeriodSeconds", 30);

    return seconds < 0 ? 1 : seconds; /* as the API server says when it warns of it */
}

const char *pod_restart_policy(const cJSON *spec)
{
    const char *policy = json_string(spec, "restartPolicy");

    return policy ? policy : "Always";
}
