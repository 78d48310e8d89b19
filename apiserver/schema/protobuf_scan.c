/*
 * Reading JSON into tokens, and writing protobuf backwards. See protobuf_scan.h.
 *
 * The text is our own printer's, so nothing is checked beyond what keeps the reader inside it: a
 * text that ends early gives the tokens so far. Cost: about 1 ns a byte.
 */
#include "apiserver/schema/protobuf_scan.h"

#include <assert.h>

#include "common/json_scan.h"
#include "common/limits.h"

#define FIRST_BYTES 2048
#define FIRST_TOKENS 256
/* Deeper than any text that was read, and what is put around it. */
#define DEPTH_MAX (LIMIT_JSON_DEPTH + 8)

void protobuf_init(struct protobuf *p)
{
    *p = (struct protobuf){0};
}

void protobuf_clear(struct protobuf *p)
{
    p->at = p->capacity;
}

void protobuf_done(struct protobuf *p)
{
    free(p->data);
    free(p->tokens);
    *p = (struct protobuf){0};
}

struct str protobuf_bytes(const struct protobuf *p)
{
    return str_range((const char *)p->data + p->at, p->capacity - p->at);
}

/* --- writing --- */

static unsigned char *make_room(struct protobuf *p, size_t n)
{
    if (p->at < n) {
        size_t used = p->capacity - p->at, capacity = 2 * p->capacity + n + FIRST_BYTES;
        unsigned char *data = xmalloc(capacity);
        if (used > 0)
            memcpy(data + capacity - used, p->data + p->at, used);
        free(p->data);
        p->data = data;
        p->capacity = capacity;
        p->at = capacity - used;
    }
    return p->data + (p->at -= n);
}

void put_bytes(struct protobuf *p, struct str bytes)
{
    if (bytes.n > 0)
        memcpy(make_room(p, bytes.n), bytes.p, bytes.n);
}

void put_varint(struct protobuf *p, uint64_t value)
{
    unsigned char bytes[10];
    size_t n = 0;

    if (value < 0x80) {
        *make_room(p, 1) = (unsigned char)value;
        return;
    }
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    memcpy(make_room(p, n), bytes, n);
}

void put_delimited(struct protobuf *p, unsigned number, size_t mark)
{
    put_varint(p, put_mark(p) - mark);
    put_varint(p, number << 3 | 2);
}

void put_string_field(struct protobuf *p, unsigned number, struct str bytes)
{
    size_t mark = put_mark(p);

    put_bytes(p, bytes);
    put_delimited(p, number, mark);
}

void put_integer_field(struct protobuf *p, unsigned number, uint64_t value)
{
    put_varint(p, value);
    put_varint(p, number << 3);
}

void put_double_field(struct protobuf *p, unsigned number, double value)
{
    unsigned char bytes[8];
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(bits >> (8 * i));
    put_bytes(p, str_range((const char *)bytes, sizeof(bytes)));
    put_varint(p, number << 3 | 1);
}

/* --- strings --- */

static uint32_t read_hex(const char *s)
{
    uint32_t value = 0;

    for (size_t i = 0; i < 4; i++) {
        char c = s[i];
        value = value << 4 |
                (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10); /* checked by its reader */
    }
    return value;
}

static size_t utf8_print(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Behind "\u": the character, and how many bytes of the text it took. */
static uint32_t read_unicode(struct str s, size_t *ret_n)
{
    uint32_t c = s.n >= 4 ? read_hex(s.p) : 0xfffd, low;

    *ret_n = s.n >= 4 ? 4 : s.n;
    if (c < 0xd800 || c > 0xdfff)
        return c;
    if (c >= 0xdc00 || s.n < 10 || s.p[4] != '\\' || s.p[5] != 'u')
        return 0xfffd;
    low = read_hex(s.p + 6);
    if (low < 0xdc00 || low > 0xdfff)
        return 0xfffd;
    *ret_n = 10;
    return 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
}

/* Into out, which has room for s.n bytes: no escape is shorter than what it means. */
static size_t unescape(struct str s, char *out)
{
    static const char meaning[256] = {
        ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    size_t n = 0;

    for (size_t i = 0; i < s.n;) {
        if (s.p[i] != '\\' || i + 1 == s.n) {
            out[n++] = s.p[i++];
        } else if (s.p[i + 1] == 'u') {
            size_t taken;
            n += utf8_print(read_unicode(str_range(s.p + i + 2, s.n - i - 2), &taken), out + n);
            i += 2 + taken;
        } else {
            char c = meaning[(unsigned char)s.p[i + 1]];
            out[n++] = c ? c : s.p[i + 1];
            i += 2;
        }
    }
    return n;
}

void put_unescaped(struct protobuf *p, struct str text)
{
    autofree char *plain = xmalloc(text.n + 4);

    put_bytes(p, str_range(plain, unescape(text, plain)));
}

/* --- reading --- */

static uint32_t add_token(struct protobuf *p, struct protobuf_token t)
{
    if (p->token_count == p->token_capacity) {
        p->token_capacity = p->token_capacity ? 2 * p->token_capacity : FIRST_TOKENS;
        p->tokens = xrealloc(p->tokens, p->token_capacity * sizeof(*p->tokens));
    }
    p->tokens[p->token_count] = t;
    return (uint32_t)p->token_count++;
}

/* The first quote or backslash from i on. */
static size_t special_at(struct str s, size_t i)
{
    for (; s.n >= 8 && i <= s.n - 8; i += 8) {
        uint64_t w;
        memcpy(&w, s.p + i, 8);
        uint64_t marks = WORD_HAS(w, '"') | WORD_HAS(w, '\\');
        if (marks)
            return i + word_first(marks);
    }
    while (i < s.n && s.p[i] != '"' && s.p[i] != '\\')
        i++;
    return i;
}

/* The closing quote of the string that starts behind its quote at i. */
static size_t string_end(struct str s, size_t i, bool *ret_escaped)
{
    *ret_escaped = false;
    for (;;) {
        i = special_at(s, i);
        if (i >= s.n)
            return s.n;
        if (s.p[i] == '"')
            return i;
        *ret_escaped = true;
        i += 2;
    }
}

static size_t scalar_end(struct str s, size_t i)
{
    while (i < s.n && s.p[i] != ',' && s.p[i] != '}' && s.p[i] != ']' && s.p[i] != '\n')
        i++;
    return i;
}

struct scan {
    struct protobuf *p;
    struct str text;
    size_t i, depth;
    uint32_t open[DEPTH_MAX]; /* objects and lists, outermost first */
    uint32_t key, key_end;    /* of the member whose value comes */
    bool key_escaped, has_key;
};

/* The content of managedFields' fieldsV1: half of many objects, sent as the text it is. No type has
 * members that start so. */
static bool is_field_set(const struct scan *s)
{
    static const char key[] = "fieldsV1", start[] = "{\"f:";

    return s->has_key && s->key_end - s->key == sizeof(key) - 1 &&
           !memcmp(s->text.p + s->key, key, sizeof(key) - 1) && s->text.n - s->i > sizeof(start) &&
           !memcmp(s->text.p + s->i, start, sizeof(start) - 1);
}

/* Behind the object that starts at i. */
static size_t object_end(struct str s, size_t i)
{
    size_t open = 0;
    bool escaped;

    for (; i < s.n; i++) {
        if (s.p[i] == '"')
            i = string_end(s, i + 1, &escaped);
        else if (s.p[i] == '{')
            open++;
        else if (s.p[i] == '}' && --open == 0)
            return i + 1;
    }
    return s.n;
}

static void take_value(struct scan *s, char c)
{
    bool whole = c == '{' && is_field_set(s);
    uint32_t number = add_token(s->p, (struct protobuf_token){.start = (uint32_t)s->i, .type = c});
    struct protobuf_token *t = &s->p->tokens[number];
    struct protobuf_token *parent = &s->p->tokens[s->depth > 0 ? s->open[s->depth - 1] : 0];

    t->previous = parent->last;
    if (s->has_key) {
        t->key = s->key;
        t->key_end = s->key_end;
        t->key_escaped = s->key_escaped;
        s->has_key = false;
    }
    parent->last = number;
    if (whole) {
        t->end = (uint32_t)object_end(s->text, s->i);
        s->i = t->end;
    } else if (c == '{' || c == '[') {
        assert(s->depth < DEPTH_MAX);
        s->open[s->depth++] = number;
        s->i++;
    } else if (c == '"') {
        t->start++;
        t->end = (uint32_t)string_end(s->text, t->start, &t->escaped);
        s->i = t->end + 1;
    } else {
        t->end = (uint32_t)scalar_end(s->text, s->i);
        s->i = t->end;
    }
}

static void take_key(struct scan *s)
{
    s->key = (uint32_t)s->i + 1;
    s->key_end = (uint32_t)string_end(s->text, s->key, &s->key_escaped);
    s->has_key = true;
    s->i = s->key_end + 1;
}

static bool in_object(const struct scan *s)
{
    return s->depth > 0 && s->p->tokens[s->open[s->depth - 1]].type == '{';
}

void protobuf_scan(struct protobuf *p, struct str json)
{
    struct scan s = {.p = p, .text = json};

    p->text = json.p;
    p->token_count = 0;
    add_token(p, (struct protobuf_token){0});
    while (s.i < json.n) {
        char c = json.p[s.i];
        if (c == ',' || c == ':' || c == ' ' || c == '\n') {
            s.i++;
        } else if (c == '}' || c == ']') {
            s.i++;
            if (s.depth > 0)
                p->tokens[s.open[--s.depth]].end = (uint32_t)s.i;
        } else if (c == '"' && !s.has_key && in_object(&s)) {
            take_key(&s);
        } else {
            take_value(&s, c);
        }
    }
    if (p->token_count == 1) /* never an empty text, but a root is promised */
        add_token(p, (struct protobuf_token){.type = 'n'});
}

struct str protobuf_token_text(const struct protobuf *p, const struct protobuf_token *t)
{
    return str_range(p->text + t->start, t->end - t->start);
}
