/*
 * The rules of one openAPIV3Schema: which keywords may stand where, and what makes it structural.
 *
 * Three walks: check_schema() over everything (keywords, list and map types), structural() over
 * what says what exists and nested() over what only judges, complete() over both at once: a field
 * that is judged must exist. Then defaults are pruned and validated by the schema itself.
 *
 * Upstream: apiextensions-apiserver's apis/apiextensions/validation, schema/validation.go,
 * schema/complete.go, schema/defaulting/validation.go. Not checked yet: the CEL of
 * x-kubernetes-validations.
 */
#include "apiserver/custom/check.h"

#include "apiserver/custom/node.h"

enum level { LEVEL_ROOT, LEVEL_ITEM, LEVEL_FIELD };

struct context {
    const char *no_default; /* why defaults are forbidden here; NULL: they are not */
    bool in_metadata;
};

static void check_schema(struct check *c, const cJSON *s, const struct frame *at, bool is_root,
    struct context context, struct strbuf *unknown_formats);
static void nested(struct check *c, const cJSON *s, enum level level, const struct frame *at,
    bool skip_any_of, bool skip_first_all_of);

static const char *text_of(const cJSON *s, const char *name)
{
    const char *text = json_string(s, name);
    return text ? text : "";
}

static bool has(const cJSON *s, const char *name)
{
    const cJSON *item = json_get(s, name);
    return item && !cJSON_IsNull(item) && !cJSON_IsFalse(item) &&
           !(cJSON_IsString(item) && !item->valuestring[0]) &&
           !((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

static bool given(const cJSON *s, const char *name)
{
    const cJSON *item = json_get(s, name);
    return item && !cJSON_IsNull(item);
}

static bool flag(const cJSON *s, const char *name)
{
    return json_bool(s, name, false);
}

/* --- every schema --- */

static void check_keywords(struct check *c, const cJSON *s, const struct frame *at,
    struct context context, struct strbuf *unknown_formats)
{
    static const char *const types[] = {
        "array", "boolean", "integer", "number", "object", "string", NULL};
    static const struct {
        const char *name, *detail;
    } unsupported[] = {
        {"id", "id is not supported"},
        {"additionalItems", "additionalItems is not supported"},
        {"patternProperties", "patternProperties is not supported"},
        {"definitions", "definitions is not supported"},
        {"dependencies", "dependencies is not supported"},
        {"$ref", "$ref is not supported"},
    };
    const char *type = text_of(s, "type"), *format = text_of(s, "format");
    bool known = !*type;
    for (size_t i = 0; types[i]; i++)
        known |= c_eq(type, types[i]);
    if (!known)
        check_not_supported(c, AT(at, "type"), type, types);
    if (given(s, "default") && context.no_default) {
        autofree char *detail = str_format("must not be set %s", context.no_default);
        check_forbidden(c, AT(at, "default"), detail);
    }
    for (size_t i = 0; i < ARRAY_COUNT(unsupported); i++)
        if (has(s, unsupported[i].name) ||
            (i > 0 && i != 2 && i != 3 && given(s, unsupported[i].name)))
            check_forbidden(c, AT(at, unsupported[i].name), unsupported[i].detail);
    if (c_eq(type, "null"))
        check_forbidden(
            c, AT(at, "type"), "type cannot be set to null, use nullable as an alternative");
    if (cJSON_IsArray(json_get(s, "items")))
        check_forbidden(c, AT(at, "items"), "items must be a schema object and not an array");
    if (context.in_metadata && flag(s, "x-kubernetes-embedded-resource"))
        check_forbidden(c, AT(at, "x-kubernetes-embedded-resource"),
            "must not be used inside of resource meta");
    if (flag(s, "uniqueItems"))
        check_forbidden(c, AT(at, "uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
    if (*format && !format_is_known(format))
        strbuf_addf(unknown_formats, "unrecognized format \"%s\"\n", format);
}

static void wants_type(
    struct check *c, const cJSON *s, const struct frame *at, const char *type, const char *detail)
{
    if (c_eq(text_of(s, "type"), type))
        return;
    if (!*text_of(s, "type"))
        check_required(c, AT(at, "type"), detail);
    else
        check_invalid(c, AT(at, "type"), json_get(s, "type"), detail);
}

static void check_map_type(struct check *c, const cJSON *s, const struct frame *at)
{
    static const char *const known[] = {"atomic", "granular", NULL};
    const char *type = json_string(s, "x-kubernetes-map-type");
    if (!type)
        return;
    wants_type(c, s, at, "object", "must be object if x-kubernetes-map-type is specified");
    if (!c_eq(type, "atomic") && !c_eq(type, "granular"))
        check_not_supported(c, AT(at, "x-kubernetes-map-type"), type, known);
}

static void check_set(struct check *c, const cJSON *items, const struct frame *at)
{
    static const char detail[] = "must be atomic as item of a list with x-kubernetes-list-type=set";
    const char *type = text_of(items, "type");
    autojson cJSON *null = cJSON_CreateNull();
    const cJSON *list = json_get(items, "x-kubernetes-list-type");
    if (c_eq(type, "array") && list && !c_eq(text_of(items, "x-kubernetes-list-type"), "atomic"))
        check_invalid(c, AT(at, "x-kubernetes-list-type"), list, detail);
    if (c_eq(type, "object") && !c_eq(text_of(items, "x-kubernetes-map-type"), "atomic"))
        check_invalid(c, AT(at, "x-kubernetes-map-type"), list ? list : null, detail);
}

static bool list_has(const cJSON *list, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(
        item, list) if (cJSON_IsString(item) && c_eq(item->valuestring, text)) return true;
    return false;
}

static void check_key(struct check *c, const cJSON *list, const cJSON *items, const cJSON *key,
    const struct frame *at)
{
    const struct frame *at_keys = AT(at, "x-kubernetes-list-map-keys"), *at_items = AT(at, "items");
    const struct frame *at_key = AT_KEY(AT(at_items, "properties"), key->valuestring);
    const cJSON *property = json_get(json_get(items, "properties"), key->valuestring);
    const char *type = text_of(property, "type");
    if (!property)
        check_invalid(c, at_keys, list, "entries must all be names of item properties");
    else if (c_eq(type, "array") || c_eq(type, "object"))
        check_invalid(c, AT(at_key, "type"), json_get(items, "type"),
            "must be a scalar type if parent array's x-kubernetes-list-type is map");
    for (const cJSON *k = list->child; k != key; k = k->next)
        if (cJSON_IsString(k) && c_eq(k->valuestring, key->valuestring))
            check_invalid(c, at_keys, list, "must not contain duplicate entries");
    if (!property)
        return;
    if (!list_has(json_get(items, "required"), key->valuestring) && !given(property, "default"))
        check_required(c, AT(at_key, "default"),
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a "
            "required property");
    if (flag(property, "nullable"))
        check_forbidden(c, AT(at_key, "nullable"),
            "this property is in x-kubernetes-list-map-keys, so it cannot be nullable");
}

static void check_list_map(struct check *c, const cJSON *s, const struct frame *at)
{
    const cJSON *keys = json_get(s, "x-kubernetes-list-map-keys"), *items = json_get(s, "items"),
                *k;
    if (!has(s, "x-kubernetes-list-map-keys"))
        check_required(c, AT(at, "x-kubernetes-list-map-keys"),
            "must not be empty if x-kubernetes-list-type is map");
    if (!items) {
        check_required(c, AT(at, "items"), "must have a schema if x-kubernetes-list-type is map");
    } else if (!cJSON_IsObject(items)) {
        check_invalid(c, AT(at, "items"), items,
            "must only have a single schema if x-kubernetes-list-type is map");
    } else if (!c_eq(text_of(items, "type"), "object")) {
        check_invalid_text(c, AT(AT(at, "items"), "type"), text_of(items, "type"),
            "must be object if parent array's x-kubernetes-list-type is map");
    } else {
        cJSON_ArrayForEach(k, keys) if (cJSON_IsString(k)) check_key(c, keys, items, k, at);
    }
}

static void check_list_type(struct check *c, const cJSON *s, const struct frame *at)
{
    static const char *const known[] = {"atomic", "set", "map", NULL};
    const char *type = json_string(s, "x-kubernetes-list-type");
    const cJSON *items = json_get(s, "items");
    if (type)
        wants_type(c, s, at, "array", "must be array if x-kubernetes-list-type is specified");
    if (c_eq(type, "set") && cJSON_IsObject(items) && c_eq(text_of(s, "type"), "array"))
        check_set(c, items, AT(at, "items"));
    if (type && !c_eq(type, "atomic") && !c_eq(type, "set") && !c_eq(type, "map"))
        check_not_supported(c, AT(at, "x-kubernetes-list-type"), type, known);
    if (has(s, "x-kubernetes-list-map-keys")) {
        if (!type)
            check_required(c, AT(at, "x-kubernetes-list-type"),
                "must be map if x-kubernetes-list-map-keys is non-empty");
        else if (!c_eq(type, "map"))
            check_invalid_text(c, AT(at, "x-kubernetes-list-type"), type,
                "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    if (c_eq(type, "map"))
        check_list_map(c, s, at);
    if ((c_eq(type, "set") || c_eq(type, "map")) && flag(items, "nullable")) {
        autofree char *detail =
            str_format("cannot be nullable when x-kubernetes-list-type is %s", type);
        check_forbidden(c, AT(AT(at, "items"), "nullable"), detail);
    }
}

static bool has_line_break(const char *s)
{
    return strpbrk(s, "\r\n") != NULL;
}

static void check_rule(struct check *c, const cJSON *rule, const struct frame *at)
{
    static const char *const reasons[] = {"FieldValueDuplicate", "FieldValueForbidden",
        "FieldValueInvalid", "FieldValueRequired", NULL};
    const char *message = text_of(rule, "message"), *reason = json_string(rule, "reason");
    struct str text = str_trim(str_of(text_of(rule, "rule")));
    struct str trimmed = str_trim(str_of(message));
    autofree char *plain = str_dup(text), *plain_message = str_dup(trimmed);
    if (text.n == 0)
        check_required(c, AT(at, "rule"), "rule is not specified");
    else if (*message && trimmed.n == 0)
        check_invalid_text(c, AT(at, "message"), message, "message must be non-empty if specified");
    else if (has_line_break(plain_message))
        check_invalid_text(c, AT(at, "message"), message, "message must not contain line breaks");
    else if (has_line_break(plain) && trimmed.n == 0)
        check_required(
            c, AT(at, "message"), "message must be specified if rule contains line breaks");
    const char *expression = text_of(rule, "messageExpression"), *path = text_of(rule, "fieldPath");
    if (*expression && str_trim(str_of(expression)).n == 0)
        check_required(
            c, AT(at, "messageExpression"), "messageExpression must be non-empty if specified");
    bool known = !reason;
    for (size_t i = 0; reasons[i]; i++)
        known |= c_eq(reason, reasons[i]);
    if (!known)
        check_not_supported(c, AT(at, "reason"), reason, reasons);
    if (*path && str_trim(str_of(path)).n == 0)
        check_invalid_text(
            c, AT(at, "fieldPath"), path, "fieldPath must be non-empty if specified");
    if (has_line_break(path))
        check_invalid_text(c, AT(at, "fieldPath"), path, "fieldPath must not contain line breaks");
}

static void check_members(struct check *c, const cJSON *s, const struct frame *at, bool is_root,
    struct context context, struct strbuf *unknown_formats)
{
    const cJSON *item;
    bool resource = is_root || flag(s, "x-kubernetes-embedded-resource");
    cJSON_ArrayForEach(item, json_get(s, "properties"))
    {
        struct context below = context;
        autofree char *reason = NULL;
        const char *name = item->string;
        if (resource &&
            (c_eq(name, "metadata") || c_eq(name, "kind") || c_eq(name, "apiVersion"))) {
            below.in_metadata = true;
            if (is_root)
                below.no_default = reason = str_format("in top-level %s", name);
        }
        check_schema(c, item, AT_KEY(AT(at, "properties"), name), false, below, unknown_formats);
    }
}

static void check_below(struct check *c, const cJSON *s, const struct frame *at,
    struct context context, struct strbuf *unknown_formats)
{
    static const char *const junctors[] = {"allOf", "oneOf", "anyOf"};
    const cJSON *additional = json_get(s, "additionalProperties"), *item;
    if (cJSON_IsObject(additional)) {
        struct context below = context;
        if (context.in_metadata)
            below.no_default = "inside additionalProperties applying to object metadata";
        check_schema(c, additional, AT(at, "additionalProperties"), false, below, unknown_formats);
    }
    if (given(s, "additionalProperties") && has(s, "properties") && !cJSON_IsTrue(additional))
        check_forbidden(c, AT(at, "additionalProperties"),
            "additionalProperties and properties are mutual exclusive");
    if (cJSON_IsObject(json_get(s, "not")))
        check_schema(c, json_get(s, "not"), AT(at, "not"), false, context, unknown_formats);
    for (size_t i = 0; i < ARRAY_COUNT(junctors); i++) {
        struct frame here = {.up = AT(at, junctors[i])};
        cJSON_ArrayForEach(item, json_get(s, junctors[i]))
        {
            check_schema(c, item, &here, false, context, unknown_formats);
            here.index++;
        }
    }
    if (cJSON_IsObject(json_get(s, "items")))
        check_schema(c, json_get(s, "items"), AT(at, "items"), false, context, unknown_formats);
}

static void check_schema(struct check *c, const cJSON *s, const struct frame *at, bool is_root,
    struct context context, struct strbuf *unknown_formats)
{
    const cJSON *preserve = json_get(s, "x-kubernetes-preserve-unknown-fields"), *rule;
    check_keywords(c, s, at, context, unknown_formats);
    check_members(c, s, at, is_root, context, unknown_formats);
    check_below(c, s, at, context, unknown_formats);
    if (cJSON_IsFalse(preserve))
        check_invalid(c, AT(at, "x-kubernetes-preserve-unknown-fields"), preserve,
            "must be true or undefined");
    check_map_type(c, s, at);
    check_list_type(c, s, at);
    struct frame here = {.up = AT(at, "x-kubernetes-validations")};
    cJSON_ArrayForEach(rule, json_get(s, "x-kubernetes-validations"))
    {
        check_rule(c, rule, &here);
        here.index++;
    }
}

/* --- structural --- */

/* [{type: integer}, {type: string}] */
static bool is_int_or_string(const cJSON *list)
{
    const cJSON *a = cJSON_IsArray(list) ? list->child : NULL, *b = a ? a->next : NULL;
    return b && !b->next && cJSON_GetArraySize(a) == 1 && cJSON_GetArraySize(b) == 1 &&
           c_eq(json_string(a, "type"), "integer") && c_eq(json_string(b, "type"), "string");
}

static void values(struct check *c, const cJSON *s, enum level level, const struct frame *at,
    bool skip_any_of, bool skip_first_all_of)
{
    static const char *const lists[] = {"anyOf", "allOf", "oneOf"};
    const cJSON *item;
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        struct frame here = {.up = AT(at, lists[i])};
        if (i == 0 && skip_any_of)
            continue;
        cJSON_ArrayForEach(item, json_get(s, lists[i]))
        {
            nested(c, item, level, &here, i == 1 && here.index == 0 && skip_first_all_of, false);
            here.index++;
        }
    }
    if (cJSON_IsObject(json_get(s, "not")))
        nested(c, json_get(s, "not"), level, AT(at, "not"), false, false);
    if (*text_of(s, "pattern")) {
        struct error err;
        struct pattern *p;
        struct arena *a = arena_new();
        if (pattern_compile(a, text_of(s, "pattern"), &p, &err) < 0)
            check_error(c, AT(at, "pattern"), FIELD_INVALID, json_get(s, "pattern"),
                "must be a valid regular expression, but isn't: %s", err.text);
        arena_free(a);
    }
}

static void nested(struct check *c, const cJSON *s, enum level level, const struct frame *at,
    bool skip_any_of, bool skip_first_all_of)
{
    static const struct {
        const char *name, *detail;
    } forbidden[] = {
        {"type", "must be empty to be structural"},
        {"additionalProperties", "must be undefined to be structural"},
        {"default", "must be undefined to be structural"},
        {"title", "must be empty to be structural"},
        {"description", "must be empty to be structural"},
        {"nullable", "must be false to be structural"},
        {"externalDocs", "must be undefined to be structural"},
        {"x-kubernetes-preserve-unknown-fields", "must be false to be structural"},
        {"x-kubernetes-embedded-resource", "must be false to be structural"},
        {"x-kubernetes-int-or-string", "must be false to be structural"},
        {"x-kubernetes-list-map-keys", "must be empty to be structural"},
        {"x-kubernetes-list-type", "must be undefined to be structural"},
        {"x-kubernetes-map-type", "must be undefined to be structural"},
        {"x-kubernetes-validations", "must be empty to be structural"},
    };
    const cJSON *item;
    values(c, s, level, at, skip_any_of, skip_first_all_of);
    if (cJSON_IsObject(json_get(s, "items")))
        nested(c, json_get(s, "items"), level, AT(at, "items"), false, false);
    cJSON_ArrayForEach(item, json_get(s, "properties"))
        nested(c, item, LEVEL_FIELD, AT_KEY(AT(at, "properties"), item->string), false, false);
    for (size_t i = 0; i < ARRAY_COUNT(forbidden); i++) {
        bool undefined = strstr(forbidden[i].detail, "undefined") != NULL;
        if (undefined ? given(s, forbidden[i].name) : has(s, forbidden[i].name))
            check_forbidden(c, AT(at, forbidden[i].name), forbidden[i].detail);
    }
    if (json_get(json_get(s, "properties"), "metadata"))
        check_forbidden(c, AT_KEY(AT(at, "properties"), "metadata"),
            "must not be specified in a nested context");
}

static void structural_metadata(
    struct check *c, const cJSON *s, bool checked, enum level level, const struct frame *at)
{
    const cJSON *item;
    bool more = false;
    if (checked && !c_eq(text_of(s, "type"), "object"))
        check_invalid_text(c, AT(at, "type"), text_of(s, "type"), "must be object");
    if (level != LEVEL_ROOT)
        return;
    cJSON_ArrayForEach(item, s) more |= has(s, item->string) && !c_eq(item->string, "type") &&
                                        !c_eq(item->string, "properties") &&
                                        !c_eq(item->string, "default");
    cJSON_ArrayForEach(item, json_get(s, "properties")) more |=
        !c_eq(item->string, "name") && !c_eq(item->string, "generateName");
    if (more)
        check_forbidden(c, at,
            "must not specify anything other than name and generateName, but metadata is "
            "implicitly specified");
}

static void structural_resource(
    struct check *c, const cJSON *s, bool resource, enum level level, const struct frame *at)
{
    static const char *const words[] = {"kind", "apiVersion"};
    const cJSON *properties = json_get(s, "properties");
    const struct frame *at_properties = AT(at, "properties");
    for (size_t i = 0; resource && i < ARRAY_COUNT(words); i++) {
        const cJSON *p = json_get(properties, words[i]);
        if (p && !c_eq(text_of(p, "type"), "string"))
            check_invalid_text(c, AT(AT_KEY(at_properties, words[i]), "type"), text_of(p, "type"),
                "must be string");
    }
    const cJSON *metadata = json_get(properties, "metadata");
    if (metadata)
        structural_metadata(c, metadata, resource, level, AT_KEY(at_properties, "metadata"));
}

static void structural_type(
    struct check *c, const cJSON *s, enum level level, const struct frame *at)
{
    static const char *const details[] = {
        [LEVEL_ROOT] = "must not be empty at the root",
        [LEVEL_ITEM] = "must not be empty for specified array items",
        [LEVEL_FIELD] = "must not be empty for specified object fields",
    };
    const char *type = text_of(s, "type");
    bool embedded = flag(s, "x-kubernetes-embedded-resource");
    if (embedded && !c_eq(type, "object"))
        wants_type(c, s, at, "object", "must be object if x-kubernetes-embedded-resource is true");
    else if (!*type && !flag(s, "x-kubernetes-int-or-string") &&
             !flag(s, "x-kubernetes-preserve-unknown-fields"))
        check_required(c, AT(at, "type"), details[level]);
    if (embedded && given(s, "additionalProperties"))
        check_forbidden(c, AT(at, "additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set");
    if (level == LEVEL_ROOT && *type && !c_eq(type, "object"))
        check_invalid_text(c, AT(at, "type"), type, "must be object at the root");
    if (embedded && !flag(s, "x-kubernetes-preserve-unknown-fields") && !has(s, "properties"))
        check_required(c, AT(at, "properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields");
}

static void structural(struct check *c, const cJSON *s, enum level level, const struct frame *at)
{
    const cJSON *items = json_get(s, "items"), *item;
    const cJSON *additional = json_get(s, "additionalProperties");
    if (c_eq(text_of(s, "type"), "array") && !items)
        check_required(c, AT(at, "items"), "must be specified");
    if (cJSON_IsObject(items))
        structural(c, items, LEVEL_ITEM, AT(at, "items"));
    cJSON_ArrayForEach(item, json_get(s, "properties"))
        structural(c, item, LEVEL_FIELD, AT_KEY(AT(at, "properties"), item->string));
    if (given(s, "additionalProperties") && level == LEVEL_ROOT)
        check_forbidden(c, AT(at, "additionalProperties"), "must not be used at the root");
    if (cJSON_IsObject(additional))
        structural(c, additional, LEVEL_FIELD, AT(at, "additionalProperties"));
    bool either = flag(s, "x-kubernetes-int-or-string");
    autojson cJSON *yes = cJSON_CreateTrue();
    if (either && flag(s, "x-kubernetes-preserve-unknown-fields"))
        check_invalid(c, AT(at, "x-kubernetes-preserve-unknown-fields"), yes,
            "must be false if x-kubernetes-int-or-string is true");
    if (either && flag(s, "x-kubernetes-embedded-resource"))
        check_invalid(c, AT(at, "x-kubernetes-embedded-resource"), yes,
            "must be false if x-kubernetes-int-or-string is true");
    const cJSON *all = json_get(s, "allOf");
    values(c, s, level, at, is_int_or_string(json_get(s, "anyOf")),
        cJSON_IsArray(all) && all->child && is_int_or_string(json_get(all->child, "anyOf")));
    structural_type(c, s, level, at);
    structural_resource(
        c, s, level == LEVEL_ROOT || flag(s, "x-kubernetes-embedded-resource"), level, at);
}

/* --- complete --- */

static void complete_nested(struct check *c, const cJSON *v, const cJSON *s,
    const struct frame *at_s, const struct frame *at_v);

static void missing(struct check *c, const struct frame *at, const struct frame *judged)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    frame_print(judged, false, &path);
    autofree char *detail = str_format("because it is defined in %s", path.data);
    check_required(c, at, detail);
}

static void complete(struct check *c, const cJSON *v, const cJSON *s, const struct frame *at_s,
    const struct frame *at_v)
{
    static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
    const cJSON *item;
    if (cJSON_IsObject(json_get(v, "not")))
        complete_nested(c, json_get(v, "not"), s, at_s, AT(at_v, "not"));
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        struct frame here = {.up = AT(at_v, lists[i])};
        cJSON_ArrayForEach(item, json_get(v, lists[i]))
        {
            complete_nested(c, item, s, at_s, &here);
            here.index++;
        }
    }
}

static void complete_nested(struct check *c, const cJSON *v, const cJSON *s,
    const struct frame *at_s, const struct frame *at_v)
{
    const cJSON *items = json_get(v, "items"), *item;
    complete(c, v, s, at_s, at_v);
    if (cJSON_IsObject(items)) {
        if (cJSON_IsObject(json_get(s, "items")))
            complete_nested(c, items, json_get(s, "items"), AT(at_s, "items"), AT(at_v, "items"));
        else
            missing(c, AT(at_s, "items"), AT(at_v, "items"));
    }
    cJSON_ArrayForEach(item, json_get(v, "properties"))
    {
        const cJSON *there = json_get(json_get(s, "properties"), item->string);
        const struct frame *here_s = AT_KEY(AT(at_s, "properties"), item->string);
        const struct frame *here_v = AT_KEY(AT(at_v, "properties"), item->string);
        if (there)
            complete_nested(c, item, there, here_s, here_v);
        else
            missing(c, here_s, here_v);
    }
}

static void complete_all(struct check *c, const cJSON *s, const struct frame *at)
{
    complete(c, s, s, at, at);
}

/* --- defaults --- */

static void check_defaults(struct check *c, const struct schema *meta, const struct node *n,
    const struct frame *at, bool in_metadata)
{
    if (n->otherwise && !in_metadata) {
        const struct frame *at_default = AT(at, "default");
        if (!node_is_pruned(meta, n, n->otherwise))
            check_invalid(c, at_default, n->otherwise, "must not have unknown fields");
        node_validate(n, n->otherwise, at_default, c->errors);
    }
    if (n->items)
        check_defaults(c, meta, n->items, AT(at, "items"), in_metadata);
    for (size_t i = 0; i < n->member_count; i++)
        if (n->members[i].node->deep_defaults)
            check_defaults(c, meta, n->members[i].node,
                AT_KEY(AT(at, "properties"), n->members[i].name), in_metadata);
    if (n->additional && n->additional->deep_defaults)
        check_defaults(c, meta, n->additional, AT(at, "additionalProperties"), in_metadata);
}

/* --- the root --- */

/* With a status subresource the root may only have what stays true of status alone. */
static void check_root(struct check *c, const cJSON *s, bool status, const struct frame *at)
{
    static const char *const allowed[] = {"description", "type", "format", "title", "maximum",
        "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern",
        "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties",
        "externalDocs", "example", "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations"};
    const cJSON *item;
    if (flag(s, "nullable"))
        check_forbidden(c, AT(at, "nullable"), "nullable cannot be true at the root");
    if (!status)
        return;
    if (*text_of(s, "type") && !c_eq(text_of(s, "type"), "object"))
        check_invalid_text(c, AT(at, "type"), text_of(s, "type"),
            "only \"object\" is allowed as the type at the root of the schema if the status "
            "subresource is enabled");
    cJSON_ArrayForEach(item, s)
    {
        bool known = !has(s, item->string);
        for (size_t i = 0; i < ARRAY_COUNT(allowed); i++)
            known |= c_eq(allowed[i], item->string);
        if (known)
            continue;
        check_invalid(c, at, s,
            "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum "
            "MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items "
            "Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are "
            "allowed at the root of the schema if the status subresource is enabled");
        return;
    }
}

void check_openapi(struct check *c, const struct schema *meta, const cJSON *s, bool status,
    const struct frame *at, struct strbuf *unknown_formats)
{
    struct error err;
    struct node *n = NULL;
    size_t before = field_errors_count(c->errors);
    struct arena *a = arena_new();
    bool compiles = node_compile(a, s, &n, &err) == 0;
    /* What is too big is not looked at any closer. */
    if (!compiles && !strstr(err.text, "parsing regexp")) {
        check_invalid_text(c, at, "", err.text);
        arena_free(a);
        return;
    }
    check_root(c, s, status, at);
    structural(c, s, LEVEL_ROOT, at);
    complete_all(c, s, at);
    check_schema(c, s, at, true, (struct context){0}, unknown_formats);
    if (compiles && field_errors_count(c->errors) == before && n->deep_defaults)
        check_defaults(c, meta, n, at, false);
    arena_free(a);
}
