/*
 * Matching and ordering of list elements for strategic merge patches.
 *
 * Upstream: apimachinery's strategicpatch, normalizeElementOrder and mergeSortedSlice.
 */
#include "apiserver/schema/patch_list.h"

struct items items_new(struct arena *a, size_t capacity)
{
    return (struct items){arena_new_array(a, cJSON *, capacity + 1), 0};
}

struct items items_of(struct arena *a, const cJSON *list)
{
    size_t n = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        n++;
    struct items items = items_new(a, n);
    for (cJSON *e = list ? list->child : NULL; e; e = e->next)
        items.p[items.n++] = e;
    return items;
}

static uint32_t value_hash(const cJSON *value)
{
    char number[32];
    const char *text = value_string(value);
    if (value && cJSON_IsNumber(value)) {
        snprintf(number, sizeof(number), "%.17g", value->valuedouble);
        text = number;
    }
    return schema_hash(text, strlen(text));
}

static const cJSON *key_value(const cJSON *element, const char *key)
{
    return key ? json_get(element, key) : element;
}

struct item_index index_new(struct arena *a, const struct items *list, const char *key)
{
    size_t size = 8;
    while (size < list->n * 2)
        size *= 2;
    struct item_index x = {list, key, arena_new_array(a, uint32_t, size), size - 1};
    for (size_t i = 0; i < list->n; i++) {
        const cJSON *value = key_value(list->p[i], key);
        size_t at = value_hash(value) & x.mask;
        while (x.slots[at] && !json_equal(key_value(list->p[x.slots[at] - 1], key), value))
            at = (at + 1) & x.mask;
        if (!x.slots[at])
            x.slots[at] = (uint32_t)i + 1;
    }
    return x;
}

ssize_t index_find_value(const struct item_index *x, const cJSON *value)
{
    if (!value)
        return -1;
    for (size_t at = value_hash(value) & x->mask; x->slots[at]; at = (at + 1) & x->mask)
        if (json_equal(key_value(x->list->p[x->slots[at] - 1], x->key), value))
            return (ssize_t)x->slots[at] - 1;
    return -1;
}

ssize_t index_find(const struct item_index *x, const cJSON *element)
{
    return index_find_value(x, key_value(element, x->key));
}

struct placed {
    cJSON *item;
    ssize_t order; /* position in the list that sorts it, -1 last */
    size_t original;
};

static int by_order(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    size_t p = x->order < 0 ? SIZE_MAX : (size_t)x->order,
           q = y->order < 0 ? SIZE_MAX : (size_t)y->order;
    if (p != q)
        return p < q ? -1 : 1;
    return (x->original > y->original) - (x->original < y->original);
}

static struct items sort_by(
    struct arena *a, const struct items *list, const struct item_index *order)
{
    struct placed *placed = arena_new_array(a, struct placed, list->n + 1);
    for (size_t i = 0; i < list->n; i++)
        placed[i] = (struct placed){list->p[i], index_find(order, list->p[i]), i};
    qsort(placed, list->n, sizeof(*placed), by_order);
    struct items sorted = items_new(a, list->n);
    for (size_t i = 0; i < list->n; i++)
        sorted.p[sorted.n++] = placed[i].item;
    return sorted;
}

struct items items_order(struct arena *a, const struct items *merged,
    const struct items *patch_order, const struct items *server_order, const char *key)
{
    struct item_index by_patch = index_new(a, patch_order, key);
    struct item_index by_server = index_new(a, server_order, key);
    struct items named = items_new(a, merged->n), others = items_new(a, merged->n);
    for (size_t i = 0; i < merged->n; i++) {
        struct items *to = index_find(&by_patch, merged->p[i]) >= 0 ? &named : &others;
        to->p[to->n++] = merged->p[i];
    }
    struct items right = sort_by(a, &named, &by_patch), left = sort_by(a, &others, &by_server);
    struct items all = items_new(a, merged->n);
    size_t i = 0, j = 0;
    while (i < left.n || j < right.n) {
        bool take_left = j >= right.n;
        if (i < left.n && j < right.n) {
            ssize_t l = index_find(&by_server, left.p[i]), r = index_find(&by_server, right.p[j]);
            take_left = l >= 0 && r >= 0 && l < r;
        }
        all.p[all.n++] = take_left ? left.p[i++] : right.p[j++];
    }
    return all;
}
