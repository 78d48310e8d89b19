/*
 * Column: the rows of the node table that have one property (a label, a taint).
 *
 * A property of many rows is a bitmap, a rare one a sorted list; it changes form as it grows or
 * shrinks (above 1/64 of the table a bitmap, below 1/128 a list again), so that a label with a
 * different value on every node costs 4 bytes a node and one on all of them a bit.
 *
 * Cost: add and remove O(1) as a bitmap, O(rows of the list) as a list; the set operations one
 * pass.
 */
#pragma once

#include "scheduler/node_set.h"

struct column {
    uint32_t count;
    uint32_t word_count; /* words of the bitmap; rows behind it are not in the column */
    uint64_t *words;     /* bitmap, or NULL */
    uint32_t *rows;      /* sorted list, or NULL */
    uint32_t row_capacity;
};

void column_done(struct column *c);
/* capacity: rows of the table now, a multiple of 64. Adding a row twice changes nothing. */
void column_add(struct column *c, uint32_t row, uint32_t capacity);
void column_remove(struct column *c, uint32_t row, uint32_t capacity);
bool column_has(const struct column *c, uint32_t row);

void column_and(
    const struct column *c, struct node_set *set); /* set keeps the column's rows only */
void column_and_not(const struct column *c, struct node_set *set); /* set loses the column's rows */
void column_or(const struct column *c, struct node_set *set);      /* set gains the column's rows */
/* counts[row] += amount for the column's rows in set. */
void column_count(
    const struct column *c, const struct node_set *set, int32_t amount, int32_t *counts);
