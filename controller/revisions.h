/*
 * ControllerRevisions: the history of the pod templates of a StatefulSet or DaemonSet.
 *
 * A revision's data is the patch that brings a template back: {"spec": {"template": {..., "$patch":
 * "replace"}}}. An older revision that equals the present template gets the next number instead of
 * a copy (rollback).
 */
#pragma once

#include "controller/controller.h"

#define REVISION_HASH "controller-revision-hash"

struct history {
    struct projected_array all;    /* struct revision, by number, oldest first; referenced */
    const struct revision *update; /* the one of the present template; one of `all` */
    int64_t collisions;            /* the owner's collisionCount, perhaps raised */
};

/* Claims the owner's revisions and finds, renumbers or makes the one of `template`. labels: those
 * of the template. */
int history_load(struct controller *c, enum kind kind, const struct object_meta *owner,
    const char *selector, const char *template, const struct opt_int *collisions,
    struct history *ret, struct error *err);
void revisions_done(struct history *h);
const struct revision *history_find(const struct history *h, const char *name); /* or NULL */

/* The pod template in a revision. */
cJSON *revision_template(const struct revision *r);
/* The hash part of its name, as DaemonSets put it on pods. */
const char *revision_hash(const struct revision *r);

/* Deletes the oldest revisions beyond limit that is_live(arg, revision) does not keep. */
typedef bool revision_live_fn(void *arg, const struct revision *r);
int history_truncate(struct controller *c, struct history *h, const struct opt_int *limit,
    revision_live_fn *is_live, void *arg, struct error *err);
