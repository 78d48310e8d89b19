/*
 * Column: rows with one property, as a sorted list or a bitmap. See column.h.
 *
 * Invariant: at most one of words and rows is in use; count is the number of rows in either form.
 * Threads: the scheduler's loop only.
 */
#include "scheduler/column.h"

#include <assert.h>

#include "scheduler/hot.h"

/* A list this short stays a list in any table: it is smaller than the struct around it. */
#define LIST_ROWS_MIN 8

HOT static size_t count_bits(const uint64_t *words, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += (size_t)__builtin_popcountll(words[i]);
    return count;
}

size_t node_set_count(const struct node_set *s)
{
    return count_bits(s->words, s->word_count);
}

void column_done(struct column *c)
{
    free(c->words);
    free(c->rows);
    *c = (struct column){0};
}

/* Index of the first listed row that is not below `row`. */
static uint32_t list_position(const struct column *c, uint32_t row)
{
    uint32_t low = 0, high = c->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (c->rows[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void reserve_words(struct column *c, uint32_t capacity)
{
    uint32_t need = capacity / 64;

    if (c->words && need <= c->word_count)
        return;
    c->words = xrealloc(c->words, need * sizeof(uint64_t));
    memset(c->words + c->word_count, 0, (need - c->word_count) * sizeof(uint64_t));
    c->word_count = need;
}

static void become_bitmap(struct column *c, uint32_t capacity)
{
    reserve_words(c, capacity);
    for (uint32_t i = 0; i < c->count; i++)
        c->words[c->rows[i] / 64] |= 1ull << (c->rows[i] % 64);
    free(steal(&c->rows));
    c->row_capacity = 0;
}

static void become_list(struct column *c)
{
    struct node_set set = {c->words, c->word_count};
    uint32_t n = 0;

    c->row_capacity = c->count ? c->count : 1;
    c->rows = xmalloc(c->row_capacity * sizeof(uint32_t));
    NODE_SET_FOR_EACH(row, &set)
    c->rows[n++] = row;
    assert(n == c->count);
    free(steal(&c->words));
    c->word_count = 0;
}

void column_add(struct column *c, uint32_t row, uint32_t capacity)
{
    if (!c->words && c->count >= LIST_ROWS_MIN && c->count >= capacity / 64)
        become_bitmap(c, capacity);
    if (c->words) {
        reserve_words(c, capacity);
        uint64_t bit = 1ull << (row % 64);
        c->count += !(c->words[row / 64] & bit);
        c->words[row / 64] |= bit;
        return;
    }
    uint32_t at = list_position(c, row);
    if (at < c->count && c->rows[at] == row)
        return;
    if (c->count == c->row_capacity) {
        c->row_capacity = c->row_capacity ? c->row_capacity * 2 : 1;
        c->rows = xrealloc(c->rows, c->row_capacity * sizeof(uint32_t));
    }
    memmove(c->rows + at + 1, c->rows + at, (c->count - at) * sizeof(uint32_t));
    c->rows[at] = row;
    c->count++;
}

void column_remove(struct column *c, uint32_t row, uint32_t capacity)
{
    if (!column_has(c, row))
        return;
    if (c->words) {
        c->words[row / 64] &= ~(1ull << (row % 64));
        c->count--;
        if (c->count < LIST_ROWS_MIN || c->count < capacity / 128)
            become_list(c);
        return;
    }
    uint32_t at = list_position(c, row);
    memmove(c->rows + at, c->rows + at + 1, (c->count - at - 1) * sizeof(uint32_t));
    c->count--;
}

bool column_has(const struct column *c, uint32_t row)
{
    if (c->words)
        return row / 64 < c->word_count && (c->words[row / 64] >> (row % 64) & 1);
    uint32_t at = list_position(c, row);
    return at < c->count && c->rows[at] == row;
}

void column_and(const struct column *c, struct node_set *set)
{
    uint32_t next = 0;

    for (size_t w = 0; w < set->word_count; w++) {
        uint64_t bits = 0;
        if (c->words)
            bits = w < c->word_count ? c->words[w] : 0;
        else
            for (; next < c->count && c->rows[next] / 64 == w; next++)
                bits |= 1ull << (c->rows[next] % 64);
        set->words[w] &= bits;
    }
}

void column_and_not(const struct column *c, struct node_set *set)
{
    for (size_t w = 0; c->words && w < set->word_count && w < c->word_count; w++)
        set->words[w] &= ~c->words[w];
    for (uint32_t i = 0; !c->words && i < c->count; i++)
        node_set_remove(set, c->rows[i]);
}

void column_or(const struct column *c, struct node_set *set)
{
    for (size_t w = 0; c->words && w < set->word_count && w < c->word_count; w++)
        set->words[w] |= c->words[w];
    for (uint32_t i = 0; !c->words && i < c->count; i++)
        node_set_add(set, c->rows[i]);
}

void column_count(
    const struct column *c, const struct node_set *set, int32_t amount, int32_t *counts)
{
    if (!c->words) {
        for (uint32_t i = 0; i < c->count; i++)
            if (node_set_has(set, c->rows[i]))
                counts[c->rows[i]] += amount;
        return;
    }
    struct node_set mine = {c->words, c->word_count};
    NODE_SET_FOR_EACH(row, &mine)
    if (node_set_has(set, row))
        counts[row] += amount;
}
