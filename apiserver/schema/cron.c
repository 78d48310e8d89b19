/*
 * Checks cron schedules field by field: *, numbers, names, ranges, steps and lists.
 *
 * Upstream: github.com/robfig/cron/v3, ParseStandard.
 */
#include "apiserver/schema/cron.h"

#include "common/time.h"

static const char *const months[] = {
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const struct cron_field {
    int64_t min, max;
    const char *const *names; /* the first stands for min */
} fields[] = {{0, 59, NULL}, {0, 23, NULL}, {1, 31, NULL}, {1, 12, months}, {0, 6, days}};

static const char *const macros[] = {
    "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"};

static int read_number(struct str s, const struct cron_field *f, int64_t *ret, struct error *err)
{
    for (size_t i = 0; f && f->names && f->names[i]; i++) {
        if (str_eq_nocase(s, str_of(f->names[i]))) {
            *ret = f->min + (int64_t)i;
            return 0;
        }
    }
    struct error ignored;
    if (str_parse_int64(s, ret, &ignored) < 0)
        return error_set(err, ERR_BAD_REQUEST,
            "failed to parse int from %.*s: strconv.Atoi: parsing \"%.*s\": "
            "invalid syntax",
            STR_FMT(s), STR_FMT(s));
    if (*ret < 0)
        return error_set(err, ERR_BAD_REQUEST, "negative number (%lld) not allowed: %.*s",
            (long long)*ret, STR_FMT(s));
    return 0;
}

/* N, *, N-M, each with /STEP. */
static int check_range(struct str expression, const struct cron_field *f, struct error *err)
{
    struct str rest = expression, range, low;
    int64_t from = f->min, to = f->max, step = 1;
    str_split(&rest, '/', &range);
    bool has_step = rest.p && rest.n > 0;
    if (has_step && str_find(rest, '/') >= 0)
        return error_set(err, ERR_BAD_REQUEST, "too many slashes: %.*s", STR_FMT(expression));
    if (!str_eqc(range, "*") && !str_eqc(range, "?")) {
        struct str high = range;
        str_split(&high, '-', &low);
        if (str_find(high, '-') >= 0)
            return error_set(err, ERR_BAD_REQUEST, "too many hyphens: %.*s", STR_FMT(expression));
        if (read_number(low, f, &from, err) < 0)
            return -err->code;
        if (low.n == range.n)
            to = has_step ? f->max : from;
        else if (read_number(high, f, &to, err) < 0)
            return -err->code;
    }
    if (has_step && read_number(rest, NULL, &step, err) < 0)
        return -err->code;
    if (from < f->min)
        return error_set(err, ERR_BAD_REQUEST,
            "beginning of range (%lld) below minimum (%lld): %.*s", (long long)from,
            (long long)f->min, STR_FMT(expression));
    if (to > f->max)
        return error_set(err, ERR_BAD_REQUEST, "end of range (%lld) above maximum (%lld): %.*s",
            (long long)to, (long long)f->max, STR_FMT(expression));
    if (from > to)
        return error_set(err, ERR_BAD_REQUEST,
            "beginning of range (%lld) beyond end of range (%lld): %.*s", (long long)from,
            (long long)to, STR_FMT(expression));
    if (step == 0)
        return error_set(err, ERR_BAD_REQUEST, "step of range should be a positive number: %.*s",
            STR_FMT(expression));
    return 0;
}

static int check_field(struct str field, const struct cron_field *f, struct error *err)
{
    struct str part;
    while (str_split(&field, ',', &part))
        if (check_range(part, f, err) < 0)
            return -err->code;
    return 0;
}

static int check_macro(const char *schedule, struct error *err)
{
    int64_t ns;
    for (size_t i = 0; i < ARRAY_COUNT(macros); i++)
        if (!strcmp(schedule, macros[i]))
            return 0;
    if (!strncmp(schedule, "@every ", 7) && duration_parse(str_of(schedule + 7), &ns, err) == 0)
        return 0;
    return error_set(err, ERR_BAD_REQUEST, "unrecognized descriptor: %s", schedule);
}

int cron_check(const char *schedule, struct error *err)
{
    struct str parts[ARRAY_COUNT(fields)], rest = str_of(schedule), part;
    size_t n = 0;
    autostrbuf struct strbuf shown = STRBUF_EMPTY;
    if (*schedule == '@')
        return check_macro(schedule, err);
    while (str_split(&rest, ' ', &part)) {
        if (part.n == 0)
            continue;
        if (n < ARRAY_COUNT(parts))
            parts[n] = part;
        strbuf_addf(&shown, "%s%.*s", n ? " " : "", STR_FMT(part));
        n++;
    }
    if (n != ARRAY_COUNT(fields))
        return error_set(
            err, ERR_BAD_REQUEST, "expected exactly 5 fields, found %zu: [%s]", n, shown.data);
    for (size_t i = 0; i < n; i++)
        if (check_field(parts[i], &fields[i], err) < 0)
            return -err->code;
    return 0;
}
