/*
 * Lists of field errors, and the Status of 422 Invalid made from one.
 *
 * Upstream: apimachinery's util/validation/field and api/errors.NewInvalid.
 */
#include <stdarg.h>

#include "apiserver/schema/model.h"

struct field_error {
    enum field_error_type type;
    const char *field, *message;
};

struct field_errors {
    struct arena *arena;
    struct field_error *list;
    size_t count, capacity;
};

static const struct {
    const char *reason, *text;
    bool with_value;
} types[] = {
    [FIELD_REQUIRED] = {"FieldValueRequired", "Required value", false},
    [FIELD_INVALID] = {"FieldValueInvalid", "Invalid value", true},
    [FIELD_NOT_SUPPORTED] = {"FieldValueNotSupported", "Unsupported value", true},
    [FIELD_FORBIDDEN] = {"FieldValueForbidden", "Forbidden", false},
    [FIELD_DUPLICATE] = {"FieldValueDuplicate", "Duplicate value", true},
    [FIELD_TOO_LONG] = {"FieldValueTooLong", "Too long", false},
    [FIELD_TOO_MANY] = {"FieldValueTooMany", "Too many", true},
    [FIELD_TYPE_INVALID] = {"FieldValueTypeInvalid", "Invalid value", true},
    [FIELD_NOT_FOUND] = {"FieldValueNotFound", "Not found", true},
    [FIELD_INTERNAL] = {"InternalError", "Internal error", false},
};

struct field_errors *field_errors_new(struct arena *a)
{
    struct field_errors *e = arena_zalloc(a, sizeof(*e));
    e->arena = a;
    return e;
}

static void append(struct field_errors *e, enum field_error_type type, const char *path,
    const char *value, const char *detail)
{
    if (e->count >= FIELD_ERRORS_MAX)
        return;
    bool shown = types[type].with_value && value;
    const char *message = arena_printf(e->arena, "%s%s%s%s%s", types[type].text, shown ? ": " : "",
        shown ? value : "", *detail ? ": " : "", detail);
    for (size_t i = 0; i < e->count; i++)
        if (!strcmp(e->list[i].field, path) && !strcmp(e->list[i].message, message))
            return;
    if (e->count == e->capacity) {
        size_t capacity = e->capacity ? e->capacity * 2 : 8;
        struct field_error *list = arena_new_array(e->arena, struct field_error, capacity);
        if (e->count > 0)
            memcpy(list, e->list, e->count * sizeof(*list));
        e->list = list;
        e->capacity = capacity;
    }
    e->list[e->count++] = (struct field_error){type, arena_strdup(e->arena, str_of(path)), message};
}

void field_error_add(struct field_errors *e, enum field_error_type type, const char *path,
    const char *value, const char *format, ...)
{
    autofree char *detail = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&detail, format, args) < 0)
        abort();
    va_end(args);
    append(e, type, path, value, detail);
}

void field_error_not_supported(
    struct field_errors *e, const char *path, const char *value, const char *const *supported)
{
    autostrbuf struct strbuf detail = STRBUF_EMPTY, quoted = STRBUF_EMPTY;
    strbuf_addc(&detail, "supported values: ");
    for (const char *const *s = supported; *s; s++)
        strbuf_addf(&detail, "%s\"%s\"", s == supported ? "" : ", ", *s);
    json_print_string(str_of(value), &quoted);
    append(e, FIELD_NOT_SUPPORTED, path, quoted.data, detail.data);
}

struct arena *field_errors_arena(const struct field_errors *e)
{
    return e->arena;
}

size_t field_errors_count(const struct field_errors *e)
{
    return e->count;
}

/* One error as it stands; several in brackets. */
static void print_list(const struct field_errors *e, struct strbuf *out)
{
    if (e->count != 1)
        strbuf_add_char(out, '[');
    for (size_t i = 0; i < e->count; i++)
        strbuf_addf(out, "%s%s: %s", i ? ", " : "", e->list[i].field, e->list[i].message);
    if (e->count != 1)
        strbuf_add_char(out, ']');
}

static cJSON *causes(const struct field_errors *e)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < e->count; i++) {
        cJSON *cause = cJSON_CreateObject();
        cJSON_AddStringToObject(cause, "reason", types[e->list[i].type].reason);
        cJSON_AddStringToObject(cause, "message", e->list[i].message);
        cJSON_AddStringToObject(cause, "field", e->list[i].field);
        cJSON_AddItemToArray(list, cause);
    }
    return list;
}

cJSON *field_errors_status(const struct field_errors *e, const struct resource *r, const char *name)
{
    autostrbuf struct strbuf message = STRBUF_EMPTY;
    strbuf_addf(
        &message, "%s%s%s \"%s\" is invalid: ", r->kind, *r->group ? "." : "", r->group, name);
    print_list(e, &message);
    cJSON *status = cJSON_CreateObject();
    cJSON_AddStringToObject(status, "kind", "Status");
    cJSON_AddStringToObject(status, "apiVersion", "v1");
    cJSON_AddItemToObject(status, "metadata", cJSON_CreateObject());
    cJSON_AddStringToObject(status, "status", "Failure");
    cJSON_AddStringToObject(status, "message", message.data);
    cJSON_AddStringToObject(status, "reason", "Invalid");
    cJSON *details = cJSON_AddObjectToObject(status, "details");
    if (*name)
        cJSON_AddStringToObject(details, "name", name);
    if (*r->group)
        cJSON_AddStringToObject(details, "group", r->group);
    cJSON_AddStringToObject(details, "kind", r->kind);
    cJSON_AddItemToObject(details, "causes", causes(e));
    cJSON_AddNumberToObject(status, "code", 422);
    return status;
}
