/*
 * Validation of custom objects: every keyword of their schemas, with upstream's texts.
 *
 * judge() visits a value with its node. Below allOf, anyOf, oneOf and not it first only counts
 * errors (quiet) and then says what upstream says. A value that equals the stored one is not judged
 * again, so that a schema may become stricter than objects that exist. The number of visits is
 * bounded.
 *
 * Upstream: kube-openapi/pkg/validation/validate and its errors, apiextensions-apiserver's
 * validation.go, schema/listtype, schema/objectmeta, and ratcheting.
 */
#include <math.h>
#include <stdarg.h>

#include "apiserver/custom/custom.h"
#include "apiserver/custom/node.h"
#include "apiserver/schema/check.h"
#include "common/limits.h"

/* A value is shown up to here; enough to recognise it. */
#define VALUE_SHOWN_MAX 1024

#define RUNAWAYS_MAX 4

struct judge {
    struct check *c;
    size_t visits;
    unsigned quiet; /* depth of trials: errors are counted only */
    size_t errors;
    bool exhausted;
    const char *prefix; /* of fields, or NULL */
    unsigned runaways;
};

static void judge(struct judge *j, const struct node *n, const cJSON *value, const cJSON *old,
    const struct frame *at);

/* --- reporting --- */

static const char *path_of(struct judge *j, const struct frame *at)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    frame_print(at, true, &path);
    return arena_strdup(j->c->arena, strbuf_str(&path));
}

/* The field of an error: the path behind what is judged, a default of a schema for instance. */
static const char *field_of(struct judge *j, const struct frame *at)
{
    const char *path = path_of(j, at);
    if (!j->prefix)
        return path;
    return arena_printf(j->c->arena, "%s%s%s", j->prefix, *path && *path != '[' ? "." : "", path);
}

static const char *json_text(struct judge *j, const cJSON *value)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(value, &text);
    if (text.n > VALUE_SHOWN_MAX)
        memcpy(text.data + VALUE_SHOWN_MAX - 3, "...", 4);
    text.n = strlen(text.data);
    return arena_strdup(j->c->arena, strbuf_str(&text));
}

/* true: the caller should print the error. */
static bool counts(struct judge *j)
{
    j->errors++;
    return !j->quiet && field_errors_count(j->c->errors) < FIELD_ERRORS_MAX;
}

/* "PATH in body WHAT", the value shown. */
static void fail(struct judge *j, const struct frame *at, const cJSON *value, const char *format,
    ...) __attribute__((format(printf, 4, 5)));
static void fail(
    struct judge *j, const struct frame *at, const cJSON *value, const char *format, ...)
{
    va_list args;
    if (!counts(j))
        return;
    va_start(args, format);
    autofree char *what = NULL;
    if (vasprintf(&what, format, args) < 0)
        abort();
    va_end(args);
    const char *path = path_of(j, at);
    field_error_add(j->c->errors, FIELD_INVALID, field_of(j, at), json_text(j, value),
        "%s in body %s", path, what);
}

/* Go's names of what a JSON value is. */
static const char *type_of(const cJSON *value)
{
    if (cJSON_IsString(value))
        return "string";
    if (cJSON_IsBool(value))
        return "boolean";
    if (cJSON_IsArray(value))
        return "array";
    if (cJSON_IsObject(value))
        return "object";
    if (!json_is_number(value))
        return "null";
    double v = cJSON_IsNumber(value) ? value->valuedouble : strtod(value->valuestring, NULL);
    return v == floor(v) ? "integer" : "number";
}

static void wrong_type(
    struct judge *j, const struct frame *at, const char *wanted, const char *shown)
{
    if (!counts(j))
        return;
    const char *path = path_of(j, at);
    autostrbuf struct strbuf quoted = STRBUF_EMPTY;
    json_print_string(str_of(shown), &quoted);
    field_error_add(j->c->errors, FIELD_TYPE_INVALID, field_of(j, at), quoted.data,
        "%s in body must be of type %s: %s", path, wanted, quoted.data);
}

/* Junctors have no field of their own upstream. */
static void fail_junctor(struct judge *j, const struct frame *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fail_junctor(struct judge *j, const struct frame *at, const char *format, ...)
{
    va_list args;
    if (!counts(j))
        return;
    va_start(args, format);
    autofree char *what = NULL;
    if (vasprintf(&what, format, args) < 0)
        abort();
    va_end(args);
    field_error_add(
        j->c->errors, FIELD_INVALID, "<nil>", "\"\"", "\"%s\" %s", path_of(j, at), what);
}

static const char *number_text(struct judge *j, double v)
{
    autojson cJSON *number = cJSON_CreateNumber(v);
    return json_text(j, number);
}

/* --- scalars --- */

static const char *const type_names[] = {
    [NODE_OBJECT] = "object",
    [NODE_ARRAY] = "array",
    [NODE_STRING] = "string",
    [NODE_INTEGER] = "integer",
    [NODE_NUMBER] = "number",
    [NODE_BOOLEAN] = "boolean",
};

static bool judge_type(
    struct judge *j, const struct node *n, const cJSON *value, const struct frame *at)
{
    const char *type = type_of(value);
    if (c_eq(type, "null")) {
        if (n->nullable || (n->type == NODE_ANY && !n->int_or_string))
            return true;
        wrong_type(j, at, n->int_or_string ? "integer,string" : type_names[n->type], type);
        return false;
    }
    if (n->int_or_string) {
        if (c_eq(type, "integer") || c_eq(type, "string"))
            return true;
        wrong_type(j, at, "integer,string", type);
        return false;
    }
    if (n->type == NODE_ANY || c_eq(type, type_names[n->type]) ||
        (n->type == NODE_NUMBER && c_eq(type, "integer")))
        return true;
    wrong_type(j, at, type_names[n->type], type);
    return false;
}

static int64_t characters_of(const char *s)
{
    int64_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Patterns that run away are given a few chances an object. */
static int match(struct judge *j, const struct pattern *p, const char *text)
{
    if (j->runaways >= RUNAWAYS_MAX)
        return -1;
    int matches = pattern_matches(p, text);
    j->runaways += matches < 0;
    return matches;
}

static void judge_string(
    struct judge *j, const struct node *n, const cJSON *value, const struct frame *at)
{
    int64_t length =
        n->max_length >= 0 || n->min_length >= 0 ? characters_of(value->valuestring) : 0;
    if (n->max_length >= 0 && length > n->max_length && counts(j))
        field_error_add(j->c->errors, FIELD_TOO_LONG, field_of(j, at), "",
            "may not be more than %lld bytes", (long long)n->max_length);
    if (n->min_length >= 0 && length < n->min_length)
        fail(j, at, value, "should be at least %lld chars long", (long long)n->min_length);
    int matches = n->pattern ? match(j, n->pattern, value->valuestring) : 1;
    if (matches == 0)
        fail(j, at, value, "should match '%s'", pattern_text(n->pattern));
    else if (matches < 0)
        fail(j, at, value, "takes too many steps to be matched against '%s'",
            pattern_text(n->pattern));
}

static bool is_multiple(double v, double of)
{
    double quotient = v / of;
    return fabs(quotient - round(quotient)) <= 1e-9 * fmax(1, fabs(quotient));
}

static void judge_number(
    struct judge *j, const struct node *n, const cJSON *value, const struct frame *at)
{
    double v = cJSON_IsNumber(value) ? value->valuedouble : strtod(value->valuestring, NULL);
    if (n->multiple_of > 0 && !is_multiple(v, n->multiple_of))
        fail(j, at, value, "should be a multiple of %s", number_text(j, n->multiple_of));
    if (n->has_maximum && (n->exclusive_maximum ? v >= n->maximum : v > n->maximum))
        fail(j, at, value, "should be less than %s%s", n->exclusive_maximum ? "" : "or equal to ",
            number_text(j, n->maximum));
    if (n->has_minimum && (n->exclusive_minimum ? v <= n->minimum : v < n->minimum))
        fail(j, at, value, "should be greater than %s%s",
            n->exclusive_minimum ? "" : "or equal to ", number_text(j, n->minimum));
}

static void judge_enum(
    struct judge *j, const struct node *n, const cJSON *value, const struct frame *at)
{
    const cJSON *item;
    size_t count = 0;
    cJSON_ArrayForEach(item, n->enums)
    {
        count++;
        if (json_equal(item, value))
            return;
    }
    if (!counts(j))
        return;
    const char **supported = arena_new_array(j->c->arena, const char *, count + 1);
    count = 0;
    cJSON_ArrayForEach(item, n->enums) supported[count++] =
        cJSON_IsString(item) ? item->valuestring : json_text(j, item);
    if (cJSON_IsString(value)) {
        field_error_not_supported(j->c->errors, field_of(j, at), value->valuestring, supported);
        return;
    }
    autostrbuf struct strbuf list = STRBUF_EMPTY;
    for (size_t i = 0; i < count; i++)
        strbuf_addf(&list, "%s\"%s\"", i ? ", " : "", supported[i]);
    field_error_add(j->c->errors, FIELD_NOT_SUPPORTED, field_of(j, at), json_text(j, value),
        "supported values: %s", list.data);
}

/* --- lists --- */

static bool same_keys(const struct node *n, const cJSON *a, const cJSON *b)
{
    for (const char *const *k = n->keys; *k; k++) {
        const cJSON *x = json_get(a, *k), *y = json_get(b, *k);
        if (!x != !y || (x && !json_equal(x, y)))
            return false;
    }
    return true;
}

static bool is_same_element(const struct node *n, const cJSON *a, const cJSON *b)
{
    return n->list == LIST_MAP ? same_keys(n, a, b) : json_equal(a, b);
}

static uint32_t element_hash(const struct node *n, const cJSON *e)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (n->list != LIST_MAP)
        json_print(e, &text);
    else
        for (const char *const *k = n->keys; *k; k++)
            if (json_get(e, *k))
                json_print(json_get(e, *k), &text);
    return text.n ? schema_hash(text.data, text.n) : 0;
}

/* Elements by value or key, for duplicates and for finding the stored one. */
struct elements {
    const cJSON **slots;
    size_t mask;
};

static const cJSON **element_slot(
    const struct elements *x, const struct node *n, const cJSON *e, uint32_t hash)
{
    size_t at = hash & x->mask;
    while (x->slots[at] && !is_same_element(n, x->slots[at], e))
        at = (at + 1) & x->mask;
    return &x->slots[at];
}

static struct elements elements_new(struct judge *j, size_t count)
{
    size_t size = 8;
    while (size < 2 * count)
        size *= 2;
    return (struct elements){arena_new_array(j->c->arena, const cJSON *, size), size - 1};
}

static void report_duplicate(
    struct judge *j, const struct node *n, const cJSON *e, const struct frame *at)
{
    if (!counts(j))
        return;
    if (n->list != LIST_MAP) {
        field_error_add(j->c->errors, FIELD_DUPLICATE, field_of(j, at), json_text(j, e), "%s", "");
        return;
    }
    autojson cJSON *keys = cJSON_CreateObject();
    for (const char *const *k = n->keys; *k; k++)
        if (json_get(e, *k))
            cJSON_AddItemToObject(keys, *k, cJSON_Duplicate(json_get(e, *k), true));
    field_error_add(j->c->errors, FIELD_DUPLICATE, field_of(j, at), json_text(j, keys), "%s", "");
}

static void judge_unique(
    struct judge *j, const struct node *n, const cJSON *list, size_t count, const struct frame *at)
{
    struct elements seen = elements_new(j, count);
    struct frame here = {.up = at};
    for (const cJSON *e = list->child; e; e = e->next, here.index++) {
        if (n->list == LIST_MAP && !cJSON_IsObject(e))
            continue;
        const cJSON **slot = element_slot(&seen, n, e, element_hash(n, e));
        if (*slot)
            report_duplicate(j, n, e, &here);
        *slot = e;
    }
}

static void judge_elements(struct judge *j, const struct node *n, const cJSON *list,
    const cJSON *old, const struct frame *at)
{
    struct elements stored = {0};
    struct frame here = {.up = at};
    if (cJSON_IsArray(old) && n->list == LIST_MAP) {
        stored = elements_new(j, (size_t)cJSON_GetArraySize(old));
        for (const cJSON *e = old->child; e; e = e->next)
            if (cJSON_IsObject(e))
                *element_slot(&stored, n, e, element_hash(n, e)) = e;
    }
    for (const cJSON *e = list->child; e && !j->exhausted; e = e->next, here.index++) {
        const cJSON *was = stored.slots && cJSON_IsObject(e)
                               ? *element_slot(&stored, n, e, element_hash(n, e))
                               : NULL;
        judge(j, n->items, e, was, &here);
    }
}

static void judge_list(struct judge *j, const struct node *n, const cJSON *list, const cJSON *old,
    const struct frame *at)
{
    size_t count = (size_t)cJSON_GetArraySize(list);
    if (n->items)
        judge_elements(j, n, list, old, at);
    if (n->min_items >= 0 && (int64_t)count < n->min_items)
        fail(j, at, list, "should have at least %lld items", (long long)n->min_items);
    if (n->max_items >= 0 && (int64_t)count > n->max_items && counts(j)) {
        autofree char *shown = str_format("%zu", count);
        field_error_add(j->c->errors, FIELD_TOO_MANY, field_of(j, at), shown,
            "must have at most %lld items", (long long)n->max_items);
    }
    if ((n->list == LIST_SET || n->list == LIST_MAP) && count > 1)
        judge_unique(j, n, list, count, at);
}

/* --- objects --- */

static void require(struct judge *j, const struct frame *at, const char *name, const char *why)
{
    if (counts(j))
        field_error_add(j->c->errors, FIELD_REQUIRED, field_of(j, AT(at, name)), NULL, "%s", why);
}

static void judge_required(
    struct judge *j, const struct node *n, const cJSON *object, const struct frame *at)
{
    automembers struct members members = members_of((cJSON *)(uintptr_t)object, 0);
    for (size_t i = 0; i < n->required_count; i++)
        if (!members_get(&members, n->required[i]))
            require(j, at, n->required[i], "");
}

static void judge_embedded(struct judge *j, const cJSON *object, const struct frame *at)
{
    const char *version = value_string(json_get(object, "apiVersion"));
    const char *slash = strchr(version, '/');
    if (!*version)
        require(j, at, "apiVersion", "must not be empty");
    else if (slash && strchr(slash + 1, '/') && counts(j))
        field_error_add(j->c->errors, FIELD_INVALID, field_of(j, AT(at, "apiVersion")),
            json_text(j, json_get(object, "apiVersion")), "unexpected GroupVersion string: %s",
            version);
    if (!*value_string(json_get(object, "kind")))
        require(j, at, "kind", "must not be empty");
}

static void judge_object(struct judge *j, const struct node *n, const cJSON *object,
    const cJSON *old, const struct frame *at)
{
    int64_t count = 0;
    automembers struct members stored =
        members_of(cJSON_IsObject(old) ? (cJSON *)(uintptr_t)old : (cJSON *)(uintptr_t)object, 0);
    for (const cJSON *m = object->child; m && !j->exhausted; m = m->next, count++) {
        const struct node *below = node_member(n, m->string);
        if (!below)
            below = n->additional;
        if (below)
            judge(j, below, m, cJSON_IsObject(old) ? members_get(&stored, m->string) : NULL,
                AT(at, m->string));
    }
    if (n->min_members >= 0 && count < n->min_members)
        fail(j, at, object, "should have at least %lld properties", (long long)n->min_members);
    if (n->max_members >= 0 && count > n->max_members && counts(j)) {
        autofree char *shown = str_format("%lld", (long long)count);
        field_error_add(j->c->errors, FIELD_TOO_MANY, field_of(j, at), shown,
            "must have at most %lld items", (long long)n->max_members);
    }
    if (n->required_count > 0)
        judge_required(j, n, object, at);
    if (n->embedded)
        judge_embedded(j, object, at);
}

/* --- junctors --- */

static size_t errors_of(
    struct judge *j, const struct node *n, const cJSON *value, const struct frame *at)
{
    size_t before = j->errors;
    j->quiet++;
    judge(j, n, value, NULL, at);
    j->quiet--;
    size_t found = j->errors - before;
    j->errors = before;
    return found;
}

/* How many alternatives hold; *ret_best: the one that fails least. */
static size_t try_all(struct judge *j, const struct node_list *list, const cJSON *value,
    const struct frame *at, const struct node **ret_best)
{
    size_t valid = 0, fewest = SIZE_MAX;
    for (size_t i = 0; i < list->count; i++) {
        size_t errors = errors_of(j, list->nodes[i], value, at);
        valid += errors == 0;
        if (errors < fewest) {
            fewest = errors;
            *ret_best = list->nodes[i];
        }
    }
    return valid;
}

static void judge_junctors(
    struct judge *j, const struct node *n, const cJSON *value, const struct frame *at)
{
    const struct node *best = NULL;
    if (n->any_of.count > 0 && try_all(j, &n->any_of, value, at, &best) == 0) {
        fail_junctor(j, at, "must validate at least one schema (anyOf)");
        judge(j, best, value, NULL, at);
    }
    if (n->one_of.count > 0) {
        size_t valid = try_all(j, &n->one_of, value, at, &best);
        if (valid == 0) {
            fail_junctor(j, at, "must validate one and only one schema (oneOf). Found none valid");
            judge(j, best, value, NULL, at);
        } else if (valid > 1) {
            fail_junctor(j, at,
                "must validate one and only one schema (oneOf). Found %zu valid alternatives",
                valid);
        }
    }
    if (n->all_of.count > 0) {
        size_t valid = 0;
        for (size_t i = 0; i < n->all_of.count; i++) {
            size_t before = j->errors;
            judge(j, n->all_of.nodes[i], value, NULL, at);
            valid += j->errors == before;
        }
        if (valid < n->all_of.count)
            fail_junctor(
                j, at, "must validate all the schemas (allOf)%s", valid ? "" : ". None validated");
    }
    if (n->not_ && errors_of(j, n->not_, value, at) == 0)
        fail_junctor(j, at, "must not validate the schema (not)");
}

static void judge(struct judge *j, const struct node *n, const cJSON *value, const cJSON *old,
    const struct frame *at)
{
    if (j->exhausted)
        return;
    if (++j->visits > LIMIT_CUSTOM_VISITS) {
        j->exhausted = true;
        j->quiet = 0;
        fail_junctor(j, NULL, "takes too many steps to be validated against the schema");
        return;
    }
    if (old && json_equal(value, old))
        return;
    if (!judge_type(j, n, value, at))
        return;
    if (cJSON_IsNull(value))
        return;
    judge_junctors(j, n, value, at);
    if (cJSON_IsString(value))
        judge_string(j, n, value, at);
    else if (json_is_number(value))
        judge_number(j, n, value, at);
    if (n->format && !format_holds(n->format, value))
        wrong_type(
            j, at, n->format, cJSON_IsString(value) ? value->valuestring : json_text(j, value));
    if (n->enums)
        judge_enum(j, n, value, at);
    if (cJSON_IsArray(value))
        judge_list(j, n, value, old, at);
    else if (cJSON_IsObject(value))
        judge_object(j, n, value, old, at);
}

void custom_validate(
    const struct schema *s, const cJSON *tree, const cJSON *old, struct field_errors *errors)
{
    struct check c = {.errors = errors, .arena = field_errors_arena(errors), .root = tree};
    struct judge j = {.c = &c};
    judge(&j, s->node, tree, old, NULL);
}

void node_validate(
    const struct node *n, const cJSON *value, const struct frame *at, struct field_errors *errors)
{
    struct check c = {.errors = errors, .arena = field_errors_arena(errors), .root = value};
    autostrbuf struct strbuf prefix = STRBUF_EMPTY;
    frame_print(at, false, &prefix);
    struct judge j = {.c = &c, .prefix = prefix.data};
    judge(&j, n, value, NULL, NULL);
}
