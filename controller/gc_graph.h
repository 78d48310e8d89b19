/*
 * The garbage collector's view of the owner graph: every listable kind, indexed by the uids of its
 * owners.
 *
 * It is not a graph in memory: nodes are the objects in the informers' caches (those the
 * controllers share, and metadata-only ones for the other kinds), edges their ownerReferences. Only
 * one thing is kept: the identities of owners that are known to be gone for good (a uid never comes
 * back), in a table of fixed size.
 *
 * Threads: any. A new kind (of a CustomResourceDefinition) is found by gc_graph_discover.
 */
#pragma once

#include "controller/controller.h"
#include "controller/discovery.h"

struct gc_graph;

struct gc_kind {
    struct resource resource;
    struct informer *informer;
    bool own;      /* ours, not a shared one */
    bool given_up; /* its first list does not come */
    struct gc_graph *graph;
};

/* A change of any object; kind is valid during the call. */
typedef void gc_event_fn(
    void *arg, struct gc_kind *kind, const void *old_object, const void *new_object);

/* Empty, and silent, until gc_graph_discover. */
struct gc_graph *gc_graph_new(struct controller *c, gc_event_fn *on_event, void *arg);
/* Ends its own informers' tasks; no worker may be in gc_graph_discover. */
void gc_graph_halt(struct gc_graph *g);
void gc_graph_free(struct gc_graph *g);
/* Tells the graph of a change in a shared informer. */
void gc_graph_shared_event(
    struct gc_graph *g, enum kind kind, const void *old_object, const void *new_object);
/* Starts the metadata-only informers; before that, only shared ones report. */
void gc_graph_start(struct gc_graph *g);
bool gc_graph_synced(struct gc_graph *g);
/* Reads discovery again: new kinds are watched, vanished ones dropped. */
int gc_graph_discover(struct gc_graph *g, struct error *err);

/* The kind of an ownerReference; any version of the group will do. false: unknown. */
bool gc_graph_kind_of(
    struct gc_graph *g, const char *api_version, const char *kind, struct resource *ret_copy);
void resource_copy_done(struct resource *copy);
/* The cached object of a kind, if it has this uid; NULL when it is not there. */
const struct object_meta *gc_graph_find(struct gc_graph *g, const char *group_version,
    const char *plural, const char *namespace_, const char *name, const char *uid);

typedef void gc_dependent_fn(
    void *arg, const struct resource *resource, const struct object_meta *meta);
/* Calls fn for each object that has an owner with this uid; the number of them. */
size_t gc_graph_dependents(struct gc_graph *g, const char *uid, gc_dependent_fn *fn, void *arg);

void gc_graph_set_absent(struct gc_graph *g, const char *namespace_, const char *uid);
bool gc_graph_is_absent(struct gc_graph *g, const char *namespace_, const char *uid);
