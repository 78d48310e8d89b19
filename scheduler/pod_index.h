/*
 * Pod index: which pods match which selectors, counted by row.
 *
 *     pod class   all pods of one namespace with the same labels (and terminating or not)
 *     matcher     "pods in these namespaces with these labels", interned; counts matching pods
 *                 by row
 *     group       who says it: pods on rows that have a term (required anti-affinity, preferred
 *                 affinity of weight 5 ...) with this matcher and topology key, by row
 *
 * Pods of a class match the same matchers, so that list is made once a class. A new matcher looks
 * only at classes that share the label its selector insists on, a new class only at matchers that
 * insist on one of its labels; those that insist on none are few.
 *
 * The counters of a rule are thereby changed by each pod that comes to a row or leaves it, and
 * rebuilt for a namespace whose labels changed. pod_index_check compares with a rebuild.
 *
 * Ownership: classes and matchers are counted by the pod infos that use them. Threads: the
 * scheduler's loop only. Upstream has no counterpart: it recounts for each pod.
 */
#pragma once

#include "common/hash.h"
#include "common/selector.h"

#include "scheduler/objects.h"
#include "scheduler/row_counts.h"

struct pod_info;
struct pod_index;

enum term_kind { TERM_ANTI_AFFINITY, TERM_AFFINITY, TERM_PREFERRED };

struct term_group {
    struct term_group *next;
    struct matcher *matcher;
    enum term_kind kind;
    char *topology_key;
    int64_t weight; /* of TERM_PREFERRED; negative: anti-affinity */
    uint32_t references;
    struct row_counts owners; /* pods with this term, by row */
};

/* One part of a matcher: pods in a set of namespaces with a set of labels. */
struct matcher_part {
    char **namespaces; /* sorted */
    size_t namespace_count;
    struct selector *in_namespaces_like; /* or NULL */
    struct selector *selector;
};

struct matcher {
    char *text;                 /* canonical */
    struct matcher_part *parts; /* a pod must match all */
    size_t part_count;
    bool not_terminating; /* pods being deleted do not match */
    uint32_t references;
    struct row_counts matched;
    struct term_group *groups;
    struct label_anchor *anchor; /* NULL: in the list of those that insist on no label */
    struct matcher *next, *previous;
    UT_hash_handle hh;
};

struct pod_class {
    char *key;
    size_t key_length;
    const char *namespace_;
    struct string_pair *labels; /* in key order; lie in key */
    size_t label_count;
    bool terminating;
    uint32_t references;
    struct pod_info *members; /* those on rows */
    struct matcher **matched;
    size_t matched_count, matched_capacity;
    UT_hash_handle hh;
};

struct pod_index *pod_index_new(void);
void pod_index_free(struct pod_index *index);

struct pod_class *pod_class_get(struct pod_index *index, const struct object_meta *meta);
void pod_class_put(struct pod_index *index, struct pod_class *class_);

/* A matcher being described. */
struct matcher_plan {
    struct matcher_part *parts; /* on the heap */
    size_t part_count;
    bool not_terminating;
};
/* A selector as struct label_selector says, with the values of keys among the pod's own labels
 * added (NULL lists: none). One that does not parse matches nothing. */
struct selector *pod_selector_new(const struct label_selector *from,
    const struct string_map *labels, const struct string_list *keys,
    const struct string_list *mismatch_keys);
/* Takes the parts over. */
struct matcher *matcher_get(struct pod_index *index, const struct matcher_plan *take);
struct matcher *matcher_ref(struct matcher *matcher);
void matcher_put(struct pod_index *index, struct matcher *matcher);
bool matcher_has(const struct matcher *matcher, const struct pod_class *class_);

struct term_group *term_group_get(
    struct matcher *matcher, enum term_kind kind, const char *topology_key, int64_t weight);
void term_group_put(struct term_group *group);

/* The pod has come to its row, or is about to leave it. */
void pod_index_add(struct pod_index *index, struct pod_info *pod);
void pod_index_remove(struct pod_index *index, struct pod_info *pod);

/* labels: NULL when the namespace is gone. True when a counter may have changed. */
bool pod_index_set_namespace(
    struct pod_index *index, const char *name, const struct string_map *labels);

/* Recounts everything and compares; false, with a reason, when they differ. */
bool pod_index_check(const struct pod_index *index, struct strbuf *why);
