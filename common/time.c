/*
 * Times and durations in Go's forms, from int64_t nanoseconds; no libc calendar, no time zone data.
 *
 * Days are counted by the usual civil-calendar arithmetic on 400-year eras. The range of int64_t
 * nanoseconds is 1677 to 2262; times outside it are refused.
 */
#include "common/time.h"

#include <inttypes.h>

int64_t time_days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void time_civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = y + era * 400 + (*month <= 2);
}

/* digits: of the fraction, 0 for none. Cuts, as Go does. */
static const char *print_time(int64_t ns, int digits, char *buf)
{
    int64_t seconds = ns / NS_PER_S, fraction = ns % NS_PER_S, year;
    int month, day, n;

    if (fraction < 0) {
        fraction += NS_PER_S;
        seconds--;
    }
    int64_t days = seconds / 86400, of_day = seconds % 86400;
    if (of_day < 0) {
        of_day += 86400;
        days--;
    }
    time_civil_from_days(days, &year, &month, &day);
    n = snprintf(buf, TIME_TEXT_BYTES, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d", year, month, day,
        (int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60));
    if (digits == 6)
        n += snprintf(buf + n, TIME_TEXT_BYTES - (size_t)n, ".%06d", (int)(fraction / 1000));
    else if (digits == 9)
        n += snprintf(buf + n, TIME_TEXT_BYTES - (size_t)n, ".%09d", (int)fraction);
    buf[n] = 'Z';
    buf[n + 1] = '\0';
    return buf;
}

const char *time_print_s(int64_t ns, char *buf)
{
    return print_time(ns, 0, buf);
}

const char *time_print_us(int64_t ns, char *buf)
{
    return print_time(ns, 6, buf);
}

const char *time_print_ns(int64_t ns, char *buf)
{
    return print_time(ns, 9, buf);
}

/* Parsing times */

static const char layout[] = "2006-01-02T15:04:05Z07:00";

static int cannot_parse(struct str whole, struct str rest, const char *element, struct error *err)
{
    return error_set(err, ERR_BAD_REQUEST,
        "parsing time \"%.*s\" as \"%s\": cannot parse \"%.*s\" as \"%s\"",
        whole.n > 64 ? 64 : (int)whole.n, whole.p ? whole.p : "", layout,
        rest.n > 64 ? 64 : (int)rest.n, rest.p ? rest.p : "", element);
}

static bool take_digits(struct str *rest, size_t count, int *ret)
{
    int value = 0;
    if (rest->n < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = (unsigned char)rest->p[i] - '0';
        if (digit > 9)
            return false;
        value = value * 10 + (int)digit;
    }
    *rest = str_range(rest->p + count, rest->n - count);
    *ret = value;
    return true;
}

static bool take_char(struct str *rest, char c)
{
    if (rest->n == 0 || rest->p[0] != c)
        return false;
    *rest = str_range(rest->p + 1, rest->n - 1);
    return true;
}

/* Nanoseconds of ".123"; digits past the ninth are cut. */
static int64_t take_fraction(struct str *rest)
{
    int64_t value = 0, unit = NS_PER_S / 10;
    if (rest->n < 2 || (rest->p[0] != '.' && rest->p[0] != ',') || (unsigned)rest->p[1] - '0' > 9u)
        return 0;
    *rest = str_range(rest->p + 1, rest->n - 1);
    for (; rest->n > 0 && (unsigned)rest->p[0] - '0' <= 9u; unit /= 10) {
        value += (rest->p[0] - '0') * unit;
        *rest = str_range(rest->p + 1, rest->n - 1);
    }
    return value;
}

/* Seconds east of UTC. */
static bool take_offset(struct str *rest, int *ret)
{
    int hours, minutes;
    if (take_char(rest, 'Z')) {
        *ret = 0;
        return true;
    }
    bool west = take_char(rest, '-');
    if (!west && !take_char(rest, '+'))
        return false;
    if (!take_digits(rest, 2, &hours) || !take_char(rest, ':') || !take_digits(rest, 2, &minutes))
        return false;
    if (hours > 24 || minutes > 60)
        return false;
    *ret = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

struct clock_parts {
    int year, month, day, hour, minute, second;
};

/* Year to second; the elements of the layout in their order. */
static int take_parts(struct str text, struct str *rest, struct clock_parts *t, struct error *err)
{
    const struct {
        int *value;
        size_t digits;
        const char *element;
        char after;
        const char *after_text;
    } steps[] = {
        {&t->year, 4, "2006", '-', "-"},
        {&t->month, 2, "01", '-', "-"},
        {&t->day, 2, "02", 'T', "T"},
        {&t->hour, 2, "15", ':', ":"},
        {&t->minute, 2, "04", ':', ":"},
        {&t->second, 2, "05", 0, ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        if (!take_digits(rest, steps[i].digits, steps[i].value))
            return cannot_parse(text, *rest, steps[i].element, err);
        if (steps[i].after && !take_char(rest, steps[i].after))
            return cannot_parse(text, *rest, steps[i].after_text, err);
    }
    return 0;
}

static const char *out_of_range(const struct clock_parts *t)
{
    if (t->month < 1 || t->month > 12)
        return "month";
    if (t->day < 1 || t->day > days_in(t->year, t->month))
        return "day";
    if (t->hour > 23)
        return "hour";
    if (t->minute > 59)
        return "minute";
    return t->second > 59 ? "second" : NULL;
}

int time_parse(struct str text, int64_t *ret_ns, struct error *err)
{
    struct clock_parts t;
    struct str rest = text;
    int offset;

    int r = take_parts(text, &rest, &t, err);
    if (r < 0)
        return r;
    int64_t fraction = take_fraction(&rest);
    if (!take_offset(&rest, &offset))
        return cannot_parse(text, rest, "Z07:00", err);
    if (rest.n > 0)
        return error_set(err, ERR_BAD_REQUEST, "parsing time \"%.*s\": extra text: \"%.*s\"",
            text.n > 64 ? 64 : (int)text.n, text.p, rest.n > 64 ? 64 : (int)rest.n, rest.p);
    const char *wrong = out_of_range(&t);
    if (wrong)
        return error_set(
            err, ERR_BAD_REQUEST, "parsing time \"%.*s\": %s out of range", STR_FMT(text), wrong);
    int64_t seconds = time_days_from_civil(t.year, t.month, t.day) * 86400 + t.hour * 3600 +
                      t.minute * 60 + t.second - offset;
    if (seconds <= INT64_MIN / NS_PER_S || seconds >= INT64_MAX / NS_PER_S)
        return error_set(
            err, ERR_BAD_REQUEST, "time \"%.*s\" is outside the years 1678 to 2261", STR_FMT(text));
    *ret_ns = seconds * NS_PER_S + fraction;
    return 0;
}

/* Durations */

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    {"ns", 1},
    {"us", NS_PER_US},
    {"\xc2\xb5s", NS_PER_US},
    {"\xce\xbcs", NS_PER_US},
    {"ms", NS_PER_MS},
    {"s", NS_PER_S},
    {"m", 60 * NS_PER_S},
    {"h", 3600 * NS_PER_S},
};

static int invalid_duration(struct str text, struct error *err)
{
    return error_set(err, ERR_BAD_REQUEST, "time: invalid duration \"%.*s\"",
        text.n > 64 ? 64 : (int)text.n, text.p ? text.p : "");
}

static int take_unit(struct str text, struct str *rest, int64_t *ret, struct error *err)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] != '.' && (unsigned)rest->p[n] - '0' > 9u)
        n++;
    struct str name = str_range(rest->p, n);
    *rest = str_range(rest->p + n, rest->n - n);
    if (n == 0)
        return error_set(err, ERR_BAD_REQUEST, "time: missing unit in duration \"%.*s\"",
            text.n > 64 ? 64 : (int)text.n, text.p);
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (str_eqc(name, units[i].name)) {
            *ret = units[i].ns;
            return 0;
        }
    }
    return error_set(err, ERR_BAD_REQUEST, "time: unknown unit \"%.*s\" in duration \"%.*s\"",
        name.n > 32 ? 32 : (int)name.n, name.p, text.n > 64 ? 64 : (int)text.n, text.p);
}

/* One "1.5h" off *rest, added to *total. */
static int take_term(struct str text, struct str *rest, __int128 *total, struct error *err)
{
    __int128 value = 0, fraction = 0, scale = 1;
    size_t digits = 0;
    for (; rest->n > 0 && (unsigned)rest->p[0] - '0' <= 9u; digits++) {
        value = value * 10 + (rest->p[0] - '0');
        if (value > (__int128)INT64_MAX + 1)
            return invalid_duration(text, err);
        *rest = str_range(rest->p + 1, rest->n - 1);
    }
    if (take_char(rest, '.')) {
        for (; rest->n > 0 && (unsigned)rest->p[0] - '0' <= 9u; digits++) {
            if (scale < 1000000000000000ll) {
                fraction = fraction * 10 + (rest->p[0] - '0');
                scale *= 10;
            }
            *rest = str_range(rest->p + 1, rest->n - 1);
        }
    }
    if (digits == 0)
        return invalid_duration(text, err);
    int64_t unit = 1;
    int r = take_unit(text, rest, &unit, err);
    if (r < 0)
        return r;
    *total += value * unit + fraction * unit / scale;
    return *total > (__int128)INT64_MAX + 1 ? invalid_duration(text, err) : 0;
}

int duration_parse(struct str text, int64_t *ret_ns, struct error *err)
{
    struct str rest = text;
    bool negative = take_char(&rest, '-');
    __int128 total = 0;

    if (!negative)
        take_char(&rest, '+');
    if (str_eq(rest, STR("0"))) {
        *ret_ns = 0;
        return 0;
    }
    if (rest.n == 0)
        return invalid_duration(text, err);
    while (rest.n > 0) {
        int r = take_term(text, &rest, &total, err);
        if (r < 0)
            return r;
    }
    if (!negative && total > INT64_MAX)
        return invalid_duration(text, err);
    *ret_ns = (int64_t)(negative ? -total : total);
    return 0;
}

/* "1.5" for 1500 of 10^3, without zeros at the end. */
static void add_fraction(struct strbuf *out, uint64_t whole, uint64_t rest, int digits)
{
    while (digits > 0 && rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    strbuf_addf(out, "%" PRIu64, whole);
    if (digits > 0)
        strbuf_addf(out, ".%0*" PRIu64, digits, rest);
}

void duration_print(int64_t ns, struct strbuf *out)
{
    uint64_t left = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (left == 0) {
        strbuf_addc(out, "0s");
        return;
    }
    if (ns < 0)
        strbuf_add_char(out, '-');
    if (left < NS_PER_S) {
        int digits = left < NS_PER_US ? 0 : left < NS_PER_MS ? 3 : 6;
        uint64_t unit = digits == 0 ? 1 : digits == 3 ? NS_PER_US : NS_PER_MS;
        add_fraction(out, left / unit, left % unit, digits);
        strbuf_addc(out, digits == 0 ? "ns" : digits == 3 ? "\xc2\xb5s" : "ms");
        return;
    }
    uint64_t seconds = left / NS_PER_S;
    if (seconds >= 3600)
        strbuf_addf(out, "%" PRIu64 "h", seconds / 3600);
    if (seconds >= 60)
        strbuf_addf(out, "%" PRIu64 "m", seconds / 60 % 60);
    add_fraction(out, seconds % 60, left % NS_PER_S, 9);
    strbuf_add_char(out, 's');
}

/* "3m12s", or "3m" when the smaller part is 0. */
static void add_pair(struct strbuf *out, int64_t big, char big_unit, int64_t small, char small_unit)
{
    strbuf_addf(out, "%" PRId64 "%c", big, big_unit);
    if (small)
        strbuf_addf(out, "%" PRId64 "%c", small, small_unit);
}

void duration_print_human(int64_t ns, struct strbuf *out)
{
    int64_t seconds = ns / NS_PER_S, minutes = seconds / 60, hours = minutes / 60,
            days = hours / 24;
    if (seconds < -1)
        strbuf_addc(out, "<invalid>");
    else if (seconds < 0)
        strbuf_addc(out, "0s");
    else if (seconds < 120)
        strbuf_addf(out, "%" PRId64 "s", seconds);
    else if (minutes < 10)
        add_pair(out, minutes, 'm', seconds % 60, 's');
    else if (minutes < 180)
        strbuf_addf(out, "%" PRId64 "m", minutes);
    else if (hours < 8)
        add_pair(out, hours, 'h', minutes % 60, 'm');
    else if (hours < 48)
        strbuf_addf(out, "%" PRId64 "h", hours);
    else if (hours < 192)
        add_pair(out, days, 'd', hours % 24, 'h');
    else if (days < 730)
        strbuf_addf(out, "%" PRId64 "d", days);
    else if (days < 2920)
        add_pair(out, days / 365, 'y', days % 365, 'd');
    else
        strbuf_addf(out, "%" PRId64 "y", days / 365);
}
