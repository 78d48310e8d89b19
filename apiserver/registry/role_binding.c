/*
 * RoleBindings and ClusterRoleBindings: roleRef is for ever. Upstream: apis/rbac/validation.
 */
#include "apiserver/registry/registry.h"

static void binding_validate(const struct write_context *w, struct field_errors *errors)
{
    if (w->kind != WRITE_UPDATE || json_equal(json_get(w->old, "roleRef"), json_get(w->tree, "roleRef")))
        return;
    autostrbuf struct strbuf value = STRBUF_EMPTY;
    strbuf_init(&value, 0);
    json_print(json_get(w->tree, "roleRef"), &value);
    field_error_add(errors, FIELD_INVALID, "roleRef", value.data, "cannot change roleRef");
}

const struct strategy strategy_cluster_role_binding = {
    .group = "rbac.authorization.k8s.io",
    .plural = "clusterrolebindings",
    .validate = binding_validate,
};

const struct strategy strategy_role_binding = {
    .group = "rbac.authorization.k8s.io",
    .plural = "rolebindings",
    .validate = binding_validate,
};
