/*
 * Time zones by their IANA names, read from the system's database (/usr/share/zoneinfo).
 *
 * Only offsets: what clocks on the wall show is UTC plus timezone_offset(). Immutable after
 * loading; threads: any. Format: RFC 8536 (TZif), version 2 and above, with the rule in its footer
 * for the time after the last transition.
 */
#pragma once

#include "common/str.h"

struct timezone;

/* ERR_NOT_FOUND "unknown time zone X"; also for names that leave the folder. */
int timezone_load(const char *name, struct timezone **ret, struct error *err);
/* The same from the bytes of a file. */
int timezone_parse(struct str bytes, struct timezone **ret, struct error *err);
void timezone_free(struct timezone *zone);
/* Seconds east of UTC at a time in seconds since the epoch. zone NULL is UTC. */
int64_t timezone_offset(const struct timezone *zone, int64_t utc_s);
