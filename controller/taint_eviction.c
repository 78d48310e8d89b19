/*
 * Controller "taint-eviction": deletes pods that do not tolerate a NoExecute taint of their node,
 * at once or when their tolerationSeconds are over.
 *
 * The time runs from the taint's timeAdded, so that nothing need be remembered. The pod gets the
 * condition DisruptionTarget first, then an ordinary, graceful delete. Mirror pods of a node's own
 * files are left alone: their node would only make them again.
 *
 * Upstream: pkg/controller/tainteviction.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/pods.h"
#include "controller/taint_eviction.h"

bool toleration_matches(const struct pod_toleration *t, const struct node_taint *taint)
{
    if (*t->effect && strcmp(t->effect, taint->effect))
        return false;
    if (*t->key && strcmp(t->key, taint->key))
        return false;
    if (!strcmp(t->operator_, "Exists"))
        return true;
    return *t->key && !strcmp(t->value, taint->value);
}

/* When the pod must go because of this taint; INT64_MAX: never, 0: now. */
static int64_t tolerated_until(
    const struct pod *pod, const struct node_taint *taint, int64_t now_ns)
{
    const struct pod_toleration *tolerations = pod->tolerations.items;
    int64_t since = taint->added_ns ? taint->added_ns : now_ns, until = -1;

    for (size_t i = 0; i < pod->tolerations.count; i++) {
        if (!toleration_matches(&tolerations[i], taint))
            continue;
        int64_t seconds = tolerations[i].seconds.value;
        int64_t end = !tolerations[i].seconds.set ? INT64_MAX
                      : seconds <= 0              ? 0
                                                  : since + seconds * NS_PER_S;
        if (until < 0 || end < until)
            until = end;
    }
    return until < 0 ? 0 : until;
}

int64_t eviction_time_ns(const struct pod *pod, const struct node *node, int64_t now_ns)
{
    const struct node_taint *taints = node->taints.items;
    int64_t when = INT64_MAX;

    for (size_t i = 0; i < node->taints.count; i++) {
        if (strcmp(taints[i].effect, "NoExecute"))
            continue;
        int64_t until = tolerated_until(pod, &taints[i], now_ns);
        if (until < when)
            when = until;
    }
    return when;
}

static int evict(struct controller *c, const struct pod *pod, struct error *err)
{
    char now[TIME_TEXT_BYTES];
    struct api_ref ref = object_api_ref(KIND_POD, &pod->meta, "status");

    time_print_s(env_wall_ns(manager_env(c->m)), now);
    autojson cJSON *patch = json_make(
        "{\"metadata\":{\"uid\":\"%s\"},\"status\":{\"conditions\":[{\"type\":\"DisruptionTarget\","
        "\"status\":\"True\",\"reason\":\"DeletionByTaintManager\",\"message\":"
        "\"Taint manager: deleting due to NoExecute taint\",\"lastTransitionTime\":\"%s\"}]}}",
        pod->meta.uid, now);
    controller_event(c, KIND_POD, &pod->meta, EVENT_NORMAL, "TaintManagerEviction",
        "Marking for deletion Pod %s/%s", pod->meta.namespace_, pod->meta.name);
    int r = api_patch(manager_client(c->m), &ref, PATCH_STRATEGIC, patch, NULL, err);
    if (r == -ERR_NOT_FOUND || r == -ERR_CONFLICT)
        return 0;
    return r < 0 ? r : object_delete(c->m, KIND_POD, &pod->meta, NULL, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct pod *pod = kind_get_key(c->m, KIND_POD, key);
    int64_t now = env_wall_ns(manager_env(c->m));

    if (!pod || !pod_is_active(pod) || !*pod->node_name ||
        string_map_get(&pod->meta.annotations, "kubernetes.io/config.mirror"))
        return 0;
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", pod->node_name);
    int64_t when = node ? eviction_time_ns(pod, node, now) : INT64_MAX;
    if (when == INT64_MAX)
        return 0;
    if (when <= now)
        return evict(c, pod, err);
    *ret_again_ns = when - now;
    return 0;
}

static bool has_no_execute(const struct node *node)
{
    const struct node_taint *taints = node->taints.items;

    for (size_t i = 0; i < node->taints.count; i++)
        if (!strcmp(taints[i].effect, "NoExecute"))
            return true;
    return false;
}

static bool same_taints(const struct node *a, const struct node *b)
{
    const struct node_taint *x = a->taints.items, *y = b->taints.items;

    if (a->taints.count != b->taints.count)
        return false;
    for (size_t i = 0; i < a->taints.count; i++)
        if (strcmp(x[i].key, y[i].key) || strcmp(x[i].effect, y[i].effect) ||
            strcmp(x[i].value, y[i].value))
            return false;
    return true;
}

static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node *old = old_object, *now = new_object;

    if (!now || (old && same_taints(old, now)) || !has_no_execute(now))
        return;
    auto_objects struct projected_array pods = kind_by(c->m, KIND_POD, INDEX_NODE, now->meta.name);
    for (size_t i = 0; i < pods.count; i++)
        controller_add(c, pods.objects[i]);
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *old = old_object, *now = new_object;

    if (!now || !*now->node_name ||
        (old && !strcmp(old->node_name, now->node_name) &&
            old->tolerations.count == now->tolerations.count))
        return;
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", now->node_name);
    if (node && has_no_execute(node))
        controller_add(c, &now->meta);
}

const struct controller_info controller_taint_eviction = {
    .name = "taint-eviction-controller",
    .component = "taint-eviction-controller",
    .workers = 2,
    .watch_count = 2,
    .watches = {{KIND_NODE, on_node}, {KIND_POD, on_pod}},
    .reconcile = reconcile,
};
