/*
 * What people see: colours and a live progress line on a terminal, plain lines elsewhere.
 *
 * A step is one line: while it runs the line is redrawn with its elapsed time (terminal only); when
 * it ends it stays, with a mark and the time it took. NO_COLOR and TERM=dumb are obeyed. Threads:
 * one.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

bool ui_is_terminal(void); /* stderr is one that understands colours */
const char *ui_colour(
    const char *sgr); /* "32" -> "\033[32m", or "" where there are none; "0" ends */

struct ui_step {
    struct env *env;
    char text[160];
    int64_t started_ns, drawn_ns;
};
void ui_step_begin(struct ui_step *step, struct env *env, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ui_step_update(struct ui_step *step, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ui_step_end(struct ui_step *step, bool ok, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
