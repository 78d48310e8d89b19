/*
 * RuntimeClass: a pod's class exists, and gives it its overhead and where it may run. Upstream:
 * plugin/pkg/admission/runtimeclass.
 */
#include "apiserver/admission/plugin.h"

static int add_scheduling(
    struct write_context *w, cJSON *spec, const cJSON *scheduling, struct error *err)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(scheduling, "nodeSelector"))
    {
        const char *own = json_string(json_get(spec, "nodeSelector"), item->string);
        if (own && !c_eq(own, item->valuestring))
            return admission_refuse(w, err,
                "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; "
                "pod.spec.nodeSelector[%s] = %s",
                item->string, item->valuestring, item->string, own);
        if (!json_get(spec, "nodeSelector"))
            json_set(spec, "nodeSelector", cJSON_CreateObject());
        json_set_string(json_get(spec, "nodeSelector"), item->string, item->valuestring);
    }
    cJSON_ArrayForEach(item, json_get(scheduling, "tolerations"))
    {
        bool there = false;
        const cJSON *t;
        cJSON_ArrayForEach(t, json_get(spec, "tolerations"))
        {
            there = there || json_equal(t, item);
        }
        if (there)
            continue;
        if (!json_get(spec, "tolerations"))
            json_set(spec, "tolerations", cJSON_CreateArray());
        cJSON_AddItemToArray(json_get(spec, "tolerations"), cJSON_Duplicate(item, true));
    }
    return 0;
}

static int runtime_class(struct write_context *w, struct error *err)
{
    cJSON *spec = json_get(w->tree, "spec");
    const char *name = json_string(spec, "runtimeClassName");

    if (w->kind != WRITE_CREATE || !spec)
        return 0;
    if (!name || !*name)
        return json_get(spec, "overhead") ? admission_refuse(w, err,
                                                "pod rejected: Pod Overhead set without "
                                                "corresponding RuntimeClass defined Overhead")
                                          : 0;
    struct object *o = admission_get(w, "node.k8s.io", "runtimeclasses", "", name);
    if (!o)
        return admission_refuse(w, err, "pod rejected: RuntimeClass \"%s\" not found", name);
    autojson cJSON *class = object_tree(o);
    object_unref(o);
    const cJSON *fixed = json_path(class, "overhead.podFixed"), *own = json_get(spec, "overhead");
    if (fixed && own && !json_equal(fixed, own))
        return admission_refuse(
            w, err, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    if (!fixed && own)
        return admission_refuse(w, err,
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    if (fixed && !own)
        json_set(spec, "overhead", cJSON_Duplicate(fixed, true));
    return add_scheduling(w, spec, json_get(class, "scheduling"), err);
}

static const char *const pods[] = {"pods", NULL};

const struct admission_plugin admission_runtime_class = {
    .name = "RuntimeClass",
    .resources = pods,
    .mutate = runtime_class,
};
