/*
 * Cluster source: informers, indexes by address, and the registration task. See cluster_source.h.
 *
 * Lock: s->lock guards flags and the wake-up of the registration task; informers have their own.
 */
#include "dns/cluster_source.h"

#include <stdatomic.h>

#include "common/log.h"
#include "common/time.h"

#define DNS_NAMESPACE "kube-system"
#define DNS_SERVICE "kube-dns"
#define MANAGED_BY "skiff-dns"
#define LOOK_NS (30 * NS_PER_S)
#define RETRY_NS (1 * NS_PER_S)
#define UNSYNCED_NS (50 * NS_PER_MS)

struct cluster_source {
    struct api_client *client;
    struct env *env;
    struct informer *services, *slices;
    atomic_uint serial; /* of the SOA: seconds of the last change */
    struct lock lock;
    struct cond wake;
    bool looked_after; /* the slice changed: look */
    bool stop;
    struct task *task;
    char *slice_name, *node, *address;
    int port;
};

static void emit_service_ips(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct dns_service *s = object;

    for (size_t i = 0; i < s->cluster_ips.count; i++)
        emit(arg, s->cluster_ips.strings[i]);
    if (!s->cluster_ips.count && s->cluster_ip[0])
        emit(arg, s->cluster_ip);
}

static void emit_slice_service(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct object_meta *meta = object;
    const char *service = string_map_get(&meta->labels, SERVICE_NAME_LABEL);

    if (!service)
        return;
    autofree char *key = str_format("%s/%s", meta->namespace_, service);
    emit(arg, key);
}

/* Only endpoints with a hostname have a reverse name. */
static void emit_slice_ips(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct dns_slice *s = object;
    const struct dns_endpoint *list = s->endpoints.items;

    for (size_t i = 0; i < s->endpoints.count; i++)
        if (list[i].hostname[0] && list[i].addresses.count)
            emit(arg, list[i].addresses.strings[0]);
}

static const struct informer_index service_indexes[] = {{"ip", emit_service_ips}};
static const struct informer_index slice_indexes[] = {
    {"service", emit_slice_service},
    {"ip", emit_slice_ips},
};

static void note_change(struct cluster_source *s)
{
    atomic_store(&s->serial, (unsigned)(env_wall_ns(s->env) / NS_PER_S));
}

static void on_service(void *arg, const void *old_object, const void *new_object)
{
    note_change(arg);
}

static void on_slice(void *arg, const void *old_object, const void *new_object)
{
    struct cluster_source *s = arg;
    const struct object_meta *meta = new_object ? new_object : old_object;

    note_change(s);
    env_lock(s->env, &s->lock);
    if (s->slice_name && c_eq(meta->name, s->slice_name) && c_eq(meta->namespace_, DNS_NAMESPACE)) {
        s->looked_after = false;
        env_signal(s->env, &s->wake);
    }
    env_unlock(s->env, &s->lock);
}

struct cluster_source *cluster_source_new(struct api_client *client)
{
    struct cluster_source *s = xcalloc(1, sizeof(*s));

    s->client = client;
    s->env = api_client_env(client);
    env_lock_init(&s->lock);
    env_cond_init(&s->wake);
    note_change(s);
    s->services = informer_new(client, &(struct informer_config){
                                           .group_version = "v1",
                                           .plural = "services",
                                           .projection = &dns_service_projection,
                                           .handler = on_service,
                                           .arg = s,
                                           .indexes = service_indexes,
                                           .index_count = ARRAY_COUNT(service_indexes),
                                       });
    s->slices = informer_new(client, &(struct informer_config){
                                         .group_version = "discovery.k8s.io/v1",
                                         .plural = "endpointslices",
                                         .projection = &dns_slice_projection,
                                         .handler = on_slice,
                                         .arg = s,
                                         .indexes = slice_indexes,
                                         .index_count = ARRAY_COUNT(slice_indexes),
                                     });
    return s;
}

void cluster_source_start(struct cluster_source *s)
{
    informer_start(s->services);
    informer_start(s->slices);
}

bool cluster_source_synced(struct cluster_source *s)
{
    return informer_synced(s->services) && informer_synced(s->slices);
}

static const struct dns_service *find_service(void *arg, const char *namespace_, const char *name)
{
    return informer_get(((struct cluster_source *)arg)->services, namespace_, name);
}

static bool has_namespace(void *arg, const char *namespace_)
{
    struct projected_array all =
        informer_list(((struct cluster_source *)arg)->services, namespace_);
    bool any = all.count > 0;

    projected_array_done(&all);
    return any;
}

static struct projected_array find_slices(void *arg, const char *service_key)
{
    return informer_by_index(((struct cluster_source *)arg)->slices, "service", service_key);
}

static struct projected_array find_services_by_ip(void *arg, const char *ip)
{
    return informer_by_index(((struct cluster_source *)arg)->services, "ip", ip);
}

static struct projected_array find_slices_by_ip(void *arg, const char *ip)
{
    return informer_by_index(((struct cluster_source *)arg)->slices, "ip", ip);
}

static uint32_t serial(void *arg)
{
    return atomic_load(&((struct cluster_source *)arg)->serial);
}

struct zone_source cluster_source_zone(struct cluster_source *s)
{
    return (struct zone_source){
        .arg = s,
        .service = find_service,
        .has_namespace = has_namespace,
        .slices = find_slices,
        .services_by_ip = find_services_by_ip,
        .slices_by_ip = find_slices_by_ip,
        .serial = serial,
    };
}

static struct api_ref slice_ref(const struct cluster_source *s, const char *name)
{
    return (struct api_ref){
        .group_version = "discovery.k8s.io/v1",
        .plural = "endpointslices",
        .namespace_ = DNS_NAMESPACE,
        .name = name,
    };
}

/* So that the slice goes when the Node goes, though we did not stop cleanly. */
static void add_owner(struct cluster_source *s, cJSON *slice)
{
    struct api_ref ref = {.group_version = "v1", .plural = "nodes", .name = s->node};
    autojson cJSON *node = NULL;
    struct error err;

    if (api_get(s->client, &ref, &node, &err) < 0)
        return;
    const char *uid = json_string_at(node, "metadata.uid");
    if (uid)
        json_set_at(slice, "metadata.ownerReferences",
            json_make("[{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"name\":\"%s\",\"uid\":\"%s\"}]",
                s->node, uid));
}

static cJSON *make_slice(struct cluster_source *s)
{
    cJSON *slice = json_make(
        "{\"apiVersion\":\"discovery.k8s.io/"
        "v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"%s\","
        "\"namespace\":\"" DNS_NAMESPACE "\",\"labels\":{\"" SERVICE_NAME_LABEL "\":\"" DNS_SERVICE
        "\","
        "\"endpointslice.kubernetes.io/managed-by\":\"" MANAGED_BY "\"}},\"addressType\":\"IPv4\","
        "\"endpoints\":[{\"addresses\":[\"%s\"],\"nodeName\":\"%s\",\"conditions\":{\"ready\":true,"
        "\"serving\":true,\"terminating\":false}}],\"ports\":[{\"name\":\"dns\",\"port\":%d,"
        "\"protocol\":\"UDP\"},"
        "{\"name\":\"dns-tcp\",\"port\":%d,\"protocol\":\"TCP\"}]}",
        s->slice_name, s->address, s->node, s->port, s->port);

    add_owner(s, slice);
    return slice;
}

static bool is_right(const struct cluster_source *s, const struct dns_slice *slice)
{
    const struct dns_endpoint *e = slice->endpoints.items;
    const struct dns_service_port *p = slice->ports.items;

    return slice->endpoints.count == 1 && slice->ports.count == 2 && e->addresses.count == 1 &&
           c_eq(e->addresses.strings[0], s->address) && (!e->ready.set || e->ready.value) &&
           p[0].port == s->port && p[1].port == s->port &&
           c_eq(string_map_get(&slice->meta.labels, SERVICE_NAME_LABEL), DNS_SERVICE);
}

static int put_slice(struct cluster_source *s, struct error *err)
{
    const struct dns_slice *there = informer_get(s->slices, DNS_NAMESPACE, s->slice_name);
    bool right = there && is_right(s, there);
    int r = 0;

    if (!right) {
        autojson cJSON *slice = make_slice(s);
        struct api_ref ref = slice_ref(s, there ? s->slice_name : NULL);
        if (there)
            json_set_string_at(slice, "metadata.resourceVersion", there->meta.resource_version);
        r = there ? api_update(s->client, &ref, slice, NULL, err)
                  : api_create(s->client, &ref, slice, NULL, err);
        if (r == 0)
            log_info("registered as an endpoint of the cluster DNS", "slice", "%s", s->slice_name,
                "address", "%s", s->address, "port", "%d", s->port, NULL);
    }
    projected_unref(there);
    /* The informer lags behind: it will tell of the other writer. */
    return r == -ERR_ALREADY_EXISTS || r == -ERR_CONFLICT ? 0 : r;
}

static void register_run(void *arg)
{
    struct cluster_source *s = arg;
    struct error err;

    env_lock(s->env, &s->lock);
    while (!s->stop) {
        s->looked_after = true;
        env_unlock(s->env, &s->lock);
        bool synced = cluster_source_synced(s);
        int r = synced ? put_slice(s, &err) : 0;
        if (r < 0)
            log_warning("can't register as an endpoint of the cluster DNS, retrying", "error", "%s",
                err.text, NULL);
        int64_t again_ns = env_now_ns(s->env) + (!synced    ? UNSYNCED_NS
                                                    : r < 0 ? RETRY_NS
                                                            : LOOK_NS);
        env_lock(s->env, &s->lock);
        while (!s->stop && s->looked_after)
            if (!env_wait_until(s->env, &s->wake, &s->lock, again_ns))
                break;
    }
    env_unlock(s->env, &s->lock);
}

void cluster_source_register(struct cluster_source *s, const struct cluster_source_config *config)
{
    env_lock(s->env, &s->lock);
    s->slice_name = str_format("%s-%s", DNS_SERVICE, config->node);
    s->node = xstrdup(config->node);
    s->address = xstrdup(config->address);
    s->port = config->port;
    env_unlock(s->env, &s->lock);
    s->task = env_spawn(s->env, "register", register_run, s);
}

static void delete_slice(struct cluster_source *s)
{
    struct api_ref ref = slice_ref(s, s->slice_name);
    struct api_delete_options options = {.grace_seconds = -1};
    struct error err;
    int r = api_delete(s->client, &ref, &options, NULL, &err);

    if (r < 0 && r != -ERR_NOT_FOUND)
        log_warning(
            "can't delete our endpoint of the cluster DNS, it stays until the next start or the "
            "Node's end",
            "error", "%s", err.text, NULL);
}

void cluster_source_unregister(struct cluster_source *s)
{
    if (!s->task)
        return;
    env_lock(s->env, &s->lock);
    s->stop = true;
    env_signal(s->env, &s->wake);
    env_unlock(s->env, &s->lock);
    env_join(s->env, steal(&s->task));
    delete_slice(s);
}

void cluster_source_free(struct cluster_source *s)
{
    if (!s)
        return;
    cluster_source_unregister(s);
    informer_free(s->services);
    informer_free(s->slices);
    free(s->slice_name);
    free(s->node);
    free(s->address);
    env_cond_done(&s->wake);
    env_lock_done(&s->lock);
    free(s);
}
