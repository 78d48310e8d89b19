/*
 * Quantities: exact decimals in units of 10^-9.
 *
 * Parsing works on the digits as text: a binary suffix multiplies the digit string by 1024 a few
 * times, a decimal one only moves the point, and what is finer than 10^-9 is cut with rounding away
 * from zero. So no step can overflow and none needs floating point. Short plain numbers ("500m",
 * "64Mi") take a direct path.
 *
 * Difference to upstream: a text without any digit ("-", ".") is refused, and so is one of more
 * than 256 characters. Upstream: apimachinery api/resource. Tests: tests/cases/quantity.test,
 * tests/fuzz/quantity_fuzz.c
 */
#include "common/quantity.h"

#include <inttypes.h>

#define NANO ((__int128)1000000000)
#define MAX_NANO ((__int128)INT64_MAX * NANO)
#define TEXT_BYTES_MAX 256

static const struct suffix {
    const char *text;
    int exponent; /* of 10, or of 2 for binary ones */
    bool binary;
} suffixes[] = {
    {"", 0, false},
    {"m", -3, false},
    {"k", 3, false},
    {"M", 6, false},
    {"G", 9, false},
    {"Ki", 10, true},
    {"Mi", 20, true},
    {"Gi", 30, true},
    {"Ti", 40, true},
    {"T", 12, false},
    {"P", 15, false},
    {"E", 18, false},
    {"Pi", 50, true},
    {"Ei", 60, true},
    {"n", -9, false},
    {"u", -6, false},
};

/* Splits text into sign, digits around the point, and suffix; false when it has another shape. */
static bool split(
    struct str text, bool *negative, struct str *whole, struct str *fraction, struct str *suffix)
{
    size_t i = 0, from;
    if (text.n == 0 || text.n > TEXT_BYTES_MAX)
        return false;
    *negative = text.p[0] == '-';
    if (text.p[0] == '-' || text.p[0] == '+')
        i++;
    for (from = i; i < text.n && text.p[i] >= '0' && text.p[i] <= '9';)
        i++;
    *whole = str_range(text.p + from, i - from);
    *fraction = str_range(text.p + i, 0);
    if (i < text.n && text.p[i] == '.') {
        for (from = ++i; i < text.n && text.p[i] >= '0' && text.p[i] <= '9';)
            i++;
        *fraction = str_range(text.p + from, i - from);
    }
    if (whole->n + fraction->n == 0)
        return false;
    from = i;
    while (i < text.n && text.p[i] && strchr("eEinumkKMGTP", text.p[i]))
        i++;
    if (i < text.n && (text.p[i] == '-' || text.p[i] == '+'))
        i++;
    while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9')
        i++;
    *suffix = str_range(text.p + from, i - from);
    return i == text.n;
}

static bool find_suffix(struct str text, struct suffix *ret, enum quantity_format *ret_format)
{
    int64_t exponent;
    struct error err;
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++) {
        if (str_eqc(text, suffixes[i].text)) {
            *ret = suffixes[i];
            *ret_format = suffixes[i].binary ? QUANTITY_BINARY_SI : QUANTITY_DECIMAL_SI;
            return true;
        }
    }
    if (text.n < 2 || (text.p[0] | 0x20) != 'e' ||
        str_parse_int64(str_range(text.p + 1, text.n - 1), &exponent, &err) < 0)
        return false;
    if (exponent > 1000)
        exponent = 1000; /* saturates anyway */
    if (exponent < -1000)
        exponent = -1000;
    *ret = (struct suffix){"", (int)exponent, false};
    *ret_format = QUANTITY_DECIMAL_EXPONENT;
    return true;
}

/* A decimal digit string, most significant first, grown at the front by multiplication. */
struct digits {
    unsigned char at[TEXT_BYTES_MAX + 32];
    size_t first; /* the number is at[first .. sizeof(at)) */
};

static void digits_load(struct digits *d, struct str whole, struct str fraction)
{
    d->first = sizeof(d->at) - whole.n - fraction.n;
    for (size_t i = 0; i < whole.n; i++)
        d->at[d->first + i] = (unsigned char)(whole.p[i] - '0');
    for (size_t i = 0; i < fraction.n; i++)
        d->at[d->first + whole.n + i] = (unsigned char)(fraction.p[i] - '0');
}

static void digits_multiply(struct digits *d, unsigned factor)
{
    unsigned carry = 0;
    for (size_t i = sizeof(d->at); i-- > d->first;) {
        carry += d->at[i] * factor;
        d->at[i] = (unsigned char)(carry % 10);
        carry /= 10;
    }
    for (; carry; carry /= 10)
        d->at[--d->first] = (unsigned char)(carry % 10);
}

/* The number times 10^shift, rounded away from zero, saturating. */
static __int128 digits_value(struct digits *d, int shift)
{
    while (d->first < sizeof(d->at) && d->at[d->first] == 0)
        d->first++;
    int count = (int)(sizeof(d->at) - d->first), kept = count + shift;
    if (count == 0)
        return 0;
    if (kept > 28)
        return MAX_NANO;
    __int128 value = 0;
    for (int i = 0; i < kept; i++)
        value = value * 10 + (i < count ? d->at[d->first + (size_t)i] : 0);
    bool more = kept < 0;
    for (int i = kept < 0 ? 0 : kept; i < count; i++)
        more |= d->at[d->first + (size_t)i] != 0;
    value += more;
    return value > MAX_NANO ? MAX_NANO : value;
}

static __int128 slow_value(struct str whole, struct str fraction, const struct suffix *suffix)
{
    struct digits d;
    digits_load(&d, whole, fraction);
    for (int e = 0; suffix->binary && e < suffix->exponent; e += 10)
        digits_multiply(&d, 1024);
    return digits_value(&d, (suffix->binary ? 0 : suffix->exponent) + 9 - (int)fraction.n);
}

static __int128 fast_value(struct str whole, const struct suffix *suffix)
{
    static const int64_t powers[] = {1, 1000, 1000000, 1000000000, 1000000000000, 1000000000000000};
    __int128 value = 0;
    for (size_t i = 0; i < whole.n; i++)
        value = value * 10 + (whole.p[i] - '0');
    if (suffix->binary)
        return (value << suffix->exponent) * NANO;
    return value * powers[(suffix->exponent + 9) / 3];
}

int quantity_parse(struct str text, struct quantity *ret, struct error *err)
{
    bool negative;
    struct str whole, fraction, suffix_text;
    struct suffix suffix;
    enum quantity_format format;

    if (!split(text, &negative, &whole, &fraction, &suffix_text))
        return error_set(err, ERR_BAD_REQUEST,
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    if (!find_suffix(suffix_text, &suffix, &format))
        return error_set(err, ERR_BAD_REQUEST, "unable to parse quantity's suffix");
    bool fast = whole.n <= 9 && fraction.n == 0 && format != QUANTITY_DECIMAL_EXPONENT &&
                suffix.exponent <= (suffix.binary ? 30 : 6);
    __int128 nano = fast ? fast_value(whole, &suffix) : slow_value(whole, fraction, &suffix);
    *ret = (struct quantity){negative ? -nano : nano, format};
    return 0;
}

/* Printing */

static void add_int128(struct strbuf *out, __int128 value)
{
    char text[48], *p = text + sizeof(text);
    unsigned __int128 left = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
    do
        *--p = (char)('0' + (int)(left % 10));
    while (left /= 10);
    if (value < 0)
        *--p = '-';
    strbuf_add(out, str_range(p, (size_t)(text + sizeof(text) - p)));
}

static void print_binary(__int128 units, struct strbuf *out)
{
    static const char *const names[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    size_t i = 0;
    while (units % 1024 == 0 && i + 1 < ARRAY_COUNT(names)) {
        units /= 1024;
        i++;
    }
    add_int128(out, units);
    strbuf_addc(out, names[i]);
}

static void print_decimal(__int128 nano, bool as_exponent, struct strbuf *out)
{
    static const char *const names[] = {"n", "u", "m", "", "k", "M", "G", "T", "P", "E"};
    size_t i = 0;
    while (nano % 1000 == 0 && (as_exponent || i + 1 < ARRAY_COUNT(names))) {
        nano /= 1000;
        i++;
    }
    add_int128(out, nano);
    if (!as_exponent)
        strbuf_addc(out, names[i]);
    else if (i != 3)
        strbuf_addf(out, "e%d", (int)i * 3 - 9);
}

void quantity_print(struct quantity q, struct strbuf *out)
{
    if (q.nano == 0)
        strbuf_add_char(out, '0');
    else if (q.format == QUANTITY_BINARY_SI && q.nano % NANO == 0 &&
             (q.nano >= 1024 * NANO || q.nano <= -1024 * NANO))
        print_binary(q.nano / NANO, out);
    else
        print_decimal(q.nano, q.format == QUANTITY_DECIMAL_EXPONENT, out);
}

/* Arithmetic */

int quantity_cmp(struct quantity a, struct quantity b)
{
    return (a.nano > b.nano) - (a.nano < b.nano);
}

static __int128 saturate(__int128 nano)
{
    return nano > MAX_NANO ? MAX_NANO : nano < -MAX_NANO ? -MAX_NANO : nano;
}

struct quantity quantity_add(struct quantity a, struct quantity b)
{
    return (struct quantity){saturate(a.nano + b.nano), a.nano ? a.format : b.format};
}

struct quantity quantity_sub(struct quantity a, struct quantity b)
{
    return (struct quantity){saturate(a.nano - b.nano), a.nano ? a.format : b.format};
}

static int64_t in_units_of(__int128 nano, __int128 unit)
{
    __int128 value = nano / unit, rest = nano % unit;
    value += rest > 0 ? 1 : rest < 0 ? -1 : 0;
    return value > INT64_MAX              ? INT64_MAX
           : value < -(__int128)INT64_MAX ? -INT64_MAX
                                          : (int64_t)value;
}

int64_t quantity_value(struct quantity q)
{
    return in_units_of(q.nano, NANO);
}

int64_t quantity_milli_value(struct quantity q)
{
    return in_units_of(q.nano, NANO / 1000);
}

struct quantity quantity_of_value(int64_t units, enum quantity_format format)
{
    return (struct quantity){saturate(units * NANO), format};
}

struct quantity quantity_of_milli(int64_t thousandths)
{
    return (struct quantity){thousandths * (NANO / 1000), QUANTITY_DECIMAL_SI};
}
