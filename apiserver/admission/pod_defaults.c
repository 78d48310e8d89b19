/*
 * Plugins of a few lines that fill in or refuse something of a pod:
 *
 * AlwaysPullImages: every image is pulled with the pod's own credentials.
 * ExtendedResourceToleration: who asks for an extended resource tolerates the taint of that name.
 * LimitPodHardAntiAffinityTopology: required anti-affinity is per node only. Upstream:
 * plugin/pkg/admission/{alwayspullimages,extendedresourcetoleration,antiaffinity}.
 */
#include "apiserver/admission/plugin.h"

static const char *const container_lists[] = {
    "containers", "initContainers", "ephemeralContainers"};
static const char *const pods[] = {"pods", NULL};

/* --- AlwaysPullImages --- */

static int always_pull(struct write_context *w, struct error *err)
{
    cJSON *container;

    (void)err;
    if (w->kind == WRITE_DELETE || w->kind == WRITE_STATUS)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(container_lists); i++) {
        cJSON_ArrayForEach(container, json_get(json_get(w->tree, "spec"), container_lists[i]))
        {
            json_set_string(container, "imagePullPolicy", "Always");
        }
    }
    return 0;
}

const struct admission_plugin admission_always_pull_images = {
    .name = "AlwaysPullImages",
    .resources = pods,
    .off = true,
    .mutate = always_pull,
};

/* --- ExtendedResourceToleration --- */

static bool is_extended(const char *name)
{
    const char *slash = strchr(name, '/');

    return slash && !memmem(name, (size_t)(slash - name), "kubernetes.io", 13) &&
           strncmp(name, "requests.", 9) != 0;
}

static void tolerate(cJSON *spec, const char *name)
{
    const cJSON *t;

    cJSON_ArrayForEach(t, json_get(spec, "tolerations"))
    {
        if (c_eq(json_string(t, "key"), name) && c_eq(json_string(t, "operator"), "Exists"))
            return;
    }
    if (!json_get(spec, "tolerations"))
        json_set(spec, "tolerations", cJSON_CreateArray());
    cJSON *one = cJSON_CreateObject();
    json_set_string(one, "key", name);
    json_set_string(one, "operator", "Exists");
    cJSON_AddItemToArray(json_get(spec, "tolerations"), one);
}

static int extended_resource_toleration(struct write_context *w, struct error *err)
{
    cJSON *spec = json_get(w->tree, "spec");
    const cJSON *container, *resource;

    (void)err;
    if (w->kind != WRITE_CREATE || !spec)
        return 0;
    for (size_t i = 0; i < 2; i++) {
        cJSON_ArrayForEach(container, json_get(spec, container_lists[i]))
        {
            cJSON_ArrayForEach(resource, json_path(container, "resources.requests"))
            {
                if (is_extended(resource->string))
                    tolerate(spec, resource->string);
            }
        }
    }
    return 0;
}

const struct admission_plugin admission_extended_resource_toleration = {
    .name = "ExtendedResourceToleration",
    .resources = pods,
    .off = true,
    .mutate = extended_resource_toleration,
};

/* --- LimitPodHardAntiAffinityTopology --- */

static int anti_affinity(const struct write_context *w, struct error *err)
{
    const cJSON *term;

    if (!admission_is_main(w))
        return 0;
    cJSON_ArrayForEach(
        term, json_path(w->tree,
                  "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"))
    {
        const char *key = json_string(term, "topologyKey");
        if (!c_eq(key, "kubernetes.io/hostname"))
            return admission_refuse(w, err,
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey %s but only key "
                "kubernetes.io/hostname "
                "is allowed",
                key ? key : "");
    }
    return 0;
}

const struct admission_plugin admission_limit_pod_hard_anti_affinity_topology = {
    .name = "LimitPodHardAntiAffinityTopology",
    .resources = pods,
    .off = true,
    .validate = anti_affinity,
};
