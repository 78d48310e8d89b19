/*
 * Projections of Service and EndpointSlice: the tables behind objects.h.
 */
#include "proxy/objects.h"

static const struct projection_field port_fields[] = {
    PROJECT(struct service_port, name, "name", P_STRING),
    PROJECT(struct service_port, protocol, "protocol", P_STRING),
    PROJECT(struct service_port, port, "port", P_INT),
    PROJECT(struct service_port, node_port, "nodePort", P_INT),
};
static const struct projection port_projection = PROJECTION(struct service_port, port_fields);

static const struct projection_field ingress_fields[] = {
    PROJECT(struct ingress_ip, ip, "ip", P_STRING),
};
static const struct projection ingress_projection = PROJECTION(struct ingress_ip, ingress_fields);

static const struct projection_field service_fields[] = {
    PROJECT(struct service, type, "spec.type", P_STRING),
    PROJECT(struct service, cluster_ip, "spec.clusterIP", P_STRING),
    PROJECT(struct service, session_affinity, "spec.sessionAffinity", P_STRING),
    PROJECT(struct service, cluster_ips, "spec.clusterIPs", P_STRINGS),
    PROJECT(struct service, external_ips, "spec.externalIPs", P_STRINGS),
    PROJECT(struct service, external_policy, "spec.externalTrafficPolicy", P_STRING),
    PROJECT(struct service, internal_policy, "spec.internalTrafficPolicy", P_STRING),
    PROJECT(struct service, affinity_seconds, "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        P_INT),
    PROJECT_OF(struct service, ports, "spec.ports", P_LIST, &port_projection),
    PROJECT_OF(struct service, ingress, "status.loadBalancer.ingress", P_LIST, &ingress_projection),
};
const struct projection service_projection = {
    .size = sizeof(struct service),
    .fields = service_fields,
    .field_count = ARRAY_COUNT(service_fields),
    .no_annotations = true,
};

static const struct projection_field slice_port_fields[] = {
    PROJECT(struct slice_port, name, "name", P_STRING),
    PROJECT(struct slice_port, protocol, "protocol", P_STRING),
    PROJECT(struct slice_port, port, "port", P_INT),
};
static const struct projection slice_port_projection =
    PROJECTION(struct slice_port, slice_port_fields);

static const struct projection_field endpoint_fields[] = {
    PROJECT(struct slice_endpoint, addresses, "addresses", P_STRINGS),
    PROJECT(struct slice_endpoint, node_name, "nodeName", P_STRING),
    PROJECT(struct slice_endpoint, ready, "conditions.ready", P_OPT_BOOL),
    PROJECT(struct slice_endpoint, serving, "conditions.serving", P_OPT_BOOL),
    PROJECT(struct slice_endpoint, terminating, "conditions.terminating", P_OPT_BOOL),
};
static const struct projection endpoint_projection =
    PROJECTION(struct slice_endpoint, endpoint_fields);

static const struct projection_field slice_fields[] = {
    PROJECT(struct endpoint_slice, address_type, "addressType", P_STRING),
    PROJECT_OF(struct endpoint_slice, endpoints, "endpoints", P_LIST, &endpoint_projection),
    PROJECT_OF(struct endpoint_slice, ports, "ports", P_LIST, &slice_port_projection),
};
const struct projection endpoint_slice_projection = {
    .size = sizeof(struct endpoint_slice),
    .fields = slice_fields,
    .field_count = ARRAY_COUNT(slice_fields),
    .no_annotations = true,
};
