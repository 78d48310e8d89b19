/*
 * Syncer: the rules wanted, and the steps that make a ruleset equal to them. No API, no tasks:
 * tests drive it.
 *
 *     syncer_set(s, "default/web", service, slices, n);   // or NULL, when it is gone
 *     syncer_apply(s, &err);
 *
 * Threads: one at a time. Owns the ruleset.
 */
#pragma once

#include "proxy/compile.h"
#include "proxy/rule_table.h"
#include "proxy/ruleset.h"

struct syncer {
    struct ruleset *ruleset;
    struct rule_table *table;
    struct rule_changes changes; /* not yet applied */
    char *node;
    bool known; /* the ruleset's content is what we think it is */
};

struct syncer *syncer_new(struct ruleset *take_ruleset, const char *node);
void syncer_free(struct syncer *s);
/* service NULL: it has no rules from now on. */
void syncer_set(struct syncer *s, const char *key, const struct service *service,
    const struct endpoint_slice *const *slices, size_t slice_count);
/* *ret_changes (may be NULL) gets the number of elements changed. After an error call it again. */
int syncer_apply(struct syncer *s, size_t *ret_changes, struct error *err);
/* Looks whether the ruleset is still there; if not the next apply makes it anew. False: it was
 * gone. */
bool syncer_check(struct syncer *s);
