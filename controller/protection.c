/*
 * Controllers "persistentvolumeclaim-protection" and "persistentvolume-protection": a claim in use
 * by a pod, and a volume that is bound, stay until they are not, however often they are deleted.
 *
 * Each object bears a finalizer from the start, which goes when the object is being deleted and not
 * in use. For claims the API server is asked for the pods before, because the copy of a pod that
 * was just scheduled may be late.
 *
 * Upstream: pkg/controller/volume/pvcprotection, pvprotection.
 */
#include "controller/pods.h"
#include "controller/volume.h"

#define CLAIM_FINALIZER "kubernetes.io/pvc-protection"
#define VOLUME_FINALIZER "kubernetes.io/pv-protection"

static bool has_finalizer(const struct object_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->finalizers.count; i++)
        if (!strcmp(meta->finalizers.strings[i], name))
            return true;
    return false;
}

/* Adds or removes one, keeping the others. */
static int set_finalizer(struct controller *c, enum kind kind, const struct object_meta *meta,
    const char *name, bool present, struct error *err)
{
    cJSON *patch = cJSON_CreateObject(), *list = cJSON_CreateArray();

    for (size_t i = 0; i < meta->finalizers.count; i++)
        if (strcmp(meta->finalizers.strings[i], name) != 0)
            cJSON_AddItemToArray(list, cJSON_CreateString(meta->finalizers.strings[i]));
    if (present)
        cJSON_AddItemToArray(list, cJSON_CreateString(name));
    json_set_at(patch, "metadata.finalizers", list);
    int r = object_patch(c->m, kind, meta, NULL, patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* --- claims --- */

/* A pod that ended, or has no node yet, holds nothing. */
static bool holds(const cJSON *pod, const char *claim)
{
    const char *node = json_string_at(pod, "spec.nodeName");
    const char *phase = json_string_at(pod, "status.phase");
    const char *pod_name = json_string_at(pod, "metadata.name");
    const cJSON *volume;

    if (!node || !*node || c_eq(phase, "Succeeded") || c_eq(phase, "Failed"))
        return false;
    cJSON_ArrayForEach(volume, json_path(pod, "spec.volumes"))
    {
        const char *name = json_string(volume, "name");
        autofree char *own = str_format("%s-%s", pod_name ? pod_name : "", name ? name : "");
        if (c_eq(json_string_at(volume, "persistentVolumeClaim.claimName"), claim) ||
            (json_get(volume, "ephemeral") && !strcmp(own, claim)))
            return true;
    }
    return false;
}

static bool is_used_by_copy(struct controller *c, const struct object_meta *claim)
{
    auto_objects struct projected_array pods =
        kind_by_path(c->m, KIND_POD, INDEX_CLAIM, claim->namespace_, claim->name);

    for (size_t i = 0; i < pods.count; i++) {
        const struct pod *pod = pods.objects[i];
        if (*pod->node_name && !pod_is_terminal(pod))
            return true;
    }
    return false;
}

static int reconcile_claim(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct object_meta *claim = kind_get_key(c->m, KIND_CLAIM, key);
    autojson cJSON *pods = NULL;
    const cJSON *pod;

    if (!claim || !claim->deletion_ns == has_finalizer(claim, CLAIM_FINALIZER))
        return 0;
    if (!claim->deletion_ns)
        return set_finalizer(c, KIND_CLAIM, claim, CLAIM_FINALIZER, true, err);
    if (is_used_by_copy(c, claim))
        return 0;
    struct api_ref ref = {.group_version = "v1", .plural = "pods", .namespace_ = claim->namespace_};
    if (api_list(manager_client(c->m), &ref, NULL, &pods, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(pod, json_get(pods, "items"))
    {
        if (holds(pod, claim->name))
            return 0;
    }
    return set_finalizer(c, KIND_CLAIM, claim, CLAIM_FINALIZER, false, err);
}

static void add_claims_of(struct controller *c, const struct pod *pod)
{
    const struct pod_volume *volumes = pod->volumes.items;

    for (size_t i = 0; i < pod->volumes.count; i++) {
        if (volumes[i].ephemeral)
            workqueue_addf(
                c->queue, "%s/%s-%s", pod->meta.namespace_, pod->meta.name, volumes[i].name);
        else if (*volumes[i].claim)
            workqueue_addf(c->queue, "%s/%s", pod->meta.namespace_, volumes[i].claim);
    }
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *now = new_object;

    if (!now || pod_is_terminal(now))
        add_claims_of(c, now ? now : old_object);
}

const struct controller_info controller_claim_protection = {
    .name = "persistentvolumeclaim-protection-controller",
    .component = "pvc-protection-controller",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_CLAIM, controller_on_object}, {KIND_POD, on_pod}},
    .reconcile = reconcile_claim,
};

/* --- volumes --- */

static int reconcile_volume(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct volume *v = kind_get_key(c->m, KIND_VOLUME, key);

    if (!v || !v->meta.deletion_ns == has_finalizer(&v->meta, VOLUME_FINALIZER))
        return 0;
    if (!v->meta.deletion_ns)
        return set_finalizer(c, KIND_VOLUME, &v->meta, VOLUME_FINALIZER, true, err);
    if (!strcmp(v->phase, "Bound"))
        return 0;
    return set_finalizer(c, KIND_VOLUME, &v->meta, VOLUME_FINALIZER, false, err);
}

const struct controller_info controller_volume_protection = {
    .name = "persistentvolume-protection-controller",
    .component = "pv-protection-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_VOLUME, controller_on_object}},
    .reconcile = reconcile_volume,
};
