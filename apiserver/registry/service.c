/*
 * Services: what the server fills in and takes away, families of addresses, and what may change.
 *
 * Which addresses and ports they get is service_addresses.c. Upstream: registry/core/service
 * (strategy.go, storage/alloc.go initIPFamilyFields, storage/storage.go normalizeClusterIPs),
 * apis/core/validation (ValidateServiceClusterIPsRelatedFields, validateUpgradeDowngrade*).
 */
#include "apiserver/registry/service_addresses.h"

#include "apiserver/server.h"

#define SINGLE "SingleStack"
#define PREFER "PreferDualStack"
#define REQUIRE "RequireDualStack"

bool service_is_type(const cJSON *service, const char *type)
{
    const char *own = json_string_at(service, "spec.type");
    return c_eq(own ? own : "ClusterIP", type);
}

bool service_wants_cluster_ip(const cJSON *service)
{
    return service && !service_is_type(service, "ExternalName");
}

bool service_wants_node_ports(const cJSON *service)
{
    return service &&
           (service_is_type(service, "NodePort") || service_is_type(service, "LoadBalancer"));
}

bool service_wants_health_port(const cJSON *service)
{
    return service && service_is_type(service, "LoadBalancer") &&
           c_eq(json_string_at(service, "spec.externalTrafficPolicy"), "Local");
}

static const char *cluster_ip(const cJSON *service)
{
    const char *ip = json_string_at(service, "spec.clusterIP");
    return ip ? ip : "";
}

bool service_has_no_ip(const cJSON *service)
{
    return service && c_eq(cluster_ip(service), "None");
}

struct service_ranges service_ranges_of(const struct server *server)
{
    struct service_ranges ranges;
    struct error ignored; /* checked at start */
    service_ranges_parse(server->config->service_cidr, &ranges, &ignored);
    return ranges;
}

bool service_has_text(const cJSON *array, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item) && c_eq(item->valuestring, text))
            return true;
    }
    return false;
}

/* --- what is given, kept and dropped --- */

static const char *const address_fields[] = {
    "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"};

static bool is_empty(const cJSON *item)
{
    return !item || cJSON_IsNull(item) || (cJSON_IsString(item) && !*item->valuestring) ||
           (cJSON_IsArray(item) && !item->child);
}

static bool is_same(const cJSON *a, const cJSON *b, const char *member)
{
    const cJSON *x = json_get(json_get(a, "spec"), member),
                *y = json_get(json_get(b, "spec"), member);
    if (is_empty(x) || is_empty(y))
        return is_empty(x) && is_empty(y);
    return json_equal(x, y);
}

static void copy_field(cJSON *now, const cJSON *old, const char *member)
{
    const cJSON *before = json_get(json_get(old, "spec"), member);
    if (before)
        json_set(json_get(now, "spec"), member, cJSON_Duplicate(before, true));
}

static cJSON *array_of(const char *text)
{
    cJSON *array = cJSON_CreateArray();
    cJSON_AddItemToArray(array, cJSON_CreateString(text));
    return array;
}

/* Clients that know one of clusterIP and clusterIPs only: the other follows. */
static void normalise_addresses(cJSON *now, const cJSON *old)
{
    cJSON *spec = json_get(now, "spec");
    const char *ip = cluster_ip(now), *before = old ? cluster_ip(old) : "";
    bool none = is_empty(json_get(spec, "clusterIPs"));
    if (!old) {
        if (*ip && none)
            json_set(spec, "clusterIPs", array_of(ip));
    } else if (c_eq(ip, before)) {
        if (none)
            copy_field(now, old, "clusterIPs");
    } else if (is_same(now, old, "clusterIPs")) {
        if (*ip)
            json_set(spec, "clusterIPs", array_of(ip));
        else
            json_remove(spec, "clusterIPs");
    }
}

/* Takes over what a client left out of an update, as if it had read it first. */
static void inherit_addresses(cJSON *now, const cJSON *old)
{
    cJSON *spec = json_get(now, "spec");
    if (!service_wants_cluster_ip(old) || !service_wants_cluster_ip(now))
        return;
    if (!*cluster_ip(now) && is_empty(json_get(spec, "clusterIPs")))
        copy_field(now, old, "clusterIP");
    if (is_empty(json_get(spec, "clusterIPs")) && is_same(now, old, "clusterIP"))
        copy_field(now, old, "clusterIPs");
    if (is_empty(json_get(spec, "ipFamilyPolicy")))
        copy_field(now, old, "ipFamilyPolicy");
    if (is_empty(json_get(spec, "ipFamilies")))
        copy_field(now, old, "ipFamilies");
}

static bool same_port(const cJSON *a, const cJSON *b)
{
    return json_int64_at(a, "port", 0) == json_int64_at(b, "port", 0) &&
           c_eq(json_string(a, "protocol"), json_string(b, "protocol"));
}

static void inherit_node_ports(cJSON *now, const cJSON *old)
{
    cJSON *port;
    const cJSON *before;
    if (!service_wants_node_ports(old) || !service_wants_node_ports(now))
        return;
    if (service_wants_health_port(old) && service_wants_health_port(now) &&
        !json_int64_at(now, "spec.healthCheckNodePort", 0))
        copy_field(now, old, "healthCheckNodePort");
    cJSON_ArrayForEach(port, json_path(now, "spec.ports"))
    {
        if (json_int64_at(port, "nodePort", 0))
            continue;
        cJSON_ArrayForEach(before, json_path(old, "spec.ports"))
        {
            if (same_port(port, before) && json_get(before, "nodePort"))
                json_set(port, "nodePort", cJSON_Duplicate(json_get(before, "nodePort"), true));
        }
    }
}

static bool same_node_ports(const cJSON *a, const cJSON *b)
{
    const cJSON *x = json_path(a, "spec.ports"), *y = json_path(b, "spec.ports");
    x = x ? x->child : NULL;
    y = y ? y->child : NULL;
    for (; x && y; x = x->next, y = y->next)
        if (json_int64_at(x, "nodePort", 0) != json_int64_at(y, "nodePort", 0))
            return false;
    return !x && !y;
}

static void drop_if_same(cJSON *now, const cJSON *old, const char *member)
{
    if (is_same(now, old, member))
        json_remove(json_get(now, "spec"), member);
}

/* A change of type takes away what the client just read and sent back unchanged. */
static void drop_fields(cJSON *now, const cJSON *old)
{
    static const char *const balancer[] = {"allocateLoadBalancerNodePorts", "loadBalancerClass"};
    cJSON *port;
    bool same_ports = same_node_ports(now, old);
    if (!service_wants_cluster_ip(now)) {
        for (size_t i = 0; i < ARRAY_COUNT(address_fields); i++)
            drop_if_same(now, old, address_fields[i]);
        drop_if_same(now, old, "internalTrafficPolicy");
    }
    if (service_wants_health_port(old) && !service_wants_health_port(now))
        drop_if_same(now, old, "healthCheckNodePort");
    for (size_t i = 0; i < ARRAY_COUNT(balancer); i++)
        if (!service_is_type(now, "LoadBalancer"))
            drop_if_same(now, old, balancer[i]);
    if (service_wants_node_ports(now) || !service_wants_node_ports(old))
        return;
    if (is_empty(json_path(now, "spec.externalIPs")))
        drop_if_same(now, old, "externalTrafficPolicy");
    if (same_ports)
        cJSON_ArrayForEach(port, json_path(now, "spec.ports")) json_remove(port, "nodePort");
}

/* Back to one family: the second address and family go unless the client changed them. */
static void trim(cJSON *now, const cJSON *old)
{
    static const char *const fields[] = {"clusterIPs", "ipFamilies"};
    if (!c_eq(json_string_at(now, "spec.ipFamilyPolicy"), SINGLE) ||
        c_eq(json_string_at(old, "spec.ipFamilyPolicy"), SINGLE))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        cJSON *list = json_get(json_get(now, "spec"), fields[i]);
        if (cJSON_GetArraySize(list) == 2 && is_same(now, old, fields[i]))
            cJSON_DeleteItemFromArray(list, 1);
    }
}

/* --- families --- */

static void add_family(cJSON *spec, int family)
{
    if (!json_get(spec, "ipFamilies"))
        json_set(spec, "ipFamilies", cJSON_CreateArray());
    cJSON_AddItemToArray(json_get(spec, "ipFamilies"), cJSON_CreateString(ip_family_name(family)));
}

/* Families of the addresses that the client chose. false: validation will refuse one. */
static bool infer_families(cJSON *spec, const struct service_ranges *ranges)
{
    const cJSON *ip;
    int i = 0, had = cJSON_GetArraySize(json_get(spec, "ipFamilies"));
    cJSON_ArrayForEach(ip, json_get(spec, "clusterIPs"))
    {
        int family = cJSON_IsString(ip) ? ip_family(ip->valuestring) : 0;
        if (i++ < had)
            continue;
        if (ip->valuestring && c_eq(ip->valuestring, "None"))
            return true;
        if (!family || !service_range_of(ranges, family))
            return false;
        add_family(spec, family);
    }
    return true;
}

static bool is_without_pods(const cJSON *service)
{
    return service_has_no_ip(service) && is_empty(json_path(service, "spec.selector"));
}

/* Policies that nobody changed stay, whatever the cluster's ranges have become. */
static bool stays_preferred(const cJSON *now, const cJSON *old)
{
    return old && service_wants_cluster_ip(old) &&
           c_eq(json_string_at(now, "spec.ipFamilyPolicy"), PREFER) &&
           is_same(now, old, "ipFamilyPolicy") && is_same(now, old, "ipFamilies") &&
           is_same(now, old, "clusterIPs");
}

static void settle_families(struct write_context *w)
{
    struct service_ranges ranges = service_ranges_of(w->server);
    cJSON *spec = json_get(w->tree, "spec");
    if (stays_preferred(w->tree, w->old) || !infer_families(spec, &ranges))
        return;
    if (is_empty(json_get(spec, "ipFamilyPolicy")))
        json_set_string(spec, "ipFamilyPolicy", is_without_pods(w->tree) ? REQUIRE : SINGLE);
    if (is_empty(json_get(spec, "ipFamilies")))
        json_remove(spec, "ipFamilies");
    if (!json_get(spec, "ipFamilies"))
        add_family(spec, ranges.at[0].family);
    const cJSON *families = json_get(spec, "ipFamilies");
    bool both = ranges.count == 2 || is_without_pods(w->tree);
    if (both && !c_eq(json_string(spec, "ipFamilyPolicy"), SINGLE) &&
        cJSON_GetArraySize(families) == 1)
        add_family(spec, service_has_text(families, "IPv4") ? AF_INET6 : AF_INET);
}

static void service_prepare(struct write_context *w)
{
    const cJSON *old = w->kind == WRITE_UPDATE ? w->old : NULL;
    cJSON *spec = json_get(w->tree, "spec");
    if (w->kind == WRITE_CREATE)
        json_set(w->tree, "status", json_make("{\"loadBalancer\":{}}"));
    if (w->kind != WRITE_CREATE && !old)
        return;
    if (service_wants_cluster_ip(w->tree))
        normalise_addresses(w->tree, old);
    if (old) {
        inherit_addresses(w->tree, old);
        inherit_node_ports(w->tree, old);
        drop_fields(w->tree, old);
        trim(w->tree, old);
    }
    if (!service_wants_cluster_ip(w->tree))
        return;
    settle_families(w);
    if (service_wants_node_ports(w->tree) && is_empty(json_get(spec, "externalTrafficPolicy")))
        json_set_string(spec, "externalTrafficPolicy", "Cluster");
}

/* --- validation --- */

struct checking {
    const struct write_context *w;
    const cJSON *spec;
    struct field_errors *errors;
    struct service_ranges ranges;
};

static const char *shown(const struct checking *c, const cJSON *value)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (!value)
        return "null";
    json_print(value, &text);
    return arena_strdup(c->w->arena, strbuf_str(&text));
}

static void invalid(
    const struct checking *c, const char *path, const cJSON *value, const char *detail)
{
    field_error_add(c->errors, FIELD_INVALID, path, shown(c, value), "%s", detail);
}

static const char *indexed(const struct checking *c, const char *list, int i)
{
    return arena_printf(c->w->arena, "spec.%s[%d]", list, i);
}

static void check_external_name(const struct checking *c)
{
    static const struct {
        const char *member;
    } fields[] = {{"clusterIPs"}, {"ipFamilies"}, {"ipFamilyPolicy"}};
    const char *name = json_string(c->spec, "externalName");
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
        if (!is_empty(json_get(c->spec, fields[i].member)))
            field_error_add(c->errors, FIELD_FORBIDDEN,
                arena_printf(c->w->arena, "spec.%s", fields[i].member), NULL,
                "may not be set for ExternalName services");
    if (!name || !*name)
        field_error_add(c->errors, FIELD_REQUIRED, "spec.externalName", NULL, "%s", "");
}

/* false: no use in looking at them any further. */
static bool check_each_address(const struct checking *c, const cJSON *ips)
{
    const cJSON *ip;
    bool good = true;
    int i = 0;
    cJSON_ArrayForEach(ip, ips)
    {
        const char *text = cJSON_IsString(ip) ? ip->valuestring : "";
        const char *path = indexed(c, "clusterIPs", i++);
        if (i == 1 && c_eq(text, "None")) {
            if (cJSON_GetArraySize(ips) > 1) {
                good = false;
                invalid(c, "spec.clusterIPs", ips, "'None' must be the first and only value");
            }
        } else if (!ip_family(text)) {
            good = false;
            invalid(c, path, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
    }
    if (cJSON_GetArraySize(ips) > 2)
        invalid(c, "spec.clusterIPs", ips, "may only hold up to 2 values");
    return good;
}

static void check_families_of_addresses(const struct checking *c, const cJSON *ips)
{
    const cJSON *families = json_get(c->spec, "ipFamilies"), *ip;
    int i = 0;
    cJSON_ArrayForEach(ip, ips)
    {
        int family = ip_family(ip->valuestring);
        const cJSON *said = cJSON_GetArrayItem(families, i);
        if (!said && !service_range_of(&c->ranges, family))
            invalid(c, indexed(c, "clusterIPs", i), ips,
                arena_printf(
                    c->w->arena, "%s is not configured on this cluster", ip_family_name(family)));
        else if (said && !c_eq(said->valuestring, ip_family_name(family)))
            invalid(c, indexed(c, "clusterIPs", i), ip,
                arena_printf(c->w->arena, "expected an %s value as indicated by `ipFamilies[%d]`",
                    said->valuestring, i));
        i++;
    }
}

static void check_addresses(const struct checking *c)
{
    const cJSON *ips = json_get(c->spec, "clusterIPs");
    const char *ip = cluster_ip(c->w->tree);
    if (*ip && is_empty(ips))
        field_error_add(c->errors, FIELD_REQUIRED, "spec.clusterIPs", NULL, "%s", "");
    else if (*ip && !(cJSON_IsString(ips->child) && c_eq(ips->child->valuestring, ip)))
        invalid(c, "spec.clusterIPs", ips, "first value must match `clusterIP`");
    else if (!*ip && !is_empty(ips))
        invalid(c, "spec.clusterIPs", ips, "must be empty when `clusterIP` is not specified");
    if (!check_each_address(c, ips) || c_eq(ip, "None"))
        return;
    if (cJSON_GetArraySize(ips) > 1 &&
        ip_family(ips->child->valuestring) == ip_family(ips->child->next->valuestring))
        invalid(c, "spec.clusterIPs", ips, "may specify no more than one IP for each IP family");
    check_families_of_addresses(c, ips);
}

static void check_families(const struct checking *c)
{
    static const char *const known[] = {"IPv4", "IPv6", NULL};
    const cJSON *families = json_get(c->spec, "ipFamilies"), *family;
    const cJSON *policy = json_get(c->spec, "ipFamilyPolicy");
    bool single = c_eq(json_string(c->spec, "ipFamilyPolicy"), SINGLE);
    bool free_choice = is_without_pods(c->w->tree);
    int i = 0;
    cJSON_ArrayForEach(family, families)
    {
        const char *text = cJSON_IsString(family) ? family->valuestring : "";
        const char *path = indexed(c, "ipFamilies", i++);
        int number = c_eq(text, "IPv4") ? AF_INET : AF_INET6;
        if (!c_eq(text, "IPv4") && !c_eq(text, "IPv6"))
            field_error_not_supported(c->errors, path, text, known);
        else if (i == 2 && json_equal(family, families->child))
            field_error_add(c->errors, FIELD_DUPLICATE, path, shown(c, family), "%s", "");
        else if (!free_choice && !service_range_of(&c->ranges, number))
            invalid(c, path, family, "not configured on this cluster");
    }
    if (single && cJSON_GetArraySize(json_get(c->spec, "clusterIPs")) == 2)
        invalid(c, "spec.ipFamilyPolicy", policy,
            "must be RequireDualStack or PreferDualStack when multiple cluster IPs are specified");
    if (single && cJSON_GetArraySize(families) == 2)
        invalid(c, "spec.ipFamilyPolicy", policy,
            "must be RequireDualStack or PreferDualStack when multiple IP families are specified");
    if (!free_choice && c_eq(json_string(c->spec, "ipFamilyPolicy"), REQUIRE) &&
        c->ranges.count < 2)
        invalid(c, "spec.ipFamilyPolicy", policy,
            "this cluster is not configured for dual-stack services");
}

/* The first stays; the second comes and goes with the policy. */
static void check_list_change(const struct checking *c, const char *member, const char *what)
{
    const cJSON *before = json_path(c->w->old, arena_printf(c->w->arena, "spec.%s", member));
    const cJSON *now = json_get(c->spec, member);
    int had = cJSON_GetArraySize(before), has = cJSON_GetArraySize(now);
    int compared = had == has ? had : had > 0 && has > 0 ? 1 : 0;
    for (int i = 0; i < compared; i++)
        if (!json_equal(cJSON_GetArrayItem(before, i), cJSON_GetArrayItem(now, i)))
            invalid(c, indexed(c, member, i), now, "may not change once set");
    if (had <= has)
        return;
    if (has == 0)
        invalid(c, indexed(c, member, 0), now,
            arena_printf(c->w->arena, "primary %s can not be unset", what));
    if (has == 1 && !c_eq(json_string(c->spec, "ipFamilyPolicy"), SINGLE))
        invalid(c, "spec.ipFamilyPolicy", json_get(c->spec, "ipFamilyPolicy"),
            arena_printf(
                c->w->arena, "must be set to 'SingleStack' when releasing the secondary %s", what));
}

static void check_change(const struct checking *c)
{
    const cJSON *old = c->w->old;
    bool headless = service_has_no_ip(c->w->tree), was_headless = service_has_no_ip(old);
    if (!service_wants_cluster_ip(old))
        return;
    if (!(headless && was_headless))
        check_list_change(c, "clusterIPs", "clusterIP");
    if (!headless && !was_headless)
        check_list_change(c, "ipFamilies", "ipFamily");
}

static void service_validate(const struct write_context *w, struct field_errors *errors)
{
    struct checking c = {w, json_get(w->tree, "spec"), errors, service_ranges_of(w->server)};
    if (w->kind == WRITE_STATUS)
        return;
    if (service_is_type(w->tree, "ExternalName")) {
        check_external_name(&c);
        return;
    }
    if (!service_has_no_ip(w->tree) && !json_get(c.spec, "ports"))
        field_error_add(errors, FIELD_REQUIRED, "spec.ports", NULL, "%s", "");
    if (service_has_no_ip(w->tree) && service_wants_node_ports(w->tree))
        field_error_add(errors, FIELD_INVALID, "spec.clusterIPs[0]", "\"None\"",
            "may not be set to 'None' for %s services", json_string(c.spec, "type"));
    check_addresses(&c);
    check_families(&c);
    if (w->kind == WRITE_UPDATE)
        check_change(&c);
}

const struct strategy strategy_service = {
    .group = "",
    .plural = "services",
    .prepare = service_prepare,
    .validate = service_validate,
    .begin = service_hold,
};
