/*
 * Projections of Pod and Node: the tables behind objects.h.
 *
 * Everything the plugins read is here and nothing else; a new plugin adds its fields.
 */
#include "scheduler/objects.h"

static const struct projection_field toleration_fields[] = {
    PROJECT(struct toleration, key, "key", P_STRING),
    PROJECT(struct toleration, operator_, "operator", P_STRING),
    PROJECT(struct toleration, value, "value", P_STRING),
    PROJECT(struct toleration, effect, "effect", P_STRING),
};
static const struct projection toleration_projection =
    PROJECTION(struct toleration, toleration_fields);

static const struct projection_field port_fields[] = {
    PROJECT(struct container_port, host_port, "hostPort", P_INT),
    PROJECT(struct container_port, host_ip, "hostIP", P_STRING),
    PROJECT(struct container_port, protocol, "protocol", P_STRING),
};
static const struct projection port_projection = PROJECTION(struct container_port, port_fields);

static const struct projection_field container_fields[] = {
    PROJECT(struct container, requests, "resources.requests", P_MAP),
    PROJECT_OF(struct container, ports, "ports", P_LIST, &port_projection),
    PROJECT(struct container, restart_policy, "restartPolicy", P_STRING),
};
static const struct projection container_projection =
    PROJECTION(struct container, container_fields);

static const struct projection_field requirement_fields[] = {
    PROJECT(struct node_requirement, key, "key", P_STRING),
    PROJECT(struct node_requirement, operator_, "operator", P_STRING),
    PROJECT(struct node_requirement, values, "values", P_STRINGS),
};
static const struct projection requirement_projection =
    PROJECTION(struct node_requirement, requirement_fields);

static const struct projection_field term_fields[] = {
    PROJECT_OF(struct node_term, expressions, "matchExpressions", P_LIST, &requirement_projection),
    PROJECT_OF(struct node_term, fields, "matchFields", P_LIST, &requirement_projection),
};
static const struct projection term_projection = PROJECTION(struct node_term, term_fields);

static const struct projection_field preferred_fields[] = {
    PROJECT(struct preferred_node_term, weight, "weight", P_INT),
    PROJECT_OF(struct preferred_node_term, term, "preference", P_STRUCT, &term_projection),
};
static const struct projection preferred_projection =
    PROJECTION(struct preferred_node_term, preferred_fields);

static const struct projection_field gate_fields[] = {
    PROJECT(struct scheduling_gate, name, "name", P_STRING),
};
static const struct projection gate_projection = PROJECTION(struct scheduling_gate, gate_fields);

static const struct projection_field condition_fields[] = {
    PROJECT(struct pod_condition, type, "type", P_STRING),
    PROJECT(struct pod_condition, status, "status", P_STRING),
    PROJECT(struct pod_condition, reason, "reason", P_STRING),
    PROJECT(struct pod_condition, message, "message", P_STRING),
};
static const struct projection condition_projection =
    PROJECTION(struct pod_condition, condition_fields);

#define NODE_AFFINITY "spec.affinity.nodeAffinity."
#define REQUIRED NODE_AFFINITY "requiredDuringSchedulingIgnoredDuringExecution"

static const struct projection_field pod_fields[] = {
    PROJECT(struct pod, node_name, "spec.nodeName", P_STRING),
    PROJECT(struct pod, scheduler_name, "spec.schedulerName", P_STRING),
    PROJECT(struct pod, phase, "status.phase", P_STRING),
    PROJECT(struct pod, preemption_policy, "spec.preemptionPolicy", P_STRING),
    PROJECT(struct pod, priority, "spec.priority", P_INT),
    PROJECT(struct pod, host_network, "spec.hostNetwork", P_BOOL),
    PROJECT(struct pod, has_required_terms, REQUIRED, P_PRESENT),
    PROJECT_OF(struct pod, containers, "spec.containers", P_LIST, &container_projection),
    PROJECT_OF(struct pod, init_containers, "spec.initContainers", P_LIST, &container_projection),
    PROJECT(struct pod, pod_requests, "spec.resources.requests", P_MAP),
    PROJECT(struct pod, overhead, "spec.overhead", P_MAP),
    PROJECT_OF(struct pod, tolerations, "spec.tolerations", P_LIST, &toleration_projection),
    PROJECT(struct pod, node_selector, "spec.nodeSelector", P_MAP),
    PROJECT_OF(struct pod, required, REQUIRED ".nodeSelectorTerms", P_LIST, &term_projection),
    PROJECT_OF(struct pod, preferred,
        NODE_AFFINITY "preferredDuringSchedulingIgnoredDuringExecution", P_LIST,
        &preferred_projection),
    PROJECT_OF(struct pod, gates, "spec.schedulingGates", P_LIST, &gate_projection),
    PROJECT_OF(struct pod, conditions, "status.conditions", P_LIST, &condition_projection),
};
const struct projection pod_projection = {
    .size = sizeof(struct pod),
    .fields = pod_fields,
    .field_count = ARRAY_COUNT(pod_fields),
    .no_annotations = true,
};

static const struct projection_field taint_fields[] = {
    PROJECT(struct node_taint, key, "key", P_STRING),
    PROJECT(struct node_taint, value, "value", P_STRING),
    PROJECT(struct node_taint, effect, "effect", P_STRING),
};
static const struct projection taint_projection = PROJECTION(struct node_taint, taint_fields);

static const struct projection_field node_fields[] = {
    PROJECT(struct node, unschedulable, "spec.unschedulable", P_BOOL),
    PROJECT_OF(struct node, taints, "spec.taints", P_LIST, &taint_projection),
    PROJECT(struct node, allocatable, "status.allocatable", P_MAP),
};
const struct projection node_projection = {
    .size = sizeof(struct node),
    .fields = node_fields,
    .field_count = ARRAY_COUNT(node_fields),
    .no_annotations = true,
};
