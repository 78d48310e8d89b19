/*
 * The definitions that there are: what each was compiled to, and the api made of all of them.
 *
 * The cache calls definitions_define() for every change of a CustomResourceDefinition, in the order
 * of the store and before anybody can see it. A definition is compiled when its spec or its
 * accepted names change; it is served while its condition Established is True. The api for requests
 * is made when the first one asks for it after a change.
 *
 * Ownership: an entry holds its custom, an api holds the customs that it serves; both are let go
 * when replaced and stay as long as requests or objects need them. Threads: any; one lock, held for
 * compares and pointer swaps (and, once a change, to sort the resources). Compiling runs on the
 * caller's task, the store's: some ms for a very big definition.
 */
#pragma once

#include "apiserver/schema/schema.h"
#include "common/env.h"

struct definitions;
struct object;
struct strategy;

struct definitions *definitions_new(
    struct env *env, const struct api *built_in, const struct strategy *strategy);
void definitions_free(struct definitions *d);

/* As struct cache_config wants it: arg is the struct definitions. */
const struct resource *definitions_define(
    void *arg, struct str name, const struct object *definition, int id, void *kind);

/* Everything that is served now; the caller has a reference. */
struct api *definitions_api(struct definitions *d);
/* The storage resource of a definition, served or not; referenced (resource_drop), or NULL. */
const struct resource *definitions_storage(struct definitions *d, const char *name);
