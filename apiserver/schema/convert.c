/*
 * schema_convert: one stored object seen in its other version.
 *
 * Two kinds have two versions that differ: Event (core/v1 and events.k8s.io/v1 name their members
 * differently) and HorizontalPodAutoscaler (v1 has only a CPU target; what v1 can't say is kept in
 * annotations, as upstream does). Versions of a custom kind differ in what they know. Every other
 * pair differs in apiVersion alone.
 *
 * Upstream: pkg/apis/{events,autoscaling}/v1/conversion.go.
 */
#include "apiserver/schema/model.h"

#define METRICS_NOTE "autoscaling.alpha.kubernetes.io/metrics"
#define CURRENT_METRICS_NOTE "autoscaling.alpha.kubernetes.io/current-metrics"
#define CONDITIONS_NOTE "autoscaling.alpha.kubernetes.io/conditions"
#define BEHAVIOR_NOTE "autoscaling.alpha.kubernetes.io/behavior"

/* core/v1 name, events.k8s.io/v1 name */
static const struct {
    const char *core, *events;
} event_names[] = {
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"reportingComponent", "reportingController"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
};

static void rename_member(cJSON *object, const char *from, const char *to)
{
    cJSON *item = json_get(object, from);
    if (item)
        json_set(object, to, cJSON_DetachItemViaPointer(object, item));
}

static void convert_event(cJSON *tree, bool to_core)
{
    for (size_t i = 0; i < ARRAY_COUNT(event_names); i++)
        rename_member(tree, to_core ? event_names[i].events : event_names[i].core,
            to_core ? event_names[i].core : event_names[i].events);
}

static cJSON *ensure(cJSON *parent, const char *name)
{
    cJSON *o = json_get(parent, name);
    if (!o) {
        o = cJSON_CreateObject();
        json_set(parent, name, o);
    }
    return o;
}

static bool is_cpu_utilization(const cJSON *metric)
{
    return !strcmp(value_string(json_path(metric, "resource.name")), "cpu") &&
           json_path(metric, "resource.target.averageUtilization");
}

/* Keeps a member that the other version has no place for, as the text of an annotation. */
static void to_note(cJSON *tree, cJSON *from, const char *member, const char *note)
{
    cJSON *item = json_get(from, member);
    if (value_is_empty(item)) {
        json_remove(from, member);
        return;
    }
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(item, &text);
    json_set_string(ensure(ensure(tree, "metadata"), "annotations"), note, text.data);
    json_remove(from, member);
}

static void from_note(cJSON *tree, cJSON *to, const char *member, const char *note)
{
    struct error err;
    cJSON *item, *notes = json_path(tree, "metadata.annotations");
    const char *text = value_string(json_get(notes, note));
    if (*text && json_parse(str_of(text), &item, &err) == 0) {
        json_set(to, member, item);
        json_remove(notes, note);
    }
}

static void take_cpu(cJSON *list, cJSON *to, const char *path, const char *member)
{
    for (cJSON *m = list ? list->child : NULL; m; m = m->next) {
        const cJSON *value = json_path(m, path);
        if (strcmp(value_string(json_path(m, "resource.name")), "cpu") != 0 || !value)
            continue;
        json_set(to, member, cJSON_Duplicate(value, false));
        if (is_cpu_utilization(m))
            cJSON_Delete(cJSON_DetachItemViaPointer(list, m));
        return;
    }
}

static void autoscaler_to_v1(cJSON *tree)
{
    cJSON *spec = ensure(tree, "spec"), *status = ensure(tree, "status");
    take_cpu(json_get(spec, "metrics"), spec, "resource.target.averageUtilization",
        "targetCPUUtilizationPercentage");
    take_cpu(json_get(status, "currentMetrics"), status, "resource.current.averageUtilization",
        "currentCPUUtilizationPercentage");
    to_note(tree, spec, "metrics", METRICS_NOTE);
    to_note(tree, spec, "behavior", BEHAVIOR_NOTE);
    to_note(tree, status, "currentMetrics", CURRENT_METRICS_NOTE);
    to_note(tree, status, "conditions", CONDITIONS_NOTE);
}

static void autoscaler_to_v2(cJSON *tree)
{
    cJSON *spec = ensure(tree, "spec"), *status = ensure(tree, "status");
    from_note(tree, spec, "metrics", METRICS_NOTE);
    from_note(tree, spec, "behavior", BEHAVIOR_NOTE);
    from_note(tree, status, "currentMetrics", CURRENT_METRICS_NOTE);
    from_note(tree, status, "conditions", CONDITIONS_NOTE);
    int64_t target = json_int64_at(spec, "targetCPUUtilizationPercentage", -1);
    json_remove(spec, "targetCPUUtilizationPercentage");
    json_remove(status, "currentCPUUtilizationPercentage");
    if (target < 0)
        return;
    cJSON *metrics = json_get(spec, "metrics");
    if (!metrics) {
        metrics = cJSON_CreateArray();
        json_set(spec, "metrics", metrics);
    }
    cJSON_InsertItemInArray(metrics, 0,
        json_make("{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":"
                  "{\"type\":\"Utilization\",\"averageUtilization\":%lld}}}",
            (long long)target));
}

void schema_refresh(const struct resource *r, cJSON *tree)
{
    struct error ignored;
    if (!r->custom)
        return;
    schema_decode(r->schema, tree, VALIDATION_IGNORE, NULL, &ignored);
    schema_default(r->schema, tree);
    schema_normalise(r->schema, tree);
}

/* Strategy None: only apiVersion differs, and what the other version's schema does not know goes. A
 * webhook's answer would take the tree's place here. */
static void convert_custom(const struct resource *to, cJSON *tree)
{
    if (json_get(tree, "apiVersion"))
        json_set_string(tree, "apiVersion", to->group_version);
    schema_refresh(to, tree);
}

int schema_convert(
    const struct resource *from, const struct resource *to, cJSON **tree, struct error *err)
{
    (void)err;
    if (from == to)
        return 0;
    if (to->custom) {
        convert_custom(to, *tree);
        return 0;
    }
    if (!strcmp(from->kind, "Event"))
        convert_event(*tree, !*to->group);
    else if (!strcmp(from->kind, "HorizontalPodAutoscaler"))
        (strcmp(to->version, "v1") == 0 ? autoscaler_to_v1 : autoscaler_to_v2)(*tree);
    if (json_get(*tree, "apiVersion"))
        json_set_string(*tree, "apiVersion", to->group_version);
    schema_normalise(to->schema, *tree);
    return 0;
}
