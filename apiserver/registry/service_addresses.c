/*
 * See service_addresses.h. Upstream: registry/core/service/storage/alloc.go, ipallocator,
 * portallocator (there bitmaps with a repair loop).
 */
#include "apiserver/registry/service_addresses.h"

#include <stdarg.h>

#include "apiserver/registry/generic/change.h"
#include "apiserver/server.h"
#include "common/log.h"
#include "common/time.h"
#include "common/uid.h"

/* Free addresses are looked for at random, then from there on; below this offset they are left to
 * those who choose. */
#define STATIC_BAND_MAX 256
#define TRIES_RANDOM 64
/* A range that is this full is full: looking further would hold up everybody. */
#define TRIES_MAX 70000

struct allocation {
    struct write_context *w;
    struct extra_writes *extra;
    const struct resource *addresses, *claims;
};

static struct allocation allocation_of(
    struct server *server, struct write_context *w, struct extra_writes *extra)
{
    return (struct allocation){w, extra,
        api_find_plural(server->api, "networking.k8s.io", "ipaddresses"),
        api_find_plural(server->api, "", "nodeportclaims")};
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
    cJSON_Delete(w->request->error_status);
    w->request->error_status = field_errors_status(errors, w->resource, name ? name : "");
    return error_set(err, ERR_INVALID, "%s", text);
}

/* --- holding and giving back --- */

static bool is_free(const struct allocation *a, const struct resource *r, const char *name)
{
    struct object *o = cache_newest(a->w->cache, r, (struct str){0}, str_of(name));
    object_unref(o);
    for (size_t i = 0; !o && i < a->extra->count; i++)
        if (a->extra->ops[i].resource == r && str_eqc(a->extra->ops[i].name, name))
            return false;
    return o == NULL;
}

/* The object that holds an address or a port. */
static struct object *new_holder(struct server *server, const struct resource *r, const char *name,
    cJSON *take_tree, struct error *err)
{
    char uid[UID_BYTES], now[TIME_TEXT_BYTES];
    struct object *next;
    autojson cJSON *tree = take_tree;
    json_set_string_at(tree, "metadata.name", name);
    json_set_string_at(tree, "metadata.uid", uid_random(server->env, uid));
    json_set_string_at(
        tree, "metadata.creationTimestamp", time_print_s(env_wall_ns(server->env), now));
    schema_normalise(r->schema, tree);
    return object_new(r, tree, &next, err) < 0 ? NULL : next;
}

static int hold(struct allocation *a, const struct resource *r, const char *name, cJSON *take_tree,
    struct error *err)
{
    if (a->extra->count == ARRAY_COUNT(a->extra->ops)) {
        cJSON_Delete(take_tree);
        return error_set(err, ERR_TOO_LARGE,
            "a Service may have at most %zu addresses and node ports", ARRAY_COUNT(a->extra->ops));
    }
    struct object *next = new_holder(a->w->server, r, name, take_tree, err);
    if (!next)
        return -err->code;
    a->extra->ops[a->extra->count++] = (struct write_op){
        .resource = r, .name = str_of(arena_strdup(a->w->arena, str_of(name))), .next = next};
    return 0;
}

static void release(struct allocation *a, const struct resource *r, const char *name)
{
    struct object *base = cache_newest(a->w->cache, r, (struct str){0}, str_of(name));
    for (size_t i = 0; base && i < a->extra->count; i++)
        if (a->extra->ops[i].resource == r && str_eqc(a->extra->ops[i].name, name))
            object_unref(steal(&base));
    if (!base)
        return;
    if (a->extra->count == ARRAY_COUNT(a->extra->ops)) {
        object_unref(base);
        return; /* more than one group holds; the next start gives it back */
    }
    a->extra->ops[a->extra->count++] = (struct write_op){
        .resource = r, .name = str_of(arena_strdup(a->w->arena, str_of(name))), .base = base};
}

/* --- cluster IPs --- */

static cJSON *address_tree(const cJSON *service, const char *ip)
{
    const cJSON *metadata = json_get(service, "metadata");
    return json_make("{\"metadata\":{\"labels\":{\"ipaddress.kubernetes.io/ip-family\":\"%s\","
                     "\"ipaddress.kubernetes.io/managed-by\":\"ipallocator.k8s.io\"}},\"spec\":{"
                     "\"parentRef\":{\"group\":\"\",\"resource\":\"services\","
                     "\"namespace\":\"%s\",\"name\":\"%s\"}}}",
        ip_family_name(ip_family(ip)), json_string(metadata, "namespace"),
        json_string(metadata, "name"));
}

/* All ranges of a family: the flag's, then those that ServiceCIDR objects add. */
struct family_ranges {
    struct service_range *at;
    size_t count;
};

static void add_ranges(
    const struct object *cidr, int family, struct family_ranges *all, size_t room)
{
    autojson cJSON *tree = object_tree(cidr);
    const cJSON *item;
    struct error ignored;
    cJSON_ArrayForEach(item, json_path(tree, "spec.cidrs"))
    {
        struct service_range *r = &all->at[all->count];
        if (all->count < room && cJSON_IsString(item) &&
            service_range_parse(str_of(item->valuestring), r, &ignored) == 0 && r->family == family)
            all->count++;
    }
}

static struct family_ranges ranges_of_family(
    struct allocation *a, const struct service_range *first)
{
    const struct resource *kind =
        api_find_plural(a->w->server->api, "networking.k8s.io", "servicecidrs");
    struct snapshot *s = snapshot_take(a->w->cache, kind);
    size_t room = 1 + 2 * snapshot_count(s, STR(""));
    struct family_ranges all = {arena_new_array(a->w->arena, struct service_range, room), 1};
    const struct object *o;
    struct str at = STR("");
    all.at[0] = *first;
    while ((o = snapshot_next(s, STR(""), STR(""), at))) {
        at = o->name;
        if (!o->deleting && !str_eqc(o->name, SERVICE_CIDR_OF_FLAG))
            add_ranges(o, first->family, &all, room);
    }
    snapshot_free(s);
    return all;
}

static bool choose_in(struct allocation *a, const struct service_range *range, char *text)
{
    struct env *env = a->w->server->env;
    uint64_t band = range->count / 16, at = 0;
    band = band > STATIC_BAND_MAX ? STATIC_BAND_MAX : band < 16 ? 0 : band;
    for (uint64_t i = 0; i < range->count + TRIES_RANDOM && i < TRIES_MAX; i++) {
        at = i < TRIES_RANDOM ? band + env_random(env) % (range->count - band)
                              : (at + 1) % range->count;
        service_range_print(range, at + 1, text);
        if (is_free(a, a->addresses, text))
            return true;
    }
    return false;
}

static int choose_address(
    struct allocation *a, const struct family_ranges *ranges, char *text, struct error *err)
{
    for (size_t i = 0; i < ranges->count; i++)
        if (choose_in(a, &ranges->at[i], text))
            return 0;
    return error_set(err, ERR_INTERNAL,
        "Internal error occurred: failed to allocate a serviceIP: range is full");
}

static int check_address(
    struct allocation *a, const struct family_ranges *ranges, const char *ip, struct error *err)
{
    bool inside = false;
    struct write_context *w = a->w;
    autostrbuf struct strbuf value = STRBUF_EMPTY;
    json_print(json_path(w->tree, "spec.clusterIPs"), &value);
    for (size_t i = 0; i < ranges->count && !inside; i++)
        inside = service_range_has(&ranges->at[i], ip);
    if (!inside)
        return refuse(w, "spec.clusterIPs", value.data, err,
            "failed to allocate IP %s: the provided IP (%s) is not in the valid range. The "
            "range of valid IPs is %s",
            ip, ip, ranges->at[0].text);
    if (!is_free(a, a->addresses, ip))
        return refuse(w, "spec.clusterIPs", value.data, err,
            "failed to allocate IP %s: provided IP is already allocated", ip);
    return 0;
}

static int allocate_addresses(struct allocation *a, const cJSON *old, struct error *err)
{
    struct write_context *w = a->w;
    struct service_ranges ranges = service_ranges_of(w->server);
    cJSON *spec = json_get(w->tree, "spec"), *ips = json_get(spec, "clusterIPs");
    const cJSON *family;
    int i = 0;
    if (!cJSON_IsArray(ips)) {
        json_set(spec, "clusterIPs", cJSON_CreateArray());
        ips = json_get(spec, "clusterIPs");
    }
    cJSON_ArrayForEach(family, json_get(spec, "ipFamilies"))
    {
        int number = c_eq(family->valuestring, "IPv6") ? AF_INET6 : AF_INET;
        const struct service_range *range = service_range_of(&ranges, number);
        const cJSON *asked = cJSON_GetArrayItem(ips, i++);
        char text[IP_TEXT_BYTES];
        if (asked && service_has_text(json_path(old, "spec.clusterIPs"), asked->valuestring))
            continue;
        if (!range) /* validation has seen to it */
            return error_set(err, ERR_INTERNAL, "no range of family %s", family->valuestring);
        struct family_ranges all = ranges_of_family(a, range);
        if (asked)
            snprintf(text, sizeof(text), "%s", asked->valuestring);
        if (asked ? check_address(a, &all, text, err) < 0 : choose_address(a, &all, text, err) < 0)
            return -err->code;
        if (!asked)
            cJSON_AddItemToArray(ips, cJSON_CreateString(text));
        if (hold(a, a->addresses, text, address_tree(w->tree, text), err) < 0)
            return -err->code;
    }
    if (ips->child)
        json_set_string(spec, "clusterIP", ips->child->valuestring);
    return 0;
}

static void release_addresses(struct allocation *a, const cJSON *old, const cJSON *now)
{
    const cJSON *ip;
    bool wanted = service_wants_cluster_ip(now) && !service_has_no_ip(now);
    if (!service_wants_cluster_ip(old) || service_has_no_ip(old))
        return;
    cJSON_ArrayForEach(ip, json_path(old, "spec.clusterIPs"))
    {
        if (!wanted || !service_has_text(json_path(now, "spec.clusterIPs"), ip->valuestring))
            release(a, a->addresses, ip->valuestring);
    }
}

/* --- node ports --- */

static bool has_port(const cJSON *service, int64_t node_port)
{
    const cJSON *port;
    if (!node_port)
        return false;
    if (service_wants_health_port(service) &&
        json_int64_at(service, "spec.healthCheckNodePort", 0) == node_port)
        return true;
    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        if (json_int64_at(port, "nodePort", 0) == node_port)
            return true;
    }
    return false;
}

static cJSON *claim_tree(const cJSON *service)
{
    const cJSON *metadata = json_get(service, "metadata");
    return json_make("{\"service\":\"%s/%s\"}", json_string(metadata, "namespace"),
        json_string(metadata, "name"));
}

static const char *port_name(struct arena *arena, int64_t number)
{
    return arena_printf(arena, "%lld", (long long)number);
}

static int choose_port(struct allocation *a, int64_t *ret, struct error *err)
{
    const struct server_config *c = a->w->server->config;
    int64_t count = c->node_port_last - c->node_port_first + 1, at = 0;
    for (int64_t i = 0; i < count + TRIES_RANDOM; i++) {
        at = i < TRIES_RANDOM ? (int64_t)(env_random(a->w->server->env) % (uint64_t)count)
                              : (at + 1) % count;
        char name[24];
        snprintf(name, sizeof(name), "%lld", (long long)(c->node_port_first + at));
        if (!is_free(a, a->claims, name))
            continue;
        *ret = c->node_port_first + at;
        return 0;
    }
    return error_set(
        err, ERR_INTERNAL, "Internal error occurred: failed to allocate a nodePort: range is full");
}

/* One number: kept, checked and held, or chosen. TCP and UDP of one number share the claim. */
static int allocate_number(
    struct allocation *a, cJSON *parent, const char *member, const char *path, struct error *err)
{
    struct write_context *w = a->w;
    const struct server_config *c = w->server->config;
    int64_t number = json_int64_at(parent, member, 0);
    if (number && service_wants_node_ports(w->old) && has_port(w->old, number))
        return 0;
    if (!number) {
        if (choose_port(a, &number, err) < 0)
            return -err->code;
        json_set(parent, member, json_new_int64(number));
        return hold(a, a->claims, port_name(w->arena, number), claim_tree(w->tree), err);
    }
    const char *name = port_name(w->arena, number);
    if (number < c->node_port_first || number > c->node_port_last)
        return refuse(w, path, name, err,
            "provided port is not in the valid range. The range of valid ports is %d-%d",
            c->node_port_first, c->node_port_last);
    for (size_t i = 0; i < a->extra->count; i++)
        if (a->extra->ops[i].resource == a->claims && str_eqc(a->extra->ops[i].name, name))
            return 0;
    if (!is_free(a, a->claims, name))
        return refuse(w, path, name, err, "provided port is already allocated");
    return hold(a, a->claims, name, claim_tree(w->tree), err);
}

static bool allocates_ports(const cJSON *service)
{
    return service_wants_node_ports(service) &&
           (!service_is_type(service, "LoadBalancer") ||
               json_bool(json_get(service, "spec"), "allocateLoadBalancerNodePorts", true));
}

static int allocate_ports(struct allocation *a, struct error *err)
{
    struct write_context *w = a->w;
    cJSON *spec = json_get(w->tree, "spec"), *port;
    int i = 0;
    if (!service_wants_node_ports(w->tree))
        return 0;
    cJSON_ArrayForEach(port, json_get(spec, "ports"))
    {
        const char *path = arena_printf(w->arena, "spec.ports[%d].nodePort", i++);
        if (!json_int64_at(port, "nodePort", 0) && !allocates_ports(w->tree))
            continue;
        if (allocate_number(a, port, "nodePort", path, err) < 0)
            return -err->code;
    }
    if (!service_wants_health_port(w->tree))
        return 0;
    return allocate_number(a, spec, "healthCheckNodePort", "spec.healthCheckNodePort", err);
}

static void release_number(struct allocation *a, const cJSON *now, int64_t number)
{
    if (number && !(service_wants_node_ports(now) && has_port(now, number)))
        release(a, a->claims, port_name(a->w->arena, number));
}

static void release_ports(struct allocation *a, const cJSON *old, const cJSON *now)
{
    const cJSON *port;
    if (!service_wants_node_ports(old))
        return;
    cJSON_ArrayForEach(port, json_path(old, "spec.ports"))
        release_number(a, now, json_int64_at(port, "nodePort", 0));
    if (service_wants_health_port(old))
        release_number(a, now, json_int64_at(old, "spec.healthCheckNodePort", 0));
}

int service_hold(struct write_context *w, struct extra_writes *extra, struct error *err)
{
    struct allocation a = allocation_of(w->server, w, extra);
    const struct object_write *o = container_of(w, struct object_write, context);
    const cJSON *old = w->kind == WRITE_CREATE ? NULL : w->old;
    bool removed = o->deleted || (w->tree && old && is_deletion_complete(o));
    const cJSON *now = removed ? NULL : w->tree;
    if (!now && !removed)
        return 0; /* only marked for deletion */
    release_addresses(&a, old, now);
    release_ports(&a, old, now);
    if (!now)
        return 0;
    if (service_wants_cluster_ip(now) && !service_has_no_ip(now) &&
        allocate_addresses(&a, service_has_no_ip(old) ? NULL : old, err) < 0)
        return -err->code;
    return allocate_ports(&a, err);
}

/* --- repair --- */

struct repair {
    struct server *server;
    struct lock lock;
    struct cond done;
    struct write write;
    struct write_op op;
    bool finished;
};

static void repaired(struct write *write)
{
    struct repair *r = container_of(write, struct repair, write);
    env_lock(r->server->env, &r->lock);
    r->finished = true;
    env_signal(r->server->env, &r->done);
    env_unlock(r->server->env, &r->lock);
}

/* A write of one key, to its end. That somebody was faster is fine. */
static void write_one(struct repair *r, struct write_op op)
{
    r->op = op;
    r->write = (struct write){.ops = &r->op, .op_count = 1, .done = repaired};
    r->finished = false;
    cache_submit(r->server->cache, &r->write);
    env_lock(r->server->env, &r->lock);
    while (!r->finished)
        env_wait_until(r->server->env, &r->done, &r->lock, ENV_FOREVER);
    env_unlock(r->server->env, &r->lock);
    object_unref(r->op.result);
    object_unref(op.base);
    object_unref(op.next);
}

static struct object *service_named(struct server *server, const char *namespace_, const char *name)
{
    return cache_newest(server->cache, api_find_plural(server->api, "", "services"),
        str_of(namespace_ ? namespace_ : ""), str_of(name ? name : ""));
}

static bool is_held(struct server *server, const struct object *holder, bool address)
{
    autojson cJSON *tree = object_tree(holder);
    autofree char *own = str_dup(holder->name);
    const char *whole = json_string(tree, "service"), *slash = whole ? strchr(whole, '/') : NULL;
    autofree char *ns = slash ? str_dup(str_range(whole, (size_t)(slash - whole))) : NULL;
    struct error ignored;
    int64_t number = 0;
    struct object *o = address
                           ? service_named(server, json_string_at(tree, "spec.parentRef.namespace"),
                                 json_string_at(tree, "spec.parentRef.name"))
                           : service_named(server, ns, slash ? slash + 1 : "");
    if (!o)
        return false;
    autojson cJSON *service = object_tree(o);
    object_unref(o);
    if (address)
        return service_wants_cluster_ip(service) &&
               service_has_text(json_path(service, "spec.clusterIPs"), own);
    return str_parse_int64(str_of(own), &number, &ignored) == 0 &&
           service_wants_node_ports(service) && has_port(service, number);
}

/* Only what this server's kind made: others may keep addresses for themselves. */
static bool is_ours(const struct object *holder, bool address)
{
    return !address || c_eq(object_label_get(holder, "ipaddress.kubernetes.io/managed-by"),
                           "ipallocator.k8s.io");
}

static size_t give_back(struct repair *r, const struct resource *kind, bool address)
{
    struct snapshot *s = snapshot_take(r->server->cache, kind);
    const struct object *o;
    struct str at = STR("");
    size_t count = 0;
    while ((o = snapshot_next(s, STR(""), STR(""), at))) {
        at = o->name;
        if (!is_ours(o, address) || is_held(r->server, o, address))
            continue;
        write_one(r, (struct write_op){.resource = kind, .name = o->name, .base = object_ref(o)});
        count++;
    }
    snapshot_free(s);
    return count;
}

static size_t hold_missing(
    struct repair *r, const struct resource *kind, const char *name, cJSON *take_tree)
{
    struct error err;
    struct object *had = cache_newest(r->server->cache, kind, (struct str){0}, str_of(name));
    struct object *next = had ? NULL : new_holder(r->server, kind, name, steal(&take_tree), &err);
    cJSON_Delete(take_tree);
    object_unref(had);
    if (!next)
        return 0;
    write_one(r, (struct write_op){.resource = kind, .name = str_of(name), .next = next});
    return 1;
}

static size_t hold_of(struct repair *r, const struct allocation *a, const cJSON *service)
{
    const cJSON *item;
    size_t count = 0;
    char name[24];
    if (service_wants_cluster_ip(service) && !service_has_no_ip(service))
        cJSON_ArrayForEach(item, json_path(service, "spec.clusterIPs")) count += hold_missing(
            r, a->addresses, item->valuestring, address_tree(service, item->valuestring));
    if (!service_wants_node_ports(service))
        return count;
    cJSON_ArrayForEach(item, json_path(service, "spec.ports"))
    {
        int64_t number = json_int64_at(item, "nodePort", 0);
        snprintf(name, sizeof(name), "%lld", (long long)number);
        if (number)
            count += hold_missing(r, a->claims, name, claim_tree(service));
    }
    return count;
}

void service_repair(struct server *server)
{
    struct repair r = {.server = server};
    struct allocation a = allocation_of(server, NULL, NULL);
    const struct resource *services = api_find_plural(server->api, "", "services");
    struct str ns = STR(""), name = STR("");
    const struct object *o;
    env_lock_init(&r.lock);
    env_cond_init(&r.done);
    size_t given = give_back(&r, a.addresses, true) + give_back(&r, a.claims, false), held = 0;
    struct snapshot *s = snapshot_take(server->cache, services);
    while ((o = snapshot_next(s, STR(""), ns, name))) {
        autojson cJSON *service = object_tree(o);
        ns = o->namespace_;
        name = o->name;
        held += hold_of(&r, &a, service);
    }
    snapshot_free(s);
    env_cond_done(&r.done);
    env_lock_done(&r.lock);
    if (given + held > 0)
        log_warning("addresses and node ports of Services repaired", "given_back", "%zu", given,
            "held", "%zu", held, NULL);
}
