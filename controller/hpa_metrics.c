/*
 * Metrics for autoscaling, read through the API: metrics.k8s.io, custom.metrics.k8s.io,
 * external.metrics.k8s.io. None of them need be there; what is missing becomes the condition's
 * reason and message.
 *
 * Upstream: pkg/controller/podautoscaler (metrics/client.go, groupPods of replica_calculator.go).
 */
#include <ctype.h>

#include "common/quantity.h"
#include "common/time.h"
#include "controller/hpa.h"
#include "controller/pods.h"

#define START_PERIOD_NS (300 * NS_PER_S) /* processor use of a starting pod says little */
#define FIRST_READY_NS (30 * NS_PER_S)

/* --- fetching --- */

static void add_encoded(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-_.~", *text))
            strbuf_add_char(out, *text);
        else
            strbuf_addf(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

/* GET path?labelSelector=..; the items. */
static int fetch(const struct hpa_target *t, const char *path, const char *selector,
    const char *parameter, cJSON **ret, struct error *err)
{
    struct strbuf full;
    struct http_response response;
    int r;

    strbuf_init(&full, 0);
    strbuf_addc(&full, path);
    if (selector && *selector) {
        strbuf_addf(&full, "?%s=", parameter);
        add_encoded(&full, selector);
    }
    http_response_init(&response);
    struct http_request request = {.method = "GET", .path = full.data};
    r = api_raw(manager_client(t->m), &request, &response, err);
    if (r == 0 && response.status >= 400)
        r = api_error_from_response(&response, err);
    if (r == 0)
        r = json_parse(strbuf_str(&response.body), ret, err);
    http_response_done(&response);
    strbuf_done(&full);
    return r;
}

static int64_t milli_of(const char *text)
{
    struct quantity q;
    struct error ignored;

    return text && quantity_parse(str_of(text), &q, &ignored) == 0 ? quantity_milli_value(q) : 0;
}

/* --- the target's pods --- */

struct measured {
    struct hpa_usage usage;
    struct pod_list pods;
};

static void measured_done(struct measured *m)
{
    free(m->usage.pods);
    pod_list_done(&m->pods);
}

static void take_pods(const struct hpa_target *t, struct measured *m)
{
    auto_objects struct projected_array all = kind_list(t->m, KIND_POD, t->namespace_);

    m->pods.pods = xcalloc(all.count + 1, sizeof(*m->pods.pods));
    for (size_t i = 0; i < all.count; i++) {
        const struct pod *pod = all.objects[i];
        if (selector_matches(t->parsed, string_map_label, &pod->meta.labels) &&
            !pod->meta.deletion_ns && strcmp(pod->phase, "Failed") != 0)
            m->pods.pods[m->pods.count++] = projected_ref(pod);
    }
    m->usage.pods = xcalloc(m->pods.count + 1, sizeof(*m->usage.pods));
    m->usage.count = m->pods.count;
    for (size_t i = 0; i < m->pods.count; i++)
        m->usage.pods[i] = (struct hpa_pod){.pod = m->pods.pods[i], .usage = -1};
}

/* Whether a pod that has a figure counts yet (processor only). */
static bool is_unready(const struct hpa_target *t, const struct pod *pod, const cJSON *metric)
{
    const struct pod_condition *ready = pod_condition(pod, "Ready");
    const char *at = json_string(metric, "timestamp"), *window = json_string(metric, "window");
    int64_t at_ns = 0, window_ns = 0;
    struct error ignored;

    if (!ready || !pod->meta.creation_ns)
        return true;
    if (at)
        (void)time_parse(str_of(at), &at_ns, &ignored);
    if (window)
        (void)duration_parse(str_of(window), &window_ns, &ignored);
    bool is_false = strcmp(ready->status, "True") != 0;
    if (pod->meta.creation_ns + START_PERIOD_NS > t->now_ns)
        return is_false || at_ns < ready->transition_ns + window_ns;
    return is_false && pod->meta.creation_ns + FIRST_READY_NS > ready->transition_ns;
}

static struct hpa_pod *find_pod(struct measured *m, const char *name)
{
    for (size_t i = 0; name && i < m->usage.count; i++)
        if (!strcmp(m->usage.pods[i].pod->meta.name, name))
            return &m->usage.pods[i];
    return NULL;
}

/* What its containers use of a resource together; -1 when one has no figure. */
static int64_t usage_of(const cJSON *metric, const char *resource, const char *container)
{
    const cJSON *c;
    int64_t sum = -1;

    cJSON_ArrayForEach(c, json_get(metric, "containers"))
    {
        const char *text = json_string(json_get(c, "usage"), resource);
        if (container && !c_eq(json_string(c, "name"), container))
            continue;
        if (!text)
            return -1;
        sum = (sum < 0 ? 0 : sum) + milli_of(text);
    }
    return sum;
}

static int take_requests(const struct hpa_target *t, struct measured *m, const char *resource,
    const char *container, struct error *err)
{
    struct api_ref ref = {.group_version = "v1", .plural = "pods", .namespace_ = t->namespace_};
    autojson cJSON *list = NULL;
    struct strbuf query;
    const cJSON *pod, *c;

    strbuf_init(&query, 0);
    strbuf_addc(&query, "labelSelector=");
    add_encoded(&query, t->selector);
    int r = api_list(manager_client(t->m), &ref, query.data, &list, err);
    strbuf_done(&query);
    cJSON_ArrayForEach(pod, json_get(list, "items"))
    {
        struct hpa_pod *p = find_pod(m, json_string_at(pod, "metadata.name"));
        cJSON_ArrayForEach(c, json_path(pod, "spec.containers"))
        {
            const char *name = json_string(c, "name");
            const char *text = json_string(json_path(c, "resources.requests"), resource);
            if (!p || (container && !c_eq(name, container)))
                continue;
            if (!text)
                return error_set(err, ERR_NOT_FOUND,
                    "missing request for %s in container %s of Pod %s", resource, name,
                    p->pod->meta.name);
            p->request += milli_of(text);
        }
    }
    return r;
}

static int take_usage(const struct hpa_target *t, struct measured *m, const char *resource,
    const char *container, struct error *err)
{
    autojson cJSON *tree = NULL;
    autofree char *path =
        str_format("/apis/metrics.k8s.io/v1beta1/namespaces/%s/pods", t->namespace_);
    bool processor = !strcmp(resource, "cpu");
    const cJSON *item;

    if (fetch(t, path, t->selector, "labelSelector", &tree, err) < 0) {
        struct error why = *err;
        return error_set(err, why.code,
            "unable to get metrics for resource %s: unable to fetch metrics from resource metrics "
            "API: %s",
            resource, why.text);
    }
    cJSON_ArrayForEach(item, json_get(tree, "items"))
    {
        struct hpa_pod *p = find_pod(m, json_string_at(item, "metadata.name"));
        if (!p)
            continue;
        p->usage = usage_of(item, resource, container);
        p->unready = p->usage >= 0 && processor && is_unready(t, p->pod, item);
    }
    for (size_t i = 0; i < m->usage.count; i++)
        if (!strcmp(m->usage.pods[i].pod->phase, "Pending"))
            m->usage.pods[i].unready = true;
    if (!json_get(tree, "items") || !json_get(tree, "items")->child)
        return error_set(err, ERR_NOT_FOUND,
            "unable to get metrics for resource %s: no metrics returned from resource metrics API",
            resource);
    return 0;
}

/* --- the kinds of metrics --- */

struct asked {
    const cJSON *source, *target;
    int64_t *replicas;
    cJSON *current; /* status: the entry's "current" */
    int64_t utilization, average;
};

static void set_quantity(cJSON *object, const char *name, int64_t milli)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    quantity_print(quantity_of_milli(milli), &text);
    json_set_string(object, name, text.data);
}

static int propose_resource(const struct hpa_target *t, struct asked *a, bool of_container,
    char **ret_name, struct error *err)
{
    const char *resource = json_string(a->source, "name");
    const char *container = of_container ? json_string(a->source, "container") : NULL;
    int64_t utilization = json_int64_at(a->target, "averageUtilization", 0);
    const char *average = json_string(a->target, "averageValue");
    struct measured m = {0};
    struct hpa_proposal p;

    *ret_name =
        of_container
            ? str_format("%s container resource utilization (percentage of request)", resource)
            : str_format("%s resource utilization (percentage of request)", resource);
    if (average) {
        free(*ret_name);
        *ret_name = str_format("%s resource", resource);
    }
    take_pods(t, &m);
    int r = take_usage(t, &m, resource, container, err);
    if (r == 0 && !average)
        r = take_requests(t, &m, resource, container, err);
    if (r == 0)
        r = hpa_propose_pods(&m.usage, !average, average ? milli_of(average) : utilization,
            t->current, &t->tolerance, &p, err);
    measured_done(&m);
    if (r < 0) {
        struct error why = *err;
        return error_set(err, why.code, "failed to get %s %s: %s", resource,
            average ? "usage" : "utilization", why.text);
    }
    *a->replicas = p.replicas;
    set_quantity(a->current, "averageValue", p.average);
    if (!average)
        json_set(a->current, "averageUtilization", json_new_int64(p.utilization));
    return 0;
}

static char *selector_text(const cJSON *metric)
{
    struct selector *s;
    struct strbuf text;
    struct error ignored;
    const cJSON *selector = json_get(metric, "selector");

    if (!selector || selector_from_json(selector, &s, &ignored) < 0)
        return xstrdup("");
    strbuf_init(&text, 0);
    selector_print(s, &text);
    selector_free(s);
    return strbuf_steal(&text);
}

static int propose_pods(
    const struct hpa_target *t, struct asked *a, char **ret_name, struct error *err)
{
    const cJSON *metric = json_get(a->source, "metric"), *item;
    const char *name = json_string(metric, "name");
    autofree char *path = str_format(
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/%s/pods/*/%s", t->namespace_, name);
    autojson cJSON *tree = NULL;
    struct measured m = {0};
    struct hpa_proposal p;

    *ret_name = str_format("pods metric %s", name);
    int r = fetch(t, path, t->selector, "labelSelector", &tree, err);
    if (r < 0) {
        struct error why = *err;
        return error_set(err, why.code,
            "unable to get metric %s: unable to fetch metrics from custom metrics API: %s", name,
            why.text);
    }
    take_pods(t, &m);
    cJSON_ArrayForEach(item, json_get(tree, "items"))
    {
        struct hpa_pod *pod = find_pod(&m, json_string_at(item, "describedObject.name"));
        if (pod)
            pod->usage = milli_of(json_string(item, "value"));
    }
    r = hpa_propose_pods(&m.usage, false, milli_of(json_string(a->target, "averageValue")),
        t->current, &t->tolerance, &p, err);
    measured_done(&m);
    if (r < 0)
        return r;
    *a->replicas = p.replicas;
    set_quantity(a->current, "averageValue", p.average);
    return 0;
}

static int64_t count_ready(const struct hpa_target *t)
{
    struct measured m = {0};
    int64_t n = 0;

    take_pods(t, &m);
    for (size_t i = 0; i < m.pods.count; i++)
        n += !strcmp(m.pods.pods[i]->phase, "Running") && pod_is_ready(m.pods.pods[i]);
    measured_done(&m);
    return n;
}

/* One value against a target of its own, or of a pod's. */
static void propose_value(const struct hpa_target *t, struct asked *a, int64_t value)
{
    const char *whole = json_string(a->target, "value");
    const char *each = json_string(a->target, "averageValue");
    bool per_pod = each && *each;

    *a->replicas = hpa_propose_value(value, milli_of(per_pod ? each : whole), per_pod,
        per_pod ? t->status_replicas : t->current, per_pod ? 0 : count_ready(t), &t->tolerance);
    if (per_pod && t->status_replicas > 0)
        set_quantity(a->current, "averageValue", value / t->status_replicas);
    else
        set_quantity(a->current, "value", value);
}

static int propose_object(
    const struct hpa_target *t, struct asked *a, char **ret_name, struct error *err)
{
    const cJSON *object = json_get(a->source, "describedObject");
    const char *kind = json_string(object, "kind"), *name = json_string(object, "name");
    const char *metric = json_string_at(a->source, "metric.name");
    const char *version = json_string(object, "apiVersion");
    const char *plural = NULL;
    autojson cJSON *tree = NULL;

    for (int k = 0; k < KIND_COUNT && !plural; k++)
        if (c_eq(kinds[k].kind, kind))
            plural = kinds[k].plural;
    /* The adapters take a kind's plural with its group; what is no kind of ours is guessed as
     * upstream's mapper would for regular words. */
    autofree char *guessed = str_format("%ss", kind ? kind : "");
    for (char *p = guessed; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    const char *slash = version ? strchr(version, '/') : NULL;
    autofree char *path =
        str_format("/apis/custom.metrics.k8s.io/v1beta2/namespaces/%s/%s%s%.*s/%s/%s",
            t->namespace_, plural ? plural : guessed, slash ? "." : "",
            slash ? (int)(slash - version) : 0, slash ? version : "", name, metric);
    autofree char *selector = selector_text(json_get(a->source, "metric"));

    *ret_name = str_format("%s metric %s", kind, metric);
    if (fetch(t, path, selector, "metricLabelSelector", &tree, err) < 0) {
        struct error why = *err;
        return error_set(err, why.code,
            "unable to get metric %s: %s on %s %s/unable to fetch metrics from custom metrics API: "
            "%s",
            metric, kind, t->namespace_, name, why.text);
    }
    const cJSON *first = cJSON_GetArrayItem(json_get(tree, "items"), 0);
    if (!first)
        return error_set(err, ERR_NOT_FOUND, "no metrics returned from custom metrics API");
    propose_value(t, a, milli_of(json_string(first, "value")));
    return 0;
}

static int propose_external(
    const struct hpa_target *t, struct asked *a, char **ret_name, struct error *err)
{
    const cJSON *metric = json_get(a->source, "metric"), *item;
    const char *name = json_string(metric, "name");
    autofree char *path =
        str_format("/apis/external.metrics.k8s.io/v1beta1/namespaces/%s/%s", t->namespace_, name);
    autofree char *selector = selector_text(metric);
    autojson cJSON *tree = NULL;
    int64_t sum = 0;

    *ret_name = str_format("external metric %s(%s)", name, selector);
    if (fetch(t, path, selector, "labelSelector", &tree, err) < 0) {
        struct error why = *err;
        return error_set(err, why.code,
            "unable to get external metric %s/%s/%s: unable to fetch metrics from external metrics "
            "API: %s",
            t->namespace_, name, selector, why.text);
    }
    cJSON_ArrayForEach(item, json_get(tree, "items"))
    {
        sum += milli_of(json_string(item, "value"));
    }
    propose_value(t, a, sum);
    return 0;
}

/* --- face --- */

enum metric_kind { RESOURCE, CONTAINER_RESOURCE, PODS, OBJECT, EXTERNAL, KINDS };

static const struct {
    const char *type, *member, *reason;
} metric_kinds[KINDS] = {
    {"Resource", "resource", "FailedGetResourceMetric"},
    {"ContainerResource", "containerResource", "FailedGetContainerResourceMetric"},
    {"Pods", "pods", "FailedGetPodsMetric"},
    {"Object", "object", "FailedGetObjectMetric"},
    {"External", "external", "FailedGetExternalMetric"},
};

static int propose(const struct hpa_target *t, enum metric_kind kind, struct asked *a,
    char **ret_name, struct error *err)
{
    switch (kind) {
    case PODS:
        return propose_pods(t, a, ret_name, err);
    case OBJECT:
        return propose_object(t, a, ret_name, err);
    case EXTERNAL:
        return propose_external(t, a, ret_name, err);
    default:
        return propose_resource(t, a, kind == CONTAINER_RESOURCE, ret_name, err);
    }
}

int hpa_metric_propose(const struct hpa_target *t, const cJSON *metric, int64_t *ret_replicas,
    cJSON **ret_status, char **ret_name, const char **ret_reason, struct error *err)
{
    static const char *const copied[] = {"name", "container", "metric", "describedObject"};
    const char *type = json_string(metric, "type");
    size_t kind = 0;

    while (kind < KINDS && !c_eq(metric_kinds[kind].type, type))
        kind++;
    if (kind == KINDS) {
        *ret_reason = "InvalidMetricSourceType";
        return error_set(
            err, ERR_BAD_REQUEST, "unknown metric source type \"%s\"", type ? type : "");
    }
    *ret_reason = metric_kinds[kind].reason;
    struct asked a = {.source = json_get(metric, metric_kinds[kind].member),
        .replicas = ret_replicas,
        .current = cJSON_CreateObject()};
    a.target = json_get(a.source, "target");
    if (propose(t, (enum metric_kind)kind, &a, ret_name, err) < 0) {
        cJSON_Delete(a.current);
        return -(int)err->code;
    }
    cJSON *status = cJSON_CreateObject(), *inner = cJSON_CreateObject();
    for (size_t i = 0; i < ARRAY_COUNT(copied); i++) {
        const cJSON *item = json_get(a.source, copied[i]);
        if (item)
            json_set(inner, copied[i], cJSON_Duplicate(item, true));
    }
    json_set(inner, "current", a.current);
    json_set_string(status, "type", type);
    json_set(status, metric_kinds[kind].member, inner);
    *ret_status = status;
    return 0;
}
