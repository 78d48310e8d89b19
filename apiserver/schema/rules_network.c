/*
 * Rules of services, endpoints, ingresses and network policies.
 *
 * Upstream: ValidateService, pkg/apis/discovery/validation, pkg/apis/networking/validation.
 */
#include "apiserver/schema/rules.h"

#include <arpa/inet.h>

#include "common/names.h"

static bool is_external(const cJSON *spec)
{
    return text_is(spec, "type", "NodePort") || text_is(spec, "type", "LoadBalancer");
}

static void check_service_ports(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *ports = json_get(o, "ports");
    struct text_set names = text_set_new(c, ports), pairs = text_set_new(c, ports);
    struct text_set node_ports = text_set_new(c, ports);
    size_t i = 0;
    for (const cJSON *p = ports ? ports->child : NULL; p; p = p->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "ports"), i);
        const char *name = text_of(p, "name");
        if (!*name && ports->child->next)
            check_required(c, AT(here, "name"), "");
        else if (*name && !text_set_add(&names, name))
            check_duplicate(c, AT(here, "name"), json_get(p, "name"));
        if (text_is(o, "type", "LoadBalancer") && json_int64_at(p, "port", 0) == 10250)
            check_invalid(c, AT(here, "port"), json_get(p, "port"),
                "may not expose port 10250 externally since it is used by kubelet");
        const cJSON *node_port = json_get(p, "nodePort");
        if (!value_is_empty(node_port) && !is_external(o))
            check_forbidden(c, AT(here, "nodePort"), "may not be used when `type` is 'ClusterIP'");
        const char *pair = arena_printf(
            c->arena, "%s/%lld", text_of(p, "protocol"), (long long)json_int64_at(p, "port", 0));
        if (!text_set_add(&pairs, pair)) {
            autojson cJSON *value = cJSON_CreateObject();
            cJSON_AddItemToObject(value, "protocol", cJSON_CreateString(text_of(p, "protocol")));
            cJSON_AddItemToObject(value, "port", cJSON_Duplicate(json_get(p, "port"), false));
            check_duplicate(c, here, value);
        }
        const char *taken = arena_printf(c->arena, "%s/%lld", text_of(p, "protocol"),
            (long long)json_int64_at(p, "nodePort", 0));
        if (!value_is_empty(node_port) && is_external(o) && !text_set_add(&node_ports, taken))
            check_duplicate(c, AT(here, "nodePort"), node_port);
    }
}

static void check_external_name(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!text_is(o, "type", "ExternalName") || !has_member(o, "externalName"))
        return;
    const char *name = text_of(o, "externalName");
    size_t n = strlen(name);
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    struct str bare = str_range(name, n > 1 && name[n - 1] == '.' ? n - 1 : n);
    if (!name_is_dns1123_subdomain(bare, &why))
        check_invalid_text(c, AT(at, "externalName"), name, why.data);
}

static void check_affinity(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *config = json_get(o, "sessionAffinityConfig");
    if (text_is(o, "sessionAffinity", "ClientIP") && !config)
        check_required(
            c, AT(at, "sessionAffinityConfig"), "must be set when session affinity is ClientIP");
    if (text_is(o, "sessionAffinity", "None") && config)
        check_error(c, AT(at, "sessionAffinityConfig"), FIELD_FORBIDDEN, NULL,
            "must not be set when session affinity is %s", "None");
}

void rule_service_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    check_service_ports(c, at, o);
    check_external_name(c, at, o);
    check_affinity(c, at, o);
    if (has_member(o, "externalTrafficPolicy") && !is_external(o) &&
        !first_member(o, "externalIPs"))
        check_invalid(c, AT(at, "externalTrafficPolicy"), json_get(o, "externalTrafficPolicy"),
            "may only be set for externally-accessible services");
    if (has_member(o, "loadBalancerClass") && !text_is(o, "type", "LoadBalancer"))
        check_forbidden(
            c, AT(at, "loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'");
    if (json_get(o, "allocateLoadBalancerNodePorts") && !text_is(o, "type", "LoadBalancer"))
        check_forbidden(c, AT(at, "allocateLoadBalancerNodePorts"),
            "may only be used when `type` is 'LoadBalancer'");
    for (const cJSON *ip = first_member(o, "externalIPs"); ip; ip = ip->next, i++)
        check_of_endpoint_ip(c, AT_INDEX(AT(at, "externalIPs"), i), NULL, ip);
    if (first_member(o, "loadBalancerSourceRanges") && !text_is(o, "type", "LoadBalancer"))
        check_forbidden(c, AT(at, "loadBalancerSourceRanges"),
            "may only be used when `type` is 'LoadBalancer'");
    const cJSON *health = json_get(o, "healthCheckNodePort");
    if (!value_is_empty(health) &&
        !(text_is(o, "type", "LoadBalancer") && text_is(o, "externalTrafficPolicy", "Local")))
        check_invalid(c, AT(at, "healthCheckNodePort"), health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is "
            "'Local'");
}

/* Addresses that nobody can be reached at from another machine. */
static const char *special_range(const char *text)
{
    static const char loopback[] = "may not be in the loopback range (127.0.0.0/8, ::1/128)",
                      local[] = "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                      multicast[] = "may not be in the link-local multicast range (224.0.0.0/24, "
                                    "ff02::/10)";
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        uint32_t ip = ntohl(v4.s_addr);
        return ip >> 24 == 127       ? loopback
               : ip >> 16 == 0xa9fe  ? local
               : ip >> 8 == 0xe00000 ? multicast
                                     : NULL;
    }
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return NULL;
    return IN6_IS_ADDR_LOOPBACK(&v6)       ? loopback
           : IN6_IS_ADDR_LINKLOCAL(&v6)    ? local
           : IN6_IS_ADDR_MC_LINKLOCAL(&v6) ? multicast
                                           : NULL;
}

static bool is_unspecified(const char *text)
{
    struct in6_addr v6;
    return !strcmp(text, "0.0.0.0") ||
           (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6));
}

void check_of_endpoint_ip(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    const char *text = value_string(value);
    (void)f;
    if (!name_is_ip(str_of(text))) {
        check_format(c, at, "ip", value);
        return;
    }
    const char *why = special_range(text);
    if (is_unspecified(text))
        check_error(c, at, FIELD_INVALID, value, "may not be unspecified (%s)", text);
    if (why)
        check_invalid(c, at, value, why);
}

void rule_endpoint_subset(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    if (!first_member(o, "addresses") && !first_member(o, "notReadyAddresses"))
        check_required(c, at, "must specify `addresses` or `notReadyAddresses`");
    const cJSON *ports = json_get(o, "ports");
    for (const cJSON *p = ports ? ports->child : NULL; p; p = p->next, i++)
        if (!has_member(p, "name") && ports->child->next)
            check_required(c, AT(AT_INDEX(AT(at, "ports"), i), "name"), "");
        else if (has_member(p, "name"))
            check_format(
                c, AT(AT_INDEX(AT(at, "ports"), i), "name"), "dns-label", json_get(p, "name"));
}

static void check_slice_address(
    struct check *c, const struct frame *at, const char *type, const cJSON *a)
{
    unsigned char buf[16];
    bool four = !strcmp(type, "IPv4"), six = !strcmp(type, "IPv6");
    if (!strcmp(type, "FQDN"))
        check_format(c, at, "dns-subdomain", a);
    else if (four && inet_pton(AF_INET, value_string(a), buf) != 1)
        check_invalid(c, at, a, "must be a valid IPv4 address");
    else if (six && inet_pton(AF_INET6, value_string(a), buf) != 1)
        check_invalid(c, at, a, "must be a valid IPv6 address");
    else if (four || six)
        check_of_endpoint_ip(c, at, NULL, a);
}

static void check_hints(struct check *c, const struct frame *at, const cJSON *o, const char *member)
{
    const cJSON *list = json_get(o, member);
    struct text_set seen = text_set_new(c, list);
    size_t i = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, i++)
        if (has_member(e, "name") && !text_set_add(&seen, text_of(e, "name")))
            check_duplicate(c, AT(AT_INDEX(AT(at, member), i), "name"), json_get(e, "name"));
}

void rule_endpoint_hints(struct check *c, const struct frame *at, const cJSON *o)
{
    check_hints(c, at, o, "forZones");
    check_hints(c, at, o, "forNodes");
}

void rule_endpoint_slice(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *type = text_of(o, "addressType");
    const cJSON *ports = json_get(o, "ports");
    struct text_set names = text_set_new(c, ports);
    size_t i = 0;
    for (const cJSON *e = first_member(o, "endpoints"); e; e = e->next, i++) {
        size_t k = 0;
        for (const cJSON *a = first_member(e, "addresses"); a; a = a->next, k++)
            check_slice_address(
                c, AT_INDEX(AT(AT_INDEX(AT(at, "endpoints"), i), "addresses"), k), type, a);
    }
    i = 0;
    for (const cJSON *p = ports ? ports->child : NULL; p; p = p->next, i++) {
        const struct frame *here = AT(AT_INDEX(AT(at, "ports"), i), "name");
        autojson cJSON *empty = cJSON_CreateString("");
        if (has_member(p, "name"))
            check_format(c, here, "dns-label", json_get(p, "name"));
        if (!text_set_add(&names, text_of(p, "name")))
            check_duplicate(c, here, has_member(p, "name") ? json_get(p, "name") : empty);
    }
}

void rule_ingress_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!first_member(o, "rules") && !json_get(o, "defaultBackend"))
        check_invalid(c, at, o, "either `defaultBackend` or `rules` must be specified");
    if (has_member(o, "ingressClassName"))
        check_format(
            c, AT(at, "ingressClassName"), "dns-subdomain", json_get(o, "ingressClassName"));
}

static void check_host(struct check *c, const struct frame *at, const cJSON *host)
{
    const char *text = value_string(host);
    bool star = strchr(text, '*') != NULL;
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    if (!star && *text)
        check_format(c, at, "dns-subdomain", host);
    else if (star &&
             (strncmp(text, "*.", 2) != 0 || !name_is_dns1123_subdomain(str_of(text + 2), &why)))
        check_invalid(c, at, host,
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS "
            "subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and "
            "end with an alphanumeric character (e.g. '*.example.com', regex used for validation "
            "is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
}

void rule_ingress_tls(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    for (const cJSON *h = first_member(o, "hosts"); h; h = h->next, i++)
        check_host(c, AT_INDEX(AT(at, "hosts"), i), h);
}

void rule_ingress_rule(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *host = text_of(o, "host");
    if (name_is_ip(str_of(host)))
        check_invalid_text(c, AT(at, "host"), host, "must be a DNS name, not an IP address");
    else if (*host)
        check_host(c, AT(at, "host"), json_get(o, "host"));
}

void rule_ingress_path(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const sequences[] = {"//", "/./", "/../", "%2f", "%2F"};
    static const char *const ends[] = {"/..", "/."};
    const char *path = text_of(o, "path");
    const struct frame *here = AT(at, "path");
    size_t n = strlen(path);
    bool free_form = text_is(o, "pathType", "ImplementationSpecific");
    if (*path != '/' && (n > 0 || !free_form))
        check_invalid_text(c, here, path, "must be an absolute path");
    if (!text_is(o, "pathType", "Exact") && !text_is(o, "pathType", "Prefix"))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(sequences); i++) {
        autofree char *text = str_format("must not contain '%s'", sequences[i]);
        if (strstr(path, sequences[i]))
            check_invalid_text(c, here, path, text);
    }
    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        size_t k = strlen(ends[i]);
        autofree char *text = str_format("cannot end with '%s'", ends[i]);
        if (n >= k && !strcmp(path + n - k, ends[i]))
            check_invalid_text(c, here, path, text);
    }
}

void rule_ingress_backend(struct check *c, const struct frame *at, const cJSON *o)
{
    bool service = json_get(o, "service"), resource = json_get(o, "resource");
    if (service && resource)
        check_invalid_text(c, at, "", "cannot set both resource and service backends");
    else if (!service && !resource)
        check_invalid_text(c, at, "", "resource or service backend is required");
}

/* Reported at the backend, as the port belongs to its service. */
void rule_ingress_service(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *port = json_get(o, "port");
    bool name = has_member(port, "name"), number = has_member(port, "number");
    if (name && number)
        check_invalid_text(c, at->up, "", "cannot set both port name & port number");
    else if (!name && !number)
        check_required(c, at->up, "port name or number is required");
    else if (name)
        check_format(c, AT(AT(at, "port"), "name"), "port-name", json_get(port, "name"));
    else
        check_format(c, AT(AT(at, "port"), "number"), "port", json_get(port, "number"));
}

/* A range as its family (4 or 6, 0: none), address and prefix length. */
static int parse_cidr(const char *text, unsigned char ip[16], int64_t *bits)
{
    struct error err;
    const char *slash = strchr(text, '/');
    if (!slash || str_parse_int64(str_of(slash + 1), bits, &err) < 0 || *bits < 0)
        return 0;
    autofree char *address = str_dup(str_range(text, (size_t)(slash - text)));
    if (inet_pton(AF_INET, address, ip) == 1)
        return *bits <= 32 ? 4 : 0;
    return inet_pton(AF_INET6, address, ip) == 1 && *bits <= 128 ? 6 : 0;
}

static bool is_within(const char *outer, const char *inner)
{
    unsigned char a[16], b[16];
    int64_t most, more;
    if (parse_cidr(outer, a, &most) != parse_cidr(inner, b, &more) || more <= most)
        return false;
    for (int64_t i = 0; i < most; i++)
        if ((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1)
            return false;
    return true;
}

static bool check_cidr(struct check *c, const struct frame *at, const cJSON *value)
{
    unsigned char ip[16];
    int64_t bits;
    if (parse_cidr(value_string(value), ip, &bits) != 0)
        return true;
    check_invalid(c, at, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    return false;
}

void check_of_cidrs(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    size_t i = 0;
    (void)f;
    for (const cJSON *e = value->child; e; e = e->next, i++)
        check_cidr(c, AT_INDEX(at, i), e);
}

void rule_ip_block(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    const cJSON *cidr = json_get(o, "cidr");
    if (value_is_empty(cidr) || !check_cidr(c, AT(at, "cidr"), cidr))
        return;
    for (const cJSON *e = first_member(o, "except"); e; e = e->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "except"), i);
        if (check_cidr(c, here, e) && !is_within(value_string(cidr), value_string(e)))
            check_invalid(c, here, e, "must be a strict subset of `cidr`");
    }
}

void rule_service_cidr(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *list = json_get(o, "cidrs");
    unsigned char ip[16];
    int64_t bits;
    size_t n = 0;
    int family = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, n++) {
        int own = parse_cidr(value_string(e), ip, &bits);
        check_cidr(c, AT_INDEX(AT(at, "cidrs"), n), e);
        if (n == 1 && own != 0 && own == family)
            check_invalid(c, AT(at, "cidrs"), list,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and "
                "2001:db8::/96");
        family = own;
    }
    if (n == 0)
        check_required(c, AT(at, "cidrs"), "at least one CIDR required");
    if (n > 2)
        check_invalid(c, AT(at, "cidrs"), list, "may only hold up to 2 values");
}

void rule_network_policy(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *types = json_get(o, "policyTypes");
    if (cJSON_GetArraySize(types) > 2)
        check_invalid(c, AT(at, "policyTypes"), types, "may not specify more than two policyTypes");
}

void rule_policy_peer(struct check *c, const struct frame *at, const cJSON *o)
{
    bool block = json_get(o, "ipBlock"), pods = json_get(o, "podSelector"),
         spaces = json_get(o, "namespaceSelector");
    if (!block && !pods && !spaces)
        check_required(c, at, "must specify a peer");
    else if (block && (pods || spaces))
        check_forbidden(c, at, "may not specify both ipBlock and another peer");
}

void rule_policy_port(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *port = json_get(o, "port"), *end = json_get(o, "endPort");
    if (port)
        check_format(c, AT(at, "port"), "int-or-port", port);
    if (!end)
        return;
    if (!port)
        check_invalid(
            c, AT(at, "endPort"), end, "may not be specified when `port` is not specified");
    else if (cJSON_IsString(port))
        check_invalid(c, AT(at, "endPort"), end, "may not be specified when `port` is non-numeric");
    else if (json_int64_at(o, "endPort", 0) < json_int64_at(o, "port", 0))
        check_invalid(c, AT(at, "endPort"), end, "must be greater than or equal to `port`");
}
