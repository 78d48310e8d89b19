/*
 * Private to the informer: the objects ordered by namespace and name, and their indexes.
 *
 * `objects` is a sorted array of referenced projections; insertion moves pointers (8 bytes an
 * object), look-up is a binary search. An index is a hash table from key to a sorted array of
 * borrowed objects. Threads: none of its own; the informer's lock guards writes.
 */
#pragma once

#include "common/informer.h"

struct object_array {
    const void **objects;
    size_t count, capacity;
};

struct bucket;

struct informer_cache {
    struct object_array all;
    const struct informer_index *indexes;
    size_t index_count;
    struct bucket **buckets; /* one hash table an index */
};

void informer_cache_init(
    struct informer_cache *c, const struct informer_index *indexes, size_t index_count);
void informer_cache_done(struct informer_cache *c);
const void *informer_cache_find(
    const struct informer_cache *c, const char *namespace_, const char *name);
/* Puts object in (its reference is taken) and returns the one it replaces, with its reference, or
 * NULL. */
const void *informer_cache_put(struct informer_cache *c, const void *take_object);
const void *informer_cache_remove(
    struct informer_cache *c, const char *namespace_, const char *name);
/* Borrowed views of the array. */
struct projected_array informer_cache_range(
    const struct informer_cache *c, const char *namespace_or_null);
struct projected_array informer_cache_by_index(
    const struct informer_cache *c, const char *index, const char *key);
/* Order of objects: by namespace, then name. */
int informer_object_cmp(const void *a, const void *b);
