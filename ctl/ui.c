/*
 * Progress lines; see ui.h. A live line ends in "\r" and is overwritten; only finished lines end in
 * "\n".
 */
#include "ctl/ui.h"

#include <stdarg.h>
#include <unistd.h>

#include "common/time.h"
#include "ctl/command.h"

#define REDRAW_NS (100 * NS_PER_MS)

bool ui_is_terminal(void)
{
    const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");
    return isatty(STDERR_FILENO) && !(plain && *plain) && term && !c_eq(term, "dumb");
}

const char *ui_colour(const char *sgr)
{
    static const struct {
        const char *sgr, *text;
    } colours[] = {{"0", "\033[0m"}, {"1", "\033[1m"}, {"2", "\033[2m"}, {"31", "\033[31m"},
        {"32", "\033[32m"}, {"33", "\033[33m"}, {"36", "\033[36m"}};
    if (!ui_is_terminal())
        return "";
    for (size_t i = 0; i < ARRAY_COUNT(colours); i++)
        if (c_eq(colours[i].sgr, sgr))
            return colours[i].text;
    return "";
}

static void draw(struct ui_step *step, const char *detail)
{
    int64_t now = env_now_ns(step->env);
    if (!ui_is_terminal() || now - step->drawn_ns < REDRAW_NS)
        return;
    step->drawn_ns = now;
    fprintf(stderr, "\r\033[K  ..   %s%s%s  %.1f s", step->text, *detail ? ": " : "", detail,
        (double)(now - step->started_ns) / NS_PER_S);
    fflush(stderr);
}

void ui_step_begin(struct ui_step *step, struct env *env, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(step->text, sizeof(step->text), format, args);
    va_end(args);
    step->env = env;
    step->started_ns = env_now_ns(env);
    step->drawn_ns = 0;
    draw(step, "");
}

void ui_step_update(struct ui_step *step, const char *format, ...)
{
    char detail[120];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    draw(step, detail);
}

void ui_step_end(struct ui_step *step, bool ok, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    double seconds = (double)(env_now_ns(step->env) - step->started_ns) / NS_PER_S;
    if (ui_is_terminal())
        fputs("\r\033[K", stderr);
    fprintf(stderr, "  %s%s%s %s%s%s  %s%.2f s%s\n", ui_colour(ok ? "32" : "31"),
        ok ? "ok  " : "FAIL", ui_colour("0"), step->text, *text ? ": " : "", text, ui_colour("2"),
        seconds, ui_colour("0"));
}

int command_fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%sskiffctl:%s ", ui_colour("31"), ui_colour("0"));
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}
