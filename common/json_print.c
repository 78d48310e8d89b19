/*
 * JSON printing: straight from the tree into a buffer, in the form of Go's encoding/json.
 *
 * Strings without anything to escape, nearly all of them, are found by table and copied in one
 * piece with their quotes; whole numbers below 10^15 are printed without libc. What is not valid
 * UTF-8 becomes \ufffd, as in Go. Tests: tests/unit/common/json_test.c
 */
#include "common/json.h"

#include <inttypes.h>
#include <math.h>

#include "common/json_scan.h"

/* 1: needs a look inside a string (control, quote, backslash, <, >, &, not ASCII). */
static const unsigned char special[256] = {
    [0 ... 0x1f] = 1,
    ['"'] = 1,
    ['\\'] = 1,
    ['<'] = 1,
    ['>'] = 1,
    ['&'] = 1,
    [0x80 ... 0xff] = 1,
};

static inline size_t plain_length(const char *s, size_t n)
{
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        uint64_t w;
        memcpy(&w, s + i, 8);
        uint64_t marks = WORD_ODD(w) | WORD_HAS(w, '"') | WORD_HAS(w, '\\') | WORD_HAS(w, '&') |
                         WORD_HAS(w | WORD_ONES * 2, '>'); /* and '<', which differs in that bit */
        if (marks)
            return i + word_first(marks);
    }
    while (i < n && !special[(unsigned char)s[i]])
        i++;
    return i;
}

static size_t add_escape(struct strbuf *out, const unsigned char *p, size_t room)
{
    static const char short_forms[256] = {['"'] = '"',
        ['\\'] = '\\',
        ['\b'] = 'b',
        ['\f'] = 'f',
        ['\n'] = 'n',
        ['\r'] = 'r',
        ['\t'] = 't'};
    if (short_forms[*p]) {
        strbuf_add(out, str_range((char[]){'\\', short_forms[*p]}, 2));
        return 1;
    }
    if (*p < 0x80) {
        strbuf_addf(out, "\\u%04x", *p);
        return 1;
    }
    size_t n = json_utf8_length(p, room);
    if (n == 0) {
        strbuf_addc(out, "\\ufffd");
        return 1;
    }
    if (n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] & 0xfe) == 0xa8)
        strbuf_addc(out, p[2] == 0xa8 ? "\\u2028" : "\\u2029");
    else
        strbuf_add(out, str_range((const char *)p, n));
    return n;
}

static void add_with_escapes(struct strbuf *out, struct str s, size_t plain)
{
    strbuf_add_char(out, '"');
    for (;;) {
        strbuf_add(out, str_range(s.p, plain));
        s = str_range(s.p + plain, s.n - plain);
        if (s.n == 0)
            break;
        size_t n = add_escape(out, (const unsigned char *)s.p, s.n);
        s = str_range(s.p + n, s.n - n);
        plain = plain_length(s.p, s.n);
    }
    strbuf_add_char(out, '"');
}

void json_print_string(struct str s, struct strbuf *out)
{
    size_t plain = plain_length(s.p, s.n), n = s.n + 2;
    if (plain < s.n) {
        add_with_escapes(out, s, plain);
        return;
    }
    char *room = strbuf_reserve(out, n);
    if (!room)
        return;
    room[0] = '"';
    if (s.n)
        memcpy(room + 1, s.p, s.n);
    room[1 + s.n] = '"';
    strbuf_commit(out, n);
}

/* `"name":` with `before` in front: compact printing's step to the next member. */
static void add_name(struct strbuf *out, char before, struct str name)
{
    char *room = plain_length(name.p, name.n) == name.n ? strbuf_reserve(out, name.n + 4) : NULL;
    if (!room) {
        strbuf_add_char(out, before);
        json_print_string(name, out);
        strbuf_add_char(out, ':');
        return;
    }
    room[0] = before;
    room[1] = '"';
    memcpy(room + 2, name.p, name.n);
    room[name.n + 2] = '"';
    room[name.n + 3] = ':';
    strbuf_commit(out, name.n + 4);
}

static void add_small_integer(struct strbuf *out, int64_t value)
{
    char text[24], *p = text + sizeof(text);
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--p = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0)
        *--p = '-';
    strbuf_add(out, str_range(p, (size_t)(text + sizeof(text) - p)));
}

/* The shortest digits that read back as the same double, as strconv.FormatFloat(d, ?, -1, 64). */
static int shortest_precision(double d, char *text, size_t bytes)
{
    for (int precision = 14; precision < 16; precision++) {
        snprintf(text, bytes, "%.*e", precision, d);
        if (strtod(text, NULL) == d)
            return precision;
    }
    snprintf(text, bytes, "%.16e", d);
    return 16;
}

static void add_float(struct strbuf *out, double d)
{
    char text[40], digits[24];
    int count = 0;

    shortest_precision(d, text, sizeof(text));
    const char *exponent_text = strchr(text, 'e');
    int exponent = (int)strtol(exponent_text + 1, NULL, 10);
    for (const char *p = text; p < exponent_text; p++)
        if (*p != '-' && *p != '.')
            digits[count++] = *p;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    if (d < 0)
        strbuf_add_char(out, '-');
    if (exponent < -6 || exponent >= 21) {
        strbuf_add_char(out, digits[0]);
        if (count > 1)
            strbuf_addf(out, ".%.*s", count - 1, digits + 1);
        strbuf_addf(out, "e%c%d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0)
        strbuf_addf(out, "0.%.*s", -exponent - 1, "000000");
    for (int i = 0; i < count || i <= exponent; i++) {
        if (i == exponent + 1 && exponent >= 0)
            strbuf_add_char(out, '.');
        strbuf_add_char(out, i < count ? digits[i] : '0');
    }
}

static void add_number(struct strbuf *out, double d)
{
    if (d > -1e15 && d < 1e15 && d == (double)(int64_t)d)
        add_small_integer(out, (int64_t)d);
    else if (isfinite(d))
        add_float(out, d);
    else
        strbuf_addc(out, "null"); /* never made by json_parse */
}

struct printer {
    struct strbuf *out;
    int spaces; /* per level; -1 for compact */
    int level;
};

static void new_line(const struct printer *p)
{
    if (p->spaces < 0) /* compact */
        return;
    size_t n = (size_t)(p->spaces * p->level);
    char *room = strbuf_reserve(p->out, n + 1);
    if (!room)
        return;
    room[0] = '\n';
    memset(room + 1, ' ', n);
    strbuf_commit(p->out, n + 1);
}

static void print_item(struct printer *p, const cJSON *item);

static void print_children(struct printer *p, const cJSON *item, bool object)
{
    char before = object ? '{' : '[';
    if (!item->child)
        strbuf_add_char(p->out, before);
    p->level++;
    for (const cJSON *c = item->child; c; c = c->next, before = ',') {
        struct str name = str_of(c->string ? c->string : "");
        if (object && p->spaces < 0) {
            add_name(p->out, before, name);
        } else {
            strbuf_add_char(p->out, before);
            new_line(p);
            if (object) {
                json_print_string(name, p->out);
                strbuf_addc(p->out, ": ");
            }
        }
        print_item(p, c);
    }
    p->level--;
    if (item->child)
        new_line(p);
    strbuf_add_char(p->out, object ? '}' : ']');
}

static void print_item(struct printer *p, const cJSON *item)
{
    switch (item->type & 0xff) {
    case cJSON_String:
        json_print_string(str_of(item->valuestring), p->out);
        break;
    case cJSON_Number:
        add_number(p->out, item->valuedouble);
        break;
    case cJSON_Object:
    case cJSON_Array:
        print_children(p, item, cJSON_IsObject(item));
        break;
    case cJSON_True:
        strbuf_add(p->out, STR("true"));
        break;
    case cJSON_False:
        strbuf_add(p->out, STR("false"));
        break;
    case cJSON_Raw:
        strbuf_addc(p->out, item->valuestring ? item->valuestring : "null");
        break;
    default:
        strbuf_add(p->out, STR("null"));
        break;
    }
}

void json_print(const cJSON *tree, struct strbuf *out)
{
    struct printer p = {.out = out, .spaces = -1};
    if (tree)
        print_item(&p, tree);
    else
        strbuf_addc(out, "null");
}

void json_print_indented(const cJSON *tree, struct strbuf *out, int spaces)
{
    struct printer p = {.out = out, .spaces = spaces};
    if (tree)
        print_item(&p, tree);
    else
        strbuf_addc(out, "null");
}
