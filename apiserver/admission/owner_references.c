/*
 * OwnerReferencesPermissionEnforcement: who changes ownerReferences must be allowed to delete the
 * object, and who sets blockOwnerDeletion to update the finalizers of the owner. Upstream:
 * plugin/pkg/admission/gc.
 */
#include "apiserver/admission/plugin.h"
#include "apiserver/auth/auth.h"

static bool may(const struct write_context *w, struct access_attributes what)
{
    return w->request->trusted || auth_allowed(w->server->auth, &w->request->identity, &what, NULL);
}

static const cJSON *find_owner(const cJSON *list, const cJSON *owner)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (c_eq(json_string(item, "uid"), json_string(owner, "uid")))
            return item;
    }
    return NULL;
}

static bool owner_allows(const struct write_context *w, const cJSON *owner)
{
    const char *version = json_string(owner, "apiVersion"), *kind = json_string(owner, "kind"),
               *name = json_string(owner, "name");
    const struct resource *r =
        version && kind ? api_find_kind(w->server->api, version, kind) : NULL;

    if (!r)
        return false;
    return may(
        w, (struct access_attributes){.verb = "update",
               .group = r->group,
               .version = r->version,
               .resource = r->plural,
               .subresource = "finalizers",
               .namespace_ = r->namespaced ? json_string_at(w->tree, "metadata.namespace") : "",
               .name = name ? name : ""});
}

static int owner_references(const struct write_context *w, struct error *err)
{
    const cJSON *now = json_path(w->tree, "metadata.ownerReferences"),
                *before = json_path(w->old, "metadata.ownerReferences"), *owner;
    const struct resource *r = w->resource;

    if (!w->request || !admission_is_main(w) || json_equal(now, before))
        return 0;
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    struct access_attributes removal = {.verb = "delete",
        .group = r->group,
        .version = r->version,
        .resource = r->plural,
        .subresource = "",
        .namespace_ = namespace_ ? namespace_ : "",
        .name = admission_name(w)};
    if (!may(w, removal))
        return admission_refuse(
            w, err, "cannot set an ownerRef on a resource you can't delete: , <nil>");
    cJSON_ArrayForEach(owner, now)
    {
        if (json_bool(owner, "blockOwnerDeletion", false) &&
            !json_bool(find_owner(before, owner), "blockOwnerDeletion", false) &&
            !owner_allows(w, owner))
            return admission_refuse(w, err,
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't "
                "set finalizers on: , <nil>");
    }
    return 0;
}

const struct admission_plugin admission_owner_references_permission_enforcement = {
    .name = "OwnerReferencesPermissionEnforcement",
    .off = true,
    .validate = owner_references,
};
