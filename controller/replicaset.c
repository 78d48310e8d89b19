/*
 * Controllers "replicaset" and "replicationcontroller": keep spec.replicas active pods that match
 * the selector. The two kinds differ in nothing but the selector's form.
 *
 * reconcile: claim the pods (adopt, release) - create what is missing in slow-start batches, or
 * delete what is too many in the order of pod_deletion_cmp - write the status from a second look.
 * Both return when the informer shows the result, so the next reconcile counts right. Very large
 * steps are cut, so that a changed mind (a new replica count) is noticed between two of them.
 *
 * Upstream: pkg/controller/replicaset, pkg/controller/replication.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/pods.h"

#define STEP_MAX 1000
#define BATCH_MAX_NS (100 * NS_PER_MS)

static enum kind kind_of(const struct controller *c)
{
    return c->info->watches[0].kind;
}

static struct selector *selector_of(const void *object)
{
    const struct replica_set *rs = object;
    autojson cJSON *labels = cJSON_CreateObject();
    struct selector *s;
    struct error err;

    if (!rs->selector_map.count)
        return selector_of_json(rs->selector);
    for (size_t i = 0; i < rs->selector_map.count; i++)
        json_set_string(labels, rs->selector_map.pairs[i].key, rs->selector_map.pairs[i].value);
    autojson cJSON *tree = cJSON_CreateObject();
    json_set(tree, "matchLabels", steal(&labels));
    return selector_from_json(tree, &s, &err) < 0 ? selector_of_json(NULL) : s;
}

static bool is_owned_alike(const struct pod *old, const struct pod *now)
{
    const struct owner_ref *a = object_controller(&old->meta), *b = object_controller(&now->meta);
    return a && b && !strcmp(a->uid, b->uid);
}

/* A big set looks at its pods' news in batches: 1,000 pods turning ready are tens of status writes,
 * not 1,000. */
static int64_t batch_delay_ns(struct controller *c, const struct pod *pod)
{
    const struct owner_ref *owner = object_controller(&pod->meta);
    auto_object const struct replica_set *rs =
        owner ? kind_get_uid(c->m, kind_of(c), pod->meta.namespace_, owner->name, owner->uid)
              : NULL;
    int64_t delay = rs && rs->status_replicas > 20 ? rs->status_replicas * NS_PER_MS / 10 : 0;

    return delay < BATCH_MAX_NS ? delay : BATCH_MAX_NS;
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *old = old_object, *now = new_object;
    const struct owner_ref *owner = now ? object_controller(&now->meta) : NULL;
    int64_t delay =
        old && now && pod_is_active(old) && pod_is_active(now) ? batch_delay_ns(c, now) : 0;

    if (delay && owner && is_owned_alike(old, now)) {
        autofree char *key = str_format("%s/%s", now->meta.namespace_, owner->name);
        workqueue_add_after(c->queue, key, delay);
        return;
    }
    controller_add_pod_owners(c, kind_of(c), selector_of, old_object, new_object);
}

struct counts {
    int64_t replicas, labelled, ready, available;
};

static struct pod_list only_active(const struct pod_list *all)
{
    struct pod_list active = {xcalloc(all->count + 1, sizeof(*active.pods)), 0};

    for (size_t i = 0; i < all->count; i++)
        if (pod_is_active(all->pods[i]))
            active.pods[active.count++] = projected_ref(all->pods[i]);
    return active;
}

static int claim_active(
    struct controller *c, const struct replica_set *rs, struct pod_list *ret, struct error *err)
{
    auto_selector struct selector *selector = selector_of(rs);
    auto_pods struct pod_list all = {0};

    if (pods_claim(c, kind_of(c), &rs->meta, selector, NULL, &all, err) < 0)
        return -(int)err->code;
    *ret = only_active(&all);
    return 0;
}

static bool has_all_labels(const struct pod *pod, const cJSON *labels)
{
    const cJSON *label;

    cJSON_ArrayForEach(label, labels) if (!c_eq(string_map_get(&pod->meta.labels, label->string),
                                              cJSON_GetStringValue(label))) return false;
    return true;
}

static struct counts count_pods(struct controller *c, const struct replica_set *rs,
    const cJSON *template, const struct pod_list *pods, int64_t *again_ns)
{
    const cJSON *labels = json_path(template, "metadata.labels");
    int64_t now = env_wall_ns(manager_env(c->m));
    struct counts n = {.replicas = (int64_t)pods->count};

    for (size_t i = 0; i < pods->count; i++) {
        n.labelled += has_all_labels(pods->pods[i], labels);
        n.ready += pod_is_ready(pods->pods[i]);
        n.available += pod_is_available(pods->pods[i], rs->min_ready_seconds, now, again_ns);
    }
    return n;
}

/* How many active pods of the same Deployment share this node. */
static int64_t neighbours(struct controller *c, const struct replica_set *rs, const char *node)
{
    const struct owner_ref *family = object_controller(&rs->meta);
    auto_objects struct projected_array on_node = kind_by(c->m, KIND_POD, INDEX_NODE, node);
    int64_t n = 0;

    for (size_t i = 0; i < on_node.count; i++) {
        const struct pod *pod = on_node.objects[i];
        const struct owner_ref *owner = object_controller(&pod->meta);
        if (!owner || !pod_is_active(pod) || strcmp(pod->meta.namespace_, rs->meta.namespace_))
            continue;
        if (!strcmp(owner->uid, rs->meta.uid)) {
            n++;
        } else if (family) {
            auto_object const struct replica_set *other =
                kind_get_uid(c->m, KIND_REPLICA_SET, pod->meta.namespace_, owner->name, owner->uid);
            const struct owner_ref *parent = other ? object_controller(&other->meta) : NULL;
            n += parent && !strcmp(parent->uid, family->uid);
        }
    }
    return n;
}

static int cmp_node(const void *a, const void *b)
{
    const struct ranked_pod *x = a, *y = b;
    return strcmp(x->pod->node_name, y->pod->node_name);
}

/* The `count` pods that go first. */
static const struct pod **choose_victims(
    struct controller *c, const struct replica_set *rs, const struct pod_list *pods, size_t count)
{
    autofree struct ranked_pod *ranked = xcalloc(pods->count + 1, sizeof(*ranked));
    const struct pod **victims = xcalloc(count + 1, sizeof(*victims));
    int64_t now = env_wall_ns(manager_env(c->m));

    for (size_t i = 0; i < pods->count; i++)
        ranked[i].pod = pods->pods[i];
    if (count < pods->count) {
        qsort(ranked, pods->count, sizeof(*ranked), cmp_node);
        for (size_t i = 0; i < pods->count; i++)
            ranked[i].rank = i > 0 && !cmp_node(&ranked[i], &ranked[i - 1])
                                 ? ranked[i - 1].rank
                                 : neighbours(c, rs, ranked[i].pod->node_name);
        qsort_r(ranked, pods->count, sizeof(*ranked), pod_deletion_cmp, &now);
    }
    for (size_t i = 0; i < count; i++)
        victims[i] = ranked[i].pod;
    return victims;
}

/* Creates or deletes towards the wanted number. *ret_changed: the pods are not what they were. */
static int manage(struct controller *c, const struct replica_set *rs, const cJSON *template,
    const struct pod_list *pods, int64_t want, bool *ret_changed, bool *ret_more, struct error *err)
{
    int64_t diff = (int64_t)pods->count - want;
    size_t step = (size_t)(diff < 0 ? -diff : diff), done = 0;
    int r;

    *ret_more = step > STEP_MAX;
    if (step > STEP_MAX)
        step = STEP_MAX;
    if (diff == 0)
        return 0;
    if (diff < 0) {
        r = pods_create(c, kind_of(c), &rs->meta, template, step, &done, err);
    } else {
        autofree const struct pod **victims = choose_victims(c, rs, pods, step);
        r = pods_delete(c, kind_of(c), &rs->meta, victims, step, &done, err);
    }
    *ret_changed = done > 0;
    return r;
}

static int write_status(struct controller *c, const struct replica_set *rs, const struct counts *n,
    const char *failure_reason, const char *failure, struct error *err)
{
    autojson cJSON *conditions = conditions_json(&rs->conditions);
    const struct condition *old = conditions_find(&rs->conditions, "ReplicaFailure");
    bool changed = false;

    if (failure && !old)
        changed |= conditions_set(conditions, "ReplicaFailure", "True", failure_reason, failure,
            env_wall_ns(manager_env(c->m)), 0);
    else if (!failure && old)
        changed |= conditions_remove(conditions, "ReplicaFailure");
    if (!changed && n->replicas == rs->status_replicas && n->labelled == rs->status_labelled &&
        n->ready == rs->status_ready && n->available == rs->status_available &&
        rs->meta.generation == rs->observed_generation)
        return 0;
    cJSON *patch = json_make("{\"status\":{\"replicas\":%lld,\"fullyLabeledReplicas\":%lld,"
                             "\"readyReplicas\":%lld,\"availableReplicas\":%lld,"
                             "\"observedGeneration\":%lld}}",
        (long long)n->replicas, (long long)n->labelled, (long long)n->ready,
        (long long)n->available, (long long)rs->meta.generation);
    if (changed)
        json_set_at(patch, "status.conditions", steal(&conditions));
    return object_patch(c->m, kind_of(c), &rs->meta, "status", patch, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct replica_set *rs = kind_get_key(c->m, kind_of(c), key);
    if (!rs)
        return 0;
    int64_t want = rs->replicas.set ? rs->replicas.value : 1;
    autojson cJSON *template = NULL;
    auto_pods struct pod_list pods = {0};
    struct error manage_err, status_err;
    bool changed = false, more = false;
    int managed = 0;

    if (json_parse(str_of(rs->template ? rs->template : "{}"), &template, err) < 0 ||
        claim_active(c, rs, &pods, err) < 0)
        return -(int)err->code;
    int64_t diff = (int64_t)pods.count - want;
    if (!rs->meta.deletion_ns)
        managed = manage(c, rs, template, &pods, want, &changed, &more, &manage_err);
    if (changed) {
        struct pod_list fresh;
        if (claim_active(c, rs, &fresh, err) < 0)
            return -(int)err->code;
        pod_list_done(&pods);
        pods = fresh;
    }
    struct counts n = count_pods(c, rs, template, &pods, ret_again_ns);
    bool failed = managed < 0 && manage_err.code != ERR_TIMEOUT;
    int r = write_status(c, rs, &n, diff < 0 ? "FailedCreate" : "FailedDelete",
        failed ? manage_err.text : NULL, &status_err);
    if (managed < 0 && !(is_terminating_namespace(&manage_err))) {
        *err = manage_err;
        return managed;
    }
    if (r < 0) {
        *err = status_err;
        return r == -ERR_NOT_FOUND ? 0 : r;
    }
    if (more)
        *ret_again_ns = 1;
    return 0;
}

const struct controller_info controller_replicaset = {
    .name = "replicaset-controller",
    .component = "replicaset-controller",
    .workers = 4,
    .watch_count = 2,
    .watches = {{KIND_REPLICA_SET, controller_on_object}, {KIND_POD, on_pod}},
    .reconcile = reconcile,
};

const struct controller_info controller_replicationcontroller = {
    .name = "replicationcontroller-controller",
    .component = "replication-controller",
    .workers = 2,
    .watch_count = 2,
    .watches = {{KIND_REPLICATION_CONTROLLER, controller_on_object}, {KIND_POD, on_pod}},
    .reconcile = reconcile,
};
