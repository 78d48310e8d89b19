/*
 * The agent: wiring of a kubelet process. See agent.h.
 *
 * Order of a start: nodes are registered and their Leases run at once; pods are looked at only when
 * the runtime has answered and its containers are known, because a kubelet that knows nothing of
 * them would start them twice.
 */
#include "kubelet/agent.h"
#include "kubelet/stats.h"
#include "kubelet/volume/folders.h"

#include "common/log.h"
#include "common/time.h"

/* As many as Docker does at once without getting slower; a pod that waits for it costs a stack. */
#define POD_WORKERS 16
#define STATUS_WORKERS 2
#define PROBE_WORKERS 6
#define PULL_WORKERS 3
#define NODE_WORKERS 2
#define BACKOFF_MAX_MS 10000
#define STARTER_RETRY_NS (1 * NS_PER_S)
#define AUDIT_NS (60 * NS_PER_S)
#define SERVING_RETRY_NS (5 * NS_PER_S)

struct short_task {
    struct short_task *next;
    struct agent *agent;
    struct task *task;
    task_fn *fn;
    void *arg;
    bool ended; /* guarded by agent.lock */
};

bool agent_stopping(struct agent *agent)
{
    env_lock(agent->env, &agent->lock);
    bool stopping = agent->stopping;
    env_unlock(agent->env, &agent->lock);
    return stopping;
}

bool agent_sleep(struct agent *agent, int64_t ns)
{
    int64_t deadline = env_now_ns(agent->env) + ns;

    env_lock(agent->env, &agent->lock);
    while (!agent->stopping && env_wait_until(agent->env, &agent->wake, &agent->lock, deadline))
        ;
    bool stopping = agent->stopping;
    env_unlock(agent->env, &agent->lock);
    return stopping;
}

static void short_task_run(void *arg)
{
    struct short_task *t = arg;

    t->fn(t->arg);
    env_lock(t->agent->env, &t->agent->lock);
    t->ended = true;
    env_unlock(t->agent->env, &t->agent->lock);
}

/* Joins those that have ended, or all. */
static void join_tasks(struct agent *agent, bool all)
{
    struct short_task *ended = NULL, *t;

    env_lock(agent->env, &agent->lock);
    for (struct short_task **at = &agent->tasks; *at;) {
        t = *at;
        if (!all && !t->ended) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        t->next = ended;
        ended = t;
    }
    env_unlock(agent->env, &agent->lock);
    while ((t = ended)) {
        ended = t->next;
        env_join(agent->env, t->task);
        free(t);
    }
}

void agent_task_begin(struct agent *agent, const char *name, task_fn *fn, void *arg)
{
    struct short_task *t = xcalloc(1, sizeof(*t));

    join_tasks(agent, false);
    t->agent = agent;
    t->fn = fn;
    t->arg = arg;
    t->task = env_spawn(agent->env, name, short_task_run, t);
    env_lock(agent->env, &agent->lock);
    t->next = agent->tasks;
    agent->tasks = t;
    env_unlock(agent->env, &agent->lock);
}

/* The node of this process that the pod is bound to, or NULL. */
static struct kubelet *node_of(struct agent *agent, const char *name)
{
    struct kubelet *node = NULL;

    env_lock(agent->env, &agent->lock);
    HASH_FIND_STR(agent->kubelets, name, node);
    env_unlock(agent->env, &agent->lock);
    return node;
}

static void take_view(struct pod_record *record, const struct pod_view *view, bool in_api)
{
    const struct pod_view *old;

    env_lock(record->agent->env, &record->lock);
    old = record->view;
    record->view = projected_ref(view);
    record->in_api = in_api;
    env_unlock(record->agent->env, &record->lock);
    if (old)
        projected_unref(old);
}

static void pod_gone(struct agent *agent, const struct pod_view *pod)
{
    struct pod_record *record = record_find(agent, pod->meta.uid);

    if (!record)
        return;
    take_view(record, pod, false);
    record_wake(record);
    record_unref(record);
}

static void on_pod(void *arg, const void *old_object, const void *new_object)
{
    struct agent *agent = arg;
    const struct pod_view *old = old_object, *pod = new_object;

    /* A name that passed to another pod between two events. */
    if (old && (!pod || !c_eq(old->meta.uid, pod->meta.uid)))
        pod_gone(agent, old);
    if (!pod)
        return;
    struct kubelet *node = node_of(agent, pod->node_name);
    if (!node)
        return;
    struct pod_record *record =
        record_of(agent, node, pod->meta.uid, pod->meta.namespace_, pod->meta.name);
    take_view(record, pod, true);
    record_wake(record);
    record_unref(record);
}

static void on_pods_synced(void *arg)
{
    struct agent *agent = arg;

    env_lock(agent->env, &agent->lock);
    agent->synced = true;
    env_unlock(agent->env, &agent->lock);
}

/* Somebody (the node lifecycle controller, while we were not heard) gave up on us: say that we are
 * here. */
static void check_own(struct agent *agent, const struct node_view *node)
{
    const struct node_condition_view *conditions = node->conditions.items;

    for (size_t i = 0; i < node->conditions.count; i++)
        if (c_eq(conditions[i].status, "Unknown"))
            node_report(agent, agent->kubelets->name);
}

/* Our own node got its range, or another node came, went or moved. */
static void on_node(void *arg, const void *old_object, const void *new_object)
{
    struct agent *agent = arg;
    const struct node_view *old = old_object, *new = new_object;
    const struct node_address_view *a = old ? old->addresses.items : NULL,
                                   *b = new ? new->addresses.items : NULL;
    bool same = old && new &&c_eq(old->pod_cidr, new->pod_cidr) &&
                old->addresses.count == new->addresses.count;

    if (new &&c_eq(new->meta.name, agent->kubelets->name))
        check_own(agent, new);
    for (size_t i = 0; same && i < old->addresses.count; i++)
        same = c_eq(a[i].address, b[i].address);
    if (!same)
        workqueue_add(agent->node_queue, agent->kubelets->name);
}

/* The network is looked at only once all nodes are known, and the first list's changes are told
 * before that. */
static void on_nodes_synced(void *arg)
{
    struct agent *agent = arg;

    workqueue_add(agent->node_queue, agent->kubelets->name);
}

static void wake_all(struct agent *agent)
{
    struct pod_record *record, *next;

    env_lock(agent->env, &agent->lock);
    HASH_ITER(hh, agent->records, record, next)
    record_wake(record);
    env_unlock(agent->env, &agent->lock);
}

/* Whether the runtime answered just now. A short absence (a restart of it) does not make the node
 * NotReady. */
static void runtime_state(struct agent *agent, bool answers, const char *why)
{
    env_lock(agent->env, &agent->lock);
    bool returned = answers && (!agent->runtime_ready || agent->runtime_lost_ns);
    if (answers) {
        agent->runtime_ready = true;
        agent->runtime_lost_ns = 0;
        agent->runtime_returns += returned;
    } else if (!agent->runtime_lost_ns) {
        agent->runtime_lost_ns = env_now_ns(agent->env);
    }
    snprintf(agent->runtime_error, sizeof(agent->runtime_error), "%.*s",
        (int)sizeof(agent->runtime_error) - 1, why ? why : "");
    env_unlock(agent->env, &agent->lock);
    if (!returned)
        return;
    for (struct kubelet *node = agent->kubelets; node; node = node->hh.next)
        workqueue_add(agent->node_queue, node->name);
    wake_all(agent);
}

static void on_runtime_lost(void *arg)
{
    struct agent *agent = arg;
    struct error err;

    /* The auditor's work, ahead of its time. */
    int r = runtime_cache_audit(agent->cache, true, &err);
    if (r < 0)
        log_warning(
            "docker's containers cannot be listed, retrying", "error", "%s", err.text, NULL);
    runtime_state(agent, r == 0, r < 0 ? err.text : NULL);
}

/* Brings the runtime up, then pods may be looked at. */
static void starter_run(void *arg)
{
    struct agent *agent = arg;
    struct runtime *rt = agent->runtime;
    struct error err;

    while (!agent_stopping(agent)) {
        if (rt->ops->prepare(rt, &err) == 0 && runtime_cache_audit(agent->cache, true, &err) == 0)
            break;
        runtime_state(agent, false, err.text);
        log_warning("runtime is not ready, retrying", "error", "%s", err.text, NULL);
        agent_sleep(agent, STARTER_RETRY_NS);
    }
    if (agent_stopping(agent))
        return;
    runtime_state(agent, true, NULL);
    if (rt->ops->watch_start)
        rt->ops->watch_start(rt, runtime_cache_event, on_runtime_lost, agent);
    workqueue_run(agent->pod_queue, POD_WORKERS, pod_sync, agent);
}

/* The slow net below the events: lists containers, looks for orphans, notices when the runtime is
 * gone. */
static void auditor_run(void *arg)
{
    struct agent *agent = arg;
    struct error err;
    bool swept = false, fine = true;

    while (!agent_sleep(agent, swept && fine ? AUDIT_NS : NS_PER_S)) {
        env_lock(agent->env, &agent->lock);
        bool ready = agent->runtime_ready, synced = agent->synced;
        env_unlock(agent->env, &agent->lock);
        if (!ready)
            continue; /* the starter's turn */
        if (swept) {
            bool was_fine = fine;
            fine = runtime_cache_audit(agent->cache, false, &err) == 0;
            runtime_state(agent, fine, fine ? NULL : err.text);
            if (!fine && was_fine)
                log_warning("audit failed, retrying", "error", "%s", err.text, NULL);
        }
        if (!fine || !synced)
            continue;
        if (orphans_sweep(agent, &err) == 0)
            swept = true;
        else
            log_warning("orphans cannot be looked for, retrying", "error", "%s", err.text, NULL);
    }
}

/* Gets the serving certificate, starts the server, renews certificates. */
static void certs_run(void *arg)
{
    struct agent *agent = arg;
    struct error err;

    while (!agent_stopping(agent)) {
        if (certs_serving(agent, agent->kubelets, &err) == 0 && server_start(agent, &err) == 0)
            break;
        log_warning("logs cannot be served yet, retrying", "error", "%s", err.text, NULL);
        agent_sleep(agent, SERVING_RETRY_NS);
    }
    for (;;) {
        int64_t left = certs_renew_after_ns(agent);
        int64_t longest = 24 * 3600 * NS_PER_S;

        if (agent_sleep(agent, left > longest            ? longest
                               : left > SERVING_RETRY_NS ? left
                                                         : SERVING_RETRY_NS))
            return;
        if (certs_renew(agent, agent->kubelets, &err) < 0)
            log_warning(
                "client certificate cannot be renewed, retrying", "error", "%s", err.text, NULL);
        if (agent->config->tls_cert_file || left > longest)
            continue;
        if (certs_serving(agent, agent->kubelets, &err) < 0) {
            log_warning(
                "serving certificate cannot be renewed, retrying", "error", "%s", err.text, NULL);
            continue;
        }
        server_stop(agent);
        if (server_start(agent, &err) < 0)
            log_error("server cannot be started again", "error", "%s", err.text, NULL);
    }
}

static int new_prober(struct agent *agent, struct error *err)
{
    struct http_client_config config = {.base_url = "http://127.0.0.1",
        .insecure_skip_verify = true,
        .user_agent = "kube-probe/1.34",
        .connections_max = 1};

    return http_client_new(agent->env, &config, &agent->prober, err);
}

int agent_new(struct env *env, const struct kubelet_config *config, struct api_client *api,
    struct runtime *runtime, struct agent **ret, struct error *err)
{
    struct agent *a = xcalloc(1, sizeof(*a));

    a->env = env;
    a->config = config;
    a->api = api;
    a->runtime = runtime;
    a->metrics = metrics_default();
    a->started_ns = env_now_ns(env);
    env_lock_init(&a->lock);
    env_cond_init(&a->wake);
    if (!runtime->pretends && new_prober(a, err) < 0) {
        free(a);
        return -err->code;
    }
    a->objects = objects_new(api);
    a->cache = runtime_cache_new(a);
    a->stats = stats_history_new(env);
    a->pod_queue = workqueue_new(env, "pods", BACKOFF_MAX_MS);
    a->status_queue = workqueue_new(env, "status", BACKOFF_MAX_MS);
    a->probe_queue = workqueue_new(env, "probes", BACKOFF_MAX_MS);
    a->pull_queue = workqueue_new(env, "pulls", BACKOFF_MAX_MS);
    a->lease_queue = workqueue_new(env, "leases", BACKOFF_MAX_MS / 2);
    a->node_queue = workqueue_new(env, "nodes", BACKOFF_MAX_MS);
    a->auth = delegated_auth_new(api);
    *ret = a;
    return 0;
}

struct kubelet *agent_add_node(struct agent *agent, const char *name, const char *ip)
{
    struct kubelet *node = xcalloc(1, sizeof(*node));

    node->agent = agent;
    node->name = xstrdup(name);
    snprintf(node->ip, sizeof(node->ip), "%s", ip);
    env_lock_init(&node->lock);
    env_lock(agent->env, &agent->lock);
    HASH_ADD_KEYPTR(hh, agent->kubelets, node->name, strlen(node->name), node);
    env_unlock(agent->env, &agent->lock);
    return node;
}

static void start_informers(struct agent *a)
{
    bool alone = HASH_COUNT(a->kubelets) == 1;
    autofree char *selector = alone ? str_format("spec.nodeName=%s", a->kubelets->name) : NULL;

    a->pods = informer_new(a->api, &(struct informer_config){.group_version = "v1",
                                       .plural = "pods",
                                       .field_selector = selector,
                                       .projection = &kubelet_pod_projection,
                                       .handler = on_pod,
                                       .on_synced = on_pods_synced,
                                       .arg = a});
    if (!a->runtime->pretends) {
        a->services = informer_new(a->api, &(struct informer_config){.group_version = "v1",
                                               .plural = "services",
                                               .projection = &kubelet_service_projection,
                                               .arg = a});
        a->nodes = informer_new(a->api, &(struct informer_config){.group_version = "v1",
                                            .plural = "nodes",
                                            .projection = &kubelet_node_projection,
                                            .handler = on_node,
                                            .on_synced = on_nodes_synced,
                                            .arg = a});
        informer_start(a->services);
        informer_start(a->nodes);
    }
    informer_start(a->pods);
    a->folders = folders_start(a);
}

int agent_start(struct agent *a, struct error *err)
{
    while (a->runtime->ops->facts(a->runtime, &a->facts, err) < 0) {
        log_warning("runtime does not answer, retrying", "error", "%s", err->text, NULL);
        if (agent_sleep(a, STARTER_RETRY_NS))
            return error_set(err, ERR_CANCELLED, "stopping");
    }
    a->events = events_new(a->api, "kubelet", a->kubelets->name);
    start_informers(a);
    a->starter = env_spawn(a->env, "starter", starter_run, a);
    workqueue_run(a->lease_queue, a->runtime->pretends ? NODE_WORKERS : 1, lease_renew, a);
    workqueue_run(a->node_queue, a->runtime->pretends ? NODE_WORKERS : 1, node_sync, a);
    workqueue_run(a->status_queue, STATUS_WORKERS, status_write, a);
    for (struct kubelet *node = a->kubelets; node; node = node->hh.next)
        workqueue_add(a->node_queue, node->name);
    if (a->runtime->pretends)
        return 0;
    workqueue_run(a->probe_queue, PROBE_WORKERS, probe_run, a);
    workqueue_run(a->pull_queue, PULL_WORKERS, image_pull_run, a);
    a->auditor = env_spawn(a->env, "auditor", auditor_run, a);
    if (a->config->port > 0)
        a->certs = env_spawn(a->env, "certs", certs_run, a);
    return 0;
}

static void free_nodes(struct agent *a)
{
    struct kubelet *node, *next;

    HASH_ITER(hh, a->kubelets, node, next)
    {
        HASH_DEL(a->kubelets, node);
        env_lock_done(&node->lock);
        free(node->name);
        free(node->pod_cidr);
        free(node->conditions);
        free(node->lease_version);
        free(node->uid);
        free(node->network_state);
        free(node);
    }
}

static void free_records(struct agent *a)
{
    struct pod_record *record, *next;

    HASH_ITER(hh, a->records, record, next)
    {
        HASH_DEL(a->records, record);
        record_unref(record);
    }
}

static void stop_tasks(struct agent *a)
{
    struct task *tasks[] = {a->starter, a->auditor, a->certs};

    env_lock(a->env, &a->lock);
    a->stopping = true;
    env_broadcast(a->env, &a->wake);
    env_unlock(a->env, &a->lock);
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        if (tasks[i])
            env_join(a->env, tasks[i]);
    server_stop(a);
    if (a->runtime->ops->watch_stop)
        a->runtime->ops->watch_stop(a->runtime);
}

/* Containers run on: a kubelet that ends takes nothing with it. */
void agent_free(struct agent *a)
{
    struct workqueue **queues[] = {&a->pod_queue, &a->probe_queue, &a->pull_queue, &a->status_queue,
        &a->node_queue, &a->lease_queue};
    struct informer **informers[] = {&a->pods, &a->services, &a->nodes};

    stop_tasks(a);
    folders_free(a->folders);
    for (size_t i = 0; i < ARRAY_COUNT(informers); i++)
        if (*informers[i])
            informer_free(*informers[i]);
    for (size_t i = 0; i < ARRAY_COUNT(queues); i++)
        workqueue_stop(*queues[i]);
    join_tasks(a, true);
    free_records(a);
    for (size_t i = 0; i < ARRAY_COUNT(queues); i++)
        workqueue_free(*queues[i]);
    free_nodes(a);
    events_free(a->events);
    objects_free(a->objects);
    runtime_cache_free(a->cache);
    stats_history_free(a->stats);
    cJSON_Delete(a->images);
    delegated_auth_free(a->auth);
    http_client_free(a->prober);
    free(a->serving_cert);
    free(a->serving_key);
    env_cond_done(&a->wake);
    env_lock_done(&a->lock);
    free(a);
}
