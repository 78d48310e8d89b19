/*
 * Controller "endpointslice-mirroring": EndpointSlices for Endpoints that users keep themselves, of
 * Services without selector.
 *
 * Each subset gives slices of at most 1,000 addresses, apart by address family. What stands there
 * and is wanted stays; the others are changed into what is missing, made or deleted. Endpoints
 * with the label skip-mirror, or with the leader annotation, and those of Services with a selector
 * are left alone.
 *
 * Upstream: pkg/controller/endpointslicemirroring.
 */
#include "common/log.h"
#include "controller/controller.h"
#include "controller/status.h"

#define MANAGED_BY "endpointslice.kubernetes.io/managed-by"
#define OURS "endpointslicemirroring-controller.k8s.io"
#define SERVICE_LABEL "kubernetes.io/service-name"
#define SKIP_LABEL "endpointslice.kubernetes.io/skip-mirror"
#define LEADER_ANNOTATION "control-plane.alpha.kubernetes.io/leader"
#define ADDRESSES_MAX 1000

static bool is_mirrored(const struct endpoints *e, const struct service *service)
{
    return e && service && !e->meta.deletion_ns && !service->has_selector &&
           !c_eq(string_map_get(&e->meta.labels, SKIP_LABEL), "true") &&
           !string_map_get(&e->meta.annotations, LEADER_ANNOTATION);
}

static cJSON *endpoint_json(const cJSON *address, bool ready)
{
    static const char *const copied[] = {"hostname", "nodeName", "targetRef"};
    cJSON *endpoint = cJSON_CreateObject(), *addresses = cJSON_CreateArray();

    cJSON_AddItemToArray(addresses, cJSON_CreateString(json_string(address, "ip")));
    json_set(endpoint, "addresses", addresses);
    json_set(endpoint, "conditions", json_make("{\"ready\":%s}", ready ? "true" : "false"));
    for (size_t i = 0; i < ARRAY_COUNT(copied); i++) {
        const cJSON *item = json_get(address, copied[i]);
        if (item)
            json_set(endpoint, copied[i], cJSON_Duplicate(item, true));
    }
    return endpoint;
}

/* The slice of this family that still has room, the last of `wanted` or a new one. */
static cJSON *slice_for(cJSON *wanted, int first, const char *family, const cJSON *subset)
{
    cJSON *slice;

    for (int i = cJSON_GetArraySize(wanted) - 1; i >= first; i--) {
        slice = cJSON_GetArrayItem(wanted, i);
        if (c_eq(json_string(slice, "addressType"), family) &&
            cJSON_GetArraySize(json_get(slice, "endpoints")) < ADDRESSES_MAX)
            return slice;
    }
    slice = cJSON_CreateObject();
    json_set_string(slice, "addressType", family);
    json_set(slice, "endpoints", cJSON_CreateArray());
    const cJSON *ports = json_get(subset, "ports");
    json_set(slice, "ports", ports ? cJSON_Duplicate(ports, true) : cJSON_CreateArray());
    cJSON_AddItemToArray(wanted, slice);
    return slice;
}

static void add_subset(cJSON *wanted, const cJSON *subset)
{
    static const char *const lists[] = {"addresses", "notReadyAddresses"};
    int first = cJSON_GetArraySize(wanted);
    const cJSON *address;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        cJSON_ArrayForEach(address, json_get(subset, lists[i]))
        {
            const char *ip = json_string(address, "ip");
            if (!ip)
                continue;
            cJSON *slice = slice_for(wanted, first, strchr(ip, ':') ? "IPv6" : "IPv4", subset);
            cJSON_AddItemToArray(json_get(slice, "endpoints"), endpoint_json(address, i == 0));
        }
}

static cJSON *wanted_slices(const struct endpoints *e)
{
    autojson cJSON *subsets = NULL;
    cJSON *wanted = cJSON_CreateArray();
    const cJSON *subset;
    struct error ignored;

    if (e->subsets && json_parse(str_of(e->subsets), &subsets, &ignored) == 0)
        cJSON_ArrayForEach(subset, subsets) add_subset(wanted, subset);
    return wanted;
}

static bool is_same(const struct endpoint_slice *have, const cJSON *wanted)
{
    autojson cJSON *endpoints = NULL, *ports = NULL;
    struct error ignored;

    if (!c_eq(have->address_type, json_string(wanted, "addressType")) ||
        json_parse(str_of(have->endpoints ? have->endpoints : "[]"), &endpoints, &ignored) < 0 ||
        json_parse(str_of(have->ports ? have->ports : "[]"), &ports, &ignored) < 0)
        return false;
    return json_equal(endpoints, json_get(wanted, "endpoints")) &&
           json_equal(ports, json_get(wanted, "ports"));
}

static int create_slice(
    struct controller *c, const struct endpoints *e, const cJSON *wanted, struct error *err)
{
    struct api_ref ref = {.group_version = "discovery.k8s.io/v1",
        .plural = "endpointslices",
        .namespace_ = e->meta.namespace_};
    autojson cJSON *slice = cJSON_Duplicate(wanted, true), *made = NULL;
    autofree char *base = str_format("%.200s-", e->meta.name);
    cJSON *meta = cJSON_CreateObject(), *labels = cJSON_CreateObject();
    cJSON *refs = cJSON_CreateArray();

    for (size_t i = 0; i < e->meta.labels.count; i++)
        json_set_string(labels, e->meta.labels.pairs[i].key, e->meta.labels.pairs[i].value);
    json_set_string(labels, SERVICE_LABEL, e->meta.name);
    json_set_string(labels, MANAGED_BY, OURS);
    json_set_string(slice, "apiVersion", "discovery.k8s.io/v1");
    json_set_string(slice, "kind", "EndpointSlice");
    json_set_string(meta, "generateName", base);
    json_set_string(meta, "namespace", e->meta.namespace_);
    json_set(meta, "labels", labels);
    cJSON_AddItemToArray(refs, controller_ref_json(KIND_ENDPOINTS, &e->meta));
    json_set(meta, "ownerReferences", refs);
    json_set(slice, "metadata", meta);
    if (api_create(manager_client(c->m), &ref, slice, &made, err) < 0)
        return is_terminating_namespace(err) ? 0 : -(int)err->code;
    return kind_wait_version(
        c->m, KIND_ENDPOINT_SLICE, json_string_at(made, "metadata.resourceVersion"), err);
}

static int change_slice(
    struct controller *c, const struct endpoint_slice *have, const cJSON *wanted, struct error *err)
{
    cJSON *patch = cJSON_CreateObject();

    json_set(patch, "endpoints", cJSON_Duplicate(json_get(wanted, "endpoints"), true));
    json_set(patch, "ports", cJSON_Duplicate(json_get(wanted, "ports"), true));
    return object_patch(c->m, KIND_ENDPOINT_SLICE, &have->meta, NULL, patch, err);
}

/* Takes off both sides what agrees; the rest is written. */
static int write_difference(struct controller *c, const struct endpoints *e,
    const struct endpoint_slice **have, size_t count, cJSON *wanted, struct error *err)
{
    for (int w = cJSON_GetArraySize(wanted) - 1; w >= 0; w--)
        for (size_t i = 0; i < count; i++)
            if (have[i] && is_same(have[i], cJSON_GetArrayItem(wanted, w))) {
                have[i] = NULL;
                cJSON_DeleteItemFromArray(wanted, w);
                break;
            }
    const cJSON *slice;
    cJSON_ArrayForEach(slice, wanted)
    {
        size_t i = 0;
        while (i < count &&
               (!have[i] || !c_eq(have[i]->address_type, json_string(slice, "addressType"))))
            i++;
        if ((i < count ? change_slice(c, have[i], slice, err) : create_slice(c, e, slice, err)) < 0)
            return -(int)err->code;
        if (i < count)
            have[i] = NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (have[i] && object_delete(c->m, KIND_ENDPOINT_SLICE, &have[i]->meta, NULL, err) < 0)
            return -(int)err->code;
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct key k = key_split(key);
    auto_object const struct endpoints *e = kind_get_key(c->m, KIND_ENDPOINTS, key);
    auto_object const struct service *service = kind_get_key(c->m, KIND_SERVICE, key);
    auto_objects struct projected_array all =
        kind_by_path(c->m, KIND_ENDPOINT_SLICE, INDEX_SERVICE, k.namespace_, k.name);
    autofree const struct endpoint_slice **have = xcalloc(all.count + 1, sizeof(*have));
    autojson cJSON *wanted = is_mirrored(e, service) ? wanted_slices(e) : cJSON_CreateArray();
    size_t count = 0;

    for (size_t i = 0; i < all.count; i++) {
        const struct endpoint_slice *slice = all.objects[i];
        if (c_eq(string_map_get(&slice->meta.labels, MANAGED_BY), OURS) && !slice->meta.deletion_ns)
            have[count++] = slice;
    }
    int r = write_difference(c, e, have, count, wanted, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static void on_slice(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *meta = new_object ? new_object : old_object;
    const char *service = string_map_get(&meta->labels, SERVICE_LABEL);

    if (service && c_eq(string_map_get(&meta->labels, MANAGED_BY), OURS))
        workqueue_addf(c->queue, "%s/%s", meta->namespace_, service);
}

/* Endpoints of Services with a selector change all the time and are not ours. */
static void on_endpoints(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *meta = new_object ? new_object : old_object;
    auto_object const struct service *service =
        kind_get(c->m, KIND_SERVICE, meta->namespace_, meta->name);

    if (!service || !service->has_selector)
        controller_add(c, meta);
}

static void on_service(struct controller *c, const void *old_object, const void *new_object)
{
    const struct service *old = old_object, *now = new_object;

    if (!old || !now || old->has_selector != now->has_selector)
        controller_add(c, now ? &now->meta : &old->meta);
}

const struct controller_info controller_endpointslice_mirroring = {
    .name = "endpointslice-mirroring-controller",
    .component = "endpointslice-mirroring-controller",
    .workers = 1,
    .watch_count = 3,
    .watches = {{KIND_ENDPOINTS, on_endpoints}, {KIND_SERVICE, on_service},
        {KIND_ENDPOINT_SLICE, on_slice}},
    .reconcile = reconcile,
};
