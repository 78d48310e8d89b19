/*
 * Named formats of single values, attached to fields with `format=NAME`. Messages are upstream's.
 */
#include "apiserver/schema/check.h"
#include "common/names.h"

typedef bool name_fn(struct str s, struct strbuf *why);

static bool by_name(const cJSON *v, struct strbuf *why, name_fn *fn)
{
    return fn(str_of(value_string(v)), why);
}

#define NAME_FORMAT(id, fn)                                 \
    static bool is_##id(const cJSON *v, struct strbuf *why) \
    {                                                       \
        return by_name(v, why, fn);                         \
    }
NAME_FORMAT(dns_label, name_is_dns1123_label)
NAME_FORMAT(dns_subdomain, name_is_dns1123_subdomain)
NAME_FORMAT(dns1035, name_is_dns1035_label)
NAME_FORMAT(qualified, name_is_qualified)
NAME_FORMAT(label_value, name_is_label_value)
NAME_FORMAT(path_segment, name_is_path_segment)
NAME_FORMAT(c_identifier, name_is_c_identifier)
NAME_FORMAT(env_name, name_is_env_var)
NAME_FORMAT(config_key, name_is_config_map_key)
NAME_FORMAT(port_name, name_is_port_name)

static bool is_dns_subdomain_or_empty(const cJSON *v, struct strbuf *why)
{
    return !*value_string(v) || is_dns_subdomain(v, why);
}

static bool is_ip(const cJSON *v, struct strbuf *why)
{
    if (name_is_ip(str_of(value_string(v))))
        return true;
    strbuf_addc(why, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    return false;
}

static bool is_any(const cJSON *v, struct strbuf *why)
{
    (void)v;
    (void)why;
    return true;
}

static bool is_port(const cJSON *v, struct strbuf *why)
{
    int64_t n;
    if (json_int64(v, &n) && n >= 1 && n <= 65535)
        return true;
    strbuf_addc(why, "must be between 1 and 65535, inclusive");
    return false;
}

static bool is_port_or_zero(const cJSON *v, struct strbuf *why)
{
    int64_t n;
    return (json_int64(v, &n) && n == 0) || is_port(v, why);
}

static bool is_int_or_port(const cJSON *v, struct strbuf *why)
{
    return cJSON_IsString(v) ? is_port_name(v, why) : is_port(v, why);
}

static bool is_relative_path(const cJSON *v, struct strbuf *why)
{
    const char *s = value_string(v);
    if (*s == '/') {
        strbuf_addc(why, "must be a relative path");
        return false;
    }
    struct str rest = str_of(s), part;
    while (str_split(&rest, '/', &part)) {
        if (str_eqc(part, "..")) {
            strbuf_addc(why, "must not contain '..'");
            return false;
        }
    }
    if (s[0] == '.' && s[1] == '.') {
        strbuf_addc(why, "must not start with '..'");
        return false;
    }
    return true;
}

static bool is_http_header(const cJSON *v, struct strbuf *why)
{
    const char *s = value_string(v);
    bool ok = *s;
    for (; *s && ok; s++)
        ok = *s == '-' || (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
             (*s >= 'A' && *s <= 'Z');
    if (!ok)
        strbuf_addc(why, "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
                         "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')");
    return ok;
}

static bool lowered(const cJSON *v, struct strbuf *why, name_fn *fn)
{
    autostrbuf struct strbuf lower = STRBUF_EMPTY;
    for (const char *p = value_string(v); *p; p++)
        strbuf_add_char(&lower, *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p);
    return fn(strbuf_str(&lower), why);
}

static bool is_csi_driver(const cJSON *v, struct strbuf *why)
{
    return lowered(v, why, name_is_dns1123_subdomain);
}

static bool is_provisioner(const cJSON *v, struct strbuf *why)
{
    return lowered(v, why, name_is_qualified);
}

/* example.com/name */
static bool is_domain_path(const cJSON *v, struct strbuf *why)
{
    const char *text = value_string(v), *slash = strchr(text, '/');
    if (!slash || slash == text || !slash[1]) {
        strbuf_addc(why, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return false;
    }
    return name_is_dns1123_subdomain(str_range(text, (size_t)(slash - text)), why);
}

/* A domain with at least three parts. */
static bool is_webhook_name(const cJSON *v, struct strbuf *why)
{
    const char *text = value_string(v), *dot = strchr(text, '.');
    if (!name_is_dns1123_subdomain(str_of(text), why))
        return false;
    if (dot && strchr(dot + 1, '.'))
        return true;
    strbuf_addc(why, "should be a domain with at least three segments separated by dots");
    return false;
}

static bool is_cel_identifier(const cJSON *v, struct strbuf *why)
{
    const char *s = value_string(v);
    bool ok = *s && !(*s >= '0' && *s <= '9');
    for (; *s && ok; s++)
        ok = *s == '_' || (*s >= '0' && *s <= '9') || ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'z');
    if (!ok)
        strbuf_addc(why, "name is not a valid CEL identifier");
    return ok;
}

static bool is_name_or_all(const cJSON *v, struct strbuf *why)
{
    return !strcmp(value_string(v), "*") || is_dns_label(v, why);
}

static bool is_limit_type(const cJSON *v, struct strbuf *why)
{
    static const char *const known[] = {"Pod", "Container", "PersistentVolumeClaim"};
    const char *text = value_string(v);
    for (size_t i = 0; i < ARRAY_COUNT(known); i++)
        if (!strcmp(known[i], text))
            return true;
    if (!name_is_qualified(str_of(text), why))
        return false;
    if (strchr(text, '/'))
        return true;
    strbuf_addc(why, "must be a standard limit type or fully qualified");
    return false;
}

/* Parts of letters, digits, - and _, between dots or slashes. */
static bool is_sysctl(const cJSON *v, struct strbuf *why)
{
    const char *s = value_string(v);
    bool ok = strlen(s) <= 253, edge = true; /* at the edge of a part no - or _ may stand */
    for (; *s && ok; s++) {
        bool separator = *s == '.' || *s == '/', dash = *s == '-' || *s == '_';
        bool last = !s[1] || s[1] == '.' || s[1] == '/';
        ok = separator ? !edge && s[1]
                       : ((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') ||
                             (dash && !edge && !last));
        edge = separator;
    }
    if (!ok)
        strbuf_addc(why, "must have at most 253 characters and match regex "
                         "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$");
    return ok;
}

/* clang-format off */
static const struct format table[] = {
    {"any", is_any, NULL},
    {"c-identifier", is_c_identifier, NULL},
    {"cel-identifier", is_cel_identifier, NULL},
    {"config-key", is_config_key, NULL},
    {"csi-driver", is_csi_driver, NULL},
    {"dns-label", is_dns_label, NULL},
    {"dns-subdomain", is_dns_subdomain, NULL},
    {"dns-subdomain-or-empty", is_dns_subdomain_or_empty, NULL},
    {"dns1035-label", is_dns1035, NULL},
    {"domain-path", is_domain_path, NULL},
    {"env-name", is_env_name, NULL},
    {"env-prefix", is_env_name, NULL},
    {"http-header", is_http_header, NULL},
    {"int-or-port", is_int_or_port, NULL},
    {"ip", is_ip, NULL},
    {"label-key", is_qualified, NULL},
    {"label-value", is_label_value, NULL},
    {"limit-type", is_limit_type, NULL},
    {"name-or-all", is_name_or_all, NULL},
    {"path-segment", is_path_segment, NULL},
    {"port", is_port, NULL},
    {"port-name", is_port_name, NULL},
    {"port-or-zero", is_port_or_zero, NULL},
    {"provisioner", is_provisioner, NULL},
    {"qualified-name", is_qualified, NULL},
    {"relative-path", is_relative_path, NULL},
    {"sysctl", is_sysctl, NULL},
    {"webhook-name", is_webhook_name, NULL},
    {"labels", NULL, NULL}, /* a whole map: check_labels */
};
/* clang-format on */

const struct format *format_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        if (str_eqc(name, table[i].name))
            return &table[i];
    return NULL;
}
