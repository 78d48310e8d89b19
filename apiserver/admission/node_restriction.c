/*
 * NodeRestriction: a node writes its own Node object and the pods bound to it, nothing of others.
 *
 * It may create mirror pods of its own only, delete its own pods, ask for tokens bound to its own
 * pods, and may not give itself labels that select it for other work
 * (node-restriction.kubernetes.io/), owner references or other taints. Upstream:
 * plugin/pkg/admission/noderestriction.
 */
#include "apiserver/admission/node_restriction.h"

#include "apiserver/admission/plugin.h"

static const char *node_of(const struct write_context *w)
{
    return w->request && !w->request->trusted ? w->request->identity.node_name : NULL;
}

/* Some member of a list (or of each container's list) has one of the two members at these paths. */
static bool any_has(const cJSON *list, const char *path, const char *other)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (json_path(item, path) || (other && json_path(item, other)))
            return true;
    }
    return false;
}

static bool containers_have(const cJSON *spec, const char *from, const char *value_from)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    const cJSON *container;
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        cJSON_ArrayForEach(container, json_get(spec, lists[i]))
        {
            if (any_has(json_get(container, "envFrom"), from, NULL) ||
                any_has(json_get(container, "env"), value_from, NULL))
                return true;
        }
    }
    return false;
}

/* Members of a volume that hold the name of a Secret, besides "secret". */
static bool volumes_have_secret(const cJSON *volumes)
{
    static const char *const paths[] = {"secret", "azureFile", "cephfs.secretRef",
        "cinder.secretRef", "flexVolume.secretRef", "rbd.secretRef", "scaleIO.secretRef",
        "iscsi.secretRef", "storageos.secretRef", "csi.nodePublishSecretRef"};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        if (any_has(volumes, paths[i], NULL))
            return true;
    return false;
}

/* A node that could create a pod with such a reference could read whatever it likes: it may read
 * what its pods use. */
static int check_references(const struct write_context *w, const char *node, struct error *err)
{
    const cJSON *spec = json_get(w->tree, "spec"), *volumes = json_get(spec, "volumes");
    const char *account = json_string(spec, "serviceAccountName"), *what = NULL;
    if (account && *account)
        what = "a service account";
    else if (volumes_have_secret(volumes) ||
             cJSON_GetArraySize(json_get(spec, "imagePullSecrets")) > 0 ||
             containers_have(spec, "secretRef", "valueFrom.secretKeyRef"))
        what = "secrets";
    else if (any_has(volumes, "configMap", NULL) ||
             containers_have(spec, "configMapRef", "valueFrom.configMapKeyRef"))
        what = "configmaps";
    else if (any_has(volumes, "projected", NULL))
        what = "projected volumes";
    else if (any_has(volumes, "persistentVolumeClaim", "ephemeral"))
        what = "persistentvolumeclaims";
    else if (cJSON_GetArraySize(json_get(spec, "resourceClaims")) > 0)
        what = "resourceclaims";
    return what ? admission_refuse(
                      w, err, "node \"%s\" can not create pods that reference %s", node, what)
                : 0;
}

static int check_pod(const struct write_context *w, const char *node, struct error *err)
{
    const cJSON *pod = w->kind == WRITE_CREATE ? w->tree : w->old;
    const char *bound = json_string_at(pod, "spec.nodeName");
    const char *mirror =
        json_string(json_path(pod, "metadata.annotations"), "kubernetes.io/config.mirror");
    if (w->kind == WRITE_CREATE && !mirror)
        return admission_refuse(w, err,
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"%s\" can only "
            "create mirror pods",
            node);
    if (!c_eq(bound, node))
        return admission_refuse(w, err,
            "node \"%s\" can only %s pods with spec.nodeName set to itself", node,
            w->kind == WRITE_CREATE   ? "create"
            : w->kind == WRITE_DELETE ? "delete"
                                      : "update");
    if (w->kind == WRITE_CREATE)
        return check_references(w, node, err);
    if (w->kind == WRITE_UPDATE)
        return admission_refuse(
            w, err, "unexpected operation: node \"%s\" can only update the status of pods", node);
    if (w->kind == WRITE_STATUS &&
        !json_equal(json_path(w->old, "metadata.labels"), json_path(w->tree, "metadata.labels")))
        return admission_refuse(
            w, err, "node \"%s\" cannot update labels through pod status", node);
    return 0;
}

static bool is_restricted_label(const char *key)
{
    const char *slash = strchr(key, '/');
    struct str prefix = slash ? str_range(key, (size_t)(slash - key)) : (struct str){0};
    return str_eqc(prefix, "node-restriction.kubernetes.io") ||
           str_ends(prefix, STR(".node-restriction.kubernetes.io"));
}

static int check_labels(const struct write_context *w, const char *node, struct error *err)
{
    const cJSON *now = json_path(w->tree, "metadata.labels"),
                *old = json_path(w->old, "metadata.labels"), *item;
    cJSON_ArrayForEach(item, now)
    {
        if (is_restricted_label(item->string) && !json_equal(item, json_get(old, item->string)))
            return admission_refuse(
                w, err, "is not allowed to modify labels: %s (node \"%s\")", item->string, node);
    }
    cJSON_ArrayForEach(item, old)
    {
        if (is_restricted_label(item->string) && !json_get(now, item->string))
            return admission_refuse(
                w, err, "is not allowed to modify labels: %s (node \"%s\")", item->string, node);
    }
    return 0;
}

static int check_node(const struct write_context *w, const char *node, struct error *err)
{
    if (!c_eq(admission_name(w), node))
        return admission_refuse(
            w, err, "node \"%s\" is not allowed to modify node \"%s\"", node, admission_name(w));
    if (w->kind == WRITE_DELETE)
        return 0;
    if (check_labels(w, node, err) < 0)
        return -err->code;
    if (json_path(w->tree, "metadata.ownerReferences") &&
        !json_path(w->old, "metadata.ownerReferences"))
        return admission_refuse(w, err, "node \"%s\" is not allowed to set ownerReferences", node);
    if (w->kind == WRITE_UPDATE &&
        !json_equal(json_path(w->old, "spec.taints"), json_path(w->tree, "spec.taints")))
        return admission_refuse(w, err, "node \"%s\" is not allowed to modify taints", node);
    return 0;
}

/* The authorizer can't see the name of what is being created. */
static int check_lease(const struct write_context *w, const char *node, struct error *err)
{
    const char *namespace_ = json_string_at(w->tree ? w->tree : w->old, "metadata.namespace");
    if (!c_eq(namespace_, "kube-node-lease"))
        return admission_refuse(
            w, err, "can only access leases in the \"kube-node-lease\" system namespace");
    if (!c_eq(admission_name(w), node))
        return admission_refuse(
            w, err, "can only access node lease with the same name as the requesting node");
    return 0;
}

static int check_csi_node(const struct write_context *w, const char *node, struct error *err)
{
    return c_eq(admission_name(w), node)
               ? 0
               : admission_refuse(
                     w, err, "can only access CSINode with the same name as the requesting node");
}

static int node_restriction(const struct write_context *w, struct error *err)
{
    const char *node = node_of(w);
    if (!node)
        return 0;
    static const struct {
        const char *plural;
        int (*check)(const struct write_context *w, const char *node, struct error *err);
    } checks[] = {{"pods", check_pod}, {"nodes", check_node}, {"leases", check_lease},
        {"csinodes", check_csi_node}};
    for (size_t i = 0; i < ARRAY_COUNT(checks); i++)
        if (c_eq(w->resource->plural, checks[i].plural))
            return checks[i].check(w, node, err);
    return 0;
}

static const char *const resources[] = {
    "pods", "nodes", "leases.coordination.k8s.io", "csinodes.storage.k8s.io", NULL};

const struct admission_plugin admission_node_restriction = {
    .name = "NodeRestriction",
    .resources = resources,
    .validate = node_restriction,
};

static enum stage_result refuse_token(struct request *q, const char *text)
{
    return request_fail_object(
        q, ERR_FORBIDDEN, "serviceaccounts \"%s\" is forbidden: %s", q->name, text);
}

enum stage_result node_restriction_token(struct request *q, const cJSON *reference)
{
    const char *node = q->trusted ? NULL : q->identity.node_name,
               *name = json_string(reference, "name");
    const char *uid = json_string(reference, "uid");
    struct str bound = {0};
    if (!node)
        return STAGE_DONE;
    if (!c_eq(json_string(reference, "kind"), "Pod") || !name || !*name)
        return refuse_token(q, "node requested token not bound to a pod");
    if (!uid || !*uid)
        return refuse_token(q, "node requested token with a pod binding without a uid");
    const struct resource *pods = api_find_plural(q->server->api, "", "pods");
    struct object *o = cache_get(q->server->cache, pods, str_of(q->namespace_), str_of(name));
    if (!o)
        return request_not_found(q, pods, name);
    bool own = object_field_get(o, "spec.nodeName", &bound) && str_eqc(bound, node);
    object_unref(o);
    return own ? STAGE_DONE
               : refuse_token(
                     q, "node requested token bound to a pod scheduled on a different node");
}
