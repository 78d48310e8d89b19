/*
 * Subresources through which a whole object comes in and one part of it counts
 * (ephemeralcontainers, resize, approval).
 *
 * The request's own change (replace or patch) makes the object that the client wants; the part
 * function then copies what counts from there into a copy of what is stored.
 */
#pragma once

#include "apiserver/registry/generic/change.h"

typedef void part_fn(cJSON *tree, const cJSON *sent);

/* For a change_fn of one line. */
int change_part(struct write_context *w, struct object_write *o, part_fn *part, struct error *err);
/* For a subresource handler: the write goes on with `change`. */
enum stage_result run_part(struct request *q, change_fn *change);
