/*
 * How the next version of an object comes from the request and the stored one: create, replace,
 * patch.
 *
 * Upstream: registry/rest (BeforeCreate, BeforeUpdate), handlers/patch.go.
 */
#include "apiserver/registry/generic/change.h"

#include <stdarg.h>

#include "apiserver/registry/generic/rules.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"
#include "common/names.h"
#include "common/time.h"
#include "common/uid.h"

#define SUFFIX_LETTERS 5
#define NAME_BASE_MAX (63 - SUFFIX_LETTERS)
/* A refused patch is shown up to here. */
#define PATCH_SHOWN_BYTES 4096

void copy_member(cJSON *to, const cJSON *from, const char *name)
{
    const cJSON *item = from ? json_get(from, name) : NULL;

    if (item)
        json_set(to, name, cJSON_Duplicate(item, 1));
    else
        json_remove(to, name);
}

static cJSON *metadata_of(cJSON *tree)
{
    cJSON *m = json_get(tree, "metadata");

    if (!cJSON_IsObject(m)) {
        json_set(tree, "metadata", cJSON_CreateObject());
        m = json_get(tree, "metadata");
    }
    return m;
}

/* --- create --- */

static void set_uid(struct env *env, cJSON *metadata)
{
    char text[UID_BYTES];

    json_set_string(metadata, "uid", uid_random(env, text));
}

/* Names an object from its generateName. */
static void generate_name(struct object_write *o, cJSON *metadata, const char *base)
{
    struct env *env = o->request->server->env;
    char suffix[SUFFIX_LETTERS + 1];

    name_random_suffix(env_random(env), suffix, SUFFIX_LETTERS);
    suffix[SUFFIX_LETTERS] = '\0';
    size_t n = strlen(base) < NAME_BASE_MAX ? strlen(base) : NAME_BASE_MAX;
    o->name = arena_printf(o->request->arena, "%.*s%s", (int)n, base, suffix);
    o->request->name = o->name;
    o->generated_name = true;
    json_set_string(metadata, "name", o->name);
}

/* Is the body needed for another round: a generated name may be taken, other writes of the group
 * may lose a race? */
static bool may_come_again(const struct object_write *o, const char *generate_name_base)
{
    const struct strategy *s = o->resource->storage->strategy;

    return generate_name_base || o->kind != WRITE_CREATE || (s && s->begin);
}

int change_create(struct write_context *w, void *arg, struct error *err)
{
    struct object_write *o = arg;
    struct request *q = o->request;
    const char *base = json_string_at(o->body, "metadata.generateName");
    const char *version = json_string_at(o->body, "metadata.resourceVersion");
    char now[TIME_TEXT_BYTES];

    if (version && *version && !c_eq(version, "0")) {
        q->reason = "";
        return error_set(
            err, ERR_INTERNAL, "resourceVersion should not be set on objects to be created");
    }
    if (!o->body) {
        /* The first round took it: somebody had created the name when it was committed. */
        q->status_details = status_details(o->resource, o->name);
        return error_set(err, ERR_ALREADY_EXISTS, "%s \"%s\" already exists",
            request_qualified(q, o->resource), o->name);
    }
    w->tree = may_come_again(o, base) ? cJSON_Duplicate(o->body, 1) : steal(&o->body);
    cJSON *m = metadata_of(w->tree);
    if (base && *base && (!*o->name || o->generated_name))
        generate_name(o, m, base);
    static const char *const server_owned[] = {"resourceVersion", "selfLink", "deletionTimestamp",
        "deletionGracePeriodSeconds", "generation"};
    for (size_t i = 0; i < ARRAY_COUNT(server_owned); i++)
        json_remove(m, server_owned[i]);
    if (*o->name)
        json_set_string(m, "name", o->name);
    if (*o->namespace_)
        json_set_string(m, "namespace", o->namespace_);
    set_uid(q->server->env, m);
    json_set_string(m, "creationTimestamp", time_print_s(w->now_ns, now));
    if (w->resource->has_generation)
        json_set(m, "generation", cJSON_CreateNumber(1));
    if (o->resource->has_status && !rules_of(o->resource)->status_on_create)
        json_remove(w->tree, "status");
    return 0;
}

/* --- conflicts --- */

int conflict_error(struct request *q, const struct resource *r, const char *name, struct error *err,
    const char *format, ...)
{
    va_list args;
    char text[700];

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cJSON_Delete(q->status_details);
    q->status_details = status_details(r, name);
    return error_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on %s \"%s\": %s",
        request_qualified(q, r), name, text);
}

int check_version(struct object_write *o, const char *version, struct error *err)
{
    struct request *q = o->request;
    int64_t wanted;

    if (!version || !*version || c_eq(version, "0"))
        return 0;
    if (str_parse_int64(str_of(version), &wanted, err) < 0)
        return error_set(err, ERR_BAD_REQUEST,
            "metadata.resourceVersion: Invalid value: \"%s\": strconv.ParseUint: parsing \"%s\": "
            "invalid syntax",
            version, version);
    if (wanted != object_revision(o->base))
        return conflict_error(q, o->resource, o->name, err, "%s", MODIFIED_TEXT);
    return 0;
}

static int check_uid(struct object_write *o, const char *uid, struct error *err)
{
    if (!uid || !*uid || str_eqc(o->base->uid, uid))
        return 0;
    return conflict_error(o->request, o->resource, o->name, err,
        "Precondition failed: UID in precondition: %s, UID in object meta: %.*s", uid,
        STR_FMT(o->base->uid));
}

/* --- update --- */

int check_name(const struct object_write *o, const cJSON *metadata, struct error *err)
{
    const char *name = json_string(metadata, "name"), *ns = json_string(metadata, "namespace");

    if (name && *name && !c_eq(name, o->name))
        return error_set(err, ERR_BAD_REQUEST,
            "the name of the object (%s) does not match the name on the URL (%s)", name, o->name);
    if (ns && *ns && *o->namespace_ && !c_eq(ns, o->namespace_))
        return error_set(err, ERR_BAD_REQUEST,
            "the namespace of the object (%s) does not match the namespace on the request (%s)", ns,
            o->namespace_);
    return 0;
}

/* What only the server changes stays as it was. */
static void keep_server_fields(const struct object_write *o, cJSON *metadata, const cJSON *old)
{
    static const char *const kept[] = {"uid", "creationTimestamp", "deletionTimestamp",
        "deletionGracePeriodSeconds", "generation"};
    const cJSON *old_metadata = json_get(old, "metadata");

    for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
        copy_member(metadata, old_metadata, kept[i]);
    json_remove(metadata, "selfLink");
    json_set_string(metadata, "name", o->name);
    if (*o->namespace_)
        json_set_string(metadata, "namespace", o->namespace_);
}

/* A main write leaves status alone; a status write leaves everything alone but status and metadata.
 */
static void separate_status(const struct object_write *o, cJSON *tree, const cJSON *old)
{
    if (o->kind == WRITE_UPDATE && o->resource->has_status)
        copy_member(tree, old, "status");
    if (o->kind != WRITE_STATUS)
        return;
    const cJSON *item;
    cJSON *status = cJSON_DetachItemFromObjectCaseSensitive(tree, "status");
    cJSON *metadata = cJSON_DetachItemFromObjectCaseSensitive(tree, "metadata");
    while (tree->child)
        cJSON_Delete(cJSON_DetachItemViaPointer(tree, tree->child));
    cJSON_ArrayForEach(item, old)
    {
        if (c_eq(item->string, "metadata") || c_eq(item->string, "status"))
            continue;
        cJSON_AddItemToObject(tree, item->string, cJSON_Duplicate(item, 1));
    }
    json_set(tree, "metadata", metadata);
    if (status)
        json_set(tree, "status", status);
}

int finish_update(struct object_write *o, struct write_context *w, struct error *err)
{
    cJSON *m = metadata_of(w->tree);
    const char *version = json_string(m, "resourceVersion");

    if (check_name(o, m, err) < 0 || check_version(o, version, err) < 0 ||
        check_uid(o, json_string(m, "uid"), err) < 0)
        return -(int)err->code;
    keep_server_fields(o, m, w->old);
    separate_status(o, w->tree, w->old);
    return 0;
}

int change_replace(struct write_context *w, void *arg, struct error *err)
{
    struct object_write *o = arg;
    const char *version = json_string_at(o->body, "metadata.resourceVersion");

    if (!w->old)
        return change_create(w, arg, err);
    o->client_version = version && *version && !c_eq(version, "0");
    if (!o->client_version && rules_of(o->resource)->version_required) {
        struct field_errors *e = field_errors_new(o->request->arena);
        field_error_add(
            e, FIELD_INVALID, "metadata.resourceVersion", "0", "must be specified for an update");
        request_fail_status(o->request, field_errors_status(e, o->resource, o->name));
        return error_set(
            err, ERR_INVALID, "metadata.resourceVersion: must be specified for an update");
    }
    /* With a version of the client's there is no second round. */
    w->tree = o->client_version ? steal(&o->body) : cJSON_Duplicate(o->body, 1);
    return finish_update(o, w, err);
}

/* --- patch --- */

/* 422 as upstream wraps what a patch made of an object: ` "" is invalid: patch: Invalid value:
 * ...`. */
static int invalid_patch(struct object_write *o, const char *why, struct error *err)
{
    struct request *q = o->request;
    struct strbuf shown;

    strbuf_init(&shown, 0);
    json_print(o->patch, &shown);
    autostrbuf struct strbuf quoted = STRBUF_EMPTY;
    json_print_string(
        str_range(shown.data, shown.n < PATCH_SHOWN_BYTES ? shown.n : PATCH_SHOWN_BYTES), &quoted);
    strbuf_done(&shown);
    const char *detail = arena_printf(q->arena, "Invalid value: %s: %s", quoted.data, why);
    cJSON *status =
        status_new(ERR_INVALID, arena_printf(q->arena, " \"\" is invalid: patch: %s", detail));
    cJSON *cause = cJSON_CreateObject();
    json_set_string(cause, "reason", "FieldValueInvalid");
    json_set_string(cause, "message", detail);
    json_set_string(cause, "field", "patch");
    json_set(status, "details", cJSON_CreateObject());
    cJSON_AddItemToArray(cJSON_AddArrayToObject(json_get(status, "details"), "causes"), cause);
    cJSON_AddItemToObject(status, "code", cJSON_DetachItemFromObjectCaseSensitive(status, "code"));
    request_fail_status(q, status);
    return error_set(err, ERR_INVALID, "%s", why);
}

static int run_patch(
    struct object_write *o, const struct schema *schema, cJSON **tree, struct error *err)
{
    switch (o->patch_type) {
    case BODY_JSON_PATCH:
        return patch_json(tree, o->patch, err);
    case BODY_MERGE_PATCH:
        return patch_merge(tree, o->patch, err);
    default:
        return patch_strategic(schema, tree, o->patch, err);
    }
}

int patch_tree(struct object_write *o, const struct schema *schema, cJSON **tree, struct error *err)
{
    struct request *q = o->request;
    autostrbuf struct strbuf warnings = STRBUF_EMPTY;
    struct error why;

    if (run_patch(o, schema, tree, &why) < 0) {
        if (o->patch_type == BODY_JSON_PATCH && why.code == ERR_INVALID) {
            cJSON_Delete(q->status_details);
            q->status_details =
                json_make("{\"causes\":[{\"reason\":\"UnexpectedServerResponse\"}]}");
            json_set_string(
                cJSON_GetArrayItem(json_get(q->status_details, "causes"), 0), "message", why.text);
            return error_set(err, ERR_INVALID,
                "the server rejected our request due to an error in our request: %s", why.text);
        }
        return error_set(err, why.code, "%s", why.text);
    }
    if (!cJSON_IsObject(*tree))
        return error_set(err, ERR_BAD_REQUEST, "the patch leaves no object");
    if (schema_decode(schema, *tree, o->field_validation, &warnings, &why) < 0)
        return invalid_patch(o, why.text, err);
    struct str rest = strbuf_str(&warnings), line;
    while (o->rounds == 1 && str_split(&rest, '\n', &line))
        if (line.n > 0)
            request_warn(q, "%.*s", STR_FMT(line));
    return 0;
}

/* A patch may look at managedFields or change them. */
static void show_managed(const struct object_write *o, cJSON *tree)
{
    struct str body = o->request->body, list = object_managed_fields(o->base);
    cJSON *managed;
    struct error err;

    /* a JSON patch may test or copy all of metadata */
    if (list.n == 0 ||
        (o->patch_type != BODY_JSON_PATCH && !memmem(body.p, body.n, "managedFields", 13)))
        return;
    if (json_parse(list, &managed, &err) == 0)
        json_set(json_get(tree, "metadata"), "managedFields", managed);
}

int change_patch(struct write_context *w, void *arg, struct error *err)
{
    struct object_write *o = arg;

    show_managed(o, w->tree);
    if (patch_tree(o, o->resource->schema, &w->tree, err) < 0)
        return -(int)err->code;
    json_set_string(w->tree, "kind", o->resource->kind);
    json_set_string(w->tree, "apiVersion", o->resource->group_version);
    return finish_update(o, w, err);
}
