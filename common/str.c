/*
 * Strings: views, growing buffers, and the allocation functions that abort when memory is out.
 *
 * A buffer that never grew points at a shared empty string (capacity 0), so an unused one costs
 * nothing. Invariant: data[n] is NUL; capacity counts that byte. Once a buffer overflowed
 * everything more is dropped, so its content is a prefix of what was meant. Threads: none of its
 * own.
 */
#include "common/str.h"

#include <stdarg.h>
#include <stdint.h>

static _Noreturn void out_of_memory(size_t n)
{
    fprintf(stderr, "out of memory: %zu bytes wanted\n", n);
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        out_of_memory(n);
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        out_of_memory(count * size);
    return p;
}

void *xrealloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (!q)
        out_of_memory(n);
    return q;
}

char *xstrdup(const char *c_string)
{
    size_t n = strlen(c_string) + 1;
    return memcpy(xmalloc(n), c_string, n);
}

void cleanup_free(void *p)
{
    free(*(void **)p);
}

void cleanup_strbuf(struct strbuf *b)
{
    strbuf_done(b);
}

/* Views */

struct str str_of(const char *c_string)
{
    return (struct str){c_string, c_string ? strlen(c_string) : 0};
}

struct str str_range(const char *p, size_t n)
{
    return (struct str){p, n};
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || !memcmp(a.p, b.p, a.n));
}

bool str_eqc(struct str a, const char *b)
{
    return str_eq(a, str_of(b));
}

static unsigned char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : (unsigned char)c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || !memcmp(s.p, prefix.p, prefix.n));
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || !memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n));
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

ssize_t str_find(struct str s, char c)
{
    const char *found = s.n ? memchr(s.p, c, s.n) : NULL;
    return found ? found - s.p : -1;
}

bool str_split(struct str *rest, char sep, struct str *ret_part)
{
    if (rest->n == 0)
        return false;
    ssize_t at = str_find(*rest, sep);
    if (at < 0) {
        *ret_part = *rest;
        *rest = str_range(rest->p + rest->n, 0);
        return true;
    }
    *ret_part = str_range(rest->p, (size_t)at);
    *rest = str_range(rest->p + at + 1, rest->n - (size_t)at - 1);
    return true;
}

char *str_dup(struct str s)
{
    char *copy = xmalloc(s.n + 1);
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

int str_parse_int64(struct str s, int64_t *ret, struct error *err)
{
    size_t i = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+');
    bool negative = i && s.p[0] == '-', fits = true;
    uint64_t value = 0, max = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

    if (i == s.n)
        return error_set(err, ERR_BAD_REQUEST, "\"%.*s\" is not a number", STR_FMT(s));
    for (; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - '0';
        if (digit > 9)
            return error_set(
                err, ERR_BAD_REQUEST, "\"%.*s\" is not a number", s.n > 64 ? 64 : (int)s.n, s.p);
        fits = fits && (value < max / 10 || (value == max / 10 && digit <= max % 10));
        value = fits ? value * 10 + digit : value;
    }
    if (!fits)
        return error_set(
            err, ERR_BAD_REQUEST, "\"%.*s\" is out of range", s.n > 64 ? 64 : (int)s.n, s.p);
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

bool c_eq(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

char *str_format(const char *format, ...)
{
    char *text;
    va_list args;

    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        out_of_memory(0);
    return text;
}

/* Buffers */

void strbuf_init(struct strbuf *b, size_t limit)
{
    *b = STRBUF_EMPTY;
    b->limit = limit;
}

void strbuf_done(struct strbuf *b)
{
    if (b->capacity)
        free(b->data);
    *b = STRBUF_EMPTY;
}

void strbuf_clear(struct strbuf *b)
{
    b->n = 0;
    b->overflow = false;
    if (b->capacity)
        b->data[0] = '\0';
}

char *strbuf_reserve(struct strbuf *b, size_t n)
{
    if (n < b->capacity - b->n && !b->overflow && !(b->limit && b->n + n > b->limit))
        return b->data + b->n;
    if (b->overflow || n > SIZE_MAX / 4 || (b->limit && n > b->limit - b->n)) {
        b->overflow = true;
        return NULL;
    }
    size_t wanted = b->n + n + 1, capacity = b->capacity ? b->capacity : 56;
    while (capacity < wanted)
        capacity += capacity < 4096 ? capacity : capacity / 2;
    bool first = b->capacity == 0;
    b->data = xrealloc(first ? NULL : b->data, capacity);
    b->capacity = capacity;
    if (first)
        b->data[0] = '\0';
    return b->data + b->n;
}

void strbuf_commit(struct strbuf *b, size_t n)
{
    if (n == 0)
        return;
    b->n += n;
    b->data[b->n] = '\0';
}

void strbuf_add(struct strbuf *b, struct str s)
{
    if (s.n == 0)
        return;
    char *room = strbuf_reserve(b, s.n);
    if (!room)
        return;
    memcpy(room, s.p, s.n);
    b->n += s.n;
    b->data[b->n] = '\0';
}

void strbuf_addc(struct strbuf *b, const char *c_string)
{
    strbuf_add(b, str_of(c_string));
}

void strbuf_add_char(struct strbuf *b, char c)
{
    char *room = strbuf_reserve(b, 1);
    if (!room)
        return;
    room[0] = c;
    room[1] = '\0';
    b->n++;
}

void strbuf_addf(struct strbuf *b, const char *format, ...)
{
    char small[256];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (n < 0)
        abort(); /* a format that libc refuses is a mistake in our code */
    if ((size_t)n < sizeof(small)) {
        strbuf_add(b, str_range(small, (size_t)n));
        return;
    }
    char *room = strbuf_reserve(b, (size_t)n);
    if (!room)
        return;
    va_start(args, format);
    vsnprintf(room, (size_t)n + 1, format, args);
    va_end(args);
    strbuf_commit(b, (size_t)n);
}

void strbuf_remove_front(struct strbuf *b, size_t n)
{
    if (n == 0)
        return;
    if (n > b->n)
        n = b->n;
    memmove(b->data, b->data + n, b->n - n + 1);
    b->n -= n;
}

bool strbuf_overflowed(const struct strbuf *b)
{
    return b->overflow;
}

struct str strbuf_str(const struct strbuf *b)
{
    return (struct str){b->data, b->n};
}

char *strbuf_steal(struct strbuf *b)
{
    char *text = b->capacity ? b->data : xstrdup("");
    size_t limit = b->limit;
    strbuf_init(b, limit);
    return text;
}
