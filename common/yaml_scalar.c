/*
 * YAML scalars: which type a plain one has, by the rules of go-yaml v2 (YAML 1.1 with Go's number
 * syntax).
 *
 * The first byte decides what is tried, as there: words only for letters that begin one, numbers
 * for digits and signs. Underscores inside numbers are dropped; 010 is octal; 08 is no octal and so
 * a float; base 60 is not supported and stays a string. Tests: tests/cases/yaml_scalar.test
 */
#include "common/yaml_scalar.h"

#include <inttypes.h>
#include <math.h>

#define NUMBER_BYTES_MAX 400

static const struct {
    const char *text;
    enum yaml_kind kind;
} words[] = {
    {"", YAML_NULL},
    {"~", YAML_NULL},
    {"null", YAML_NULL},
    {"Null", YAML_NULL},
    {"NULL", YAML_NULL},
    {"y", YAML_TRUE},
    {"Y", YAML_TRUE},
    {"yes", YAML_TRUE},
    {"Yes", YAML_TRUE},
    {"YES", YAML_TRUE},
    {"true", YAML_TRUE},
    {"True", YAML_TRUE},
    {"TRUE", YAML_TRUE},
    {"on", YAML_TRUE},
    {"On", YAML_TRUE},
    {"ON", YAML_TRUE},
    {"n", YAML_FALSE},
    {"N", YAML_FALSE},
    {"no", YAML_FALSE},
    {"No", YAML_FALSE},
    {"NO", YAML_FALSE},
    {"false", YAML_FALSE},
    {"False", YAML_FALSE},
    {"FALSE", YAML_FALSE},
    {"off", YAML_FALSE},
    {"Off", YAML_FALSE},
    {"OFF", YAML_FALSE},
    {".nan", YAML_SPECIAL},
    {".NaN", YAML_SPECIAL},
    {".NAN", YAML_SPECIAL},
    {".inf", YAML_SPECIAL},
    {".Inf", YAML_SPECIAL},
    {".INF", YAML_SPECIAL},
    {"+.inf", YAML_SPECIAL},
    {"+.Inf", YAML_SPECIAL},
    {"+.INF", YAML_SPECIAL},
    {"-.inf", YAML_SPECIAL},
    {"-.Inf", YAML_SPECIAL},
    {"-.INF", YAML_SPECIAL},
};

static bool find_word(struct str text, struct yaml_value *ret)
{
    if (text.n > 5)
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (str_eqc(text, words[i].text)) {
            ret->kind = words[i].kind;
            return true;
        }
    }
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits of `base`, at least one, without overflow. */
static bool read_digits(const char *p, unsigned base, uint64_t *ret)
{
    uint64_t value = 0;
    if (!*p)
        return false;
    for (; *p; p++) {
        unsigned digit = is_digit(*p) ? (unsigned)(*p - '0') : (unsigned)((*p | 0x20) - 'a' + 10);
        if ((!is_digit(*p) && ((*p | 0x20) < 'a' || (*p | 0x20) > 'f')) || digit >= base)
            return false;
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *ret = value;
    return true;
}

/* An integer as Go's ParseInt and ParseUint with base 0 read it. */
static bool read_int(const char *p, struct yaml_value *ret)
{
    bool negative = *p == '-', sign = *p == '-' || *p == '+';
    unsigned base = 10;
    uint64_t magnitude;

    p += sign;
    if (*p == '0' && p[1]) {
        char prefix = (char)(p[1] | 0x20);
        base = prefix == 'x' ? 16 : prefix == 'b' ? 2 : 8;
        p += prefix == 'x' || prefix == 'b' || prefix == 'o' ? 2 : 1;
    }
    if (!read_digits(p, base, &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + negative && sign)
        return false; /* ParseUint takes no sign */
    *ret = (struct yaml_value){
        .kind = YAML_INT, .negative = negative && magnitude, .magnitude = magnitude};
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? that a double can hold. */
static bool read_float(const char *text, struct yaml_value *ret)
{
    const char *p = text + (*text == '-' || *text == '+');
    size_t whole = strspn(p, "0123456789"), fraction = 0;

    p += whole;
    if (*p == '.') {
        fraction = strspn(p + 1, "0123456789");
        p += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '-' || p[1] == '+');
        if (!is_digit(*p))
            return false;
        p += strspn(p, "0123456789");
    }
    if (*p)
        return false;
    double number = strtod(text, NULL);
    if (isinf(number))
        return false;
    *ret = (struct yaml_value){.kind = YAML_FLOAT, .number = number};
    return true;
}

static bool take_run(const char **p, size_t min, size_t max)
{
    size_t n = strspn(*p, "0123456789");
    *p += n;
    return n >= min && n <= max;
}

static bool take_one(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* "2026-11-23", or with a time: T, t or a space between, a fraction, and a zone or none. */
static bool is_timestamp(const char *p)
{
    if (!take_run(&p, 4, 4) || !take_one(&p, '-') || !take_run(&p, 1, 2) || !take_one(&p, '-') ||
        !take_run(&p, 1, 2))
        return false;
    if (!*p)
        return true;
    if (!strchr("Tt ", *p++))
        return false;
    if (!take_run(&p, 1, 2) || !take_one(&p, ':') || !take_run(&p, 1, 2) || !take_one(&p, ':') ||
        !take_run(&p, 1, 2))
        return false;
    if (take_one(&p, '.'))
        take_run(&p, 0, 100);
    if (!*p || !strcmp(p, "Z"))
        return true;
    if (*p != '+' && *p != '-')
        return false;
    p++;
    return take_run(&p, 1, 2) && (!*p || (take_one(&p, ':') && take_run(&p, 1, 2) && !*p));
}

struct yaml_value yaml_resolve(struct str text)
{
    struct yaml_value value = {.kind = YAML_STRING};
    char plain[NUMBER_BYTES_MAX + 1];
    size_t n = 0;

    if (find_word(text, &value))
        return value;
    char first = text.p[0];
    if (text.n > NUMBER_BYTES_MAX ||
        (!is_digit(first) && first != '-' && first != '+' && first != '.'))
        return value;
    for (size_t i = 0; i < text.n; i++) {
        if (!text.p[i])
            return value;
        if (text.p[i] != '_' || first == '.')
            plain[n++] = text.p[i];
    }
    plain[n] = '\0';
    if (first == '.') {
        read_float(plain, &value);
        return value;
    }
    if (n == text.n && is_timestamp(plain))
        value.kind = YAML_TIMESTAMP;
    else if (!read_int(plain, &value))
        read_float(plain, &value);
    return value;
}

static cJSON *int_item(const struct yaml_value *value)
{
    char text[24];
    if (value->magnitude <= INT64_MAX)
        return json_new_int64(
            value->negative ? -(int64_t)value->magnitude : (int64_t)value->magnitude);
    snprintf(text, sizeof(text), "%s%" PRIu64, value->negative ? "-" : "", value->magnitude);
    return cJSON_CreateRaw(text);
}

cJSON *yaml_value_item(const struct yaml_value *value, struct str text)
{
    switch (value->kind) {
    case YAML_NULL:
        return cJSON_CreateNull();
    case YAML_TRUE:
    case YAML_FALSE:
        return cJSON_CreateBool(value->kind == YAML_TRUE);
    case YAML_INT:
        return int_item(value);
    case YAML_FLOAT:
        return cJSON_CreateNumber(value->number);
    case YAML_SPECIAL:
        return NULL;
    case YAML_STRING:
    case YAML_TIMESTAMP:
        break;
    }
    cJSON *item = cJSON_CreateString("");
    cJSON_free(item->valuestring);
    item->valuestring = str_dup(text);
    return item;
}
