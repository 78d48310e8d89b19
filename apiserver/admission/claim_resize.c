/*
 * PersistentVolumeClaimResize: a claim grows only where its StorageClass says that volumes may.
 * Upstream: plugin/pkg/admission/storage/persistentvolume/resize.
 */
#include "apiserver/admission/plugin.h"
#include "common/quantity.h"

static int claim_resize(const struct write_context *w, struct error *err)
{
    struct quantity now, before;
    struct error why = {0};
    const char *new = json_string_at(w->tree, "spec.resources.requests.storage"),
               *old = json_string_at(w->old, "spec.resources.requests.storage"),
               *class = json_string_at(w->tree, "spec.storageClassName");

    if (!w->old || !admission_is_main(w) || !new || !old ||
        quantity_parse(str_of(new), &now, &why) < 0 ||
        quantity_parse(str_of(old), &before, &why) < 0 || quantity_cmp(now, before) <= 0)
        return 0;
    struct object *o =
        class && *class ? admission_get(w, "storage.k8s.io", "storageclasses", "", class) : NULL;
    autojson cJSON *tree = o ? object_tree(o) : NULL;
    object_unref(o);
    if (json_bool(tree, "allowVolumeExpansion", false))
        return 0;
    return admission_refuse(w, err,
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the "
        "pvc must support resize");
}

static const char *const claims[] = {"persistentvolumeclaims", NULL};

const struct admission_plugin admission_persistent_volume_claim_resize = {
    .name = "PersistentVolumeClaimResize",
    .resources = claims,
    .validate = claim_resize,
};
