/*
 * A node's usage as its kubelet's page /metrics/resource tells it, at one moment.
 *
 * The page is bytes from outside: what is no figure of ours is passed over, what is too long or too
 * much is refused. Immutable once parsed, counted. Threads: any.
 */
#pragma once

#include "common/str.h"

struct container_sample {
    const char *namespace_, *pod, *container;
    int64_t cpu_ns, memory_bytes; /* -1: unknown */
    int64_t time_ns, started_ns;  /* wall clock */
};

struct scrape {
    int references;
    int64_t cpu_ns, memory_bytes; /* of the node; -1: unknown */
    int64_t time_ns;
    struct container_sample *containers; /* sorted by namespace, pod, container */
    size_t count;
    char *strings;
};

/* now_ns: of figures without a time stamp. ERR_BAD_REQUEST: no such page. */
int scrape_parse(struct str text, int64_t now_ns, struct scrape **ret, struct error *err);
struct scrape *scrape_ref(struct scrape *s);
void scrape_unref(struct scrape *s); /* NULL is fine */
/* The containers of a pod: the first, and how many. */
const struct container_sample *scrape_pod(
    const struct scrape *s, struct str namespace_, struct str pod, size_t *ret_count);
