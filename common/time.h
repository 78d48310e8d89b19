/*
 * Times as int64_t nanoseconds since the Unix epoch (UTC), and Go durations.
 *
 * The range is 1678 to 2261; time_parse() refuses what lies outside (Go's zero time, year 1,
 * included: JSON leaves it out or says null).
 */
#pragma once

#include "common/str.h"

#define NS_PER_US 1000ll
#define NS_PER_MS 1000000ll
#define NS_PER_S 1000000000ll

#define TIME_TEXT_BYTES 40

/* "2026-11-23T07:31:53Z" / "...53.123456Z" / "...53.123456789Z"; buf holds TIME_TEXT_BYTES. Return
 * buf. */
const char *time_print_s(int64_t ns, char *buf);
const char *time_print_us(int64_t ns, char *buf);
const char *time_print_ns(int64_t ns, char *buf);

/* RFC 3339, any offset and fraction. ERR_BAD_REQUEST with Go's text (parsing time "x" as ...). */
int time_parse(struct str text, int64_t *ret_ns, struct error *err);

/* Go's duration syntax: "1h30m", "250ms", "-1.5s", "0". */
int duration_parse(struct str text, int64_t *ret_ns, struct error *err);
void duration_print(int64_t ns, struct strbuf *out); /* Go's String(): "1h30m0s" */
void duration_print_human(
    int64_t ns, struct strbuf *out); /* kubectl's AGE: "5s", "3m12s", "7d4h" */

/* The calendar: days since the epoch of a date (months and days from 1), and back. */
int64_t time_days_from_civil(int64_t year, int month, int day);
void time_civil_from_days(int64_t days, int64_t *year, int *month, int *day);
