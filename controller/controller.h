/*
 * What a controller is, and what it may use.
 *
 * A controller is one file with one `const struct controller_info`, listed in controllers.def:
 * which kinds it watches, how an event maps to keys of its queue, and reconcile(key), which looks
 * at the informers, writes through the API and remembers nothing. Keys are "namespace/name", or
 * "name" for cluster-scoped objects.
 *
 *     static void on_pod(struct controller *c, const void *old_object, const void *new_object)
 *     {
 *         controller_add_owner(c, KIND_REPLICA_SET, new_object ? new_object : old_object);
 *     }
 *
 * Reading: kind_get, kind_list and kind_by give referenced, immutable objects (auto_object,
 * auto_objects drop them at the end of the scope). Writing: object_patch puts the uid and
 * resourceVersion that was decided on into the patch and returns when the informer shows the
 * result; after a create or delete call kind_wait_version or kind_wait_gone before deciding again.
 *
 * Threads: reconcile runs on the queue's workers, never twice for one key at a time; event
 * functions run on the informers' tasks and only add keys.
 */
#pragma once

#include "common/events.h"
#include "common/workqueue.h"
#include "controller/kinds.h"

struct manager;
struct controller;
struct manager_config;

typedef void controller_event_fn(
    struct controller *c, const void *old_object, const void *new_object);

struct controller_watch {
    enum kind kind;
    controller_event_fn *on_event; /* NULL: the informer is needed, its events are not */
};

#define CONTROLLER_WATCHES_MAX 10

struct controller_info {
    const char *name;      /* upstream's, as --controllers takes it */
    const char *component; /* the events' source */
    int workers;
    size_t watch_count;
    struct controller_watch watches[CONTROLLER_WATCHES_MAX];
    int (*reconcile)(
        struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err);
    /* Optional. Whether the configuration gives it what it needs; start (before the informers run)
     * makes c->state; synced runs when all informers have their first list; halt ends tasks of its
     * own; stop, when no task runs any more, frees the state. */
    bool (*wanted)(const struct manager_config *config);
    int (*start)(struct controller *c, struct error *err);
    void (*synced)(struct controller *c);
    void (*halt)(struct controller *c);
    void (*stop)(struct controller *c);
};

struct controller {
    const struct controller_info *info;
    struct manager *m;
    struct workqueue *queue;
    void *state;
};

extern const struct controller_info *const controllers[];
extern const size_t controller_count;

/* --- reading --- */

void cleanup_object(const void *object);
void cleanup_objects(struct projected_array *array);
#define auto_object __attribute__((cleanup(cleanup_object)))
#define auto_objects __attribute__((cleanup(cleanup_objects)))

const void *kind_get(struct manager *m, enum kind kind, const char *namespace_, const char *name);
const void *kind_get_key(struct manager *m, enum kind kind, const char *key);
/* By name, if it still has this uid; else NULL. */
const void *kind_get_uid(
    struct manager *m, enum kind kind, const char *namespace_, const char *name, const char *uid);
struct projected_array kind_list(struct manager *m, enum kind kind, const char *namespace_or_null);
struct projected_array kind_by(
    struct manager *m, enum kind kind, const char *index, const char *key);
struct projected_array kind_by_path(
    struct manager *m, enum kind kind, const char *index, const char *namespace_, const char *name);

/* Waits until the informer has seen a write: by its resourceVersion, or until none of the objects
 * is there undeleted. */
int kind_wait_version(
    struct manager *m, enum kind kind, const char *resource_version, struct error *err);
int kind_wait_gone(struct manager *m, enum kind kind, const struct object_meta *const *metas,
    size_t count, struct error *err);

/* --- queueing --- */

void controller_add(struct controller *c, const struct object_meta *meta);
void controller_add_after(struct controller *c, const struct object_meta *meta, int64_t delay_ns);
/* Adds the object's controller when it is of this kind. */
void controller_add_owner(struct controller *c, enum kind kind, const void *object);
/* As event functions: the object itself. */
controller_event_fn controller_on_object;

#define KEY_BYTES 330
struct key {
    char namespace_[64];
    char name[254];
};
struct key key_split(const char *key);
void key_print(const struct object_meta *meta, char *buf); /* KEY_BYTES */

/* --- writing --- */

struct api_ref object_api_ref(
    enum kind kind, const struct object_meta *meta, const char *subresource);
/* Merge patch of one version of one object (adds uid and resourceVersion to it), then waits for the
 * informer. A conflict is an error: the reconcile runs again on newer facts. */
int object_patch(struct manager *m, enum kind kind, const struct object_meta *meta,
    const char *subresource, cJSON *take_patch, struct error *err);
/* Deletes this very object (uid precondition). Absent or another uid is success. */
int object_delete(struct manager *m, enum kind kind, const struct object_meta *meta,
    const char *propagation, struct error *err);
/* An ownerReference that makes `owner` the controller. */
cJSON *controller_ref_json(enum kind kind, const struct object_meta *owner);
bool is_controlled_by(const struct object_meta *object, const struct object_meta *owner);
bool is_terminating_namespace(const struct error *err); /* a create was refused for this reason */

void controller_event(struct controller *c, enum kind kind, const struct object_meta *meta,
    const char *type, const char *reason, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* --- the manager --- */

struct env *manager_env(struct manager *m);
struct api_client *manager_client(struct manager *m);
const struct manager_config *manager_config(struct manager *m);
bool manager_has(struct manager *m, enum kind kind); /* whether an informer of this kind runs */
struct informer *manager_informer(struct manager *m, enum kind kind);
/* Events of all informers there are, with their kind; from a controller's start, and it must be the
 * last one. */
typedef void controller_kind_event_fn(
    struct controller *c, enum kind kind, const void *old_object, const void *new_object);
void manager_listen_all(struct controller *c, controller_kind_event_fn *on_event);
