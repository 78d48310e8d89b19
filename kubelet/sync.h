/*
 * One look at one pod: what pod_sync() knows while it decides. Lives on the worker's stack for one
 * call.
 *
 * Steps run in the order of the table in pod_sync.c until one says STEP_FINISH; then the status is
 * computed from what was seen and handed to the status writer. A step never waits for anything
 * long: it sets off what it can and asks with sync_again() to be looked at later.
 */
#pragma once

#include "kubelet/agent.h"
#include "kubelet/status.h"

enum step_result { STEP_NEXT, STEP_FINISH, STEP_ERROR };

struct sync {
    struct agent *agent;
    struct kubelet *node;
    struct pod_record *record;
    struct arena *arena;        /* of this call */
    const struct pod_view *pod; /* as last seen; NULL for a pod known only from its containers */
    bool in_api;
    cJSON *spec;   /* never NULL */
    cJSON *status; /* as last written or seen; never NULL */
    struct container_list containers;
    struct container_info *sandbox; /* the newest; borrowed from containers */
    bool sandbox_up;                /* it runs and has its network */
    bool terminating;               /* being deleted, or deleted */
    bool ended;                     /* over by itself: nothing is started any more */
    bool stopped;                   /* of those two: nothing runs any more */
    int64_t now_ns, wall_ns;
    int64_t again_ns; /* 0: only when something happens */
    struct pod_facts facts;
};

void sync_again(struct sync *s, int64_t delay_ns);
/* Back-off of the whole pod: 500 ms doubling to two minutes. */
void sync_failed(struct sync *s);
/* Puts a fresh description in the place of an older one of the same id, or adds it (reference taken
 * over). */
void sync_replace(struct sync *s, struct container_info *take_info);
/* pods/UID below the root folder */
char *sync_pod_dir(struct sync *s, const char *below);

/* pod_sandbox.c */
enum step_result sandbox_step(struct sync *s, struct error *err);
/* Network and sandbox go; 0 when both are gone. */
int sandbox_down(struct sync *s, struct error *err);

/* pod_containers.c */
enum step_result containers_step(struct sync *s, struct error *err);

/* resize.c: gives a running container what its spec asks for; true: it must be restarted for it. */
bool container_resize(struct sync *s, struct container_record *c, const cJSON *container,
    struct container_info *running);

/* pod_stop.c */
enum step_result stop_step(struct sync *s, struct error *err);
/* Sets off or goes on with stopping one running container; call again until it has ended. */
int container_stop(struct sync *s, struct container_info *info, int64_t deadline_ns, bool with_hook,
    struct error *err);

/* container_config.c: Docker's create bodies; new trees. */
int container_body(struct sync *s, const cJSON *container, const struct image_info *image,
    cJSON **ret, struct error *err);
cJSON *sandbox_body(struct sync *s);

/* hosts.c: writes etc-hosts and resolv.conf of the pod; *ret gets the mounts that the container
 * does not make itself. */
int hosts_write(struct sync *s, struct error *err);
void hosts_mounts(struct sync *s, const cJSON *container, struct mount *mounts, size_t *count);
/* Pure: contents of the two files. */
void hosts_print(const cJSON *spec, const char *ip, const char *other, const char *hostname,
    const char *domain, struct strbuf *out);
struct resolver {
    const char *cluster_dns, *cluster_domain, *namespace_;
    struct str host_file; /* the node's own resolv.conf */
};
void resolv_print(const cJSON *spec, const struct resolver *resolver, struct strbuf *out);
char *pod_hostname(const cJSON *spec, const char *pod_name);

/* message.c: the termination message of an ended container, heap, or NULL. */
char *termination_message(void *sync, const cJSON *container, const struct container_info *info);

/* admit.c: 0, or the pod is refused for good with a reason. */
int pod_admit(struct sync *s, char **ret_reason, char **ret_message);

/* volume/volumes.c */
int volumes_up(struct sync *s, struct error *err);
int volumes_down(struct sync *s, struct error *err);
int volumes_mounts(struct sync *s, const cJSON *container, const char *message_path,
    struct mount **ret, size_t *ret_count, struct error *err);
