/*
 * Inside of the selector modules: how the parsers put a selector together.
 */
#pragma once

#include "common/selector.h"

/* The new term; valid until the next one is added. */
struct requirement *selector_add_term(struct selector *s, struct str key, enum selector_op op);
void requirement_add_value(struct requirement *t, struct str value);
/* Upstream's checks of key, number of values and values. */
int requirement_check(const struct requirement *t, struct error *err);
/* Sorts values (dropping repeats) and terms. */
void selector_finish(struct selector *s);
