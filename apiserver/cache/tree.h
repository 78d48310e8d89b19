/*
 * One resource's objects, as a copy-on-write B+tree in key order, and the versions of it that are
 * still being read.
 *
 * The writer edits nodes of its own in place, copies published ones, and publishes the result as a
 * new root. Roots that readers hold form a chain, oldest to newest. What an edit replaces (nodes,
 * objects) goes to the dead list of the newest root that contains it; when a root is released its
 * dead items move to the next older root that contains them too, or are freed. So neither nodes nor
 * entries carry reference counts, copying a path touches no object, and an old snapshot keeps alive
 * only what it contains.
 *
 *     tree_put(t, object_ref(o)); tree_publish(t, version, &garbage); garbage_free(&garbage);
 *     struct root *r = tree_acquire(t); ... root_find(r, ns, name) ...; tree_release(t, r,
 * &garbage);
 *
 * Keys are (namespace, name), in the byte order of "namespace/name", as etcd has them.
 * Threads: put, remove, publish: one writer. acquire, release and publish: under a lock of the
 * caller's. Reading an acquired root: any task, no lock. Garbage is collected under the lock and
 * freed outside. Cost: 8 to 16 bytes an object; an edit copies about 2 KB at a million objects.
 */
#pragma once

#include "apiserver/cache/object.h"

struct tree;
struct root;
struct tree_node;

struct dead_item {
    void *item;
    int64_t birth;
    bool is_object;
};

struct garbage {
    struct dead_item *items;
    size_t count, capacity, bytes;
};
void garbage_free(struct garbage *g);

struct tree *tree_new(void);
void tree_free(struct tree *t); /* every root must have been released */

void tree_put(struct tree *t, struct object *o); /* takes the reference */
bool tree_remove(struct tree *t, struct str namespace_, struct str name);
const struct object *tree_find(
    const struct tree *t, struct str namespace_, struct str name); /* the writer's view */
/* Sorted by key, into an empty tree; takes the references. */
void tree_build(struct tree *t, struct object **objects, size_t count);
void tree_publish(struct tree *t, int64_t version, struct garbage *ret);
size_t tree_dead_bytes(const struct tree *t); /* kept alive for readers of old roots only */

struct root *tree_acquire(struct tree *t);
const struct root *tree_current(const struct tree *t);
void tree_ref_root(struct root *r); /* one more reference to a root that is held */
void tree_release(struct tree *t, struct root *r, struct garbage *ret);

int64_t root_version(const struct root *r);
const struct object *root_find(const struct root *r, struct str namespace_, struct str name);
size_t root_count(const struct root *r, struct str namespace_); /* empty: all */

#define TREE_DEPTH_MAX 12
struct tree_cursor {
    struct {
        const struct tree_node *node;
        unsigned index;
    } path[TREE_DEPTH_MAX];
    unsigned depth; /* 0: nowhere */
};
/* The first object behind (namespace, name), or NULL. */
const struct object *root_seek(
    const struct root *r, struct str namespace_, struct str name, struct tree_cursor *c);
const struct object *tree_cursor_next(struct tree_cursor *c);

int key_cmp(struct str namespace_a, struct str name_a, struct str namespace_b, struct str name_b);
