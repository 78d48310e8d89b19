/*
 * Log lines: formatting, quoting, and holding back what repeats too fast.
 *
 * Fields are formatted here and not by vsnprintf, because several formats share one argument list
 * and a va_list may not be used after libc has walked it.
 *
 * The level, the form and the table of repeats are the process's only mutable globals: a log is one
 * per process by its nature. The table has a slot a (file, line); two places that share a slot
 * evict each other, which can only let more lines through. Threads: any; the table has a mutex, the
 * rest is atomic.
 */
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/json.h"
#include "common/time.h"

#define LINE_BYTES_MAX (16u << 10)
#define REPEATS_A_SECOND 10
#define SLOTS 256

static _Atomic int level_max = LOG_INFO;
static _Atomic bool as_json;

struct slot {
    const char *file;
    int line;
    unsigned in_window, held_back;
    int64_t window_ns;
};
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[SLOTS];

void log_set_level(enum log_level level)
{
    atomic_store(&level_max, (int)level);
}

void log_set_json(bool json)
{
    atomic_store(&as_json, json);
}

static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* False when the line is held back; otherwise *ret_held_back lines were before it. */
static bool may_pass(const char *file, int line, int64_t now_ns, unsigned *ret_held_back)
{
    size_t hash = ((uintptr_t)file >> 3) * 31 + (size_t)line * 7;
    struct slot *slot = &slots[hash % SLOTS];

    pthread_mutex_lock(&slots_lock);
    if (slot->file != file || slot->line != line)
        *slot = (struct slot){.file = file, .line = line, .window_ns = now_ns};
    if (now_ns - slot->window_ns >= NS_PER_S || now_ns < slot->window_ns) {
        slot->window_ns = now_ns;
        slot->in_window = 0;
    }
    bool pass = ++slot->in_window <= REPEATS_A_SECOND;
    if (pass) {
        *ret_held_back = slot->held_back;
        slot->held_back = 0;
    } else {
        slot->held_back++;
    }
    pthread_mutex_unlock(&slots_lock);
    return pass;
}

/* "/src/skiff/apiserver/store/sqlite.c" -> "apiserver/store/sqlite": our own path tells where the
 * tree is. */
static struct str place_of(const char *file)
{
    static const char self[] = __FILE__;
    size_t root = sizeof(self) - sizeof("common/log.c");
    struct str place = str_of(file);

    if (place.n > root && !memcmp(file, self, root))
        place = str_range(file + root, place.n - root);
    return str_ends(place, STR(".c")) ? str_range(place.p, place.n - 2) : place;
}

struct conversion {
    char length; /* 0, 'l', 'L' for ll, 'z' */
    bool precision_arg;
    char kind;
};

/* Reads what follows '%'; returns the byte behind it. */
static const char *read_conversion(const char *f, struct conversion *ret)
{
    *ret = (struct conversion){0};
    if (f[0] == '.' && f[1] == '*') {
        ret->precision_arg = true;
        f += 2;
    }
    if (f[0] == 'l' && f[1] == 'l') {
        ret->length = 'L';
        f += 2;
    } else if (*f == 'l' || *f == 'z') {
        ret->length = *f++;
    }
    ret->kind = *f;
    return *f ? f + 1 : f;
}

static void add_signed(struct strbuf *out, char length, va_list *args)
{
    long long value = length == 'L'   ? va_arg(*args, long long)
                      : length == 'l' ? va_arg(*args, long)
                      : length == 'z' ? va_arg(*args, ssize_t)
                                      : va_arg(*args, int);
    strbuf_addf(out, "%lld", value);
}

static void add_unsigned(struct strbuf *out, char length, bool hex, va_list *args)
{
    unsigned long long value = length == 'L'   ? va_arg(*args, unsigned long long)
                               : length == 'l' ? va_arg(*args, unsigned long)
                               : length == 'z' ? va_arg(*args, size_t)
                                               : va_arg(*args, unsigned);
    strbuf_addf(out, hex ? "%llx" : "%llu", value);
}

static void add_string(struct strbuf *out, bool precision_arg, va_list *args)
{
    int n = precision_arg ? va_arg(*args, int) : -1;
    const char *s = va_arg(*args, const char *);
    if (!s)
        strbuf_addc(out, "(null)");
    else if (n >= 0)
        strbuf_add(out, str_range(s, strnlen(s, (size_t)n)));
    else
        strbuf_addc(out, s);
}

static void add_formatted(struct strbuf *out, const char *f, va_list *args)
{
    while (*f) {
        size_t plain = strcspn(f, "%");
        strbuf_add(out, str_range(f, plain));
        f += plain;
        if (!*f)
            return;
        struct conversion c;
        f = read_conversion(f + 1, &c);
        switch (c.kind) {
        case 'd':
        case 'i':
            add_signed(out, c.length, args);
            break;
        case 'u':
        case 'x':
            add_unsigned(out, c.length, c.kind == 'x', args);
            break;
        case 's':
            add_string(out, c.precision_arg, args);
            break;
        case 'c':
            strbuf_add_char(out, (char)va_arg(*args, int));
            break;
        case '%':
            strbuf_add_char(out, '%');
            break;
        default:
            fprintf(stderr, "log.c: conversion '%%%c' is not understood\n", c.kind);
            abort(); /* a mistake in our code: the arguments behind it can't be found */
        }
    }
}

static bool needs_quotes(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
            return true;
    }
    return value.n == 0;
}

static void add_field(struct strbuf *line, bool json, const char *key, struct str value)
{
    if (json) {
        strbuf_add_char(line, ',');
        json_print_string(str_of(key), line);
        strbuf_add_char(line, ':');
        json_print_string(value, line);
        return;
    }
    strbuf_addf(line, " %s=", key);
    if (needs_quotes(value))
        json_print_string(value, line);
    else
        strbuf_add(line, value);
}

static void add_head(struct strbuf *line, bool json, enum log_level level, int64_t now_ns,
    const char *file, const char *message)
{
    static const char letters[] = "EWID";
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char time_text[TIME_TEXT_BYTES];
    struct str place = place_of(file);

    time_print_us(now_ns, time_text);
    memcpy(time_text + 23, "Z", 2); /* milliseconds are enough */
    if (json) {
        strbuf_addf(line,
            "{\"time\":\"%s\",\"level\":\"%s\",\"place\":\"%.*s\",\"message\":", time_text,
            names[level], STR_FMT(place));
        json_print_string(str_of(message), line);
    } else {
        strbuf_addf(line, "%s %c %.*s: %s", time_text, letters[level], STR_FMT(place), message);
    }
}

static void write_line(struct str line)
{
    while (line.n > 0) {
        ssize_t n = write(STDERR_FILENO, line.p, line.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nowhere to report it */
        line = str_range(line.p + n, line.n - (size_t)n);
    }
}

void log_write(enum log_level level, const char *file, int line_number, const char *message, ...)
{
    if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return;
    int saved_errno = errno;
    int64_t now_ns = wall_ns();
    unsigned held_back = 0;
    if (!may_pass(file, line_number, now_ns, &held_back))
        return;

    bool json = atomic_load_explicit(&as_json, memory_order_relaxed);
    autostrbuf struct strbuf line = STRBUF_EMPTY, value = STRBUF_EMPTY;
    line.limit = LINE_BYTES_MAX;
    add_head(&line, json, level, now_ns, file, message);
    va_list args;
    va_start(args, message);
    for (const char *key; (key = va_arg(args, const char *));) {
        strbuf_clear(&value);
        add_formatted(&value, va_arg(args, const char *), &args);
        if (value.n > LINE_BYTES_MAX / 8)
            value.n = LINE_BYTES_MAX / 8;
        add_field(&line, json, key, strbuf_str(&value));
    }
    va_end(args);
    if (held_back)
        strbuf_addf(&line, json ? ",\"held_back\":\"%u\"" : " held_back=%u", held_back);
    line.limit = 0;
    line.overflow = false;
    strbuf_addc(&line, json ? "}\n" : "\n");
    write_line(strbuf_str(&line));
    errno = saved_errno;
}
