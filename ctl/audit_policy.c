/*
 * The audit policy of a cluster that `up` starts: DIR/audit-policy.yaml, which its owner may
 * change.
 *
 * What people and workloads change, and whoever reads Secrets, is recorded with its metadata; what
 * the cluster's own components do is not, so an idle cluster writes nothing. Bodies are never
 * recorded.
 */
#include "common/file.h"
#include "ctl/cluster.h"

static const char policy[] =
    "# What the API server records in log/audit.log. Restart the cluster (`skiffctl up`) after a "
    "change.\n"
    "apiVersion: audit.k8s.io/v1\n"
    "kind: Policy\n"
    "omitStages: [RequestReceived]\n"
    "rules:\n"
    "# the cluster's own components and its nodes\n"
    "- level: None\n"
    "  users: [\"system:apiserver\", \"system:kube-controller-manager\", "
    "\"system:kube-scheduler\", \"system:kube-proxy\", \"system:kube-dns\"]\n"
    "- level: None\n"
    "  userGroups: [\"system:nodes\"]\n"
    "# health pages, discovery and documents\n"
    "- level: None\n"
    "  nonResourceURLs: [\"/healthz*\", \"/livez*\", \"/readyz*\", \"/version\", \"/metrics*\", "
    "\"/api*\", \"/openapi*\"]\n"
    "# who looks at Secrets, who runs commands in pods, who asks for tokens\n"
    "- level: Metadata\n"
    "  resources:\n"
    "  - {group: \"\", resources: [\"secrets\", \"serviceaccounts/token\", \"pods/exec\", "
    "\"pods/attach\", \"pods/portforward\", \"pods/proxy\", "
    "\"services/proxy\", \"nodes/proxy\"]}\n"
    "# reading the rest is not recorded, changing it is\n"
    "- level: None\n"
    "  verbs: [\"get\", \"list\", \"watch\"]\n"
    "- level: Metadata\n";

int audit_policy_ensure(const struct cluster *c, struct error *err)
{
    autofree char *path = cluster_path(c, "audit-policy.yaml");

    return file_exists(path) ? 0 : file_write(path, str_of(policy), 0600, err);
}
