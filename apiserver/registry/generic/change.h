/*
 * The generic change functions, and the parts of a write that deletions share.
 */
#pragma once

#include "apiserver/registry/generic/generic.h"

change_fn change_create;  /* the body, with what the server sets */
change_fn change_replace; /* the body in place of what is stored */
change_fn change_patch;   /* what is stored, patched */

/* --- managedFields (managed.c, apply.c) --- */
change_fn change_apply; /* server-side apply of o->patch */
/* The same of another configuration (scale's); takes the patch's preconditions as checked. */
int apply_config(
    struct write_context *w, struct object_write *o, const cJSON *config, struct error *err);
enum stage_result decode_apply(struct request *q, struct object_write *o);
/* Who owns what in w->tree (defaulted, in the client's version); takes its managedFields out. */
void write_track(struct object_write *o);
/* Puts the list back, at the end of all changes. */
void write_put_managed(const struct object_write *o, cJSON *tree);
/* next says the same as base, but for times in managedFields. */
bool write_is_noop(const struct object_write *o);
struct managed_writer;
struct managed_writer write_writer(const struct object_write *o);
/* What is checked and kept of an update, with w->tree made. */
int finish_update(struct object_write *o, struct write_context *w, struct error *err);

struct object_write *write_new(struct request *q);
/* Forgets base, trees and next of the last round. */
void write_release_round(struct object_write *o);
/* Puts the patch of o on *tree; the errors are upstream's, some as q->error_status. */
int patch_tree(
    struct object_write *o, const struct schema *schema, cJSON **tree, struct error *err);
/* "Operation cannot be fulfilled on pods "x": ..." as q's error, 409. */
int conflict_error(struct request *q, const struct resource *r, const char *name, struct error *err,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
#define MODIFIED_TEXT \
    "the object has been modified; please apply your changes to the latest version and try again"
/* Checks a client's resourceVersion and uid ("" and NULL: not sent) against what is stored. */
int check_version(struct object_write *o, const char *version, struct error *err);
/* The body's names must be the path's. */
int check_name(const struct object_write *o, const cJSON *metadata, struct error *err);
/* A copy of `name` of `from` into `to` (removed there when absent). */
void copy_member(cJSON *to, const cJSON *from, const char *name);

/* --- deletions (delete.c) --- */
/* From o->base: next (marked) or removal. What is in the context's tree, if anything, is taken and
 * marked instead of a copy of what is stored. 0, or the refusal. */
int delete_compute(struct object_write *o, struct error *err);
/* An update that took the last finalizer off a deleting object removes it. */
bool is_deletion_complete(const struct object_write *o);

/* --- committing (commit.c) --- */
/* Hands o's ops to the cache; o->finished is set and the request woken when it is done. */
void write_submit(struct object_write *o);
bool write_is_finished(const struct object_write *o);
