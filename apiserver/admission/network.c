/*
 * DefaultIngressClass: an Ingress without a class gets the one annotated as the default (of several
 * the newest, then the first by name). DenyServiceExternalIPs: nobody may add externalIPs.
 * Upstream: plugin/pkg/admission/network.
 */
#include "apiserver/admission/plugin.h"

static int default_ingress_class(struct write_context *w, struct error *err)
{
    cJSON *spec = json_get(w->tree, "spec");
    struct str after = {0};
    const struct object *o, *best = NULL;

    (void)err;
    if (w->kind != WRITE_CREATE || !spec || json_get(spec, "ingressClassName") ||
        json_get(json_path(w->tree, "metadata.annotations"), "kubernetes.io/ingress.class"))
        return 0;
    struct snapshot *s = snapshot_take(
        w->cache, api_find_plural(w->server->api, "networking.k8s.io", "ingressclasses"));
    while ((o = snapshot_next(s, (struct str){0}, (struct str){0}, after))) {
        after = o->name;
        if (!memmem(o->body.p, o->body.n, "is-default-class", 16))
            continue;
        autojson cJSON *tree = object_tree(o);
        if (c_eq(json_string(json_path(tree, "metadata.annotations"),
                     "ingressclass.kubernetes.io/is-default-class"),
                "true") &&
            (!best || o->creation_ns > best->creation_ns))
            best = o;
    }
    if (best)
        json_set_string(spec, "ingressClassName", arena_strdup(w->arena, best->name));
    snapshot_free(s);
    return 0;
}

static const char *const ingresses[] = {"ingresses.networking.k8s.io", NULL};

const struct admission_plugin admission_default_ingress_class = {
    .name = "DefaultIngressClass",
    .resources = ingresses,
    .mutate = default_ingress_class,
};

static bool has_text(const cJSON *list, const char *text)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (c_eq(item->valuestring, text))
            return true;
    }
    return false;
}

static int deny_external_ips(const struct write_context *w, struct error *err)
{
    const cJSON *ip, *old = json_path(w->old, "spec.externalIPs");

    if (!admission_is_main(w))
        return 0;
    cJSON_ArrayForEach(ip, json_path(w->tree, "spec.externalIPs"))
    {
        if (!has_text(old, ip->valuestring))
            return admission_refuse(w, err, "Use of external IPs is denied by admission control.");
    }
    return 0;
}

static const char *const services[] = {"services", NULL};

const struct admission_plugin admission_deny_service_external_ips = {
    .name = "DenyServiceExternalIPs",
    .resources = services,
    .off = true,
    .validate = deny_external_ips,
};
