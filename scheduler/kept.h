/*
 * Kept results: what the row-local plugins said of a kind of pod, brought up to date row by row.
 *
 * Pods of one template come in a row. For the last kinds of pods the decider keeps which rows the
 * row-local filters leave and what the row-local scores give, with the version of the node table
 * they belong to; for the next pod of the kind only the rows that have changed since are looked at
 * again.
 *
 * Two pods are of a kind when everything those plugins read is equal: pod_kind_print writes exactly
 * that. Pods with persistent volumes or disks are of no kind.
 *
 * Threads: one decider's. Cost: 4 bytes a row and score that is not the same everywhere.
 */
#pragma once

#include "scheduler/plugin.h"

struct kept {
    struct strbuf kind;
    uint64_t version; /* of the node table */
    uint32_t capacity;
    uint64_t used; /* when last, to choose the one to forget */
    struct node_set fits;
    uint64_t refused_by;
    int32_t *base;             /* weighted sum of the scores that need no normalizing */
    int32_t *raw[PLUGINS_MAX]; /* scores to be normalized; NULL: nothing to say */
};

#define KEPT_KINDS 4

/* False: of no kind. */
bool pod_kind_print(const struct pod_info *pod, struct strbuf *out);
void kept_done(struct kept *k);
/* For a table of this capacity, with nothing known. */
void kept_reset(struct kept *k, uint32_t capacity);
/* The rows that have changed since k's version; false: too many to tell. */
bool kept_stale_rows(const struct kept *k, const struct node_table *nodes, struct node_set *ret);
