/*
 * Nodes: podCIDR and providerID stay once they are set. Upstream: apis/core/validation
 * (ValidateNodeUpdate).
 */
#include "apiserver/registry/registry.h"

static cJSON *one_text(const char *text)
{
    cJSON *array = cJSON_CreateArray();
    cJSON_AddItemToArray(array, cJSON_CreateString(text));
    return array;
}

static void node_prepare(struct write_context *w)
{
    const char *cidr = json_string_at(w->tree, "spec.podCIDR");
    if (cidr && *cidr && !json_path(w->tree, "spec.podCIDRs"))
        json_set_at(w->tree, "spec.podCIDRs", one_text(cidr));
}

static void keep(
    const struct write_context *w, const char *path, const char *text, struct field_errors *errors)
{
    const char *old = json_string_at(w->old, path), *now = json_string_at(w->tree, path);
    if (old && *old && !c_eq(old, now))
        field_error_add(errors, FIELD_FORBIDDEN, path, NULL, "%s", text);
}

static void node_validate(const struct write_context *w, struct field_errors *errors)
{
    if (w->kind != WRITE_UPDATE)
        return;
    keep(
        w, "spec.podCIDR", "node updates may not change podCIDR except from \"\" to valid", errors);
    keep(w, "spec.providerID", "node updates may not change providerID except from \"\" to valid",
        errors);
}

const struct strategy strategy_node = {
    .group = "",
    .plural = "nodes",
    .prepare = node_prepare,
    .validate = node_validate,
};
