/*
 * What follows from a definition after it was written: its names are accepted or not, it is
 * established, and when it is deleted its objects go first.
 *
 * One task looks at each definition that changes and writes its status through the pipeline; the
 * write is a change again, so the steps follow each other: NamesAccepted, then Established; or
 * Terminating, objects deleted and gone, finalizer taken away. Several API servers may do the same
 * at once: who loses a race sees the winner's change and looks again. Conditions of others are
 * kept.
 *
 * Upstream: apiextensions-apiserver's controllers status (names), establish and finalizer.
 */
#pragma once

#include "common/json.h"

struct definitions_controller;
struct server;

struct definitions_controller *definitions_controller_new(struct server *server);
void definitions_controller_free(
    struct definitions_controller *c); /* NULL is fine; waits for the task */

#define CLEANUP_FINALIZER "customresourcecleanup.apiextensions.k8s.io"
/* Sets a condition of a definition; true: something changed. now: RFC 3339. */
bool definition_set_condition(cJSON *definition, const char *type, const char *status,
    const char *reason, const char *message, const char *now);
