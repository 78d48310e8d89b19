/*
 * StorageObjectInUseProtection: claims and volumes bear the finalizer of their protection
 * controller from the start, so that none goes while a pod or a claim uses it. Upstream:
 * plugin/pkg/admission/storage/storageobjectinuseprotection.
 */
#include "apiserver/admission/plugin.h"

static int in_use_protection(struct write_context *w, struct error *err)
{
    const char *name = c_eq(w->resource->plural, "persistentvolumes")
                           ? "kubernetes.io/pv-protection"
                           : "kubernetes.io/pvc-protection";
    const cJSON *item;

    (void)err;
    if (w->kind != WRITE_CREATE)
        return 0;
    cJSON_ArrayForEach(item, json_path(w->tree, "metadata.finalizers"))
    {
        if (c_eq(item->valuestring, name))
            return 0;
    }
    if (!json_path(w->tree, "metadata.finalizers"))
        json_set_at(w->tree, "metadata.finalizers", cJSON_CreateArray());
    cJSON_AddItemToArray(json_path(w->tree, "metadata.finalizers"), cJSON_CreateString(name));
    return 0;
}

static const char *const kinds[] = {"persistentvolumes", "persistentvolumeclaims", NULL};

const struct admission_plugin admission_storage_object_in_use_protection = {
    .name = "StorageObjectInUseProtection",
    .resources = kinds,
    .mutate = in_use_protection,
};
