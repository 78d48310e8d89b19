/*
 * Events: what a component tells users about an object ("kubectl describe", "kubectl get events").
 *
 *     struct events *events = events_new(client, "kubelet", node_name);
 *     events_emit(events, &(struct event_ref){.api_version = "v1", .kind = "Pod", .namespace_ =
 * "default", .name = "web-0", .uid = uid, .field_path = "spec.containers{web}"}, EVENT_NORMAL,
 * "Pulled", "Container image \"%s\" already present on machine", image);
 *
 * events_emit copies and returns at once; a task of its own writes core/v1 Events. The queue is
 * bounded: when it is full the event is dropped and counted. As upstream's recorder does: the same
 * event again raises `count` and `lastTimestamp` of the first one; more than 10 events in 10
 * minutes about one object that differ in the message alone become one "(combined from similar
 * events): ..."; and one object gets at most 25 events at once, then one every 5 minutes.
 *
 * Threads: any. Ownership: borrows the client, which must outlive it. Cost: about 300 bytes a
 * queued event and 60 bytes for each of the last 1,024 distinct ones. Upstream: client-go
 * tools/record.
 */
#pragma once

#include "common/api_client.h"

struct events;

#define EVENT_NORMAL "Normal"
#define EVENT_WARNING "Warning"

struct event_ref {
    const char *api_version, *kind;
    const char *namespace_; /* NULL or "" for cluster-scoped objects: the event goes to "default" */
    const char *name, *uid;
    const char *resource_version; /* or NULL */
    const char *field_path;       /* or NULL */
    const char *component;        /* or NULL: the recorder's */
};

/* host: the node's name, or NULL. */
struct events *events_new(struct api_client *client, const char *component, const char *host);
void events_free(
    struct events *events); /* writes what is queued for at most a second; NULL is fine */

/* events may be NULL: nothing happens. Messages above 1,024 bytes are cut. */
void events_emit(struct events *events, const struct event_ref *ref, const char *type,
    const char *reason, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Waits until everything emitted so far was written or given up; false at the deadline. */
bool events_flush(struct events *events, int64_t deadline_ns);
