/*
 * Rule table: the rules wanted now, by owner (a Service), and what changes when an owner's rules
 * change.
 *
 *     rule_table_set(t, "default/web", &rules, &changes);
 *     ruleset_apply(kernel, &changes, &err);
 *
 * Several owners may want the same rule (an endpoint address in hairpin): it stays until the last
 * one lets go. Where two owners want the same key with different values (two Services claim one
 * external IP) the first keeps it, which is said once; the second gets it when the first is gone
 * and it is set again.
 *
 * Threads: one at a time. Cost: about 120 bytes a rule.
 */
#pragma once

#include "proxy/rule.h"

struct rule_table;

struct rule_table *rule_table_new(void);
void rule_table_free(struct rule_table *t);

/* rules of the owner from now on (none: it is gone); the difference is appended to changes. */
void rule_table_set(struct rule_table *t, const char *owner, const struct rules *rules,
    struct rule_changes *changes);
/* What makes `present` (from a ruleset's load) equal to the table. */
void rule_table_diff(
    const struct rule_table *t, const struct rules *present, struct rule_changes *changes);
/* The value of a key, or NULL. */
const struct rule_value *rule_table_find(const struct rule_table *t, const struct rule_key *key);
size_t rule_table_count(const struct rule_table *t);
