/*
 * Priority: a pod's class name becomes its number. Without a name the class with globalDefault
 * counts, or 0.
 *
 * Upstream: plugin/pkg/admission/priority.
 */
#include "apiserver/admission/plugin.h"

/* The class marked globalDefault with the lowest value, as a tree; NULL: none. */
static cJSON *default_class(const struct write_context *w)
{
    struct snapshot *s = snapshot_take(
        w->cache, api_find_plural(w->server->api, "scheduling.k8s.io", "priorityclasses"));
    struct str after = {0};
    const struct object *o;
    cJSON *best = NULL;
    while ((o = snapshot_next(s, (struct str){0}, (struct str){0}, after))) {
        after = o->name;
        if (!memmem(o->body.p, o->body.n, "globalDefault", 13))
            continue;
        cJSON *class = object_tree(o);
        bool better = json_bool(class, "globalDefault", false) &&
                      (!best || json_int64_at(class, "value", 0) < json_int64_at(best, "value", 0));
        cJSON_Delete(better ? best : class);
        best = better ? class : best;
    }
    snapshot_free(s);
    return best;
}

static int find_class(struct write_context *w, const char *name, cJSON **ret, struct error *err)
{
    if (!name || !*name) {
        *ret = default_class(w);
        return 0;
    }
    struct object *o = admission_get(w, "scheduling.k8s.io", "priorityclasses", "", name);
    if (!o)
        return admission_refuse(w, err, "no PriorityClass with name %s was found", name);
    *ret = object_tree(o);
    object_unref(o);
    return 0;
}

static int priority(struct write_context *w, struct error *err)
{
    cJSON *spec = json_get(w->tree, "spec");
    autojson cJSON *class = NULL;
    int64_t given;
    if (w->kind != WRITE_CREATE || !spec)
        return 0;
    if (find_class(w, json_string(spec, "priorityClassName"), &class, err) < 0)
        return -err->code;
    int64_t value = json_int64_at(class, "value", 0);
    const char *policy = json_string(class, "preemptionPolicy");
    if (class)
        json_set_string(spec, "priorityClassName", json_string_at(class, "metadata.name"));
    if (json_int64(json_get(spec, "priority"), &given) && given != value)
        return admission_refuse(w, err,
            "the integer value of priority (%lld) must not be provided in pod spec; priority "
            "admission controller "
            "computed %lld from the given PriorityClass name",
            (long long)given, (long long)value);
    json_set(spec, "priority", json_new_int64(value));
    if (!json_get(spec, "preemptionPolicy"))
        json_set_string(spec, "preemptionPolicy", policy ? policy : "PreemptLowerPriority");
    return 0;
}

static const char *const pods[] = {"pods", NULL};

const struct admission_plugin admission_priority = {
    .name = "Priority",
    .resources = pods,
    .mutate = priority,
};
