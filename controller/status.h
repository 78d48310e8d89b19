/*
 * Status writing: the difference between what stands there and what should, as a merge patch.
 */
#pragma once

#include "controller/controller.h"

/* The merge patch that makes `now` of `old` (NULL counts as {}); NULL when they are equal. Lists
 * are replaced whole. */
cJSON *merge_diff(const cJSON *old, const cJSON *now);

/* Sets a number, or leaves the member out when it is 0, as the server's normal form does. */
void status_set_count(cJSON *status, const char *name, int64_t value);

/* Parses a projection's JSON text; {} for NULL. */
cJSON *json_of_text(const char *text);

/* Writes `now` in place of the status that stands in `old` where they differ. 0 also when nothing
 * differs. */
int object_status_write(struct manager *m, enum kind kind, const struct object_meta *meta,
    const char *old, const cJSON *now, struct error *err);
