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
    const char *image;
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

struct label_selector {
    bool present;
    struct string_map labels;
    struct projected_list expressions; /* struct node_requirement */
};

struct affinity_term {
    struct label_selector selector, namespace_selector;
    struct string_list namespaces, match_label_keys, mismatch_label_keys;
    const char *topology_key;
};

struct preferred_affinity_term {
    int64_t weight;
    struct affinity_term term;
};

struct spread_constraint {
    struct label_selector selector;
    struct opt_int min_domains;
    int64_t max_skew;
    const char *topology_key, *when_unsatisfiable, *node_affinity_policy, *node_taints_policy;
    struct string_list match_label_keys;
};

struct pod_volume {
    const char *name, *claim;
    bool ephemeral; /* its claim is POD-NAME */
    const char *gce_name, *aws_id, *csi_driver, *iscsi_iqn, *rbd_pool, *rbd_image;
    struct string_list rbd_monitors;
    bool gce_read_only, iscsi_read_only, rbd_read_only;
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
    /* struct affinity_term, preferred_affinity_term */
    struct projected_list affinity, anti_affinity, preferred_affinity, preferred_anti_affinity;
    struct projected_list spread;  /* struct spread_constraint */
    struct projected_list volumes; /* struct pod_volume */
    const char *nominated_node;
    int64_t start_ns; /* status.startTime */
    struct opt_int grace_seconds;
};

struct scheduling_gate {
    const char *name;
};

struct node_taint {
    const char *key, *value, *effect;
};

struct node_image {
    struct string_list names;
    int64_t bytes;
};

struct node {
    struct object_meta meta;
    bool unschedulable;
    struct projected_list taints; /* struct node_taint */
    struct string_map allocatable;
    struct projected_list images; /* struct node_image */
};

extern const struct projection pod_projection;
extern const struct projection namespace_projection; /* nothing but struct object_meta */
extern const struct projection node_projection;

static inline const struct pod_condition *pod_condition(const struct pod *pod, const char *type)
{
    const struct pod_condition *c = pod->conditions.items;

    for (size_t i = 0; i < pod->conditions.count; i++)
        if (c_eq(c[i].type, type))
            return &c[i];
    return NULL;
}
