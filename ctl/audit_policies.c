/*
 * audit-cluster, section 5: who holds which rights, and what pods may be.
 *
 * The roles and bindings every cluster starts with (label kubernetes.io/bootstrapping) and those of
 * Skiff's own components are as they must be and not named; what a user added is.
 */
#include "ctl/audit_cluster.h"

#include <stdarg.h>

#define RBAC "rbac.authorization.k8s.io/v1"
#define NAMES_MAX 8 /* named in a finding */

struct finding {
    struct strbuf names;
    int count;
};

static void found(struct finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void found(struct finding *f, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (f->count++ < NAMES_MAX)
        strbuf_addf(&f->names, "%s%s", f->names.n ? ", " : "", text);
}

static void report(
    struct audit *a, struct finding *f, const char *number, const char *title, const char *mend)
{
    if (f->count == 0)
        audit_pass(a, number, title);
    else if (f->count > NAMES_MAX)
        audit_fail(a, number, title, mend, "%s and %d more", f->names.data, f->count - NAMES_MAX);
    else
        audit_fail(a, number, title, mend, "%s", f->names.data);
    strbuf_done(&f->names);
}

static cJSON *list(struct audit *a, const char *group_version, const char *plural)
{
    struct api_ref ref = {.group_version = group_version, .plural = plural};
    cJSON *ret = NULL;
    struct error err;

    return api_list(a->api, &ref, NULL, &ret, &err) < 0 ? NULL : ret;
}

static const char *name_of(const cJSON *object)
{
    const char *name = json_string_at(object, "metadata.name");
    return name ? name : "";
}

static bool is_ours(const cJSON *object)
{
    const cJSON *labels = json_path(object, "metadata.labels");
    return json_string(labels, "kubernetes.io/bootstrapping") ||
           json_string(labels, "skiff.io/component") ||
           strncmp(name_of(object), "skiff:", 6) == 0 ||
           strncmp(name_of(object), "system:", 7) == 0;
}

static bool has_text(const cJSON *strings, const char *text)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, strings)
    {
        if (c_eq(item->valuestring, text))
            return true;
    }
    return false;
}

static bool touches(const cJSON *rule, const char *resource, const char *const *verbs)
{
    if (!has_text(json_get(rule, "resources"), resource))
        return false;
    for (; *verbs; verbs++)
        if (has_text(json_get(rule, "verbs"), *verbs))
            return true;
    return false;
}

/* --- 5.1: rights --- */

static void check_admins(struct audit *a, const cJSON *bindings)
{
    struct finding f = {.names = STRBUF_EMPTY};
    const cJSON *b, *subject;

    cJSON_ArrayForEach(b, json_get(bindings, "items"))
    {
        if (!c_eq(json_string_at(b, "roleRef.name"), "cluster-admin") || is_ours(b))
            continue;
        cJSON_ArrayForEach(subject, json_get(b, "subjects"))
        {
            found(&f, "%s %s (binding %s)", json_string(subject, "kind"),
                json_string(subject, "name"), name_of(b));
        }
    }
    report(a, &f, "5.1.1", "nobody but the cluster's admin holds cluster-admin",
        "bind a role with what is needed instead");
}

static void check_rules(struct audit *a, const cJSON *roles, const char *number, const char *title,
    const char *mend, const char *resource, const char *const *verbs)
{
    struct finding f = {.names = STRBUF_EMPTY};
    const cJSON *role, *rule;

    cJSON_ArrayForEach(role, json_get(roles, "items"))
    {
        if (is_ours(role))
            continue;
        cJSON_ArrayForEach(rule, json_get(role, "rules"))
        {
            if (touches(rule, resource, verbs)) {
                found(&f, "ClusterRole %s", name_of(role));
                break;
            }
        }
    }
    report(a, &f, number, title, mend);
}

static void check_default_accounts(
    struct audit *a, const cJSON *cluster_bindings, const cJSON *bindings)
{
    struct finding f = {.names = STRBUF_EMPTY};
    const cJSON *lists[] = {cluster_bindings, bindings}, *b, *subject;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        cJSON_ArrayForEach(b, json_get(lists[i], "items"))
        {
            cJSON_ArrayForEach(subject, json_get(b, "subjects"))
            {
                if (c_eq(json_string(subject, "kind"), "ServiceAccount") &&
                    c_eq(json_string(subject, "name"), "default"))
                    found(&f, "%s in namespace %s (binding %s)", "default",
                        json_string(subject, "namespace"), name_of(b));
            }
        }
    }
    report(a, &f, "5.1.5", "the default ServiceAccounts hold no rights",
        "give the workload a ServiceAccount of its own");
}

static void check_rights(struct audit *a)
{
    static const char *const reads[] = {"get", "list", "watch", "*", NULL},
                             *const creates[] = {"create", "*", NULL},
                             *const powers[] = {"bind", "escalate", "impersonate", "*", NULL},
                             *const any[] = {"*", NULL},
                             *const changes[] = {"update", "patch", "*", NULL};
    autojson cJSON *roles = list(a, RBAC, "clusterroles"),
                   *cluster_bindings = list(a, RBAC, "clusterrolebindings"),
                   *bindings = list(a, RBAC, "rolebindings");

    check_admins(a, cluster_bindings);
    check_rules(a, roles, "5.1.2", "no role of a user reads all Secrets",
        "name the Secrets in a Role of their namespace", "secrets", reads);
    check_rules(a, roles, "5.1.3", "no role of a user allows everything",
        "name the resources and verbs", "*", any);
    check_rules(a, roles, "5.1.4", "no role of a user makes pods everywhere",
        "use a Role in the namespace", "pods", creates);
    check_default_accounts(a, cluster_bindings, bindings);
    check_rules(a, roles, "5.1.8", "no role of a user gives rights away",
        "leave bind, escalate and impersonate to the admin", "clusterroles", powers);
    check_rules(a, roles, "5.1.9", "no role of a user makes PersistentVolumes",
        "leave that to the provisioner", "persistentvolumes", creates);
    check_rules(a, roles, "5.1.10", "no role of a user reaches through nodes",
        "leave nodes/proxy away", "nodes/proxy", reads);
    check_rules(a, roles, "5.1.11", "no role of a user approves certificates",
        "leave that to the controller manager", "certificatesigningrequests/approval", changes);
    check_rules(a, roles, "5.1.13", "no role of a user makes tokens of ServiceAccounts everywhere",
        "use a Role in the namespace", "serviceaccounts/token", creates);
}

/* --- 5.2 to 5.7: pods --- */

static bool is_system(const char *namespace_)
{
    return strncmp(namespace_, "kube-", 5) == 0;
}

static const cJSON *find_namespace(const cJSON *namespaces, const char *name)
{
    const cJSON *n;

    cJSON_ArrayForEach(n, json_get(namespaces, "items"))
    {
        if (c_eq(name_of(n), name))
            return n;
    }
    return NULL;
}

/* Pods that a namespace without an enforced standard lets in. */
static void check_standards(struct audit *a, const cJSON *pods, const cJSON *namespaces)
{
    struct finding privileged = {.names = STRBUF_EMPTY}, host = {.names = STRBUF_EMPTY};
    const cJSON *pod, *container;

    cJSON_ArrayForEach(pod, json_get(pods, "items"))
    {
        const char *ns = json_string_at(pod, "metadata.namespace");
        const cJSON *spec = json_get(pod, "spec");
        const char *level =
            json_string(json_path(find_namespace(namespaces, ns), "metadata.labels"),
                "pod-security.kubernetes.io/enforce");
        if (is_system(ns) || (level && !c_eq(level, "privileged")))
            continue;
        cJSON_ArrayForEach(container, json_get(spec, "containers"))
        {
            if (json_bool(json_get(container, "securityContext"), "privileged", false))
                found(&privileged, "%s/%s", ns, name_of(pod));
        }
        if (json_bool(spec, "hostNetwork", false) || json_bool(spec, "hostPID", false) ||
            json_bool(spec, "hostIPC", false))
            found(&host, "%s/%s", ns, name_of(pod));
    }
    report(a, &privileged, "5.2.2", "no pod of a user is privileged",
        "label the namespace pod-security.kubernetes.io/enforce=baseline");
    report(a, &host, "5.2.3", "no pod of a user shares the host's namespaces",
        "label the namespace pod-security.kubernetes.io/enforce=baseline");
}

static void check_secrets_in_env(struct audit *a, const cJSON *pods)
{
    struct finding f = {.names = STRBUF_EMPTY};
    const cJSON *pod, *container, *env;

    cJSON_ArrayForEach(pod, json_get(pods, "items"))
    {
        cJSON_ArrayForEach(container, json_path(pod, "spec.containers"))
        {
            cJSON_ArrayForEach(env, json_get(container, "env"))
            {
                if (json_path(env, "valueFrom.secretKeyRef"))
                    found(&f, "%s/%s (%s)", json_string_at(pod, "metadata.namespace"), name_of(pod),
                        json_string(env, "name"));
            }
        }
    }
    report(a, &f, "5.4.1", "Secrets are mounted as files", "mount the Secret as a volume");
}

static void check_pods(struct audit *a)
{
    autojson cJSON *pods = list(a, "v1", "pods"), *namespaces = list(a, "v1", "namespaces"),
                   *policies = list(a, "networking.k8s.io/v1", "networkpolicies");
    struct finding open = {.names = STRBUF_EMPTY};
    const cJSON *pod, *policy;
    autojson cJSON *covered = cJSON_CreateObject();

    const char *off = audit_flag(a, "apiserver", "disable-admission-plugins");
    if (off && strstr(off, "PodSecurity"))
        audit_fail(a, "5.2.1", "pods are held to a security standard", "do not disable PodSecurity",
            "the plugin PodSecurity is off");
    else
        audit_pass(a, "5.2.1", "pods are held to a security standard");
    check_standards(a, pods, namespaces);
    cJSON_ArrayForEach(policy, json_get(policies, "items"))
    {
        json_set(covered, json_string_at(policy, "metadata.namespace"), cJSON_CreateTrue());
    }
    cJSON_ArrayForEach(pod, json_get(pods, "items"))
    {
        const char *ns = json_string_at(pod, "metadata.namespace");
        if (is_system(ns) || json_get(covered, ns))
            continue;
        found(&open, "%s", ns);
        json_set(covered, ns, cJSON_CreateTrue());
    }
    report(a, &open, "5.3.2", "namespaces with pods have a NetworkPolicy",
        "add one that denies by default");
    check_secrets_in_env(a, pods);
}

void audit_policies(struct audit *a)
{
    check_rights(a);
    check_pods(a);
}
