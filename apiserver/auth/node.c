/*
 * The Node authorizer: a node may read what the pods bound to it use, and keep its own objects.
 *
 * Secrets, ConfigMaps, claims, volumes and ServiceAccounts are allowed when a pod with
 * spec.nodeName of this node, in the same namespace, refers to them; that is looked up in the cache
 * at the time of the question, so it is never stale. The other rules are a table. Writes are
 * narrowed further by the NodeRestriction admission plugin. Upstream:
 * plugin/pkg/auth/authorizer/node (a graph there).
 */
#include "apiserver/auth/internal.h"

enum condition {
    ALWAYS,
    OWN_NAME,    /* the object bears the node's name */
    USED_BY_POD, /* by a pod of the node, see uses() */
    OWN_LEASE,   /* the node's Lease, in kube-node-lease */
    OWN_FOLDERS, /* volumes of the built-in provisioner that are folders of the node, by their label
                  */
    OWN_PODS,    /* lists and watches narrowed to spec.nodeName=itself; a get of a pod that is not
                    another's */
};

struct node_rule {
    const char *group, *resource, *subresource, *verbs;
    enum condition condition;
};

static const struct node_rule rules[] = {
    {"", "secrets", "", "get list watch", USED_BY_POD},
    {"", "configmaps", "", "get list watch", USED_BY_POD},
    {"", "persistentvolumeclaims", "", "get", USED_BY_POD},
    {"", "persistentvolumes", "", "get", USED_BY_POD},
    {"", "persistentvolumes", "", "list watch patch", OWN_FOLDERS},
    {"", "serviceaccounts", "token", "create", USED_BY_POD},
    {"", "serviceaccounts", "", "get", USED_BY_POD},
    {"", "nodes", "", "create", ALWAYS},
    {"", "nodes", "", "get list watch update patch", OWN_NAME},
    {"", "nodes", "status", "get update patch", OWN_NAME},
    {"", "pods", "", "get list watch", OWN_PODS},
    {"", "pods", "", "create delete", ALWAYS},
    {"", "pods", "status", "get", OWN_PODS},
    {"", "pods", "status", "update patch", ALWAYS},
    {"", "pods", "eviction", "create", ALWAYS},
    {"", "services", "", "get list watch", ALWAYS},
    {"", "events", "", "create patch update", ALWAYS},
    {"events.k8s.io", "events", "", "create patch update", ALWAYS},
    {"coordination.k8s.io", "leases", "", "create get update patch delete", OWN_LEASE},
    {"storage.k8s.io", "csinodes", "", "create get update patch delete", OWN_NAME},
    {"storage.k8s.io", "csidrivers", "", "get list watch", ALWAYS},
    {"storage.k8s.io", "volumeattachments", "", "get", ALWAYS},
    {"node.k8s.io", "runtimeclasses", "", "get list watch", ALWAYS},
    {"certificates.k8s.io", "certificatesigningrequests", "", "create get list watch", ALWAYS},
    {"authentication.k8s.io", "tokenreviews", "", "create", ALWAYS},
    {"authorization.k8s.io", "subjectaccessreviews", "", "create", ALWAYS},
    {"authorization.k8s.io", "localsubjectaccessreviews", "", "create", ALWAYS},
};

static bool has_word(const char *words, const char *word)
{
    struct str rest = str_of(words), part;
    while (str_split(&rest, ' ', &part))
        if (str_eqc(part, word))
            return true;
    return false;
}

static bool refers(const cJSON *tree, const char *path, const char *name)
{
    const char *value = json_string_at(tree, path);
    return value && c_eq(value, name);
}

static bool volume_uses(const cJSON *volume, const char *resource, const char *name)
{
    const cJSON *source;
    if (c_eq(resource, "secrets")) {
        if (refers(volume, "secret.secretName", name))
            return true;
    } else if (c_eq(resource, "configmaps")) {
        if (refers(volume, "configMap.name", name))
            return true;
    } else if (c_eq(resource, "persistentvolumeclaims")) {
        return refers(volume, "persistentVolumeClaim.claimName", name);
    }
    cJSON_ArrayForEach(source, json_path(volume, "projected.sources"))
    {
        if ((c_eq(resource, "secrets") && refers(source, "secret.name", name)) ||
            (c_eq(resource, "configmaps") && refers(source, "configMap.name", name)))
            return true;
    }
    return false;
}

static bool container_uses(const cJSON *container, const char *resource, const char *name)
{
    const char *from = c_eq(resource, "secrets") ? "secretRef.name" : "configMapRef.name";
    const char *key = c_eq(resource, "secrets") ? "valueFrom.secretKeyRef.name"
                                                : "valueFrom.configMapKeyRef.name";
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(container, "envFrom"))
    {
        if (refers(item, from, name))
            return true;
    }
    cJSON_ArrayForEach(item, json_get(container, "env"))
    {
        if (refers(item, key, name))
            return true;
    }
    return false;
}

static bool pod_uses(const cJSON *spec, const char *resource, const char *name)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    const cJSON *item;
    if (c_eq(resource, "serviceaccounts"))
        return refers(spec, "serviceAccountName", name);
    cJSON_ArrayForEach(item, json_get(spec, "volumes"))
    {
        if (volume_uses(item, resource, name))
            return true;
    }
    if (c_eq(resource, "secrets")) {
        cJSON_ArrayForEach(item, json_get(spec, "imagePullSecrets"))
        {
            if (refers(item, "name", name))
                return true;
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(lists) && !c_eq(resource, "persistentvolumeclaims"); i++) {
        cJSON_ArrayForEach(item, json_get(spec, lists[i]))
        {
            if (container_uses(item, resource, name))
                return true;
        }
    }
    return false;
}

/* Does a pod of the node, in namespace_, use the named object? */
static bool uses(struct cache *cache, const struct api *api, const char *node_name,
    const char *resource, const char *namespace_, const char *name)
{
    struct snapshot *s = snapshot_take(cache, api_find_plural(api, "", "pods"));
    struct str after_namespace = {0}, after_name = {0}, only = str_of(namespace_), bound;
    const struct object *o;
    bool found = false;
    while (!found && (o = snapshot_next(s, only, after_namespace, after_name))) {
        after_namespace = o->namespace_;
        after_name = o->name;
        if (!object_field_get(o, "spec.nodeName", &bound) || !str_eqc(bound, node_name))
            continue;
        autojson cJSON *pod = object_tree(o);
        found = pod_uses(json_get(pod, "spec"), resource, name);
    }
    snapshot_free(s);
    return found;
}

/* A volume is used through the claim it is bound to. */
static bool uses_volume(
    struct cache *cache, const struct api *api, const char *node_name, const char *name)
{
    struct object *o = cache_get(
        cache, api_find_plural(api, "", "persistentvolumes"), (struct str){0}, str_of(name));
    if (!o)
        return false;
    autojson cJSON *volume = object_tree(o);
    object_unref(o);
    const char *namespace_ = json_string_at(volume, "spec.claimRef.namespace");
    const char *claim = json_string_at(volume, "spec.claimRef.name");
    return namespace_ && claim &&
           uses(cache, api, node_name, "persistentvolumeclaims", namespace_, claim);
}

/* Upstream refuses a get of a pod that is gone, too; here the node may see that it is (404), which
 * tells it to clean up. */
static bool is_own_pod(struct cache *cache, const struct api *api, const char *node_name,
    const struct access_attributes *what)
{
    struct str bound = {0};
    bool is_get = c_eq(what->verb, "get") && *what->name;
    if (!c_eq(what->verb, "get") && c_eq(what->only_node, node_name))
        return true;
    struct object *o = cache_get(
        cache, api_find_plural(api, "", "pods"), str_of(what->namespace_), str_of(what->name));
    if (!o)
        return is_get;
    bool own = object_field_get(o, "spec.nodeName", &bound) && str_eqc(bound, node_name);
    object_unref(o);
    return own;
}

/* The agent removes the folder of a deleted volume, then the volume's finalizer. */
static bool is_own_folder(struct cache *cache, const struct api *api, const char *node_name,
    const struct access_attributes *what)
{
    if (!c_eq(what->verb, "patch"))
        return c_eq(what->only_folders_of, node_name);
    struct object *o = cache_get(
        cache, api_find_plural(api, "", "persistentvolumes"), (struct str){0}, str_of(what->name));
    bool own = o && c_eq(object_label_get(o, HOST_PATH_NODE_LABEL), node_name);
    object_unref(o);
    return own;
}

bool node_allowed(struct cache *cache, const struct api *api, const char *node_name,
    const struct access_attributes *what)
{
    for (size_t i = 0; !what->path && i < ARRAY_COUNT(rules); i++) {
        const struct node_rule *r = &rules[i];
        if (!c_eq(r->group, what->group) || !c_eq(r->resource, what->resource) ||
            !c_eq(r->subresource, what->subresource) || !has_word(r->verbs, what->verb))
            continue;
        bool used =
            r->condition == USED_BY_POD && *what->name &&
            (c_eq(what->resource, "persistentvolumes")
                    ? uses_volume(cache, api, node_name, what->name)
                    : uses(cache, api, node_name, what->resource, what->namespace_, what->name));
        bool own = c_eq(what->name, node_name);
        if (r->condition == OWN_PODS && is_own_pod(cache, api, node_name, what))
            return true;
        if (r->condition == OWN_FOLDERS && is_own_folder(cache, api, node_name, what))
            return true;
        if (r->condition == ALWAYS || used || (r->condition == OWN_NAME && own) ||
            (r->condition == OWN_LEASE && c_eq(what->namespace_, "kube-node-lease") &&
                (own || c_eq(what->verb, "create"))))
            return true;
    }
    return false;
}
