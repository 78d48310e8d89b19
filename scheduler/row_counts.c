/*
 * Row counts. See row_counts.h.
 *
 * The hash is open addressing with linear probing, at most half full; an entry that goes is
 * replaced by the last one, a slot that goes by those behind it.
 */
#include "scheduler/row_counts.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/str.h"

#define FEW 8u

void row_counts_done(struct row_counts *c)
{
    free(c->entries);
    free(c->slots);
    *c = (struct row_counts){0};
}

void row_counts_clear(struct row_counts *c)
{
    row_counts_done(c);
}

static uint32_t home(const struct row_counts *c, uint32_t row)
{
    return (row * 2654435769u >> 7) & c->slot_mask;
}

/* The slot of the row, or the empty one where it would go. */
static uint32_t slot_of(const struct row_counts *c, uint32_t row)
{
    uint32_t at = home(c, row);

    while (c->slots[at] && c->entries[c->slots[at] - 1].row != row)
        at = (at + 1) & c->slot_mask;
    return at;
}

static struct row_count *find(const struct row_counts *c, uint32_t row)
{
    if (c->slots) {
        uint32_t index = c->slots[slot_of(c, row)];
        return index ? &c->entries[index - 1] : NULL;
    }
    for (uint32_t i = 0; i < c->count; i++)
        if (c->entries[i].row == row)
            return &c->entries[i];
    return NULL;
}

int32_t row_counts_get(const struct row_counts *c, uint32_t row)
{
    const struct row_count *e = find(c, row);

    return e ? e->count : 0;
}

static void grow(struct row_counts *c)
{
    c->capacity = c->capacity ? c->capacity * 2 : 2;
    c->entries = xrealloc(c->entries, c->capacity * sizeof(*c->entries));
    if (c->capacity <= FEW)
        return;
    free(c->slots);
    c->slots = xcalloc(c->capacity * 2, sizeof(*c->slots));
    c->slot_mask = c->capacity * 2 - 1;
    for (uint32_t i = 0; i < c->count; i++)
        c->slots[slot_of(c, c->entries[i].row)] = i + 1;
}

static void insert(struct row_counts *c, uint32_t row, int32_t count)
{
    if (c->count == c->capacity)
        grow(c);
    if (c->slots)
        c->slots[slot_of(c, row)] = c->count + 1;
    c->entries[c->count++] = (struct row_count){row, count};
}

/* Empties a slot and moves those behind it up, so that none is cut off from its home. */
static void remove_slot(struct row_counts *c, uint32_t at)
{
    uint32_t hole = at;

    for (uint32_t next = (at + 1) & c->slot_mask; c->slots[next];
         next = (next + 1) & c->slot_mask) {
        uint32_t want = home(c, c->entries[c->slots[next] - 1].row);
        if (((next - want) & c->slot_mask) < ((next - hole) & c->slot_mask))
            continue;
        c->slots[hole] = c->slots[next];
        hole = next;
    }
    c->slots[hole] = 0;
}

static void erase(struct row_counts *c, struct row_count *e)
{
    struct row_count *last = &c->entries[c->count - 1];
    uint32_t at = c->slots ? slot_of(c, e->row) : 0;

    if (c->slots && e != last)
        c->slots[slot_of(c, last->row)] = (uint32_t)(e - c->entries) + 1;
    *e = *last;
    if (c->slots)
        remove_slot(c, at);
    c->count--;
    if (!c->count)
        row_counts_done(c);
}

void row_counts_add(struct row_counts *c, uint32_t row, int32_t by)
{
    struct row_count *e = find(c, row);

    if (!by)
        return;
    if (!e) {
        insert(c, row, by);
        return;
    }
    e->count += by;
    if (!e->count)
        erase(c, e);
}
