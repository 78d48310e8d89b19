/*
 * The stages of a write behind its decoding: apply, default, admit, validate, admit, store, encode.
 *
 * One round computes the next version from the newest one and submits it with that as base. When
 * somebody was faster the request goes back to apply, unless the client itself named the version.
 * Nothing that a round made outlives it but the result. A write that changes nothing is not
 * submitted.
 *
 * Upstream: registry/generic/registry/store.go.
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/registry/generic/form.h"
#include "apiserver/registry/generic/options.h"
#include "apiserver/registry/generic/rules.h"

#include <stdatomic.h>

#include "apiserver/admission/admission.h"
#include "apiserver/auth/auth.h"
#include "apiserver/custom/custom.h"
#include "apiserver/registry/warnings.h"
#include "apiserver/request/measure.h"
#include "apiserver/request/pipeline.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"
#include "common/time.h"

/* Writers that lose this often against others have a livelock: say so. */
#define ROUNDS_MAX 100
#define NAMES_MAX 8

static void release_trees(struct object_write *o)
{
    cJSON_Delete(o->context.tree);
    cJSON_Delete((cJSON *)(uintptr_t)o->context.old);
    o->context.tree = NULL;
    o->context.old = NULL;
}

void write_release_round(struct object_write *o)
{
    object_unref(o->base);
    object_unref(o->next);
    o->base = o->next = NULL;
    release_trees(o);
    for (size_t i = 0; i < o->write.op_count; i++)
        object_unref(o->ops[i].result);
    for (size_t i = 0; i < o->extra.count; i++) {
        object_unref(o->extra.ops[i].base);
        object_unref(o->extra.ops[i].next);
    }
    o->write = (struct write){0};
    o->extra.count = 0;
    o->submitted = o->unchanged = o->deleted = o->created = false;
    o->finished = 0;
    o->managed = (struct str){0};
    o->managed_set = false;
}

/* --- apply --- */

static enum stage_result already_exists(struct request *q)
{
    struct object_write *o = q->write;

    if (o->generated_name) {
        q->retry_after_s = 1;
        return request_fail_object(q, ERR_ALREADY_EXISTS,
            "%s \"%s\" already exists, the server was not able to generate a unique name for the "
            "object",
            request_qualified(q, o->resource), o->name);
    }
    return request_fail_object(q, ERR_ALREADY_EXISTS, "%s \"%s\" already exists",
        request_qualified(q, o->resource), o->name);
}

static void start_round(struct request *q, struct object_write *o)
{
    write_release_round(o);
    o->rounds++;
    o->context = (struct write_context){
        .request = q,
        .server = q->server,
        .cache = q->server->cache,
        .resource = o->resource->storage,
        .kind = o->kind,
        .arena = q->arena,
        .now_ns = env_wall_ns(q->server->env),
        .dry_run = o->dry_run,
    };
    if (*o->name)
        o->base = cache_newest(
            q->server->cache, o->resource->storage, str_of(o->namespace_), str_of(o->name));
}

/* The stored object as the version that the client speaks. */
static int tree_of_base(const struct object_write *o, cJSON **ret, struct error *err)
{
    *ret = o->kind == WRITE_DELETE ? object_tree(o->base) : object_tree_bare(o->base);
    if (o->resource != o->resource->storage)
        return schema_convert(o->resource->storage, o->resource, ret, err);
    return 0;
}

static int make_trees(struct object_write *o, struct error *err)
{
    cJSON *tree = NULL;

    if (!o->base)
        return 0;
    int r = tree_of_base(o, &tree, err);
    o->context.old = tree;
    if (r < 0 || o->fresh_tree || o->kind == WRITE_DELETE)
        return r;
    return tree_of_base(o, &o->context.tree, err);
}

/* A custom object is judged by the schema of the version that it came in; the stored version's may
 * not know all of it. */
static bool custom_refuses(struct object_write *o, struct error *err)
{
    if (!o->resource->custom)
        return false;
    struct field_errors *errors = field_errors_new(o->request->arena);
    custom_validate(o->resource->schema, o->context.tree, o->context.old, errors);
    if (field_errors_count(errors) == 0)
        return false;
    request_fail_fields(o->request, errors, o->resource, o->name);
    error_set(err, ERR_INVALID, "the object is invalid");
    return true;
}

/* What the client's version says, defaulted, as the stored version. */
static int to_storage(struct object_write *o, struct error *err)
{
    struct write_context *w = &o->context;
    cJSON *old = NULL;

    if (o->resource == o->resource->storage)
        return 0;
    if (custom_refuses(o, err))
        return -(int)err->code;
    if (schema_convert(o->resource, o->resource->storage, &w->tree, err) < 0)
        return -(int)err->code;
    if (o->base)
        old = object_tree_bare(o->base);
    cJSON_Delete((cJSON *)(uintptr_t)w->old);
    w->old = old;
    schema_default(o->resource->storage->schema, w->tree);
    return 0;
}

enum stage_result write_apply_stage(struct request *q)
{
    struct object_write *o = q->write;
    struct error err = {0};
    int r;

    start_round(q, o);
    bool may_create = o->create_missing;
    if (!o->base && !may_create)
        return request_not_found(q, o->resource, o->name);
    if (o->base && o->kind == WRITE_CREATE) {
        if (!o->generated_name || ++o->names_tried >= NAMES_MAX)
            return already_exists(q);
        write_release_round(o);
    }
    o->created = !o->base;
    if (o->created && o->kind == WRITE_UPDATE)
        o->context.kind = WRITE_CREATE;
    if (o->context.kind != o->kind && auth_create_stage(q) == STAGE_ERROR)
        return STAGE_ERROR;
    r = make_trees(o, &err);
    if (r == 0 && o->kind == WRITE_DELETE && !o->change)
        r = delete_compute(o, &err);
    else if (r == 0)
        r = o->change(&o->context, o->change_arg ? o->change_arg : o, &err);
    if (r < 0)
        return request_fail_error(q, &err);
    return STAGE_DONE;
}

enum stage_result write_default_stage(struct request *q)
{
    struct object_write *o = q->write;

    struct error err = {0};

    if (!o->context.tree)
        return STAGE_DONE;
    schema_default(o->resource->schema, o->context.tree);
    write_track(o);
    if (to_storage(o, &err) < 0)
        return request_fail_error(q, &err);
    return STAGE_DONE;
}

/* --- admission and validation --- */

/* A refusal with kind, group and name in its details where the refuser gave none. */
static enum stage_result refused(struct request *q, const struct error *err)
{
    if (!q->status_details && !q->error_status && err->code == ERR_FORBIDDEN)
        q->status_details = status_details(q->write->resource, q->write->name);
    return request_fail_error(q, err);
}

enum stage_result write_admit_stage(struct request *q)
{
    struct object_write *o = q->write;
    const struct strategy *s = o->resource->storage->strategy;
    struct error err = {0};

    if (o->unchanged || !o->context.tree)
        return STAGE_DONE;
    if (s && s->prepare)
        s->prepare(&o->context);
    if (s && s->admit && s->admit(&o->context, &err) < 0)
        return refused(q, &err);
    if (admission_mutate(&o->context, &err) < 0)
        return refused(q, &err);
    return STAGE_DONE;
}

enum stage_result request_fail_fields(
    struct request *q, const struct field_errors *e, const struct resource *r, const char *name)
{
    return request_fail_status(q, field_errors_status(e, r, name));
}

/* Nothing may be added to what holds a deletion back. */
static void check_new_finalizers(const struct write_context *w, struct field_errors *errors)
{
    const cJSON *had = w->old ? json_path(w->old, "metadata.finalizers") : NULL, *item, *other;

    if (!w->old || !json_string_at(w->old, "metadata.deletionTimestamp"))
        return;
    cJSON_ArrayForEach(item, json_path(w->tree, "metadata.finalizers"))
    {
        bool known = false;
        cJSON_ArrayForEach(other, had) if (cJSON_IsString(item) && cJSON_IsString(other) &&
                                           c_eq(item->valuestring, other->valuestring)) known =
            true;
        if (!known)
            field_error_add(errors, FIELD_FORBIDDEN, "metadata.finalizers", NULL,
                "no new finalizers can be added if the object is being deleted, found new "
                "finalizers []string{\"%s\"}",
                cJSON_IsString(item) ? item->valuestring : "");
    }
}

/* Finalizers of built-in kinds are well known, or say by their prefix whose they are. */
static void check_finalizer_names(const struct write_context *w, struct field_errors *errors)
{
    static const char *const known[] = {"kubernetes", "orphan", "foregroundDeletion"};
    const cJSON *item;
    int index = 0;

    cJSON_ArrayForEach(item, json_path(w->tree, "metadata.finalizers"))
    {
        const char *name = cJSON_IsString(item) ? item->valuestring : "";
        bool fine = strchr(name, '/');
        for (size_t i = 0; i < ARRAY_COUNT(known); i++)
            fine = fine || c_eq(name, known[i]);
        if (!fine)
            field_error_add(errors, FIELD_INVALID,
                arena_printf(w->arena, "metadata.finalizers[%d]", index),
                arena_printf(w->arena, "\"%s\"", name),
                "name is neither a standard finalizer name nor is it fully qualified");
        index++;
    }
}

enum stage_result write_validate_stage(struct request *q)
{
    struct object_write *o = q->write;
    const struct write_context *w = &o->context;
    const struct resource *r = o->resource->storage;

    if (o->unchanged || !w->tree)
        return STAGE_DONE;
    struct field_errors *errors = field_errors_new(q->arena);
    schema_validate(r, w->tree, errors);
    if (!w->old && !r->custom)
        check_finalizer_names(w, errors);
    if (w->old)
        schema_validate_update(r, w->tree, w->old, errors);
    check_new_finalizers(w, errors);
    if (r->strategy && r->strategy->validate)
        r->strategy->validate(w, errors);
    if (field_errors_count(errors) > 0)
        return request_fail_fields(q, errors, o->resource, o->name);
    return STAGE_DONE;
}

enum stage_result write_admitted_stage(struct request *q)
{
    struct object_write *o = q->write;
    struct error err = {0};

    if (o->unchanged)
        return STAGE_DONE;
    if (admission_validate(&o->context, &err) < 0)
        return refused(q, &err);
    warn_of_object(&o->context);
    return STAGE_DONE;
}

/* --- store --- */

/* Without a status subresource status is a member like others. */
static bool is_spec_member(const cJSON *item, bool has_status)
{
    static const char *const others[] = {"kind", "apiVersion", "metadata", "status"};

    for (size_t i = 0; i < ARRAY_COUNT(others) - !has_status; i++)
        if (c_eq(item->string, others[i]))
            return false;
    return true;
}

/* Equal in all that generation counts. */
static bool is_spec_equal(const cJSON *a, const cJSON *b, bool has_status)
{
    const cJSON *item;
    size_t count_a = 0, count_b = 0;

    cJSON_ArrayForEach(item, b) count_b += is_spec_member(item, has_status);
    cJSON_ArrayForEach(item, a)
    {
        if (!is_spec_member(item, has_status))
            continue;
        count_a++;
        const cJSON *other = json_get(b, item->string);
        if (!other || !json_equal(item, other))
            return false;
    }
    return count_a == count_b;
}

static void count_generation(struct write_context *w)
{
    int64_t generation = json_int64_at(w->old, "metadata.generation", 0);

    if (is_spec_equal(w->tree, w->old, w->resource->has_status || !w->resource->custom))
        return;
    json_set_at(w->tree, "metadata.generation", json_new_int64(generation + 1));
}

static bool is_soft(const struct object_write *o)
{
    const struct write_context *w = &o->context;

    if (!rules_of(o->resource)->holder_lease || !w->old || !w->tree)
        return false;
    const char *before = json_string_at(w->old, "spec.holderIdentity");
    return before && *before && c_eq(before, json_string_at(w->tree, "spec.holderIdentity"));
}

/* From the tree to o->next, o->deleted or o->unchanged. */
static int make_next(struct object_write *o, struct error *err)
{
    struct write_context *w = &o->context;
    const struct resource *r = w->resource;

    if (!w->tree || o->unchanged)
        return 0;
    schema_normalise(r->schema, w->tree);
    if (w->old && r->has_generation)
        count_generation(w);
    write_put_managed(o, w->tree);
    if (object_new(r, w->tree, &o->next, err) < 0)
        return -(int)err->code;
    if (!o->deleted && o->base && object_revision(o->base) > 0 && o->extra.count == 0 &&
        write_is_noop(o) && !cache_is_stale(o->request->server->cache, o->base))
        o->unchanged = true;
    return 0;
}

/* The kind's last word, which may add writes of its own. A mark of deletion takes nothing away yet.
 */
static int begin(struct object_write *o, struct error *err)
{
    struct write_context *w = &o->context;
    const struct strategy *s = w->resource->strategy;

    if (w->tree && w->old && is_deletion_complete(o)) {
        o->deleted = true;
        w->kind = WRITE_DELETE;
    }
    if (w->kind == WRITE_STATUS || (w->kind == WRITE_DELETE && !o->deleted))
        return 0;
    if (s && s->begin && s->begin(w, &o->extra, err) < 0)
        return -(int)err->code;
    return admission_charge(w, &o->extra, err);
}

static void on_written(struct write *write)
{
    struct object_write *o = container_of(write, struct object_write, write);
    struct request *q = o->request;

    if (!q->trusted)
        measure_stored(q,
            o->deleted   ? "delete"
            : o->created ? "create"
                         : "update",
            env_now_ns(q->server->env) - o->submitted_ns);
    __atomic_store_n(&o->finished, 1, __ATOMIC_RELEASE);
    request_wake(q);
    request_unpin(q);
}

void write_submit(struct object_write *o)
{
    struct write_context *w = &o->context;

    o->ops[0] = (struct write_op){
        .resource = w->resource,
        .namespace_ = str_of(o->namespace_),
        .name = str_of(o->name),
        .base = o->base,
        .next = o->deleted ? NULL : o->next,
    };
    for (size_t i = 0; i < o->extra.count; i++)
        o->ops[i + 1] = o->extra.ops[i];
    o->write = (struct write){
        .ops = o->ops, .op_count = 1 + o->extra.count, .soft = is_soft(o), .done = on_written};
    o->submitted = true;
    o->submitted_ns = env_now_ns(o->request->server->env);
    release_trees(
        o); /* still warm, and not held while the disk works; another round makes its own */
    request_pin(o->request);
    cache_submit(o->request->server->cache, &o->write);
}

bool write_is_finished(const struct object_write *o)
{
    return __atomic_load_n(&o->finished, __ATOMIC_ACQUIRE);
}

static enum stage_result lost_race(struct request *q)
{
    struct object_write *o = q->write;
    struct error err;

    if (o->client_version || o->rounds >= ROUNDS_MAX) {
        conflict_error(q, o->resource, o->name, &err, "%s", MODIFIED_TEXT);
        return request_fail_error(q, &err);
    }
    pipeline_again(q);
    return STAGE_DONE;
}

static enum stage_result after_commit(struct request *q)
{
    struct object_write *o = q->write;

    if (o->write.result == -ERR_CONFLICT)
        return lost_race(q);
    if (o->write.result == -ERR_TOO_LARGE)
        return request_fail(q, ERR_TOO_LARGE, "Request entity too large: %s", o->write.err.text);
    if (o->write.result < 0)
        return request_fail_error(q, &o->write.err);
    /* The last state of a removed object may be newer than its base: the update that removed it. */
    if (o->deleted && o->next) {
        int64_t revision = o->ops[0].result ? o->ops[0].result->revision : 0;
        o->result = object_at_revision(o->next, revision);
    } else {
        o->result = object_ref(o->ops[0].result ? o->ops[0].result : o->base);
        if (!o->result) /* the kind has gone meanwhile */
            return request_not_found(q, o->resource, o->name);
    }
    return STAGE_DONE;
}

enum stage_result write_store_stage(struct request *q)
{
    struct object_write *o = q->write;
    struct error err = {0};

    if (o->submitted)
        return write_is_finished(o) ? after_commit(q) : STAGE_WAIT;
    if (!o->unchanged && begin(o, &err) < 0)
        return refused(q, &err);
    if (make_next(o, &err) < 0) {
        if (err.code == ERR_TOO_LARGE)
            return request_fail(q, ERR_TOO_LARGE, "Request entity too large: %s", err.text);
        return request_fail_error(q, &err);
    }
    if (o->unchanged) {
        o->result = object_ref(o->base);
        return STAGE_DONE;
    }
    if (o->dry_run) {
        if (o->deleted && !o->next)
            o->result = object_ref(o->base);
        else
            o->result = object_at_revision(o->next, o->base ? object_revision(o->base) : 0);
        return STAGE_DONE;
    }
    write_submit(o);
    return STAGE_WAIT;
}

/* --- encode --- */

enum stage_result reply_success(struct request *q)
{
    autojson cJSON *status = status_success();
    int code = c_eq(q->verb, "create") ? 201 : 200;

    json_set(status, "code", cJSON_CreateNumber(code));
    return request_reply_json(q, code, status);
}

enum stage_result reply_body_object(struct request *q)
{
    struct object_write *o = q->write;

    schema_normalise(o->schema, o->body);
    return request_reply_json(q, 201, o->body);
}

static enum stage_result reply_deleted(struct request *q)
{
    struct object_write *o = q->write;
    autojson cJSON *status = status_success();
    cJSON *details = status_details(o->resource, o->name);
    autofree char *uid = o->base ? str_dup(o->base->uid) : NULL;

    if (uid && *uid)
        json_set_string(details, "uid", uid);
    json_set(status, "details", details);
    return request_reply_json(q, 200, status);
}

enum stage_result write_encode_stage(struct request *q)
{
    struct object_write *o = q->write;

    if (o->reply)
        return o->reply(q);
    if (o->kind == WRITE_DELETE && o->deleted && !rules_of(o->resource)->returns_deleted)
        return reply_deleted(q);
    int status = o->created ? 201 : 200;
    if (o->kind == WRITE_DELETE && !o->deleted && o->options->orphan_dependents == 0)
        status = 202;
    if (o->dry_run && o->created) {
        /* Never stored: it has no version. */
        autojson cJSON *tree = object_tree(o->result);
        json_remove_at(tree, "metadata.resourceVersion");
        return request_reply_json(q, status, tree);
    }
    return reply_object(q, status, o->result);
}
