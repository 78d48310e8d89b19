/*
 * What the proxy reads of a Service and of an EndpointSlice: projections for its informers.
 */
#pragma once

#include "common/projection.h"

struct service_port {
    const char *name, *protocol; /* protocol "" is TCP */
    int64_t port, node_port;
};

struct ingress_ip {
    const char *ip;
};

struct service {
    struct object_meta meta;
    const char *type, *cluster_ip, *session_affinity;
    struct string_list cluster_ips, external_ips;
    const char *external_policy, *internal_policy; /* "Local", "Cluster" or "" */
    int64_t affinity_seconds;                      /* 0: not given */
    struct projected_list ports;                   /* struct service_port */
    struct projected_list ingress;                 /* struct ingress_ip: load balancer addresses */
};

struct slice_port {
    const char *name, *protocol;
    int64_t port;
};

struct slice_endpoint {
    struct string_list addresses;
    const char *node_name;
    struct opt_int ready, serving, terminating;
};

struct endpoint_slice {
    struct object_meta meta;
    const char *address_type;
    struct projected_list endpoints; /* struct slice_endpoint */
    struct projected_list ports;     /* struct slice_port */
};

extern const struct projection service_projection;
extern const struct projection endpoint_slice_projection;

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"
