/*
 * See warnings.h. Upstream: pkg/api/pod/warnings.go, the lifecycle of API types.
 */
#include "apiserver/registry/warnings.h"

#include "common/names.h"

/* Each is compared with those before it: lists longer than anybody writes are not looked through.
 */
#define COMPARED_MAX 200

static const struct {
    const char *group, *plural, *text;
} leaving[] = {
    {"", "endpoints",
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"},
    {"", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"},
};

/* Where the pods of a kind are described. */
static const struct {
    const char *group, *plural, *template_;
} with_pods[] = {
    {"", "pods", ""},
    {"", "podtemplates", "template"},
    {"", "replicationcontrollers", "spec.template"},
    {"apps", "daemonsets", "spec.template"},
    {"apps", "deployments", "spec.template"},
    {"apps", "replicasets", "spec.template"},
    {"apps", "statefulsets", "spec.template"},
    {"batch", "cronjobs", "spec.jobTemplate.spec.template"},
    {"batch", "jobs", "spec.template"},
};

static const struct {
    const char *label, *since, *instead;
} old_labels[] = {
    {"beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"},
    {"beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"},
    {"failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"},
    {"failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"},
    {"beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"},
};

void warn_of_kind(struct request *q)
{
    const struct resource *r = q->resource;

    for (size_t i = 0; r && i < ARRAY_COUNT(leaving); i++)
        if (c_eq(r->plural, leaving[i].plural) && c_eq(r->group, leaving[i].group))
            request_warn(q, "%s", leaving[i].text);
}

/* --- pods --- */

static void warn_of_labels(struct request *q, const cJSON *spec, const char *path)
{
    for (size_t i = 0; i < ARRAY_COUNT(old_labels); i++)
        if (json_get(json_get(spec, "nodeSelector"), old_labels[i].label))
            request_warn(q, "%s.nodeSelector[%s]: deprecated since %s; use \"%s\" instead", path,
                old_labels[i].label, old_labels[i].since, old_labels[i].instead);
}

static void warn_of_environment(struct request *q, const cJSON *container, const char *path)
{
    const cJSON *item, *before, *list = json_get(container, "env");
    int i = 0;

    if (cJSON_GetArraySize(list) > COMPARED_MAX)
        return;
    cJSON_ArrayForEach(item, list)
    {
        for (before = list->child; before != item; before = before->next)
            if (c_eq(json_string(before, "name"), json_string(item, "name")))
                break;
        if (before != item)
            request_warn(q,
                "%s.env[%d]: hides previous definition of \"%s\", which may be dropped when using "
                "apply",
                path, i, json_string(item, "name") ? json_string(item, "name") : "");
        i++;
    }
}

static bool is_same_port(const cJSON *a, const cJSON *b)
{
    return json_int64_at(a, "containerPort", 0) == json_int64_at(b, "containerPort", 0) &&
           c_eq(json_string(a, "protocol"), json_string(b, "protocol")) &&
           json_int64_at(a, "hostPort", 0) == json_int64_at(b, "hostPort", 0) &&
           c_eq(json_string(a, "hostIP"), json_string(b, "hostIP"));
}

static void warn_of_ports(struct request *q, const cJSON *container, const char *path)
{
    const cJSON *item, *before, *list = json_get(container, "ports");
    int i = 0;

    if (cJSON_GetArraySize(list) > COMPARED_MAX)
        return;
    cJSON_ArrayForEach(item, list)
    {
        int at = 0;
        for (before = list->child; before != item; before = before->next, at++)
            if (is_same_port(before, item))
                break;
        if (before != item)
            request_warn(
                q, "%s.ports[%d]: duplicate port definition with %s.ports[%d]", path, i, path, at);
        i++;
    }
}

static void warn_of_fractions(struct request *q, const cJSON *container, const char *path)
{
    static const char *const lists[] = {"limits", "requests"};
    static const char *const whole[] = {"memory", "ephemeral-storage"};

    for (size_t i = 0; i < ARRAY_COUNT(lists) * ARRAY_COUNT(whole); i++) {
        const char *list = lists[i / ARRAY_COUNT(whole)], *name = whole[i % ARRAY_COUNT(whole)];
        const char *text = json_string(json_get(json_get(container, "resources"), list), name);
        size_t n = text ? strlen(text) : 0;
        if (n > 0 && text[n - 1] == 'm')
            request_warn(q,
                "%s.resources.%s[%s]: fractional byte value \"%s\" is invalid, must be an integer",
                path, list, name, text);
    }
}

static void warn_of_spec(struct request *q, const cJSON *spec, const char *path)
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};
    const cJSON *container;

    warn_of_labels(q, spec, path);
    if (json_int64_at(spec, "terminationGracePeriodSeconds", 0) < 0)
        request_warn(q,
            "%s.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will "
            "be treated as 1",
            path);
    for (size_t k = 0; k < ARRAY_COUNT(lists); k++) {
        int i = 0;
        cJSON_ArrayForEach(container, json_get(spec, lists[k]))
        {
            const char *here = arena_printf(q->arena, "%s.%s[%d]", path, lists[k], i++);
            warn_of_environment(q, container, here);
            warn_of_ports(q, container, here);
            warn_of_fractions(q, container, here);
        }
    }
}

static void warn_of_name(struct request *q, const struct write_context *w)
{
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    const char *name = json_string_at(w->tree, "metadata.name");

    if (name && !name_is_dns1123_label(str_of(name), &why))
        request_warn(q,
            "metadata.name: this is used in the Pod's hostname, which can result in surprising "
            "behavior; a DNS label is recommended: [%s]",
            why.data);
}

void warn_of_object(const struct write_context *w)
{
    struct request *q = w->request;

    if (!q || q->trusted || !w->tree || w->kind == WRITE_STATUS || w->kind == WRITE_DELETE)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(with_pods); i++) {
        const char *at = with_pods[i].template_;
        if (!c_eq(w->resource->plural, with_pods[i].plural) ||
            !c_eq(w->resource->group, with_pods[i].group))
            continue;
        const cJSON *template_ = *at ? json_path(w->tree, at) : w->tree;
        if (!*at && w->kind == WRITE_CREATE)
            warn_of_name(q, w);
        warn_of_spec(
            q, json_get(template_, "spec"), *at ? arena_printf(q->arena, "%s.spec", at) : "spec");
    }
}
