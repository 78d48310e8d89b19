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

/* json_scan() that also appends every integer of more than 15 digits to longs (may be NULL). */
int json_scan_numbers(
    struct str text, size_t *ret_end, struct json_long_numbers *longs, struct error *err);

/* Bytes of the valid UTF-8 sequence at p (room of them may be read, at least 1), or 0. */
size_t json_utf8_length(const unsigned char *p, size_t room);
