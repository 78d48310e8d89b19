/*
 * Projections of Service and EndpointSlice: the tables behind objects.h.
 */
#include "dns/objects.h"

static const struct projection_field port_fields[] = {
    PROJECT(struct dns_service_port, name, "name", P_STRING),
    PROJECT(struct dns_service_port, protocol, "protocol", P_STRING),
    PROJECT(struct dns_service_port, port, "port", P_INT),
};
static const struct projection port_projection = PROJECTION(struct dns_service_port, port_fields);

static const struct projection_field service_fields[] = {
    PROJECT(struct dns_service, type, "spec.type", P_STRING),
    PROJECT(struct dns_service, cluster_ip, "spec.clusterIP", P_STRING),
    PROJECT(struct dns_service, external_name, "spec.externalName", P_STRING),
    PROJECT(struct dns_service, cluster_ips, "spec.clusterIPs", P_STRINGS),
    PROJECT(struct dns_service, publish_not_ready, "spec.publishNotReadyAddresses", P_BOOL),
    PROJECT_OF(struct dns_service, ports, "spec.ports", P_LIST, &port_projection),
};
const struct projection dns_service_projection = {
    .size = sizeof(struct dns_service),
    .fields = service_fields,
    .field_count = ARRAY_COUNT(service_fields),
    .no_annotations = true,
};

static const struct projection_field endpoint_fields[] = {
    PROJECT(struct dns_endpoint, addresses, "addresses", P_STRINGS),
    PROJECT(struct dns_endpoint, hostname, "hostname", P_STRING),
    PROJECT(struct dns_endpoint, ready, "conditions.ready", P_OPT_BOOL),
};
static const struct projection endpoint_projection =
    PROJECTION(struct dns_endpoint, endpoint_fields);

static const struct projection_field slice_fields[] = {
    PROJECT(struct dns_slice, address_type, "addressType", P_STRING),
    PROJECT_OF(struct dns_slice, endpoints, "endpoints", P_LIST, &endpoint_projection),
    PROJECT_OF(struct dns_slice, ports, "ports", P_LIST, &port_projection),
};
const struct projection dns_slice_projection = {
    .size = sizeof(struct dns_slice),
    .fields = slice_fields,
    .field_count = ARRAY_COUNT(slice_fields),
    .no_annotations = true,
};
