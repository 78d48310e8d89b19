/*
 * Score "ImageLocality": prefers nodes that have the pod's images already, the larger the better.
 *
 *     sum over containers of image bytes * (nodes with it / nodes), limited to 23 Mi and 1000 Mi a
 *     container and mapped to 0..100
 *
 * An image that few nodes have counts little, so that pods are not drawn to one node.
 *
 * Cost:     one pass over the nodes that have an image of the pod.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/imagelocality.
 * Tests:    tests/unit/scheduler/topology_test.c, rules_test.c
 */
#include "scheduler/plugin.h"

static plugin_score_fn image_score;

const struct plugin plugin_image_locality = {
    .name = "ImageLocality",
    .upstream_name = "ImageLocality",
    .score = image_score,
    .looks_around = true,
    .weight = 1,
};

#define MEBIBYTE (1024ll * 1024)
#define LEAST_BYTES (23 * MEBIBYTE)
#define MOST_BYTES (1000 * MEBIBYTE)

static const struct image *find_image(const struct cycle *cycle, const char *name)
{
    const char *tag = strrchr(name, ':'), *path = strrchr(name, '/');
    struct image *image;

    if (!tag || (path && tag < path))
        name = arena_printf(cycle->arena, "%s:latest", name);
    HASH_FIND_STR(cycle->nodes->images, name, image);
    return image;
}

static void add_image(const struct cycle *cycle, const struct image *image, int64_t *bytes)
{
    const struct column *c = &image->nodes;
    struct node_set set = {c->words, c->word_count};
    int64_t share =
        (int64_t)((double)image->bytes * ((double)c->count / (double)cycle->nodes->count));

    for (uint32_t i = 0; !c->words && i < c->count; i++)
        bytes[c->rows[i]] += share;
    if (c->words) {
        NODE_SET_FOR_EACH(row, &set)
        bytes[row] += share;
    }
}

static bool add_images(
    const struct cycle *cycle, const struct projected_list *containers, int64_t *bytes)
{
    const struct container *c = containers->items;
    bool any = false;

    for (size_t i = 0; i < containers->count; i++) {
        const struct image *image = c[i].image[0] ? find_image(cycle, c[i].image) : NULL;
        if (!image)
            continue;
        add_image(cycle, image, bytes);
        any = true;
    }
    return any;
}

static bool image_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    const struct pod *pod = cycle->pod->object;
    int64_t most = MOST_BYTES * (int64_t)(pod->containers.count + pod->init_containers.count);

    if (!cycle->nodes->images)
        return false;
    int64_t *bytes = arena_zalloc(cycle->arena, cycle->nodes->capacity * sizeof(int64_t));
    bool any = add_images(cycle, &pod->init_containers, bytes);
    any = add_images(cycle, &pod->containers, bytes) || any;
    if (!any)
        return false;
    NODE_SET_FOR_EACH(row, fits)
    {
        int64_t n = bytes[row] < LEAST_BYTES ? LEAST_BYTES : bytes[row] > most ? most : bytes[row];
        scores[row] = (int32_t)(PLUGIN_SCORE_MAX * (n - LEAST_BYTES) / (most - LEAST_BYTES));
    }
    return true;
}
