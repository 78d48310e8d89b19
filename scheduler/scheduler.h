/*
 * Scheduler: follows pods and nodes, decides, and has the decisions written.
 *
 *     informers --changes--> inbox --> node table, queue --> scheduler_decide --> writer --> API
 *                              ^------------- outcome of binds -----------------------'
 *
 * One loop owns node table, queue and pod map and takes no lock on them; informers and the writer
 * only put changes into its inbox. A chosen pod is assumed on its node at once, confirmed when the
 * informer shows it there, and forgotten when its bind fails.
 *
 * Invariants: a pod is counted on at most one row; a pod that waits is on no row; nothing is
 * decided before the first complete lists of nodes and pods.
 *
 * Threads: new, start, free from one task; scheduler_synced from any. Borrows client, events,
 * metrics.
 */
#pragma once

#include "common/api_client.h"
#include "common/events.h"
#include "common/metrics.h"
#include "scheduler/config.h"

struct scheduler;

#define SCHEDULER_NAME "default-scheduler"

/* config is borrowed. */
struct scheduler *scheduler_new(struct api_client *client, struct events *events,
    struct metrics *metrics, const struct config *config);
void scheduler_start(struct scheduler *s);
void scheduler_free(struct scheduler *s); /* stops first; a bind in flight is finished */
bool scheduler_synced(struct scheduler *s);
