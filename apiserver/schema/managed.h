/*
 * The inside of managedFields, shared by managed_fields.c (entries, updates) and managed_apply.c.
 * Private to this folder.
 */
#pragma once

#include "apiserver/schema/field_tree.h"
#include "apiserver/schema/managed_fields.h"

struct managed_entry {
    struct str manager, api_version, subresource;
    struct str time; /* RFC 3339 in UTC, seconds; empty: none */
    struct str text; /* of the set; empty when only `set` is right */
    const struct field_set *set;
    bool parsed; /* set is valid */
    bool applied;
};

struct managed {
    struct arena *arena;
    struct managed_entry *entries;
    size_t count, capacity;
    /* of an apply, between managed_merge and managed_own */
    const struct field_set *applied;
    const cJSON *config;
};

struct managed_entry *managed_add(struct managed *m);
void managed_remove(struct managed *m, size_t i);
struct managed_entry *managed_find(struct managed *m, const struct managed_entry *like);
struct managed_entry managed_identity(
    struct managed *m, const struct managed_writer *w, bool applied);
/* The set of an entry, parsed when it was not yet. */
const struct field_set *managed_set(struct managed *m, struct managed_entry *e);
void managed_replace(struct managed_entry *e, const struct field_set *set);
/* Without what is nobody's, or not of this path (status in writes of the object itself). */
const struct field_set *managed_strip(
    struct managed *m, const struct managed_writer *w, const struct field_set *set);
void managed_create(
    struct managed *m, const struct managed_writer *w, struct field_memo *memo, const cJSON *tree);
void managed_print_entry(struct managed *m, struct managed_entry *e, struct strbuf *out);

/* What a write changed, in each version that an entry speaks. */
struct managed_version {
    const struct resource *resource;
    struct field_diff diff;
    const struct field_set *touched; /* added or modified */
};
struct managed_changes {
    struct arena *arena;
    const struct managed_writer *writer;
    const cJSON *old, *tree;
    struct managed_version versions[4];
    size_t count;
};
/* versions[0] is the writer's. */
void managed_changes_init(struct managed_changes *c, struct arena *a,
    const struct managed_writer *w, const cJSON *old, const cJSON *tree);
/* NULL: the version is not served (any more). */
const struct managed_version *managed_changes_in(struct managed_changes *c, struct str api_version);
void managed_take(struct managed *m, struct managed_changes *c, const struct managed_entry *but);
