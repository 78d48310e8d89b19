/*
 * DefaultStorageClass: a claim that names no class gets the one annotated as the default (of
 * several the newest, then the first by name). Upstream:
 * plugin/pkg/admission/storage/storageclass/setdefault.
 */
#include "apiserver/admission/plugin.h"

static bool is_default(const struct object *o)
{
    if (!memmem(o->body.p, o->body.n, "is-default-class", 16))
        return false;
    autojson cJSON *tree = object_tree(o);
    const cJSON *annotations = json_path(tree, "metadata.annotations");
    return c_eq(json_string(annotations, "storageclass.kubernetes.io/is-default-class"), "true") ||
           c_eq(json_string(annotations, "storageclass.beta.kubernetes.io/is-default-class"),
               "true");
}

static int default_storage_class(struct write_context *w, struct error *err)
{
    cJSON *spec = json_get(w->tree, "spec");
    struct str after = {0};
    const struct object *o, *best = NULL;
    (void)err;
    if (w->kind != WRITE_CREATE || !spec || json_get(spec, "storageClassName") ||
        json_get(
            json_path(w->tree, "metadata.annotations"), "volume.beta.kubernetes.io/storage-class"))
        return 0;
    struct snapshot *s = snapshot_take(
        w->cache, api_find_plural(w->server->api, "storage.k8s.io", "storageclasses"));
    while ((o = snapshot_next(s, (struct str){0}, (struct str){0}, after))) {
        after = o->name;
        if (is_default(o) && (!best || o->creation_ns > best->creation_ns))
            best = o;
    }
    if (best)
        json_set_string(spec, "storageClassName", arena_strdup(w->arena, best->name));
    snapshot_free(s);
    return 0;
}

static const char *const claims[] = {"persistentvolumeclaims", NULL};

const struct admission_plugin admission_default_storage_class = {
    .name = "DefaultStorageClass",
    .resources = claims,
    .mutate = default_storage_class,
};
