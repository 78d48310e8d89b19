/*
 * What the scheduler reads of a Pod and of a Node: projections (common/projection.h) for its
 * informers.
 */
#pragma once

#include "common/projection.h"

struct toleration {
    const char *key, *operator_, *value, *effect;
};

struct container_port {
    int64_t host_port;
    const char *host_ip, *protocol;
};

struct container {
    struct string_map requests;
    struct projected_list ports; /* struct container_port */
    const char *restart_policy;  /* "Always" makes an init container a sidecar */
};

struct node_requirement {
    const char *key, *operator_;
    struct string_list values;
};

struct node_term {
    struct projected_list expressions, fields; /* struct node_requirement */
};

struct preferred_node_term {
    int64_t weight;
    struct node_term term;
};

struct pod_condition {
    const char *type, *status, *reason, *message;
};

struct pod {
    struct object_meta meta;
    const char *node_name, *scheduler_name, *phase, *preemption_policy;
    int64_t priority;
    bool host_network;
    bool has_required_terms;          /* affinity.nodeAffinity.required... is there */
    struct projected_list containers; /* struct container */
    struct projected_list init_containers;
    struct string_map pod_requests; /* spec.resources.requests */
    struct string_map overhead;
    struct projected_list tolerations; /* struct toleration */
    struct string_map node_selector;
    struct projected_list required;   /* struct node_term, any of them */
    struct projected_list preferred;  /* struct preferred_node_term */
    struct projected_list gates;      /* struct scheduling_gate */
    struct projected_list conditions; /* struct pod_condition */
};

struct scheduling_gate {
    const char *name;
};

struct node_taint {
    const char *key, *value, *effect;
};

struct node {
    struct object_meta meta;
    bool unschedulable;
    struct projected_list taints; /* struct node_taint */
    struct string_map allocatable;
};

extern const struct projection pod_projection;
extern const struct projection node_projection;

static inline const struct pod_condition *pod_condition(const struct pod *pod, const char *type)
{
    const struct pod_condition *c = pod->conditions.items;

    for (size_t i = 0; i < pod->conditions.count; i++)
        if (c_eq(c[i].type, type))
            return &c[i];
    return NULL;
}
