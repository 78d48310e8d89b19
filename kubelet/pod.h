/*
 * Pods as the kubelet sees them: the projections of its informers, and pure questions about a pod's
 * spec.
 *
 * spec and status stay JSON text (a node looks at nearly every field) and are parsed once a sync.
 * Nothing in here does any input or output; pod_spec.c, resources.c, env_vars.c and image_name.c
 * are tested without a daemon.
 */
#pragma once

#include "common/arena.h"
#include "common/informer.h"
#include "common/projection.h"
#include "common/quantity.h"

struct pod_view {
    struct object_meta meta;
    const char *node_name;
    const char *spec, *status; /* JSON text */
};
extern const struct projection kubelet_pod_projection;

struct service_port_view {
    const char *name, *protocol;
    int64_t port;
};
struct service_view {
    struct object_meta meta;
    const char *cluster_ip, *type;
    struct projected_list ports; /* struct service_port_view */
};
extern const struct projection kubelet_service_projection;

struct node_address_view {
    const char *type, *address;
};
struct node_condition_view {
    const char *type, *status;
};
struct node_view {
    struct object_meta meta;
    const char *pod_cidr;
    struct projected_list addresses;  /* struct node_address_view */
    struct projected_list conditions; /* struct node_condition_view */
    struct string_map capacity;
};
extern const struct projection kubelet_node_projection;

/* Name of kinds of containers in a spec, and the field path events use. */
const cJSON *pod_container(const cJSON *spec, const char *name, bool *ret_is_init);
/* Added for debugging, runs once; container: one of this spec. */
bool container_is_ephemeral(const cJSON *spec, const cJSON *container);
bool container_is_sidecar(const cJSON *container); /* an init container that is kept running */
bool pod_uses_host_network(const cJSON *spec);
int64_t pod_grace_seconds(const cJSON *spec);
const char *pod_restart_policy(const cJSON *spec);

/* resources.c */
struct resource_pair {
    int64_t cpu_milli, memory_bytes; /* -1: not set */
};
struct resource_pair container_requests(const cJSON *container);
struct resource_pair container_limits(const cJSON *container);
const char *pod_qos(const cJSON *spec);
int64_t cpu_shares(int64_t cpu_milli);
int64_t cpu_quota(int64_t cpu_milli); /* for a period of 100 ms */
int64_t oom_score_adj(
    const char *qos, bool critical, int64_t request_bytes, int64_t capacity_bytes);
/* resourceFieldRef: "limits.cpu" with divisor; node is what an unset limit stands for. */
int resource_field(const cJSON *container, const char *resource, const char *divisor,
    struct resource_pair node, char **ret, struct error *err);

/* env_vars.c */
struct env_var {
    const char *name, *value;
};
struct env_list {
    struct env_var *items;
    size_t count, capacity;
};
/* Sets or replaces; strings are the caller's (arena). */
void env_list_set(struct env_list *list, struct arena *arena, const char *name, const char *value);
const char *env_list_get(const struct env_list *list, const char *name);

/* $(NAME) from first, then second; $$ is $; unknown names stay as they are. */
char *expand(struct arena *arena, const char *text, const struct env_list *first,
    const struct env_list *second);

void env_add_services(struct env_list *list, struct arena *arena,
    const struct projected_array *services, const char *namespace_, bool links);

/* What a pod's fields and references are resolved against. */
struct pod_facts {
    const struct pod_view *pod;
    const cJSON *spec;
    const char *node_name, *host_ip, *pod_ip, *pod_ip_other; /* "" when not known yet */
    struct resource_pair node;                               /* allocatable */
    /* Data of a ConfigMap or Secret ("configmaps", "secrets") of the pod's namespace; the tree is
     * borrowed until the arena goes. */
    int (*get_object)(
        void *arg, const char *plural, const char *name, const cJSON **ret, struct error *err);
    void *arg;
};
/* fieldRef; heap string. */
int pod_field(const struct pod_facts *facts, const char *path, char **ret, struct error *err);
/* The container's whole environment in order; `services` is consulted and then appended. */
int env_build(const struct pod_facts *facts, const cJSON *container,
    const struct env_list *services, struct arena *arena, struct env_list *ret, struct error *err);

/* image_name.c */
/* 0 when the name is a valid reference; upstream's text otherwise. */
int image_name_check(const char *image, struct error *err);
/* The registry's host as Docker's credentials name it: "index.docker.io" for "busybox". */
void image_registry(const char *image, struct strbuf *out);
/* X-Registry-Auth from a dockerconfigjson document (its "auths"), or false when nothing fits. */
bool image_auth(const cJSON *config, const char *image, struct strbuf *out);
