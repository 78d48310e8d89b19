/*
 * The objects as the controllers see them: one struct a kind with only the fields some controller
 * reads, decoded by the projection of the same name. Absent strings are "", absent lists are empty.
 * JSON texts are NULL when absent.
 *
 * The struct of each kind begins with `meta`, so a `const struct object_meta *` may point at any of
 * them. Threads: objects are immutable.
 */
#pragma once

#include "common/informer.h"

enum kind {
#define KIND(id, ...) KIND_##id,
#include "controller/kinds.def"
#undef KIND
    KIND_COUNT,
};

struct kind_info {
    const char *group_version, *plural, *kind;
    const struct projection *projection;
    const struct informer_index *indexes;
    size_t index_count;
    const char *namespace_, *label_selector, *field_selector;
};

extern const struct kind_info kinds[KIND_COUNT];

/* Indexes. All kinds have by_owner (every owner's uid). */
#define INDEX_OWNER "owner" /* uid of each owner */
#define INDEX_ORPHAN \
    "orphan" /* namespace of objects without a controller; pods, ReplicaSets, revisions */
#define INDEX_NODE "node" /* pods by spec.nodeName, "" when unassigned */
#define INDEX_SELECTOR \
    "selector"              /* services by "namespace/key=value" of one pair of their selector */
#define INDEX_CLAIM "claim" /* pods by "namespace/claim" of their volumes */
#define INDEX_SERVICE "service" /* endpoint slices by "namespace/service" of their label */

struct condition {
    const char *type, *status, *reason, *message;
    int64_t transition_ns, update_ns;
};

struct pod_condition {
    const char *type, *status;
    int64_t transition_ns;
};
struct container_port {
    const char *name, *protocol;
    int64_t port;
};
struct pod_container {
    const char *name;
    struct projected_list ports; /* struct container_port */
};
struct pod_toleration {
    const char *key, *operator_, *value, *effect;
    struct opt_int seconds;
};
struct container_status {
    const char *name;
    int64_t restarts;
    int64_t finished_ns;
    int64_t exit_code; /* when terminated */
};
struct pod_ip {
    const char *ip;
};
struct pod_volume {
    const char *name, *claim;
    bool ephemeral; /* its claim is made for the pod and named after both */
};
struct pod {
    struct object_meta meta;
    const char *node_name, *hostname, *subdomain;
    const char *phase, *pod_ip;
    const char *affinity;              /* JSON */
    struct projected_list tolerations; /* struct pod_toleration */
    struct projected_list containers;  /* struct pod_container */
    struct projected_list ips;         /* struct pod_ip */
    struct projected_list conditions;  /* struct pod_condition */
    struct projected_list statuses;    /* struct container_status */
    struct projected_list init_statuses;
    struct projected_list volumes; /* struct pod_volume */
};

struct node_taint {
    const char *key, *value, *effect;
    int64_t added_ns;
};
struct node_address {
    const char *type, *address;
};
struct node_condition {
    const char *type, *status, *reason, *message;
    int64_t heartbeat_ns, transition_ns;
};
struct node {
    struct object_meta meta;
    const char *pod_cidr;
    bool unschedulable;
    struct projected_list taints;     /* struct node_taint */
    struct projected_list addresses;  /* struct node_address */
    struct projected_list conditions; /* struct node_condition */
};

struct namespace
{
    struct object_meta meta;
    struct string_list finalizers;
    const char *phase;
    struct projected_list conditions; /* struct condition */
};

struct service_port {
    const char *name, *protocol, *target, *app_protocol;
    int64_t port;
};
struct service {
    struct object_meta meta;
    const char *type, *cluster_ip;
    struct string_map selector;
    bool has_selector, publish_not_ready;
    const char *lb_wish, *lb_class, *distribution;
    struct projected_list ingress; /* struct pod_ip: of the load balancer */
    struct projected_list ports;   /* struct service_port */
    struct string_list families;
};

struct endpoints {
    struct object_meta meta;
    const char *subsets; /* JSON */
};
struct endpoint_slice {
    struct object_meta meta;
    const char *address_type;
    const char *endpoints, *ports; /* JSON */
};

/* ReplicaSets and ReplicationControllers. */
struct replica_set {
    struct object_meta meta;
    struct opt_int replicas;
    int64_t min_ready_seconds;
    const char *selector, *template; /* JSON */
    struct string_map selector_map;  /* of a ReplicationController, in place of selector */
    int64_t status_replicas, status_labelled, status_ready, status_available, observed_generation;
    struct projected_list conditions; /* struct condition */
};

struct deployment {
    struct object_meta meta;
    struct opt_int replicas, revision_history_limit, progress_deadline_seconds;
    int64_t min_ready_seconds;
    const char *selector, *template; /* JSON */
    const char *strategy, *max_surge, *max_unavailable;
    bool paused;
    const char *status; /* JSON, as it stands */
    struct opt_int collision_count;
    struct projected_list conditions; /* struct condition */
    int64_t observed_generation;
};

struct stateful_set {
    struct object_meta meta;
    struct opt_int replicas, revision_history_limit, start_ordinal, partition;
    int64_t min_ready_seconds;
    const char *selector, *template, *claim_templates; /* JSON */
    const char *service_name, *pod_management, *strategy, *max_unavailable;
    const char *when_deleted, *when_scaled;
    const char *status; /* JSON, as it stands */
    const char *current_revision, *update_revision;
    struct opt_int collision_count;
};

struct daemon_set {
    struct object_meta meta;
    struct opt_int revision_history_limit;
    int64_t min_ready_seconds;
    const char *selector, *template; /* JSON */
    const char *strategy, *max_surge, *max_unavailable;
    const char *status; /* JSON, as it stands */
    struct opt_int collision_count;
};

struct revision {
    struct object_meta meta;
    int64_t revision;
    const char *data; /* JSON */
};

struct job {
    struct object_meta meta;
    struct opt_int parallelism, completions, backoff_limit, active_deadline_seconds, ttl_seconds;
    struct opt_int backoff_per_index, max_failed_indexes;
    bool suspend;
    const char *completion_mode, *managed_by, *replacement;
    const char *selector, *template;             /* JSON */
    const char *failure_policy, *success_policy; /* JSON */
    const char *status;                          /* JSON, as it stands */
};

struct cron_job {
    struct object_meta meta;
    const char *schedule, *time_zone, *concurrency_policy;
    bool suspend;
    struct opt_int starting_deadline_seconds, keep_succeeded, keep_failed;
    const char *template, *status; /* JSON */
    int64_t last_schedule_ns, last_successful_ns;
};

struct budget {
    struct object_meta meta;
    const char *min_available, *max_unavailable; /* "" when not set */
    const char *selector;                        /* JSON */
    struct string_map disrupted;                 /* pod name: when its eviction was accepted */
    const char *status;                          /* JSON, as it stands */
};

struct autoscaler {
    struct object_meta meta;
    const char *spec, *status; /* JSON */
};

struct quota {
    struct object_meta meta;
    const char *spec, *status; /* JSON */
};

struct service_account {
    struct object_meta meta;
};
struct root_ca {
    struct object_meta meta;
    struct string_map data;
};
struct node_lease {
    struct object_meta meta;
    int64_t renew_ns;
};

struct csr {
    struct object_meta meta;
    const char *request, *signer, *username; /* request: base64 of PEM */
    struct string_list groups, usages;
    struct opt_int expiration_seconds;
    const char *certificate;
    struct projected_list conditions; /* struct condition */
    const char *spec;                 /* JSON: user, groups, extra for access reviews */
};

struct bootstrap_token {
    struct object_meta meta;
    const char *expiration; /* base64 */
};

struct token_secret {
    struct object_meta meta;
    bool has_token;
};

struct cluster_role {
    struct object_meta meta;
    const char *aggregation, *rules; /* JSON */
};

/* --- storage --- */

struct claim { /* PersistentVolumeClaim */
    struct object_meta meta;
    const char *class_name;
    bool has_class;
    const char *volume_name, *mode, *attributes_class;
    const char *request; /* quantity */
    struct string_list access_modes;
    const char *selector; /* JSON; NULL: any */
    const char *phase, *status;
};

struct volume { /* PersistentVolume */
    struct object_meta meta;
    const char *class_name, *mode, *attributes_class, *reclaim;
    const char *capacity; /* quantity */
    struct string_list access_modes;
    bool has_claim, is_host_path;
    const char *claim_namespace, *claim_name, *claim_uid;
    const char *csi_driver, *csi_handle;
    const char *phase, *status;
};

struct storage_class {
    struct object_meta meta;
    const char *provisioner, *reclaim, *binding_mode;
    bool expandable;
    struct string_map parameters;
    struct string_list mount_options;
};
