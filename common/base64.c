/*
 * Base64 and hexadecimal. Decoding accepts exactly what Go's StdEncoding and RawURLEncoding accept
 * (CR and LF are skipped; bits left over at the end are ignored) and reports the same byte.
 */
#include "common/base64.h"

static const char std_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(struct str bytes, const char *alphabet, bool padding, struct strbuf *out)
{
    size_t whole = bytes.n / 3, rest = bytes.n % 3;
    size_t n = whole * 4 + (rest ? (padding ? 4 : rest + 1) : 0);
    const unsigned char *in = (const unsigned char *)bytes.p;
    char *p = strbuf_reserve(out, n);

    if (!p)
        return;
    for (size_t i = 0; i < whole; i++, in += 3, p += 4) {
        uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        p[0] = alphabet[v >> 18];
        p[1] = alphabet[v >> 12 & 63];
        p[2] = alphabet[v >> 6 & 63];
        p[3] = alphabet[v & 63];
    }
    if (rest) {
        uint32_t v = (uint32_t)in[0] << 16 | (rest == 2 ? (uint32_t)in[1] << 8 : 0);
        *p++ = alphabet[v >> 18];
        *p++ = alphabet[v >> 12 & 63];
        if (rest == 2)
            *p++ = alphabet[v >> 6 & 63];
        for (size_t i = rest; padding && i < 3; i++)
            *p++ = '=';
    }
    strbuf_commit(out, n);
}

void base64_encode(struct str bytes, struct strbuf *out)
{
    encode(bytes, std_alphabet, true, out);
}

void base64url_encode(struct str bytes, struct strbuf *out)
{
    encode(bytes, url_alphabet, false, out);
}

/* Value + 1, so that 0 means "not of the alphabet". */
#define COMMON_VALUES                                                                              \
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, \
    25, 26, ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45,    \
    46, 47, 48, 49, 50, 51, 52, ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62
static const unsigned char std_values[256] = {COMMON_VALUES, ['+'] = 63, ['/'] = 64};
static const unsigned char url_values[256] = {COMMON_VALUES, ['-'] = 63, ['_'] = 64};

static int corrupt(struct error *err, size_t at)
{
    return error_set(err, ERR_BAD_REQUEST, "illegal base64 data at input byte %zu", at);
}

static size_t skip_line_ends(struct str text, size_t i)
{
    while (i < text.n && (text.p[i] == '\n' || text.p[i] == '\r'))
        i++;
    return i;
}

/* What may follow `digits` digits of the last group when '=' was met at i: nothing but the padding.
 */
static int check_padding(struct str text, size_t i, int digits, struct error *err)
{
    if (digits < 2)
        return corrupt(err, i);
    i++;
    if (digits == 2) {
        i = skip_line_ends(text, i);
        if (i == text.n)
            return corrupt(err, text.n);
        if (text.p[i] != '=')
            return corrupt(err, i - 1);
        i++;
    }
    i = skip_line_ends(text, i);
    return i < text.n ? corrupt(err, i) : 0;
}

static int decode(struct str text, const unsigned char *values, bool padding, struct strbuf *out,
    struct error *err)
{
    char *start = strbuf_reserve(out, text.n / 4 * 3 + 3), *p = start;
    uint32_t group = 0;
    int digits = 0;
    size_t i = 0;

    if (!start)
        return error_set(err, ERR_TOO_LARGE, "base64 data is too long");
    for (; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i], value = values[c];
        if (!value && (c == '\n' || c == '\r'))
            continue;
        if (!value && padding && c == '=') {
            int r = check_padding(text, i, digits, err);
            if (r < 0)
                return r;
            break;
        }
        if (!value)
            return corrupt(err, i);
        group = group << 6 | (uint32_t)(value - 1);
        if (++digits < 4)
            continue;
        *p++ = (char)(group >> 16);
        *p++ = (char)(group >> 8);
        *p++ = (char)group;
        group = 0;
        digits = 0;
    }
    if (i == text.n && (digits == 1 || (digits && padding)))
        return corrupt(err, text.n - (size_t)digits);
    if (digits >= 2)
        *p++ = (char)(digits == 2 ? group >> 4 : group >> 10);
    if (digits == 3)
        *p++ = (char)(group >> 2);
    strbuf_commit(out, (size_t)(p - start));
    return 0;
}

int base64_decode(struct str text, struct strbuf *out, struct error *err)
{
    return decode(text, std_values, true, out, err);
}

int base64url_decode(struct str text, struct strbuf *out, struct error *err)
{
    return decode(text, url_values, false, out, err);
}

void hex_encode(struct str bytes, struct strbuf *out)
{
    static const char hex[] = "0123456789abcdef";
    char *p = strbuf_reserve(out, bytes.n * 2);
    if (!p)
        return;
    for (size_t i = 0; i < bytes.n; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        p[2 * i] = hex[c >> 4];
        p[2 * i + 1] = hex[c & 15];
    }
    strbuf_commit(out, bytes.n * 2);
}
