/*
 * Sets of fields: which parts of an object somebody owns, or a change touched.
 *
 * A set is a tree of path elements as in FieldsV1: 'f' a field or map key, 'k' a list element by
 * its keys (`{"name":"x"}`), 'v' one by its value, 'i' one by its index. A node that is a `member`
 * is itself in the set ("." or an empty object in the text), whatever is below it. Sets have no
 * order in what they mean, but siblings are kept in upstream's order, so that operations are merges
 * of two lists and equal sets print as equal bytes.
 *
 * Nodes are made in an arena and never changed once they are in a set: operations share what they
 * can. Names point into the tree, the schema or the text that the set was made from, which must
 * live as long. NULL is the empty set everywhere.
 *
 * Cost: parsing and printing about 3 us for the set of a pod; operations less.
 * Threads: those of the arena. Upstream: structured-merge-diff's fieldpath.Set.
 */
#pragma once

#include "common/arena.h"
#include "common/json.h"

struct field_set {
    struct str name;
    const struct field_set *child, *next;
    bool member;
    char kind; /* 'f', 'k', 'v', 'i' */
};

/* Text of FieldsV1. `trusted`: it was printed here before, and keys need not be put in order.
 * ERR_BAD_REQUEST for anything else. text must outlive the set. */
int field_set_parse(struct arena *a, struct str text, bool trusted, const struct field_set **ret,
    struct error *err);
void field_set_print(const struct field_set *s, struct strbuf *out); /* "{}" when empty */

const struct field_set *field_set_union(
    struct arena *a, const struct field_set *x, const struct field_set *y);
/* Members of x that are no members of y; what is below a member of y stays. */
const struct field_set *field_set_without(
    struct arena *a, const struct field_set *x, const struct field_set *y);
/* The same, and all that is below members of y goes too. */
const struct field_set *field_set_without_deep(
    struct arena *a, const struct field_set *x, const struct field_set *y);
const struct field_set *field_set_common(
    struct arena *a, const struct field_set *x, const struct field_set *y);

const struct field_set *field_set_find(const struct field_set *s, char kind, struct str name);
/* A set with one member at f:a, f:a.b, ... of a dotted path. */
const struct field_set *field_set_of_path(struct arena *a, const char *path);

/* Calls fn with each member as upstream prints paths: `.spec.containers[name="x"].image`. */
typedef void field_path_fn(void *arg, const char *path);
void field_set_each(const struct field_set *s, field_path_fn *fn, void *arg);
/* One element of such a path, appended. */
void path_element_print(char kind, struct str name, struct strbuf *out);

/* For builders: a new node in front of *list, which field_set_sort() later brings into order. */
void field_set_push(struct arena *a, const struct field_set **list, char kind, struct str name,
    bool member, const struct field_set *child);
void field_set_sort(const struct field_set **list);
int path_element_compare(char kind_a, struct str a, char kind_b, struct str b);
