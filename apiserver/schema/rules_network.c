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
        check_format(c, AT_INDEX(AT(at, "externalIPs"), i), "ip", ip);
}

void check_of_endpoint_ip(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct in_addr v4;
    (void)f;
    if (!name_is_ip(str_of(value_string(value)))) {
        check_format(c, at, "ip", value);
        return;
    }
    if (inet_pton(AF_INET, value_string(value), &v4) != 1)
        return;
    uint32_t ip = ntohl(v4.s_addr);
    if (ip == 0)
        check_error(
            c, at, FIELD_INVALID, value, "may not be unspecified (%s)", value_string(value));
    if (ip >> 24 == 127)
        check_invalid(c, at, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    if (ip >> 16 == 0xa9fe)
        check_invalid(
            c, at, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    if (ip >> 8 == 0xe00000)
        check_invalid(
            c, at, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
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
    if (!strcmp(type, "IPv4") && inet_pton(AF_INET, value_string(a), buf) != 1)
        check_invalid(c, at, a, "must be a valid IPv4 address");
    else if (!strcmp(type, "IPv6") && inet_pton(AF_INET6, value_string(a), buf) != 1)
        check_invalid(c, at, a, "must be a valid IPv6 address");
    else if (!strcmp(type, "FQDN"))
        check_format(c, at, "dns-subdomain", a);
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

void rule_ingress_rule(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *host = text_of(o, "host");
    if (name_is_ip(str_of(host)))
        check_invalid_text(c, AT(at, "host"), host, "must be a DNS name, not an IP address");
    else if (*host && *host != '*')
        check_format(c, AT(at, "host"), "dns-subdomain", json_get(o, "host"));
}

void rule_ingress_path(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *path = text_of(o, "path");
    if (!text_is(o, "pathType", "ImplementationSpecific") && *path != '/')
        check_invalid_text(c, AT(at, "path"), path, "must be an absolute path");
}

void rule_ingress_backend(struct check *c, const struct frame *at, const cJSON *o)
{
    bool service = json_get(o, "service"), resource = json_get(o, "resource");
    if (service && resource)
        check_invalid_text(c, at, "", "cannot set both resource and service backends");
    else if (!service && !resource)
        check_required(c, at, "must specify a service or a resource");
}

void rule_ingress_service(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *port = json_get(o, "port");
    bool name = has_member(port, "name"), number = has_member(port, "number");
    if (name && number)
        check_invalid_text(c, at, "", "cannot set both port name & port number");
    else if (!name && !number)
        check_required(c, at, "port name or number is required");
    else if (name)
        check_format(c, AT(AT(at, "port"), "name"), "port-name", json_get(port, "name"));
    else
        check_format(c, AT(AT(at, "port"), "number"), "port", json_get(port, "number"));
}

static bool is_cidr(const char *text)
{
    unsigned char buf[16];
    struct error err;
    int64_t bits;
    const char *slash = strchr(text, '/');
    if (!slash || str_parse_int64(str_of(slash + 1), &bits, &err) < 0 || bits < 0)
        return false;
    autofree char *ip = str_dup(str_range(text, (size_t)(slash - text)));
    return (inet_pton(AF_INET, ip, buf) == 1 && bits <= 32) ||
           (inet_pton(AF_INET6, ip, buf) == 1 && bits <= 128);
}

static const char cidr_text[] = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

void rule_ip_block(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    if (has_member(o, "cidr") && !is_cidr(text_of(o, "cidr")))
        check_invalid_text(c, AT(at, "cidr"), text_of(o, "cidr"), cidr_text);
    for (const cJSON *e = first_member(o, "except"); e; e = e->next, i++)
        if (!is_cidr(value_string(e)))
            check_invalid(c, AT_INDEX(AT(at, "except"), i), e, cidr_text);
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
