/*
 * Controller "endpointslice": the EndpointSlices of every Service with a selector.
 *
 * The wanted endpoints of an address family are grouped by the ports their pods have. Endpoints
 * stay in the slice where they are; what is new goes where a write is needed anyway, then where
 * room is, then into new slices of at most 100. So one pod's change costs one write. A Service
 * without endpoints has one empty slice. Slices with another managed-by label are not touched.
 *
 * Upstream: staging/src/k8s.io/endpointslice.
 */
#include "common/log.h"
#include "controller/endpoint.h"
#include "controller/pods.h"
#include "controller/status.h"

#define ENDPOINTS_MAX 100
#define MANAGED_BY "endpointslice.kubernetes.io/managed-by"
#define MANAGER "endpointslice-controller.k8s.io"
#define SERVICE_NAME "kubernetes.io/service-name"

/* A slice: as it stands (or NULL when new), and what it should hold. */
struct slice {
    const struct endpoint_slice *object; /* borrowed */
    const char *family;
    char *ports;      /* canonical JSON */
    cJSON *endpoints; /* wanted */
    bool changed;
    bool placeholder; /* stays although it is empty */
};

/* A wanted endpoint. */
struct wanted {
    const char *family;
    char *ports;
    char *key; /* uid of the pod */
    cJSON *endpoint;
    bool placed;
};

struct work {
    struct controller *c;
    const struct service *service;
    struct slice *slices;
    size_t slice_count, slice_capacity;
    struct wanted *wanted;
    size_t wanted_count;
};

static char *print(const cJSON *tree)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    json_print(tree, &text);
    return strbuf_steal(&text);
}

/* --- what is wanted --- */

static cJSON *named(const char *name)
{
    cJSON *list = cJSON_CreateArray(), *item = cJSON_CreateObject();

    json_set_string(item, "name", name);
    cJSON_AddItemToArray(list, item);
    return list;
}

/* For whom a ready endpoint is best, where the Service wants traffic kept near. */
static void add_hints(
    const struct service *service, cJSON *endpoint, const char *zone, const char *node)
{
    bool near_node = !strcmp(service->distribution, "PreferSameNode");
    bool near_zone = near_node || !strcmp(service->distribution, "PreferClose") ||
                     !strcmp(service->distribution, "PreferSameZone");

    if (!near_zone || !json_bool(json_get(endpoint, "conditions"), "ready", false) ||
        (!zone && !near_node))
        return;
    cJSON *hints = cJSON_CreateObject();
    if (zone)
        json_set(hints, "forZones", named(zone));
    if (near_node)
        json_set(hints, "forNodes", named(node));
    json_set(endpoint, "hints", hints);
}

static cJSON *endpoint_json(struct work *w, const struct pod *pod, const char *address)
{
    cJSON *endpoint = cJSON_CreateObject(), *addresses = cJSON_CreateArray();
    cJSON *conditions = cJSON_CreateObject();
    bool serving = pod_is_ready(pod), terminating = pod->meta.deletion_ns != 0;

    cJSON_AddItemToArray(addresses, cJSON_CreateString(address));
    json_set(endpoint, "addresses", addresses);
    json_set(conditions, "ready",
        cJSON_CreateBool(w->service->publish_not_ready || (serving && !terminating)));
    json_set(conditions, "serving", cJSON_CreateBool(serving));
    json_set(conditions, "terminating", cJSON_CreateBool(terminating));
    json_set(endpoint, "conditions", conditions);
    if (pod_wants_hostname(pod, w->service))
        json_set_string(endpoint, "hostname", pod->hostname);
    if (*pod->node_name) {
        auto_object const struct node *node = kind_get(w->c->m, KIND_NODE, "", pod->node_name);
        const char *zone =
            node ? string_map_get(&node->meta.labels, "topology.kubernetes.io/zone") : NULL;
        json_set_string(endpoint, "nodeName", pod->node_name);
        if (zone)
            json_set_string(endpoint, "zone", zone);
        add_hints(w->service, endpoint, zone, pod->node_name);
    }
    json_set(endpoint, "targetRef", pod_target_ref(pod));
    return endpoint;
}

static void add_wanted(struct work *w, const struct pod *pod, const char *family)
{
    const char *address = pod_address(pod, family);

    if (!address)
        return;
    cJSON *ports = pod_ports_json(pod, w->service, true);
    w->wanted[w->wanted_count++] = (struct wanted){.family = family,
        .ports = print(ports),
        .key = xstrdup(pod->meta.uid),
        .endpoint = endpoint_json(w, pod, address)};
    cJSON_Delete(ports);
}

static size_t families_of(const struct service *service, const char *ret[2])
{
    size_t n = 0;

    for (size_t i = 0; i < service->families.count && n < 2; i++)
        ret[n++] = strcmp(service->families.strings[i], "IPv6") ? "IPv4" : "IPv6";
    if (n == 0)
        ret[n++] = "IPv4";
    return n;
}

static void collect_wanted(struct work *w)
{
    auto_objects struct projected_array pods = service_pods(w->c->m, w->service);
    const char *families[2];
    size_t family_count = families_of(w->service, families);

    w->wanted = xcalloc(2 * pods.count + 1, sizeof(*w->wanted));
    for (size_t i = 0; i < pods.count; i++)
        for (size_t f = 0; f < family_count && !pod_is_terminal(pods.objects[i]); f++)
            add_wanted(w, pods.objects[i], families[f]);
}

static int cmp_wanted(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    int d = strcmp(x->key, y->key);
    return d ? d : strcmp(x->family, y->family);
}

static struct wanted *find_wanted(struct work *w, const char *uid, const char *family)
{
    struct wanted key = {.key = (char *)uid, .family = family};
    return bsearch(&key, w->wanted, w->wanted_count, sizeof(key), cmp_wanted);
}

/* --- placing --- */

static struct slice *add_slice(struct work *w, struct slice slice)
{
    if (w->slice_count == w->slice_capacity) {
        w->slice_capacity = w->slice_capacity ? 2 * w->slice_capacity : 8;
        w->slices = xrealloc(w->slices, w->slice_capacity * sizeof(*w->slices));
    }
    w->slices[w->slice_count] = slice;
    return &w->slices[w->slice_count++];
}

/* Takes over what stays of an existing slice. */
static void keep_slice(struct work *w, const struct endpoint_slice *object)
{
    autojson cJSON *old = json_of_text(object->endpoints), *ports = json_of_text(object->ports);
    struct slice slice = {.object = object,
        .family = object->address_type,
        .ports = cJSON_IsArray(ports) ? print(ports) : xstrdup("[]"),
        .endpoints = cJSON_CreateArray()};
    const cJSON *item;

    cJSON_ArrayForEach(item, old)
    {
        const char *uid = json_string_at(item, "targetRef.uid");
        struct wanted *wanted = uid ? find_wanted(w, uid, slice.family) : NULL;
        if (!wanted || wanted->placed || strcmp(wanted->ports, slice.ports)) {
            slice.changed = true;
            continue;
        }
        slice.changed |= !json_equal(item, wanted->endpoint);
        cJSON_AddItemToArray(slice.endpoints, steal(&wanted->endpoint));
        wanted->placed = true;
    }
    add_slice(w, slice);
}

static bool has_room(const struct slice *s, const struct wanted *wanted)
{
    return !strcmp(s->family, wanted->family) && !strcmp(s->ports, wanted->ports) &&
           cJSON_GetArraySize(s->endpoints) < ENDPOINTS_MAX;
}

static void place(struct work *w, struct wanted *wanted)
{
    struct slice *best = NULL;

    for (size_t i = 0; i < w->slice_count; i++)
        if (has_room(&w->slices[i], wanted) && (!best || (w->slices[i].changed && !best->changed)))
            best = &w->slices[i];
    /* A slice without endpoints may become one of other ports: it is free. */
    for (size_t i = 0; i < w->slice_count && !best; i++) {
        struct slice *s = &w->slices[i];
        if (!s->endpoints->child && !strcmp(s->family, wanted->family)) {
            free(s->ports);
            s->ports = xstrdup(wanted->ports);
            best = s;
        }
    }
    if (!best)
        best = add_slice(w, (struct slice){.family = wanted->family,
                                .ports = xstrdup(wanted->ports),
                                .endpoints = cJSON_CreateArray()});
    best->changed = true;
    cJSON_AddItemToArray(best->endpoints, steal(&wanted->endpoint));
    wanted->placed = true;
}

/* Without endpoints one slice of each family stays, empty. */
static void ensure_placeholders(struct work *w)
{
    const char *families[2];
    size_t count = families_of(w->service, families);

    for (size_t f = 0; f < count; f++) {
        struct slice *any = NULL;
        bool filled = false;
        for (size_t i = 0; i < w->slice_count; i++) {
            if (strcmp(w->slices[i].family, families[f]))
                continue;
            any = any ? any : &w->slices[i];
            filled |= w->slices[i].endpoints->child != NULL;
        }
        if (filled)
            continue;
        if (!any)
            any = add_slice(w, (struct slice){.family = families[f],
                                   .ports = xstrdup("[]"),
                                   .endpoints = cJSON_CreateArray(),
                                   .changed = true});
        any->placeholder = true;
        if (strcmp(any->ports, "[]")) {
            free(any->ports);
            any->ports = xstrdup("[]");
            any->changed = true;
        }
    }
}

/* --- writing --- */

static cJSON *labels_json(const struct service *service)
{
    cJSON *labels = cJSON_CreateObject();

    for (size_t i = 0; i < service->meta.labels.count; i++) {
        const struct string_pair *pair = &service->meta.labels.pairs[i];
        if (strcmp(pair->key, SERVICE_NAME) && strcmp(pair->key, MANAGED_BY) &&
            strcmp(pair->key, HEADLESS_LABEL))
            json_set_string(labels, pair->key, pair->value);
    }
    if (service_is_headless(service))
        json_set_string(labels, HEADLESS_LABEL, "");
    json_set_string(labels, SERVICE_NAME, service->meta.name);
    json_set_string(labels, MANAGED_BY, MANAGER);
    return labels;
}

static int create_slice(struct work *w, const struct slice *s, struct error *err)
{
    const struct service *service = w->service;
    struct api_ref ref = {.group_version = "discovery.k8s.io/v1",
        .plural = "endpointslices",
        .namespace_ = service->meta.namespace_};
    autojson cJSON *object = json_make("{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":"
                                       "\"EndpointSlice\",\"metadata\":{\"generateName\":\"%s-\","
                                       "\"namespace\":\"%s\"},\"addressType\":\"%s\"}",
        service->meta.name, service->meta.namespace_, s->family);
    autojson cJSON *made = NULL;
    cJSON *owners = cJSON_CreateArray();

    cJSON_AddItemToArray(owners, controller_ref_json(KIND_SERVICE, &service->meta));
    json_set_at(object, "metadata.ownerReferences", owners);
    json_set_at(object, "metadata.labels", labels_json(service));
    json_set(object, "endpoints", cJSON_Duplicate(s->endpoints, true));
    json_set(object, "ports", json_of_text(s->ports));
    int r = api_create(manager_client(w->c->m), &ref, object, &made, err);
    if (r < 0)
        return is_terminating_namespace(err) || r == -ERR_NOT_FOUND ? 0 : r;
    return kind_wait_version(
        w->c->m, KIND_ENDPOINT_SLICE, json_string_at(made, "metadata.resourceVersion"), err);
}

static cJSON *labels_diff(const struct work *w, const struct slice *s)
{
    autojson cJSON *want = labels_json(w->service), *have = cJSON_CreateObject();
    const struct string_map *labels = &s->object->meta.labels;

    for (size_t i = 0; i < labels->count; i++)
        json_set_string(have, labels->pairs[i].key, labels->pairs[i].value);
    return merge_diff(have, want);
}

static int update_slice(struct work *w, const struct slice *s, struct error *err)
{
    cJSON *labels = labels_diff(w, s);

    if (!s->changed && !labels)
        return 0;
    cJSON *patch = cJSON_CreateObject();
    if (labels)
        json_set_at(patch, "metadata.labels", labels);
    if (s->changed) {
        json_set(patch, "endpoints", cJSON_Duplicate(s->endpoints, true));
        json_set(patch, "ports", json_of_text(s->ports));
    }
    int r = object_patch(w->c->m, KIND_ENDPOINT_SLICE, &s->object->meta, NULL, patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int delete_slice(struct work *w, const struct slice *s, struct error *err)
{
    const struct object_meta *meta = &s->object->meta;

    if (object_delete(w->c->m, KIND_ENDPOINT_SLICE, meta, NULL, err) < 0)
        return -(int)err->code;
    return kind_wait_gone(w->c->m, KIND_ENDPOINT_SLICE, &meta, 1, err);
}

static int write_all(struct work *w, struct error *err)
{
    for (size_t i = 0; i < w->slice_count; i++) {
        const struct slice *s = &w->slices[i];
        bool keep = s->endpoints->child || s->placeholder;
        int r = 0;
        if (!s->object)
            r = keep ? create_slice(w, s, err) : 0;
        else
            r = keep ? update_slice(w, s, err) : delete_slice(w, s, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- the whole --- */

static void work_done(struct work *w)
{
    for (size_t i = 0; i < w->slice_count; i++) {
        free(w->slices[i].ports);
        cJSON_Delete(w->slices[i].endpoints);
    }
    for (size_t i = 0; i < w->wanted_count; i++) {
        free(w->wanted[i].ports);
        free(w->wanted[i].key);
        cJSON_Delete(w->wanted[i].endpoint);
    }
    free(w->slices);
    free(w->wanted);
}

static bool is_ours(const struct endpoint_slice *slice)
{
    return c_eq(string_map_get(&slice->meta.labels, MANAGED_BY), MANAGER) &&
           !slice->meta.deletion_ns;
}

/* The Service is gone (its slices go by their owner) or lost its selector (they go here). */
static int drop_slices(struct controller *c, const char *key, struct error *err)
{
    auto_objects struct projected_array slices =
        kind_by(c->m, KIND_ENDPOINT_SLICE, INDEX_SERVICE, key);

    for (size_t i = 0; i < slices.count; i++)
        if (is_ours(slices.objects[i]) &&
            object_delete(c->m, KIND_ENDPOINT_SLICE, slices.objects[i], NULL, err) < 0)
            return -(int)err->code;
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct service *service = kind_get_key(c->m, KIND_SERVICE, key);
    struct work w = {.c = c, .service = service};

    if (!service || !service_has_endpoints(service))
        return drop_slices(c, key, err);
    if (service->meta.deletion_ns)
        return 0;
    auto_objects struct projected_array slices =
        kind_by(c->m, KIND_ENDPOINT_SLICE, INDEX_SERVICE, key);
    collect_wanted(&w);
    qsort(w.wanted, w.wanted_count, sizeof(*w.wanted), cmp_wanted);
    for (size_t i = 0; i < slices.count; i++)
        if (is_ours(slices.objects[i]))
            keep_slice(&w, slices.objects[i]);
    for (size_t i = 0; i < w.wanted_count; i++)
        if (!w.wanted[i].placed)
            place(&w, &w.wanted[i]);
    ensure_placeholders(&w);
    int r = write_all(&w, err);
    work_done(&w);
    return r;
}

static void on_slice(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *meta = new_object ? new_object : old_object;
    const char *service = string_map_get(&meta->labels, SERVICE_NAME);

    if (service && c_eq(string_map_get(&meta->labels, MANAGED_BY), MANAGER))
        workqueue_addf(c->queue, "%s/%s", meta->namespace_, service);
}

const struct controller_info controller_endpointslice = {
    .name = "endpointslice-controller",
    .component = "endpoint-slice-controller",
    .workers = 2,
    .watch_count = 4,
    .watches = {{KIND_SERVICE, controller_on_object}, {KIND_POD, endpoint_on_pod},
        {KIND_ENDPOINT_SLICE, on_slice}, {KIND_NODE, NULL}},
    .reconcile = reconcile,
};
