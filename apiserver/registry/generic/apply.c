/*
 * Server-side apply: PATCH with application/apply-patch+yaml creates an object, or changes it so
 * that it has what its configuration says.
 *
 * The merge and the ownership are the schema engine's (schema/managed_fields.h); here are the
 * request's side: the body, its checks, the Status of a conflict, and the annotation that kubectl's
 * client-side apply keeps, which the manager "kubectl" takes along.
 *
 * Upstream: handlers/patch.go (applyPatcher), managedfields' fieldmanager.go,
 * lastappliedupdater.go.
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/request/status.h"
#include "apiserver/schema/managed_fields.h"
#include "apiserver/server.h"
#include "common/limits.h"
#include "common/yaml.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
/* All annotations of an object together. */
#define ANNOTATIONS_BYTES_MAX (256 << 10)

static int parse_body(struct request *q, struct object_write *o, struct error *err)
{
    struct str text = str_trim(q->body);
    struct error strict;

    if (text.n > 0 && text.p[0] == '{' && json_parse(q->body, &o->patch, err) == 0)
        return 0;
    if (yaml_parse(q->body, YAML_LAX, &o->patch, err) < 0)
        return -(int)err->code;
    if (o->field_validation == VALIDATION_IGNORE)
        return 0;
    autojson cJSON *again = NULL;
    if (yaml_parse(q->body, YAML_STRICT, &again, &strict) == 0)
        return 0;
    if (o->field_validation == VALIDATION_WARN) {
        request_warn(q, "%s", strict.text);
        return 0;
    }
    return error_set(err, ERR_INVALID, "%s", strict.text);
}

static const char *body_type(const struct request *q, const cJSON *config)
{
    const char *version = json_string(config, "apiVersion"), *kind = json_string(config, "kind");
    const char *slash = version ? strchr(version, '/') : NULL;

    return arena_printf(
        q->arena, "%s%s, Kind=%s", slash ? "" : "/", version ? version : "", kind ? kind : "");
}

enum stage_result decode_apply(struct request *q, struct object_write *o)
{
    const struct subresource *sub = q->subresource;
    const char *kind = sub && sub->kind ? sub->kind : q->resource->kind;
    const char *version = sub && sub->group_version && *sub->group_version
                              ? sub->group_version
                              : q->resource->group_version;
    struct error err = {0};

    if (sub && !c_eq(sub->name, "status") && !c_eq(sub->name, "scale"))
        return request_fail(q, ERR_UNSUPPORTED_MEDIA,
            "the body of the request was in an unknown format - %s takes no server-side apply",
            sub->name);
    if (parse_body(q, o, &err) < 0)
        return request_fail(q, ERR_BAD_REQUEST,
            err.code == ERR_INVALID ? "error strict decoding YAML: %s" : "error decoding YAML: %s",
            err.text);
    if (!cJSON_IsObject(o->patch))
        return request_fail(q, ERR_BAD_REQUEST,
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot "
            "unmarshal %s into Go value of type map[string]interface {}",
            cJSON_IsArray(o->patch)    ? "array"
            : cJSON_IsString(o->patch) ? "string"
            : cJSON_IsBool(o->patch)   ? "bool"
            : cJSON_IsNull(o->patch)   ? "null"
                                       : "number");
    json_dedup(o->patch, NULL, NULL);
    if (!c_eq(json_string(o->patch, "kind"), kind) ||
        !c_eq(json_string(o->patch, "apiVersion"), version))
        return request_fail(q, ERR_BAD_REQUEST, "invalid object type: %s", body_type(q, o->patch));
    const cJSON *managed = json_path(o->patch, "metadata.managedFields");
    if (managed && !cJSON_IsNull(managed))
        return request_fail(q, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
    o->change = change_apply;
    o->create_missing = !sub;
    return STAGE_DONE;
}

/* The Status of a refusal, whose text may be longer than an error holds. */
static void refuse(struct request *q, const struct managed_refusal *why, const struct error *err)
{
    cJSON *status = status_new(err->code, why->message);

    if (err->code != ERR_CONFLICT) {
        json_remove(status, "reason"); /* upstream knows none */
    } else {
        cJSON *details = cJSON_CreateObject();
        json_set(details, "causes", why->causes);
        json_set(status, "details", details);
        cJSON_AddItemToObject(
            status, "code", cJSON_DetachItemFromObjectCaseSensitive(status, "code"));
    }
    request_fail_status(q, status);
}

/* kubectl, applying what it once applied as a client, keeps that annotation up to date. */
static void sync_last_applied(const struct managed_writer *who, cJSON *tree, const cJSON *config)
{
    cJSON *annotations = json_path(tree, "metadata.annotations");
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    size_t total = 0;

    if (!c_eq(who->manager, "kubectl") || !annotations || !json_get(annotations, LAST_APPLIED))
        return;
    autojson cJSON *copy = cJSON_Duplicate(config, true);
    cJSON *own = json_path(copy, "metadata.annotations");
    if (own)
        json_remove(own, LAST_APPLIED);
    json_sort(copy);
    json_print(copy, &text);
    strbuf_add_char(&text, '\n');
    json_set_string(annotations, LAST_APPLIED, text.data);
    for (const cJSON *a = annotations->child; a; a = a->next)
        total += strlen(a->string) + (cJSON_IsString(a) ? strlen(a->valuestring) : 0);
    if (total > ANNOTATIONS_BYTES_MAX)
        json_remove(annotations, LAST_APPLIED);
}

static int decode_merged(struct object_write *o, cJSON *tree, struct error *err)
{
    struct error why;

    json_set_string(tree, "kind", o->resource->kind);
    json_set_string(tree, "apiVersion", o->resource->group_version);
    if (schema_decode(o->resource->schema, tree, VALIDATION_IGNORE, NULL, &why) < 0)
        return error_set(err, ERR_BAD_REQUEST, "%s in version \"%s\" cannot be handled as a %s: %s",
            o->resource->kind, o->resource->version, o->resource->kind, why.text);
    schema_normalise(o->resource->schema, tree); /* an empty map is no change of an absent one */
    return 0;
}

/* Nothing is there: what the configuration says becomes the body of a create. */
static int apply_create(
    struct write_context *w, struct object_write *o, cJSON *take_tree, struct error *err)
{
    const char *uid = json_string_at(take_tree, "metadata.uid");
    struct request *q = o->request;

    cJSON_Delete(o->body);
    o->body = take_tree;
    if (uid && *uid)
        return conflict_error(q, o->resource, o->name, err,
            "uid mismatch: the provided object specified uid %s, and no existing object was found",
            uid);
    if (check_name(o, json_get(o->body, "metadata"), err) < 0)
        return -(int)err->code;
    json_remove_at(o->body, "metadata.resourceVersion");
    return change_create(w, o, err);
}

int apply_config(
    struct write_context *w, struct object_write *o, const cJSON *config, struct error *err)
{
    struct request *q = o->request;
    struct managed_writer who = write_writer(o);
    struct managed_refusal why = {0};
    struct str list = o->base ? object_managed_fields(o->base) : (struct str){0};
    struct managed *m = managed_new(q->arena);
    autojson cJSON *fresh = o->base ? NULL : cJSON_CreateObject();
    cJSON *tree = o->base ? w->tree : fresh;

    if (list.n > 0 && managed_parse(q->arena, list, true, &m, err) < 0)
        m = managed_new(q->arena);
    if (managed_merge(m, &who, w->old, tree, config, &why, err) < 0) {
        refuse(q, &why, err);
        return -(int)err->code;
    }
    if (decode_merged(o, tree, err) < 0)
        return -(int)err->code;
    int r = o->base ? finish_update(o, w, err) : apply_create(w, o, steal(&fresh), err);
    if (r < 0)
        return r;
    if (managed_own(m, &who, w->old, w->tree, o->force, &why, err) < 0) {
        refuse(q, &why, err);
        return -(int)err->code;
    }
    sync_last_applied(&who, w->tree, config);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    managed_print(m, &text);
    o->managed = arena_str(q->arena, strbuf_str(&text));
    o->managed_set = true;
    return 0;
}

int change_apply(struct write_context *w, void *arg, struct error *err)
{
    struct object_write *o = arg;

    return apply_config(w, o, o->patch, err);
}
