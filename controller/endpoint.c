/* Pods behind Services: see endpoint.h. Upstream: pkg/controller/util/endpoint. */
#include "controller/endpoint.h"

#include "controller/pods.h"

bool service_is_headless(const struct service *service)
{
    return !strcmp(service->cluster_ip, "None");
}

bool service_selects(const struct service *service, const struct pod *pod)
{
    for (size_t i = 0; i < service->selector.count; i++) {
        const struct string_pair *pair = &service->selector.pairs[i];
        if (!c_eq(string_map_get(&pod->meta.labels, pair->key), pair->value))
            return false;
    }
    return service->selector.count > 0;
}

bool service_has_endpoints(const struct service *service)
{
    return service->has_selector && strcmp(service->type, "ExternalName") != 0;
}

struct projected_array service_pods(struct manager *m, const struct service *service)
{
    struct projected_array pods = kind_list(m, KIND_POD, service->meta.namespace_);
    size_t kept = 0;

    for (size_t i = 0; i < pods.count; i++) {
        if (service_selects(service, pods.objects[i]))
            pods.objects[kept++] = pods.objects[i];
        else
            projected_unref(pods.objects[i]);
    }
    pods.count = kept;
    return pods;
}

/* --- events --- */

static void add_services(struct controller *c, const struct pod *pod)
{
    const struct string_map *labels = &pod->meta.labels;
    char pair[600];

    for (size_t i = 0; i < labels->count; i++) {
        snprintf(pair, sizeof(pair), "%s=%s", labels->pairs[i].key, labels->pairs[i].value);
        auto_objects struct projected_array found =
            kind_by_path(c->m, KIND_SERVICE, INDEX_SELECTOR, pod->meta.namespace_, pair);
        for (size_t k = 0; k < found.count; k++)
            if (service_selects(found.objects[k], pod))
                controller_add(c, found.objects[k]);
    }
}

static bool same_map(const struct string_map *a, const struct string_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->pairs[i].key, b->pairs[i].key) ||
            strcmp(a->pairs[i].value, b->pairs[i].value))
            return false;
    return true;
}

static bool same_endpoint(const struct pod *a, const struct pod *b)
{
    return !strcmp(a->pod_ip, b->pod_ip) && !strcmp(a->node_name, b->node_name) &&
           a->ips.count == b->ips.count && pod_is_ready(a) == pod_is_ready(b) &&
           pod_is_terminal(a) == pod_is_terminal(b) &&
           !a->meta.deletion_ns == !b->meta.deletion_ns && !strcmp(a->hostname, b->hostname) &&
           same_map(&a->meta.labels, &b->meta.labels);
}

void endpoint_on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *old = old_object, *now = new_object;

    if (old && now && same_endpoint(old, now))
        return;
    if (old && (!now || !same_map(&old->meta.labels, &now->meta.labels)))
        add_services(c, old);
    if (now)
        add_services(c, now);
}

/* --- pods --- */

const char *pod_address(const struct pod *pod, const char *family)
{
    const struct pod_ip *ips = pod->ips.items;
    bool want_v6 = !strcmp(family, "IPv6");

    for (size_t i = 0; i < pod->ips.count; i++)
        if ((strchr(ips[i].ip, ':') != NULL) == want_v6)
            return ips[i].ip;
    if (*pod->pod_ip && (strchr(pod->pod_ip, ':') != NULL) == want_v6)
        return pod->pod_ip;
    return NULL;
}

int64_t pod_port(const struct pod *pod, const struct service_port *port)
{
    const struct pod_container *containers = pod->containers.items;
    int64_t number;
    struct error err;

    if (!*port->target || !strcmp(port->target, "0"))
        return port->port;
    if (str_parse_int64(str_of(port->target), &number, &err) == 0)
        return number;
    for (size_t i = 0; i < pod->containers.count; i++) {
        const struct container_port *ports = containers[i].ports.items;
        for (size_t k = 0; k < containers[i].ports.count; k++)
            if (!strcmp(ports[k].name, port->target) &&
                (!strcmp(ports[k].protocol, port->protocol) || !*ports[k].protocol))
                return ports[k].port;
    }
    return 0;
}

cJSON *pod_ports_json(const struct pod *pod, const struct service *service, bool slice)
{
    const struct service_port *ports = service->ports.items;
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < service->ports.count; i++) {
        int64_t number = pod_port(pod, &ports[i]);
        if (number <= 0)
            continue;
        cJSON *port = cJSON_CreateObject();
        if (slice || *ports[i].name)
            json_set_string(port, "name", ports[i].name);
        json_set(port, "port", json_new_int64(number));
        json_set_string(port, "protocol", *ports[i].protocol ? ports[i].protocol : "TCP");
        if (*ports[i].app_protocol)
            json_set_string(port, "appProtocol", ports[i].app_protocol);
        cJSON_AddItemToArray(array, port);
    }
    return array;
}

cJSON *pod_target_ref(const struct pod *pod)
{
    cJSON *ref = cJSON_CreateObject();

    json_set_string(ref, "kind", "Pod");
    json_set_string(ref, "namespace", pod->meta.namespace_);
    json_set_string(ref, "name", pod->meta.name);
    json_set_string(ref, "uid", pod->meta.uid);
    return ref;
}

bool pod_wants_hostname(const struct pod *pod, const struct service *service)
{
    return *pod->hostname && !strcmp(pod->subdomain, service->meta.name) &&
           !strcmp(pod->meta.namespace_, service->meta.namespace_);
}
