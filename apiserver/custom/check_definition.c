/*
 * The rules of a CustomResourceDefinition besides those of its schemas.
 *
 * Upstream: apiextensions-apiserver's apis/apiextensions/validation.
 */
#include "apiserver/custom/check.h"
#include "apiserver/schema/rules.h"
#include "common/names.h"

#define SELECTABLE_MAX 8
#define WARNING_BYTES_MAX 256
#define APPROVAL "api-approved.kubernetes.io"

static bool is_dns1035(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > 63 || s[0] < 'a' || s[0] > 'z' || s[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-'))
            return false;
    return true;
}

static const char *why_no_dns1035(const char *s)
{
    return strlen(s) > 63 ? "must be no more than 63 bytes"
                          : "a DNS-1035 label must consist of lower case alphanumeric characters "
                            "or '-', start with an alphabetic character, and end with an "
                            "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
                            "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
}

static void check_label(struct check *c, const struct frame *at, const cJSON *value)
{
    if (cJSON_IsString(value) && !is_dns1035(value->valuestring))
        check_invalid(c, at, value, why_no_dns1035(value->valuestring));
}

/* --- names --- */

static void check_kind(struct check *c, const struct frame *at, const cJSON *value)
{
    if (!cJSON_IsString(value) || !value->valuestring[0])
        return;
    autofree char *lower = xstrdup(value->valuestring);
    for (char *p = lower; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    if (is_dns1035(lower))
        return;
    autofree char *detail =
        str_format("may have mixed case, but should otherwise match: %s", why_no_dns1035(lower));
    check_invalid(c, at, value, detail);
}

static void check_words(struct check *c, const struct frame *at, const cJSON *list)
{
    const cJSON *item;
    struct frame here = {.up = at};
    cJSON_ArrayForEach(item, list)
    {
        check_label(c, &here, item);
        here.index++;
    }
}

static void check_names(struct check *c, const cJSON *names, const struct frame *at)
{
    static const char *const needed[] = {"plural", "singular", "kind", "listKind"};
    for (size_t i = 0; i < ARRAY_COUNT(needed); i++)
        if (!*text_of(names, needed[i]))
            check_required(c, AT(at, needed[i]), "");
    if (*text_of(names, "plural"))
        check_label(c, AT(at, "plural"), json_get(names, "plural"));
    if (*text_of(names, "singular"))
        check_label(c, AT(at, "singular"), json_get(names, "singular"));
    check_kind(c, AT(at, "kind"), json_get(names, "kind"));
    check_kind(c, AT(at, "listKind"), json_get(names, "listKind"));
    check_words(c, AT(at, "shortNames"), json_get(names, "shortNames"));
    if (*text_of(names, "kind") && c_eq(text_of(names, "kind"), text_of(names, "listKind")))
        check_invalid(c, AT(at, "listKind"), json_get(names, "listKind"),
            "kind and listKind may not be the same");
    check_words(c, AT(at, "categories"), json_get(names, "categories"));
}

/* --- what a version has besides its schema --- */

static void check_column(struct check *c, const cJSON *column, const struct frame *at)
{
    static const char *const types[] = {"boolean", "date", "integer", "number", "string"};
    static const char *const formats[] = {
        "byte", "date", "date-time", "double", "float", "int32", "int64", "password"};
    static const char one_type[] = "must be one of boolean,date,integer,number,string";
    const char *type = text_of(column, "type"), *format = text_of(column, "format");
    const char *path = text_of(column, "jsonPath");
    bool known = false;
    if (!*text_of(column, "name"))
        check_required(c, AT(at, "name"), "");
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        known |= c_eq(type, types[i]);
    if (!*type)
        check_required(c, AT(at, "type"), one_type);
    else if (!known)
        check_invalid_text(c, AT(at, "type"), type, one_type);
    known = !*format;
    for (size_t i = 0; i < ARRAY_COUNT(formats); i++)
        known |= c_eq(format, formats[i]);
    if (!known)
        check_invalid_text(c, AT(at, "format"), format,
            "must be one of byte,date,date-time,double,float,int32,int64,password");
    if (!*path)
        check_required(c, AT(at, "JSONPath"), "");
    else if (*path != '.')
        check_invalid_text(
            c, AT(at, "JSONPath"), path, "must be a simple json path starting with .");
}

static void check_path(struct check *c, const cJSON *scale, const char *name, bool needed,
    const char *below, const char *or_below, const char *detail, const struct frame *at)
{
    autofree char *member = str_format("scale.%s", name);
    const char *path = text_of(scale, name);
    if (!*path) {
        if (needed)
            check_required(c, AT(at, member), "");
    } else if (*path != '.') {
        check_invalid_text(c, AT(at, member), path, "must be a simple json path starting with .");
    } else if (strncmp(path, below, strlen(below)) != 0 &&
               strncmp(path, or_below, strlen(or_below)) != 0) {
        check_invalid_text(c, AT(at, member), path, detail);
    }
}

static void check_subresources(struct check *c, const cJSON *sub, const struct frame *at)
{
    const cJSON *scale = json_get(sub, "scale");
    if (!cJSON_IsObject(scale))
        return;
    check_path(c, scale, "specReplicasPath", true, ".spec.", ".spec.",
        "should be a json path under .spec", at);
    check_path(c, scale, "statusReplicasPath", true, ".status.", ".status.",
        "should be a json path under .status", at);
    check_path(c, scale, "labelSelectorPath", false, ".spec.", ".status.",
        "should be a json path under either .spec or .status", at);
}

/* The schema of what the path names; NULL and *ret_why when it names nothing. */
static const cJSON *schema_at(const cJSON *schema, const char *path, char why[160])
{
    struct str rest = str_of(path + 1), part;
    const char *at = path + 1;
    if (*path != '.' || !*at) {
        snprintf(why, 160, "is an invalid path: must be a simple json path starting with .");
        return NULL;
    }
    if (strpbrk(at, "[]*")) {
        snprintf(why, 160, "is an invalid path: array notation is not allowed");
        return NULL;
    }
    while (str_split(&rest, '.', &part)) {
        autofree char *name = str_dup(part);
        const cJSON *below = json_get(json_get(schema, "properties"), name);
        if (!below) {
            snprintf(why, 160, "is an invalid path: does not refer to a valid field");
            return NULL;
        }
        schema = below;
    }
    return schema;
}

static void check_selectable(
    struct check *c, const cJSON *list, const cJSON *schema, const struct frame *at)
{
    struct frame here = {.up = at};
    const cJSON *item, *other;
    size_t count = members_count(list);
    if (count > SELECTABLE_MAX) {
        check_too_many(c, at, count, SELECTABLE_MAX);
        return;
    }
    cJSON_ArrayForEach(item, list)
    {
        char why[160];
        const cJSON *path = json_get(item, "jsonPath");
        const struct frame *at_path = AT(&here, "jsonPath");
        const char *text = text_of(item, "jsonPath");
        const cJSON *found = *text ? schema_at(schema, text, why) : NULL;
        const char *type = text_of(found, "type");
        if (!*text) {
            check_required(c, at_path, "");
        } else if (!found && strncmp(text, ".metadata", 9) != 0) {
            check_invalid(c, at_path, path, why);
        } else if (strncmp(text, ".metadata", 9) == 0) {
            check_invalid(c, at_path, path, "must not point to fields in metadata");
        } else if (!c_eq(type, "string") && !c_eq(type, "boolean") && !c_eq(type, "integer")) {
            check_invalid(c, at_path, path,
                "must point to a field of type string, boolean or integer. Enum string fields and "
                "strings with formats are allowed.");
        }
        for (other = list->child; *text && other != item; other = other->next)
            if (c_eq(text_of(other, "jsonPath"), text)) {
                check_duplicate(c, at_path, path);
                break;
            }
        here.index++;
    }
}

static void check_deprecation(struct check *c, const cJSON *version, const struct frame *at)
{
    const cJSON *warning = json_get(version, "deprecationWarning");
    const struct frame *at_warning = AT(at, "deprecationWarning");
    if (!cJSON_IsString(warning))
        return;
    if (!json_bool(version, "deprecated", false)) {
        check_invalid(c, at_warning, warning, "can only be set for deprecated versions");
        return;
    }
    const char *text = warning->valuestring;
    if (strlen(text) > WARNING_BYTES_MAX)
        check_invalid(c, at_warning, warning, "must be <= 256 characters long");
    if (!*text)
        check_invalid(c, at_warning, warning, "must not be an empty string");
    for (size_t i = 0; text[i]; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            check_error(c, at_warning, FIELD_INVALID, warning,
                "must only contain printable UTF-8 characters; non-printable character found at "
                "index %zu",
                i);
            return;
        }
}

static void check_version(struct check *c, const struct schema *meta, const cJSON *version,
    const struct frame *at, struct strbuf *unknown_formats)
{
    const cJSON *schema = json_path(version, "schema.openAPIV3Schema"), *column;
    const cJSON *sub = json_get(version, "subresources");
    struct frame here = {.up = AT(at, "additionalPrinterColumns")};
    check_label(c, AT(at, "name"), json_get(version, "name"));
    check_deprecation(c, version, at);
    if (!cJSON_IsObject(schema))
        check_required(c, AT(AT(at, "schema"), "openAPIV3Schema"), "schemas are required");
    else
        check_openapi(c, meta, schema, cJSON_IsObject(json_get(sub, "status")),
            AT(AT(at, "schema"), "openAPIV3Schema"), unknown_formats);
    check_subresources(c, sub, AT(at, "subresources"));
    cJSON_ArrayForEach(column, json_get(version, "additionalPrinterColumns"))
    {
        check_column(c, column, &here);
        here.index++;
    }
    if (cJSON_IsObject(schema))
        check_selectable(
            c, json_get(version, "selectableFields"), schema, AT(at, "selectableFields"));
}

static void check_versions(struct check *c, const struct schema *meta, const cJSON *spec,
    const struct frame *at, struct strbuf *unknown_formats)
{
    const cJSON *list = json_get(spec, "versions"), *version;
    struct frame here = {.up = AT(at, "versions")};
    struct text_set names = text_set_new(c, list);
    size_t storage = 0;
    bool unique = true;
    cJSON_ArrayForEach(version, list)
    {
        storage += json_bool(version, "storage", false);
        unique &= text_set_add(&names, text_of(version, "name"));
        check_version(c, meta, version, &here, unknown_formats);
        here.index++;
    }
    autojson cJSON *none = cJSON_CreateArray();
    if (!unique)
        check_invalid(c, AT(at, "versions"), list, "must contain unique version names");
    if (storage != 1)
        check_invalid(c, AT(at, "versions"), list ? list : none,
            "must have exactly one version marked as storage version");
}

/* --- conversion --- */

static void check_review_versions(struct check *c, const cJSON *list, const struct frame *at)
{
    const cJSON *item;
    struct frame here = {.up = at};
    struct text_set seen = text_set_new(c, list);
    bool accepted = false;
    if (!cJSON_IsArray(list) || !list->child) {
        check_required(c, at, "");
        return;
    }
    cJSON_ArrayForEach(item, list)
    {
        if (!text_set_add(&seen, value_string(item)))
            check_invalid(c, &here, item, "duplicate version");
        else
            check_label(c, &here, item);
        accepted |= cJSON_IsString(item) &&
                    (c_eq(item->valuestring, "v1") || c_eq(item->valuestring, "v1beta1"));
        here.index++;
    }
    if (!accepted)
        check_invalid(c, at, list, "must include at least one of v1, v1beta1");
}

static void check_conversion(struct check *c, const cJSON *spec, const struct frame *at)
{
    const cJSON *conversion = json_get(spec, "conversion"), *hook = json_get(conversion, "webhook");
    const cJSON *client = json_get(hook, "clientConfig");
    if (!conversion)
        return;
    if (!c_eq(text_of(conversion, "strategy"), "Webhook")) {
        if (cJSON_IsObject(client))
            check_forbidden(c, AT(at, "webhookClientConfig"),
                "should not be set when strategy is not set to Webhook");
        if (json_get(hook, "conversionReviewVersions"))
            check_forbidden(c, AT(at, "conversionReviewVersions"),
                "should not be set when strategy is not set to Webhook");
        return;
    }
    if (json_bool(spec, "preserveUnknownFields", false))
        check_invalid(c, AT(at, "strategy"), json_get(conversion, "strategy"),
            "must be None if spec.preserveUnknownFields is true");
    if (!cJSON_IsObject(client))
        check_required(
            c, AT(at, "webhookClientConfig"), "required when strategy is set to Webhook");
    else if (!json_get(client, "url") == !json_get(client, "service"))
        check_required(
            c, AT(at, "webhookClientConfig"), "exactly one of url or service is required");
    check_review_versions(
        c, json_get(hook, "conversionReviewVersions"), AT(at, "conversionReviewVersions"));
}

/* --- the whole --- */

static void check_group(struct check *c, const cJSON *spec, const struct frame *at)
{
    const cJSON *group = json_get(spec, "group");
    const char *text = text_of(spec, "group");
    size_t before = field_errors_count(c->errors);
    if (!*text)
        return; /* required: the schema says so */
    check_format(c, AT(at, "group"), "dns-subdomain", group);
    if (field_errors_count(c->errors) == before && !strchr(text, '.'))
        check_invalid(c, AT(at, "group"), group, "should be a domain with at least one dot");
}

/* Groups of Kubernetes' own project need a note of who approved them. */
static void check_approval(struct check *c, const cJSON *definition, const cJSON *old)
{
    const char *group = value_string(json_path(definition, "spec.group"));
    struct str name = str_of(group);
    bool is_protected = c_eq(group, "k8s.io") || c_eq(group, "kubernetes.io") ||
                        str_ends(name, STR(".k8s.io")) || str_ends(name, STR(".kubernetes.io"));
    const cJSON *note = json_get(json_path(definition, "metadata.annotations"), APPROVAL);
    const cJSON *before = old ? json_get(json_path(old, "metadata.annotations"), APPROVAL) : NULL;
    const char *text = value_string(note);
    const struct frame *at = AT_KEY(AT(AT(NULL, "metadata"), "annotations"), APPROVAL);
    if (!is_protected || (old && c_eq(value_string(before), text)))
        return;
    if (!*text)
        check_required(c, at,
            "protected groups must have approval annotation \"" APPROVAL
            "\", see https://github.com/kubernetes/enhancements/pull/1111");
    else if (strncmp(text, "unapproved", 10) != 0 && !strstr(text, "://"))
        check_invalid(c, at, note,
            "protected groups must have approval annotation \"" APPROVAL
            "\" with either a URL or a reason starting with \"unapproved\", see "
            "https://github.com/kubernetes/enhancements/pull/1111");
}

static bool is_established(const cJSON *definition)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(definition, "status.conditions"))
    {
        if (c_eq(text_of(item, "type"), "Established"))
            return c_eq(text_of(item, "status"), "True");
    }
    return false;
}

static void check_unchanged(struct check *c, const cJSON *definition, const cJSON *old,
    const char *path, const struct frame *at)
{
    const cJSON *value = json_path(definition, path), *before = json_path(old, path);
    autojson cJSON *null = cJSON_CreateNull();
    if (!json_equal(value ? value : null, before ? before : null))
        check_invalid(c, at, value ? value : null, "field is immutable");
}

static void check_stored(struct check *c, const cJSON *definition, const struct frame *at)
{
    const cJSON *stored = json_path(definition, "status.storedVersions"), *item, *version;
    struct frame here = {.up = at};
    cJSON_ArrayForEach(item, stored)
    {
        bool found = false;
        cJSON_ArrayForEach(version, json_path(definition, "spec.versions")) found |=
            c_eq(text_of(version, "name"), value_string(item));
        const char *name = value_string(item);
        if (!found)
            check_error(c, &here, FIELD_INVALID, item,
                "missing from spec.versions; %s was previously a storage version, and must remain "
                "in spec.versions until a storage migration ensures no data remains persisted in "
                "%s and removes %s from status.storedVersions",
                name, name, name);
        here.index++;
    }
}

static void check_update(struct check *c, const cJSON *definition, const cJSON *old)
{
    const struct frame *spec = AT(NULL, "spec"), *names = AT(spec, "names");
    if (is_established(old)) {
        check_unchanged(c, definition, old, "spec.scope", AT(spec, "scope"));
        check_unchanged(c, definition, old, "spec.names.kind", AT(names, "kind"));
    }
    check_unchanged(c, definition, old, "spec.group", AT(spec, "group"));
    check_unchanged(c, definition, old, "spec.names.plural", AT(names, "plural"));
    check_stored(c, definition, AT(AT(NULL, "status"), "storedVersions"));
}

void custom_check_definition(const struct api *base, const cJSON *definition, const cJSON *old,
    struct field_errors *errors, struct strbuf *unknown_formats)
{
    struct check c = {.errors = errors, .arena = field_errors_arena(errors), .root = definition};
    const cJSON *spec = json_get(definition, "spec"), *names = json_get(spec, "names");
    const struct frame *at = AT(NULL, "spec");
    const struct schema *meta = schema_of_definition(base, "meta.v1", "ObjectMeta");
    const cJSON *name = json_path(definition, "metadata.name");
    autofree char *wanted = str_format("%s.%s", text_of(names, "plural"), text_of(spec, "group"));
    if (!c_eq(value_string(name), wanted) && name)
        check_invalid(&c, AT(AT(NULL, "metadata"), "name"), name,
            "must be spec.names.plural+\".\"+spec.group");
    check_group(&c, spec, at);
    check_versions(&c, meta, spec, at, unknown_formats);
    check_names(&c, names, AT(at, "names"));
    check_conversion(&c, spec, AT(at, "conversion"));
    check_approval(&c, definition, old);
    if (json_bool(spec, "preserveUnknownFields", false) &&
        !json_bool(json_get(old, "spec"), "preserveUnknownFields", false))
        check_invalid(&c, AT(at, "preserveUnknownFields"), json_get(spec, "preserveUnknownFields"),
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
            "spec.versions[*].schema instead");
    if (old)
        check_update(&c, definition, old);
}
