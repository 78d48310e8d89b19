/*
 * Roles, ClusterRoles and their bindings: nobody may give away rights that he does not hold
 * himself, and roleRef is for ever.
 *
 * The verb escalate on the role, or bind on the role referred to, lifts the restriction. Upstream:
 * registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased,
 * registry/rbac/escalation_check.go.
 */
#include "apiserver/auth/auth.h"
#include "apiserver/registry/registry.h"
#include "apiserver/server.h"

#define RBAC "rbac.authorization.k8s.io"

static bool may(
    const struct write_context *w, const char *verb, const char *plural, const char *name)
{
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    struct access_attributes what = {.verb = verb,
        .group = RBAC,
        .version = "v1",
        .resource = plural,
        .subresource = "",
        .namespace_ = w->resource->namespaced && namespace_ ? namespace_ : "",
        .name = name};
    return auth_allowed(w->server->auth, &w->request->identity, &what, NULL);
}

/* Only what lets the garbage collector do its work has changed. */
static bool is_same_but_for_collector(const struct write_context *w)
{
    static const char *const fields[] = {"metadata.finalizers", "metadata.ownerReferences",
        "metadata.resourceVersion", "metadata.managedFields"};
    if (!w->old)
        return false;
    autojson cJSON *old = cJSON_Duplicate(w->old, true);
    autojson cJSON *now = cJSON_Duplicate(w->tree, true);
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        json_remove_at(old, fields[i]);
        json_remove_at(now, fields[i]);
    }
    return schema_equal(w->resource->schema, old, now);
}

static bool needs_no_check(const struct write_context *w)
{
    return !w->tree || !w->request || w->request->trusted || is_same_but_for_collector(w);
}

/* user "jane" (groups=["devs" "system:authenticated"]) is attempting to grant ... */
static int check_held(const struct write_context *w, const cJSON *rules, struct error *err)
{
    const struct identity *who = &w->request->identity;
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace"),
               *name = json_string_at(w->tree, "metadata.name");
    autostrbuf struct strbuf missing = STRBUF_EMPTY, groups = STRBUF_EMPTY;
    strbuf_init(&missing, 64 << 10);
    strbuf_init(&groups, 64 << 10);
    if (auth_holds(w->server->auth, who, w->resource->namespaced && namespace_ ? namespace_ : "",
            rules, &missing))
        return 0;
    for (const char **g = who->groups; g && *g; g++)
        strbuf_addf(&groups, "%s\"%s\"", groups.n ? " " : "", *g);
    return error_set(err, ERR_FORBIDDEN,
        "%s." RBAC " \"%s\" is forbidden: user \"%s\" (groups=[%s]) is attempting to grant RBAC "
        "permissions not currently "
        "held:%s",
        w->resource->plural, name ? name : "", who->name, groups.data, missing.data);
}

/* An aggregated role may come to hold anything. */
static int check_aggregation(const struct write_context *w, struct error *err)
{
    autojson cJSON *all =
        json_make("[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]},"
                  "{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}]");
    const cJSON *now = json_get(w->tree, "aggregationRule");
    if (!now || json_equal(now, json_get(w->old, "aggregationRule")))
        return 0;
    return check_held(w, all, err);
}

static int role_admit(struct write_context *w, struct error *err)
{
    const char *name = json_string_at(w->tree, "metadata.name");
    if (needs_no_check(w) || may(w, "escalate", w->resource->plural, name ? name : ""))
        return 0;
    if (check_held(w, json_get(w->tree, "rules"), err) < 0)
        return -err->code;
    return check_aggregation(w, err);
}

static int binding_admit(struct write_context *w, struct error *err)
{
    const char *kind = json_string_at(w->tree, "roleRef.kind"),
               *name = json_string_at(w->tree, "roleRef.name");
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    const char *plural = c_eq(kind, "Role") ? "roles" : "clusterroles";
    if (needs_no_check(w) || !name || !kind) /* validation says what is missing */
        return 0;
    if (may(w, "bind", plural, name))
        return 0;
    const struct resource *r = api_find_plural(w->server->api, RBAC, plural);
    struct object *o =
        cache_get(w->cache, r, str_of(r->namespaced ? namespace_ : ""), str_of(name));
    if (!o)
        return error_set(err, ERR_NOT_FOUND, "%s." RBAC " \"%s\" not found", plural, name);
    autojson cJSON *role = object_tree(o);
    object_unref(o);
    return check_held(w, json_get(role, "rules"), err);
}

static void binding_validate(const struct write_context *w, struct field_errors *errors)
{
    if (w->kind != WRITE_UPDATE ||
        json_equal(json_get(w->old, "roleRef"), json_get(w->tree, "roleRef")))
        return;
    autostrbuf struct strbuf value = STRBUF_EMPTY;
    strbuf_init(&value, 0);
    json_print(json_get(w->tree, "roleRef"), &value);
    field_error_add(errors, FIELD_INVALID, "roleRef", value.data, "cannot change roleRef");
}

const struct strategy strategy_cluster_role = {
    .group = RBAC,
    .plural = "clusterroles",
    .admit = role_admit,
};

const struct strategy strategy_role = {
    .group = RBAC,
    .plural = "roles",
    .admit = role_admit,
};

const struct strategy strategy_cluster_role_binding = {
    .group = RBAC,
    .plural = "clusterrolebindings",
    .admit = binding_admit,
    .validate = binding_validate,
};

const struct strategy strategy_role_binding = {
    .group = RBAC,
    .plural = "rolebindings",
    .admit = binding_admit,
    .validate = binding_validate,
};
