/*
 * Field tables of the projections, their indexes, and the table of kinds.
 *
 * Upstream counterpart: the typed structs of k8s.io/api and the informers' indexers.
 */
#include "controller/kinds.h"

#define FIELDS(name, ...)                                                 \
    static const struct projection_field name##_fields[] = {__VA_ARGS__}; \
    static const struct projection name##_projection = PROJECTION(struct name, name##_fields)

/* shared pieces */

FIELDS(condition, PROJECT(struct condition, type, "type", P_STRING),
    PROJECT(struct condition, status, "status", P_STRING),
    PROJECT(struct condition, reason, "reason", P_STRING),
    PROJECT(struct condition, message, "message", P_STRING),
    PROJECT(struct condition, transition_ns, "lastTransitionTime", P_TIME),
    PROJECT(struct condition, update_ns, "lastUpdateTime", P_TIME));

/* pods */

FIELDS(pod_condition, PROJECT(struct pod_condition, type, "type", P_STRING),
    PROJECT(struct pod_condition, status, "status", P_STRING),
    PROJECT(struct pod_condition, transition_ns, "lastTransitionTime", P_TIME));
FIELDS(container_port, PROJECT(struct container_port, name, "name", P_STRING),
    PROJECT(struct container_port, protocol, "protocol", P_STRING),
    PROJECT(struct container_port, port, "containerPort", P_INT));
FIELDS(pod_container, PROJECT(struct pod_container, name, "name", P_STRING),
    PROJECT_OF(struct pod_container, ports, "ports", P_LIST, &container_port_projection));
FIELDS(pod_toleration, PROJECT(struct pod_toleration, key, "key", P_STRING),
    PROJECT(struct pod_toleration, operator_, "operator", P_STRING),
    PROJECT(struct pod_toleration, value, "value", P_STRING),
    PROJECT(struct pod_toleration, effect, "effect", P_STRING),
    PROJECT(struct pod_toleration, seconds, "tolerationSeconds", P_OPT_INT));
FIELDS(container_status, PROJECT(struct container_status, name, "name", P_STRING),
    PROJECT(struct container_status, restarts, "restartCount", P_INT),
    PROJECT(struct container_status, finished_ns, "state.terminated.finishedAt", P_TIME),
    PROJECT(struct container_status, exit_code, "state.terminated.exitCode", P_INT));
FIELDS(pod_volume, PROJECT(struct pod_volume, name, "name", P_STRING),
    PROJECT(struct pod_volume, claim, "persistentVolumeClaim.claimName", P_STRING),
    PROJECT(struct pod_volume, ephemeral, "ephemeral", P_PRESENT));
FIELDS(pod_ip, PROJECT(struct pod_ip, ip, "ip", P_STRING));
FIELDS(pod, PROJECT(struct pod, node_name, "spec.nodeName", P_STRING),
    PROJECT(struct pod, hostname, "spec.hostname", P_STRING),
    PROJECT(struct pod, subdomain, "spec.subdomain", P_STRING),
    PROJECT(struct pod, phase, "status.phase", P_STRING),
    PROJECT(struct pod, pod_ip, "status.podIP", P_STRING),
    PROJECT(struct pod, affinity, "spec.affinity", P_JSON),
    PROJECT_OF(struct pod, tolerations, "spec.tolerations", P_LIST, &pod_toleration_projection),
    PROJECT_OF(struct pod, containers, "spec.containers", P_LIST, &pod_container_projection),
    PROJECT_OF(struct pod, ips, "status.podIPs", P_LIST, &pod_ip_projection),
    PROJECT_OF(struct pod, conditions, "status.conditions", P_LIST, &pod_condition_projection),
    PROJECT_OF(
        struct pod, statuses, "status.containerStatuses", P_LIST, &container_status_projection),
    PROJECT_OF(struct pod, volumes, "spec.volumes", P_LIST, &pod_volume_projection),
    PROJECT_OF(struct pod, init_statuses, "status.initContainerStatuses", P_LIST,
        &container_status_projection));

/* nodes and namespaces */

FIELDS(node_taint, PROJECT(struct node_taint, key, "key", P_STRING),
    PROJECT(struct node_taint, value, "value", P_STRING),
    PROJECT(struct node_taint, effect, "effect", P_STRING),
    PROJECT(struct node_taint, added_ns, "timeAdded", P_TIME));
FIELDS(node_address, PROJECT(struct node_address, type, "type", P_STRING),
    PROJECT(struct node_address, address, "address", P_STRING));
FIELDS(node_condition, PROJECT(struct node_condition, type, "type", P_STRING),
    PROJECT(struct node_condition, status, "status", P_STRING),
    PROJECT(struct node_condition, reason, "reason", P_STRING),
    PROJECT(struct node_condition, message, "message", P_STRING),
    PROJECT(struct node_condition, heartbeat_ns, "lastHeartbeatTime", P_TIME),
    PROJECT(struct node_condition, transition_ns, "lastTransitionTime", P_TIME));
FIELDS(node, PROJECT(struct node, pod_cidr, "spec.podCIDR", P_STRING),
    PROJECT(struct node, unschedulable, "spec.unschedulable", P_BOOL),
    PROJECT_OF(struct node, taints, "spec.taints", P_LIST, &node_taint_projection),
    PROJECT_OF(struct node, addresses, "status.addresses", P_LIST, &node_address_projection),
    PROJECT_OF(struct node, conditions, "status.conditions", P_LIST, &node_condition_projection));
FIELDS(namespace, PROJECT(struct namespace, finalizers, "spec.finalizers", P_STRINGS),
    PROJECT(struct namespace, phase, "status.phase", P_STRING),
    PROJECT_OF(struct namespace, conditions, "status.conditions", P_LIST, &condition_projection));
FIELDS(node_lease, PROJECT(struct node_lease, renew_ns, "spec.renewTime", P_TIME));

/* services */

FIELDS(service_port, PROJECT(struct service_port, name, "name", P_STRING),
    PROJECT(struct service_port, protocol, "protocol", P_STRING),
    PROJECT(struct service_port, target, "targetPort", P_STRING),
    PROJECT(struct service_port, app_protocol, "appProtocol", P_STRING),
    PROJECT(struct service_port, port, "port", P_INT));
FIELDS(service, PROJECT(struct service, type, "spec.type", P_STRING),
    PROJECT(struct service, cluster_ip, "spec.clusterIP", P_STRING),
    PROJECT(struct service, selector, "spec.selector", P_MAP),
    PROJECT(struct service, has_selector, "spec.selector", P_PRESENT),
    PROJECT(struct service, publish_not_ready, "spec.publishNotReadyAddresses", P_BOOL),
    PROJECT_OF(struct service, ports, "spec.ports", P_LIST, &service_port_projection),
    PROJECT(struct service, lb_wish, "spec.loadBalancerIP", P_STRING),
    PROJECT(struct service, distribution, "spec.trafficDistribution", P_STRING),
    PROJECT(struct service, lb_class, "spec.loadBalancerClass", P_STRING),
    PROJECT_OF(struct service, ingress, "status.loadBalancer.ingress", P_LIST, &pod_ip_projection),
    PROJECT(struct service, families, "spec.ipFamilies", P_STRINGS));
FIELDS(endpoints, PROJECT(struct endpoints, subsets, "subsets", P_JSON));
FIELDS(endpoint_slice, PROJECT(struct endpoint_slice, address_type, "addressType", P_STRING),
    PROJECT(struct endpoint_slice, endpoints, "endpoints", P_JSON),
    PROJECT(struct endpoint_slice, ports, "ports", P_JSON));

/* workloads */

FIELDS(replica_set, PROJECT(struct replica_set, replicas, "spec.replicas", P_OPT_INT),
    PROJECT(struct replica_set, min_ready_seconds, "spec.minReadySeconds", P_INT),
    PROJECT(struct replica_set, selector, "spec.selector", P_JSON),
    PROJECT(struct replica_set, template, "spec.template", P_JSON),
    PROJECT(struct replica_set, status_replicas, "status.replicas", P_INT),
    PROJECT(struct replica_set, status_labelled, "status.fullyLabeledReplicas", P_INT),
    PROJECT(struct replica_set, status_ready, "status.readyReplicas", P_INT),
    PROJECT(struct replica_set, status_available, "status.availableReplicas", P_INT),
    PROJECT(struct replica_set, observed_generation, "status.observedGeneration", P_INT),
    PROJECT_OF(struct replica_set, conditions, "status.conditions", P_LIST, &condition_projection));
static const struct projection_field replication_controller_fields[] = {
    PROJECT(struct replica_set, replicas, "spec.replicas", P_OPT_INT),
    PROJECT(struct replica_set, min_ready_seconds, "spec.minReadySeconds", P_INT),
    PROJECT(struct replica_set, selector_map, "spec.selector", P_MAP),
    PROJECT(struct replica_set, template, "spec.template", P_JSON),
    PROJECT(struct replica_set, status_replicas, "status.replicas", P_INT),
    PROJECT(struct replica_set, status_labelled, "status.fullyLabeledReplicas", P_INT),
    PROJECT(struct replica_set, status_ready, "status.readyReplicas", P_INT),
    PROJECT(struct replica_set, status_available, "status.availableReplicas", P_INT),
    PROJECT(struct replica_set, observed_generation, "status.observedGeneration", P_INT),
    PROJECT_OF(struct replica_set, conditions, "status.conditions", P_LIST, &condition_projection)};
static const struct projection replication_controller_projection =
    PROJECTION(struct replica_set, replication_controller_fields);
FIELDS(deployment, PROJECT(struct deployment, replicas, "spec.replicas", P_OPT_INT),
    PROJECT(struct deployment, revision_history_limit, "spec.revisionHistoryLimit", P_OPT_INT),
    PROJECT(
        struct deployment, progress_deadline_seconds, "spec.progressDeadlineSeconds", P_OPT_INT),
    PROJECT(struct deployment, min_ready_seconds, "spec.minReadySeconds", P_INT),
    PROJECT(struct deployment, selector, "spec.selector", P_JSON),
    PROJECT(struct deployment, template, "spec.template", P_JSON),
    PROJECT(struct deployment, strategy, "spec.strategy.type", P_STRING),
    PROJECT(struct deployment, max_surge, "spec.strategy.rollingUpdate.maxSurge", P_STRING),
    PROJECT(
        struct deployment, max_unavailable, "spec.strategy.rollingUpdate.maxUnavailable", P_STRING),
    PROJECT(struct deployment, paused, "spec.paused", P_BOOL),
    PROJECT(struct deployment, status, "status", P_JSON),
    PROJECT(struct deployment, collision_count, "status.collisionCount", P_OPT_INT),
    PROJECT_OF(struct deployment, conditions, "status.conditions", P_LIST, &condition_projection),
    PROJECT(struct deployment, observed_generation, "status.observedGeneration", P_INT));
FIELDS(stateful_set, PROJECT(struct stateful_set, replicas, "spec.replicas", P_OPT_INT),
    PROJECT(struct stateful_set, revision_history_limit, "spec.revisionHistoryLimit", P_OPT_INT),
    PROJECT(struct stateful_set, start_ordinal, "spec.ordinals.start", P_OPT_INT),
    PROJECT(
        struct stateful_set, partition, "spec.updateStrategy.rollingUpdate.partition", P_OPT_INT),
    PROJECT(struct stateful_set, max_unavailable,
        "spec.updateStrategy.rollingUpdate.maxUnavailable", P_STRING),
    PROJECT(struct stateful_set, min_ready_seconds, "spec.minReadySeconds", P_INT),
    PROJECT(struct stateful_set, selector, "spec.selector", P_JSON),
    PROJECT(struct stateful_set, template, "spec.template", P_JSON),
    PROJECT(struct stateful_set, claim_templates, "spec.volumeClaimTemplates", P_JSON),
    PROJECT(struct stateful_set, service_name, "spec.serviceName", P_STRING),
    PROJECT(struct stateful_set, pod_management, "spec.podManagementPolicy", P_STRING),
    PROJECT(struct stateful_set, strategy, "spec.updateStrategy.type", P_STRING),
    PROJECT(struct stateful_set, when_deleted,
        "spec.persistentVolumeClaimRetentionPolicy.whenDeleted", P_STRING),
    PROJECT(struct stateful_set, when_scaled,
        "spec.persistentVolumeClaimRetentionPolicy.whenScaled", P_STRING),
    PROJECT(struct stateful_set, status, "status", P_JSON),
    PROJECT(struct stateful_set, current_revision, "status.currentRevision", P_STRING),
    PROJECT(struct stateful_set, update_revision, "status.updateRevision", P_STRING),
    PROJECT(struct stateful_set, collision_count, "status.collisionCount", P_OPT_INT));
FIELDS(daemon_set,
    PROJECT(struct daemon_set, revision_history_limit, "spec.revisionHistoryLimit", P_OPT_INT),
    PROJECT(struct daemon_set, min_ready_seconds, "spec.minReadySeconds", P_INT),
    PROJECT(struct daemon_set, selector, "spec.selector", P_JSON),
    PROJECT(struct daemon_set, template, "spec.template", P_JSON),
    PROJECT(struct daemon_set, strategy, "spec.updateStrategy.type", P_STRING),
    PROJECT(struct daemon_set, max_surge, "spec.updateStrategy.rollingUpdate.maxSurge", P_STRING),
    PROJECT(struct daemon_set, max_unavailable, "spec.updateStrategy.rollingUpdate.maxUnavailable",
        P_STRING),
    PROJECT(struct daemon_set, status, "status", P_JSON),
    PROJECT(struct daemon_set, collision_count, "status.collisionCount", P_OPT_INT));
FIELDS(revision, PROJECT(struct revision, revision, "revision", P_INT),
    PROJECT(struct revision, data, "data", P_JSON));
FIELDS(job, PROJECT(struct job, parallelism, "spec.parallelism", P_OPT_INT),
    PROJECT(struct job, completions, "spec.completions", P_OPT_INT),
    PROJECT(struct job, backoff_limit, "spec.backoffLimit", P_OPT_INT),
    PROJECT(struct job, active_deadline_seconds, "spec.activeDeadlineSeconds", P_OPT_INT),
    PROJECT(struct job, ttl_seconds, "spec.ttlSecondsAfterFinished", P_OPT_INT),
    PROJECT(struct job, backoff_per_index, "spec.backoffLimitPerIndex", P_OPT_INT),
    PROJECT(struct job, max_failed_indexes, "spec.maxFailedIndexes", P_OPT_INT),
    PROJECT(struct job, replacement, "spec.podReplacementPolicy", P_STRING),
    PROJECT(struct job, failure_policy, "spec.podFailurePolicy", P_JSON),
    PROJECT(struct job, success_policy, "spec.successPolicy", P_JSON),
    PROJECT(struct job, suspend, "spec.suspend", P_BOOL),
    PROJECT(struct job, completion_mode, "spec.completionMode", P_STRING),
    PROJECT(struct job, managed_by, "spec.managedBy", P_STRING),
    PROJECT(struct job, selector, "spec.selector", P_JSON),
    PROJECT(struct job, template, "spec.template", P_JSON),
    PROJECT(struct job, status, "status", P_JSON));

FIELDS(cron_job, PROJECT(struct cron_job, schedule, "spec.schedule", P_STRING),
    PROJECT(struct cron_job, time_zone, "spec.timeZone", P_STRING),
    PROJECT(struct cron_job, concurrency_policy, "spec.concurrencyPolicy", P_STRING),
    PROJECT(struct cron_job, suspend, "spec.suspend", P_BOOL),
    PROJECT(struct cron_job, starting_deadline_seconds, "spec.startingDeadlineSeconds", P_OPT_INT),
    PROJECT(struct cron_job, keep_succeeded, "spec.successfulJobsHistoryLimit", P_OPT_INT),
    PROJECT(struct cron_job, keep_failed, "spec.failedJobsHistoryLimit", P_OPT_INT),
    PROJECT(struct cron_job, template, "spec.jobTemplate", P_JSON),
    PROJECT(struct cron_job, status, "status", P_JSON),
    PROJECT(struct cron_job, last_schedule_ns, "status.lastScheduleTime", P_TIME),
    PROJECT(struct cron_job, last_successful_ns, "status.lastSuccessfulTime", P_TIME));
FIELDS(budget, PROJECT(struct budget, min_available, "spec.minAvailable", P_STRING),
    PROJECT(struct budget, max_unavailable, "spec.maxUnavailable", P_STRING),
    PROJECT(struct budget, selector, "spec.selector", P_JSON),
    PROJECT(struct budget, disrupted, "status.disruptedPods", P_MAP),
    PROJECT(struct budget, status, "status", P_JSON));

FIELDS(quota, PROJECT(struct quota, spec, "spec", P_JSON),
    PROJECT(struct quota, status, "status", P_JSON));

FIELDS(autoscaler, PROJECT(struct autoscaler, spec, "spec", P_JSON),
    PROJECT(struct autoscaler, status, "status", P_JSON));

/* identity */

static const struct projection service_account_projection = {
    .size = sizeof(struct service_account), .no_annotations = true};
FIELDS(claim, PROJECT(struct claim, class_name, "spec.storageClassName", P_STRING),
    PROJECT(struct claim, has_class, "spec.storageClassName", P_PRESENT),
    PROJECT(struct claim, volume_name, "spec.volumeName", P_STRING),
    PROJECT(struct claim, mode, "spec.volumeMode", P_STRING),
    PROJECT(struct claim, attributes_class, "spec.volumeAttributesClassName", P_STRING),
    PROJECT(struct claim, request, "spec.resources.requests.storage", P_STRING),
    PROJECT(struct claim, access_modes, "spec.accessModes", P_STRINGS),
    PROJECT(struct claim, selector, "spec.selector", P_JSON),
    PROJECT(struct claim, phase, "status.phase", P_STRING),
    PROJECT(struct claim, status, "status", P_JSON));
FIELDS(volume, PROJECT(struct volume, class_name, "spec.storageClassName", P_STRING),
    PROJECT(struct volume, mode, "spec.volumeMode", P_STRING),
    PROJECT(struct volume, attributes_class, "spec.volumeAttributesClassName", P_STRING),
    PROJECT(struct volume, reclaim, "spec.persistentVolumeReclaimPolicy", P_STRING),
    PROJECT(struct volume, capacity, "spec.capacity.storage", P_STRING),
    PROJECT(struct volume, access_modes, "spec.accessModes", P_STRINGS),
    PROJECT(struct volume, has_claim, "spec.claimRef", P_PRESENT),
    PROJECT(struct volume, is_host_path, "spec.hostPath", P_PRESENT),
    PROJECT(struct volume, claim_namespace, "spec.claimRef.namespace", P_STRING),
    PROJECT(struct volume, claim_name, "spec.claimRef.name", P_STRING),
    PROJECT(struct volume, claim_uid, "spec.claimRef.uid", P_STRING),
    PROJECT(struct volume, csi_driver, "spec.csi.driver", P_STRING),
    PROJECT(struct volume, csi_handle, "spec.csi.volumeHandle", P_STRING),
    PROJECT(struct volume, phase, "status.phase", P_STRING),
    PROJECT(struct volume, status, "status", P_JSON));
FIELDS(storage_class, PROJECT(struct storage_class, provisioner, "provisioner", P_STRING),
    PROJECT(struct storage_class, reclaim, "reclaimPolicy", P_STRING),
    PROJECT(struct storage_class, binding_mode, "volumeBindingMode", P_STRING),
    PROJECT(struct storage_class, expandable, "allowVolumeExpansion", P_BOOL),
    PROJECT(struct storage_class, parameters, "parameters", P_MAP),
    PROJECT(struct storage_class, mount_options, "mountOptions", P_STRINGS));
FIELDS(root_ca, PROJECT(struct root_ca, data, "data", P_MAP));
FIELDS(csr, PROJECT(struct csr, request, "spec.request", P_STRING),
    PROJECT(struct csr, signer, "spec.signerName", P_STRING),
    PROJECT(struct csr, username, "spec.username", P_STRING),
    PROJECT(struct csr, groups, "spec.groups", P_STRINGS),
    PROJECT(struct csr, usages, "spec.usages", P_STRINGS),
    PROJECT(struct csr, expiration_seconds, "spec.expirationSeconds", P_OPT_INT),
    PROJECT(struct csr, certificate, "status.certificate", P_STRING),
    PROJECT_OF(struct csr, conditions, "status.conditions", P_LIST, &condition_projection),
    PROJECT(struct csr, spec, "spec", P_JSON));
FIELDS(bootstrap_token, PROJECT(struct bootstrap_token, expiration, "data.expiration", P_STRING));
FIELDS(token_secret, PROJECT(struct token_secret, has_token, "data.token", P_PRESENT));
FIELDS(cluster_role, PROJECT(struct cluster_role, aggregation, "aggregationRule", P_JSON),
    PROJECT(struct cluster_role, rules, "rules", P_JSON));

/* indexes */

static void emit_path(informer_emit_fn *emit, void *arg, const char *namespace_, const char *name)
{
    char key[800];

    snprintf(key, sizeof(key), "%s/%s", namespace_, name);
    emit(arg, key);
}

static void index_owner(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct object_meta *meta = object;
    const struct owner_ref *owners = meta->owners.items;

    for (size_t i = 0; i < meta->owners.count; i++)
        emit(arg, owners[i].uid);
}

static void index_orphan(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct object_meta *meta = object;

    if (!object_controller(meta))
        emit(arg, meta->namespace_);
}

static void index_pod_node(const void *object, informer_emit_fn *emit, void *arg)
{
    emit(arg, ((const struct pod *)object)->node_name);
}

static void index_pod_claim(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct pod *pod = object;
    const struct pod_volume *volumes = pod->volumes.items;
    char name[520];

    for (size_t i = 0; i < pod->volumes.count; i++) {
        if (volumes[i].ephemeral) {
            snprintf(name, sizeof(name), "%s-%s", pod->meta.name, volumes[i].name);
            emit_path(emit, arg, pod->meta.namespace_, name);
        } else if (*volumes[i].claim) {
            emit_path(emit, arg, pod->meta.namespace_, volumes[i].claim);
        }
    }
}

static void index_service_selector(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct service *service = object;
    char pair[600];

    if (!service->has_selector || !service->selector.count)
        return;
    snprintf(pair, sizeof(pair), "%s=%s", service->selector.pairs[0].key,
        service->selector.pairs[0].value);
    emit_path(emit, arg, service->meta.namespace_, pair);
}

static void index_slice_service(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct object_meta *meta = object;
    const char *service = string_map_get(&meta->labels, "kubernetes.io/service-name");

    if (service)
        emit_path(emit, arg, meta->namespace_, service);
}

#define BY_OWNER                 \
    {                            \
        INDEX_OWNER, index_owner \
    }
#define INDEXES(name, ...) \
    static const struct informer_index name##_indexes[] = {BY_OWNER, ##__VA_ARGS__}

INDEXES(pod, {INDEX_ORPHAN, index_orphan}, {INDEX_NODE, index_pod_node},
    {INDEX_CLAIM, index_pod_claim});
INDEXES(node);
INDEXES(namespace);
INDEXES(service, {INDEX_SELECTOR, index_service_selector});
INDEXES(endpoints);
INDEXES(endpoint_slice, {INDEX_SERVICE, index_slice_service});
INDEXES(replica_set, {INDEX_ORPHAN, index_orphan});
INDEXES(replication_controller);
INDEXES(deployment);
INDEXES(stateful_set);
INDEXES(daemon_set);
INDEXES(revision, {INDEX_ORPHAN, index_orphan});
INDEXES(job);
INDEXES(service_account);
INDEXES(root_ca);
INDEXES(node_lease);
INDEXES(csr);
INDEXES(bootstrap_token);
INDEXES(token_secret);
INDEXES(cluster_role);
INDEXES(claim);
INDEXES(volume);
INDEXES(storage_class);
INDEXES(cron_job);
INDEXES(budget);
INDEXES(quota);
INDEXES(autoscaler);

const struct kind_info kinds[KIND_COUNT] = {
#define KIND(id, gv, plural_, kind_, type, ns, labels, fields) \
    [KIND_##id] = {.group_version = gv,                        \
        .plural = plural_,                                     \
        .kind = kind_,                                         \
        .projection = &type##_projection,                      \
        .indexes = type##_indexes,                             \
        .index_count = ARRAY_COUNT(type##_indexes),            \
        .namespace_ = ns,                                      \
        .label_selector = labels,                              \
        .field_selector = fields},
#include "controller/kinds.def"
#undef KIND
};
