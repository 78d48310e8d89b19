/*
 * Scheduler: inbox, loop and metrics around the cluster picture. See scheduler.h.
 *
 * The loop alternates: apply every change that has arrived, then try up to PODS_A_TURN pods, so
 * that a long queue never makes the picture old. Lock: s->lock guards the inbox only.
 */
#include "scheduler/scheduler.h"

#include "common/informer.h"
#include "common/log.h"
#include "common/time.h"
#include "scheduler/cluster.h"
#include "scheduler/workloads.h"
#include "scheduler/writer.h"

#define PODS_A_TURN 64

static const struct metric_info attempts_total = {"scheduler_schedule_attempts_total",
    METRIC_COUNTER, "Attempts to schedule pods, by result.", {"result", "profile"}};
static const struct metric_info pending_pods = {
    "scheduler_pending_pods", METRIC_GAUGE, "Pending pods, by the queue they are in.", {"queue"}};
static const struct metric_info algorithm_seconds = {
    "scheduler_scheduling_algorithm_duration_seconds", METRIC_HISTOGRAM, "Time of one decision.",
    {NULL},
    (const double[]){
        0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.01, 0.1, 0}};
static const struct metric_info sli_seconds = {"scheduler_pod_scheduling_sli_duration_seconds",
    METRIC_HISTOGRAM, "Time from a pod's arrival in the queue to its bind.", {NULL}};
static const struct metric_info preemption_victims = {"scheduler_preemption_victims_total",
    METRIC_COUNTER, "Pods evicted to make room for pods of higher priority.", {NULL}};
static const struct metric_info cache_size = {"scheduler_scheduler_cache_size", METRIC_GAUGE,
    "Nodes, pods and assumed pods in the scheduler's picture.", {"type"}};

enum change_kind {
    CHANGE_NODE,
    CHANGE_NAMESPACE,
    CHANGE_SERVICE,
    CHANGE_REPLICA_SET,
    CHANGE_STATEFUL_SET,
    CHANGE_REPLICATION_CONTROLLER,
    CHANGE_BUDGET,
    CHANGE_VOLUME,
    CHANGE_CLAIM,
    CHANGE_STORAGE_CLASS,
    CHANGE_POD, /* the last one that is followed */
    CHANGE_BOUND,
    CHANGE_EVICTION_FAILED,
};
#define FOLLOWED (CHANGE_POD + 1)

/* What the scheduler follows, by change kind. Pods are listed after everything else is known, so
 * that none has to look for its node later. */
static const struct followed {
    const char *group_version, *plural, *field_selector;
    const struct projection *projection;
} followed[FOLLOWED] = {
    [CHANGE_NODE] = {"v1", "nodes", NULL, &node_projection},
    [CHANGE_NAMESPACE] = {"v1", "namespaces", NULL, &namespace_projection},
    [CHANGE_SERVICE] = {"v1", "services", NULL, &owning_service_projection},
    [CHANGE_REPLICA_SET] = {"apps/v1", "replicasets", NULL, &workload_projection},
    [CHANGE_STATEFUL_SET] = {"apps/v1", "statefulsets", NULL, &workload_projection},
    [CHANGE_REPLICATION_CONTROLLER] = {"v1", "replicationcontrollers", NULL, &rc_projection},
    [CHANGE_BUDGET] = {"policy/v1", "poddisruptionbudgets", NULL, &budget_projection},
    [CHANGE_VOLUME] = {"v1", "persistentvolumes", NULL, &volume_projection},
    [CHANGE_CLAIM] = {"v1", "persistentvolumeclaims", NULL, &claim_projection},
    [CHANGE_STORAGE_CLASS] = {"storage.k8s.io/v1", "storageclasses", NULL,
        &storage_class_projection},
    [CHANGE_POD] = {"v1", "pods", "status.phase!=Succeeded,status.phase!=Failed", &pod_projection},
};

/* One informer and what its handler needs to know. */
struct source {
    struct scheduler *scheduler;
    enum change_kind kind;
    struct informer *informer;
};

struct change {
    struct change *next;
    enum change_kind kind;
    const void *old_object, *new_object; /* referenced */
    int bind_error;
    struct volume_choice *volumes; /* of a bind that failed */
    size_t volume_count;
    uint32_t attempts;
    char *text;
};

struct scheduler {
    struct api_client *client;
    struct env *env;
    struct metrics *metrics;
    struct source sources[FOLLOWED];
    size_t unsynced; /* informers before pods that have not listed yet */
    struct writer *writer;
    struct task *task;
    struct lock lock;
    struct cond wake;
    struct change *first, **last;
    bool stop, synced;
    bool look; /* there is work though no change came: what was read before the lists were complete
                */
    struct cluster *cluster; /* the loop's own */
    struct strbuf gang_message;
};

static void push(struct scheduler *s, struct change *change)
{
    env_lock(s->env, &s->lock);
    *s->last = change;
    s->last = &change->next;
    env_signal(s->env, &s->wake);
    env_unlock(s->env, &s->lock);
}

static void push_object(
    struct scheduler *s, enum change_kind kind, const void *old_object, const void *new_object)
{
    struct change *change = xcalloc(1, sizeof(*change));

    change->kind = kind;
    change->old_object = old_object ? projected_ref(old_object) : NULL;
    change->new_object = new_object ? projected_ref(new_object) : NULL;
    push(s, change);
}

static void on_object(void *arg, const void *old_object, const void *new_object)
{
    const struct source *source = arg;

    push_object(source->scheduler, source->kind, old_object, new_object);
}

static void on_bound(void *arg, const struct bind_result *result)
{
    struct change *change = xcalloc(1, sizeof(*change));

    change->kind = result->evicting ? CHANGE_EVICTION_FAILED : CHANGE_BOUND;
    change->new_object = projected_ref(result->pod);
    change->bind_error = result->error;
    change->attempts = result->attempts;
    change->volumes = volume_choices_copy(result->volumes, result->volume_count);
    change->volume_count = result->volume_count;
    change->text = xstrdup(result->text);
    push(arg, change);
}

static void change_free(struct change *change)
{
    if (change->old_object)
        projected_unref(change->old_object);
    if (change->new_object)
        projected_unref(change->new_object);
    volume_choices_free(change->volumes, change->volume_count);
    free(change->text);
    free(change);
}

static void apply_bound(struct scheduler *s, const struct change *change, int64_t now_ns)
{
    const struct pod *pod = change->new_object;

    if (change->bind_error == 0) {
        metric_add(s->metrics, &attempts_total, 1, "scheduled", SCHEDULER_NAME);
        return;
    }
    storage_forget(s->cluster->storage, change->volumes, change->volume_count);
    if (change->bind_error == -ERR_NOT_FOUND) {
        cluster_drop(s->cluster, pod->meta.uid, now_ns);
        return;
    }
    metric_add(s->metrics, &attempts_total, 1, "error", SCHEDULER_NAME);
    log_warning("bind failed, the pod goes back to the queue", "pod", "%s/%s", pod->meta.namespace_,
        pod->meta.name, "error", "%s", change->text, NULL);
    cluster_forget(s->cluster, pod->meta.uid, change->attempts, now_ns);
    if (change->bind_error != -ERR_CONFLICT)
        writer_refuse(s->writer, pod, "SchedulerError", change->text, "");
}

static void apply_namespace(
    struct cluster *c, const struct object_meta *old, const struct object_meta *now, int64_t now_ns)
{
    cluster_namespace_changed(c, (now ? now : old)->name, now ? &now->labels : NULL, now_ns);
}

static const char *owner_kind(enum change_kind kind)
{
    return kind == CHANGE_REPLICA_SET    ? "ReplicaSet"
           : kind == CHANGE_STATEFUL_SET ? "StatefulSet"
                                         : "ReplicationController";
}

static void apply(struct scheduler *s, const struct change *change, int64_t now_ns)
{
    switch (change->kind) {
    case CHANGE_NODE:
        cluster_node_changed(s->cluster, change->old_object, change->new_object, now_ns);
        break;
    case CHANGE_NAMESPACE:
        apply_namespace(s->cluster, change->old_object, change->new_object, now_ns);
        break;
    case CHANGE_SERVICE:
        workloads_set_service(s->cluster->nodes->workloads, change->old_object, change->new_object);
        break;
    case CHANGE_REPLICA_SET:
    case CHANGE_STATEFUL_SET:
    case CHANGE_REPLICATION_CONTROLLER:
        workloads_set_owner(s->cluster->nodes->workloads, owner_kind(change->kind),
            change->old_object, change->new_object);
        break;
    case CHANGE_POD:
        cluster_pod_changed(s->cluster, change->old_object, change->new_object, now_ns);
        break;
    case CHANGE_BUDGET:
        cluster_budget_changed(s->cluster, change->old_object, change->new_object);
        break;
    case CHANGE_VOLUME:
        storage_set_volume(s->cluster->storage, change->old_object, change->new_object);
        cluster_storage_changed(s->cluster, now_ns);
        break;
    case CHANGE_CLAIM:
        storage_set_claim(s->cluster->storage, change->old_object, change->new_object);
        cluster_storage_changed(s->cluster, now_ns);
        break;
    case CHANGE_STORAGE_CLASS:
        storage_set_class(s->cluster->storage, change->old_object, change->new_object);
        cluster_storage_changed(s->cluster, now_ns);
        break;
    case CHANGE_EVICTION_FAILED:
        cluster_retry(s->cluster, ((const struct object_meta *)change->new_object)->uid, now_ns);
        break;
    case CHANGE_BOUND:
        apply_bound(s, change, now_ns);
        break;
    }
}

/* Pods of lower priority that wait for the same node look for another. */
static void displace_nominated(struct scheduler *s, const struct pod_info *pod, uint32_t row)
{
    struct node_table *nodes = s->cluster->nodes;

    for (size_t i = nodes->nominated_count; i-- > 0;) {
        struct pod_info *p = nodes->nominated[i];
        if (p->nominated_row != row || p->priority >= pod->priority)
            continue;
        node_table_denominate(nodes, p);
        writer_clear_nomination(s->writer, p->object);
    }
}

/* No node fits: say why, and evict if that helps. */
static void refuse(
    struct scheduler *s, struct pod_info *pod, const struct decision *choice, int64_t now_ns)
{
    struct cluster *c = s->cluster;
    const struct preemption *p = &choice->preemption;
    const char *node = p->row == ROW_NONE ? "" : c->nodes->rows[p->row]->name;

    queue_put_unschedulable(c->queue, pod, choice->refused_by, now_ns);
    writer_refuse(s->writer, pod->object, "Unschedulable", choice->message, node);
    for (size_t i = 0; i < p->victim_count; i++)
        writer_evict(s->writer, p->victims[i]->object, pod->object, node);
    metric_add(s->metrics, &preemption_victims, (double)p->victim_count);
    if (p->row == ROW_NONE) {
        cluster_denominate(c, pod, now_ns);
    } else if (p->victim_count) {
        displace_nominated(s, pod, p->row);
        cluster_nominate(c, pod, p->row, now_ns);
        log_info("evicting pods of lower priority", "pod", "%s/%s", pod->object->meta.namespace_,
            pod->object->meta.name, "node", "%s", node, "victims", "%zu", p->victim_count, NULL);
    }
}

/* A popped pod whose gang is not placed yet. */
static void try_gang(struct scheduler *s, struct pod_info *pod, int64_t now_ns)
{
    struct gang_place *places;
    size_t n = cluster_place_gang(s->cluster, pod, now_ns, &places, &s->gang_message);

    metric_add(s->metrics, &attempts_total, n ? 0 : 1, "unschedulable", SCHEDULER_NAME);
    if (!n)
        writer_refuse(s->writer, pod->object, "Unschedulable", s->gang_message.data, "");
    for (size_t i = 0; i < n; i++) {
        metric_observe(s->metrics, &sli_seconds, (double)(now_ns - places[i].arrived_ns) / 1e9);
        writer_bind(s->writer, places[i].pod->object, s->cluster->nodes->rows[places[i].row]->name,
            places[i].attempts, NULL, 0);
    }
    free(places);
}

/* Tries the next pod; false when none is ready. */
static bool try_one(struct scheduler *s)
{
    struct cluster *c = s->cluster;
    int64_t start_ns = env_now_ns(s->env), arrived_ns;
    struct pod_info *pod = queue_pop(c->queue, start_ns);
    struct decision choice;

    if (!pod)
        return false;
    struct gang_view gang = gangs_view(c->gangs, pod);
    if (gang.placed < gang.size && gang.size > 1) {
        try_gang(s, pod, start_ns);
        return true;
    }
    scheduler_decide(c->decider, c->nodes, pod, &choice);
    int64_t now_ns = env_now_ns(s->env);
    metric_observe(s->metrics, &algorithm_seconds, (double)(now_ns - start_ns) / 1e9);
    if (choice.row == ROW_NONE) {
        metric_add(s->metrics, &attempts_total, 1, "unschedulable", SCHEDULER_NAME);
        refuse(s, pod, &choice, now_ns);
        return true;
    }
    storage_assume(c->storage, choice.volumes, choice.volume_count);
    struct volume_choice *volumes = volume_choices_copy(choice.volumes, choice.volume_count);
    uint32_t attempts = cluster_assume(c, pod, choice.row, now_ns, &arrived_ns);
    metric_observe(s->metrics, &sli_seconds, (double)(now_ns - arrived_ns) / 1e9);
    writer_bind(s->writer, pod->object, c->nodes->rows[choice.row]->name, attempts, volumes,
        choice.volume_count);
    return true;
}

static void set_gauges(struct scheduler *s)
{
    static const char *const names[QUEUE_PLACES] = {
        [QUEUE_ACTIVE] = "active",
        [QUEUE_BACKING_OFF] = "backoff",
        [QUEUE_UNSCHEDULABLE] = "unschedulable",
        [QUEUE_GATED] = "gated",
    };

    for (size_t i = 0; i < QUEUE_PLACES; i++)
        metric_set(s->metrics, &pending_pods,
            (double)queue_count(s->cluster->queue, (enum queue_place)i), names[i]);
    metric_set(s->metrics, &cache_size, (double)s->cluster->nodes->count, "nodes");
    metric_set(s->metrics, &cache_size, (double)HASH_COUNT(s->cluster->pods), "pods");
}

/* Waits for changes until the deadline and takes all there are. False: stop. */
static bool take_changes(struct scheduler *s, int64_t deadline_ns, struct change **ret)
{
    env_lock(s->env, &s->lock);
    while (!s->first && !s->stop && !s->look)
        if (!env_wait_until(s->env, &s->wake, &s->lock, deadline_ns))
            break;
    *ret = steal(&s->first);
    s->last = &s->first;
    s->look = false;
    bool go_on = !s->stop;
    env_unlock(s->env, &s->lock);
    return go_on;
}

static void schedule_loop(void *arg)
{
    struct scheduler *s = arg;
    struct change *changes;
    int64_t deadline_ns = ENV_FOREVER;

    while (take_changes(s, deadline_ns, &changes)) {
        int64_t now_ns = env_now_ns(s->env);
        while (changes) {
            struct change *change = changes;
            changes = change->next;
            apply(s, change, now_ns);
            change_free(change);
        }
        bool more = false;
        if (scheduler_synced(s)) {
            deadline_ns = queue_tick(s->cluster->queue, now_ns);
            for (int i = 0; i < PODS_A_TURN && (more = try_one(s)); i++)
                ;
            set_gauges(s);
        }
        if (more)
            deadline_ns = 0;
        else if (scheduler_synced(s))
            deadline_ns = queue_tick(s->cluster->queue, env_now_ns(s->env));
    }
    while (changes) {
        struct change *change = changes;
        changes = change->next;
        change_free(change);
    }
}

/* The lists are complete and stand in the inbox before this change of flag. */
static void on_pods_synced(struct scheduler *s)
{
    env_lock(s->env, &s->lock);
    s->synced = s->look = true;
    env_signal(s->env, &s->wake);
    env_unlock(s->env, &s->lock);
    log_info("nodes and pods are known, scheduling", "nodes", "%zu",
        informer_count(s->sources[CHANGE_NODE].informer), "pods", "%zu",
        informer_count(s->sources[CHANGE_POD].informer), NULL);
}

static void on_synced(void *arg)
{
    const struct source *source = arg;
    struct scheduler *s = source->scheduler;

    if (source->kind == CHANGE_POD) {
        on_pods_synced(s);
        return;
    }
    env_lock(s->env, &s->lock);
    bool all = --s->unsynced == 0;
    env_unlock(s->env, &s->lock);
    if (all)
        informer_start(s->sources[CHANGE_POD].informer);
}

struct scheduler *scheduler_new(struct api_client *client, struct events *events,
    struct metrics *metrics, const struct config *config)
{
    struct scheduler *s = xcalloc(1, sizeof(*s));

    s->client = client;
    s->env = api_client_env(client);
    s->metrics = metrics;
    s->last = &s->first;
    env_lock_init(&s->lock);
    env_cond_init(&s->wake);
    s->cluster = cluster_new(s->env);
    strbuf_init(&s->gang_message, 0);
    decider_set_profiles(s->cluster->decider, config->profiles, config->profile_count);
    queue_set_backoff(s->cluster->queue, config->backoff_first_ns, config->backoff_max_ns);
    s->writer = writer_new(client, events, on_bound, s);
    for (size_t i = 0; i < FOLLOWED; i++) {
        struct source *source = &s->sources[i];
        source->scheduler = s;
        source->kind = (enum change_kind)i;
        source->informer = informer_new(client, &(struct informer_config){
                                                    .group_version = followed[i].group_version,
                                                    .plural = followed[i].plural,
                                                    .field_selector = followed[i].field_selector,
                                                    .projection = followed[i].projection,
                                                    .handler = on_object,
                                                    .on_synced = on_synced,
                                                    .arg = source,
                                                });
    }
    s->unsynced = FOLLOWED - 1;
    return s;
}

void scheduler_start(struct scheduler *s)
{
    s->task = env_spawn(s->env, "scheduler", schedule_loop, s);
    for (size_t i = 0; i < FOLLOWED; i++)
        if (i != CHANGE_POD)
            informer_start(s->sources[i].informer);
}

bool scheduler_synced(struct scheduler *s)
{
    env_lock(s->env, &s->lock);
    bool synced = s->synced;
    env_unlock(s->env, &s->lock);
    return synced;
}

void scheduler_free(struct scheduler *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < FOLLOWED; i++)
        informer_stop(s->sources[i].informer);
    for (size_t i = 0; i < FOLLOWED; i++)
        informer_free(s->sources[i].informer);
    env_lock(s->env, &s->lock);
    s->stop = true;
    env_signal(s->env, &s->wake);
    env_unlock(s->env, &s->lock);
    if (s->task)
        env_join(s->env, s->task);
    writer_free(s->writer);
    while (s->first) {
        struct change *change = s->first;
        s->first = change->next;
        change_free(change);
    }
    cluster_free(s->cluster);
    strbuf_done(&s->gang_message);
    env_cond_done(&s->wake);
    env_lock_done(&s->lock);
    free(s);
}
