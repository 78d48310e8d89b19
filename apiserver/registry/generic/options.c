/*
 * Parsing and checking of options. See options.h. Texts are those of apimachinery's
 * meta/v1/validation and meta/internalversion/validation.
 */
#include "apiserver/registry/generic/options.h"

#include "apiserver/request/route.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"
#include "common/yaml.h"

#define FIELD_MANAGER_MAX 128

enum stage_result options_invalid(
    struct request *q, const char *kind, const char *field, const char *reason, const char *detail)
{
    const char *message =
        arena_printf(q->arena, "%s.meta.k8s.io \"\" is invalid: %s: %s", kind, field, detail);
    cJSON *status = status_new(ERR_INVALID, message);
    cJSON *cause = cJSON_CreateObject();

    json_set_string(cause, "reason", reason);
    json_set_string(cause, "message", detail);
    json_set_string(cause, "field", field);
    json_set_string_at(status, "details.group", "meta.k8s.io");
    json_set_string_at(status, "details.kind", kind);
    cJSON *causes = cJSON_AddArrayToObject(json_get(status, "details"), "causes");
    cJSON_AddItemToArray(causes, cause);
    /* code comes last, as upstream prints it */
    cJSON_AddItemToObject(status, "code", cJSON_DetachItemFromObjectCaseSensitive(status, "code"));
    return request_fail_status(q, status);
}

static enum stage_result not_supported(
    struct request *q, const char *kind, const char *field, struct str value, const char *supported)
{
    return options_invalid(q, kind, field, "FieldValueNotSupported",
        arena_printf(q->arena, "Unsupported value: \"%.*s\": supported values: %s", STR_FMT(value),
            supported));
}

static const char *query_text(struct request *q, const char *name)
{
    struct str value;

    return request_query(q, name, &value) ? arena_strdup(q->arena, value) : "";
}

static const char *quoted(struct request *q, const char *text)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;

    json_print_string(str_of(text), &out);
    return arena_strdup(q->arena, strbuf_str(&out));
}

static enum stage_result parse_dry_run(
    struct request *q, struct object_write *o, const char *kind, struct str value)
{
    if (value.n == 0)
        return STAGE_DONE;
    if (!str_eqc(value, "All"))
        return not_supported(q, kind, "dryRun", value, "\"All\"");
    o->dry_run = q->dry_run = true;
    return STAGE_DONE;
}

/* force and a missing manager are judged by the kind of patch. */
static enum stage_result check_manager(struct request *q, struct object_write *o, const char *kind)
{
    struct str force;
    bool patch = c_eq(kind, "PatchOptions"), given = patch && request_query(q, "force", &force);
    bool apply = patch && body_type_of(q, false) == BODY_APPLY_PATCH;

    for (const unsigned char *p = (const unsigned char *)o->field_manager; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            return options_invalid(q, kind, "fieldManager", "FieldValueInvalid",
                arena_printf(q->arena,
                    "Invalid value: %s: should only contain printable characters",
                    quoted(q, o->field_manager)));
    if (given && !apply)
        return options_invalid(q, kind, "force", "FieldValueForbidden",
            "Forbidden: may not be specified for non-apply patch");
    o->force = given && query_bool(q, "force", false);
    if (apply && !*o->field_manager)
        return options_invalid(q, kind, "fieldManager", "FieldValueRequired",
            "Required value: is required for apply patch");
    return STAGE_DONE;
}

enum stage_result options_parse_write(struct request *q, struct object_write *o, const char *kind)
{
    struct str value = {0};

    request_query(q, "dryRun", &value);
    if (parse_dry_run(q, o, kind, value) == STAGE_ERROR)
        return STAGE_ERROR;
    o->field_manager = query_text(q, "fieldManager");
    if (strlen(o->field_manager) > FIELD_MANAGER_MAX)
        return options_invalid(q, kind, "fieldManager", "FieldValueTooLong",
            "Too long: may not be more than 128 bytes");
    if (check_manager(q, o, kind) == STAGE_ERROR)
        return STAGE_ERROR;
    value = (struct str){0};
    request_query(q, "fieldValidation", &value);
    if (value.n == 0 || str_eqc(value, "Warn"))
        o->field_validation = VALIDATION_WARN;
    else if (str_eqc(value, "Strict"))
        o->field_validation = VALIDATION_STRICT;
    else if (str_eqc(value, "Ignore"))
        o->field_validation = VALIDATION_IGNORE;
    else
        return not_supported(
            q, kind, "fieldValidation", value, "\"\", \"Ignore\", \"Strict\", \"Warn\"");
    return STAGE_DONE;
}

/* --- delete --- */

static enum stage_result parse_number(struct request *q, struct str value, int64_t *ret)
{
    struct error err;

    if (str_parse_int64(value, ret, &err) < 0)
        return request_fail(q, ERR_BAD_REQUEST,
            "strconv.ParseInt: parsing \"%.*s\": invalid syntax", STR_FMT(value));
    return STAGE_DONE;
}

static enum stage_result delete_from_query(
    struct request *q, struct object_write *o, struct delete_options *d)
{
    struct str value = {0};

    if (request_query(q, "dryRun", &value) &&
        parse_dry_run(q, o, "DeleteOptions", value) == STAGE_ERROR)
        return STAGE_ERROR;
    if (request_query(q, "gracePeriodSeconds", &value)) {
        if (parse_number(q, value, &d->grace_seconds) == STAGE_ERROR)
            return STAGE_ERROR;
        if (d->grace_seconds < 0)
            d->grace_seconds = 1;
    }
    if (request_query(q, "propagationPolicy", &value) && value.n > 0)
        d->propagation = arena_strdup(q->arena, value);
    if (request_query(q, "orphanDependents", &value))
        d->orphan_dependents = query_bool(q, "orphanDependents", false);
    return STAGE_DONE;
}

static enum stage_result bad_delete_body(struct request *q, const char *why)
{
    return request_fail(q, ERR_BAD_REQUEST,
        "the object provided is unrecognized (must be of type DeleteOptions): %s", why);
}

static enum stage_result delete_from_tree(
    struct request *q, struct object_write *o, struct delete_options *d, const cJSON *tree)
{
    const char *kind = json_string(tree, "kind");
    const char *text;
    const cJSON *item = json_get(tree, "gracePeriodSeconds");

    if (!cJSON_IsObject(tree) || (kind && *kind && !c_eq(kind, "DeleteOptions")))
        return bad_delete_body(q, "it is not a DeleteOptions object");
    if (item && !cJSON_IsNull(item)) {
        if (!json_int64(item, &d->grace_seconds))
            return bad_delete_body(q, "json: cannot unmarshal into Go struct field "
                                      "DeleteOptions.gracePeriodSeconds of type int64");
        if (d->grace_seconds < 0)
            d->grace_seconds = 1;
    }
    if ((text = json_string(tree, "propagationPolicy")))
        d->propagation = arena_strdup(q->arena, str_of(text));
    if (cJSON_IsBool(json_get(tree, "orphanDependents")))
        d->orphan_dependents = json_bool(tree, "orphanDependents", false);
    if ((text = json_string_at(tree, "preconditions.uid")))
        d->uid = arena_strdup(q->arena, str_of(text));
    if ((text = json_string_at(tree, "preconditions.resourceVersion")))
        d->resource_version = arena_strdup(q->arena, str_of(text));
    const cJSON *dry_run;
    cJSON_ArrayForEach(dry_run, json_get(tree, "dryRun"))
    {
        const char *value = cJSON_IsString(dry_run) ? dry_run->valuestring : "";
        if (parse_dry_run(q, o, "DeleteOptions", *value ? str_of(value) : STR(" ")) == STAGE_ERROR)
            return STAGE_ERROR;
    }
    return STAGE_DONE;
}

static enum stage_result check_delete(struct request *q, const struct delete_options *d)
{
    if (d->orphan_dependents >= 0 && d->propagation)
        return options_invalid(q, "DeleteOptions", "propagationPolicy", "FieldValueInvalid",
            arena_printf(q->arena,
                "Invalid value: \"%s\": orphanDependents and deletionPropagation cannot be both "
                "set",
                d->propagation));
    if (d->propagation && !c_eq(d->propagation, "Foreground") &&
        !c_eq(d->propagation, "Background") && !c_eq(d->propagation, "Orphan"))
        return not_supported(q, "DeleteOptions", "propagationPolicy", str_of(d->propagation),
            "\"Foreground\", \"Background\", \"Orphan\", \"nil\"");
    return STAGE_DONE;
}

static struct delete_options *new_options(struct request *q, struct object_write *o)
{
    struct delete_options *d = arena_zalloc(q->arena, sizeof(*d));

    *d = (struct delete_options){.grace_seconds = -1, .orphan_dependents = -1};
    return o->options = d;
}

enum stage_result options_read_delete(
    struct request *q, struct object_write *o, const cJSON *delete_options)
{
    struct delete_options *d = new_options(q, o);

    if (delete_options && !cJSON_IsNull(delete_options) &&
        delete_from_tree(q, o, d, delete_options) == STAGE_ERROR)
        return STAGE_ERROR;
    return check_delete(q, d);
}

enum stage_result options_parse_delete(struct request *q, struct object_write *o)
{
    struct delete_options *d = new_options(q, o);
    autojson cJSON *tree = NULL;
    struct error err;

    if (str_trim(q->body).n == 0) {
        if (delete_from_query(q, o, d) == STAGE_ERROR)
            return STAGE_ERROR;
        return check_delete(q, d);
    }
    enum body_type type = body_type_of(q, true);
    if (type != BODY_JSON && type != BODY_YAML && type != BODY_PROTOBUF)
        return request_fail(q, ERR_UNSUPPORTED_MEDIA,
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf");
    int r = type == BODY_JSON ? json_parse(q->body, &tree, &err)
            : type == BODY_YAML
                ? yaml_parse(q->body, YAML_LAX, &tree, &err)
                : schema_from_protobuf(schema_delete_options(q->server->api), q->body, &tree, &err);
    if (r < 0)
        return bad_delete_body(q, err.text);
    /* The body wins, but the dryRun of the query is never forgotten. */
    struct str dry_run = {0};
    if (request_query(q, "dryRun", &dry_run) &&
        parse_dry_run(q, o, "DeleteOptions", dry_run) == STAGE_ERROR)
        return STAGE_ERROR;
    if (delete_from_tree(q, o, d, tree) == STAGE_ERROR)
        return STAGE_ERROR;
    return check_delete(q, d);
}

/* --- list and watch --- */

static void free_selector(void *arg)
{
    selector_free(arg);
}

static bool is_selectable(const struct resource *r, const char *path)
{
    if (c_eq(path, "metadata.name") || c_eq(path, "metadata.namespace"))
        return true;
    for (size_t i = 0; r->selectable && r->selectable[i]; i++)
        if (c_eq(r->selectable[i], path))
            return true;
    return false;
}

static enum stage_result check_field_selector(struct request *q, const struct selector *s)
{
    const struct resource *r = q->resource->custom ? q->resource : q->resource->storage;

    for (size_t i = 0; i < s->term_count; i++) {
        const char *key = s->terms[i].key;
        if (is_selectable(r, key))
            continue;
        if (r->selectable && r->selectable[0])
            return request_fail(q, ERR_BAD_REQUEST, "field label not supported: %s", key);
        return request_fail(q, ERR_BAD_REQUEST,
            "\"%s\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            key);
    }
    return STAGE_DONE;
}

static enum stage_result parse_selectors(struct request *q, struct list_options *l)
{
    struct selector *s;
    struct str text;
    struct error err;

    if (request_query(q, "labelSelector", &text) && text.n > 0) {
        if (selector_parse(text, &s, &err) < 0)
            return request_fail(q, ERR_BAD_REQUEST, "%s", err.text);
        arena_on_free(q->arena, free_selector, s);
        if (!selector_is_everything(s))
            l->filter.labels = s;
    }
    if (request_query(q, "fieldSelector", &text) && text.n > 0) {
        if (field_selector_parse(text, &s, &err) < 0)
            return request_fail(q, ERR_BAD_REQUEST, "%s", err.text);
        arena_on_free(q->arena, free_selector, s);
        if (check_field_selector(q, s) == STAGE_ERROR)
            return STAGE_ERROR;
        if (!selector_is_everything(s))
            l->filter.fields = s;
    }
    l->selective = l->filter.labels || l->filter.fields;
    if (q->resource->namespaced)
        l->filter.namespace_ = str_of(q->namespace_);
    if (*q->name)
        l->filter.name = str_of(q->name); /* the old /watch/.../NAME */
    for (size_t i = 0; l->filter.fields && i < l->filter.fields->term_count; i++) {
        const struct requirement *t = &l->filter.fields->terms[i];
        if (t->op == SEL_IN && t->value_count == 1 && c_eq(t->key, "metadata.name"))
            l->filter.name = str_of(t->values[0]);
    }
    return STAGE_DONE;
}

static enum stage_result parse_version(struct request *q, struct list_options *l)
{
    struct str text;
    struct error err;

    l->version = -1;
    if (!request_query(q, "resourceVersion", &text) || text.n == 0)
        return STAGE_DONE;
    if (str_parse_int64(text, &l->version, &err) < 0 || l->version < 0)
        return request_fail(q, ERR_BAD_REQUEST,
            "resourceVersion: Invalid value: \"%.*s\": strconv.ParseUint: parsing \"%.*s\": "
            "invalid syntax",
            STR_FMT(text), STR_FMT(text));
    return STAGE_DONE;
}

static enum stage_result forbidden(struct request *q, const char *field, const char *why)
{
    return options_invalid(q, "ListOptions", field, "FieldValueForbidden",
        arena_printf(q->arena, "Forbidden: %s", why));
}

static enum stage_result check_match(struct request *q, const struct list_options *l)
{
    bool watch = c_eq(q->verb, "watch");

    if (l->send_initial_events >= 0 && !watch)
        return forbidden(q, "sendInitialEvents", "sendInitialEvents is forbidden for list");
    if (l->send_initial_events >= 0 && !c_eq(l->match, "NotOlderThan"))
        return forbidden(q, "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    if (!*l->match)
        return STAGE_DONE;
    if (watch && l->send_initial_events < 0)
        return forbidden(q, "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    if (!watch && l->version < 0)
        return forbidden(q, "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided");
    if (*l->token)
        return forbidden(q, "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided");
    if (!c_eq(l->match, "Exact") && !c_eq(l->match, "NotOlderThan"))
        return not_supported(q, "ListOptions", "resourceVersionMatch", str_of(l->match),
            "\"Exact\", \"NotOlderThan\", \"\"");
    if (c_eq(l->match, "Exact") && l->version == 0)
        return forbidden(q, "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    return STAGE_DONE;
}

enum stage_result options_parse_list(struct request *q, struct list_options **ret)
{
    struct list_options *l = arena_zalloc(q->arena, sizeof(*l));
    struct str text;

    l->send_initial_events = -1;
    if (parse_selectors(q, l) == STAGE_ERROR || parse_version(q, l) == STAGE_ERROR)
        return STAGE_ERROR;
    if (request_query(q, "limit", &text) && text.n > 0 &&
        parse_number(q, text, &l->limit) == STAGE_ERROR)
        return STAGE_ERROR;
    if (l->limit < 0)
        l->limit = 0;
    if (request_query(q, "timeoutSeconds", &text) && text.n > 0 &&
        parse_number(q, text, &l->timeout_s) == STAGE_ERROR)
        return STAGE_ERROR;
    if (request_query(q, "sendInitialEvents", &text))
        l->send_initial_events = query_bool(q, "sendInitialEvents", false);
    l->bookmarks = query_bool(q, "allowWatchBookmarks", false);
    l->token = query_text(q, "continue");
    l->match = query_text(q, "resourceVersionMatch");
    if (check_match(q, l) == STAGE_ERROR)
        return STAGE_ERROR;
    if (*l->token && l->version > 0)
        return request_fail(
            q, ERR_BAD_REQUEST, "specifying resource version is not allowed when using continue");
    *ret = l;
    return STAGE_DONE;
}
