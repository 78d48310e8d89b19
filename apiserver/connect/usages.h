/*
 * What all nodes use: asked of the kubelets when somebody wants to know, and shared by all who ask
 * within a few seconds.
 *
 * A *round* asks every node at once (some at a time) on tasks of its own; requests wait for its
 * end. Rates need two pages of a node: the one of the last round, when it is no older than two
 * minutes, else a second one is fetched after a second. A node that does not answer in time is left
 * out. Nothing is asked while nobody wants to know.
 *
 * Threads: any. Upstream: metrics-server.
 */
#pragma once

#include "apiserver/connect/scrape.h"
#include "apiserver/request/request.h"

struct usages;

struct node_usage {
    char *name;
    struct scrape *before, *now; /* both there, referenced */
};

struct usage_table {
    int references;
    int64_t made_ns;          /* monotonic */
    struct node_usage *nodes; /* sorted by name */
    size_t count;
};

/* Of the API server; NULL: it was started without a certificate for the kubelets. */
struct usages *usages_of(struct server *server);
struct usages *usages_new(struct server *server);
void usages_free(struct usages *u); /* NULL is fine; cancels a round */
/* The newest table, referenced, or NULL: a round is under way, the request will be woken. */
struct usage_table *usages_get(struct usages *u, struct request *q);
void usage_table_unref(struct usage_table *t);
const struct node_usage *usage_table_node(const struct usage_table *t, struct str name);

/* Nano-cores between two looks at a counter, or since the start of a container; -1: not known yet.
 * ret_window_ns: how long that was. */
int64_t usage_rate(const struct container_sample *before, const struct container_sample *now,
    int64_t *ret_window_ns);
