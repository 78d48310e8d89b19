/*
 * The decode stage: from a request to a struct object_write with its options, its body as a checked
 * tree, and the function that turns the stored object into the next one.
 *
 * Texts are those of upstream's handlers (create.go, update.go, patch.go, rest.go
 * transformDecodeError).
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/registry/generic/options.h"
#include "apiserver/registry/generic/rules.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/server.h"
#include "common/base64.h"
#include "common/yaml.h"

#define SUMMARY_BYTES 30
#define OBJECT_TYPES "application/json, application/yaml, application/vnd.kubernetes.protobuf"
#define CUSTOM_TYPES "application/json, application/yaml"
#define CUSTOM_PATCH_TYPES \
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
#define PATCH_TYPES                                               \
    "application/json-patch+json, application/merge-patch+json, " \
    "application/strategic-merge-patch+json, application/apply-patch+yaml"

static enum stage_result unsupported_media(struct request *q, const char *accepted)
{
    return request_fail(q, ERR_UNSUPPORTED_MEDIA,
        "the body of the request was in an unknown format - accepted media types include: %s",
        accepted);
}

/* The kind of the body that this path takes. */
static const char *expected_kind(const struct request *q)
{
    return q->subresource && q->subresource->kind ? q->subresource->kind : q->resource->kind;
}

static const char *expected_version(const struct request *q)
{
    return q->subresource && q->subresource->group_version && *q->subresource->group_version
               ? q->subresource->group_version
               : q->resource->group_version;
}

/* The start of a body that is no object, as upstream shows it. */
static const char *summary(struct request *q)
{
    struct str text = str_trim(q->body);
    autostrbuf struct strbuf hex = STRBUF_EMPTY;
    size_t n = q->body.n < SUMMARY_BYTES ? q->body.n : SUMMARY_BYTES;
    const char *dots = q->body.n > SUMMARY_BYTES ? " ..." : "";

    if (q->body.n == 0)
        return "<empty>";
    if (text.n > 0 && text.p[0] == '{')
        return arena_printf(q->arena, "%.*s%s", (int)n, q->body.p, dots);
    hex_encode(str_range(q->body.p, n), &hex);
    return arena_printf(q->arena, "%s%s", hex.data, dots);
}

static enum stage_result unrecognized(struct request *q, const char *why)
{
    return request_fail(q, ERR_BAD_REQUEST,
        "the object provided is unrecognized (must be of type %s): couldn't get version/kind; json "
        "parse error: %s (%s)",
        expected_kind(q), why, summary(q));
}

static void add_warnings(struct request *q, const struct strbuf *warnings)
{
    struct str rest = strbuf_str(warnings), line;

    while (str_split(&rest, '\n', &line))
        if (line.n > 0)
            request_warn(q, "%.*s", STR_FMT(line));
}

/* Bodies that older clients send as another version, with the same fields. */
static bool is_older_version(const char *version, const char *want)
{
    return c_eq(want, "policy/v1") && c_eq(version, "policy/v1beta1");
}

/* kind and apiVersion of the body may be left out, but not lie. */
static enum stage_result check_type(struct request *q, const cJSON *tree)
{
    const char *kind = json_string(tree, "kind"), *version = json_string(tree, "apiVersion");
    const char *want_kind = expected_kind(q), *want_version = expected_version(q);

    if (version && *version && !c_eq(version, want_version) &&
        !is_older_version(version, want_version))
        return request_fail(q, ERR_BAD_REQUEST,
            "the API version in the data (%s) does not match the expected API version (%s)",
            version, want_version);
    if (kind && *kind && !c_eq(kind, want_kind))
        return request_fail(q, ERR_BAD_REQUEST,
            "%s in version \"%s\" cannot be handled as a %s: converting (%s) to (%s): unknown "
            "conversion",
            kind, q->resource->version, want_kind, kind, want_kind);
    return STAGE_DONE;
}

static enum stage_result decode_tree(struct request *q, struct object_write *o, cJSON *tree)
{
    autostrbuf struct strbuf warnings = STRBUF_EMPTY;
    struct error err;

    if (!cJSON_IsObject(tree))
        return unrecognized(q, "json: cannot unmarshal into Go value of type struct { APIVersion "
                               "string; Kind string }");
    if (check_type(q, tree) == STAGE_ERROR)
        return STAGE_ERROR;
    if (schema_decode(o->schema, tree, o->field_validation, &warnings, &err) < 0)
        return request_fail(q, err.code, "%s in version \"%s\" cannot be handled as a %s: %s",
            expected_kind(q),
            strchr(expected_version(q), '/') ? strchr(expected_version(q), '/') + 1
                                             : expected_version(q),
            expected_kind(q), err.text);
    add_warnings(q, &warnings);
    json_set_string(tree, "kind", expected_kind(q));
    json_set_string(tree, "apiVersion", expected_version(q));
    return STAGE_DONE;
}

/* YAML says a key twice at the parser already: warned of, or refused, as it is for JSON later. */
static int parse_yaml(struct request *q, const struct object_write *o, cJSON **tree,
    enum stage_result *ret_refused, struct error *err)
{
    bool ignore = o->field_validation == VALIDATION_IGNORE;
    int r = yaml_parse(q->body, ignore ? YAML_LAX : YAML_STRICT, tree, err);

    if (r == 0 || !strstr(err->text, "already set in map"))
        return r;
    if (o->field_validation == VALIDATION_STRICT) {
        *ret_refused = request_fail(q, ERR_BAD_REQUEST,
            "%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s",
            expected_kind(q), q->resource->version, expected_kind(q), err->text);
        return 0;
    }
    request_warn(q, "%s", err->text);
    return yaml_parse(q->body, YAML_LAX, tree, err);
}

static enum stage_result decode_body(struct request *q, struct object_write *o)
{
    enum stage_result refused = STAGE_DONE;
    autojson cJSON *tree = NULL;
    struct error err;
    int r;

    switch (body_type_of(q, true)) {
    case BODY_JSON:
        r = json_parse(q->body, &tree, &err);
        break;
    case BODY_YAML:
        r = parse_yaml(q, o, &tree, &refused, &err);
        break;
    case BODY_PROTOBUF:
        if (!schema_has_protobuf(o->schema))
            return unsupported_media(q, CUSTOM_TYPES);
        r = schema_from_protobuf(o->schema, q->body, &tree, &err);
        break;
    default:
        return unsupported_media(q, OBJECT_TYPES);
    }
    if (refused == STAGE_ERROR)
        return STAGE_ERROR;
    if (r < 0)
        return unrecognized(q, err.text);
    if (decode_tree(q, o, tree) == STAGE_ERROR)
        return STAGE_ERROR;
    o->body = steal(&tree);
    return STAGE_DONE;
}

static enum stage_result decode_patch(struct request *q, struct object_write *o)
{
    struct error err;

    o->patch_type = body_type_of(q, false);
    if (o->patch_type == BODY_APPLY_PATCH)
        return decode_apply(q, o);
    if (o->patch_type != BODY_JSON_PATCH && o->patch_type != BODY_MERGE_PATCH &&
        (o->patch_type != BODY_STRATEGIC_PATCH || q->resource->custom))
        return unsupported_media(q, q->resource->custom ? CUSTOM_PATCH_TYPES : PATCH_TYPES);
    if (json_parse(q->body, &o->patch, &err) < 0)
        return request_fail(q, ERR_BAD_REQUEST, "error decoding patch: %s", err.text);
    bool shape_right =
        o->patch_type == BODY_JSON_PATCH ? cJSON_IsArray(o->patch) : cJSON_IsObject(o->patch);
    if (!shape_right)
        return request_fail(q, ERR_BAD_REQUEST,
            "error decoding patch: json: cannot unmarshal %s into Go value of type %s",
            cJSON_IsObject(o->patch)  ? "object"
            : cJSON_IsArray(o->patch) ? "array"
                                      : "value",
            o->patch_type == BODY_JSON_PATCH ? "jsonpatch.Patch" : "map[string]interface {}");
    if (o->patch_type == BODY_JSON_PATCH && cJSON_GetArraySize(o->patch) > LIMIT_PATCH_OPERATIONS)
        return request_fail(q, ERR_TOO_LARGE,
            "Request entity too large: The allowed maximum operations in a JSON patch is %d, got "
            "%d",
            LIMIT_PATCH_OPERATIONS, cJSON_GetArraySize(o->patch));
    return STAGE_DONE;
}

/* Names in the body must be those of the path. */
static enum stage_result check_names(struct request *q, struct object_write *o)
{
    cJSON *metadata = json_get(o->body, "metadata");
    const char *name = metadata ? json_string(metadata, "name") : NULL;
    const char *namespace_ = metadata ? json_string(metadata, "namespace") : NULL;

    if (!metadata || cJSON_IsNull(metadata)) {
        json_set(o->body, "metadata", cJSON_CreateObject());
        metadata = json_get(o->body, "metadata");
    }
    bool own_check = q->subresource && o->kind == WRITE_SUBRESOURCE; /* the handler has its words */
    if (!own_check && *q->name && name && *name && !c_eq(name, q->name))
        return request_fail(q, ERR_BAD_REQUEST,
            "the name of the object (%s) does not match the name on the URL (%s)", name, q->name);
    if (namespace_ && *namespace_ && !c_eq(namespace_, o->namespace_)) {
        if (!*o->namespace_) {
            json_remove(metadata, "namespace"); /* cluster scoped */
            return STAGE_DONE;
        }
        return request_fail(q, ERR_BAD_REQUEST,
            "the namespace of the provided object does not match the namespace sent on the "
            "request");
    }
    return STAGE_DONE;
}

static void release(void *arg)
{
    struct object_write *o = arg;

    write_release_round(o);
    cJSON_Delete(o->body);
    cJSON_Delete(o->patch);
    object_unref(o->result);
}

struct object_write *write_new(struct request *q)
{
    struct object_write *o = arena_zalloc(q->arena, sizeof(*o));

    o->request = q;
    o->resource = q->resource;
    o->schema =
        q->subresource && q->subresource->schema ? q->subresource->schema : q->resource->schema;
    o->namespace_ = q->resource->namespaced ? q->namespace_ : "";
    o->name = q->name;
    o->field_manager = "";
    arena_on_free(q->arena, release, o);
    return o;
}

static enum stage_result decode_create(struct request *q, struct object_write *o)
{
    o->kind = q->subresource ? WRITE_SUBRESOURCE : WRITE_CREATE;
    o->change = change_create;
    o->fresh_tree = !q->subresource;
    o->create_missing = !q->subresource;
    if (options_parse_write(q, o, "CreateOptions") == STAGE_ERROR ||
        decode_body(q, o) == STAGE_ERROR)
        return STAGE_ERROR;
    if (check_names(q, o) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!q->subresource) {
        const char *name = json_string_at(o->body, "metadata.name");
        o->name = name ? arena_strdup(q->arena, str_of(name)) : "";
        q->name = o->name;
    }
    return STAGE_DONE;
}

static enum stage_result decode_update(struct request *q, struct object_write *o)
{
    o->kind = WRITE_UPDATE;
    o->change = change_replace;
    o->fresh_tree = true;
    o->create_missing = !q->subresource && rules_of(q->resource)->create_on_update;
    if (options_parse_write(q, o, "UpdateOptions") == STAGE_ERROR ||
        decode_body(q, o) == STAGE_ERROR)
        return STAGE_ERROR;
    return check_names(q, o);
}

enum stage_result write_decode_stage(struct request *q)
{
    struct object_write *o = q->write = write_new(q);
    enum stage_result r;

    if (c_eq(q->verb, "delete")) {
        o->kind = WRITE_DELETE;
        return options_parse_delete(q, o);
    }
    if (c_eq(q->verb, "create")) {
        r = decode_create(q, o);
    } else if (c_eq(q->verb, "update")) {
        r = decode_update(q, o);
    } else {
        o->kind = WRITE_UPDATE;
        o->change = change_patch;
        if (options_parse_write(q, o, "PatchOptions") == STAGE_ERROR)
            return STAGE_ERROR;
        r = decode_patch(q, o);
    }
    if (q->subresource && o->kind == WRITE_UPDATE)
        o->kind = c_eq(q->subresource_name, "status") ? WRITE_STATUS : WRITE_SUBRESOURCE;
    return r;
}
