/*
 * Controller "daemonset": one pod on every node that fits the template.
 *
 * Pods are pinned by node affinity on metadata.name and bound by the scheduler. reconcile: claim
 * pods and history - sort the pods to their nodes - plan (daemonset_plan.c) - carry it out - count.
 *
 * Upstream: pkg/controller/daemon.
 */
#include "controller/daemonset.h"
#include "controller/daemonset_retry.h"

#include "common/log.h"
#include "controller/fanout.h"
#include "controller/node_match.h"
#include "controller/pods.h"
#include "controller/revisions.h"
#include "controller/status.h"

struct run {
    struct controller *c;
    const struct daemon_set *set;
    cJSON *template;
    struct history history;
    struct pod_list pods;
    struct projected_array all_nodes;
    struct daemon_node *nodes;
    size_t node_count;
    struct daemon_update update;
    struct daemon_plan plan;
};

static struct selector *selector_of(const void *object)
{
    return selector_of_json(((const struct daemon_set *)object)->selector);
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    controller_add_pod_owners(c, KIND_DAEMON_SET, selector_of, old_object, new_object);
}

static bool same_for_daemons(const struct node *a, const struct node *b)
{
    const struct node_taint *x = a->taints.items, *y = b->taints.items;

    if (a->taints.count != b->taints.count || a->meta.labels.count != b->meta.labels.count ||
        a->unschedulable != b->unschedulable)
        return false;
    for (size_t i = 0; i < a->taints.count; i++)
        if (strcmp(x[i].key, y[i].key) || strcmp(x[i].effect, y[i].effect) ||
            strcmp(x[i].value, y[i].value))
            return false;
    for (size_t i = 0; i < a->meta.labels.count; i++)
        if (strcmp(a->meta.labels.pairs[i].key, b->meta.labels.pairs[i].key) ||
            strcmp(a->meta.labels.pairs[i].value, b->meta.labels.pairs[i].value))
            return false;
    return true;
}

static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    if (old_object && new_object && same_for_daemons(old_object, new_object))
        return;
    auto_objects struct projected_array sets = kind_list(c->m, KIND_DAEMON_SET, NULL);
    for (size_t i = 0; i < sets.count; i++)
        controller_add(c, sets.objects[i]);
}

/* --- facts --- */

static int cmp_pod_age(const void *a, const void *b)
{
    const struct pod *x = *(const struct pod *const *)a, *y = *(const struct pod *const *)b;

    if (!*x->node_name != !*y->node_name) /* bound ones first */
        return *x->node_name ? -1 : 1;
    if (x->meta.creation_ns != y->meta.creation_ns)
        return x->meta.creation_ns < y->meta.creation_ns ? -1 : 1;
    return strcmp(x->meta.name, y->meta.name);
}

static int claim(struct run *r, struct error *err)
{
    auto_selector struct selector *selector = selector_of_json(r->set->selector);
    struct pod_list pods;

    if (pods_claim(r->c, KIND_DAEMON_SET, &r->set->meta, selector, NULL, &pods, err) < 0)
        return -(int)err->code;
    qsort(pods.pods, pods.count, sizeof(*pods.pods), cmp_pod_age);
    pod_list_done(&r->pods);
    r->pods = pods;
    return 0;
}

static void clear_nodes(struct run *r)
{
    for (size_t i = 0; i < r->node_count; i++)
        free(r->nodes[i].pods);
    free(r->nodes);
    r->nodes = NULL;
    r->node_count = 0;
    projected_array_done(&r->all_nodes);
    r->all_nodes = (struct projected_array){0};
}

/* Nodes are listed ordered by name. */
static struct daemon_node *find_node(struct run *r, const char *name)
{
    size_t low = 0, high = r->all_nodes.count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        int d = strcmp(r->nodes[mid].name, name);
        if (d == 0)
            return &r->nodes[mid];
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static void add_pod(struct daemon_node *n, const struct pod *pod)
{
    n->pods = xrealloc(n->pods, (n->count + 1) * sizeof(*n->pods));
    n->pods[n->count++] = pod;
}

/* One entry a node, and a last one for pods of nodes that are not there (any more). */
static void sort_to_nodes(struct run *r)
{
    const cJSON *spec = json_get(r->template, "spec");
    char name[254];

    clear_nodes(r);
    r->all_nodes = kind_list(r->c->m, KIND_NODE, NULL);
    r->nodes = xcalloc(r->all_nodes.count + 1, sizeof(*r->nodes));
    for (size_t i = 0; i < r->all_nodes.count; i++) {
        const struct node *node = r->all_nodes.objects[i];
        bool fits = node_matches_affinity(spec, node);
        struct taint_fit taints = node_taint_fit(spec, node);
        r->nodes[i] = (struct daemon_node){.name = node->meta.name,
            .should_run = fits && taints.schedule,
            .may_stay = fits && taints.execute};
    }
    r->node_count = r->all_nodes.count + 1;
    struct daemon_node *nowhere = &r->nodes[r->node_count - 1];
    *nowhere = (struct daemon_node){.name = ""};
    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        const char *where = daemon_pod_node(pod->node_name, pod->affinity, name, sizeof(name));
        struct daemon_node *node = find_node(r, where);
        if (node)
            add_pod(node, pod);
        else if (!*pod->node_name) /* bound ones are the pod collector's */
            add_pod(nowhere, pod);
    }
}

static void fill_update(struct run *r)
{
    const struct daemon_set *set = r->set;
    int64_t desired = 0;

    for (size_t i = 0; i < r->node_count; i++)
        desired += r->nodes[i].should_run;
    r->update = (struct daemon_update){.rolling = strcmp(set->strategy, "OnDelete") != 0,
        .max_unavailable = int_or_percent(set->max_unavailable, desired, true),
        .max_surge = int_or_percent(set->max_surge, desired, true),
        .min_ready_seconds = set->min_ready_seconds,
        .now_ns = env_wall_ns(manager_env(r->c->m)),
        .hash = revision_hash(r->history.update)};
    if (r->update.max_unavailable == 0 && r->update.max_surge == 0)
        r->update.max_unavailable = 1;
}

/* --- acts --- */

static cJSON *pod_json(struct run *r, const char *node)
{
    cJSON *pod = pod_from_template(r->template, KIND_DAEMON_SET, &r->set->meta);
    cJSON *labels = json_path(pod, "metadata.labels");

    if (!labels) {
        labels = cJSON_CreateObject();
        json_set_at(pod, "metadata.labels", labels);
    }
    json_set_string(labels, REVISION_HASH, r->update.hash);
    daemon_add_tolerations(json_get(pod, "spec"));
    daemon_pin(json_get(pod, "spec"), node);
    return pod;
}

static int create_one(void *arg, size_t i, struct error *err)
{
    struct run *r = arg;
    autojson cJSON *pod = pod_json(r, r->plan.create[i]);
    autofree char *version = NULL;

    if (pod_create(r->c, KIND_DAEMON_SET, &r->set->meta, pod, &version, err) < 0)
        return -(int)err->code;
    return kind_wait_version(r->c->m, KIND_POD, version, err);
}

static void fill_waits(struct run *r)
{
    for (size_t i = 0; i < r->node_count; i++) {
        struct daemon_node *n = &r->nodes[i];
        for (size_t k = 0; k < n->count; k++)
            if (pod_is_terminal(n->pods[k]) && !n->failed_wait_ns)
                n->failed_wait_ns =
                    daemon_retries_wait(r->c->state, r->set->meta.uid, r->update.hash, n->name);
    }
}

static void tell_of_failed(struct run *r)
{
    for (size_t i = 0; i < r->plan.remove_count; i++) {
        const struct pod *pod = r->plan.remove[i];
        if (!pod_is_terminal(pod))
            continue;
        bool failed = !strcmp(pod->phase, "Failed");
        daemon_retries_note(r->c->state, r->set->meta.uid, r->update.hash, pod->node_name);
        controller_event(r->c, KIND_DAEMON_SET, &r->set->meta,
            failed ? EVENT_WARNING : EVENT_NORMAL,
            failed ? "FailedDaemonPod" : "SucceededDaemonPod",
            "Found %s daemon pod %s/%s on node %s, will try to %s it",
            failed ? "failed" : "succeeded", pod->meta.namespace_, pod->meta.name, pod->node_name,
            failed ? "kill" : "delete");
    }
}

static int act(struct run *r, struct error *err)
{
    size_t done = 0;

    r->plan.create = xcalloc(r->node_count + 1, sizeof(*r->plan.create));
    r->plan.remove = xcalloc(r->pods.count + 1, sizeof(*r->plan.remove));
    fill_waits(r);
    daemon_plan(r->nodes, r->node_count, &r->update, &r->plan);
    tell_of_failed(r);
    if (pods_delete(r->c, KIND_DAEMON_SET, &r->set->meta, r->plan.remove, r->plan.remove_count,
            &done, err) < 0)
        return -(int)err->code;
    done = fanout_slow_start(manager_env(r->c->m), r->plan.create_count, create_one, r, err);
    return done == r->plan.create_count ? 0 : -(int)err->code;
}

static int write_status(struct run *r, int64_t *again_ns, struct error *err)
{
    struct daemon_counts n = daemon_count(r->nodes, r->node_count, &r->update, again_ns);
    autojson cJSON *status = cJSON_CreateObject(), *old = json_of_text(r->set->status);

    json_set(status, "observedGeneration", json_new_int64(r->set->meta.generation));
    json_set(status, "desiredNumberScheduled", json_new_int64(n.desired));
    json_set(status, "currentNumberScheduled", json_new_int64(n.current));
    json_set(status, "numberMisscheduled", json_new_int64(n.misscheduled));
    json_set(status, "numberReady", json_new_int64(n.ready));
    status_set_count(status, "updatedNumberScheduled", n.updated);
    status_set_count(status, "numberAvailable", n.available);
    status_set_count(status, "numberUnavailable", n.desired - n.available);
    if (r->history.collisions)
        json_set(status, "collisionCount", json_new_int64(r->history.collisions));
    if (json_get(old, "conditions"))
        json_set(status, "conditions", cJSON_Duplicate(json_get(old, "conditions"), true));
    int result =
        object_status_write(r->c->m, KIND_DAEMON_SET, &r->set->meta, r->set->status, status, err);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

static bool is_live(void *arg, const struct revision *revision)
{
    struct run *r = arg;

    if (revision == r->history.update)
        return true;
    for (size_t i = 0; i < r->pods.count; i++)
        if (c_eq(string_map_get(&r->pods.pods[i]->meta.labels, REVISION_HASH),
                revision_hash(revision)))
            return true;
    return false;
}

static int sync(struct run *r, int64_t *again_ns, struct error *err)
{
    const struct daemon_set *set = r->set;
    struct error acted;
    int result = 0;

    if (claim(r, err) < 0 || history_load(r->c, KIND_DAEMON_SET, &set->meta, set->selector,
                                 set->template, &set->collision_count, &r->history, err) < 0)
        return -(int)err->code;
    sort_to_nodes(r);
    fill_update(r);
    if (!set->meta.deletion_ns)
        result = act(r, &acted);
    if (r->plan.create_count + r->plan.remove_count > 0) {
        if (claim(r, err) < 0)
            return -(int)err->code;
        sort_to_nodes(r);
    }
    if (write_status(r, again_ns, err) < 0)
        return -(int)err->code;
    if (r->plan.again_ns && (!*again_ns || r->plan.again_ns < *again_ns))
        *again_ns = r->plan.again_ns;
    if (result < 0) {
        *err = acted;
        return result;
    }
    return history_truncate(r->c, &r->history, &set->revision_history_limit, is_live, r, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct daemon_set *set = kind_get_key(c->m, KIND_DAEMON_SET, key);
    struct run r = {.c = c, .set = set};

    if (!set)
        return 0;
    r.template = json_of_text(set->template);
    int result = sync(&r, ret_again_ns, err);
    if (r.history.update)
        revisions_done(&r.history);
    clear_nodes(&r);
    pod_list_done(&r.pods);
    free(r.plan.create);
    free(r.plan.remove);
    cJSON_Delete(r.template);
    return result < 0 && is_terminating_namespace(err) ? 0 : result;
}

static int start(struct controller *c, struct error *err)
{
    c->state = daemon_retries_new(manager_env(c->m));
    return 0;
}

static void stop(struct controller *c)
{
    daemon_retries_free(c->state);
}

const struct controller_info controller_daemonset = {
    .name = "daemonset-controller",
    .component = "daemonset-controller",
    .workers = 2,
    .watch_count = 4,
    .watches = {{KIND_DAEMON_SET, controller_on_object}, {KIND_POD, on_pod}, {KIND_NODE, on_node},
        {KIND_REVISION, NULL}},
    .reconcile = reconcile,
    .start = start,
    .stop = stop,
};
