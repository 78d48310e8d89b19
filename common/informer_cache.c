/*
 * The informer's objects and indexes; see common/informer_cache.h.
 */
#include "common/informer_cache.h"

#include <assert.h>

#include "common/hash.h"

struct bucket {
    UT_hash_handle hh;
    struct object_array array;
    char key[];
};

/* What an index function emits to. */
struct emission {
    struct informer_cache *cache;
    size_t index;
    const void *object;
    bool add;
};

static int meta_cmp(const struct object_meta *meta, const char *namespace_, const char *name)
{
    int order = strcmp(meta->namespace_, namespace_);

    return order ? order : strcmp(meta->name, name);
}

int informer_object_cmp(const void *a, const void *b)
{
    const struct object_meta *meta = b;

    return meta_cmp(a, meta->namespace_, meta->name);
}

/* Where the object is, or would be. */
static size_t array_place(const struct object_array *a, const char *namespace_, const char *name)
{
    size_t low = 0, high = a->count;

    if (a->count > 0 && meta_cmp(a->objects[a->count - 1], namespace_, name) < 0)
        return a->count; /* lists come in order */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (meta_cmp(a->objects[middle], namespace_, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool array_has(
    const struct object_array *a, size_t at, const char *namespace_, const char *name)
{
    return at < a->count && meta_cmp(a->objects[at], namespace_, name) == 0;
}

/* Puts object in its place and returns what was there. */
static const void *array_put(struct object_array *a, const void *object)
{
    const struct object_meta *meta = object;
    size_t at = array_place(a, meta->namespace_, meta->name);

    if (array_has(a, at, meta->namespace_, meta->name)) {
        const void *old = a->objects[at];
        a->objects[at] = object;
        return old;
    }
    if (a->count == a->capacity) {
        a->capacity = a->capacity ? a->capacity + a->capacity / 2 + 1 : 4;
        a->objects = xrealloc(a->objects, a->capacity * sizeof(*a->objects));
    }
    memmove(a->objects + at + 1, a->objects + at, (a->count - at) * sizeof(*a->objects));
    a->objects[at] = object;
    a->count++;
    return NULL;
}

static const void *array_remove(struct object_array *a, const char *namespace_, const char *name)
{
    size_t at = array_place(a, namespace_, name);

    if (!array_has(a, at, namespace_, name))
        return NULL;
    const void *old = a->objects[at];
    a->count--;
    memmove(a->objects + at, a->objects + at + 1, (a->count - at) * sizeof(*a->objects));
    if (a->capacity > 64 && a->count < a->capacity / 4) {
        a->capacity /= 2;
        a->objects = xrealloc(a->objects, a->capacity * sizeof(*a->objects));
    }
    return old;
}

static struct bucket *bucket_find(const struct informer_cache *c, size_t index, const char *key)
{
    struct bucket *b;

    HASH_FIND(hh, c->buckets[index], key, strlen(key), b);
    return b;
}

static void bucket_free(struct informer_cache *c, size_t index, struct bucket *b)
{
    HASH_DEL(c->buckets[index], b);
    free(b->array.objects);
    free(b);
}

static void emit(void *arg, const char *key)
{
    struct emission *e = arg;
    struct bucket *b = bucket_find(e->cache, e->index, key);

    if (!e->add) {
        const struct object_meta *meta = e->object;
        if (!b)
            return; /* emitted twice */
        array_remove(&b->array, meta->namespace_, meta->name);
        if (b->array.count == 0)
            bucket_free(e->cache, e->index, b);
        return;
    }
    if (!b) {
        size_t n = strlen(key);
        b = xcalloc(1, sizeof(*b) + n + 1);
        memcpy(b->key, key, n + 1);
        HASH_ADD_KEYPTR(hh, e->cache->buckets[e->index], b->key, n, b);
    }
    array_put(&b->array, e->object);
}

static void index_object(struct informer_cache *c, const void *object, bool add)
{
    for (size_t i = 0; i < c->index_count; i++) {
        struct emission e = {c, i, object, add};
        c->indexes[i].keys(object, emit, &e);
    }
}

void informer_cache_init(
    struct informer_cache *c, const struct informer_index *indexes, size_t index_count)
{
    *c = (struct informer_cache){.indexes = indexes, .index_count = index_count};
    c->buckets = xcalloc(index_count + 1, sizeof(struct bucket *));
}

void informer_cache_done(struct informer_cache *c)
{
    struct bucket *b, *next;

    for (size_t i = 0; i < c->index_count; i++)
        HASH_ITER(hh, c->buckets[i], b, next)
    bucket_free(c, i, b);
    for (size_t i = 0; i < c->all.count; i++)
        projected_unref(c->all.objects[i]);
    free(c->all.objects);
    free(c->buckets);
}

const void *informer_cache_find(
    const struct informer_cache *c, const char *namespace_, const char *name)
{
    size_t at = array_place(&c->all, namespace_, name);

    return array_has(&c->all, at, namespace_, name) ? c->all.objects[at] : NULL;
}

const void *informer_cache_put(struct informer_cache *c, const void *take_object)
{
    const void *old = array_put(&c->all, take_object);

    if (old)
        index_object(c, old, false);
    index_object(c, take_object, true);
    return old;
}

const void *informer_cache_remove(
    struct informer_cache *c, const char *namespace_, const char *name)
{
    const void *old = array_remove(&c->all, namespace_, name);

    if (old)
        index_object(c, old, false);
    return old;
}

struct projected_array informer_cache_range(
    const struct informer_cache *c, const char *namespace_or_null)
{
    const struct object_array *a = &c->all;

    if (!namespace_or_null)
        return (struct projected_array){a->objects, a->count};
    size_t first = array_place(a, namespace_or_null, ""), end = first;
    while (end < a->count &&
           !strcmp(((const struct object_meta *)a->objects[end])->namespace_, namespace_or_null))
        end++;
    return (struct projected_array){a->objects + first, end - first};
}

struct projected_array informer_cache_by_index(
    const struct informer_cache *c, const char *index, const char *key)
{
    for (size_t i = 0; i < c->index_count; i++) {
        if (strcmp(c->indexes[i].name, index))
            continue;
        struct bucket *b = bucket_find(c, i, key);
        return b ? (struct projected_array){b->array.objects, b->array.count}
                 : (struct projected_array){NULL, 0};
    }
    assert(!"an index of this informer");
    return (struct projected_array){NULL, 0};
}
