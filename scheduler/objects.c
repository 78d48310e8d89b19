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
    PROJECT(struct container, image, "image", P_STRING),
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

#define SELECTOR_FIELDS(type, member, path)                       \
    PROJECT(type, member.present, path, P_PRESENT),               \
        PROJECT(type, member.labels, path ".matchLabels", P_MAP), \
        PROJECT_OF(                                               \
            type, member.expressions, path ".matchExpressions", P_LIST, &requirement_projection)

static const struct projection_field affinity_fields[] = {
    SELECTOR_FIELDS(struct affinity_term, selector, "labelSelector"),
    SELECTOR_FIELDS(struct affinity_term, namespace_selector, "namespaceSelector"),
    PROJECT(struct affinity_term, namespaces, "namespaces", P_STRINGS),
    PROJECT(struct affinity_term, match_label_keys, "matchLabelKeys", P_STRINGS),
    PROJECT(struct affinity_term, mismatch_label_keys, "mismatchLabelKeys", P_STRINGS),
    PROJECT(struct affinity_term, topology_key, "topologyKey", P_STRING),
};
static const struct projection affinity_projection =
    PROJECTION(struct affinity_term, affinity_fields);

static const struct projection_field preferred_affinity_fields[] = {
    PROJECT(struct preferred_affinity_term, weight, "weight", P_INT),
    PROJECT_OF(
        struct preferred_affinity_term, term, "podAffinityTerm", P_STRUCT, &affinity_projection),
};
static const struct projection preferred_affinity_projection =
    PROJECTION(struct preferred_affinity_term, preferred_affinity_fields);

static const struct projection_field spread_fields[] = {
    SELECTOR_FIELDS(struct spread_constraint, selector, "labelSelector"),
    PROJECT(struct spread_constraint, min_domains, "minDomains", P_OPT_INT),
    PROJECT(struct spread_constraint, max_skew, "maxSkew", P_INT),
    PROJECT(struct spread_constraint, topology_key, "topologyKey", P_STRING),
    PROJECT(struct spread_constraint, when_unsatisfiable, "whenUnsatisfiable", P_STRING),
    PROJECT(struct spread_constraint, node_affinity_policy, "nodeAffinityPolicy", P_STRING),
    PROJECT(struct spread_constraint, node_taints_policy, "nodeTaintsPolicy", P_STRING),
    PROJECT(struct spread_constraint, match_label_keys, "matchLabelKeys", P_STRINGS),
};
static const struct projection spread_projection =
    PROJECTION(struct spread_constraint, spread_fields);

static const struct projection_field volume_fields[] = {
    PROJECT(struct pod_volume, name, "name", P_STRING),
    PROJECT(struct pod_volume, claim, "persistentVolumeClaim.claimName", P_STRING),
    PROJECT(struct pod_volume, ephemeral, "ephemeral", P_PRESENT),
    PROJECT(struct pod_volume, gce_name, "gcePersistentDisk.pdName", P_STRING),
    PROJECT(struct pod_volume, gce_read_only, "gcePersistentDisk.readOnly", P_BOOL),
    PROJECT(struct pod_volume, aws_id, "awsElasticBlockStore.volumeID", P_STRING),
    PROJECT(struct pod_volume, csi_driver, "csi.driver", P_STRING),
    PROJECT(struct pod_volume, iscsi_iqn, "iscsi.iqn", P_STRING),
    PROJECT(struct pod_volume, iscsi_read_only, "iscsi.readOnly", P_BOOL),
    PROJECT(struct pod_volume, rbd_pool, "rbd.pool", P_STRING),
    PROJECT(struct pod_volume, rbd_image, "rbd.image", P_STRING),
    PROJECT(struct pod_volume, rbd_monitors, "rbd.monitors", P_STRINGS),
    PROJECT(struct pod_volume, rbd_read_only, "rbd.readOnly", P_BOOL),
};
static const struct projection volume_projection = PROJECTION(struct pod_volume, volume_fields);

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
#define IF_REQUIRED "requiredDuringSchedulingIgnoredDuringExecution"
#define IF_PREFERRED "preferredDuringSchedulingIgnoredDuringExecution"
#define REQUIRED NODE_AFFINITY IF_REQUIRED

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
    PROJECT_OF(struct pod, preferred, NODE_AFFINITY IF_PREFERRED, P_LIST, &preferred_projection),
    PROJECT_OF(struct pod, gates, "spec.schedulingGates", P_LIST, &gate_projection),
    PROJECT_OF(struct pod, conditions, "status.conditions", P_LIST, &condition_projection),
    PROJECT_OF(struct pod, affinity, "spec.affinity.podAffinity." IF_REQUIRED, P_LIST,
        &affinity_projection),
    PROJECT_OF(struct pod, anti_affinity, "spec.affinity.podAntiAffinity." IF_REQUIRED, P_LIST,
        &affinity_projection),
    PROJECT_OF(struct pod, preferred_affinity, "spec.affinity.podAffinity." IF_PREFERRED, P_LIST,
        &preferred_affinity_projection),
    PROJECT_OF(struct pod, preferred_anti_affinity, "spec.affinity.podAntiAffinity." IF_PREFERRED,
        P_LIST, &preferred_affinity_projection),
    PROJECT_OF(struct pod, spread, "spec.topologySpreadConstraints", P_LIST, &spread_projection),
    PROJECT_OF(struct pod, volumes, "spec.volumes", P_LIST, &volume_projection),
    PROJECT(struct pod, nominated_node, "status.nominatedNodeName", P_STRING),
    PROJECT(struct pod, start_ns, "status.startTime", P_TIME),
    PROJECT(struct pod, grace_seconds, "spec.terminationGracePeriodSeconds", P_OPT_INT),
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

static const struct projection_field image_fields[] = {
    PROJECT(struct node_image, names, "names", P_STRINGS),
    PROJECT(struct node_image, bytes, "sizeBytes", P_INT),
};
static const struct projection image_projection = PROJECTION(struct node_image, image_fields);

static const struct projection_field node_fields[] = {
    PROJECT(struct node, unschedulable, "spec.unschedulable", P_BOOL),
    PROJECT_OF(struct node, taints, "spec.taints", P_LIST, &taint_projection),
    PROJECT(struct node, allocatable, "status.allocatable", P_MAP),
    PROJECT_OF(struct node, images, "status.images", P_LIST, &image_projection),
};
const struct projection node_projection = {
    .size = sizeof(struct node),
    .fields = node_fields,
    .field_count = ARRAY_COUNT(node_fields),
    .no_annotations = true,
};

const struct projection namespace_projection = {
    .size = sizeof(struct object_meta),
    .no_annotations = true,
};
