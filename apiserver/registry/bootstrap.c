/*
 * The objects every cluster starts with, written through the pipeline like anybody's.
 *
 * Missing ones are made; roles and bindings of the bootstrap policy get back the rules and subjects
 * they lack (unless annotated autoupdate: "false"), and keep what was added, as upstream's
 * reconciliation does. The Service "kubernetes" always has the first address of the service range,
 * and its Endpoints and EndpointSlice this server's advertised address.
 */
#include "apiserver/registry/bootstrap.h"

#include <stdarg.h>

#include "apiserver/auth/policy.h"
#include "apiserver/cache/cache.h"
#include "apiserver/registry/service_addresses.h"
#include "apiserver/request/request.h"
#include "common/file.h"

/* What is missing, gathered and then made at once: a start from nothing is a few commits, not a
 * hundred. */
struct making {
    struct server *server;
    struct own_request *list; /* targets and bodies are ours */
    size_t count;
};

struct place {
    const struct resource *resource;
    char collection[256], object[512];
};

/* Where an object lives, by its apiVersion and kind. */
static int place_of(struct server *s, const cJSON *object, struct place *ret, struct error *err)
{
    const char *version = json_string(object, "apiVersion"), *kind = json_string(object, "kind");
    const char *namespace_ = json_string_at(object, "metadata.namespace");
    const struct resource *r = api_find_kind(s->api, version, kind);
    if (!r)
        return error_set(err, ERR_INTERNAL, "no resource for %s %s", version, kind);
    ret->resource = r;
    snprintf(ret->collection, sizeof(ret->collection), "/%s/%s%s%s/%s", *r->group ? "apis" : "api",
        version, namespace_ ? "/namespaces/" : "", namespace_ ? namespace_ : "", r->plural);
    snprintf(ret->object, sizeof(ret->object), "%s/%s", ret->collection,
        json_string_at(object, "metadata.name"));
    return 0;
}

static struct object *current(struct server *s, const struct place *place, const cJSON *object)
{
    const char *namespace_ = json_string_at(object, "metadata.namespace");
    return cache_get(s->cache, place->resource, str_of(namespace_),
        str_of(json_string_at(object, "metadata.name")));
}

static int create(struct making *m, const struct place *place, const cJSON *object)
{
    m->list = xrealloc(m->list, (m->count + 1) * sizeof(*m->list));
    m->list[m->count++] = (struct own_request){.method = "POST",
        .target = xstrdup(place->collection),
        .body = cJSON_Duplicate(object, true)};
    return 0;
}

static void making_done(struct making *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free((char *)(uintptr_t)m->list[i].target);
        cJSON_Delete((cJSON *)(uintptr_t)m->list[i].body);
    }
    free(m->list);
    m->list = NULL;
    m->count = 0;
}

static int make_all(struct making *m, struct error *err)
{
    int result = 0;
    request_call_all(m->server, m->list, m->count);
    for (size_t i = 0; i < m->count && result == 0; i++) {
        const struct own_request *made = &m->list[i];
        if (made->result == 0 || made->err.code == ERR_ALREADY_EXISTS)
            continue;
        *err = made->err;
        result =
            error_wrap(err, "%s %s", made->target, json_string_at(made->body, "metadata.name"));
    }
    making_done(m);
    return result;
}

static int ensure(struct making *m, const cJSON *object, struct error *err)
{
    struct place place;
    if (place_of(m->server, object, &place, err) < 0)
        return -err->code;
    struct object *o = current(m->server, &place, object);
    object_unref(o);
    return o ? 0 : create(m, &place, object);
}

static int ensure_text(struct making *m, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int ensure_text(struct making *m, struct error *err, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    autojson cJSON *object = json_make("%s", text);
    return ensure(m, object, err);
}

/* --- roles and bindings --- */

static bool contains(const cJSON *array, const cJSON *wanted)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (json_equal(item, wanted))
            return true;
    }
    return false;
}

/* Adds the elements of want.NAME that have.NAME lacks; true when there were any. */
static bool add_missing(cJSON *have, const cJSON *want, const char *name)
{
    const cJSON *item;
    bool changed = false;
    cJSON_ArrayForEach(item, json_get(want, name))
    {
        if (contains(json_get(have, name), item))
            continue;
        if (!json_get(have, name))
            json_set(have, name, cJSON_CreateArray());
        cJSON_AddItemToArray(json_get(have, name), cJSON_Duplicate(item, true));
        changed = true;
    }
    return changed;
}

/* A binding to another role can only be replaced: the role is the policy's, the subjects are both.
 */
static int make_anew(struct server *s, const struct place *place, const cJSON *have,
    const cJSON *wanted, struct error *err)
{
    autojson cJSON *fresh = cJSON_Duplicate(have, true);
    json_set(fresh, "roleRef", cJSON_Duplicate(json_get(wanted, "roleRef"), true));
    add_missing(fresh, wanted, "subjects");
    static const char *const assigned[] = {
        "uid", "resourceVersion", "creationTimestamp", "managedFields"};
    for (size_t i = 0; i < ARRAY_COUNT(assigned); i++)
        json_remove(json_get(fresh, "metadata"), assigned[i]);
    if ((request_call(s, "DELETE", place->object, NULL, NULL, err) < 0 &&
            err->code != ERR_NOT_FOUND) ||
        (request_call(s, "POST", place->collection, fresh, NULL, err) < 0 &&
            err->code != ERR_ALREADY_EXISTS))
        return error_wrap(err, "%s", place->object);
    return 0;
}

static int reconcile_policy(void *arg, const cJSON *wanted, struct error *err)
{
    struct making *m = arg;
    struct server *s = m->server;
    struct place place;
    if (place_of(s, wanted, &place, err) < 0)
        return -err->code;
    struct object *o = current(s, &place, wanted);
    if (!o)
        return create(m, &place, wanted);
    autojson cJSON *have = object_tree(o);
    object_unref(o);
    const char *automatic = json_string(
        json_path(have, "metadata.annotations"), "rbac.authorization.kubernetes.io/autoupdate");
    bool is_aggregated =
        json_get(wanted, "aggregationRule"); /* its rules are the aggregation controller's */
    if (c_eq(automatic, "false") || is_aggregated)
        return 0;
    if (!json_equal(json_get(have, "roleRef"), json_get(wanted, "roleRef"))) /* never changes */
        return make_anew(s, &place, have, wanted, err);
    bool changed = add_missing(have, wanted, "rules");
    if (add_missing(have, wanted, "subjects") || changed) {
        if (request_call(s, "PUT", place.object, have, NULL, err) < 0 && err->code != ERR_CONFLICT)
            return error_wrap(err, "%s", place.object);
    }
    return 0;
}

/* --- the Service "kubernetes" --- */

/* Makes the object, or puts what is at `member` right in the one that is there. */
static int ensure_member(
    struct making *m, const cJSON *wanted, const char *member, struct error *err)
{
    struct server *s = m->server;
    struct place place;
    if (place_of(s, wanted, &place, err) < 0)
        return -err->code;
    struct object *o = current(s, &place, wanted);
    if (!o)
        return create(m, &place, wanted);
    autojson cJSON *have = object_tree(o);
    object_unref(o);
    if (json_equal(json_get(have, member), json_get(wanted, member)))
        return 0;
    json_set(have, member, cJSON_Duplicate(json_get(wanted, member), true));
    return request_call(s, "PUT", place.object, have, NULL, err) < 0 && err->code != ERR_CONFLICT
               ? error_wrap(err, "%s", place.object)
               : 0;
}

static int ensure_kubernetes_service(struct making *m, struct error *err)
{
    char address[IP_TEXT_BYTES];
    const struct server_config *config = m->server->config;
    struct service_ranges ranges;
    const char *own = config->advertise_address;
    int port = config->secure_port;
    if (service_ranges_parse(config->service_cidr, &ranges, err) < 0)
        return -err->code;
    if (ensure_text(m, err,
            "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"ServiceCIDR\",\"metadata\":{"
            "\"name\":\"" SERVICE_CIDR_OF_FLAG "\"},\"spec\":{\"cidrs\":[\"%s\"%s%s%s]}}",
            ranges.at[0].text, ranges.count > 1 ? ",\"" : "",
            ranges.count > 1 ? ranges.at[1].text : "", ranges.count > 1 ? "\"" : "") < 0)
        return -err->code;
    service_range_print(&ranges.at[0], 1, address);
    if (ensure_text(m, err,
            "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"kubernetes\","
            "\"namespace\":\"default\","
            "\"labels\":{\"component\":\"apiserver\",\"provider\":\"kubernetes\"}},\"spec\":{"
            "\"clusterIP\":\"%s\","
            "\"type\":\"ClusterIP\",\"sessionAffinity\":\"None\",\"ports\":[{\"name\":\"https\","
            "\"protocol\":\"TCP\","
            "\"port\":443,\"targetPort\":%d}]}}",
            address, port) < 0)
        return -err->code;
    if (str_starts(str_of(own), STR("127.")))
        return 0; /* endpoints may not be loopback addresses: nothing but this machine reaches the
                     server */
    autojson cJSON *endpoints =
        json_make("{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":"
                  "\"kubernetes\",\"namespace\":\"default\","
                  "\"labels\":{\"endpointslice.kubernetes.io/"
                  "skip-mirror\":\"true\"}},\"subsets\":[{\"addresses\":[{\"ip\":\"%s\"}],"
                  "\"ports\":[{\"name\":\"https\",\"port\":%d,\"protocol\":\"TCP\"}]}]}",
            own, port);
    autojson cJSON *slice =
        json_make("{\"apiVersion\":\"discovery.k8s.io/"
                  "v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"kubernetes\","
                  "\"namespace\":\"default\",\"labels\":{\"kubernetes.io/"
                  "service-name\":\"kubernetes\"}},\"addressType\":\"%s\","
                  "\"endpoints\":[{\"addresses\":[\"%s\"],\"conditions\":{\"ready\":true}}],"
                  "\"ports\":[{\"name\":\"https\",\"port\":%d,\"protocol\":\"TCP\"}]}",
            ip_family_name(ip_family(own)), own, port);
    if (ensure_member(m, endpoints, "subsets", err) < 0)
        return -err->code;
    return ensure_member(m, slice, "endpoints", err);
}

/* --- the rest --- */

static int ensure_namespaces(struct making *m, struct error *err)
{
    static const char *const names[] = {"default", "kube-system", "kube-public", "kube-node-lease"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (ensure_text(m, err,
                "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\"}}",
                names[i]) < 0)
            return -err->code;
    return 0;
}

static int ensure_priority_classes(struct making *m, struct error *err)
{
    static const struct {
        const char *name, *help;
        int value;
    } classes[] = {
        {"system-cluster-critical",
            "Used for system critical pods that must run in the cluster, but can be moved to "
            "another node if necessary.",
            2000000000},
        {"system-node-critical",
            "Used for system critical pods that must not be moved from their current node.",
            2000001000},
    };
    for (size_t i = 0; i < ARRAY_COUNT(classes); i++)
        if (ensure_text(m, err,
                "{\"apiVersion\":\"scheduling.k8s.io/"
                "v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"%s\"},"
                "\"value\":%d,\"globalDefault\":false,\"description\":\"%s\",\"preemptionPolicy\":"
                "\"PreemptLowerPriority\"}",
                classes[i].name, classes[i].value, classes[i].help) < 0)
            return -err->code;
    return 0;
}

/* The built-in provisioner's class (controller/volume.h), unless somebody made one of the name. */
static int ensure_storage_class(struct making *m, struct error *err)
{
    return ensure_text(m, err,
        "{\"apiVersion\":\"storage.k8s.io/v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":"
        "\"host-path\",\"annotations\":{\"storageclass.kubernetes.io/is-default-class\":\"true\"}},"
        "\"provisioner\":\"skiff.io/host-path\",\"reclaimPolicy\":\"Delete\",\"volumeBindingMode\":"
        "\"WaitForFirstConsumer\",\"allowVolumeExpansion\":true}");
}

static int ensure_authentication_config(struct making *m, struct error *err)
{
    autostrbuf struct strbuf ca = STRBUF_EMPTY;
    strbuf_init(&ca, 1 << 20);
    const char *path = m->server->config->client_ca_file;
    if (path && file_read(path, 1 << 20, &ca, err) < 0)
        return error_wrap(err, "--client-ca-file %s", path);
    autojson cJSON *map = json_make(
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":"
        "\"extension-apiserver-authentication\",\"namespace\":\"kube-system\"},\"data\":{}}");
    if (ca.n)
        json_set_string(json_get(map, "data"), "client-ca-file", ca.data);
    return ensure_member(m, map, "data", err);
}

int bootstrap_run(struct server *server, struct error *err)
{
    struct making m = {.server = server};
    if (ensure_namespaces(&m, err) == 0 && make_all(&m, err) == 0 &&
        policy_walk(reconcile_policy, &m, err) == 0 && ensure_priority_classes(&m, err) == 0 &&
        ensure_storage_class(&m, err) == 0 && ensure_kubernetes_service(&m, err) == 0 &&
        ensure_authentication_config(&m, err) == 0 && make_all(&m, err) == 0) {
        service_repair(server);
        return 0;
    }
    making_done(&m);
    return error_wrap(err, "objects every cluster starts with");
}
