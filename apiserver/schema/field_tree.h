/*
 * Trees seen as sets of fields: what changed between two, what one says, merging one into another.
 *
 * All walkers see a tree as upstream's typed values do. A value is a leaf (scalars, atomic lists
 * and maps) or a container, whose elements have path names: members, map keys, elements of a list
 * by their keys or value. What the schema doesn't know is typed by what it holds: objects are maps,
 * all else is a leaf.
 *
 * Private to this folder. Threads: none of its own.
 * Upstream: structured-merge-diff's typed.Compare, ToFieldSet, Merge, RemoveItems.
 */
#pragma once

#include "apiserver/schema/field_set.h"
#include "apiserver/schema/model.h"

struct element {
    struct str name;
    cJSON *item;
    const struct field *type;
    char kind;
    bool named; /* a field of a struct: a set that holds something below it holds it too */
};
struct elements {
    struct element *p;
    size_t n;
};
bool is_container(const struct field *f, const cJSON *value);
/* The elements of a container as they come. A list element without a key counts without it. */
struct elements elements_of(struct arena *a, const struct field *f, const cJSON *container);
/* What a key that is left out counts as, or NULL. */
const cJSON *list_key_default(const struct field *list, const char *key);
void elements_sort(struct elements *e);

enum { DIFF_ADDED, DIFF_MODIFIED, DIFF_REMOVED, DIFF_KINDS };
struct field_diff {
    const struct field_set *set[DIFF_KINDS];
};
/* From a to b, both normalised. a NULL: b is created, as Go would see it against an empty object
 * (members that Go always writes are no change). Sets point into the trees. */
struct field_diff field_compare(
    struct arena *a, const struct schema *s, const cJSON *from, const cJSON *to);

/* The fields that a configuration names. Errors, one a line, ".spec.x: field not declared in
 * schema", are appended to errors. */
const struct field_set *field_set_of_tree(
    struct arena *a, const struct schema *s, const cJSON *tree, struct strbuf *errors);

/* Merges a configuration into tree, in place. */
void apply_merge(struct arena *a, const struct schema *s, cJSON *tree, const cJSON *config);
/* Takes out what is in `last` and owned by nobody (`owned` is the union of all sets). */
void apply_prune(struct arena *a, const struct schema *s, cJSON *tree, const struct field_set *last,
    const struct field_set *owned);

/* Equal for trees that field_compare(NULL, tree) gives the same names for. */
uint64_t field_shape_hash(uint64_t seed, const struct schema *s, const cJSON *tree);
