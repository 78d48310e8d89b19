/*
 * For the tests of objects, stores and the cache: four small resources, objects of them, writes
 * that block, and a shared store in memory that completes when it is told to.
 */
#pragma once

#include "apiserver/cache/cache.h"

extern const struct resource res_pods, res_config_maps, res_leases, res_events;
extern const struct resource *const test_resources[4];

/* {"metadata":{"namespace":ns,"name":name,"uid":..,"labels":{"app":label}},"data":{"n":"<number>"}};
 * for pods also spec.nodeName = node. label, node: NULL leaves them out. */
struct object *test_object(const struct resource *r, const char *ns, const char *name,
    const char *label, const char *node, int64_t number);
int64_t test_number(const struct object *o); /* what was given as number */

struct cache *test_cache(struct env *env, struct store *store);
/* Blocking; returns the result and, where ret is given, op.result (referenced). */
int test_write(struct env *env, struct cache *cache, const struct resource *r, struct object *base,
    struct object *next, bool soft, struct object **ret);
/* Creates or replaces; conflicts are tried again. Returns the version. */
int64_t test_put(struct env *env, struct cache *cache, const struct resource *r, const char *ns,
    const char *name, const char *label, const char *node, int64_t number);
int64_t test_delete(struct env *env, struct cache *cache, const struct resource *r, const char *ns,
    const char *name);

char *test_dir(void);          /* a new folder below /tmp; freed by test_dir_done */
void test_dir_done(char *dir); /* removes it */

/* Blocking commit of one op straight at a store. */
int test_commit(struct env *env, struct store *s, const char *key, int64_t expected,
    const char *value /* NULL: remove */, bool soft, int64_t *ret_version, struct error *err);

/* A store that several writers share, in memory. Commits complete on its own task after `delay_ns`
 * at most. */
struct store *fake_store_new(struct env *env, int64_t delay_ns);
/* A change by somebody else; value NULL removes. */
int64_t fake_store_change(struct store *s, const char *key, struct str value, bool remove);
void fake_store_lose_watch(struct store *s);

/* Writers, watchers and readers at random on caches of one shared store (cache_random_test.c).
 * steps: writes a writer. */
void cache_random_run(struct env *env, struct cache **caches, int count, int steps);
