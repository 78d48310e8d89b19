/*
 * Errors: filling, wrapping and the way from a kind to its Status and back.
 *
 * Texts are cut at the end of a UTF-8 character, so a cut text is still valid in a JSON Status.
 * Threads: none of its own. Upstream: apimachinery's api/errors.
 */
#include "common/error.h"

#include <stdarg.h>

static const struct {
    int status;
    const char *reason;
    const char *text;
} kinds[ERR_COUNT] = {
    [ERR_NONE] = {200, "", "no error"},
#define ERR(name, status, reason, text) [ERR_##name] = {status, reason, text},
#include "common/errors.def"
#undef ERR
};

/* Marks a text that vsnprintf had to cut (it wanted `wanted` bytes). */
static void mark_cut(char *text, size_t bytes, int wanted)
{
    if (wanted < 0) {
        snprintf(text, bytes, "(error text could not be formatted)");
        return;
    }
    if ((size_t)wanted < bytes)
        return;
    size_t end = bytes - 4;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
        end--;
    memcpy(text + end, "...", 4);
}

int error_set(struct error *err, enum err code, const char *format, ...)
{
    char text[sizeof(err->text)]; /* the arguments may point into err->text */
    va_list args;

    va_start(args, format);
    mark_cut(text, sizeof(text), vsnprintf(text, sizeof(text), format, args));
    va_end(args);
    err->code = code;
    err->sys_errno = 0;
    memcpy(err->text, text, strlen(text) + 1);
    return -(int)code;
}

int error_sys(struct error *err, int sys_errno, const char *format, ...)
{
    char what[sizeof(err->text)], reason[128], text[sizeof(err->text)];
    va_list args;

    va_start(args, format);
    mark_cut(what, sizeof(what), vsnprintf(what, sizeof(what), format, args));
    va_end(args);
    const char *cause = strerror_r(sys_errno, reason, sizeof(reason));
    mark_cut(text, sizeof(text), snprintf(text, sizeof(text), "%.800s: %s", what, cause));
    err->code = ERR_SYSTEM;
    err->sys_errno = sys_errno;
    memcpy(err->text, text, strlen(text) + 1);
    return -(int)ERR_SYSTEM;
}

int error_wrap(struct error *err, const char *format, ...)
{
    char context[sizeof(err->text)], text[2 * sizeof(err->text) + 8];
    va_list args;

    va_start(args, format);
    mark_cut(context, sizeof(context), vsnprintf(context, sizeof(context), format, args));
    va_end(args);
    int n = snprintf(text, sizeof(text), "%s: %s", context, err->text);
    memcpy(err->text, text, (size_t)n < sizeof(err->text) ? (size_t)n + 1 : sizeof(err->text) - 1);
    err->text[sizeof(err->text) - 1] = '\0';
    mark_cut(err->text, sizeof(err->text), n);
    return -(int)err->code;
}

int error_http_status(enum err code)
{
    return (unsigned)code < ERR_COUNT ? kinds[code].status : 500;
}

const char *error_reason(enum err code)
{
    return (unsigned)code < ERR_COUNT ? kinds[code].reason : "InternalError";
}

const char *error_default_text(enum err code)
{
    return (unsigned)code < ERR_COUNT ? kinds[code].text : "internal error";
}

enum err error_from_reason(const char *reason, int http_status)
{
    for (int i = 1; reason && *reason && i < ERR_COUNT; i++)
        if (!strcmp(kinds[i].reason, reason))
            return (enum err)i;
    for (int i = 1; i < ERR_COUNT; i++)
        if (kinds[i].status == http_status)
            return (enum err)i;
    return http_status >= 400 && http_status < 500 ? ERR_BAD_REQUEST : ERR_INTERNAL;
}
