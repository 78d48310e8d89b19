/*
 * Which version every key has now, in 24 bytes a key: an open hash table of (hash of the key,
 * version, created).
 *
 * Keys themselves are not kept. A version belongs to one key only, so "this key has version V" is
 * certain when hash and version agree; "this key is absent" is certain when no entry has its hash,
 * and else the caller compares the keys in the database (two of a million keys share a 64-bit hash
 * once in tens of millions of clusters).
 *
 * Threads: none of its own.
 */
#pragma once

#include "common/str.h"

struct key_index;

struct key_entry {
    uint64_t hash;
    int64_t version; /* 0: free slot */
    int64_t created;
};

struct key_index *key_index_new(void);
void key_index_free(struct key_index *x);
uint64_t key_index_hash(struct str key);
size_t key_index_count(const struct key_index *x);
/* Entries with this hash, one a call; *cursor starts at 0. NULL at the end. Any change ends the
 * walk. */
struct key_entry *key_index_next(struct key_index *x, uint64_t hash, size_t *cursor);
struct key_entry *key_index_find(struct key_index *x, uint64_t hash, int64_t version);
void key_index_add(struct key_index *x, uint64_t hash, int64_t version, int64_t created);
void key_index_remove(struct key_index *x, struct key_entry *entry);
