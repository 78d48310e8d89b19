/*
 * Informer: a local, current copy of one resource, as projections, kept by list and watch.
 *
 * It lists (paged, or streamed by sendInitialEvents), then watches with bookmarks from the list's
 * resourceVersion; resumes where the last event left after a broken connection; lists again after
 * 410 and then reports the difference. The handler is told of every change after the cache shows
 * it; `old` or `new` is NULL for added and deleted objects. A handler only records what to do (adds
 * keys to a workqueue).
 *
 *     struct informer *pods = informer_new(client, &(struct informer_config){
 *         .group_version = "v1", .plural = "pods", .projection = &pod_projection,
 *         .handler = on_pod, .arg = c, .indexes = pod_indexes, .index_count = 2});
 *     informer_start(pods);
 *     if (!informer_wait_synced(pods, deadline_ns)) ...
 *
 * Ownership: objects returned by get and list are referenced for the caller (projected_unref,
 * projected_list_done). Threads: one task of its own runs list, watch and handler; readers are any
 * task.
 */
#pragma once

#include "common/api_client.h"
#include "common/projection.h"

struct informer;

typedef void informer_handler_fn(void *arg, const void *old_object, const void *new_object);

/* Calls emit(arg, key) for each key under which the object is found in this index. */
typedef void informer_emit_fn(void *arg, const char *key);
typedef void informer_index_fn(const void *object, informer_emit_fn *emit, void *arg);

struct informer_index {
    const char *name;
    informer_index_fn *keys;
};

struct informer_config {
    const char *group_version, *plural;
    const char *namespace_;     /* NULL: all */
    const char *label_selector; /* not encoded, or NULL */
    const char *field_selector;
    bool metadata_only; /* ask for PartialObjectMetadata: nothing but metadata can be projected */
    const struct projection *projection;
    informer_handler_fn *handler; /* or NULL */
    /* Called once, after the first complete list was reported; or NULL. */
    void (*on_synced)(void *arg);
    void *arg;
    const struct informer_index *indexes;
    size_t index_count;
};

struct projected_array {
    const void **objects;
    size_t count;
};

struct informer *informer_new(struct api_client *client, const struct informer_config *config);
void informer_start(struct informer *inf);
/* Ends the task: the handler runs no more, the copy stays readable. Before freeing informers that
 * read each other. */
void informer_stop(struct informer *inf);
void informer_free(struct informer *inf); /* stops first */
bool informer_synced(struct informer *inf);
bool informer_wait_synced(struct informer *inf, int64_t deadline_ns);
/* Waits until the copy has reached the resourceVersion of a write just made (read your own writes).
 */
bool informer_wait_version(struct informer *inf, const char *resource_version, int64_t deadline_ns);

const void *informer_get(
    struct informer *inf, const char *namespace_, const char *name); /* or NULL */
struct projected_array informer_list(
    struct informer *inf, const char *namespace_or_null); /* ordered by key */
struct projected_array informer_by_index(struct informer *inf, const char *index, const char *key);
size_t informer_count(struct informer *inf);
void projected_array_done(struct projected_array *array);
