/*
 * NodeRestriction: a node writes its own Node object and the pods bound to it, nothing of others.
 *
 * It may create mirror pods of its own only, delete its own pods, ask for tokens bound to its own pods, and may not give
 * itself labels that select it for other work (node-restriction.kubernetes.io/), owner references or other taints.
 * Upstream: plugin/pkg/admission/noderestriction.
 */
#include "apiserver/admission/plugin.h"

static const char *node_of(const struct write_context *w)
{
    return w->request && !w->request->trusted ? w->request->identity.node_name : NULL;
}

static int check_pod(const struct write_context *w, const char *node, struct error *err)
{
    const cJSON *pod = w->kind == WRITE_CREATE ? w->tree : w->old;
    const char *bound = json_string_at(pod, "spec.nodeName");
    const char *mirror = json_string(json_path(pod, "metadata.annotations"), "kubernetes.io/config.mirror");
    if (w->kind == WRITE_CREATE && !mirror)
        return admission_refuse(w, err, "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"%s\" can only "
            "create mirror pods", node);
    if (!c_eq(bound, node))
        return admission_refuse(w, err, "node \"%s\" can only %s pods with spec.nodeName set to itself", node,
            w->kind == WRITE_CREATE ? "create" : w->kind == WRITE_DELETE ? "delete" : "update");
    if (w->kind == WRITE_UPDATE)
        return admission_refuse(w, err, "unexpected operation: node \"%s\" can only update the status of pods", node);
    if (w->kind == WRITE_STATUS && !json_equal(json_path(w->old, "metadata.labels"), json_path(w->tree, "metadata.labels")))
        return admission_refuse(w, err, "node \"%s\" cannot update labels through pod status", node);
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
    const cJSON *now = json_path(w->tree, "metadata.labels"), *old = json_path(w->old, "metadata.labels"), *item;
    cJSON_ArrayForEach(item, now)
    {
        if (is_restricted_label(item->string) && !json_equal(item, json_get(old, item->string)))
            return admission_refuse(w, err, "is not allowed to modify labels: %s (node \"%s\")", item->string, node);
    }
    cJSON_ArrayForEach(item, old)
    {
        if (is_restricted_label(item->string) && !json_get(now, item->string))
            return admission_refuse(w, err, "is not allowed to modify labels: %s (node \"%s\")", item->string, node);
    }
    return 0;
}

static int check_node(const struct write_context *w, const char *node, struct error *err)
{
    if (!c_eq(admission_name(w), node))
        return admission_refuse(w, err, "node \"%s\" is not allowed to modify node \"%s\"", node, admission_name(w));
    if (w->kind == WRITE_DELETE)
        return 0;
    if (check_labels(w, node, err) < 0)
        return -err->code;
    if (json_path(w->tree, "metadata.ownerReferences") && !json_path(w->old, "metadata.ownerReferences"))
        return admission_refuse(w, err, "node \"%s\" is not allowed to set ownerReferences", node);
    if (w->kind == WRITE_UPDATE && !json_equal(json_path(w->old, "spec.taints"), json_path(w->tree, "spec.taints")))
        return admission_refuse(w, err, "node \"%s\" is not allowed to modify taints", node);
    return 0;
}

static int node_restriction(const struct write_context *w, struct error *err)
{
    const char *node = node_of(w);
    if (!node)
        return 0;
    return c_eq(w->resource->plural, "pods") ? check_pod(w, node, err) : check_node(w, node, err);
}

static const char *const resources[] = {"pods", "nodes", NULL};

const struct admission_plugin admission_node_restriction = {
    .name = "NodeRestriction",
    .resources = resources,
    .validate = node_restriction,
};
