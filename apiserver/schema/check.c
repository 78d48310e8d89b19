/*
 * What formats, checks and rules report with: paths become text here, values are printed as
 * upstream prints them.
 */
#include "apiserver/schema/check.h"

#include <stdarg.h>

#include "common/names.h"

/* A value is shown up to here; enough to recognise it. */
#define VALUE_SHOWN_MAX 1024

void check_error(struct check *c, const struct frame *at, enum field_error_type type,
    const cJSON *value, const char *format, ...)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY, text = STRBUF_EMPTY;
    autofree char *detail = NULL;
    va_list args;
    if (field_errors_count(c->errors) >= FIELD_ERRORS_MAX)
        return;
    va_start(args, format);
    if (vasprintf(&detail, format, args) < 0)
        abort();
    va_end(args);
    frame_print(at, false, &path);
    if (value)
        json_print(value, &text);
    if (text.n > VALUE_SHOWN_MAX)
        memcpy(text.data + VALUE_SHOWN_MAX - 3, "...", 4);
    field_error_add(c->errors, type, path.data, value ? text.data : NULL, "%s", detail);
}

void check_required(struct check *c, const struct frame *at, const char *detail)
{
    check_error(c, at, FIELD_REQUIRED, NULL, "%s", detail);
}

void check_forbidden(struct check *c, const struct frame *at, const char *detail)
{
    check_error(c, at, FIELD_FORBIDDEN, NULL, "%s", detail);
}

void check_invalid(struct check *c, const struct frame *at, const cJSON *value, const char *detail)
{
    check_error(c, at, FIELD_INVALID, value, "%s", detail);
}

static void add_text(struct check *c, const struct frame *at, enum field_error_type type,
    const char *value, const char *detail)
{
    autojson cJSON *text = cJSON_CreateString(value);
    check_error(c, at, type, text, "%s", detail);
}

void check_invalid_text(
    struct check *c, const struct frame *at, const char *value, const char *detail)
{
    add_text(c, at, FIELD_INVALID, value, detail);
}

void check_duplicate(struct check *c, const struct frame *at, const cJSON *value)
{
    check_error(c, at, FIELD_DUPLICATE, value, "%s", "");
}

void check_too_many(struct check *c, const struct frame *at, size_t n, size_t max)
{
    autojson cJSON *value = cJSON_CreateNumber((double)n);
    check_error(c, at, FIELD_TOO_MANY, value, "must have at most %zu items", max);
}

void check_too_long(struct check *c, const struct frame *at, size_t max)
{
    check_error(c, at, FIELD_TOO_LONG, NULL, "may not be more than %zu bytes", max);
}

void check_not_found(struct check *c, const struct frame *at, const char *value)
{
    add_text(c, at, FIELD_NOT_FOUND, value, "");
}

void check_not_supported(
    struct check *c, const struct frame *at, const char *value, const char *const *supported)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    frame_print(at, false, &path);
    field_error_not_supported(c->errors, path.data, value, supported);
}

void check_format(struct check *c, const struct frame *at, const char *format, const cJSON *value)
{
    const struct format *f = format_find(str_of(format));
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    if (f && f->is_valid && !f->is_valid(value, &why))
        check_error(c, at, FIELD_INVALID, value, "%s", why.data);
}

void check_labels(struct check *c, const struct frame *at, const cJSON *labels)
{
    for (const cJSON *m = labels ? labels->child : NULL; m; m = m->next) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!name_is_qualified(str_of(m->string), &why))
            check_invalid_text(c, at, m->string, why.data);
        strbuf_clear(&why);
        if (cJSON_IsString(m) && !name_is_label_value(str_of(m->valuestring), &why))
            check_invalid(c, at, m, why.data);
    }
}

int64_t int_or_percent_number(const cJSON *value, bool *ret_percent)
{
    int64_t n = 0;
    *ret_percent = cJSON_IsString(value);
    if (!*ret_percent)
        return json_int64(value, &n) ? n : 0;
    for (const char *p = value->valuestring; *p >= '0' && *p <= '9' && n < 1000000; p++)
        n = n * 10 + (*p - '0');
    return n;
}

bool check_int_or_percent(struct check *c, const struct frame *at, const cJSON *value)
{
    bool percent;
    if (!value)
        return true;
    if (cJSON_IsString(value)) {
        const char *p = value->valuestring;
        while (*p >= '0' && *p <= '9')
            p++;
        if (p > value->valuestring && p[0] == '%' && p[1] == '\0')
            return true;
        check_invalid(c, at, value,
            "a valid percent string must be a numeric string followed by an ending "
            "'%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
        return false;
    }
    if (int_or_percent_number(value, &percent) >= 0)
        return true;
    check_invalid(c, at, value, "must be greater than or equal to 0");
    return false;
}
