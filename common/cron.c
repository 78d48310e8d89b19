/*
 * Cron schedules: see cron.h. Each field becomes a set of bits; the next time is found by moving
 * month, day, hour and minute forward, each until its bit is set, in local time.
 */
#include "common/cron.h"

#include "common/time.h"

static const char *const months[] = {
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

struct cron_field {
    int64_t min, max;
    const char *const *names; /* the first stands for min */
};
static const struct cron_field fields[] = {
    {0, 59, NULL}, {0, 23, NULL}, {1, 31, NULL}, {1, 12, months}, {0, 6, days}};
#define FIELDS ARRAY_COUNT(fields)

static const struct {
    const char *name, *schedule;
} macros[] = {
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
    {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
};

/* What a field fires at; any: it was a star without step. */
struct bits {
    uint64_t set;
    bool any;
};

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
static int read_range(
    struct str expression, const struct cron_field *f, struct bits *ret, struct error *err)
{
    struct str rest = expression, range, low = str_of("");
    int64_t from = f->min, to = f->max, step = 1;
    str_split(&rest, '/', &range);
    bool has_step = str_find(expression, '/') >= 0;
    if (has_step && str_find(rest, '/') >= 0)
        return error_set(err, ERR_BAD_REQUEST, "too many slashes: %.*s", STR_FMT(expression));
    bool star = str_eqc(range, "*") || str_eqc(range, "?");
    if (!star) {
        struct str high = range;
        str_split(&high, '-', &low);
        if (str_find(high, '-') >= 0)
            return error_set(err, ERR_BAD_REQUEST, "too many hyphens: %.*s", STR_FMT(expression));
        if (read_number(low, f, &from, err) < 0)
            return -(int)err->code;
        if (low.n == range.n)
            to = has_step ? f->max : from;
        else if (read_number(high, f, &to, err) < 0)
            return -(int)err->code;
    }
    if (has_step && read_number(rest, NULL, &step, err) < 0)
        return -(int)err->code;
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
    if (step > 64)
        step = 64; /* beyond all fields, and far from an overflow */
    for (int64_t i = from; i <= to; i += step)
        ret->set |= 1ull << i;
    ret->any |= star && step == 1;
    return 0;
}

static int read_field(
    struct str field, const struct cron_field *f, struct bits *ret, struct error *err)
{
    struct str part;

    *ret = (struct bits){0};
    while (str_split(&field, ',', &part))
        if (part.n && read_range(part, f, ret, err) < 0)
            return -(int)err->code;
    return 0;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word; empty at the end. */
static struct str take_word(struct str *rest)
{
    struct str word;

    while (rest->n && is_space(*rest->p))
        *rest = str_range(rest->p + 1, rest->n - 1);
    word = str_range(rest->p, 0);
    while (rest->n && !is_space(*rest->p)) {
        word.n++;
        *rest = str_range(rest->p + 1, rest->n - 1);
    }
    return word;
}

static int read_fields(const char *schedule, struct cron *ret, struct error *err)
{
    struct str parts[FIELDS], rest = str_of(schedule), word;
    struct bits bits[FIELDS];
    autostrbuf struct strbuf shown = STRBUF_EMPTY;
    size_t n = 0;

    for (; (word = take_word(&rest)).n; n++) {
        if (n < FIELDS)
            parts[n] = word;
        strbuf_addf(&shown, "%s%.*s", n ? " " : "", STR_FMT(word));
    }
    if (n != FIELDS)
        return error_set(
            err, ERR_BAD_REQUEST, "expected exactly 5 fields, found %zu: [%s]", n, shown.data);
    for (size_t i = 0; i < n; i++)
        if (read_field(parts[i], &fields[i], &bits[i], err) < 0)
            return -(int)err->code;
    *ret = (struct cron){.minutes = bits[0].set,
        .hours = bits[1].set,
        .days = bits[2].set,
        .months = bits[3].set,
        .weekdays = bits[4].set,
        .any_day = bits[2].any,
        .any_weekday = bits[4].any};
    return 0;
}

int cron_parse(const char *schedule, struct cron *ret, struct error *err)
{
    int64_t ns;

    if (*schedule != '@')
        return read_fields(schedule, ret, err);
    for (size_t i = 0; i < ARRAY_COUNT(macros); i++)
        if (!strcmp(schedule, macros[i].name))
            return read_fields(macros[i].schedule, ret, err);
    if (strncmp(schedule, "@every ", 7) != 0 || duration_parse(str_of(schedule + 7), &ns, err) < 0)
        return error_set(err, ERR_BAD_REQUEST, "unrecognized descriptor: %s", schedule);
    ns = ns < NS_PER_S ? NS_PER_S : ns - ns % NS_PER_S;
    *ret = (struct cron){.every_ns = ns};
    return 0;
}

/* --- the next time --- */

#define HOUR_S 3600
#define DAY_S 86400
#define YEARS_MAX 5

/* A moment and what the clock on the wall shows then. */
struct moment {
    const struct timezone *zone;
    int64_t utc_s;
    int64_t year;
    int month, day, weekday, hour, minute;
};

static void look_at_clock(struct moment *m)
{
    int64_t local = m->utc_s + timezone_offset(m->zone, m->utc_s);
    int64_t day = local / DAY_S - (local % DAY_S < 0), of_day = local - day * DAY_S;

    time_civil_from_days(day, &m->year, &m->month, &m->day);
    m->weekday = (int)(((day + 4) % 7 + 7) % 7);
    m->hour = (int)(of_day / HOUR_S);
    m->minute = (int)(of_day / 60 % 60);
}

static void add_seconds(struct moment *m, int64_t s)
{
    m->utc_s += s;
    look_at_clock(m);
}

/* A local date and hour; of a time that does not exist or exists twice, one of the two readings. */
static void set_local(struct moment *m, int64_t year, int month, int day, int hour)
{
    int64_t local = time_days_from_civil(year, month, day) * DAY_S + (int64_t)hour * HOUR_S;
    int64_t guess = local - timezone_offset(m->zone, local);

    m->utc_s = local - timezone_offset(m->zone, guess);
    look_at_clock(m);
}

static bool has_bit(uint64_t set, int i)
{
    return set >> i & 1;
}

static bool day_matches(const struct cron *c, const struct moment *m)
{
    bool day = has_bit(c->days, m->day), weekday = has_bit(c->weekdays, m->weekday);
    return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* To the first of the next month. */
static void next_month(struct moment *m)
{
    set_local(m, m->month == 12 ? m->year + 1 : m->year, m->month % 12 + 1, 1, 0);
}

static void next_day(struct moment *m)
{
    int64_t year;
    int month, day;

    time_civil_from_days(time_days_from_civil(m->year, m->month, m->day) + 1, &year, &month, &day);
    set_local(m, year, month, day, 0);
    if (m->hour != 0) /* midnight was skipped or came twice */
        add_seconds(m, (m->hour > 12 ? 24 - m->hour : -m->hour) * (int64_t)HOUR_S);
}

static int64_t next_in(const struct cron *c, struct moment *m)
{
    int64_t last_year = m->year + YEARS_MAX;

    while (m->year <= last_year) {
        if (!has_bit(c->months, m->month)) {
            next_month(m);
        } else if (!day_matches(c, m)) {
            next_day(m);
        } else if (!has_bit(c->hours, m->hour)) {
            int64_t local = m->utc_s + timezone_offset(m->zone, m->utc_s);
            add_seconds(m, HOUR_S - local % HOUR_S);
        } else if (!has_bit(c->minutes, m->minute)) {
            add_seconds(m, 60 - m->utc_s % 60);
        } else {
            return m->utc_s * NS_PER_S;
        }
    }
    return 0;
}

int64_t cron_next(const struct cron *cron, const struct timezone *zone, int64_t after_ns)
{
    struct moment m = {.zone = zone, .utc_s = after_ns / NS_PER_S};

    if (cron->every_ns) {
        int64_t next_ns;
        return __builtin_add_overflow(m.utc_s * NS_PER_S, cron->every_ns, &next_ns) ? 0 : next_ns;
    }
    add_seconds(&m, 60 - m.utc_s % 60); /* schedules name minutes */
    return next_in(cron, &m);
}
