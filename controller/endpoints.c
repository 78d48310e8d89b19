/*
 * Controller "endpoints": the Endpoints object of every Service with a selector.
 *
 * Pods are grouped by the ports they have; ready and not ready addresses of one group stand in ONE
 * subset, sorted, so that equal facts give equal bytes. At most 1000 addresses are kept (ready ones
 * first), with upstream's annotation. An Endpoints object that does not bear our label is somebody
 * else's when it has no Service.
 *
 * Upstream: pkg/controller/endpoint.
 */
#include "controller/endpoint.h"
#include "controller/pods.h"
#include "controller/status.h"

#define ADDRESSES_MAX 1000
#define MANAGED_BY "endpoints.kubernetes.io/managed-by"
#define MANAGER "endpoint-controller"
#define OVER_CAPACITY "endpoints.kubernetes.io/over-capacity"

struct address {
    char *ports; /* canonical JSON */
    const struct pod *pod;
    const char *ip;
    bool ready;
};

static int cmp_address(const void *a, const void *b)
{
    const struct address *x = a, *y = b;
    int d = strcmp(x->ports, y->ports);

    if (d == 0)
        d = strcmp(x->ip, y->ip);
    return d ? d : strcmp(x->pod->meta.uid, y->pod->meta.uid);
}

static char *ports_text(const struct pod *pod, const struct service *service)
{
    autojson cJSON *ports = pod_ports_json(pod, service, false);
    struct strbuf text;

    strbuf_init(&text, 0);
    json_print(ports, &text);
    return strbuf_steal(&text);
}

static bool belongs(const struct service *service, const struct pod *pod)
{
    return !pod_is_terminal(pod) && *pod->pod_ip &&
           (!pod->meta.deletion_ns || service->publish_not_ready);
}

static size_t collect(
    const struct service *service, const struct projected_array *pods, struct address *out)
{
    const char *family = service->families.count ? service->families.strings[0] : "IPv4";
    size_t n = 0;

    for (size_t i = 0; i < pods->count; i++) {
        const struct pod *pod = pods->objects[i];
        const char *ip = pod_address(pod, family);
        if (!ip || !belongs(service, pod))
            continue;
        char *ports = ports_text(pod, service);
        if (!strcmp(ports, "[]") &&
            service->ports.count > 0) { /* none of the named ports is there */
            free(ports);
            continue;
        }
        out[n++] = (struct address){.ports = ports,
            .pod = pod,
            .ip = ip,
            .ready = service->publish_not_ready || pod_is_ready(pod)};
    }
    return n;
}

/* Drops addresses above the limit, not ready ones first. */
static size_t cut(struct address *addresses, size_t count)
{
    for (int round = 0; round < 2 && count > ADDRESSES_MAX; round++)
        for (size_t i = count; i-- > 0 && count > ADDRESSES_MAX;)
            if (round == 1 || !addresses[i].ready) {
                free(addresses[i].ports);
                memmove(&addresses[i], &addresses[i + 1], (count - i - 1) * sizeof(*addresses));
                count--;
            }
    return count;
}

static cJSON *address_json(const struct address *a, const struct service *service)
{
    cJSON *json = cJSON_CreateObject();

    json_set_string(json, "ip", a->ip);
    if (pod_wants_hostname(a->pod, service))
        json_set_string(json, "hostname", a->pod->hostname);
    if (*a->pod->node_name)
        json_set_string(json, "nodeName", a->pod->node_name);
    json_set(json, "targetRef", pod_target_ref(a->pod));
    return json;
}

static cJSON *subset_json(
    const struct address *addresses, size_t count, const struct service *service)
{
    cJSON *subset = cJSON_CreateObject(), *ready = cJSON_CreateArray(), *rest = cJSON_CreateArray();
    cJSON *ports = json_of_text(addresses[0].ports);

    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(
            addresses[i].ready ? ready : rest, address_json(&addresses[i], service));
    if (ready->child)
        json_set(subset, "addresses", ready);
    else
        cJSON_Delete(ready);
    if (rest->child)
        json_set(subset, "notReadyAddresses", rest);
    else
        cJSON_Delete(rest);
    if (ports->child)
        json_set(subset, "ports", ports);
    else
        cJSON_Delete(ports);
    return subset;
}

static cJSON *subsets_json(struct manager *m, const struct service *service, bool *ret_cut)
{
    auto_objects struct projected_array pods = service_pods(m, service);
    autofree struct address *addresses = xcalloc(pods.count + 1, sizeof(*addresses));
    size_t all = collect(service, &pods, addresses), count = cut(addresses, all);
    cJSON *subsets = cJSON_CreateArray();

    *ret_cut = count < all;
    qsort(addresses, count, sizeof(*addresses), cmp_address);
    for (size_t i = 0, k; i < count; i = k) {
        for (k = i + 1; k < count && !strcmp(addresses[k].ports, addresses[i].ports);)
            k++;
        cJSON_AddItemToArray(subsets, subset_json(&addresses[i], k - i, service));
    }
    for (size_t i = 0; i < count; i++)
        free(addresses[i].ports);
    return subsets;
}

static cJSON *labels_json(const struct service *service)
{
    cJSON *labels = cJSON_CreateObject();

    for (size_t i = 0; i < service->meta.labels.count; i++)
        json_set_string(
            labels, service->meta.labels.pairs[i].key, service->meta.labels.pairs[i].value);
    json_remove(labels, HEADLESS_LABEL);
    if (service_is_headless(service))
        json_set_string(labels, HEADLESS_LABEL, "");
    json_set_string(labels, MANAGED_BY, MANAGER);
    return labels;
}

static int create(struct controller *c, const struct service *service, cJSON *take_subsets,
    bool is_cut, struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = "endpoints", .namespace_ = service->meta.namespace_};
    autojson cJSON *object =
        json_make("{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{"
                  "\"name\":\"%s\",\"namespace\":\"%s\"}}",
            service->meta.name, service->meta.namespace_);
    autojson cJSON *made = NULL;

    json_set_at(object, "metadata.labels", labels_json(service));
    if (is_cut)
        json_set_at(
            object, "metadata.annotations", json_make("{\"" OVER_CAPACITY "\":\"truncated\"}"));
    json_set(object, "subsets", take_subsets);
    int r = api_create(manager_client(c->m), &ref, object, &made, err);
    if (r < 0)
        return is_terminating_namespace(err) || r == -ERR_NOT_FOUND ? 0 : r;
    return kind_wait_version(
        c->m, KIND_ENDPOINTS, json_string_at(made, "metadata.resourceVersion"), err);
}

static int update(struct controller *c, const struct service *service, const struct endpoints *now,
    cJSON *take_subsets, bool is_cut, struct error *err)
{
    autojson cJSON *want = labels_json(service), *have = cJSON_CreateObject();
    autojson cJSON *subsets = take_subsets, *old = now->subsets ? json_of_text(now->subsets) : NULL;
    bool was_cut = string_map_get(&now->meta.annotations, OVER_CAPACITY) != NULL;
    bool same = old ? json_equal(old, subsets) : !subsets->child;

    for (size_t i = 0; i < now->meta.labels.count; i++)
        json_set_string(have, now->meta.labels.pairs[i].key, now->meta.labels.pairs[i].value);
    cJSON *labels = merge_diff(have, want);
    if (same && !labels && is_cut == was_cut)
        return 0;
    cJSON *patch = cJSON_CreateObject();
    if (labels)
        json_set_at(patch, "metadata.labels", labels);
    if (is_cut != was_cut) {
        cJSON *annotations = cJSON_CreateObject();
        json_set(annotations, OVER_CAPACITY,
            is_cut ? cJSON_CreateString("truncated") : cJSON_CreateNull());
        json_set_at(patch, "metadata.annotations", annotations);
    }
    if (!same)
        json_set(patch, "subsets", steal(&subsets));
    int r = object_patch(c->m, KIND_ENDPOINTS, &now->meta, NULL, patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct service *service = kind_get_key(c->m, KIND_SERVICE, key);
    auto_object const struct endpoints *now = kind_get_key(c->m, KIND_ENDPOINTS, key);
    bool is_cut;

    if (!service) {
        if (now && c_eq(string_map_get(&now->meta.labels, MANAGED_BY), MANAGER))
            return object_delete(c->m, KIND_ENDPOINTS, &now->meta, NULL, err);
        return 0;
    }
    if (!service_has_endpoints(service) || service->meta.deletion_ns)
        return 0;
    cJSON *subsets = subsets_json(c->m, service, &is_cut);
    return now ? update(c, service, now, subsets, is_cut, err)
               : create(c, service, subsets, is_cut, err);
}

const struct controller_info controller_endpoints = {
    .name = "endpoints-controller",
    .component = "endpoint-controller",
    .workers = 2,
    .watch_count = 3,
    .watches = {{KIND_SERVICE, controller_on_object}, {KIND_POD, endpoint_on_pod},
        {KIND_ENDPOINTS, controller_on_object}},
    .reconcile = reconcile,
};
