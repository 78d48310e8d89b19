/*
 * The generic half of the registry: one write of one object, and the reads, for every kind alike.
 *
 * A write is a struct object_write in q->write, made by the decode stage. Its `change` function
 * makes the next tree from what is stored; it runs again, with all stages behind it, when the store
 * says that somebody was faster:
 *
 *     decode -> change -> default -> prepare, admit -> validate -> admit -> store -> encode
 *
 * create, update, patch, scale and the kinds' own subresources (binding, token, approval...) differ
 * only in `change`, `kind` and `reply`. A subresource handler of a kind (struct subresource_handler
 * in registry.h) is called behind decode, with the decoded body in q->write->body. It either
 * answers (request_reply..., STAGE_RESPOND), or says what to write and goes on:
 *
 *     static int bind(struct write_context *w, void *arg, struct error *err);  // edits w->tree, a
 * copy of w->old
 *
 *     static enum stage_result binding_run(struct request *q)
 *     {
 *         struct object_write *o = q->write;
 *         o->kind = WRITE_SUBRESOURCE;
 *         o->change = bind;             // o->body is the decoded Binding
 *         o->reply = reply_success;     // NULL: the written object
 *         return STAGE_DONE;
 *     }
 *
 * A handler without a body (GET log) answers or waits; its stage is `handle`.
 * Threads: the request's. Done callbacks of the cache only wake.
 */
#pragma once

#include "apiserver/registry/registry.h"
#include "apiserver/request/negotiate.h"

/* Makes w->tree from w->old (a copy of it is in w->tree when the object exists). May run many
 * times. The error becomes the answer, unless q->error_status was set. */
typedef int change_fn(struct write_context *w, void *arg, struct error *err);

struct object_write {
    /* what is asked */
    const struct resource *resource; /* as the client sees it; stored as resource->storage */
    const struct schema *schema;     /* of the body: the resource's or the subresource's */
    enum write_kind kind;
    const char *namespace_, *name; /* "" when absent */
    change_fn *change;
    void *change_arg;
    stage_fn *reply;     /* encodes the answer; NULL: the object, or Status for a deletion */
    bool create_missing; /* create, or a PUT of a kind that allows it */
    bool dry_run;
    enum field_validation field_validation;
    const char *field_manager; /* "" when not given */
    bool force;                /* apply: take fields over from other managers */

    /* the request's body */
    cJSON *body;  /* decoded */
    cJSON *patch; /* the patch document, or NULL */
    enum body_type patch_type;
    struct delete_options *options; /* delete, deletecollection */

    /* of this round */
    struct write_context context; /* tree and old are owned here */
    struct object *base;          /* referenced */
    struct object *next;          /* referenced; NULL: delete */
    bool created, deleted;        /* what the commit will have done */
    bool unchanged;               /* nothing to write */
    struct str managed;           /* the next managedFields, "[...]" in the arena */
    bool managed_set;             /* `managed` is right (by apply); else track */
    bool client_version;          /* the client sent a resourceVersion: a conflict is its own */
    int rounds;

    /* the commit */
    struct write write;
    struct write_op ops[1 + EXTRA_WRITES_MAX];
    struct extra_writes extra;
    bool submitted;
    int64_t submitted_ns;
    int finished;          /* atomic */
    struct object *result; /* referenced: committed, or as it would be (dry run); the deleted one */

    /* private */
    struct request *request;
    bool fresh_tree; /* change starts from nothing: no copy of the old tree is made for it */
    bool generated_name;
    int names_tried;
};

/* --- for the kinds' files --- */
/* A copy of the decoded body's member at path, or NULL. */
const char *write_body_string(const struct request *q, const char *path);
/* Replies Status Success, 201 for creates of a subresource (binding, eviction), else 200. */
stage_fn reply_success;
/* Refuses with the list: STAGE_ERROR with Invalid. */
enum stage_result request_fail_fields(
    struct request *q, const struct field_errors *e, const struct resource *r, const char *name);
/* An answer-only kind (TokenReview): replies with q->write->body, 201, normalised. */
enum stage_result reply_body_object(struct request *q);

/* The object in the form that was asked for. */
enum stage_result reply_object(struct request *q, int status, const struct object *o);

/* --- stages of the pipeline (request/pipeline.c) --- */
stage_fn write_decode_stage; /* options, body; picks `change` */
stage_fn write_handle_stage; /* strategies' subresources and answers; scale */
stage_fn write_apply_stage;  /* base, change, preserved fields, generation */
stage_fn write_default_stage;
stage_fn write_admit_stage; /* prepare, mutating admission */
stage_fn write_validate_stage;
stage_fn write_admitted_stage; /* validating admission */
stage_fn write_store_stage;    /* begin, commit; on a conflict back to apply */
stage_fn write_encode_stage;
stage_fn collection_delete_stage;
stage_fn read_fresh_stage; /* waits for the version that get, list and watch need */
stage_fn read_get_stage;
stage_fn read_list_stage;
stage_fn read_watch_stage;

/* Is a GET of the request's subresource no GET of the object itself (scale)? */
bool write_is_handled(const struct request *q);
