/*
 * The formats that custom schemas may name and Kubernetes checks. Other words are kept in the
 * schema and hold for every value.
 *
 * Upstream: kube-openapi/pkg/validation/strfmt, apiextensions-apiserver's validation/formats.go.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>

#include "apiserver/custom/node.h"
#include "common/base64.h"
#include "common/names.h"
#include "common/time.h"

typedef bool format_fn(const char *s);

static bool all_of(const char *s, size_t n, int (*is)(int))
{
    for (size_t i = 0; i < n; i++)
        if (!is((unsigned char)s[i]))
            return false;
    return true;
}

/* d: digit, x: hex digit, X: either digit or hex; others stand for themselves. */
static bool fits(const char *s, const char *shape)
{
    for (; *shape; shape++, s++) {
        bool ok = *shape == 'd'   ? isdigit((unsigned char)*s)
                  : *shape == 'x' ? isxdigit((unsigned char)*s)
                                  : *s == *shape;
        if (!ok)
            return false;
    }
    return *s == '\0';
}

static bool is_object_id(const char *s)
{
    return strlen(s) == 24 && all_of(s, 24, isxdigit);
}

static bool is_uri(const char *s)
{
    const char *p = s;
    if (*p == '/')
        return true;
    if (!isalpha((unsigned char)*p))
        return false;
    while (isalnum((unsigned char)*p) || strchr("+-.", *p))
        if (!*p++)
            return false;
    if (*p != ':' || !p[1])
        return false;
    for (; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return false;
    return true;
}

static bool is_label(const char *s, size_t n, bool underscore)
{
    if (n == 0 || n > 63 || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '-' && !(underscore && s[i] == '_'))
            return false;
    return true;
}

static bool is_hostname(const char *s)
{
    struct str rest = str_of(s), part;
    if (!*s || rest.n > 255)
        return false;
    if (rest.p[rest.n - 1] == '.')
        rest.n--;
    while (str_split(&rest, '.', &part))
        if (!is_label(part.p, part.n, true))
            return false;
    return true;
}

static bool is_email(const char *s)
{
    const char *at = strrchr(s, '@'), *open = strrchr(s, '<');
    size_t n = strlen(s);
    if (open && n > 0 && s[n - 1] == '>') { /* Name <address> */
        autofree char *inner = str_dup(str_range(open + 1, (size_t)(s + n - 1 - open - 1)));
        return is_email(inner);
    }
    if (!at || at == s || !at[1] || strchr(at + 1, ' '))
        return false;
    for (const char *p = s; p < at; p++)
        if ((unsigned char)*p <= ' ' || strchr("()<>[]:;@\\,\"", *p))
            return false;
    return s[0] != '.' && at[-1] != '.' && !strstr(s, "..");
}

static bool is_ipv4(const char *s)
{
    struct in_addr a;
    return inet_pton(AF_INET, s, &a) == 1;
}

static bool is_ipv6(const char *s)
{
    struct in6_addr a;
    return inet_pton(AF_INET6, s, &a) == 1;
}

static bool is_cidr(const char *s)
{
    const char *slash = strchr(s, '/');
    int64_t bits;
    struct error ignored;
    if (!slash || !isdigit((unsigned char)slash[1]) || (slash[1] == '0' && slash[2]) ||
        str_parse_int64(str_of(slash + 1), &bits, &ignored) < 0)
        return false;
    autofree char *address = str_dup(str_range(s, (size_t)(slash - s)));
    return (is_ipv4(address) && bits <= 32) || (is_ipv6(address) && bits <= 128);
}

static bool is_mac(const char *s)
{
    return fits(s, "xx:xx:xx:xx:xx:xx") || fits(s, "xx-xx-xx-xx-xx-xx") ||
           fits(s, "xxxx.xxxx.xxxx") || fits(s, "xx:xx:xx:xx:xx:xx:xx:xx") ||
           fits(s, "xx-xx-xx-xx-xx-xx-xx-xx") || fits(s, "xxxx.xxxx.xxxx.xxxx");
}

static bool is_uuid(const char *s)
{
    return fits(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") ||
           fits(s, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static char uuid_version(const char *s)
{
    return s[8] == '-' ? s[14] : s[12];
}

static char uuid_variant(const char *s)
{
    return (char)tolower((unsigned char)(s[8] == '-' ? s[19] : s[16]));
}

static bool is_uuid3(const char *s)
{
    return is_uuid(s) && uuid_version(s) == '3';
}

static bool is_uuid4(const char *s)
{
    return is_uuid(s) && uuid_version(s) == '4' && strchr("89ab", uuid_variant(s));
}

static bool is_uuid5(const char *s)
{
    return is_uuid(s) && uuid_version(s) == '5' && strchr("89ab", uuid_variant(s));
}

/* The digits without blanks and dashes; false when there is anything else but a closing X. */
static bool digits_of(const char *s, char *out, size_t room, size_t *ret_n)
{
    size_t n = 0;
    for (; *s; s++) {
        if (*s == ' ' || *s == '-')
            continue;
        if ((!isdigit((unsigned char)*s) && !(strchr("xX", *s) && !s[1])) || n == room)
            return false;
        out[n++] = *s;
    }
    *ret_n = n;
    return true;
}

static bool is_isbn10(const char *s)
{
    char d[10];
    size_t n;
    int sum = 0;
    if (!digits_of(s, d, sizeof(d), &n) || n != 10)
        return false;
    for (int i = 0; i < 10; i++)
        sum += (10 - i) * (isdigit((unsigned char)d[i]) ? d[i] - '0' : 10);
    return sum % 11 == 0;
}

static bool is_isbn13(const char *s)
{
    char d[13];
    size_t n;
    int sum = 0;
    if (!digits_of(s, d, sizeof(d), &n) || n != 13 || !all_of(d, 13, isdigit))
        return false;
    for (int i = 0; i < 13; i++)
        sum += (i % 2 ? 3 : 1) * (d[i] - '0');
    return sum % 10 == 0;
}

static bool is_isbn(const char *s)
{
    return is_isbn10(s) || is_isbn13(s);
}

static bool is_credit_card(const char *s)
{
    char d[20];
    size_t n;
    int sum = 0;
    if (!digits_of(s, d, sizeof(d), &n) || n < 13 || n > 19 || !all_of(d, n, isdigit))
        return false;
    for (size_t i = 0; i < n; i++) {
        int v = d[n - 1 - i] - '0';
        if (i % 2)
            v = v * 2 > 9 ? v * 2 - 9 : v * 2;
        sum += v;
    }
    return sum % 10 == 0;
}

static bool is_ssn(const char *s)
{
    return fits(s, "ddd-dd-dddd") || fits(s, "ddd dd dddd") || fits(s, "ddddddddd");
}

static bool is_hex_color(const char *s)
{
    if (*s == '#')
        s++;
    return fits(s, "xxx") || fits(s, "xxxxxx");
}

static bool is_rgb_color(const char *s)
{
    int r, g, b, end = 0;
    return sscanf(s, "rgb( %3d , %3d , %3d )%n", &r, &g, &b, &end) == 3 && end > 0 && !s[end] &&
           r >= 0 && r <= 255 && g >= 0 && g <= 255 && b >= 0 && b <= 255;
}

static bool is_byte(const char *s)
{
    struct error ignored;
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    return base64_decode(str_of(s), &bytes, &ignored) == 0;
}

static bool is_password(const char *s)
{
    (void)s;
    return true;
}

static bool is_date(const char *s)
{
    char text[32];
    int64_t ns;
    struct error ignored;
    if (!fits(s, "dddd-dd-dd"))
        return false;
    snprintf(text, sizeof(text), "%sT00:00:00Z", s);
    return time_parse(str_of(text), &ns, &ignored) == 0;
}

static bool is_date_time(const char *s)
{
    char text[64];
    int64_t ns;
    struct error ignored;
    size_t n = strlen(s);
    if (n < 19 || n >= sizeof(text) - 2 || !isdigit((unsigned char)s[0]))
        return false;
    snprintf(text, sizeof(text), "%s", s);
    for (char *p = text; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    if (time_parse(str_of(text), &ns, &ignored) == 0)
        return true;
    bool zone = text[n - 1] == 'Z' || strchr(text + 19, '+') || strchr(text + 19, '-');
    if (zone)
        return false;
    snprintf(text + n, sizeof(text) - n, "Z");
    return time_parse(str_of(text), &ns, &ignored) == 0;
}

/* Go's durations, and upstream's additions: "3 days", "1w". */
static bool is_duration(const char *s)
{
    static const char *const units[] = {"ns", "us", "ms", "s", "m", "h", "d", "w", "nano", "nanos",
        "nanosecond", "nanoseconds", "micro", "micros", "microsecond", "microseconds", "milli",
        "millis", "millisecond", "milliseconds", "second", "seconds", "minute", "minutes", "hr",
        "hrs", "hour", "hours", "day", "days", "week", "weeks", "wk", "wks", "sec", "secs", "min",
        "mins"};
    int64_t ns;
    struct error ignored;
    bool any = false;
    if (duration_parse(str_of(s), &ns, &ignored) == 0)
        return true;
    while (*s == ' ')
        s++;
    while (*s) {
        size_t digits = strspn(s, "0123456789"), letters;
        if (!digits)
            return false;
        s += digits;
        while (*s == ' ')
            s++;
        for (letters = 0; isalpha((unsigned char)s[letters]); letters++)
            ;
        bool known = false;
        for (size_t i = 0; i < ARRAY_COUNT(units); i++)
            known |= letters == strlen(units[i]) && !strncasecmp(s, units[i], letters);
        if (!known)
            return false;
        any = true;
        s += letters;
        while (*s == ' ' || *s == ',')
            s++;
    }
    return any;
}

static bool is_short_name(const char *s)
{
    size_t n = strlen(s);
    for (const char *p = s; *p; p++)
        if (isupper((unsigned char)*p))
            return false;
    return is_label(s, n, false);
}

static bool is_long_name(const char *s)
{
    struct str rest = str_of(s), part;
    if (!*s || rest.n > 253)
        return false;
    while (str_split(&rest, '.', &part)) {
        autofree char *label = str_dup(part);
        size_t n = part.n;
        if (n == 0 || !is_label(label, n > 63 ? 63 : n, false))
            return false;
        for (const char *p = label; *p; p++)
            if (isupper((unsigned char)*p))
                return false;
    }
    return s[strlen(s) - 1] != '.';
}

static const struct {
    const char *name;
    format_fn *holds;
} strings[] = {
    {"bsonobjectid", is_object_id},
    {"byte", is_byte},
    {"cidr", is_cidr},
    {"creditcard", is_credit_card},
    {"date", is_date},
    {"date-time", is_date_time},
    {"datetime", is_date_time},
    {"duration", is_duration},
    {"email", is_email},
    {"hexcolor", is_hex_color},
    {"hostname", is_hostname},
    {"ipv4", is_ipv4},
    {"ipv6", is_ipv6},
    {"isbn", is_isbn},
    {"isbn10", is_isbn10},
    {"isbn13", is_isbn13},
    {"k8s-long-name", is_long_name},
    {"k8s-short-name", is_short_name},
    {"mac", is_mac},
    {"password", is_password},
    {"rgbcolor", is_rgb_color},
    {"ssn", is_ssn},
    {"uri", is_uri},
    {"uuid", is_uuid},
    {"uuid3", is_uuid3},
    {"uuid4", is_uuid4},
    {"uuid5", is_uuid5},
};

static const struct {
    const char *name;
    double minimum, maximum;
} numbers[] = {
    {"double", -HUGE_VAL, HUGE_VAL},
    {"float", -3.40282346638528859811704183484516925440e+38,
        3.40282346638528859811704183484516925440e+38},
    {"int32", -2147483648.0, 2147483647.0},
    {"int64", -9223372036854775808.0, 9223372036854775808.0},
};

static format_fn *find_string(const char *format)
{
    for (size_t i = 0; i < ARRAY_COUNT(strings); i++)
        if (!strcmp(strings[i].name, format))
            return strings[i].holds;
    return NULL;
}

bool format_is_known(const char *format)
{
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (!strcmp(numbers[i].name, format))
            return true;
    return find_string(format) != NULL;
}

bool format_holds(const char *format, const cJSON *value)
{
    if (cJSON_IsString(value)) {
        format_fn *holds = find_string(format);
        return !holds || holds(value->valuestring);
    }
    if (!json_is_number(value))
        return true;
    double v = cJSON_IsNumber(value) ? value->valuedouble : strtod(value->valuestring, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (!strcmp(numbers[i].name, format))
            return v >= numbers[i].minimum && v <= numbers[i].maximum;
    return true;
}
