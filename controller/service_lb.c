/*
 * Controller "service-lb": addresses for Services of the type LoadBalancer, from a pool given by
 * --service-lb-pool. Without a pool it is off, and such Services wait for somebody else.
 *
 * An address belongs to the Service whose status names it; who has which is read from the informer
 * at each decision, by one worker, so that there is no table that could be wrong. A wish in
 * spec.loadBalancerIP is honoured when it is in the pool and free. Services with a
 * loadBalancerClass belong to others.
 *
 * Upstream: k8s.io/cloud-provider/controllers/service, with a cloud behind it.
 */
#include <arpa/inet.h>

#include "controller/manager.h"
#include "controller/status.h"

#define RANGES_MAX 16

static const char *ip_of(const struct service *s)
{
    return s->ingress.count ? ((const struct pod_ip *)s->ingress.items)->ip : "";
}

struct range {
    uint32_t first, last; /* host byte order */
};

struct pool {
    struct range ranges[RANGES_MAX];
    size_t count;
};

static bool parse_ip(struct str text, uint32_t *ret)
{
    char buf[INET_ADDRSTRLEN];
    struct in_addr in;

    if (text.n >= sizeof(buf))
        return false;
    memcpy(buf, text.p, text.n);
    buf[text.n] = '\0';
    if (inet_pton(AF_INET, buf, &in) != 1)
        return false;
    *ret = ntohl(in.s_addr);
    return true;
}

/* "192.0.2.0/28" without its first and last address, "192.0.2.10-192.0.2.20", or one address. */
static bool parse_range(struct str text, struct range *ret)
{
    struct str rest = text, first;
    int64_t bits;
    struct error ignored;

    if (str_find(text, '/') >= 0) {
        str_split(&rest, '/', &first);
        if (!parse_ip(first, &ret->first) || str_parse_int64(rest, &bits, &ignored) < 0 ||
            bits < 8 || bits > 32)
            return false;
        uint32_t size = bits == 32 ? 1 : 1u << (32 - bits);
        ret->first &= ~(size - 1);
        ret->last = ret->first + size - 1;
        if (size > 2) {
            ret->first++;
            ret->last--;
        }
        return true;
    }
    str_split(&rest, '-', &first);
    if (!parse_ip(first, &ret->first))
        return false;
    if (!rest.n) {
        ret->last = ret->first;
        return true;
    }
    return parse_ip(rest, &ret->last) && ret->last >= ret->first;
}

static int parse_pool(const char *text, struct pool *ret, struct error *err)
{
    struct str rest = str_of(text), part;

    while (str_split(&rest, ',', &part)) {
        part = str_trim(part);
        if (ret->count == RANGES_MAX || !parse_range(part, &ret->ranges[ret->count]))
            return error_set(err, ERR_USAGE,
                "--service-lb-pool: \"%.*s\" is no IPv4 range (192.0.2.0/28, 192.0.2.1-192.0.2.9)",
                STR_FMT(part));
        ret->count++;
    }
    return 0;
}

static bool has_address(const struct pool *p, uint32_t ip)
{
    for (size_t i = 0; i < p->count; i++)
        if (ip >= p->ranges[i].first && ip <= p->ranges[i].last)
            return true;
    return false;
}

static int cmp_ip(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Addresses of other Services, sorted; heap. */
static uint32_t *taken_addresses(struct controller *c, const struct service *but, size_t *ret_count)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_SERVICE, NULL);
    uint32_t *taken = xcalloc(all.count + 1, sizeof(*taken));

    *ret_count = 0;
    for (size_t i = 0; i < all.count; i++) {
        const struct service *s = all.objects[i];
        if (strcmp(s->meta.uid, but->meta.uid) != 0 &&
            parse_ip(str_of(ip_of(s)), &taken[*ret_count]))
            (*ret_count)++;
    }
    qsort(taken, *ret_count, sizeof(*taken), cmp_ip);
    return taken;
}

static bool is_taken(const uint32_t *taken, size_t count, uint32_t ip)
{
    return bsearch(&ip, taken, count, sizeof(ip), cmp_ip) != NULL;
}

/* The wished one, or the lowest that is free. */
static bool choose(
    const struct pool *p, const uint32_t *taken, size_t count, const char *wish, uint32_t *ret)
{
    if (*wish)
        return parse_ip(str_of(wish), ret) && has_address(p, *ret) && !is_taken(taken, count, *ret);
    for (size_t i = 0; i < p->count; i++)
        for (uint64_t ip = p->ranges[i].first; ip <= p->ranges[i].last; ip++)
            if (!is_taken(taken, count, (uint32_t)ip)) {
                *ret = (uint32_t)ip;
                return true;
            }
    return false;
}

static int write_ingress(
    struct controller *c, const struct service *s, const char *ip_or_null, struct error *err)
{
    cJSON *patch = ip_or_null
                       ? json_make("{\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"%s\","
                                   "\"ipMode\":\"VIP\"}]}}}",
                             ip_or_null)
                       : json_make("{\"status\":{\"loadBalancer\":{\"ingress\":null}}}");
    int r = object_patch(c->m, KIND_SERVICE, &s->meta, "status", patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int give_address(struct controller *c, const struct service *s, struct error *err)
{
    size_t count;
    autofree uint32_t *taken = taken_addresses(c, s, &count);
    char text[INET_ADDRSTRLEN];
    uint32_t ip;

    if (!choose(c->state, taken, count, s->lb_wish, &ip)) {
        controller_event(c, KIND_SERVICE, &s->meta, EVENT_WARNING, "SyncLoadBalancerFailed",
            *s->lb_wish ? "Error syncing load balancer: %s is not free in the pool"
                        : "Error syncing load balancer: no address left in the pool%s",
            s->lb_wish);
        return 0;
    }
    struct in_addr in = {htonl(ip)};
    inet_ntop(AF_INET, &in, text, sizeof(text));
    if (write_ingress(c, s, text, err) < 0)
        return -(int)err->code;
    controller_event(
        c, KIND_SERVICE, &s->meta, EVENT_NORMAL, "EnsuredLoadBalancer", "Ensured load balancer");
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct service *s = kind_get_key(c->m, KIND_SERVICE, key);
    uint32_t ip;

    if (!s || s->meta.deletion_ns)
        return 0;
    bool has = parse_ip(str_of(ip_of(s)), &ip) && has_address(c->state, ip);
    bool wants = !strcmp(s->type, "LoadBalancer") && !*s->lb_class;
    bool fits = !*s->lb_wish || !strcmp(s->lb_wish, ip_of(s));
    if (has && !wants && !*s->lb_class)
        return write_ingress(c, s, NULL, err);
    if (!wants || (has && fits) || (*ip_of(s) && !has))
        return 0;
    return give_address(c, s, err);
}

/* One that goes may make room for those that wait. */
static void on_service(struct controller *c, const void *old_object, const void *new_object)
{
    const struct service *old = old_object, *now = new_object;

    if (now)
        controller_add(c, &now->meta);
    if (!old || !*ip_of(old) || (now && !strcmp(ip_of(old), ip_of(now))))
        return;
    auto_objects struct projected_array all = kind_list(c->m, KIND_SERVICE, NULL);
    for (size_t i = 0; i < all.count; i++) {
        const struct service *s = all.objects[i];
        if (!strcmp(s->type, "LoadBalancer") && !*ip_of(s))
            controller_add(c, &s->meta);
    }
}

static bool wanted(const struct manager_config *config)
{
    return config->service_lb_pool && *config->service_lb_pool;
}

static int start(struct controller *c, struct error *err)
{
    struct pool *p = xcalloc(1, sizeof(*p));

    if (parse_pool(manager_config(c->m)->service_lb_pool, p, err) < 0) {
        free(p);
        return -(int)err->code;
    }
    c->state = p;
    return 0;
}

static void stop(struct controller *c)
{
    free(c->state);
}

const struct controller_info controller_service_lb = {
    .name = "service-lb-controller",
    .component = "service-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_SERVICE, on_service}},
    .reconcile = reconcile,
    .wanted = wanted,
    .start = start,
    .stop = stop,
};
