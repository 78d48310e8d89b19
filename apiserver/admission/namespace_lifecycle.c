/*
 * NamespaceLifecycle: nothing is created in a namespace that is missing or being deleted, and the
 * first three stay.
 */
#include "apiserver/admission/plugin.h"
#include "apiserver/request/status.h"

static int check_undeletable(const struct write_context *w, struct error *err)
{
    static const char *const names[] = {"default", "kube-system", "kube-public"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (c_eq(admission_name(w), names[i]))
            return admission_refuse(w, err, "this namespace may not be deleted");
    return 0;
}

static int namespace_lifecycle(struct write_context *w, struct error *err)
{
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    if (w->kind != WRITE_CREATE || !w->resource->namespaced || !namespace_)
        return 0;
    struct object *o = admission_get(w, "", "namespaces", "", namespace_);
    if (!o)
        return error_set(err, ERR_NOT_FOUND, "namespaces \"%s\" not found", namespace_);
    bool terminating = o->deleting;
    object_unref(o);
    if (!terminating)
        return 0;
    cJSON_Delete(w->request->status_details);
    w->request->status_details = status_details(w->resource, admission_name(w));
    json_set(w->request->status_details, "causes",
        json_make("[{\"reason\":\"NamespaceTerminating\",\"message\":"
                  "\"namespace %s is being terminated\",\"field\":\"metadata.namespace\"}]",
            namespace_));
    return admission_refuse(w, err,
        "unable to create new content in namespace %s because it is being terminated", namespace_);
}

static int namespace_lifecycle_delete(const struct write_context *w, struct error *err)
{
    return w->kind == WRITE_DELETE && c_eq(w->resource->plural, "namespaces") &&
                   !*w->resource->group
               ? check_undeletable(w, err)
               : 0;
}

const struct admission_plugin admission_namespace_lifecycle = {
    .name = "NamespaceLifecycle",
    .mutate = namespace_lifecycle,
    .validate = namespace_lifecycle_delete,
};
