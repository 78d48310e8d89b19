/*
 * Controller "ttl": tells kubelets, by an annotation of their node, how long Secrets and ConfigMaps
 * may be kept without asking again: longer the more nodes there are.
 *
 * The steps up and down differ, so that a cluster at a border does not write all its nodes again
 * and again.
 *
 * Upstream: pkg/controller/ttl.
 */
#include "controller/controller.h"

#define ANNOTATION "node.alpha.kubernetes.io/ttl"

static const struct {
    size_t from, to; /* numbers of nodes */
    int64_t ttl_s;
} steps[] = {{0, 100, 0}, {90, 500, 15}, {450, 1000, 30}, {900, 2000, 60}, {1800, SIZE_MAX, 300}};

/* The present step stays while the number of nodes lies in it. */
static int64_t wanted_ttl(size_t nodes, int64_t now)
{
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        if (steps[i].ttl_s == now && nodes >= steps[i].from && nodes <= steps[i].to)
            return now;
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        if (nodes <= steps[i].to)
            return steps[i].ttl_s;
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", key);
    const char *text = node ? string_map_get(&node->meta.annotations, ANNOTATION) : NULL;
    int64_t now = -1;
    struct error ignored;

    if (!node)
        return 0;
    if (text)
        (void)str_parse_int64(str_of(text), &now, &ignored);
    int64_t wanted = wanted_ttl(informer_count(manager_informer(c->m, KIND_NODE)), now);
    if (text && now == wanted)
        return 0;
    cJSON *patch = json_make(
        "{\"metadata\":{\"annotations\":{\"" ANNOTATION "\":\"%lld\"}}}", (long long)wanted);
    int r = object_patch(c->m, KIND_NODE, &node->meta, NULL, patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* A node that comes or goes may carry the cluster over a border. */
static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node *old = old_object, *now = new_object;
    size_t count = informer_count(manager_informer(c->m, KIND_NODE));
    bool border = false;

    if (now && (!old || !c_eq(string_map_get(&old->meta.annotations, ANNOTATION),
                            string_map_get(&now->meta.annotations, ANNOTATION))))
        controller_add(c, &now->meta);
    if (old && now)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        border |= count == steps[i].to + (now != NULL) || count + (now == NULL) == steps[i].from;
    if (!border)
        return;
    auto_objects struct projected_array all = kind_list(c->m, KIND_NODE, NULL);
    for (size_t i = 0; i < all.count; i++)
        controller_add(c, all.objects[i]);
}

const struct controller_info controller_node_ttl = {
    .name = "ttl-controller",
    .component = "ttl-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_NODE, on_node}},
    .reconcile = reconcile,
};
