/*
 * The table of kinds' exceptions. See rules.h. Upstream: the flags of rest.RESTUpdateStrategy and
 * of each registry Store.
 */
#include "apiserver/registry/generic/rules.h"

static const struct kind_rules rules[] = {
    {"", "endpoints", .create_on_update = true},
    {"", "events", .create_on_update = true},
    {"", "limitranges", .create_on_update = true},
    {"", "namespaces", .spec_finalizers = true},
    {"", "nodes", .status_on_create = true},
    {"", "persistentvolumeclaims", .returns_deleted = true},
    {"", "persistentvolumes", .returns_deleted = true},
    {"", "pods", .returns_deleted = true},
    {"", "podtemplates", .returns_deleted = true},
    {"", "resourcequotas", .returns_deleted = true},
    {"", "serviceaccounts", .returns_deleted = true},
    {"", "services", .create_on_update = true, .returns_deleted = true},
    {"apiextensions.k8s.io", "customresourcedefinitions", .version_required = true},
    {"apiregistration.k8s.io", "apiservices", .version_required = true},
    {"admissionregistration.k8s.io", "mutatingwebhookconfigurations", .version_required = true},
    {"admissionregistration.k8s.io", "validatingwebhookconfigurations", .version_required = true},
    {"coordination.k8s.io", "leases", .create_on_update = true, .version_required = true,
        .holder_lease = true},
    {"events.k8s.io", "events", .create_on_update = true},
    {"networking.k8s.io", "ipaddresses", .version_required = true},
    {"node.k8s.io", "runtimeclasses", .version_required = true},
    {"policy", "poddisruptionbudgets", .version_required = true},
    {"rbac.authorization.k8s.io", "clusterrolebindings", .create_on_update = true},
    {"rbac.authorization.k8s.io", "clusterroles", .create_on_update = true},
    {"rbac.authorization.k8s.io", "rolebindings", .create_on_update = true},
    {"rbac.authorization.k8s.io", "roles", .create_on_update = true},
    {"storage.k8s.io", "csidrivers", .version_required = true},
    {"storage.k8s.io", "csinodes", .version_required = true},
    {"storage.k8s.io", "volumeattachments", .version_required = true},
};

static const struct scale_rules scales[] = {
    {"", "replicationcontrollers", .map_selector = true},
    {"apps", "deployments"},
    {"apps", "replicasets"},
    {"apps", "statefulsets"},
};

const struct kind_rules *rules_of(const struct resource *r)
{
    static const struct kind_rules none;

    for (size_t i = 0; i < ARRAY_COUNT(rules); i++)
        if (c_eq(rules[i].plural, r->plural) && c_eq(rules[i].group, r->group))
            return &rules[i];
    return &none;
}

const struct scale_rules *scale_rules_of(const struct resource *r)
{
    for (size_t i = 0; i < ARRAY_COUNT(scales); i++)
        if (c_eq(scales[i].plural, r->plural) && c_eq(scales[i].group, r->group))
            return &scales[i];
    return NULL;
}
