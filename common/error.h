/*
 * Errors: a value on the caller's stack that says what failed, and why, in words.
 *
 *     struct error err;
 *     if (widget_open(path, &widget, &err) < 0)
 *         return error_wrap(&err, "widget %s", path);
 *
 * A function that can fail returns 0, or -ERR_X with `err` filled and its outputs untouched. Each
 * level may put its context in front: "widget /x: open: No such file or directory". Either return
 * an error or log it, never both. `err` may not be NULL. The kinds stand in common/errors.def.
 *
 * Threads: none of its own; a struct error belongs to one thread.
 */
#pragma once

enum err {
    ERR_NONE = 0,
#define ERR(name, status, reason, text) ERR_##name,
#include "common/errors.def"
#undef ERR
    ERR_COUNT,
};

struct error {
    enum err code;
    int sys_errno;   /* errno of the system call behind it, or 0 */
    char text[1024]; /* one line, no full stop; cut with "..." when longer */
};

/* Fills err and returns -code. */
int error_set(struct error *err, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ERR_SYSTEM with ": " and the text of sys_errno appended. Returns -ERR_SYSTEM. */
int error_sys(struct error *err, int sys_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<formatted>: " in front of err->text; returns -err->code. */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

int error_http_status(enum err code);          /* 404 */
const char *error_reason(enum err code);       /* "NotFound" */
const char *error_default_text(enum err code); /* "not found" */

/* The kind for a Status: by reason, or by HTTP status where the reason is unknown or empty. */
enum err error_from_reason(const char *reason, int http_status);
