/*
 * The node's part in the pod network, from Node objects: the default network's address range,
 * masquerading, and routes to the pods of other nodes. Nothing is touched while nothing changed,
 * but for a look every few minutes.
 */
#include "kubelet/agent.h"

#include "common/log.h"
#include "common/time.h"
#include "kubelet/docker/docker.h"
#include "kubelet/network/host.h"

#define LOOK_AGAIN_NS (300 * NS_PER_S)

struct network {
    char *pod_cidr;
    struct host_route *routes;
    size_t route_count;
    const char **inside;
    size_t inside_count;
};

static const char *internal_ip(const struct node_view *node)
{
    const struct node_address_view *addresses = node->addresses.items;

    for (size_t i = 0; i < node->addresses.count; i++)
        if (c_eq(addresses[i].type, "InternalIP") && !strchr(addresses[i].address, ':'))
            return addresses[i].address;
    return NULL;
}

static void collect(struct kubelet *node, const struct projected_array *nodes, struct network *net)
{
    net->routes = xcalloc(nodes->count + 1, sizeof(net->routes[0]));
    net->inside = xcalloc(2 * nodes->count + 1, sizeof(net->inside[0]));
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node_view *other = nodes->objects[i];
        const char *ip = internal_ip(other);

        if (c_eq(other->meta.name, node->name)) {
            net->pod_cidr = xstrdup(other->pod_cidr);
            continue;
        }
        if (!ip)
            continue;
        net->inside[net->inside_count++] = ip;
        if (!other->pod_cidr[0] || strchr(other->pod_cidr, ':'))
            continue;
        net->inside[net->inside_count++] = other->pod_cidr;
        /* Nodes that share our address are other kubelets of this machine, or pretend. */
        if (!c_eq(ip, node->ip))
            net->routes[net->route_count++] = (struct host_route){other->pod_cidr, ip};
    }
}

/* All that the host's state depends on, to see whether it changed. */
static char *describe(const struct network *net, int64_t now_ns)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    strbuf_addf(&text, "%s %lld", net->pod_cidr, (long long)(now_ns / LOOK_AGAIN_NS));
    for (size_t i = 0; i < net->inside_count; i++)
        strbuf_addf(&text, " %s", net->inside[i]);
    for (size_t i = 0; i < net->route_count; i++)
        strbuf_addf(&text, " %s=%s", net->routes[i].cidr, net->routes[i].gateway);
    return strbuf_steal(&text);
}

static bool apply(const struct network *net)
{
    struct error err;
    bool fine = true;

    if (host_set_kernel(&err) < 0) {
        log_warning("kernel setting failed, retrying", "error", "%s", err.text, NULL);
        fine = false;
    }
    if (host_set_masquerade(net->pod_cidr, net->inside, net->inside_count, &err) < 0) {
        log_warning("masquerading cannot be set up, retrying", "error", "%s", err.text, NULL);
        fine = false;
    }
    if (host_set_forwarding(&err) < 0) {
        log_warning(
            "docker's forward chain cannot be changed, retrying", "error", "%s", err.text, NULL);
        fine = false;
    }
    if (host_set_routes(net->routes, net->route_count, &err) < 0) {
        log_warning("routes cannot be set, retrying", "error", "%s", err.text, NULL);
        fine = false;
    }
    return fine;
}

void node_network_sync(struct kubelet *node)
{
    struct agent *agent = node->agent;
    struct network net = {0};

    if (!agent->nodes || !informer_synced(agent->nodes))
        return;
    struct projected_array nodes = informer_list(agent->nodes, NULL);
    collect(node, &nodes, &net);
    if (net.pod_cidr && net.pod_cidr[0]) {
        char *state = describe(&net, env_now_ns(agent->env));
        cni_set_pod_cidr(docker_runtime_cni(agent->runtime), net.pod_cidr);
        if (!c_eq(state, node->network_state) && apply(&net)) {
            free(node->network_state);
            node->network_state = steal(&state);
        }
        free(state);
    }
    free(net.pod_cidr);
    free(net.routes);
    free(net.inside);
    projected_array_done(&nodes);
}
