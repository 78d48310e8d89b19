/*
 * Controller "pod-garbage-collector": removes pods that nobody else will.
 *
 * "node NAME": pods bound to a node that does not exist; it waits 40 s (the node may be on its
 * way), then asks the API server itself. "terminated": finished pods above the threshold, oldest
 * first. Pods that finished are otherwise left to their owners. A forced delete follows a Failed
 * phase with the condition DisruptionTarget.
 *
 * Upstream: pkg/controller/podgc.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/manager.h"
#include "controller/pods.h"

#define QUARANTINE_NS (40 * NS_PER_S)
#define TERMINATED_DELAY_NS (20 * NS_PER_S)
#define OUT_OF_SERVICE "node.kubernetes.io/out-of-service"

static int force_delete(struct controller *c, const struct pod *pod, struct error *err)
{
    struct api_ref ref = object_api_ref(KIND_POD, &pod->meta, NULL);
    struct api_delete_options options = {.uid = pod->meta.uid, .grace_seconds = 0};
    int r = api_delete(manager_client(c->m), &ref, &options, NULL, err);

    return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? 0 : r;
}

static int fail_and_delete(
    struct controller *c, const struct pod *pod, const char *message, struct error *err)
{
    char now[TIME_TEXT_BYTES];
    struct api_ref ref = object_api_ref(KIND_POD, &pod->meta, "status");

    time_print_s(env_wall_ns(manager_env(c->m)), now);
    log_info("collecting pod", "pod", "%s/%s", pod->meta.namespace_, pod->meta.name, "why", "%s",
        message, NULL);
    if (!pod_is_terminal(pod)) {
        autojson cJSON *patch = json_make("{\"metadata\":{\"uid\":\"%s\"},\"status\":{\"phase\":"
                                          "\"Failed\",\"conditions\":[{\"type\":"
                                          "\"DisruptionTarget\",\"status\":\"True\",\"reason\":"
                                          "\"DeletionByPodGC\",\"message\":\"%s\","
                                          "\"lastTransitionTime\":\"%s\"}]}}",
            pod->meta.uid, message, now);
        int r = api_patch(manager_client(c->m), &ref, PATCH_STRATEGIC, patch, NULL, err);
        if (r == -ERR_NOT_FOUND || r == -ERR_CONFLICT)
            return 0;
        if (r < 0)
            return r;
    }
    return force_delete(c, pod, err);
}

static bool is_out_of_service(const struct node *node)
{
    const struct node_taint *taints = node->taints.items;
    const struct node_condition *conditions = node->conditions.items;
    bool tainted = false;

    for (size_t i = 0; i < node->taints.count; i++)
        tainted |= !strcmp(taints[i].key, OUT_OF_SERVICE);
    for (size_t i = 0; i < node->conditions.count; i++)
        if (!strcmp(conditions[i].type, "Ready") && !strcmp(conditions[i].status, "True"))
            return false;
    return tainted;
}

static int collect_node(struct controller *c, const char *name, struct error *err)
{
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", name);
    auto_objects struct projected_array pods = kind_by(c->m, KIND_POD, INDEX_NODE, name);
    struct api_ref ref = {.group_version = "v1", .plural = "nodes", .name = name};
    autojson cJSON *live = NULL;

    if (node && !is_out_of_service(node))
        return 0;
    if (!node && pods.count > 0) {
        int r = api_get(manager_client(c->m), &ref, &live, err);
        if (r != -ERR_NOT_FOUND)
            return r;
    }
    for (size_t i = 0; i < pods.count; i++) {
        const struct pod *pod = pods.objects[i];
        if (node && !pod->meta.deletion_ns)
            continue;
        if (fail_and_delete(c, pod,
                node ? "PodGC: node out of service" : "PodGC: node no longer exists", err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int cmp_creation(const void *a, const void *b)
{
    const struct pod *x = *(const struct pod *const *)a, *y = *(const struct pod *const *)b;

    if (x->meta.creation_ns != y->meta.creation_ns)
        return x->meta.creation_ns < y->meta.creation_ns ? -1 : 1;
    return strcmp(x->meta.name, y->meta.name);
}

static int collect_terminated(struct controller *c, struct error *err)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_POD, NULL);
    autofree const struct pod **done = xcalloc(all.count + 1, sizeof(*done));
    int64_t threshold = manager_config(c->m)->terminated_pod_threshold;
    size_t count = 0;

    threshold = threshold ? threshold : 12500;
    for (size_t i = 0; i < all.count; i++)
        if (pod_is_terminal(all.objects[i]))
            done[count++] = all.objects[i];
    if (threshold < 0 || count <= (size_t)threshold)
        return 0;
    qsort(done, count, sizeof(*done), cmp_creation);
    for (size_t i = 0; i < count - (size_t)threshold; i++)
        if (force_delete(c, done[i], err) < 0)
            return -(int)err->code;
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    if (!strncmp(key, "node ", 5))
        return collect_node(c, key + 5, err);
    return collect_terminated(c, err);
}

static void add_node(struct controller *c, const char *name, int64_t delay_ns)
{
    autofree char *key = str_format("node %s", name);
    workqueue_add_after(c->queue, key, delay_ns);
}

static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node *old = old_object, *now = new_object;

    if (!now)
        add_node(c, old->meta.name, QUARANTINE_NS);
    else if (is_out_of_service(now))
        add_node(c, now->meta.name, 0);
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *old = old_object, *now = new_object;

    if (!now)
        return;
    if (pod_is_terminal(now) && !(old && pod_is_terminal(old)))
        workqueue_add_after(c->queue, "terminated", TERMINATED_DELAY_NS);
    if (!*now->node_name ||
        (old && *old->node_name && !old->meta.deletion_ns == !now->meta.deletion_ns))
        return;
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", now->node_name);
    if (!node || is_out_of_service(node))
        add_node(c, now->node_name, node ? 0 : QUARANTINE_NS);
}

const struct controller_info controller_podgc = {
    .name = "pod-garbage-collector-controller",
    .component = "pod-garbage-collector",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_NODE, on_node}, {KIND_POD, on_pod}},
    .reconcile = reconcile,
};
