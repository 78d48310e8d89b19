/*
 * Row counts: how many of something each row of the node table has, sparse.
 *
 * Only rows that have any are stored: a packed array to walk, and above a few rows a hash of it to
 * find one. 8 bytes a row walked, about 16 more for the hash.
 */
#pragma once

#include <stdint.h>

struct row_count {
    uint32_t row;
    int32_t count; /* never 0 */
};

struct row_counts {
    struct row_count *entries;
    uint32_t count, capacity;
    uint32_t *slots; /* index + 1 into entries; NULL while they are few */
    uint32_t slot_mask;
};

void row_counts_done(struct row_counts *c);
void row_counts_clear(struct row_counts *c);
int32_t row_counts_get(const struct row_counts *c, uint32_t row);
void row_counts_add(struct row_counts *c, uint32_t row, int32_t by);
