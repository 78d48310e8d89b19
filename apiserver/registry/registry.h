/*
 * Strategies: the rules of a kind that data (the .api files) can't express. One file and one const
 * descriptor a kind.
 *
 * Hooks are called in this order on create and update, on the decoded and defaulted tree; each may
 * be NULL: prepare (clear what clients may not set, compute what the server sets) -> admission ->
 * validate -> begin (extra store writes) A hook reads other objects only through the cache. It
 * never blocks.
 */
#pragma once

#include "apiserver/cache/cache.h"
#include "apiserver/request/request.h"

enum write_kind { WRITE_CREATE, WRITE_UPDATE, WRITE_STATUS, WRITE_SUBRESOURCE, WRITE_DELETE };

struct write_context {
    struct request *request; /* NULL for the server's own writes */
    struct server *server;
    struct cache *cache;
    const struct resource *resource;
    enum write_kind kind;
    cJSON *tree;      /* being written (NULL for deletes) */
    const cJSON *old; /* stored version, or NULL */
    struct arena *arena;
    int64_t now_ns; /* wall clock */
    bool dry_run;
};

/* Two addresses and the ports of a big Service; a group must fit one transaction. */
#define EXTRA_WRITES_MAX 40

/* Writes besides the object's own, committed with it or not at all (a Service's IPAddress). */
struct extra_writes {
    struct write_op ops[EXTRA_WRITES_MAX];
    size_t count;
};

struct strategy {
    const char *group, *plural;
    void (*prepare)(struct write_context *w);
    int (*admit)(
        struct write_context *w, struct error *err); /* kind-specific refusals that are no 422 */
    void (*validate)(const struct write_context *w, struct field_errors *errors);
    /* Called right before submitting, again on each conflict; may still change the tree
     * (allocations). */
    int (*begin)(struct write_context *w, struct extra_writes *extra, struct error *err);
    /* How long a deletion waits: seconds for graceful kinds (pods), -1 for at once. */
    int64_t (*grace_seconds)(const struct write_context *w, int64_t asked /* -1: not given */);
    /* A deletion: may add the finalizers that hold it back. */
    void (*hold_back)(const struct write_context *w, cJSON *tree);
    /* A subresource that is no plain object write (binding, eviction, scale, token, log...); NULL:
     * generic ones only. */
    const struct subresource_handler *subresources;
    size_t subresource_count;
    /* create of a kind that is answered, not stored (TokenReview...). */
    stage_fn *answer;
    /* get and list of a kind that is made up when asked for (metrics); JSON only. */
    stage_fn *show;
};

struct subresource_handler {
    const char *name;
    stage_fn *run;
};

extern const struct strategy strategy_custom; /* every custom kind's */
extern const struct strategy *const strategies[];
extern const size_t strategy_count;
