/*
 * The runtime: everything a kubelet does to its host, as one table with two sides.
 *
 * kubelet/docker/ is real (Docker's API over its Unix socket, CNI plugins, mounts below the root
 * folder); kubelet/hollow/ pretends, so that many nodes fit into one process. Nothing above this
 * line knows which.
 *
 * Nouns: a *sandbox* holds a pod's namespaces, its *containers* join them; both are Docker
 * containers and both are described by a struct container_info, which is immutable and reference
 * counted. Names are deterministic, k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT with POD for the
 * sandbox, so that a create whose answer was lost is found again (409). Everything needed after a
 * crash stands in labels.
 *
 * Threads: every operation may be called from any task and blocks it. Errors: ERR_NOT_FOUND for an
 * unknown id or image, ERR_CONFLICT for a name in use, ERR_UNAVAILABLE when the daemon is not
 * there.
 */
#pragma once

#include "common/env.h"
#include "common/json.h"
#include "kubelet/usage.h"

#define LABEL_CLUSTER "io.skiff.cluster"
#define LABEL_NODE "io.skiff.node"
#define LABEL_POD_NAME "io.kubernetes.pod.name"
#define LABEL_POD_NAMESPACE "io.kubernetes.pod.namespace"
#define LABEL_POD_UID "io.kubernetes.pod.uid"
#define LABEL_CONTAINER "io.kubernetes.container.name"
#define LABEL_ATTEMPT "io.skiff.attempt"
#define LABEL_SANDBOX "io.skiff.sandbox" /* id of the sandbox a container joined */
#define LABEL_GRACE "io.kubernetes.pod.terminationGracePeriod"
#define LABEL_DIGEST "io.skiff.image-digest" /* of the image, where a registry gave one */
#define LABEL_LOG_MESSAGE \
    "io.skiff.termination-message" /* host path of the termination message file */
#define SANDBOX_NAME "POD"

enum container_state { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED, CONTAINER_UNKNOWN };

/* What a container may use; 0: no limit. */
struct container_limits {
    bool known; /* false: the runtime doesn't say (hollow) */
    int64_t cpu_shares, cpu_quota /* of a period of 100 ms */, memory_bytes;
};

struct container_info {
    int references;
    /* Strings are NULL when absent. */
    char *id, *name;
    char *uid, *namespace_, *pod,
        *container;         /* of labels; container is SANDBOX_NAME for a sandbox */
    char *sandbox_id;       /* NULL for a sandbox */
    char *image, *image_id; /* as asked for; "sha256:..." */
    char *stop_signal;      /* "SIGTERM" when the image names none */
    char *error;            /* why it could not be started */
    char *image_digest;     /* "repo@sha256:..." */
    char *message_path;     /* of LABEL_LOG_MESSAGE */
    char *log_path;         /* file of its log */
    char *layer_path;       /* folder of what it has written, or NULL */
    bool tty;
    int64_t attempt;
    int64_t grace_seconds; /* of LABEL_GRACE; -1 when there is none */
    enum container_state state;
    int64_t exit_code;
    bool oom_killed;
    bool complete; /* from an inspect: times, exit code and image_id are known */
    int64_t created_ns, started_ns, finished_ns; /* wall clock; 0: not yet */
    int64_t pid;
    struct container_limits limits;
};

struct container_info *container_info_new(void); /* nothing set, one reference */
struct container_info *container_info_ref(struct container_info *info);
void container_info_unref(struct container_info *info);
bool container_is_sandbox(const struct container_info *info);

struct container_list {
    struct container_info **items;
    size_t count;
};
void container_list_add(struct container_list *list, struct container_info *take_info);
void container_list_done(struct container_list *list);

struct mount {
    const char *source, *target;
    bool read_only;
    const char *propagation; /* "rprivate", "rslave", "rshared" or NULL */
};

/* What a sandbox or a container is made from; all borrowed. `json` holds Docker's own create body
 * without image, labels, mounts and names: see container_config.c. */
struct container_spec {
    const char *name; /* deterministic */
    const char *uid, *namespace_, *pod, *container;
    int64_t attempt;
    int64_t grace_seconds;
    const char *sandbox_id;   /* NULL for a sandbox */
    const char *image;        /* NULL for a sandbox: the pause image */
    const char *image_digest; /* or NULL */
    const char *message_path; /* or NULL */
    cJSON *body;              /* borrowed and changed: labels, image and mounts are added */
    const struct mount *mounts;
    size_t mount_count;
};

struct image_info {
    char *id;     /* "sha256:..." */
    char *digest; /* "repo@sha256:...", or NULL */
    char *user;   /* of its config */
    int64_t size;
};
void image_info_done(struct image_info *image);

/* What the network gave a sandbox. */
struct network_result {
    char ip[64];       /* "" for none */
    char ip_other[64]; /* a second family, or "" */
};

struct port_mapping {
    int64_t host_port, container_port;
    const char *protocol; /* "tcp", "udp", "sctp" */
    const char *host_ip;
};

struct pod_network {
    const char *uid, *namespace_, *pod;
    const char *sandbox_id;
    int64_t pid; /* of the sandbox; 0: it is gone */
    const struct port_mapping *ports;
    size_t port_count;
    const char *bandwidth_in, *bandwidth_out; /* annotations, or NULL */
};

struct node_facts {
    int64_t cpus;
    int64_t memory_bytes;
    int64_t disk_bytes;
    char disk_path[256]; /* where images and containers lie; "": unknown */
    char machine_id[64], system_uuid[64], boot_id[64];
    char kernel[128], os_image[128], runtime_version[64], architecture[32];
};

struct log_options {
    bool follow, timestamps;
    int64_t tail_lines;  /* -1: all */
    int64_t since_ns;    /* wall clock; 0: all */
    int64_t limit_bytes; /* -1: none */
};

/* Takes a piece of output; a negative return ends the stream. */
typedef int log_sink_fn(void *arg, struct str piece);

/* Something happened to the container; record it, don't act. action: "die", "start", "destroy", ...
 */
typedef void runtime_event_fn(void *arg, const char *id, const char *uid, const char *action);
/* Events may have been missed: look at everything again. */
typedef void runtime_lost_fn(void *arg);

/* A command's or a container's streams: bytes of stdin are written to the descriptor, which does
 * not block; the output is read with read_stream. */
struct runtime_stream {
    int fd;
};
struct stream_options {
    const char *const *argv; /* of a new command, NULL ended; NULL: the container's own process */
    bool in, out, error, tty;
};
/* Takes a piece of output; stream is 1 or 2. */
typedef int stream_sink_fn(void *arg, int stream, struct str piece);

struct runtime;

struct runtime_ops {
    /* Ready to run pods: the daemon answers, the pause image is there. Called until it succeeds. */
    int (*prepare)(struct runtime *, struct error *);
    int (*facts)(struct runtime *, struct node_facts *, struct error *);
    int (*list)(struct runtime *, struct container_list *, struct error *);
    int (*inspect)(struct runtime *, const char *id, struct container_info **, struct error *);
    /* *ret_id is heap; an existing container of the same name is used when it was never started. */
    int (*create)(struct runtime *, const struct container_spec *, char **ret_id, struct error *);
    int (*start)(struct runtime *, const char *id, struct error *);
    /* Of a running container; what is 0 stays. NULL where limits are not known. */
    int (*update)(
        struct runtime *, const char *id, const struct container_limits *, struct error *);
    int (*signal)(struct runtime *, const char *id, const char *signal, struct error *);
    int (*remove)(
        struct runtime *, const char *id, struct error *); /* kills it when it still runs */
    /* Output (both streams) is cut at its buffer's limit. ERR_TIMEOUT leaves the command running.
     */
    int (*exec)(struct runtime *, const char *id, const char *const *argv, int64_t timeout_ns,
        struct strbuf *output, int64_t *ret_exit_code, struct error *);
    /* Where this fails always (hollow), the four below it are NULL. */
    int (*open_stream)(struct runtime *, const char *id, const struct stream_options *,
        struct runtime_stream **, struct error *);
    /* What has come, handed to the sink: 1, or 0 at the end; doesn't wait. */
    int (*read_stream)(
        struct runtime *, struct runtime_stream *, stream_sink_fn *, void *arg, struct error *);
    int (*resize_stream)(
        struct runtime *, struct runtime_stream *, unsigned width, unsigned height, struct error *);
    /* Of a command whose output has ended. ERR_BAD_REQUEST with the runtime's words: it could not
     * be started. */
    int (*stream_result)(
        struct runtime *, struct runtime_stream *, int64_t *ret_exit_code, struct error *);
    /* hang_up: the client left; the command at its terminal is told so. */
    void (*close_stream)(struct runtime *, struct runtime_stream *, bool hang_up);
    int (*logs)(struct runtime *, const char *id, const struct log_options *, log_sink_fn *,
        void *arg, bool (*gone)(void *arg), struct error *);
    /* Of a running container; both NULL where there is nothing to measure (hollow). */
    int (*usage)(struct runtime *, const struct container_info *, struct usage *, struct error *);
    int (*interfaces)(
        struct runtime *, const struct container_info *, struct interface_list *, struct error *);
    int (*image_get)(struct runtime *, const char *image, struct image_info *, struct error *);
    /* [{"names":[...],"sizeBytes":N}], the largest first, as a Node's status has them; NULL where
     * there are none. */
    int (*image_list)(struct runtime *, cJSON **ret, struct error *);
    /* auth: X-Registry-Auth's value, or NULL. */
    int (*image_pull)(struct runtime *, const char *image, const char *auth, struct error *);
    int (*network_up)(
        struct runtime *, const struct pod_network *, struct network_result *, struct error *);
    int (*network_down)(struct runtime *, const struct pod_network *, struct error *);
    /* A result of network_up that survived in our files; false when there is none. */
    bool (*network_get)(
        struct runtime *, const char *uid, const char *sandbox_id, struct network_result *);
    bool (*network_ready)(struct runtime *, struct strbuf *why_not);
    void (*watch_start)(struct runtime *, runtime_event_fn *, runtime_lost_fn *, void *arg);
    void (*watch_stop)(struct runtime *);
    void (*free)(struct runtime *);
};

struct runtime {
    const struct runtime_ops *ops;
    struct env *env;
    bool pretends;         /* no files, mounts, probes: the pod's contents are not real */
    int64_t oom_score_min; /* the daemon may not go lower (without CAP_SYS_RESOURCE) */
    bool shares_mounts;    /* what we mount, the daemon sees (same mount namespace) */
};
