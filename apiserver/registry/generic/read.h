/*
 * What list and watch share behind the fresh stage.
 */
#pragma once

#include "apiserver/registry/generic/options.h"

/* Parsed by read_fresh_stage for lists and watches: lives in q->read. */
struct read_state {
    struct list_options *options; /* NULL for get */
    struct fresh_wait *wait;
};
