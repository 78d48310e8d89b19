/*
 * Label index and taints: strings of nodes become columns of rows when they enter the table.
 *
 *     key "zone" -> column of all rows that have it
 *         value "a" -> column of rows     value "b" -> column of rows
 *
 * Selectors look a key or value up once a pod and then work on columns. A key or value that no node
 * has any more is freed, so the index is never larger than the nodes are.
 *
 * A key that some rule uses as a topology key also has an array of domains: for each row the number
 * of its value (1 and up, dense and reused), 0 where the row lacks the key. Sums over a topology
 * are arrays indexed by these numbers.
 *
 * Threads: the scheduler's loop only.
 */
#pragma once

#include "common/hash.h"

#include "scheduler/column.h"

struct label_value {
    struct label_key *key;
    char *text;
    uint32_t domain; /* its number among the key's values */
    struct column nodes;
    int64_t number; /* for Gt and Lt */
    bool is_number;
    UT_hash_handle hh;
};

struct label_key {
    char *name;
    struct column nodes;
    struct label_value *values;
    struct label_value **by_domain; /* NULL: number not in use; [0] is no value */
    uint32_t domain_count;          /* numbers ever in use are below this; at least 1 */
    uint32_t *free_domains, free_count;
    uint32_t *domains; /* by row, once asked for */
    uint32_t domains_capacity;
    UT_hash_handle hh;
};

struct label_index {
    struct label_key *keys;
};

void label_index_done(struct label_index *index);
struct label_value *label_index_add(
    struct label_index *index, const char *key, const char *value, uint32_t row, uint32_t capacity);
void label_index_remove(
    struct label_index *index, struct label_value *value, uint32_t row, uint32_t capacity);
const struct label_key *label_index_key(const struct label_index *index, const char *key);
const struct label_value *label_key_value(const struct label_key *key, const char *value);
/* The domain of each of `capacity` rows; made at the first call, kept by changes from then on. */
const uint32_t *label_key_domains(const struct label_key *key, uint32_t capacity);

enum taint_effect { TAINT_NO_SCHEDULE, TAINT_PREFER_NO_SCHEDULE, TAINT_NO_EXECUTE };

struct taint {
    char *key, *value;
    enum taint_effect effect;
    struct column nodes;
    struct taint *next;
};

const char *taint_effect_name(enum taint_effect effect);
struct taint *taints_add(struct taint **list, const char *key, const char *value,
    const char *effect, uint32_t row, uint32_t capacity);
void taints_remove(struct taint **list, struct taint *taint, uint32_t row, uint32_t capacity);
void taints_done(struct taint **list);
