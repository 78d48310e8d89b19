/*
 * Time zones: see timezone.h. A zone is a sorted list of transitions and the rule of the footer,
 * "CET-1CEST,M3.5.0,M10.5.0/3", by which the years after the last transition go.
 */
#include "common/timezone.h"

#include <ctype.h>
#include <string.h>

#include "common/file.h"
#include "common/time.h"

#define DATABASE "/usr/share/zoneinfo/"
#define FILE_MAX_BYTES 65536
#define DAY_S 86400

struct transition {
    int64_t at_s, offset;
};

/* When a part of the year begins: in seconds from the year's start, local time. */
struct rule_date {
    char kind; /* 'M' month.week.day, 'J' 1-365 without 29 February, 'D' 0-365 */
    int64_t month, week, day, time_s;
};

struct timezone {
    int64_t first_offset; /* before the first transition */
    struct transition *transitions;
    size_t count;
    bool has_rule, has_summer;
    int64_t standard, summer; /* offsets */
    struct rule_date begins, ends;
};

/* --- the file --- */

struct reader {
    const unsigned char *p, *end;
    bool bad;
};

static uint64_t take(struct reader *r, int bytes)
{
    uint64_t value = 0;

    if (r->end - r->p < bytes) {
        r->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value = value << 8 | *r->p++;
    return value;
}

static void skip(struct reader *r, uint64_t bytes)
{
    if ((uint64_t)(r->end - r->p) < bytes)
        r->bad = true;
    else
        r->p += bytes;
}

struct header {
    uint64_t isutc, isstd, leap, times, types, chars;
};

static struct header take_header(struct reader *r)
{
    struct header h = {0};

    if (r->end - r->p < 44 || memcmp(r->p, "TZif", 4) != 0) {
        r->bad = true;
        return h;
    }
    skip(r, 20);
    h.isutc = take(r, 4);
    h.isstd = take(r, 4);
    h.leap = take(r, 4);
    h.times = take(r, 4);
    h.types = take(r, 4);
    h.chars = take(r, 4);
    return h;
}

static void read_data(struct reader *r, const struct header *h, struct timezone *zone)
{
    const unsigned char *times = r->p, *indexes, *types;

    skip(r, h->times * 8);
    indexes = r->p;
    skip(r, h->times);
    types = r->p;
    skip(r, h->types * 6);
    skip(r, h->chars + h->leap * 12 + h->isstd + h->isutc);
    if (r->bad || h->types == 0) {
        r->bad = true;
        return;
    }
    zone->transitions = xcalloc(h->times + 1, sizeof(*zone->transitions));
    for (uint64_t i = 0; i < h->times; i++) {
        struct reader at = {times + 8 * i, r->end, false};
        if (indexes[i] >= h->types) {
            r->bad = true;
            return;
        }
        struct reader type = {types + 6 * indexes[i], r->end, false};
        zone->transitions[zone->count].at_s = (int64_t)take(&at, 8);
        zone->transitions[zone->count++].offset = (int32_t)take(&type, 4);
    }
    struct reader first = {types, r->end, false};
    zone->first_offset = (int32_t)take(&first, 4);
}

/* --- the rule in the footer --- */

static bool skip_name(const char **p)
{
    const char *from = *p;

    if (**p == '<') {
        *p = strchr(*p, '>');
        if (!*p) {
            *p = from;
            return false;
        }
        (*p)++;
        return true;
    }
    while (isalpha((unsigned char)**p))
        (*p)++;
    return *p > from;
}

static bool read_digits(const char **p, int64_t *ret)
{
    if (!isdigit((unsigned char)**p))
        return false;
    for (*ret = 0; isdigit((unsigned char)**p) && *ret < 1000000; (*p)++)
        *ret = *ret * 10 + (**p - '0');
    return true;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool read_clock(const char **p, int64_t *ret)
{
    int64_t sign = 1, unit = 3600, part;

    if (**p == '-' || **p == '+')
        sign = *(*p)++ == '-' ? -1 : 1;
    *ret = 0;
    for (;; unit /= 60, (*p)++) {
        if (!read_digits(p, &part))
            return false;
        *ret += part * unit;
        if (**p != ':' || unit == 1)
            break;
    }
    *ret *= sign;
    return true;
}

static bool read_date(const char **p, struct rule_date *d)
{
    *d = (struct rule_date){.kind = 'D', .time_s = 2 * 3600};
    if (**p != ',')
        return false;
    (*p)++;
    if (**p == 'M' || **p == 'J')
        d->kind = *(*p)++;
    if (d->kind == 'M') {
        if (!read_digits(p, &d->month) || *(*p)++ != '.' || !read_digits(p, &d->week) ||
            *(*p)++ != '.' || !read_digits(p, &d->day) || d->month < 1 || d->month > 12)
            return false;
    } else if (!read_digits(p, &d->day)) {
        return false;
    }
    if (**p != '/')
        return true;
    (*p)++;
    return read_clock(p, &d->time_s);
}

static void read_rule(const char *p, struct timezone *zone)
{
    int64_t offset;

    if (!skip_name(&p) || !read_clock(&p, &offset))
        return;
    zone->standard = -offset;
    zone->summer = zone->standard + 3600;
    zone->has_rule = true;
    if (!*p)
        return;
    if (!skip_name(&p))
        return;
    if (*p && *p != ',') {
        if (!read_clock(&p, &offset))
            return;
        zone->summer = -offset;
    }
    zone->has_summer = read_date(&p, &zone->begins) && read_date(&p, &zone->ends);
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Seconds from the year's start. */
static int64_t rule_time(const struct rule_date *d, int64_t year)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day = d->day;

    if (d->kind == 'J' && (day < 60 || !is_leap(year)))
        day--;
    if (d->kind == 'M') {
        int64_t first = 0, length = lengths[d->month - 1] + (d->month == 2 && is_leap(year));
        for (int64_t m = 1; m < d->month; m++)
            first += lengths[m - 1] + (m == 2 && is_leap(year));
        int64_t weekday =
            (time_days_from_civil(year, 1, 1) + first + 4) % 7; /* 1970 began on a Thursday */
        day = (d->day - weekday + 7) % 7 + 7 * (d->week - 1);
        while (day >= length)
            day -= 7;
        day += first;
    }
    return day * DAY_S + d->time_s;
}

static int64_t rule_offset(const struct timezone *zone, int64_t utc_s)
{
    if (!zone->has_summer)
        return zone->standard;
    int64_t year;
    int month, day;
    time_civil_from_days((utc_s + zone->standard) / DAY_S, &year, &month, &day);
    int64_t start = time_days_from_civil(year, 1, 1) * DAY_S;
    int64_t begins = start + rule_time(&zone->begins, year) - zone->standard;
    int64_t ends = start + rule_time(&zone->ends, year) - zone->summer;
    bool is_summer =
        begins < ends ? utc_s >= begins && utc_s < ends : utc_s >= begins || utc_s < ends;
    return is_summer ? zone->summer : zone->standard;
}

/* --- face --- */

int64_t timezone_offset(const struct timezone *zone, int64_t utc_s)
{
    if (!zone)
        return 0;
    size_t low = 0, high = zone->count;
    while (low < high) { /* the first transition after utc_s */
        size_t middle = (low + high) / 2;
        if (zone->transitions[middle].at_s <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == zone->count && zone->has_rule)
        return rule_offset(zone, utc_s);
    return low ? zone->transitions[low - 1].offset : zone->first_offset;
}

int timezone_parse(struct str bytes, struct timezone **ret, struct error *err)
{
    const unsigned char *start = (const unsigned char *)bytes.p;
    struct reader r = {start, start + bytes.n, false};
    struct timezone *zone = xcalloc(1, sizeof(*zone));
    struct header h = take_header(&r);

    skip(&r, h.times * 5 + h.types * 6 + h.chars + h.leap * 8 + h.isstd + h.isutc);
    h = take_header(&r); /* the second part has 64-bit times */
    if (!r.bad)
        read_data(&r, &h, zone);
    if (r.bad) {
        timezone_free(zone);
        return error_set(err, ERR_BAD_REQUEST, "malformed time zone information");
    }
    if (r.p < r.end && *r.p == '\n') {
        struct str rest = str_range((const char *)r.p + 1, (size_t)(r.end - r.p - 1)), line;
        if (str_split(&rest, '\n', &line)) {
            autofree char *rule = str_dup(line);
            read_rule(rule, zone);
        }
    }
    *ret = zone;
    return 0;
}

void timezone_free(struct timezone *zone)
{
    if (!zone)
        return;
    free(zone->transitions);
    free(zone);
}

int timezone_load(const char *name, struct timezone **ret, struct error *err)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;

    if (*name == '/' || *name == '\\' || strstr(name, "..") || strlen(name) > 200)
        return error_set(err, ERR_NOT_FOUND, "time: invalid location name");
    autofree char *path = str_format("%s%s", DATABASE, name);
    if (!*name || file_read(path, FILE_MAX_BYTES, &bytes, err) < 0 ||
        timezone_parse(strbuf_str(&bytes), ret, err) < 0)
        return error_set(err, ERR_NOT_FOUND, "unknown time zone %s", name);
    return 0;
}
