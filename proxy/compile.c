/*
 * Compile: Service and EndpointSlices to rules. See compile.h.
 */
#include "proxy/compile.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define AFFINITY_SECONDS_DEFAULT 10800

struct target {
    uint32_t addr;
    uint16_t port;
    bool local;
};

struct targets {
    struct target *items;
    size_t count, capacity;
};

static bool parse_ipv4(const char *text, uint32_t *ret)
{
    struct in_addr a;

    if (inet_pton(AF_INET, text, &a) != 1)
        return false;
    *ret = ntohl(a.s_addr);
    return true;
}

static uint8_t protocol_number(const char *protocol)
{
    if (c_eq(protocol, "UDP"))
        return IPPROTO_UDP;
    if (c_eq(protocol, "SCTP"))
        return IPPROTO_SCTP;
    return IPPROTO_TCP;
}

static bool is_port(int64_t port)
{
    return port > 0 && port <= UINT16_MAX;
}

static int compare_targets(const void *pa, const void *pb)
{
    const struct target *a = pa, *b = pb;

    if (a->addr != b->addr)
        return a->addr < b->addr ? -1 : 1;
    return (a->port > b->port) - (a->port < b->port);
}

static void add_target(struct targets *t, const struct target *one)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 8;
        t->items = xrealloc(t->items, t->capacity * sizeof(*t->items));
    }
    t->items[t->count++] = *one;
}

/* A nil ready counts as ready; serving defaults to ready. */
static bool is_wanted(const struct slice_endpoint *e, bool terminating)
{
    bool ready = !e->ready.set || e->ready.value;

    if (!terminating)
        return ready;
    return (e->serving.set ? e->serving.value : ready) && e->terminating.value;
}

static void collect_slice(const struct endpoint_slice *slice, const struct service_port *port,
    const char *node, bool terminating, struct targets *out)
{
    const struct slice_port *ports = slice->ports.items;
    const struct slice_endpoint *endpoints = slice->endpoints.items;

    for (size_t p = 0; p < slice->ports.count; p++) {
        if (!c_eq(ports[p].name, port->name) || !is_port(ports[p].port) ||
            protocol_number(ports[p].protocol) != protocol_number(port->protocol))
            continue;
        for (size_t i = 0; i < slice->endpoints.count; i++) {
            struct target one = {
                .port = (uint16_t)ports[p].port,
                .local = c_eq(endpoints[i].node_name, node),
            };
            if (is_wanted(&endpoints[i], terminating) && endpoints[i].addresses.count &&
                parse_ipv4(endpoints[i].addresses.strings[0], &one.addr))
                add_target(out, &one);
        }
    }
}

static void sort_unique(struct targets *t)
{
    size_t n = 0;

    if (t->count)
        qsort(t->items, t->count, sizeof(*t->items), compare_targets);
    for (size_t i = 0; i < t->count; i++)
        if (!n || compare_targets(&t->items[n - 1], &t->items[i]) != 0)
            t->items[n++] = t->items[i];
    t->count = n;
}

/* The endpoints traffic may go to: ready ones, else serving ones that terminate; local: on this
 * node only. */
static struct targets pick_targets(const struct endpoint_slice *const *slices, size_t slice_count,
    const struct service_port *port, const char *node, bool local)
{
    struct targets t = {0};

    for (int terminating = 0; terminating < 2 && !t.count; terminating++) {
        for (size_t i = 0; i < slice_count; i++)
            if (c_eq(slices[i]->address_type, "IPv4"))
                collect_slice(slices[i], port, node, terminating, &t);
        size_t n = 0;
        for (size_t i = 0; i < t.count; i++)
            if (!local || t.items[i].local)
                t.items[n++] = t.items[i];
        t.count = n;
    }
    sort_unique(&t);
    return t;
}

/* One entrance of a service port: where it is, and what follows. */
struct entrance {
    uint32_t addr; /* 0: a node port */
    uint16_t port;
    uint8_t protocol;
    uint8_t kind; /* enum chain_kind */
    uint32_t affinity_seconds;
};

static void add_rule(struct rules *out, struct rule_key key, struct rule_value value)
{
    rules_add(out, &(struct rule){.key = key, .value = value});
}

static void add_targets(struct rules *out, const struct entrance *e, const struct targets *t)
{
    for (size_t i = 0; i < t->count; i++) {
        struct target *one = &t->items[i];
        add_rule(out,
            (struct rule_key){.map = MAP_ENDPOINTS,
                .addr = e->addr,
                .protocol = e->protocol,
                .port = e->port,
                .index = (uint32_t)i},
            (struct rule_value){.verdict = VERDICT_ENDPOINT, .addr = one->addr, .port = one->port});
        if (e->affinity_seconds)
            add_rule(out,
                (struct rule_key){.map = MAP_MEMBERS,
                    .addr = e->addr,
                    .protocol = e->protocol,
                    .port = e->port,
                    .peer = one->addr,
                    .peer_port = one->port},
                (struct rule_value){0});
        add_rule(
            out, (struct rule_key){.map = MAP_HAIRPIN, .addr = one->addr}, (struct rule_value){0});
    }
}

/* empty: what becomes of traffic when there is no endpoint. */
static void add_entrance(
    struct rules *out, const struct entrance *e, const struct targets *t, enum rule_verdict empty)
{
    bool node_port = !e->addr;
    struct rule_key key = {
        .map = t->count ? (node_port ? MAP_NODEPORTS : MAP_SERVICES)
                        : (node_port ? MAP_NO_ENDPOINTS_NODEPORTS : MAP_NO_ENDPOINTS),
        .addr = e->addr,
        .protocol = e->protocol,
        .port = e->port,
    };
    struct rule_value value = {.verdict = (uint8_t)empty};

    if (t->count) {
        value.verdict = VERDICT_CHAIN;
        value.chain.endpoints = (uint32_t)t->count;
        value.chain.affinity_seconds = e->affinity_seconds;
        value.chain.kind = e->kind;
    }
    add_rule(out, key, value);
    add_targets(out, e, t);
}

static void add_external(struct rules *out, const struct service *s, struct entrance e,
    const struct targets *t, enum rule_verdict empty)
{
    const struct ingress_ip *ingress = s->ingress.items;

    for (size_t i = 0; i < s->external_ips.count; i++)
        if (parse_ipv4(s->external_ips.strings[i], &e.addr))
            add_entrance(out, &e, t, empty);
    for (size_t i = 0; i < s->ingress.count; i++)
        if (parse_ipv4(ingress[i].ip, &e.addr))
            add_entrance(out, &e, t, empty);
}

struct compilation {
    const struct service *service;
    const struct endpoint_slice *const *slices;
    size_t slice_count;
    const char *node;
    uint32_t cluster_ip;
    uint32_t affinity_seconds;
    struct rules *out;
};

static void compile_port(const struct compilation *c, const struct service_port *port)
{
    const struct service *s = c->service;
    bool inside_local = c_eq(s->internal_policy, "Local");
    bool outside_local = c_eq(s->external_policy, "Local");
    bool has_outside = is_port(port->node_port) || s->external_ips.count || s->ingress.count;
    struct entrance e = {
        .addr = c->cluster_ip,
        .port = (uint16_t)port->port,
        .protocol = protocol_number(port->protocol),
        .kind = CHAIN_CLUSTER_IP,
        .affinity_seconds = c->affinity_seconds,
    };

    struct targets inside = pick_targets(c->slices, c->slice_count, port, c->node, inside_local);
    add_entrance(c->out, &e, &inside, inside_local ? VERDICT_DROP : VERDICT_REFUSE);
    free(inside.items);
    if (!has_outside)
        return;
    struct targets outside = pick_targets(c->slices, c->slice_count, port, c->node, outside_local);
    enum rule_verdict empty = outside_local ? VERDICT_DROP : VERDICT_REFUSE;
    e.kind = outside_local ? CHAIN_EXTERNAL_LOCAL : CHAIN_EXTERNAL;
    add_external(c->out, s, e, &outside, empty);
    if (is_port(port->node_port)) {
        e.addr = 0;
        e.port = (uint16_t)port->node_port;
        e.kind = outside_local ? CHAIN_NODEPORT_LOCAL : CHAIN_NODEPORT;
        add_entrance(c->out, &e, &outside, empty);
    }
    free(outside.items);
}

static bool find_cluster_ip(const struct service *s, uint32_t *ret)
{
    if (c_eq(s->type, "ExternalName"))
        return false;
    for (size_t i = 0; i < s->cluster_ips.count; i++)
        if (parse_ipv4(s->cluster_ips.strings[i], ret))
            return true;
    return parse_ipv4(s->cluster_ip, ret);
}

void compile_service(const struct service *service, const struct endpoint_slice *const *slices,
    size_t slice_count, const char *node, struct rules *out)
{
    const struct service_port *ports = service->ports.items;
    struct compilation c = {
        .service = service,
        .slices = slices,
        .slice_count = slice_count,
        .node = node,
        .out = out,
    };

    if (!find_cluster_ip(service, &c.cluster_ip))
        return;
    if (c_eq(service->session_affinity, "ClientIP"))
        c.affinity_seconds = service->affinity_seconds > 0 && service->affinity_seconds <= 86400
                                 ? (uint32_t)service->affinity_seconds
                                 : AFFINITY_SECONDS_DEFAULT;
    add_rule(out, (struct rule_key){.map = MAP_CLUSTER_IPS, .addr = c.cluster_ip},
        (struct rule_value){0});
    for (size_t i = 0; i < service->ports.count; i++)
        if (is_port(ports[i].port))
            compile_port(&c, &ports[i]);
}
