/*
 * Strings: `struct str` is a borrowed view passed by value; `struct strbuf` is an owned, growing
 * buffer.
 *
 *     struct strbuf b;
 *     strbuf_init(&b, LIMIT_BODY_BYTES);
 *     strbuf_addf(&b, "pods/%s", name);
 *     if (strbuf_overflowed(&b)) ...
 *     strbuf_done(&b);
 *
 * Appends past a buffer's limit set a flag and drop the append; check once at the end. The content
 * is always NUL-terminated (b.data is "" when nothing was added), so it can be used as a C string
 * when it holds no NUL. Out of memory aborts: limits bound what a client can ask for.
 *
 * Threads: none of its own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

struct str {
    const char *p; /* not NUL-terminated in general; may be NULL when n is 0 */
    size_t n;
};

#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})
/* For printf: "%.*s", STR_FMT(s) */
#define STR_FMT(s) (int)(s).n, (s).p ? (s).p : ""

struct str str_of(const char *c_string); /* NULL gives an empty view */
struct str str_range(const char *p, size_t n);
bool str_eq(struct str a, struct str b);
bool str_eqc(struct str a, const char *b);      /* with a C string */
bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
int str_cmp(struct str a, struct str b);        /* bytewise, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s);      /* ASCII white space, both ends */
ssize_t str_find(struct str s, char c); /* index or -1 */

/* Takes the part up to `sep` off *rest (all of it when there is none); false when *rest is at its
 * end. */
bool str_split(struct str *rest, char sep, struct str *ret_part);

char *str_dup(struct str s); /* heap, NUL-terminated */

/* Decimal, optional sign, the whole of s; ERR_BAD_REQUEST with the quoted text otherwise. */
int str_parse_int64(struct str s, int64_t *ret, struct error *err);

bool c_eq(const char *a, const char *b); /* NULL equals NULL and nothing else */

/* asprintf that aborts when memory is out. */
char *str_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct strbuf {
    char *data; /* never NULL after init */
    size_t n;
    size_t capacity;
    size_t limit; /* bytes of content allowed; 0 means none (trusted input only) */
    bool overflow;
};

#define STRBUF_EMPTY ((struct strbuf){.data = (char *)""})

void strbuf_init(struct strbuf *b, size_t limit);
void strbuf_done(struct strbuf *b);  /* frees; b may be initialised again */
void strbuf_clear(struct strbuf *b); /* keeps the memory */
void strbuf_add(struct strbuf *b, struct str s);
void strbuf_addc(struct strbuf *b, const char *c_string);
void strbuf_add_char(struct strbuf *b, char c);
void strbuf_addf(struct strbuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *strbuf_reserve(struct strbuf *b, size_t n); /* room for n more bytes, NULL over the limit */
void strbuf_commit(struct strbuf *b, size_t n);   /* n of the reserved bytes were written */
void strbuf_remove_front(struct strbuf *b, size_t n);
bool strbuf_overflowed(const struct strbuf *b);
struct str strbuf_str(const struct strbuf *b);
char *strbuf_steal(struct strbuf *b); /* heap C string; b is empty afterwards */

/* Scope lifetime: `autofree char *p = ...;` frees at the end of the block; steal() hands over. */
void cleanup_free(void *p);
void cleanup_strbuf(struct strbuf *b);
#define autofree __attribute__((cleanup(cleanup_free)))
#define autostrbuf __attribute__((cleanup(cleanup_strbuf)))
#define steal(pp)                              \
    ({                                         \
        __typeof__(*(pp)) steal_taken = *(pp); \
        *(pp) = NULL;                          \
        steal_taken;                           \
    })

void *xmalloc(size_t n); /* abort when memory is out */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *c_string);

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
