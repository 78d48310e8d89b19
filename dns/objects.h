/*
 * What the DNS server reads of a Service and of an EndpointSlice: projections for its informers.
 */
#pragma once

#include "common/projection.h"

struct dns_service_port {
    const char *name, *protocol;
    int64_t port;
};

struct dns_service {
    struct object_meta meta;
    const char *type, *cluster_ip, *external_name;
    struct string_list cluster_ips;
    bool publish_not_ready;
    struct projected_list ports; /* struct dns_service_port */
};

struct dns_endpoint {
    struct string_list addresses;
    const char *hostname;
    struct opt_int ready;
};

struct dns_slice {
    struct object_meta meta;
    const char *address_type;
    struct projected_list endpoints; /* struct dns_endpoint */
    struct projected_list ports;     /* struct dns_service_port */
};

extern const struct projection dns_service_projection;
extern const struct projection dns_slice_projection;

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"
