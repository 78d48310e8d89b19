/*
 * Writes of the controllers: patches and deletes that name the very object and version they were
 * decided on.
 */
#include "common/log.h"
#include "controller/controller.h"

struct api_ref object_api_ref(
    enum kind kind, const struct object_meta *meta, const char *subresource)
{
    return (struct api_ref){.group_version = kinds[kind].group_version,
        .plural = kinds[kind].plural,
        .namespace_ = *meta->namespace_ ? meta->namespace_ : NULL,
        .name = meta->name,
        .subresource = subresource};
}

int object_patch(struct manager *m, enum kind kind, const struct object_meta *meta,
    const char *subresource, cJSON *take_patch, struct error *err)
{
    autojson cJSON *patch = take_patch, *result = NULL;
    struct api_ref ref = object_api_ref(kind, meta, subresource);

    json_set_string_at(patch, "metadata.uid", meta->uid);
    json_set_string_at(patch, "metadata.resourceVersion", meta->resource_version);
    if (api_patch(manager_client(m), &ref, PATCH_MERGE, patch, &result, err) < 0)
        return error_wrap(err, "%s %s", kinds[kind].kind, meta->name);
    if (!manager_has(m, kind))
        return 0;
    return kind_wait_version(m, kind, json_string_at(result, "metadata.resourceVersion"), err);
}

int object_delete(struct manager *m, enum kind kind, const struct object_meta *meta,
    const char *propagation, struct error *err)
{
    struct api_ref ref = object_api_ref(kind, meta, NULL);
    struct api_delete_options options = {
        .uid = meta->uid, .propagation = propagation, .grace_seconds = -1};
    int r = api_delete(manager_client(m), &ref, &options, NULL, err);

    if (r == -ERR_NOT_FOUND || r == -ERR_CONFLICT) /* gone, or another object has the name now */
        return 0;
    return r < 0 ? error_wrap(err, "%s %s", kinds[kind].kind, meta->name) : 0;
}

cJSON *controller_ref_json(enum kind kind, const struct object_meta *owner)
{
    cJSON *ref = cJSON_CreateObject();

    json_set_string(ref, "apiVersion", kinds[kind].group_version);
    json_set_string(ref, "kind", kinds[kind].kind);
    json_set_string(ref, "name", owner->name);
    json_set_string(ref, "uid", owner->uid);
    json_set(ref, "controller", cJSON_CreateTrue());
    json_set(ref, "blockOwnerDeletion", cJSON_CreateTrue());
    return ref;
}

bool is_controlled_by(const struct object_meta *object, const struct object_meta *owner)
{
    const struct owner_ref *ref = object_controller(object);
    return ref && !strcmp(ref->uid, owner->uid);
}

bool is_terminating_namespace(const struct error *err)
{
    return err->code == ERR_FORBIDDEN && strstr(err->text, "because it is being terminated");
}
