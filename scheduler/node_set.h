/*
 * Node set: one bit a row of the node table.
 *
 * Sets of one table have the same number of words (rows are allocated in multiples of 64), so that
 * two of them combine word by word. A filter gets the set of nodes that are still possible and
 * clears bits.
 *
 * Ownership: the words belong to whoever made them, mostly a cycle's arena.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/arena.h"

#define ROW_NONE UINT32_MAX

struct node_set {
    uint64_t *words;
    size_t word_count;
};

/* For each row of set, ascending: row is a uint32_t declared here. `break` goes to the next row, as
 * `continue`. */
#define NODE_SET_FOR_EACH(row, set)                                                               \
    for (size_t row##_w = 0; row##_w < (set)->word_count; row##_w++)                              \
        for (uint64_t row##_bits = (set)->words[row##_w]; row##_bits;                             \
             row##_bits &= row##_bits - 1)                                                        \
            for (uint32_t row = (uint32_t)(row##_w * 64) + (uint32_t)__builtin_ctzll(row##_bits), \
                          row##_once = 1;                                                         \
                 row##_once; row##_once = 0)

static inline bool node_set_has(const struct node_set *s, uint32_t row)
{
    return s->words[row / 64] >> (row % 64) & 1;
}

static inline void node_set_add(struct node_set *s, uint32_t row)
{
    s->words[row / 64] |= 1ull << (row % 64);
}

static inline void node_set_remove(struct node_set *s, uint32_t row)
{
    s->words[row / 64] &= ~(1ull << (row % 64));
}

static inline void node_set_clear(struct node_set *s)
{
    memset(s->words, 0, s->word_count * sizeof(uint64_t));
}

static inline void node_set_copy(struct node_set *to, const struct node_set *from)
{
    memcpy(to->words, from->words, to->word_count * sizeof(uint64_t));
}

static inline void node_set_and(struct node_set *s, const struct node_set *with)
{
    for (size_t i = 0; i < s->word_count; i++)
        s->words[i] &= with->words[i];
}

static inline void node_set_and_not(struct node_set *s, const struct node_set *without)
{
    for (size_t i = 0; i < s->word_count; i++)
        s->words[i] &= ~without->words[i];
}

static inline void node_set_or(struct node_set *s, const struct node_set *with)
{
    for (size_t i = 0; i < s->word_count; i++)
        s->words[i] |= with->words[i];
}

static inline bool node_set_is_empty(const struct node_set *s)
{
    for (size_t i = 0; i < s->word_count; i++)
        if (s->words[i])
            return false;
    return true;
}

size_t node_set_count(const struct node_set *s); /* column.c */

/* An empty set of the same shape. */
static inline struct node_set node_set_new_like(struct arena *arena, const struct node_set *s)
{
    return (struct node_set){
        .words = arena_zalloc(arena, s->word_count * sizeof(uint64_t)),
        .word_count = s->word_count,
    };
}
