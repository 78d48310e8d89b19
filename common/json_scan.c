/*
 * JSON pre-scan: decides in one pass over the bytes whether a text is JSON as Go understands it.
 *
 * cJSON forgives much (01, raw control characters, trailing text, a leading BOM, 1e400); this
 * scanner does not, and it checks limits before any memory is taken. Strings are skipped eight
 * plain bytes at a time, everything else goes through one 256-entry table. Recursion is bounded by
 * LIMIT_JSON_DEPTH.
 *
 * Differences to Go, all towards refusing: invalid UTF-8, lone surrogates and \u0000 are errors.
 * Tests: tests/unit/common/json_test.c, tests/fuzz/json_fuzz.c
 */
#include "common/json_scan.h"

#include <math.h>

#include "common/limits.h"

enum byte_class {
    C_PLAIN = 0, /* nothing special inside a string */
    C_CONTROL,   /* below 0x20 */
    C_QUOTE,
    C_BACKSLASH,
    C_HIGH, /* 0x80 and above: UTF-8 */
};

#define CONTROL_8 \
    C_CONTROL, C_CONTROL, C_CONTROL, C_CONTROL, C_CONTROL, C_CONTROL, C_CONTROL, C_CONTROL
static const unsigned char classes[256] = {
    CONTROL_8,
    CONTROL_8,
    CONTROL_8,
    CONTROL_8,
    ['"'] = C_QUOTE,
    ['\\'] = C_BACKSLASH,
    [0x80 ... 0xff] = C_HIGH,
};

struct scanner {
    const unsigned char *start, *p, *end;
    struct json_long_numbers *longs; /* or NULL */
    struct error *err;
    size_t values;
    int depth;
};

static int scan_value(struct scanner *s);

/* Go's wording: invalid character 'x' looking for beginning of value. */
static int refuse(struct scanner *s, const char *where)
{
    size_t at = (size_t)(s->p - s->start);
    if (s->p >= s->end)
        return error_set(s->err, ERR_BAD_REQUEST, "unexpected end of JSON input (at byte %zu)", at);
    unsigned char c = *s->p;
    if (c == '\'' || c == '\\')
        return error_set(
            s->err, ERR_BAD_REQUEST, "invalid character '\\%c' %s (at byte %zu)", c, where, at);
    if (c < 0x20 || c >= 0x7f)
        return error_set(
            s->err, ERR_BAD_REQUEST, "invalid character '\\x%02x' %s (at byte %zu)", c, where, at);
    return error_set(
        s->err, ERR_BAD_REQUEST, "invalid character '%c' %s (at byte %zu)", c, where, at);
}

static inline void skip_space(struct scanner *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

/* Length of the valid UTF-8 sequence at p, or 0 (overlong forms and surrogates are not valid). */
size_t json_utf8_length(const unsigned char *p, size_t room)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || room < 2 || (p[1] & 0xc0) != 0x80)
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if (room < 3 || (p[2] & 0xc0) != 0x80)
        return 0;
    if (p[0] < 0xf0)
        return (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ? 0 : 3;
    if (room < 4 || (p[3] & 0xc0) != 0x80)
        return 0;
    return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at s->p; a negative error otherwise. */
static int scan_hex4(struct scanner *s)
{
    int value = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int digit = s->p < s->end ? hex_digit(*s->p) : -1;
        if (digit < 0)
            return refuse(s, "in \\u hexadecimal character escape");
        value = value * 16 + digit;
    }
    return value;
}

/* s->p stands behind "\u". */
static int scan_unicode_escape(struct scanner *s)
{
    size_t at = (size_t)(s->p - s->start) - 2;
    int unit = scan_hex4(s);
    if (unit < 0)
        return unit;
    if (unit == 0)
        return error_set(
            s->err, ERR_BAD_REQUEST, "\\u0000 is not allowed in strings (at byte %zu)", at);
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    if (unit < 0xdc00 && s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'u') {
        s->p += 2;
        int low = scan_hex4(s);
        if (low < 0)
            return low;
        if (low >= 0xdc00 && low <= 0xdfff)
            return 0;
    }
    return error_set(s->err, ERR_BAD_REQUEST, "lone surrogate in string (at byte %zu)", at);
}

/* s->p stands at the backslash. */
static int scan_escape(struct scanner *s)
{
    s->p++;
    if (s->p >= s->end || !*s->p || !strchr("\"\\/bfnrtu", *s->p))
        return refuse(s, "in string escape code");
    return *s->p++ == 'u' ? scan_unicode_escape(s) : 0;
}

/* Skips eight bytes at a time up to the first special one. */
static inline const unsigned char *skip_plain(const unsigned char *p, const unsigned char *end)
{
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t special = WORD_ODD(w) | WORD_HAS(w, '"') | WORD_HAS(w, '\\');
        if (special)
            return p + word_first(special);
        p += 8;
    }
    while (p < end && classes[*p] == C_PLAIN)
        p++;
    return p;
}

/* s->p stands at the opening quote. */
static int scan_string(struct scanner *s)
{
    const unsigned char *p = s->p + 1;
    for (;;) {
        p = skip_plain(p, s->end);
        s->p = p;
        if (p >= s->end)
            return refuse(s, "");
        if (*p == '"') {
            s->p = p + 1;
            return 0;
        }
        if (*p == '\\') {
            int r = scan_escape(s);
            if (r < 0)
                return r;
        } else if (*p < 0x20) {
            return refuse(s, "in string literal");
        } else {
            size_t n = json_utf8_length(p, (size_t)(s->end - p));
            if (n == 0)
                return error_set(s->err, ERR_BAD_REQUEST, "invalid UTF-8 in string (at byte %zu)",
                    (size_t)(p - s->start));
            s->p = p + n;
        }
        p = s->p;
    }
}

static inline bool is_digit(const struct scanner *s)
{
    return s->p < s->end && (unsigned)*s->p - '0' <= 9u;
}

static int check_number(struct scanner *s, const unsigned char *from, bool has_exponent)
{
    char text[JSON_NUMBER_BYTES_MAX + 1];
    size_t n = (size_t)(s->p - from);

    if (n > JSON_NUMBER_BYTES_MAX)
        return error_set(s->err, ERR_BAD_REQUEST, "number of more than %d characters (at byte %zu)",
            JSON_NUMBER_BYTES_MAX, (size_t)(from - s->start));
    if (!has_exponent)
        return 0;
    memcpy(text, from, n);
    text[n] = '\0';
    if (isinf(strtod(text, NULL)))
        return error_set(s->err, ERR_BAD_REQUEST, "number %s is out of range (at byte %zu)", text,
            (size_t)(from - s->start));
    return 0;
}

static void note_long_number(struct scanner *s, const unsigned char *from)
{
    struct json_long_numbers *longs = s->longs;
    if (!longs)
        return;
    if (longs->count == longs->capacity) {
        longs->capacity = longs->capacity ? longs->capacity * 2 : 8;
        longs->at = xrealloc(longs->at, longs->capacity * sizeof(longs->at[0]));
    }
    longs->at[longs->count++] = (struct json_long_number){
        .ordinal = s->values, .offset = (size_t)(from - s->start), .n = (size_t)(s->p - from)};
}

static int scan_number(struct scanner *s)
{
    const unsigned char *from = s->p;
    bool integer = true, has_exponent = false;

    if (*s->p == '-')
        s->p++;
    if (!is_digit(s))
        return refuse(s, "in numeric literal");
    const unsigned char *digits = s->p;
    if (*s->p == '0')
        s->p++;
    else
        while (is_digit(s))
            s->p++;
    size_t digit_count = (size_t)(s->p - digits);
    if (s->p < s->end && *s->p == '.') {
        integer = false;
        s->p++;
        if (!is_digit(s))
            return refuse(s, "after decimal point in numeric literal");
        while (is_digit(s))
            s->p++;
    }
    if (s->p < s->end && (*s->p | 0x20) == 'e') {
        integer = false;
        has_exponent = true;
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!is_digit(s))
            return refuse(s, "in exponent of numeric literal");
        while (is_digit(s))
            s->p++;
    }
    if (integer && digit_count > 15)
        note_long_number(s, from);
    return check_number(s, from, has_exponent);
}

static int scan_word(struct scanner *s, const char *word, const char *where)
{
    for (; *word; word++, s->p++)
        if (s->p >= s->end || *s->p != (unsigned char)*word)
            return refuse(s, where);
    return 0;
}

static int enter(struct scanner *s)
{
    s->p++;
    if (++s->depth > LIMIT_JSON_DEPTH)
        return error_set(
            s->err, ERR_TOO_LARGE, "JSON is nested deeper than %d levels", LIMIT_JSON_DEPTH);
    skip_space(s);
    return 0;
}

/* Behind a member or element: 1 after a comma, 0 after the closing bracket. */
static int scan_separator(struct scanner *s, unsigned char close, const char *where)
{
    skip_space(s);
    if (s->p < s->end && *s->p == ',') {
        s->p++;
        skip_space(s);
        return 1;
    }
    if (s->p < s->end && *s->p == close) {
        s->p++;
        s->depth--;
        return 0;
    }
    return refuse(s, where);
}

static int scan_object(struct scanner *s)
{
    int r = enter(s);
    if (r < 0)
        return r;
    if (s->p < s->end && *s->p == '}') {
        s->p++;
        s->depth--;
        return 0;
    }
    do {
        if (s->p >= s->end || *s->p != '"')
            return refuse(s, "looking for beginning of object key string");
        if ((r = scan_string(s)) < 0)
            return r;
        skip_space(s);
        if (s->p >= s->end || *s->p != ':')
            return refuse(s, "after object key");
        s->p++;
        skip_space(s);
        if ((r = scan_value(s)) < 0)
            return r;
        r = scan_separator(s, '}', "after object key:value pair");
    } while (r > 0);
    return r;
}

static int scan_array(struct scanner *s)
{
    int r = enter(s);
    if (r < 0)
        return r;
    if (s->p < s->end && *s->p == ']') {
        s->p++;
        s->depth--;
        return 0;
    }
    do {
        if ((r = scan_value(s)) < 0)
            return r;
        r = scan_separator(s, ']', "after array element");
    } while (r > 0);
    return r;
}

static int scan_value(struct scanner *s)
{
    if (++s->values > LIMIT_JSON_VALUES)
        return error_set(
            s->err, ERR_TOO_LARGE, "JSON holds more than %d values", LIMIT_JSON_VALUES);
    if (s->p >= s->end)
        return refuse(s, "");
    switch (*s->p) {
    case '"':
        return scan_string(s);
    case '{':
        return scan_object(s);
    case '[':
        return scan_array(s);
    case '-':
    case '0' ... '9':
        return scan_number(s);
    case 't':
        return scan_word(s, "true", "in literal true");
    case 'f':
        return scan_word(s, "false", "in literal false");
    case 'n':
        return scan_word(s, "null", "in literal null");
    default:
        return refuse(s, "looking for beginning of value");
    }
}

int json_scan_numbers(
    struct str text, size_t *ret_end, struct json_long_numbers *longs, struct error *err)
{
    const unsigned char *start = (const unsigned char *)(text.p ? text.p : "");
    struct scanner s = {
        .start = start,
        .p = start,
        .end = start + text.n,
        .longs = longs,
        .err = err,
    };
    skip_space(&s);
    int r = scan_value(&s);
    if (r < 0)
        return r;
    size_t end = (size_t)(s.p - s.start);
    skip_space(&s);
    if (!ret_end && s.p < s.end)
        return refuse(&s, "after top-level value");
    if (ret_end)
        *ret_end = end;
    return 0;
}

int json_scan(struct str text, size_t *ret_end, struct error *err)
{
    return json_scan_numbers(text, ret_end, NULL, err);
}
