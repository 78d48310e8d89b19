/*
 * Services: addresses and ports given by the server, unique under concurrency and over several API
 * servers.
 *
 * A ClusterIP is an IPAddress object of that name, a NodePort an (internal) NodePortClaim; both are
 * written in the same group as the Service, with "must not exist" as their compare, so two Services
 * never get the same one, and a crash leaves no half. A lost race for one is a conflict of the
 * group: the write starts again and chooses another. Upstream: registry/core/service (there bitmaps
 * with a repair loop).
 */

#include <arpa/inet.h>
#include <stdarg.h>

#include "apiserver/registry/generic/change.h"
#include "apiserver/server.h"
#include "common/time.h"
#include "common/uid.h"

/* Free addresses are looked for at random, then from there on; below this offset they are left to
 * those who choose. */
#define STATIC_BAND_MAX 256
#define TRIES_RANDOM 64

struct range {
    uint32_t first, count; /* host order; usable addresses first..first+count-1 */
    const char *text;
};

struct allocation {
    struct write_context *w;
    struct extra_writes *extra;
    const struct resource *addresses, *claims;
};

static bool is_type(const cJSON *service, const char *type)
{
    const char *own = json_string_at(service, "spec.type");
    return c_eq(own ? own : "ClusterIP", type);
}

static bool wants_cluster_ip(const cJSON *service)
{
    return service && !is_type(service, "ExternalName");
}

static bool wants_node_ports(const cJSON *service)
{
    return service && (is_type(service, "NodePort") || is_type(service, "LoadBalancer"));
}

static const char *cluster_ip(const cJSON *service)
{
    const char *ip = json_string_at(service, "spec.clusterIP");
    return ip ? ip : "";
}

static bool is_headless(const cJSON *service)
{
    return c_eq(cluster_ip(service), "None");
}

/* --- the spec --- */

static cJSON *array_of(const char *text)
{
    cJSON *array = cJSON_CreateArray();
    cJSON_AddItemToArray(array, cJSON_CreateString(text));
    return array;
}

/* Takes over what a client left out of an update, as if it had read it first. */
static void inherit(cJSON *now, const cJSON *old)
{
    static const char *const fields[] = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"};
    if (!wants_cluster_ip(old) || !wants_cluster_ip(now))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        const cJSON *before = json_get(json_get(old, "spec"), fields[i]);
        const cJSON *item = json_get(json_get(now, "spec"), fields[i]);
        bool absent = !item || (cJSON_IsString(item) && !*item->valuestring) ||
                      (cJSON_IsArray(item) && !item->child);
        if (before && absent)
            json_set(json_get(now, "spec"), fields[i], cJSON_Duplicate(before, true));
    }
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
    if (!wants_node_ports(old) || !wants_node_ports(now))
        return;
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

static void drop_fields(cJSON *service)
{
    cJSON *spec = json_get(service, "spec"), *port;
    if (is_type(service, "ExternalName")) {
        static const char *const fields[] = {"clusterIP", "clusterIPs", "ipFamilies",
            "ipFamilyPolicy", "internalTrafficPolicy", "allocateLoadBalancerNodePorts"};
        for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
            json_remove(spec, fields[i]);
    }
    if (!wants_node_ports(service)) {
        json_remove(spec, "externalTrafficPolicy");
        json_remove(spec, "healthCheckNodePort");
        cJSON_ArrayForEach(port, json_get(spec, "ports")) json_remove(port, "nodePort");
    }
}

static void service_prepare(struct write_context *w)
{
    if (w->kind == WRITE_CREATE)
        json_set(w->tree, "status", json_make("{\"loadBalancer\":{}}"));
    if (w->kind == WRITE_UPDATE && w->old) {
        inherit(w->tree, w->old);
        inherit_node_ports(w->tree, w->old);
        bool changed =
            !c_eq(json_string_at(w->old, "spec.type"), json_string_at(w->tree, "spec.type"));
        if (changed) /* a change of type takes away what the client just read and sent back */
            drop_fields(w->tree);
    }
    if (w->kind == WRITE_CREATE)
        drop_fields(w->tree);
    cJSON *spec = json_get(w->tree, "spec");
    if (!wants_cluster_ip(w->tree))
        return;
    const char *ip = cluster_ip(w->tree);
    const char *first = cJSON_IsString(cJSON_GetArrayItem(json_get(spec, "clusterIPs"), 0))
                            ? cJSON_GetArrayItem(json_get(spec, "clusterIPs"), 0)->valuestring
                            : "";
    if (*ip && !*first)
        json_set(spec, "clusterIPs", array_of(ip));
    else if (!*ip && *first)
        json_set_string(spec, "clusterIP", first);
    if (!json_get(spec, "ipFamilies"))
        json_set(spec, "ipFamilies", json_make("[\"IPv4\"]"));
    if (!json_get(spec, "ipFamilyPolicy"))
        json_set_string(spec, "ipFamilyPolicy", "SingleStack");
    if (wants_node_ports(w->tree) && !json_get(spec, "externalTrafficPolicy"))
        json_set_string(spec, "externalTrafficPolicy", "Cluster");
}

static void service_validate(const struct write_context *w, struct field_errors *errors)
{
    const char *ip = cluster_ip(w->tree), *old_ip = w->old ? cluster_ip(w->old) : "";
    struct in_addr address;
    char value[300];
    if (is_type(w->tree, "ExternalName")) {
        const char *name = json_string_at(w->tree, "spec.externalName");
        if (!name || !*name)
            field_error_add(errors, FIELD_REQUIRED, "spec.externalName", NULL, "%s", "");
        return;
    }
    if (!is_headless(w->tree) && !json_get(json_get(w->tree, "spec"), "ports"))
        field_error_add(errors, FIELD_REQUIRED, "spec.ports", NULL, "%s", "");
    if (is_headless(w->tree) && wants_node_ports(w->tree))
        field_error_add(errors, FIELD_INVALID, "spec.clusterIPs[0]", "\"None\"",
            "may not be set to 'None' for %s services", json_string_at(w->tree, "spec.type"));
    if (*ip && !is_headless(w->tree) && inet_pton(AF_INET, ip, &address) != 1) {
        snprintf(value, sizeof(value), "\"%s\"", ip);
        field_error_add(errors, FIELD_INVALID, "spec.clusterIPs[0]", value,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
    const cJSON *ips = json_path(w->tree, "spec.clusterIPs");
    if (*ip && cJSON_GetArraySize(ips) > 0 &&
        !(cJSON_IsString(ips->child) && c_eq(ips->child->valuestring, ip))) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        strbuf_init(&text, 4096);
        json_print(ips, &text);
        field_error_add(errors, FIELD_INVALID, "spec.clusterIPs", text.data,
            "first value must match `clusterIP`");
    }
    if (cJSON_GetArraySize(ips) > 1) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        strbuf_init(&text, 4096);
        json_print(ips, &text);
        field_error_add(errors, FIELD_INVALID, "spec.clusterIPs", text.data,
            "may only hold one IP address: the cluster has one range, of IPv4");
    }
    if (w->kind == WRITE_UPDATE && wants_cluster_ip(w->old) && *old_ip && !c_eq(ip, old_ip)) {
        snprintf(value, sizeof(value), "[\"%s\"]", ip);
        field_error_add(
            errors, FIELD_INVALID, "spec.clusterIPs[0]", value, "may not change once set");
    }
}

/* --- allocation --- */

static struct range service_range(const struct server *s)
{
    struct range range = {.text = s->config->service_cidr};
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    int64_t bits = 16;
    struct error err;
    const char *slash = strchr(range.text, '/');
    snprintf(text, sizeof(text), "%.*s", slash ? (int)(slash - range.text) : 15, range.text);
    if (slash)
        str_parse_int64(str_of(slash + 1), &bits, &err);
    if (inet_pton(AF_INET, text, &address) == 1 && bits >= 8 && bits <= 30) {
        range.first = ntohl(address.s_addr) + 1;
        range.count = (1u << (32 - bits)) - 2;
    }
    return range;
}

static int refuse(struct write_context *w, const char *path, const char *value, struct error *err,
    const char *format, ...) __attribute__((format(printf, 5, 6)));

static int refuse(struct write_context *w, const char *path, const char *value, struct error *err,
    const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct field_errors *errors = field_errors_new(w->arena);
    field_error_add(errors, FIELD_INVALID, path, value, "%s", text);
    const char *name = json_string_at(w->tree, "metadata.name");
    w->request->error_status = field_errors_status(errors, w->resource, name ? name : "");
    return error_set(err, ERR_INVALID, "%s", text);
}

static bool is_free(const struct allocation *a, const struct resource *r, const char *name)
{
    struct object *o = cache_newest(a->w->cache, r, (struct str){0}, str_of(name));
    object_unref(o);
    for (size_t i = 0; !o && i < a->extra->count; i++)
        if (a->extra->ops[i].resource == r && str_eqc(a->extra->ops[i].name, name))
            return false;
    return o == NULL;
}

/* Adds the object that holds an address or a port to the group. */
static int hold(struct allocation *a, const struct resource *r, const char *name, cJSON *take_tree,
    struct error *err)
{
    char uid[UID_BYTES];
    struct object *next;
    char now[40];
    autojson cJSON *tree = take_tree;
    if (a->extra->count == ARRAY_COUNT(a->extra->ops))
        return error_set(err, ERR_TOO_LARGE,
            "a Service may have at most %zu addresses and node ports", ARRAY_COUNT(a->extra->ops));
    json_set_string_at(tree, "metadata.name", name);
    json_set_string_at(tree, "metadata.uid", uid_random(a->w->server->env, uid));
    json_set_string_at(tree, "metadata.creationTimestamp", time_print_s(a->w->now_ns, now));
    schema_normalise(r->schema, tree);
    if (object_new(r, tree, &next, err) < 0)
        return -err->code;
    a->extra->ops[a->extra->count++] = (struct write_op){
        .resource = r, .name = str_of(arena_strdup(a->w->arena, str_of(name))), .next = next};
    return 0;
}

static int release(struct allocation *a, const struct resource *r, const char *name)
{
    struct object *base = cache_newest(a->w->cache, r, (struct str){0}, str_of(name));
    if (!base)
        return 0;
    if (a->extra->count == ARRAY_COUNT(a->extra->ops)) {
        object_unref(base);
        return 0; /* more than one write holds; the repair controller collects it */
    }
    a->extra->ops[a->extra->count++] = (struct write_op){
        .resource = r, .name = str_of(arena_strdup(a->w->arena, str_of(name))), .base = base};
    return 0;
}

static cJSON *address_tree(const struct allocation *a)
{
    const cJSON *metadata = json_get(a->w->tree, "metadata");
    return json_make(
        "{\"metadata\":{\"labels\":{\"ipaddress.kubernetes.io/ip-family\":\"IPv4\","
        "\"ipaddress.kubernetes.io/managed-by\":\"ipallocator.k8s.io\"}},\"spec\":{\"parentRef\":{"
        "\"group\":\"\",\"resource\":\"services\",\"namespace\":\"%s\",\"name\":\"%s\"}}}",
        json_string(metadata, "namespace"), json_string(metadata, "name"));
}

static int choose_address(struct allocation *a, char *text, struct error *err)
{
    struct range range = service_range(a->w->server);
    uint32_t band = range.count / 16;
    band = band > STATIC_BAND_MAX ? STATIC_BAND_MAX : band < 16 ? 0 : band;
    for (uint32_t i = 0, at = 0; range.count && i < range.count + TRIES_RANDOM; i++) {
        at = i < TRIES_RANDOM
                 ? band + (uint32_t)(env_random(a->w->server->env) % (range.count - band))
                 : (at + 1) % range.count;
        struct in_addr address = {htonl(range.first + at)};
        inet_ntop(AF_INET, &address, text, INET_ADDRSTRLEN);
        if (is_free(a, a->addresses, text))
            return 0;
    }
    return error_set(err, ERR_INTERNAL, "failed to allocate a serviceIP: range is full");
}

static int allocate_address(struct allocation *a, struct error *err)
{
    struct write_context *w = a->w;
    char text[INET_ADDRSTRLEN], value[64];
    const char *asked = cluster_ip(w->tree);
    struct range range = service_range(w->server);
    if (*asked) {
        struct in_addr address;
        inet_pton(AF_INET, asked, &address);
        uint32_t host = ntohl(address.s_addr);
        snprintf(value, sizeof(value), "[\"%s\"]", asked);
        if (host < range.first || host - range.first >= range.count)
            return refuse(w, "spec.clusterIPs", value, err,
                "failed to allocate IP %s: the provided IP (%s) is not in the valid range. The "
                "range of valid IPs is %s",
                asked, asked, range.text);
        if (!is_free(a, a->addresses, asked))
            return refuse(w, "spec.clusterIPs", value, err,
                "failed to allocate IP %s: provided IP is already allocated", asked);
        snprintf(text, sizeof(text), "%s", asked);
    } else if (choose_address(a, text, err) < 0) {
        return -err->code;
    }
    json_set_string_at(w->tree, "spec.clusterIP", text);
    json_set_at(w->tree, "spec.clusterIPs", array_of(text));
    return hold(a, a->addresses, text, address_tree(a), err);
}

static bool has_port(const cJSON *service, int64_t node_port)
{
    const cJSON *port;
    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        if (node_port && json_int64_at(port, "nodePort", 0) == node_port)
            return true;
    }
    return false;
}

static int hold_port(struct allocation *a, int64_t number, struct error *err)
{
    char name[16];
    const cJSON *metadata = json_get(a->w->tree, "metadata");
    snprintf(name, sizeof(name), "%lld", (long long)number);
    return hold(a, a->claims, name,
        json_make("{\"service\":\"%s/%s\"}", json_string(metadata, "namespace"),
            json_string(metadata, "name")),
        err);
}

static bool port_is_free(const struct allocation *a, int64_t number)
{
    char name[16];
    snprintf(name, sizeof(name), "%lld", (long long)number);
    return is_free(a, a->claims, name);
}

static int choose_port(struct allocation *a, int64_t *ret, struct error *err)
{
    const struct server_config *c = a->w->server->config;
    int64_t count = c->node_port_last - c->node_port_first + 1, at = 0;
    for (int64_t i = 0; i < count + TRIES_RANDOM; i++) {
        at = i < TRIES_RANDOM ? (int64_t)(env_random(a->w->server->env) % (uint64_t)count)
                              : (at + 1) % count;
        if (!port_is_free(a, c->node_port_first + at))
            continue;
        *ret = c->node_port_first + at;
        return 0;
    }
    return error_set(err, ERR_INTERNAL, "failed to allocate a nodePort: range is full");
}

/* One port of the list: kept, checked and held, or chosen. TCP and UDP of one number share the
 * claim. */
static int allocate_port(struct allocation *a, cJSON *port, int index, struct error *err)
{
    struct write_context *w = a->w;
    const struct server_config *c = w->server->config;
    int64_t number = json_int64_at(port, "nodePort", 0);
    char path[64], value[32];
    snprintf(path, sizeof(path), "spec.ports[%d].nodePort", index);
    snprintf(value, sizeof(value), "%lld", (long long)number);
    if (number && wants_node_ports(w->old) && has_port(w->old, number))
        return 0;
    if (!number) {
        if (choose_port(a, &number, err) < 0)
            return -err->code;
        json_set(port, "nodePort", json_new_int64(number));
        return hold_port(a, number, err);
    }
    if (number < c->node_port_first || number > c->node_port_last)
        return refuse(w, path, value, err,
            "provided port is not in the valid range. The range of valid ports is %d-%d",
            c->node_port_first, c->node_port_last);
    for (size_t i = 0; i < a->extra->count; i++)
        if (a->extra->ops[i].resource == a->claims && str_eqc(a->extra->ops[i].name, value))
            return 0;
    if (!port_is_free(a, number))
        return refuse(w, path, value, err, "provided port is already allocated");
    return hold_port(a, number, err);
}

static void release_ports(struct allocation *a, const cJSON *old, const cJSON *now)
{
    const cJSON *port;
    int64_t released = 0;
    cJSON_ArrayForEach(port, json_path(old, "spec.ports"))
    {
        int64_t number = json_int64_at(port, "nodePort", 0);
        char name[16];
        snprintf(name, sizeof(name), "%lld", (long long)number);
        if (number && number != released && !has_port(now, number))
            release(a, a->claims, name);
        released = number;
    }
}

static int service_begin(struct write_context *w, struct extra_writes *extra, struct error *err)
{
    struct allocation a = {w, extra,
        api_find_plural(w->server->api, "networking.k8s.io", "ipaddresses"),
        api_find_plural(w->server->api, "", "nodeportclaims")};
    const struct object_write *o = container_of(w, struct object_write, context);
    const cJSON *old = w->kind == WRITE_CREATE ? NULL : w->old;
    bool removed = o->deleted || (w->tree && old && is_deletion_complete(o));
    const cJSON *now = removed ? NULL : w->tree;
    if (!now && !removed)
        return 0; /* only marked for deletion */
    if (wants_cluster_ip(old) && !is_headless(old) && !wants_cluster_ip(now))
        release(&a, a.addresses, cluster_ip(old));
    if (wants_node_ports(old))
        release_ports(&a, old, now);
    if (!now)
        return 0;
    bool had = wants_cluster_ip(old) && *cluster_ip(old);
    if (wants_cluster_ip(now) && !is_headless(now) && !had && allocate_address(&a, err) < 0)
        return -err->code;
    cJSON *port;
    int index = 0;
    if (wants_node_ports(now))
        cJSON_ArrayForEach(port, json_path(now, "spec.ports"))
        {
            if (allocate_port(&a, port, index++, err) < 0)
                return -err->code;
        }
    return 0;
}

const struct strategy strategy_service = {
    .group = "",
    .plural = "services",
    .prepare = service_prepare,
    .validate = service_validate,
    .begin = service_begin,
};
