/*
 * Printed sets of fields by the shape of the object they were made from: objects that are alike
 * (the pods of a deployment) own the same fields, whose names are then printed once.
 *
 * A table of a fixed number of texts; a new one takes the place of whatever had its slot.
 * Threads: any.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

struct field_memo;

struct field_memo *field_memo_new(struct env *env);
void field_memo_free(struct field_memo *m);
uint64_t field_memo_seed(const struct field_memo *m); /* of hashes, unknown to clients */
bool field_memo_get(struct field_memo *m, uint64_t hash, struct strbuf *out);
void field_memo_put(struct field_memo *m, uint64_t hash, struct str text);
