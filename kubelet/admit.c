/*
 * Can this node run the pod at all? Asked once, before anything is made; a refusal is final (phase
 * Failed), so that the pod's controller makes another elsewhere.
 *
 * Upstream: kubelet lifecycle/predicate.go, sysctl/allowlist.go.
 */
#include "kubelet/sync.h"

static const char *const safe_sysctls[] = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
};

static bool is_safe(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(safe_sysctls); i++)
        if (c_eq(name, safe_sysctls[i]))
            return true;
    return false;
}

static int refuse(char **ret_reason, char **ret_message, const char *reason, char *take_message)
{
    *ret_reason = xstrdup(reason);
    *ret_message = take_message;
    return -ERR_FORBIDDEN;
}

static int check_sysctls(struct sync *s, char **ret_reason, char **ret_message)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_path(s->spec, "securityContext.sysctls"))
    {
        const char *name = json_string(item, "name");
        if (name && !is_safe(name))
            return refuse(ret_reason, ret_message, "SysctlForbidden",
                str_format("forbidden sysctl: \"%s\" not allowlisted", name));
    }
    return 0;
}

static int check_selector(struct sync *s, char **ret_reason, char **ret_message)
{
    const cJSON *wanted;
    const struct node_view *node =
        s->agent->nodes ? informer_get(s->agent->nodes, NULL, s->node->name) : NULL;
    bool fits = true;

    if (!node)
        return 0; /* the scheduler has looked */
    cJSON_ArrayForEach(wanted, json_get(s->spec, "nodeSelector")) fits =
        fits &&
        c_eq(string_map_get(&node->meta.labels, wanted->string), cJSON_GetStringValue(wanted));
    projected_unref(node);
    if (fits)
        return 0;
    return refuse(ret_reason, ret_message, "NodeAffinity",
        xstrdup("Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node "
                "affinity/selector"));
}

/* A host port of this pod that another pod of the node holds. */
static bool ports_clash(const cJSON *ours, const cJSON *theirs)
{
    const cJSON *c1, *c2, *p1, *p2;

    cJSON_ArrayForEach(c1, json_get(ours, "containers"))
    {
        cJSON_ArrayForEach(p1, json_get(c1, "ports"))
        {
            int64_t port = json_int64_at(p1, "hostPort", 0);
            const char *protocol = json_string(p1, "protocol"), *ip = json_string(p1, "hostIP");
            if (port <= 0)
                continue;
            cJSON_ArrayForEach(c2, json_get(theirs, "containers"))
            {
                cJSON_ArrayForEach(p2, json_get(c2, "ports"))
                {
                    const char *protocol2 = json_string(p2, "protocol"),
                               *ip2 = json_string(p2, "hostIP");
                    bool any = !ip || !ip[0] || !ip2 || !ip2[0] || c_eq(ip, "0.0.0.0") ||
                               c_eq(ip2, "0.0.0.0");
                    if (json_int64_at(p2, "hostPort", 0) == port &&
                        c_eq(protocol ? protocol : "TCP", protocol2 ? protocol2 : "TCP") &&
                        (any || c_eq(ip, ip2)))
                        return true;
                }
            }
        }
    }
    return false;
}

static bool has_host_ports(const cJSON *spec)
{
    const cJSON *container, *port;

    cJSON_ArrayForEach(container, json_get(spec, "containers"))
    {
        cJSON_ArrayForEach(port, json_get(container, "ports"))
        {
            if (json_int64_at(port, "hostPort", 0) > 0)
                return true;
        }
    }
    return false;
}

/* Marks the pod as admitted under the same lock that the search is made with: of two that clash one
 * is in time. */
static int check_ports(struct sync *s, char **ret_reason, char **ret_message)
{
    struct pod_record *other, *next;
    bool clash = false, wanted = has_host_ports(s->spec);

    env_lock(s->agent->env, &s->agent->lock);
    HASH_ITER(hh, s->agent->records, other, next)
    {
        const struct pod_view *view = NULL;
        autojson cJSON *spec = NULL;
        struct error err;

        if (!wanted || clash)
            break;
        if (other == s->record || other->node != s->node)
            continue;
        env_lock(s->agent->env, &other->lock);
        if (other->view && !other->finished)
            view = projected_ref(other->view);
        env_unlock(s->agent->env, &other->lock);
        if (view && view->spec && strstr(view->spec, "\"hostPort\"") && other->admitted &&
            json_parse(str_of(view->spec), &spec, &err) == 0)
            clash = ports_clash(s->spec, spec);
        if (view)
            projected_unref(view);
    }
    s->record->admitted = !clash;
    env_unlock(s->agent->env, &s->agent->lock);
    if (!clash)
        return 0;
    return refuse(ret_reason, ret_message, "NodePorts",
        xstrdup("Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for "
                "the requested pod "
                "ports"));
}

int pod_admit(struct sync *s, char **ret_reason, char **ret_message)
{
    int r = check_sysctls(s, ret_reason, ret_message);

    if (r == 0)
        r = check_selector(s, ret_reason, ret_message);
    if (r == 0)
        r = check_ports(s, ret_reason, ret_message);
    return r;
}
