/*
 * Defaults that depend on something else than the field alone: named functions that .api files
 * attach to a type with `defaults=NAME`. Each runs after the defaults of the type's own fields and
 * before those of the objects below.
 *
 * Upstream: the SetDefaults_* functions of pkg/apis.
 */
#include "apiserver/schema/model.h"

#include "common/base64.h"

/* An object member, made when it is missing. */
static cJSON *ensure_object(cJSON *parent, const char *name)
{
    cJSON *o = json_get(parent, name);
    if (cJSON_IsObject(o))
        return o;
    o = cJSON_CreateObject();
    json_set(parent, name, o);
    return o;
}

static bool is_absent(const cJSON *object, const char *name)
{
    const cJSON *item = json_get(object, name);
    return !item || cJSON_IsNull(item);
}

static bool has_string(const cJSON *object, const char *name, const char *value)
{
    return !strcmp(value_string(json_get(object, name)), value);
}

static void set_string_if_empty(cJSON *object, const char *name, const char *value)
{
    if (value_is_empty(json_get(object, name)))
        json_set_string(object, name, value);
}

static void set_number_if_absent(cJSON *object, const char *name, double value)
{
    if (is_absent(object, name))
        json_set(object, name, cJSON_CreateNumber(value));
}

/* The tag of an image reference, "" when it has a digest only, "latest" when it has neither. */
static const char *image_tag(const char *image)
{
    const char *digest = strchr(image, '@');
    const char *slash = strrchr(image, '/');
    const char *colon = strrchr(slash ? slash : image, ':');
    if (digest) {
        colon = NULL;
        for (const char *p = slash && slash < digest ? slash : image; p < digest; p++)
            if (*p == ':')
                colon = p;
        return colon ? colon + 1 : "";
    }
    return colon ? colon + 1 : "latest";
}

static void default_container(cJSON *c)
{
    if (value_is_empty(json_get(c, "imagePullPolicy"))) {
        bool latest = !strcmp(image_tag(value_string(json_get(c, "image"))), "latest");
        json_set_string(c, "imagePullPolicy", latest ? "Always" : "IfNotPresent");
    }
}

/* serviceAccount is the old name of serviceAccountName: either gives both. */
static void default_pod_spec(cJSON *spec)
{
    const char *name = value_string(json_get(spec, "serviceAccountName"));
    const char *old = value_string(json_get(spec, "serviceAccount"));
    if (*name)
        json_set_string(spec, "serviceAccount", name);
    else if (*old)
        json_set_string(spec, "serviceAccountName", old);
}

/* Members of `from` that `to` has not. */
static void copy_missing(cJSON *to, const cJSON *from)
{
    automembers struct members members = members_of(to, members_count(from));
    for (const cJSON *m = from ? from->child : NULL; m; m = m->next)
        if (!members_get(&members, m->string))
            members_set(&members, m->string, cJSON_Duplicate(m, true));
}

static void limits_to_requests(cJSON *containers)
{
    for (cJSON *c = containers ? containers->child : NULL; c; c = c->next) {
        cJSON *resources = json_get(c, "resources");
        cJSON *limits = json_get(resources, "limits");
        if (!limits || !limits->child)
            continue;
        copy_missing(ensure_object(resources, "requests"), limits);
    }
}

static void host_ports(cJSON *containers)
{
    for (cJSON *c = containers ? containers->child : NULL; c; c = c->next) {
        cJSON *ports = json_get(c, "ports");
        for (cJSON *p = ports ? ports->child : NULL; p; p = p->next)
            if (value_is_empty(json_get(p, "hostPort")) && json_get(p, "containerPort"))
                json_set(p, "hostPort", cJSON_Duplicate(json_get(p, "containerPort"), true));
    }
}

static void default_pod(cJSON *pod)
{
    cJSON *spec = ensure_object(pod, "spec");
    limits_to_requests(json_get(spec, "containers"));
    limits_to_requests(json_get(spec, "initContainers"));
    if (is_absent(spec, "enableServiceLinks"))
        json_set(spec, "enableServiceLinks", cJSON_CreateTrue());
    if (json_bool(spec, "hostNetwork", false)) {
        host_ports(json_get(spec, "containers"));
        host_ports(json_get(spec, "initContainers"));
    }
}

static void default_volume(cJSON *volume)
{
    for (const cJSON *m = volume->child; m; m = m->next)
        if (strcmp(m->string, "name") != 0 && !cJSON_IsNull(m))
            return;
    json_set(volume, "emptyDir", cJSON_CreateObject());
}

static void default_namespace(cJSON *ns)
{
    cJSON *metadata = json_get(ns, "metadata");
    const char *name = value_string(json_get(metadata, "name"));
    if (*name)
        json_set_string(ensure_object(metadata, "labels"), "kubernetes.io/metadata.name", name);
}

static void default_node_status(cJSON *status)
{
    cJSON *capacity = json_get(status, "capacity");
    if (is_absent(status, "allocatable") && capacity)
        json_set(status, "allocatable", cJSON_Duplicate(capacity, true));
}

static void default_limit_range_item(cJSON *item)
{
    if (!has_string(item, "type", "Container"))
        return;
    copy_missing(ensure_object(item, "default"), json_get(item, "max"));
    copy_missing(ensure_object(item, "defaultRequest"), json_get(item, "default"));
    copy_missing(ensure_object(item, "defaultRequest"), json_get(item, "min"));
}

static void default_lb_ingress(cJSON *ingress)
{
    if (!value_is_empty(json_get(ingress, "ip")))
        set_string_if_empty(ingress, "ipMode", "VIP");
}

static void default_service_port(cJSON *port)
{
    const cJSON *target = json_get(port, "targetPort");
    if (value_is_empty(target) && json_get(port, "port"))
        json_set(port, "targetPort", cJSON_Duplicate(json_get(port, "port"), true));
}

static void default_service_spec(cJSON *spec)
{
    bool balancer = has_string(spec, "type", "LoadBalancer");
    bool node_port = has_string(spec, "type", "NodePort");
    if (has_string(spec, "sessionAffinity", "None")) {
        json_remove(spec, "sessionAffinityConfig");
    } else if (has_string(spec, "sessionAffinity", "ClientIP")) {
        cJSON *client = ensure_object(ensure_object(spec, "sessionAffinityConfig"), "clientIP");
        set_number_if_absent(client, "timeoutSeconds", 10800);
    }
    if (balancer || node_port)
        set_string_if_empty(spec, "externalTrafficPolicy", "Cluster");
    if (balancer || node_port || has_string(spec, "type", "ClusterIP"))
        set_string_if_empty(spec, "internalTrafficPolicy", "Cluster");
    if (balancer && is_absent(spec, "allocateLoadBalancerNodePorts"))
        json_set(spec, "allocateLoadBalancerNodePorts", cJSON_CreateTrue());
}

static void template_labels(cJSON *object, bool selector)
{
    cJSON *spec = json_get(object, "spec");
    cJSON *labels = json_path(spec, "template.metadata.labels");
    if (!labels || !labels->child)
        return;
    if (selector && value_is_empty(json_get(spec, "selector")))
        json_set(spec, "selector", cJSON_Duplicate(labels, true));
    cJSON *metadata = ensure_object(object, "metadata");
    if (value_is_empty(json_get(metadata, "labels")))
        json_set(metadata, "labels", cJSON_Duplicate(labels, true));
}

static void default_replication_controller(cJSON *rc)
{
    template_labels(rc, true);
}

static void default_rolling_update(cJSON *strategy)
{
    if (has_string(strategy, "type", "RollingUpdate") && is_absent(strategy, "rollingUpdate"))
        json_set(strategy, "rollingUpdate", cJSON_CreateObject());
}

static void default_stateful_set_spec(cJSON *spec)
{
    cJSON *claims = json_get(spec, "volumeClaimTemplates");
    for (cJSON *c = claims ? claims->child : NULL; c; c = c->next) {
        json_set_string(c, "kind", "PersistentVolumeClaim");
        json_set_string(c, "apiVersion", "v1");
    }
}

static void default_hpa(cJSON *spec)
{
    if (!value_is_empty(json_get(spec, "metrics")))
        return;
    json_set(spec, "metrics",
        json_make("[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\","
                  "\"target\":{\"type\":\"Utilization\",\"averageUtilization\":80}}}]"));
}

static void default_hpa_behavior(cJSON *behavior)
{
    static const char *const up =
        "{\"stabilizationWindowSeconds\":0,\"selectPolicy\":\"Max\",\"policies\":["
        "{\"type\":\"Pods\",\"value\":4,\"periodSeconds\":15},"
        "{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]}";
    static const char *const down = "{\"selectPolicy\":\"Max\",\"policies\":["
                                    "{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]}";
    autojson cJSON *up_rules = json_make("%s", up), *down_rules = json_make("%s", down);
    copy_missing(ensure_object(behavior, "scaleUp"), up_rules);
    copy_missing(ensure_object(behavior, "scaleDown"), down_rules);
}

/* Of a Job only: the template in a CronJob keeps what its author left out. */
static void default_job(cJSON *job)
{
    template_labels(job, false);
    cJSON *spec = ensure_object(job, "spec");
    if (is_absent(spec, "completions") && is_absent(spec, "parallelism"))
        json_set(spec, "completions", cJSON_CreateNumber(1));
    set_number_if_absent(spec, "parallelism", 1);
    set_number_if_absent(
        spec, "backoffLimit", is_absent(spec, "backoffLimitPerIndex") ? 6 : 2147483647);
    set_string_if_empty(spec, "completionMode", "NonIndexed");
    if (is_absent(spec, "suspend"))
        json_set(spec, "suspend", cJSON_CreateFalse());
    set_string_if_empty(spec, "podReplacementPolicy",
        is_absent(spec, "podFailurePolicy") ? "TerminatingOrFailed" : "Failed");
}

/* stringData is written only: it goes into data, over what stands there. */
static void default_secret(cJSON *secret)
{
    cJSON *plain = json_get(secret, "stringData");
    if (plain && plain->child) {
        automembers struct members data =
            members_of(ensure_object(secret, "data"), members_count(plain));
        for (const cJSON *m = plain->child; m; m = m->next) {
            autostrbuf struct strbuf text = STRBUF_EMPTY;
            base64_encode(str_of(value_string(m)), &text);
            members_set(&data, m->string, cJSON_CreateString(text.data));
        }
    }
    json_remove(secret, "stringData");
}

static void default_network_policy(cJSON *spec)
{
    if (!value_is_empty(json_get(spec, "policyTypes")))
        return;
    cJSON *types = cJSON_CreateArray();
    cJSON_AddItemToArray(types, cJSON_CreateString("Ingress"));
    if (!value_is_empty(json_get(spec, "egress")))
        cJSON_AddItemToArray(types, cJSON_CreateString("Egress"));
    json_set(spec, "policyTypes", types);
}

static void default_subject(cJSON *subject)
{
    if (has_string(subject, "kind", "User") || has_string(subject, "kind", "Group"))
        set_string_if_empty(subject, "apiGroup", "rbac.authorization.k8s.io");
}

static void default_priority_level(cJSON *spec)
{
    if (!has_string(spec, "type", "Limited"))
        return;
    cJSON *limited = ensure_object(spec, "limited");
    set_number_if_absent(limited, "nominalConcurrencyShares", 30);
    set_number_if_absent(limited, "lendablePercent", 0);
    cJSON *response = ensure_object(limited, "limitResponse");
    if (has_string(response, "type", "Queue")) {
        cJSON *queuing = ensure_object(response, "queuing");
        set_number_if_absent(queuing, "queues", 64);
        set_number_if_absent(queuing, "handSize", 8);
        set_number_if_absent(queuing, "queueLengthLimit", 50);
    }
}

static void default_crd(cJSON *crd)
{
    cJSON *names = json_path(crd, "spec.names");
    const char *kind = value_string(json_get(names, "kind"));
    if (!*kind)
        return;
    autofree char *singular = xstrdup(kind), *list = str_format("%sList", kind);
    for (char *p = singular; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    set_string_if_empty(names, "singular", singular);
    set_string_if_empty(names, "listKind", list);
}

static void default_device_request(cJSON *exact)
{
    set_string_if_empty(exact, "allocationMode", "ExactCount");
    if (has_string(exact, "allocationMode", "ExactCount"))
        if (value_is_empty(json_get(exact, "count")))
            json_set(exact, "count", cJSON_CreateNumber(1));
}

static const struct {
    const char *name;
    default_fn *fn;
} table[] = {
    {"container", default_container},
    {"crd", default_crd},
    {"device_request", default_device_request},
    {"hpa", default_hpa},
    {"hpa_behavior", default_hpa_behavior},
    {"job", default_job},
    {"lb_ingress", default_lb_ingress},
    {"limit_range_item", default_limit_range_item},
    {"namespace", default_namespace},
    {"network_policy", default_network_policy},
    {"node_status", default_node_status},
    {"pod", default_pod},
    {"pod_spec", default_pod_spec},
    {"priority_level", default_priority_level},
    {"replication_controller", default_replication_controller},
    {"rolling_update", default_rolling_update},
    {"secret", default_secret},
    {"service_port", default_service_port},
    {"service_spec", default_service_spec},
    {"stateful_set_spec", default_stateful_set_spec},
    {"subject", default_subject},
    {"volume", default_volume},
};

default_fn *default_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        if (str_eqc(name, table[i].name))
            return table[i].fn;
    return NULL;
}
