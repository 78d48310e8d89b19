/*
 * Open addressing with linear probing and backward-shift deletion; at most 3/4 full.
 */
#include "apiserver/store/key_index.h"

#include <assert.h>

#define FIRST_SLOTS 256

struct key_index {
    struct key_entry *slots;
    size_t mask, count;
};

struct key_index *key_index_new(void)
{
    struct key_index *x = (struct key_index *)xcalloc(1, sizeof(*x));

    x->slots = (struct key_entry *)xcalloc(FIRST_SLOTS, sizeof(*x->slots));
    x->mask = FIRST_SLOTS - 1;
    return x;
}

void key_index_free(struct key_index *x)
{
    if (!x)
        return;
    free(x->slots);
    free(x);
}

/* FNV-1a over 8 bytes at a time, then a finaliser: keys share long prefixes and differ at the end.
 */
uint64_t key_index_hash(struct str key)
{
    uint64_t h = 0x9e3779b97f4a7c15ull ^ key.n;
    size_t i = 0;

    for (; i + 8 <= key.n; i += 8) {
        uint64_t word;

        memcpy(&word, key.p + i, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    for (; i < key.n; i++)
        h = (h ^ (uint8_t)key.p[i]) * 0x100000001b3ull;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ull;
    return h ^ h >> 29;
}

size_t key_index_count(const struct key_index *x)
{
    return x->count;
}

struct key_entry *key_index_next(struct key_index *x, uint64_t hash, size_t *cursor)
{
    for (;; ++*cursor) {
        struct key_entry *e = &x->slots[(hash + *cursor) & x->mask];

        if (!e->version)
            return NULL;
        if (e->hash == hash) {
            ++*cursor;
            return e;
        }
    }
}

struct key_entry *key_index_find(struct key_index *x, uint64_t hash, int64_t version)
{
    struct key_entry *e;
    size_t cursor = 0;

    while ((e = key_index_next(x, hash, &cursor)))
        if (e->version == version)
            return e;
    return NULL;
}

static void insert(struct key_index *x, struct key_entry entry)
{
    size_t i = entry.hash & x->mask;

    while (x->slots[i].version)
        i = (i + 1) & x->mask;
    x->slots[i] = entry;
}

static void grow(struct key_index *x)
{
    struct key_entry *old = x->slots;
    size_t old_mask = x->mask;

    x->mask = 2 * (x->mask + 1) - 1;
    x->slots = (struct key_entry *)xcalloc(x->mask + 1, sizeof(*x->slots));
    for (size_t i = 0; i <= old_mask; i++)
        if (old[i].version)
            insert(x, old[i]);
    free(old);
}

void key_index_add(struct key_index *x, uint64_t hash, int64_t version, int64_t created)
{
    assert(version > 0);
    if (4 * (x->count + 1) > 3 * (x->mask + 1))
        grow(x);
    insert(x, (struct key_entry){hash, version, created});
    x->count++;
}

void key_index_remove(struct key_index *x, struct key_entry *entry)
{
    size_t hole = (size_t)(entry - x->slots), i = hole;

    for (;;) {
        i = (i + 1) & x->mask;
        if (!x->slots[i].version)
            break;
        size_t home = x->slots[i].hash & x->mask;

        if (((i - home) & x->mask) >= ((i - hole) & x->mask)) {
            x->slots[hole] = x->slots[i];
            hole = i;
        }
    }
    x->slots[hole].version = 0;
    x->count--;
}
