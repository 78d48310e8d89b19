/*
 * Lists inside a strategic merge patch: arrays of borrowed elements with an index by merge key, so
 * that matching two lists of n elements costs n and not n * n. Private to patch_strategic.c and
 * patch_list.c.
 */
#pragma once

#include "apiserver/schema/model.h"

struct items {
    cJSON **p;
    size_t n;
};

/* Elements by the value of their merge key, or by themselves when key is NULL; the first of equal
 * ones counts. */
struct item_index {
    const struct items *list;
    const char *key;
    uint32_t *slots; /* position + 1 */
    size_t mask;
};

struct items items_of(struct arena *a, const cJSON *list);
struct items items_new(struct arena *a, size_t capacity);
struct item_index index_new(struct arena *a, const struct items *list, const char *key);
/* Position of an element equal by key, or -1. */
ssize_t index_find(const struct item_index *x, const cJSON *element);
ssize_t index_find_value(const struct item_index *x, const cJSON *value);

/*
 * Upstream's order of a merged list: the elements that the patch names, in the patch's order;
 * elements only the server has, in the server's; both interleaved so that neither order breaks.
 */
struct items items_order(struct arena *a, const struct items *merged,
    const struct items *patch_order, const struct items *server_order, const char *key);
