/*
 * pods/ephemeralcontainers and pods/resize: a whole Pod comes in, one part of it counts.
 *
 * The request's change (replace or patch) runs as for the pod itself; then everything but the part
 * is taken from what is stored: the list of debugging containers, or the resources of containers
 * that are there already. What may change of the part is checked here; what it must look like is
 * checked by the schema. The node agent acts on both and reports in the status.
 *
 * Upstream: registry/core/pod/storage (EphemeralContainersREST, ResizeREST), apis/core/validation.
 */
#include "apiserver/registry/generic/part.h"
#include "apiserver/registry/pod.h"

static const char *const lists[] = {"containers", "initContainers"};

static const cJSON *find_named(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (name && c_eq(json_string(item, "name"), name))
            return item;
    }
    return NULL;
}

/* --- ephemeralcontainers --- */

static void take_ephemeral(cJSON *tree, const cJSON *sent)
{
    copy_member(json_get(tree, "spec"), json_get(sent, "spec"), "ephemeralContainers");
}

static int change_ephemeral(struct write_context *w, void *arg, struct error *err)
{
    return change_part(w, arg, take_ephemeral, err);
}

enum stage_result pod_ephemeral_containers_run(struct request *q)
{
    return run_part(q, change_ephemeral);
}

static bool is_mirror(const cJSON *pod)
{
    return json_get(json_path(pod, "metadata.annotations"), "kubernetes.io/config.mirror");
}

static void check_ephemeral(const struct write_context *w, struct field_errors *errors)
{
    static const char path[] = "spec.ephemeralContainers";
    const cJSON *before, *now = json_path(w->tree, path);

    if (is_mirror(w->old)) {
        field_error_add(errors, FIELD_FORBIDDEN, "", NULL, "%s",
            "static pods do not support ephemeral containers");
        return;
    }
    cJSON_ArrayForEach(before, json_path(w->old, path))
    {
        const char *name = json_string(before, "name");
        const cJSON *same = find_named(now, name);
        if (!same)
            field_error_add(errors, FIELD_FORBIDDEN, path, NULL,
                "existing ephemeral containers \"%s\" may not be removed\n", name);
        else if (!json_equal(before, same))
            field_error_add(errors, FIELD_FORBIDDEN, path, NULL,
                "existing ephemeral containers \"%s\" may not be changed\n", name);
    }
}

/* --- resize --- */

static void take_resources_of(cJSON *list, const cJSON *sent)
{
    cJSON *container;

    cJSON_ArrayForEach(container, list)
    {
        const cJSON *from = find_named(sent, json_string(container, "name"));
        if (!from)
            continue;
        copy_member(container, from, "resources");
        copy_member(container, from, "resizePolicy");
    }
}

static void take_resources(cJSON *tree, const cJSON *sent)
{
    cJSON *spec = json_get(tree, "spec");
    const cJSON *wanted = json_get(sent, "spec");

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        take_resources_of(json_get(spec, lists[i]), json_get(wanted, lists[i]));
}

static int change_resources(struct write_context *w, void *arg, struct error *err)
{
    return change_part(w, arg, take_resources, err);
}

enum stage_result pod_resize_run(struct request *q)
{
    return run_part(q, change_resources);
}

/* A node that tells what its containers got can change it. */
static bool can_resize(const cJSON *pod)
{
    const cJSON *status;

    cJSON_ArrayForEach(status, json_path(pod, "status.containerStatuses"))
    {
        if (json_path(status, "state.running"))
            return json_get(status, "resources");
    }
    return true;
}

static bool is_resizable(const char *name)
{
    return c_eq(name, "cpu") || c_eq(name, "memory");
}

/* The pod as it would be if only what is resizable were left out. */
static cJSON *fixed_part(const cJSON *pod)
{
    static const char *const kinds[] = {"limits", "requests"};
    cJSON *copy = cJSON_CreateObject(), *container;

    json_set(copy, "spec", cJSON_Duplicate(json_get(pod, "spec"), true));
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        cJSON_ArrayForEach(container, json_path(json_get(copy, "spec"), lists[i]))
        {
            for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
                cJSON *list = json_get(json_get(container, "resources"), kinds[k]);
                json_remove(list, "cpu");
                json_remove(list, "memory");
            }
        }
    return copy;
}

static bool lacks_some(const cJSON *before, const cJSON *now, const char *kind)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(json_get(before, "resources"), kind))
    {
        if (is_resizable(item->string) &&
            !json_get(json_get(json_get(now, "resources"), kind), item->string))
            return true;
    }
    return false;
}

static void check_removed(
    const struct write_context *w, const char *list, struct field_errors *errors)
{
    const cJSON *before, *now = json_get(json_get(w->tree, "spec"), list);
    char path[64];
    int i = 0;

    cJSON_ArrayForEach(before, json_get(json_get(w->old, "spec"), list))
    {
        const cJSON *same = find_named(now, json_string(before, "name"));
        snprintf(path, sizeof(path), "spec.%s[%d].resources.", list, i++);
        if (lacks_some(before, same, "requests"))
            field_error_add(errors, FIELD_FORBIDDEN, arena_printf(w->arena, "%srequests", path),
                NULL, "%s", "resource requests cannot be removed");
        if (lacks_some(before, same, "limits"))
            field_error_add(errors, FIELD_FORBIDDEN, arena_printf(w->arena, "%slimits", path), NULL,
                "%s", "resource limits cannot be removed");
    }
}

static void check_resize(const struct write_context *w, struct field_errors *errors)
{
    const char *class_ = pod_qos_class(json_get(w->old, "spec"));
    autojson cJSON *before = fixed_part(w->old), *now = fixed_part(w->tree);
    const char *why = json_path(w->old, "spec.resources") || json_path(w->tree, "spec.resources")
                          ? "in-place resize is not supported for pods with pod-level resources"
                      : is_mirror(w->old) ? "static pods cannot be resized"
                      : c_eq(json_string_at(w->old, "spec.os.name"), "windows")
                          ? "windows pods cannot be resized"
                          : NULL;

    if (why) {
        field_error_add(errors, FIELD_FORBIDDEN, "", NULL, "%s", why);
        return;
    }
    if (!c_eq(class_, pod_qos_class(json_get(w->tree, "spec"))))
        field_error_add(errors, FIELD_INVALID, "spec",
            arena_printf(w->arena, "\"%s\"", pod_qos_class(json_get(w->tree, "spec"))),
            "Pod QOS Class may not change as a result of resizing");
    if (!can_resize(w->old))
        field_error_add(errors, FIELD_FORBIDDEN, "spec", NULL,
            "Pod running on node without support for resize");
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        check_removed(w, lists[i], errors);
    if (!schema_equal(w->resource->schema, before, now))
        field_error_add(
            errors, FIELD_FORBIDDEN, "spec", NULL, "only cpu and memory resources are mutable\n");
}

void pod_parts_validate(const struct write_context *w, struct field_errors *errors)
{
    const char *name = w->request ? w->request->subresource_name : "";

    if (c_eq(name, "ephemeralcontainers"))
        check_ephemeral(w, errors);
    else if (c_eq(name, "resize"))
        check_resize(w, errors);
}
