/*
 * Zone: from a name to its records. See zone.h.
 *
 * A step of an answer works on one name ("now"): the question's, then the target of each CNAME in
 * the zone. For each, `exists` is set as soon as the name is known to exist; records are added when
 * their type is asked for.
 */
#include "dns/zone.h"

#include <arpa/inet.h>

#define CNAMES_MAX 8

struct answer {
    const struct zone *zone;
    const struct dns_query *query;
    struct dns_writer *w;
    uint64_t random;
    struct dns_name now;
    bool exists;
    size_t records;
    struct dns_name next; /* target of a CNAME */
    bool has_next;
};

struct address {
    bool v6;
    uint8_t bytes[16];
};

static bool parse_address(const char *text, struct address *ret)
{
    ret->v6 = strchr(text, ':') != NULL;
    return inet_pton(ret->v6 ? AF_INET6 : AF_INET, text, ret->bytes) == 1;
}

static bool asks_for(const struct answer *a, enum dns_type type)
{
    return a->query->type == type || a->query->type == DNS_ANY;
}

static void put_address(struct answer *a, const struct dns_name *owner, const struct address *ip)
{
    if (ip->v6)
        dns_put_aaaa(a->w, owner, ZONE_TTL_SECONDS, ip->bytes);
    else
        dns_put_a(a->w, owner, ZONE_TTL_SECONDS, ip->bytes);
}

static void answer_address(struct answer *a, const struct address *ip)
{
    if (!asks_for(a, ip->v6 ? DNS_AAAA : DNS_A))
        return;
    put_address(a, &a->now, ip);
    a->records++;
}

/* Calls fn for each endpoint of a service that names may point to. */
struct endpoint {
    const struct dns_slice *slice;
    struct address ip;
    char host[64]; /* its label below the service's name */
};
typedef void endpoint_fn(struct answer *a, const struct endpoint *e, void *arg);

/* 10.0.0.1 -> 10-0-0-1, fe80::1 -> fe80--1 */
static void dashed(const char *ip, char *buf, size_t n)
{
    snprintf(buf, n, "%s", ip);
    for (char *c = buf; *c; c++)
        if (*c == '.' || *c == ':')
            *c = '-';
}

static bool read_endpoint(const struct dns_slice *slice, const struct dns_endpoint *from,
    bool also_unready, struct endpoint *ret)
{
    bool ready = !from->ready.set || from->ready.value;

    if ((!ready && !also_unready) || !from->addresses.count ||
        !parse_address(from->addresses.strings[0], &ret->ip))
        return false;
    ret->slice = slice;
    if (from->hostname[0])
        snprintf(ret->host, sizeof(ret->host), "%s", from->hostname);
    else
        dashed(from->addresses.strings[0], ret->host, sizeof(ret->host));
    return true;
}

static void each_endpoint(struct answer *a, const struct dns_service *s, endpoint_fn *fn, void *arg)
{
    autofree char *key = str_format("%s/%s", s->meta.namespace_, s->meta.name);
    struct projected_array slices = a->zone->source.slices(a->zone->source.arg, key);
    size_t total = 0, skip, at = 0;
    struct endpoint e;

    for (size_t i = 0; i < slices.count; i++)
        total += ((const struct dns_slice *)slices.objects[i])->endpoints.count;
    skip = total ? a->random % total : 0;
    /* Two rounds from a random start, so that clients that take the first address spread. */
    for (int round = 0; round < 2; round++) {
        at = 0;
        for (size_t i = 0; i < slices.count; i++) {
            const struct dns_slice *slice = slices.objects[i];
            const struct dns_endpoint *list = slice->endpoints.items;
            for (size_t k = 0; k < slice->endpoints.count; k++, at++)
                if ((at >= skip) == (round == 0) &&
                    read_endpoint(slice, &list[k], s->publish_not_ready, &e))
                    fn(a, &e, arg);
        }
    }
    projected_array_done(&slices);
}

static void add_endpoint_address(struct answer *a, const struct endpoint *e, void *arg)
{
    answer_address(a, &e->ip);
}

struct wanted_host {
    struct str host;
};

static void add_named_endpoint(struct answer *a, const struct endpoint *e, void *arg)
{
    const struct wanted_host *wanted = arg;

    if (!str_eq_nocase(wanted->host, str_of(e->host)))
        return;
    a->exists = true;
    answer_address(a, &e->ip);
}

static bool is_headless(const struct dns_service *s)
{
    return c_eq(s->cluster_ip, "None");
}

static bool service_name(
    const struct answer *a, const struct dns_service *s, const char *host, struct dns_name *ret)
{
    autostrbuf struct strbuf text;

    strbuf_init(&text, 0);
    if (host)
        strbuf_addf(&text, "%s.", host);
    strbuf_addf(&text, "%s.%s.svc.", s->meta.name, s->meta.namespace_);
    dns_name_print(&a->zone->name, &text);
    return dns_name_of(text.data, ret);
}

struct srv_request {
    const struct dns_service *service;
    struct str port, protocol; /* empty: all named ports */
};

static bool port_matches(const struct srv_request *r, const struct dns_service_port *p)
{
    struct str protocol = str_of(p->protocol[0] ? p->protocol : "TCP");

    if (!p->name[0])
        return false;
    return !r->port.n ||
           (str_eq_nocase(r->port, str_of(p->name)) && str_eq_nocase(r->protocol, protocol));
}

static void add_srv(struct answer *a, const struct dns_name *target, int64_t port)
{
    dns_put_srv(a->w, &a->now, ZONE_TTL_SECONDS, 100, (uint16_t)port, target);
    a->records++;
}

static void add_endpoint_srv(struct answer *a, const struct endpoint *e, void *arg)
{
    const struct srv_request *r = arg;
    const struct dns_service_port *ports = e->slice->ports.items;
    struct dns_name target;

    for (size_t i = 0; i < e->slice->ports.count; i++) {
        if (!port_matches(r, &ports[i]) || !service_name(a, r->service, e->host, &target))
            continue;
        a->exists = true;
        if (asks_for(a, DNS_SRV))
            add_srv(a, &target, ports[i].port);
    }
}

static void add_endpoint_glue(struct answer *a, const struct endpoint *e, void *arg)
{
    const struct dns_service *s = arg;
    struct dns_name owner;

    if (service_name(a, s, e->host, &owner))
        put_address(a, &owner, &e->ip);
}

static size_t cluster_ips(const struct dns_service *s, struct address ips[2])
{
    size_t n = 0;

    for (size_t i = 0; i < s->cluster_ips.count && n < 2; i++)
        n += parse_address(s->cluster_ips.strings[i], &ips[n]);
    if (!n && s->cluster_ip[0])
        n += parse_address(s->cluster_ip, &ips[n]);
    return n;
}

/* SRV records of a service; the addresses of their targets follow as additional records. */
static void answer_srv(struct answer *a, const struct srv_request *r)
{
    const struct dns_service *s = r->service;
    const struct dns_service_port *ports = s->ports.items;
    struct dns_name target;
    struct address ips[2];

    if (is_headless(s)) {
        each_endpoint(a, s, add_endpoint_srv, (void *)r);
    } else if (service_name(a, s, NULL, &target)) {
        for (size_t i = 0; i < s->ports.count; i++) {
            if (!port_matches(r, &ports[i]))
                continue;
            a->exists = true;
            if (asks_for(a, DNS_SRV))
                add_srv(a, &target, ports[i].port);
        }
    }
    if (!a->records || a->query->type != DNS_SRV)
        return;
    dns_writer_section(a->w, DNS_ADDITIONAL);
    if (is_headless(s))
        each_endpoint(a, s, add_endpoint_glue, (void *)s);
    size_t n = is_headless(s) ? 0 : cluster_ips(s, ips);
    for (size_t i = 0; i < n; i++)
        put_address(a, &target, &ips[i]);
}

static void answer_service(struct answer *a, const struct dns_service *s)
{
    struct address ips[2];

    a->exists = true;
    if (c_eq(s->type, "ExternalName")) {
        if (!dns_name_of(s->external_name, &a->next))
            return;
        dns_put_name(a->w, &a->now, DNS_CNAME, ZONE_TTL_SECONDS, &a->next);
        a->records++;
        a->has_next = a->query->type != DNS_CNAME && a->query->type != DNS_ANY;
        return;
    }
    if (is_headless(s)) {
        each_endpoint(a, s, add_endpoint_address, NULL);
    } else {
        size_t n = cluster_ips(s, ips);
        for (size_t i = 0; i < n; i++)
            answer_address(a, &ips[i]);
    }
    if (a->query->type == DNS_SRV)
        answer_srv(a, &(struct srv_request){.service = s});
}

static bool strip_underscore(struct str *label)
{
    if (!label->n || label->p[0] != '_')
        return false;
    *label = str_range(label->p + 1, label->n - 1);
    return true;
}

/* labels: what stands in front of SERVICE.NS.svc. */
static void answer_below_service(
    struct answer *a, const struct dns_service *s, struct str *labels, size_t n)
{
    struct srv_request srv = {.service = s};

    if (c_eq(s->type, "ExternalName"))
        return;
    if (n == 2) {
        srv.port = labels[0];
        srv.protocol = labels[1];
        if (strip_underscore(&srv.port) && strip_underscore(&srv.protocol))
            answer_srv(a, &srv);
        return;
    }
    if (labels[0].n && labels[0].p[0] == '_') { /* _tcp alone: names exist below it */
        a->exists = true;
        return;
    }
    each_endpoint(a, s, add_named_endpoint, &(struct wanted_host){labels[0]});
}

/* Bytes that no name of ours has (a NUL, a dot inside of a label) become '?', so that they match
 * nothing. */
static void lower_text(struct str label, char buf[64])
{
    for (size_t i = 0; i < label.n; i++) {
        char c = label.p[i];
        if (c >= 'A' && c <= 'Z')
            c += 32;
        buf[i] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ? c : '?';
    }
    buf[label.n] = '\0';
}

static void answer_svc(struct answer *a, struct str *labels, size_t n)
{
    const struct zone_source *source = &a->zone->source;
    char namespace_[64], name[64];

    if (!n) {
        a->exists = true;
        return;
    }
    lower_text(labels[n - 1], namespace_);
    if (n == 1) {
        a->exists = source->has_namespace(source->arg, namespace_);
        return;
    }
    if (n > 4)
        return;
    lower_text(labels[n - 2], name);
    const struct dns_service *s = source->service(source->arg, namespace_, name);
    if (!s)
        return;
    if (n == 2)
        answer_service(a, s);
    else
        answer_below_service(a, s, labels, n - 2);
    projected_unref(s);
}

/* "10-0-0-1" or "fe80--1"; IPv6 when it is no IPv4 address. */
static bool parse_dashed(struct str label, struct address *ret)
{
    char text[64];

    for (int v6 = 0; v6 < 2; v6++) {
        lower_text(label, text);
        for (char *c = text; *c; c++)
            if (*c == '-')
                *c = v6 ? ':' : '.';
        if (parse_address(text, ret))
            return true;
    }
    return false;
}

static void answer_pod(struct answer *a, struct str *labels, size_t n)
{
    struct address ip;

    a->exists = n < 2;
    if (n != 2 || !parse_dashed(labels[0], &ip))
        return;
    a->exists = true;
    answer_address(a, &ip);
}

static void put_soa(struct answer *a, enum dns_section section)
{
    struct dns_name primary, contact;
    autostrbuf struct strbuf zone;

    strbuf_init(&zone, 0);
    dns_name_print(&a->zone->name, &zone);
    autofree char *ns = str_format("ns.dns.%s", zone.data);
    autofree char *mail = str_format("hostmaster.%s", zone.data);
    if (!dns_name_of(ns, &primary) || !dns_name_of(mail, &contact))
        return;
    dns_writer_section(a->w, section);
    dns_put_soa(a->w, &a->zone->name, ZONE_TTL_SECONDS, &primary, &contact,
        a->zone->source.serial(a->zone->source.arg));
}

static void answer_apex(struct answer *a)
{
    struct dns_name target;
    autostrbuf struct strbuf text;

    a->exists = true;
    if (asks_for(a, DNS_SOA)) {
        put_soa(a, DNS_ANSWER);
        a->records++;
    }
    strbuf_init(&text, 0);
    strbuf_addc(&text, "ns.dns.");
    dns_name_print(&a->zone->name, &text);
    if (asks_for(a, DNS_NS) && dns_name_of(text.data, &target)) {
        dns_put_name(a->w, &a->now, DNS_NS, ZONE_TTL_SECONDS, &target);
        a->records++;
    }
}

static void answer_server(struct answer *a, size_t n)
{
    struct address ip = {.v6 = false};

    a->exists = true;
    memcpy(ip.bytes, a->zone->address, 4);
    if (n == 2 && memcmp(ip.bytes, "\0\0\0\0", 4) != 0)
        answer_address(a, &ip);
}

/* labels: the n in front of the zone's name. */
static void answer_name(struct answer *a, struct str *labels, size_t n)
{
    struct str last = n ? labels[n - 1] : STR("");

    if (!n) {
        answer_apex(a);
    } else if (str_eq_nocase(last, STR("svc"))) {
        answer_svc(a, labels, n - 1);
    } else if (str_eq_nocase(last, STR("pod"))) {
        answer_pod(a, labels, n - 1);
    } else if (n == 1 && str_eq_nocase(last, STR("dns-version"))) {
        a->exists = true;
        if (asks_for(a, DNS_TXT)) {
            dns_put_txt(a->w, &a->now, ZONE_TTL_SECONDS, "1.1.0");
            a->records++;
        }
    } else if (str_eq_nocase(last, STR("dns")) &&
               (n == 1 || (n == 2 && str_eq_nocase(labels[0], STR("ns"))))) {
        answer_server(a, n);
    }
}

/* The address a reverse name stands for: 4 labels under in-addr.arpa, 32 nibbles under ip6.arpa. */
static bool reverse_address(const struct dns_name *name, char *buf, size_t bytes)
{
    struct str l[DNS_LABELS_MAX];
    struct in6_addr v6 = {0};
    size_t n = dns_name_labels(name, l);

    if (n == 6 && str_eq_nocase(l[4], STR("in-addr")) && str_eq_nocase(l[5], STR("arpa"))) {
        struct address ip;
        snprintf(buf, bytes, "%.*s.%.*s.%.*s.%.*s", STR_FMT(l[3]), STR_FMT(l[2]), STR_FMT(l[1]),
            STR_FMT(l[0]));
        return parse_address(buf, &ip);
    }
    if (n != 34 || !str_eq_nocase(l[32], STR("ip6")) || !str_eq_nocase(l[33], STR("arpa")))
        return false;
    for (size_t i = 0; i < 32; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *d = l[i].n == 1 ? strchr(digits, l[i].p[0] | 0x20) : NULL;
        if (!d || !*d)
            return false;
        v6.s6_addr[15 - i / 2] |= (uint8_t)((d - digits) << (i % 2 * 4));
    }
    return inet_ntop(AF_INET6, &v6, buf, (socklen_t)bytes) != NULL;
}

static void answer_reverse(struct answer *a, const char *ip)
{
    const struct zone_source *source = &a->zone->source;
    struct projected_array services = source->services_by_ip(source->arg, ip);
    struct projected_array slices = source->slices_by_ip(source->arg, ip);
    struct dns_name target;

    for (size_t i = 0; i < services.count; i++) {
        a->exists = true;
        if (!asks_for(a, DNS_PTR) || !service_name(a, services.objects[i], NULL, &target))
            continue;
        dns_put_name(a->w, &a->now, DNS_PTR, ZONE_TTL_SECONDS, &target);
        a->records++;
    }
    for (size_t i = 0; i < slices.count; i++) {
        const struct dns_slice *slice = slices.objects[i];
        const struct dns_endpoint *list = slice->endpoints.items;
        const char *name = string_map_get(&slice->meta.labels, SERVICE_NAME_LABEL);
        const struct dns_service *s =
            name ? source->service(source->arg, slice->meta.namespace_, name) : NULL;
        for (size_t k = 0; s && k < slice->endpoints.count; k++) {
            if (!list[k].addresses.count || !c_eq(list[k].addresses.strings[0], ip) ||
                !list[k].hostname[0])
                continue;
            a->exists = true;
            if (!asks_for(a, DNS_PTR) || !service_name(a, s, list[k].hostname, &target))
                continue;
            dns_put_name(a->w, &a->now, DNS_PTR, ZONE_TTL_SECONDS, &target);
            a->records++;
        }
        projected_unref(s);
    }
    projected_array_done(&services);
    projected_array_done(&slices);
}

enum zone_result zone_answer(const struct zone *zone, const struct dns_query *query,
    uint64_t random, struct dns_writer *w, struct dns_name *ret_target)
{
    struct answer a = {.zone = zone, .query = query, .w = w, .random = random, .now = query->name};
    struct str labels[DNS_LABELS_MAX];
    char ip[64];
    size_t n;

    if (reverse_address(&query->name, ip, sizeof(ip))) {
        answer_reverse(&a, ip);
        return a.exists ? ZONE_DONE : ZONE_FOREIGN;
    }
    if (!dns_name_below(&query->name, &zone->name, &n))
        return ZONE_FOREIGN;
    w->flags |= DNS_AA;
    for (int hops = 0;; hops++) {
        dns_name_labels(&a.now, labels);
        answer_name(&a, labels, n);
        if (!a.has_next || hops == CNAMES_MAX)
            break;
        if (!dns_name_below(&a.next, &zone->name, &n)) {
            *ret_target = a.next;
            return ZONE_CHASE;
        }
        a.now = a.next;
        a.has_next = a.exists = false;
        a.records = 0;
    }
    if (!a.exists)
        w->rcode = DNS_NXDOMAIN;
    if (!a.records)
        put_soa(&a, DNS_AUTHORITY);
    return ZONE_DONE;
}
