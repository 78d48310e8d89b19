/*
 * Names: upstream's syntax rules, checked by character classes instead of regular expressions, with
 * upstream's messages (which quote the expressions).
 *
 * Lengths are in bytes. Every rule runs all its checks, so that a name that is both too long and
 * badly spelled gets both messages. Upstream: apimachinery util/validation.
 */
#include "common/names.h"

#include <arpa/inet.h>

#define LABEL_MAX 63
#define SUBDOMAIN_MAX 253
#define PORT_NAME_MAX 15

#define LABEL_EXPRESSION "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define QUALIFIED_EXPRESSION "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"

static const char label_text[] = "a lowercase RFC 1123 label must consist of lower case "
                                 "alphanumeric characters or '-', and must start "
                                 "and end with an alphanumeric character (e.g. 'my-name',  or "
                                 "'123-abc', regex used for validation is "
                                 "'" LABEL_EXPRESSION "')";
static const char subdomain_text[] = "a lowercase RFC 1123 subdomain must consist of lower case "
                                     "alphanumeric characters, '-' or '.', and "
                                     "must start and end with an alphanumeric character (e.g. "
                                     "'example.com', regex used for validation is "
                                     "'" LABEL_EXPRESSION "(\\." LABEL_EXPRESSION ")*')";
static const char label_1035_text[] = "a DNS-1035 label must consist of lower case alphanumeric "
                                      "characters or '-', start with an alphabetic "
                                      "character, and end with an alphanumeric character (e.g. "
                                      "'my-name',  or 'abc-123', regex used for "
                                      "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
static const char qualified_text[] =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'" QUALIFIED_EXPRESSION "')";
static const char label_value_text[] = "a valid label must be an empty string or consist of "
                                       "alphanumeric characters, '-', '_' or '.', and "
                                       "must start and end with an alphanumeric character (e.g. "
                                       "'MyValue',  or 'my_value',  or '12345', regex "
                                       "used for validation is '(" QUALIFIED_EXPRESSION ")?')";
static const char c_identifier_text[] =
    "a valid C identifier must start with alphabetic character or '_', followed by a string of "
    "alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for "
    "validation is '[A-Za-z_][A-Za-z0-9_]*')";
static const char env_var_text[] = "a valid environment variable name must consist only of "
                                   "printable ASCII characters other than '='";
static const char config_map_key_text[] =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name', "
    " or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower_alnum(char c)
{
    return is_lower(c) || is_digit(c);
}

static bool is_alpha(char c)
{
    return is_lower((char)(c | 0x20)) && c != '`' && (c & 0x40);
}

static bool is_alnum(char c)
{
    return is_alpha(c) || is_digit(c);
}

/* Adds a message to why and gives false, for `ok &= ...`. */
static bool wrong(struct strbuf *why, const char *before, const char *message)
{
    if (why)
        strbuf_addf(why, "%s%s%s", why->n ? "; " : "", before, message);
    return false;
}

static bool check(bool ok, struct strbuf *why, const char *before, const char *message)
{
    return ok ? true : wrong(why, before, message);
}

static bool check_length(struct str s, size_t max, struct strbuf *why, const char *before)
{
    char message[64];
    if (s.n <= max)
        return true;
    snprintf(message, sizeof(message), "must be no more than %zu bytes", max);
    return wrong(why, before, message);
}

static bool is_label(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return s.n > 0 && s.p[0] != '-' && s.p[s.n - 1] != '-';
}

static bool is_subdomain(struct str s)
{
    struct str part;
    if (s.n == 0 || s.p[s.n - 1] == '.')
        return false;
    while (str_split(&s, '.', &part))
        if (!is_label(part))
            return false;
    return true;
}

static bool is_qualified_part(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    return s.n > 0 && is_alnum(s.p[0]) && is_alnum(s.p[s.n - 1]);
}

bool name_is_dns1123_label(struct str s, struct strbuf *why)
{
    bool ok = check_length(s, LABEL_MAX, why, "");
    return check(is_label(s), why, "", label_text) && ok;
}

static bool is_subdomain_with(struct str s, struct strbuf *why, const char *before)
{
    bool ok = check_length(s, SUBDOMAIN_MAX, why, before);
    return check(is_subdomain(s), why, before, subdomain_text) && ok;
}

bool name_is_dns1123_subdomain(struct str s, struct strbuf *why)
{
    return is_subdomain_with(s, why, "");
}

bool name_is_dns1035_label(struct str s, struct strbuf *why)
{
    bool ok = check_length(s, LABEL_MAX, why, "");
    return check(is_label(s) && is_lower(s.p[0]), why, "", label_1035_text) && ok;
}

bool name_is_qualified(struct str s, struct strbuf *why)
{
    bool ok = true;
    ssize_t slash = str_find(s, '/');
    struct str name = s;

    if (slash >= 0) {
        struct str prefix = str_range(s.p, (size_t)slash);
        name = str_range(s.p + slash + 1, s.n - (size_t)slash - 1);
        if (str_find(name, '/') >= 0) {
            wrong(why, "a qualified name ", qualified_text);
            if (why)
                strbuf_addc(why,
                    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
            return false;
        }
        if (prefix.n == 0)
            ok = wrong(why, "prefix part ", "must be non-empty");
        else
            ok = is_subdomain_with(prefix, why, "prefix part ");
    }
    ok &= check(name.n > 0, why, "name part ", "must be non-empty");
    ok &= check_length(name, LABEL_MAX, why, "name part ");
    ok &= check(is_qualified_part(name), why, "name part ", qualified_text);
    return ok;
}

bool name_is_label_value(struct str s, struct strbuf *why)
{
    bool ok = check_length(s, LABEL_MAX, why, "");
    return check(s.n == 0 || is_qualified_part(s), why, "", label_value_text) && ok;
}

bool name_is_path_segment(struct str s, struct strbuf *why)
{
    if (str_eq(s, STR(".")))
        return wrong(why, "", "may not be '.'");
    if (str_eq(s, STR("..")))
        return wrong(why, "", "may not be '..'");
    bool ok = check(str_find(s, '/') < 0, why, "", "may not contain '/'");
    return check(str_find(s, '%') < 0, why, "", "may not contain '%'") && ok;
}

bool name_is_c_identifier(struct str s, struct strbuf *why)
{
    bool ok = s.n > 0 && !is_digit(s.p[0]);
    for (size_t i = 0; i < s.n; i++)
        ok &= is_alnum(s.p[i]) || s.p[i] == '_';
    return check(ok, why, "", c_identifier_text);
}

bool name_is_env_var(struct str s, struct strbuf *why)
{
    bool printable = true;
    for (size_t i = 0; i < s.n; i++)
        printable &= s.p[i] >= ' ' && s.p[i] < 0x7f && s.p[i] != '=';
    bool ok = check(s.n > 0, why, "environment variable name ", "must be non-empty");
    return check(printable, why, "", env_var_text) && ok;
}

bool name_is_config_map_key(struct str s, struct strbuf *why)
{
    bool spelled = s.n > 0;
    for (size_t i = 0; i < s.n; i++)
        spelled &= is_alnum(s.p[i]) || s.p[i] == '-' || s.p[i] == '_' || s.p[i] == '.';
    bool ok = check_length(s, SUBDOMAIN_MAX, why, "");
    ok &= check(spelled, why, "", config_map_key_text);
    if (str_eq(s, STR(".")))
        return wrong(why, "", "must not be '.'");
    if (str_eq(s, STR("..")))
        return wrong(why, "", "must not be '..'");
    return check(!str_starts(s, STR("..")), why, "", "must not start with '..'") && ok;
}

bool name_is_port_name(struct str s, struct strbuf *why)
{
    bool charset = s.n > 0, letter = false, doubled = false;
    for (size_t i = 0; i < s.n; i++) {
        charset &= is_lower_alnum(s.p[i]) || s.p[i] == '-';
        letter |= is_lower(s.p[i]);
        doubled |= i > 0 && s.p[i] == '-' && s.p[i - 1] == '-';
    }
    bool ends = s.n > 0 && (s.p[0] == '-' || s.p[s.n - 1] == '-');
    bool ok = check_length(s, PORT_NAME_MAX, why, "");
    ok &= check(
        charset, why, "", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    ok &= check(letter, why, "", "must contain at least one letter (a-z)");
    ok &= check(!doubled, why, "", "must not contain consecutive hyphens");
    return check(!ends, why, "", "must not begin or end with a hyphen") && ok;
}

bool name_is_ip(struct str s)
{
    char text[64];
    unsigned char address[16];
    if (s.n == 0 || s.n >= sizeof(text) || str_find(s, '\0') >= 0)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* Generated names: no vowels and no look-alikes, so that no words arise. */

static const char safe_letters[] = "bcdfghjklmnpqrstvwxz2456789";
#define SAFE_COUNT (sizeof(safe_letters) - 1)

void name_random_suffix(uint64_t random_bits, char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf[i] = safe_letters[random_bits % SAFE_COUNT];
        random_bits /= SAFE_COUNT;
    }
    buf[n] = '\0';
}

uint32_t fnv32a(struct str data)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < data.n; i++)
        hash = (hash ^ (unsigned char)data.p[i]) * 16777619u;
    return hash;
}

void name_safe_encode(struct str s, char *buf, size_t buf_bytes)
{
    size_t n = s.n < buf_bytes ? s.n : buf_bytes - 1;
    for (size_t i = 0; i < n; i++)
        buf[i] = safe_letters[(unsigned char)s.p[i] % SAFE_COUNT];
    buf[n] = '\0';
}
