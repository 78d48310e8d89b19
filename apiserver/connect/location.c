/*
 * Where a request goes: kubelets by their Node's status, pods by their IP, services by their
 * EndpointSlices.
 *
 * Upstream: registry/core/pod/strategy.go (ResourceLocation), service/storage (ResourceLocation),
 * node/strategy.go, apimachinery/pkg/util/proxy (IsProxyableIP).
 */
#include "apiserver/connect/internal.h"

#include <arpa/inet.h>

#include "apiserver/cache/cache.h"
#include "apiserver/server.h"

#define KUBELET_PORT 10250
#define SLICES_MAX 1000

enum stage_result location_object(
    struct request *q, const char *plural, const char *namespace_, const char *name, cJSON **ret)
{
    const struct resource *r = api_find_plural(q->server->api, "", plural);
    struct object *o = cache_get(q->server->cache, r, str_of(namespace_), str_of(name));

    if (!o)
        return request_not_found(q, r, name);
    *ret = object_tree(o);
    object_unref(o);
    return STAGE_DONE;
}

void location_add_host(const struct location *to, struct strbuf *out)
{
    bool v6 = strchr(to->address, ':');

    strbuf_addf(out, "%s%s%s:%d", v6 ? "[" : "", to->address, v6 ? "]" : "", to->port);
}

/* --- addresses --- */

static bool is_proxyable_v4(const unsigned char *a)
{
    bool is_loopback = a[0] == 127, is_unspecified = a[0] == 0;
    bool is_link_local = (a[0] == 169 && a[1] == 254) || (a[0] == 224 && a[1] == 0 && a[2] == 0);

    return !is_loopback && !is_unspecified && !is_link_local;
}

static bool is_proxyable(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, address, &v4) == 1)
        return is_proxyable_v4((const unsigned char *)&v4);
    if (inet_pton(AF_INET6, address, &v6) != 1)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&v6) || IN6_IS_ADDR_V4COMPAT(&v6))
        return is_proxyable_v4(v6.s6_addr + 12);
    return !IN6_IS_ADDR_LOOPBACK(&v6) && !IN6_IS_ADDR_UNSPECIFIED(&v6) &&
           !IN6_IS_ADDR_LINKLOCAL(&v6) && !IN6_IS_ADDR_MC_LINKLOCAL(&v6) &&
           !IN6_IS_ADDR_MC_NODELOCAL(&v6);
}

/* A literal, or nothing: names would be resolved a second time by the connection. */
static bool set_address(struct location *to, const char *address)
{
    struct in6_addr any;

    if (!address || strlen(address) >= sizeof(to->address) ||
        (inet_pton(AF_INET, address, &any) != 1 && inet_pton(AF_INET6, address, &any) != 1))
        return false;
    snprintf(to->address, sizeof(to->address), "%s", address);
    return true;
}

static enum stage_result not_allowed(struct request *q)
{
    return request_fail(q, ERR_BAD_REQUEST, "address not allowed");
}

/* --- nodes --- */

static const char *address_of(const cJSON *node, const char *type)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_path(node, "status.addresses"))
    {
        if (c_eq(json_string(item, "type"), type))
            return json_string(item, "address");
    }
    return NULL;
}

bool location_of_node(const cJSON *node, struct location *ret)
{
    *ret = (struct location){.tls = true, .kubelet = true};
    ret->port =
        (int)json_int64_at(node, "status.daemonEndpoints.kubeletEndpoint.Port", KUBELET_PORT);
    return set_address(ret, address_of(node, "InternalIP")) ||
           set_address(ret, address_of(node, "ExternalIP"));
}

enum stage_result location_kubelet(struct request *q, const char *node_name, struct location *ret)
{
    autojson cJSON *node = NULL;

    if (location_object(q, "nodes", "", node_name, &node) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!location_of_node(node, ret))
        return request_fail(q, ERR_INTERNAL,
            "Internal error occurred: no preferred addresses found; known addresses: []");
    return STAGE_DONE;
}

/* --- proxied names --- */

struct proxied {
    struct str scheme, name, port; /* scheme "", "http" or "https" */
};

static bool split_name(struct str text, struct proxied *ret)
{
    struct str parts[3], part;
    size_t n = 0;

    *ret = (struct proxied){0};
    for (bool more = true; more; n++) {
        if (n == 3)
            return false;
        ssize_t colon = str_find(text, ':');
        more = colon >= 0;
        part = more ? str_range(text.p, (size_t)colon) : text;
        parts[n] = part;
        if (more)
            text = str_range(text.p + colon + 1, text.n - (size_t)colon - 1);
    }
    ret->name = n == 3 ? parts[1] : parts[0];
    ret->port = n == 3 ? parts[2] : n == 2 ? parts[1] : STR("");
    ret->scheme = n == 3 ? parts[0] : STR("");
    return ret->name.n > 0 &&
           (ret->scheme.n == 0 || str_eqc(ret->scheme, "http") || str_eqc(ret->scheme, "https"));
}

static bool read_port(struct str text, int otherwise, int *ret)
{
    struct error ignored;
    int64_t n;

    if (text.n == 0) {
        *ret = otherwise;
        return true;
    }
    if (str_parse_int64(text, &n, &ignored) < 0 || n < 1 || n > UINT16_MAX)
        return false;
    *ret = (int)n;
    return true;
}

static enum stage_result locate_node(
    struct request *q, const struct proxied *p, const char *name, struct location *ret)
{
    int port;

    if (location_kubelet(q, name, ret) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!is_proxyable(ret->address))
        return not_allowed(q);
    if (!read_port(p->port, ret->port, &port))
        return request_fail(q, ERR_BAD_REQUEST, "invalid node request \"%s\"", q->name);
    if (port == ret->port)
        return STAGE_DONE;
    ret->port = port;
    ret->kubelet = false;
    ret->tls = str_eqc(p->scheme, "https");
    return STAGE_DONE;
}

/* The first port that a container names. */
static int first_port(const cJSON *pod)
{
    const cJSON *container;

    cJSON_ArrayForEach(container, json_path(pod, "spec.containers"))
    {
        const cJSON *ports = json_get(container, "ports");
        if (cJSON_GetArraySize(ports) > 0)
            return (int)json_int64_at(ports->child, "containerPort", 0);
    }
    return 0;
}

static enum stage_result locate_pod(
    struct request *q, const struct proxied *p, const char *name, struct location *ret)
{
    autojson cJSON *pod = NULL;

    if (location_object(q, "pods", q->namespace_, name, &pod) == STAGE_ERROR)
        return STAGE_ERROR;
    *ret = (struct location){.tls = str_eqc(p->scheme, "https")};
    int otherwise = first_port(pod);
    if (!read_port(p->port, otherwise ? otherwise : ret->tls ? 443 : 80, &ret->port))
        return request_fail(q, ERR_BAD_REQUEST, "invalid pod request \"%s\"", q->name);
    if (!set_address(ret, json_string_at(pod, "status.podIP")) || !is_proxyable(ret->address))
        return not_allowed(q);
    return STAGE_DONE;
}

/* --- services --- */

/* A number is looked up and becomes the port's name; false: there is none such. */
static bool port_name(const cJSON *service, struct str asked, const char **ret, struct arena *a)
{
    const cJSON *port;
    struct error ignored;
    int64_t number;

    *ret = arena_strdup(a, asked);
    if (str_parse_int64(asked, &number, &ignored) < 0)
        return true;
    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        if (json_int64_at(port, "port", 0) == number) {
            const char *name = json_string(port, "name");
            *ret = arena_strdup(a, str_of(name));
            return true;
        }
    }
    return false;
}

static int slice_port(const cJSON *slice, const char *name)
{
    const cJSON *port;

    cJSON_ArrayForEach(port, json_get(slice, "ports"))
    {
        const char *own = json_string(port, "name"), *protocol = json_string(port, "protocol");
        if (c_eq(own ? own : "", name) && (!protocol || c_eq(protocol, "TCP")))
            return (int)json_int64_at(port, "port", 0);
    }
    return 0;
}

/* Does the endpoint belong to a pod of this namespace that has the address? Whoever may write
 * EndpointSlices must not reach strangers through us. */
static bool is_own_pod(struct request *q, const cJSON *endpoint, const char *address)
{
    const char *name = json_string_at(endpoint, "targetRef.name");
    const char *kind = json_string_at(endpoint, "targetRef.kind");
    const struct resource *pods = api_find_plural(q->server->api, "", "pods");

    if (!name || !c_eq(kind, "Pod"))
        return false;
    struct object *o = cache_get(q->server->cache, pods, str_of(q->namespace_), str_of(name));
    if (!o)
        return false;
    autojson cJSON *pod = object_tree(o);
    object_unref(o);
    const cJSON *ip;
    cJSON_ArrayForEach(ip, json_path(pod, "status.podIPs"))
    {
        if (c_eq(json_string(ip, "ip"), address))
            return true;
    }
    return c_eq(json_string_at(pod, "status.podIP"), address);
}

/* Each of the slice's ready addresses takes the place of those before with the right probability.
 */
static void choose_endpoint(
    struct request *q, const cJSON *slice, int port, size_t *seen, struct location *ret)
{
    const cJSON *endpoint;

    cJSON_ArrayForEach(endpoint, json_get(slice, "endpoints"))
    {
        const cJSON *addresses = json_get(endpoint, "addresses");
        const char *address = cJSON_GetStringValue(cJSON_GetArrayItem(addresses, 0));
        if (!address || !json_bool(json_get(endpoint, "conditions"), "ready", true) ||
            !is_proxyable(address) || !is_own_pod(q, endpoint, address))
            continue;
        if (env_random(q->server->env) % ++*seen == 0 && set_address(ret, address))
            ret->port = port;
    }
}

static enum stage_result locate_service(
    struct request *q, const struct proxied *p, const char *name, struct location *ret)
{
    const struct resource *r =
        api_find_plural(q->server->api, "discovery.k8s.io", "endpointslices");
    autojson cJSON *service = NULL;
    const char *port;
    size_t seen = 0;

    if (location_object(q, "services", q->namespace_, name, &service) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!port_name(service, p->port, &port, q->arena))
        return request_fail(q, ERR_UNAVAILABLE, "no service port %.*s found for service \"%s\"",
            STR_FMT(p->port), name);
    *ret = (struct location){.tls = str_eqc(p->scheme, "https")};
    struct snapshot *s = snapshot_take(q->server->cache, r);
    const struct object *o = NULL;
    struct str after = STR("");
    for (int i = 0; i < SLICES_MAX; i++) {
        o = snapshot_next(s, str_of(q->namespace_), str_of(q->namespace_), after);
        if (!o)
            break;
        autojson cJSON *slice = NULL;
        const char *of = object_label_get(o, "kubernetes.io/service-name");
        if (c_eq(of, name))
            slice = object_tree(o);
        int number = slice ? slice_port(slice, port) : 0;
        if (number)
            choose_endpoint(q, slice, number, &seen, ret);
        after = o->name;
    }
    snapshot_free(s);
    if (seen == 0)
        return request_fail(q, ERR_UNAVAILABLE, "no endpoints available for service \"%s\"", name);
    return STAGE_DONE;
}

enum stage_result location_proxied(struct request *q, struct location *ret)
{
    static const struct {
        const char *plural, *kind;
        enum stage_result (*locate)(
            struct request *, const struct proxied *, const char *name, struct location *);
    } kinds[] = {{"nodes", "node", locate_node}, {"pods", "pod", locate_pod},
        {"services", "service", locate_service}};
    struct proxied p;

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (!c_eq(q->plural, kinds[i].plural))
            continue;
        if (!split_name(str_of(q->name), &p))
            return request_fail(
                q, ERR_BAD_REQUEST, "invalid %s request \"%s\"", kinds[i].kind, q->name);
        return kinds[i].locate(q, &p, arena_strdup(q->arena, p.name), ret);
    }
    return request_fail(q, ERR_NOT_IMPLEMENTED, "proxy of %s is not served", q->plural);
}

/* --- containers --- */

static void list_names(const cJSON *containers, struct strbuf *out)
{
    const cJSON *item;
    bool first = true;

    cJSON_ArrayForEach(item, containers)
    {
        strbuf_addf(out, "%s%s", first ? "" : " ", json_string(item, "name"));
        first = false;
    }
}

static bool has_container(const cJSON *pod, const char *name)
{
    static const char *const lists[] = {
        "spec.containers", "spec.initContainers", "spec.ephemeralContainers"};
    const cJSON *item;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        cJSON_ArrayForEach(item, json_path(pod, lists[i]))
        {
            if (c_eq(json_string(item, "name"), name))
                return true;
        }
    return false;
}

enum stage_result location_container(struct request *q, const cJSON *pod, const char **ret)
{
    const cJSON *containers = json_path(pod, "spec.containers");
    const cJSON *init = json_path(pod, "spec.initContainers");
    struct str asked = {0};

    request_query(q, "container", &asked);
    if (asked.n > 0) {
        *ret = arena_strdup(q->arena, asked);
        if (has_container(pod, *ret))
            return STAGE_DONE;
        return request_fail(
            q, ERR_BAD_REQUEST, "container %s is not valid for pod %s", *ret, q->name);
    }
    if (cJSON_GetArraySize(containers) == 1) {
        *ret = arena_strdup(q->arena, str_of(json_string(containers->child, "name")));
        return STAGE_DONE;
    }
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_addf(&text, "a container name must be specified for pod %s, choose one of: [", q->name);
    list_names(containers, &text);
    strbuf_add_char(&text, ']');
    if (cJSON_GetArraySize(init) > 0) {
        strbuf_addc(&text, " or one of the init containers: [");
        list_names(init, &text);
        strbuf_add_char(&text, ']');
    }
    return request_fail(q, ERR_BAD_REQUEST, "%s", text.data);
}
