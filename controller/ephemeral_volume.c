/*
 * Controller "ephemeral-volume": the claims of pods' generic ephemeral volumes.
 *
 * The claim is named after pod and volume and belongs to the pod, with which the collector takes it
 * away. One of that name that belongs to somebody else is left alone: the pod waits.
 *
 * Upstream: pkg/controller/volume/ephemeral.
 */
#include "controller/pods.h"

static const cJSON *find_template(const cJSON *pod, const char *volume)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_path(pod, "spec.volumes"))
    {
        if (c_eq(json_string(item, "name"), volume))
            return json_path(item, "ephemeral.volumeClaimTemplate");
    }
    return NULL;
}

static int make_claim(struct controller *c, const struct pod *pod, const char *volume,
    const char *name, const cJSON *live, struct error *err)
{
    static const char *const copied[] = {"labels", "annotations"};
    struct api_ref ref = {.group_version = "v1",
        .plural = "persistentvolumeclaims",
        .namespace_ = pod->meta.namespace_};
    const cJSON *template = find_template(live, volume);
    autojson cJSON *claim = json_make("{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\"}");
    autojson cJSON *made = NULL;
    cJSON *meta = cJSON_CreateObject(), *refs = cJSON_CreateArray();

    json_set(claim, "metadata", meta);
    json_set_string(meta, "name", name);
    json_set_string(meta, "namespace", pod->meta.namespace_);
    for (size_t i = 0; i < ARRAY_COUNT(copied); i++) {
        const cJSON *map = json_get(json_get(template, "metadata"), copied[i]);
        if (map)
            json_set(meta, copied[i], cJSON_Duplicate(map, true));
    }
    cJSON_AddItemToArray(refs, controller_ref_json(KIND_POD, &pod->meta));
    json_set(meta, "ownerReferences", refs);
    json_set(claim, "spec", cJSON_Duplicate(json_get(template, "spec"), true));
    int r = api_create(manager_client(c->m), &ref, claim, &made, err);
    if (r == -ERR_ALREADY_EXISTS)
        return 0; /* the informer is about to show whose it is */
    if (r < 0 && !is_terminating_namespace(err))
        controller_event(c, KIND_POD, &pod->meta, EVENT_WARNING, "EphemeralVolumeCreateFailed",
            "ephemeral volume %s: create PVC %s: %s", volume, name, err->text);
    if (r < 0)
        return is_terminating_namespace(err) ? 0 : r;
    return kind_wait_version(
        c->m, KIND_CLAIM, json_string_at(made, "metadata.resourceVersion"), err);
}

static int sync_volume(
    struct controller *c, const struct pod *pod, const char *volume, struct error *err)
{
    autofree char *name = str_format("%s-%s", pod->meta.name, volume);
    auto_object const struct claim *claim = kind_get(c->m, KIND_CLAIM, pod->meta.namespace_, name);
    struct api_ref ref = object_api_ref(KIND_POD, &pod->meta, NULL);
    autojson cJSON *live = NULL;

    if (claim && is_controlled_by(&claim->meta, &pod->meta))
        return 0;
    if (claim) {
        controller_event(c, KIND_POD, &pod->meta, EVENT_WARNING, "EphemeralVolumeConflict",
            "PVC %s/%s was not created for pod %s/%s (pod is not owner)", pod->meta.namespace_,
            name, pod->meta.namespace_, pod->meta.name);
        return 0;
    }
    if (api_get(manager_client(c->m), &ref, &live, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -(int)err->code;
    if (!c_eq(json_string_at(live, "metadata.uid"), pod->meta.uid))
        return 0;
    return make_claim(c, pod, volume, name, live, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct pod *pod = kind_get_key(c->m, KIND_POD, key);
    const struct pod_volume *volumes = pod ? pod->volumes.items : NULL;

    for (size_t i = 0; pod && !pod->meta.deletion_ns && i < pod->volumes.count; i++)
        if (volumes[i].ephemeral && sync_volume(c, pod, volumes[i].name, err) < 0)
            return -(int)err->code;
    return 0;
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *pod = new_object;
    const struct pod_volume *volumes = pod ? pod->volumes.items : NULL;

    for (size_t i = 0; pod && !old_object && i < pod->volumes.count; i++)
        if (volumes[i].ephemeral)
            controller_add(c, &pod->meta);
}

static void on_claim(struct controller *c, const void *old_object, const void *new_object)
{
    if (!new_object) /* it went before its pod, or stood in its way */
        controller_add_owner(c, KIND_POD, old_object);
}

const struct controller_info controller_ephemeral_volume = {
    .name = "ephemeral-volume-controller",
    .component = "ephemeral_volume",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_POD, on_pod}, {KIND_CLAIM, on_claim}},
    .reconcile = reconcile,
};
