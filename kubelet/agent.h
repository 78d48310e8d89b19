/*
 * The kubelet's inside: one agent a process, one kubelet a node, one record a pod.
 *
 * An *agent* owns what is shared: API client, informers, queues, the runtime's cache. A *kubelet*
 * is one node: its Node object, Lease and addresses. The real kubelet has one of them, a hollow
 * process many; a node costs no task, no connection and no informer of its own. A *pod_record* is
 * what is remembered about a pod between two looks at it: everything in it can be rebuilt from
 * Docker's labels and the API.
 *
 *     informer, Docker's events, timers, probes -> pod_queue (key: uid)
 *     pod_queue    pod_sync():    one look, the next steps, "wake me in N" (pod_sync.c)
 *     status_queue status_write(): what pod_sync computed goes to the API; the final DELETE
 * (status_write.c) pull_queue   image_pull_run(), probe_queue probe_run(), lease_queue and
 * node_queue (node.c)
 *
 * Locks: agent.lock guards the tables of records and nodes; record.lock guards the fields so
 * marked. A record's other fields belong to the worker that has its key. record.lock may be taken
 * under agent.lock, not the reverse.
 */
#pragma once

#include "common/delegated_auth.h"
#include "common/events.h"
#include "common/hash.h"
#include "common/httpd.h"
#include "common/informer.h"
#include "common/workqueue.h"
#include "kubelet/pod.h"
#include "kubelet/runtime.h"

struct kubelet_config {
    const char *kubeconfig, *bootstrap_kubeconfig;
    const char *hostname_override, *node_ip;
    const char *root_dir, *cluster_id;
    const char *docker_endpoint, *cni_conf_dir, *cni_bin_dir, *pause_binary;
    const char *cluster_dns, *cluster_domain;
    const char *runtime;
    int64_t hollow_nodes;
    const char *hollow_prefix;
    const char *register_with_taints, *node_labels;
    bool cleanup;
    int64_t port;
    const char *bind_address;
    const char *tls_cert_file, *tls_private_key_file, *client_ca_file;
    struct tls_settings tls;
    int64_t max_pods;
    int64_t node_status_frequency_ns; /* unchanged status is written this often */
};

enum { PROBE_STARTUP, PROBE_READINESS, PROBE_LIVENESS, PROBE_KINDS };
enum probe_result { RESULT_UNKNOWN, RESULT_SUCCESS, RESULT_FAILURE };

struct probe {
    int references;
    struct pod_record *record; /* borrowed: the record's list holds the probe */
    char *key;
    char *container, *container_id;
    int kind;
    cJSON *spec; /* the probe's object, immutable */
    cJSON *container_spec;
    int64_t initial_delay_ns, period_ns, timeout_ns;
    int64_t success_threshold, failure_threshold;
    int64_t container_started_ns; /* monotonic */
    /* guarded by record.lock */
    enum probe_result result;
    int64_t run_of_successes, run_of_failures;
    bool removed;
};

enum work_state { WORK_NONE, WORK_RUNNING, WORK_DONE, WORK_FAILED };

/* A lifecycle hook on its way, or an image on its way. Guarded by record.lock. */
struct work {
    enum work_state state;
    char *subject; /* container id, or image */
    char *message; /* of a failure */
};

enum stop_phase { STOP_NONE, STOP_PRESTOP, STOP_TERM, STOP_KILL };

enum resize_state { RESIZE_NONE, RESIZE_DEFERRED, RESIZE_INFEASIBLE, RESIZE_ERROR };

struct container_record {
    char *name;
    /* An in-place resize that is not done, and why; what the runtime was last asked for. */
    enum resize_state resize;
    char *resize_message, *resized_id;
    struct container_limits resized;
    /* Restart back-off: wall-clock end of the last run that was counted, and the delay in force. */
    int64_t backoff_ns, backoff_updated_ns;
    bool backoff_told; /* the event of this waiting was sent */
    /* Why it is not running; reason "" when nothing is wrong. Message of the last failed attempt.
     */
    char *waiting_reason, *waiting_message;
    /* Image */
    struct work pull;
    int64_t pull_backoff_ns, pull_failed_ns; /* monotonic */
    /* Hooks */
    struct work post_start, pre_stop;
    /* Stopping */
    enum stop_phase stop;
    char *stop_id;
    int64_t stop_deadline_ns;          /* monotonic */
    bool kill_for_restart;             /* unhealthy or changed: start again when it has ended */
    struct probe *probes[PROBE_KINDS]; /* list guarded by record.lock */
    bool ready, started; /* of the API's last word, until a probe says otherwise (after a restart of
                            ours) */
    char *trusted_id;    /* container id those two are about */
};

/* Where a volume of the pod lies on the host, once it is set up. */
struct volume_path {
    char *name, *path;
    bool read_only;
    bool refreshes; /* its content follows the API */
};

struct volume_token {
    char *key; /* volume/path/audience */
    char *token;
    int64_t refresh_ns; /* monotonic */
};

struct pod_record {
    UT_hash_handle hh;
    int references;
    struct agent *agent;
    struct kubelet *node;
    char *uid, *namespace_, *name;
    struct lock lock;
    const struct pod_view *view; /* as last seen; guarded by lock */
    bool in_api;                 /* it is there now; guarded by lock */
    int64_t first_seen_ns;
    /* private to the worker */
    struct container_record **containers;
    size_t container_count;
    char *fail_reason, *fail_message; /* the pod as a whole was refused or ended: Failed */
    int64_t kill_deadline_ns;         /* monotonic; 0 until termination is first seen */
    int64_t volumes_fresh_ns;         /* next refresh */
    struct volume_path *volumes;
    size_t volume_count;
    struct volume_token *tokens;
    size_t token_count;
    int64_t retry_ns; /* back-off of volumes and sandbox, doubled by each failure */
    int64_t retry_at_ns;
    int64_t runtime_returns; /* of the agent, when retry_* was set */
    bool admitted;           /* written under agent.lock: admission of others looks at it */
    bool rejected, volumes_up;
    bool down;                         /* everything is stopped and taken down */
    char pod_ip[64], pod_ip_other[64]; /* written under lock: probes read them */
    char *network_sandbox;             /* sandbox id that pod_ip belongs to */
    /* guarded by lock: for the status writer */
    cJSON *wanted_status;
    char *written_status; /* text of the status as the API last returned it to us */
    char *written_version;
    bool finished; /* delete the API object once the status is written */
};

struct kubelet {
    UT_hash_handle hh;
    struct agent *agent;
    char *name;
    char ip[64];
    struct lock lock;
    /* guarded by lock */
    char *pod_cidr;
    struct resource_pair allocatable;
    bool registered, adopted; /* adopted: the object was there before this process */
    uint32_t status_hash;     /* of what was last written, without heartbeat times */
    bool report;              /* write the status even when it has not changed */
    int64_t renewed_ns;       /* last renewal of the Lease */
    int64_t last_written_ns;
    char *conditions; /* JSON text, as last written: times of transitions */
    char *lease_version, *uid;
    char *network_state; /* what host_* was last called with; NULL: never */
};

struct agent {
    struct env *env;
    const struct kubelet_config *config;
    struct api_client *api;
    struct runtime *runtime;
    struct events *events;
    struct metrics *metrics;
    struct objects *objects;
    struct runtime_cache *cache;
    struct informer *pods, *services, *nodes;
    struct folders *folders;
    struct workqueue *pod_queue, *status_queue, *probe_queue, *pull_queue, *lease_queue,
        *node_queue;
    struct node_facts facts;
    int64_t started_ns;
    struct lock lock;
    struct pod_record *records; /* by uid */
    struct kubelet *kubelets;   /* by name */
    bool synced;                /* pod informer has its first list; guarded by lock */
    bool runtime_ready;         /* it has answered once; guarded by lock */
    int64_t runtime_lost_ns;    /* since when it does not answer, or 0; guarded by lock */
    int64_t runtime_returns;    /* times it came back; guarded by lock */
    char runtime_error[256];    /* why not; guarded by lock */
    bool stopping;              /* guarded by lock */
    struct task *starter, *auditor, *certs;
    struct cond wake;                 /* stopping changed */
    struct short_task *tasks;         /* joined when a later one begins; guarded by lock */
    struct http_client *prober;       /* of httpGet actions */
    char *serving_cert, *serving_key; /* files */
    struct delegated_auth *auth;
    struct httpd *httpd;
    struct stats_history *stats;
    cJSON *images;     /* of the Node's status, or NULL; guarded by lock */
    int64_t images_ns; /* when they were listed; guarded by lock */
};

/* agent.c */
int agent_new(struct env *env, const struct kubelet_config *config, struct api_client *api,
    struct runtime *runtime, struct agent **ret, struct error *err);
struct kubelet *agent_add_node(struct agent *agent, const char *name, const char *ip);
int agent_start(struct agent *agent, struct error *err);
void agent_free(struct agent *agent);
bool agent_stopping(struct agent *agent);
/* Sleeps until stopping or the time has passed; true when stopping. */
bool agent_sleep(struct agent *agent, int64_t ns);

/* A task that lives for one piece of work; agent_free waits for all of them. */
void agent_task_begin(struct agent *agent, const char *name, task_fn *fn, void *arg);

/* pod_record.c */
struct pod_record *record_find(struct agent *agent, const char *uid); /* referenced, or NULL */
struct pod_record *record_of(struct agent *agent, struct kubelet *node, const char *uid,
    const char *namespace_, const char *name); /* found or made; referenced */
void record_unref(struct pod_record *record);
void record_forget(struct pod_record *record); /* takes it out of the table */
struct container_record *record_container(struct pod_record *record, const char *name);
const struct pod_view *record_view(
    struct pod_record *record, bool *ret_in_api); /* referenced, or NULL */
void record_wake(struct pod_record *record);
void container_waiting(struct container_record *c, const char *reason, const char *message);
/* lock held by the caller */
void work_set(struct work *work, enum work_state state, const char *subject, const char *message);

/* pod_sync.c */
int pod_sync(void *agent, const char *uid, int64_t *ret_again_ns, struct error *err);

/* status_write.c */
int status_write(void *agent, const char *uid, int64_t *ret_again_ns, struct error *err);

/* Events about a pod; container NULL: about the pod as a whole. */
void pod_event(struct pod_record *record, const cJSON *spec, const char *container,
    const char *type, const char *reason, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* runtime_cache.c: what the runtime reported, by pod. */
struct runtime_cache *runtime_cache_new(struct agent *agent);
void runtime_cache_free(struct runtime_cache *cache);
/* Everything of the pod, each inspected since the last event about it. References for the caller.
 */
int runtime_cache_pod(
    struct runtime_cache *cache, const char *uid, struct container_list *ret, struct error *err);
/* Something was done to the container: look at it again at the next runtime_cache_pod. */
void runtime_cache_touch(struct runtime_cache *cache, const char *uid, const char *id);
/* Inspects now and stores. ERR_NOT_FOUND takes it out. */
int runtime_cache_refresh(struct runtime_cache *cache, const char *uid, const char *id,
    struct container_info **ret, struct error *err);
void runtime_cache_drop(struct runtime_cache *cache, const char *uid, const char *id);
/* Lists everything, marks what differs and wakes its pods. all: mark everything. */
int runtime_cache_audit(struct runtime_cache *cache, bool all, struct error *err);
size_t runtime_cache_count(struct runtime_cache *cache);
runtime_event_fn runtime_cache_event;

/* objects.c: ConfigMaps and Secrets of pods, read through a short-lived cache. */
struct shared_tree {
    int references;
    cJSON *tree;
    int64_t fetched_ns; /* monotonic */
};
struct objects *objects_new(struct api_client *api);
void objects_free(struct objects *objects);
/* Fetched after not_before_ns (monotonic). */
int objects_get(struct objects *objects, const char *plural, const char *namespace_,
    const char *name, int64_t not_before_ns, struct shared_tree **ret, struct error *err);
void shared_tree_unref(struct shared_tree *tree);

/* images.c */
/* Looks for a container's image and pulls it by policy in the background. 0: *ret is there;
 * -ERR_TIMEOUT: on its way (the pod is woken); else waiting_reason and waiting_message are set. */
struct sync;
int image_ensure(
    struct sync *s, struct container_record *c, const cJSON *container, struct image_info *ret);
reconcile_fn image_pull_run;

/* probes.c */
void probes_update(struct sync *s, struct container_record *c, const cJSON *container,
    const struct container_info *running);
void probes_remove(struct pod_record *record, struct container_record *c);
void probe_unref(struct probe *probe);
/* What the probes say of this running container. */
bool probes_started(struct pod_record *record, struct container_record *c, const cJSON *container,
    const struct container_info *running);
bool probes_ready(struct pod_record *record, struct container_record *c, const cJSON *container,
    const struct container_info *running);
/* The kind of probe that failed for good, or -1. */
int probes_unhealthy(struct pod_record *record, struct container_record *c);
reconcile_fn probe_run;

/* hooks.c: lifecycle hooks run on tasks of their own; the pod is woken at their end. */
void hook_start(struct sync *s, struct container_record *c, struct work *work,
    const cJSON *container, const cJSON *handler, const struct container_info *running,
    const char *name, int64_t timeout_ns);
/* One httpGet, tcpSocket or exec action, for hooks and probes. 0: success; else why in err. */
int handler_run(struct pod_record *record, const cJSON *container, const cJSON *handler,
    const char *container_id, const char *pod_ip, int64_t timeout_ns, struct strbuf *output,
    struct error *err);

/* A connection that does not block; ERR_SYSTEM "dial tcp HOST:PORT: connect: ...". */
int handler_connect(
    const char *host, int64_t port, int64_t timeout_ns, int *ret_fd, struct error *err);
/* grpc_probe.c: grpc.health.v1.Health/Check of {port, service}; 0: it serves. */
int grpc_action(
    struct env *env, const cJSON *action, const char *host, int64_t timeout_ns, struct error *err);

/* node.c, node_status.c, node_network.c, lease.c */
reconcile_fn node_sync;
reconcile_fn lease_renew;
void node_report(struct agent *agent, const char *name); /* write the status now, changed or not */
cJSON *node_object(struct kubelet *node);
/* Everything of the status but heartbeat times; conditions keep their transition times. */
cJSON *node_status(struct kubelet *node, const cJSON *old_conditions);
void node_network_sync(struct kubelet *node);

/* certs.c, server.c, orphans.c, cleanup.c */
int certs_bootstrap(
    struct env *env, const struct kubelet_config *config, const char *node_name, struct error *err);
int certs_serving(
    struct agent *agent, struct kubelet *node, struct error *err); /* blocks until signed */
int certs_renew(struct agent *agent, struct kubelet *node,
    struct error *err); /* the client's, when it is time */
int64_t certs_renew_after_ns(struct agent *agent);
int server_start(struct agent *agent, struct error *err);
void server_stop(struct agent *agent);
int orphans_sweep(struct agent *agent, struct error *err);
/* `--cleanup`: removes all that a kubelet of this cluster and node has made on the host. */
int cleanup_run(const struct kubelet_config *config, struct runtime *runtime, struct error *err);
