/*
 * Inside of the JSON modules: the pre-scan with the numbers it met that a double can't hold.
 */
#pragma once

#include "common/json.h"

/* cJSON reads at most 63 characters of a number. */
#define JSON_NUMBER_BYTES_MAX 60

struct json_long_number {
    size_t ordinal; /* the value's place in document order, from 1 */
    size_t offset, n;
};
struct json_long_numbers {
    struct json_long_number *at; /* heap, in document order */
    size_t count, capacity;
};

/* Eight bytes at a time: the high bit of each byte that is below 0x20 or above 0x7f, or equals c.
 * Only the lowest set bit is exact (borrows run upwards), which is all that a search needs. */
#define WORD_ONES 0x0101010101010101ull
#define WORD_HIGHS 0x8080808080808080ull
#define WORD_ODD(w) ((((w)-WORD_ONES * 0x20) & ~(w)&WORD_HIGHS) | ((w)&WORD_HIGHS))
#define WORD_ZERO(w) (((w)-WORD_ONES) & ~(w)&WORD_HIGHS)
#define WORD_HAS(w, c) WORD_ZERO((w) ^ (WORD_ONES * (c)))

/* How many bytes lie before the first marked one, in memory order. */
static inline size_t word_first(uint64_t marks)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");
    return (size_t)__builtin_ctzll(marks) / 8;
}

/* json_scan() that also appends every integer of more than 15 digits to longs (may be NULL). */
int json_scan_numbers(
    struct str text, size_t *ret_end, struct json_long_numbers *longs, struct error *err);

/* Bytes of the valid UTF-8 sequence at p (room of them may be read, at least 1), or 0. */
size_t json_utf8_length(const unsigned char *p, size_t room);
