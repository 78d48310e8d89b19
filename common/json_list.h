/*
 * A Kubernetes List taken apart item by item, so that never more than one item is a tree.
 *
 * A page of 1000 pods is 2 MB of text and would be 14 MB as a tree. Threads: none of its own.
 */
#pragma once

#include "common/json.h"

/* Returns 0, or an error that ends the walk. */
typedef int json_list_item_fn(void *arg, const cJSON *item, struct error *err);

/* Calls fn for each member of "items"; *ret_metadata (may be NULL at the end) is freed by the
 * caller. */
int json_list_walk(
    struct str text, json_list_item_fn *fn, void *arg, cJSON **ret_metadata, struct error *err);
