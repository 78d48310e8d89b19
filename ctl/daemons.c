/*
 * The daemons of a cluster and their command lines, as a table.
 *
 * Written to DIR/run/daemons.json for the supervisor, or turned into systemd units. A control plane
 * alone leaves out what needs Docker or root; a joined node leaves out the control plane.
 */
#include "ctl/cluster.h"

#include <stdarg.h>

struct arguments {
    cJSON *argv;
    const struct cluster *c;
};

static void add(struct arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct arguments *a, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cJSON_AddItemToArray(a->argv, cJSON_CreateString(text));
}

/* Flags that every daemon but the API server has: identity, port, serving certificate. The daemons
 * of a joined node share the kubelet's identity, and serve their health pages with a certificate of
 * their own making. */
static void add_common(struct arguments *a, const char *identity, enum cluster_port port)
{
    const char *dir = a->c->dir;

    add(a, "--secure-port=%d", cluster_port(a->c, port));
    if (a->c->joined) {
        add(a, "--kubeconfig=%s/kubelet.kubeconfig", dir);
        add(a, "--client-ca-file=%s/pki/ca.crt", dir);
        return;
    }
    add(a, "--kubeconfig=%s/%s.kubeconfig", dir, identity);
    add(a, "--tls-cert-file=%s/pki/%s.crt", dir, identity);
    add(a, "--tls-private-key-file=%s/pki/%s.key", dir, identity);
    add(a, "--client-ca-file=%s/pki/ca.crt", dir);
}

static void apiserver_arguments(struct arguments *a)
{
    const struct cluster *c = a->c;

    add(a, "--secure-port=%d", c->secure_port);
    add(a, "--bind-address=0.0.0.0");
    add(a, "--advertise-address=%s", c->node_ip);
    add(a, "--storage-backend=%s", c->etcd ? "etcd" : "embedded");
    if (c->etcd)
        add(a, "--etcd-servers=%s", c->etcd_servers);
    add(a, "--data-dir=%s/db", c->dir);
    add(a, "--tls-cert-file=%s/pki/apiserver.crt", c->dir);
    add(a, "--tls-private-key-file=%s/pki/apiserver.key", c->dir);
    add(a, "--client-ca-file=%s/pki/ca.crt", c->dir);
    add(a, "--encryption-provider-config=%s/pki/encryption.yaml", c->dir);
    add(a, "--service-account-key-file=%s/pki/sa.pub", c->dir);
    add(a, "--service-account-signing-key-file=%s/pki/sa.key", c->dir);
    add(a, "--kubelet-client-certificate=%s/pki/apiserver-kubelet-client.crt", c->dir);
    add(a, "--kubelet-client-key=%s/pki/apiserver-kubelet-client.key", c->dir);
    add(a, "--kubelet-certificate-authority=%s/pki/ca.crt", c->dir);
    add(a, "--enable-bootstrap-token-auth");
    add(a, "--enable-admission-plugins=DenyServiceExternalIPs");
    add(a, "--audit-policy-file=%s/audit-policy.yaml", c->dir);
    add(a, "--audit-log-path=%s/log/audit.log", c->dir);
    add(a, "--audit-log-maxsize=20");
    add(a, "--audit-log-maxbackup=5");
    add(a, "--audit-log-maxage=30");
}

static void controller_manager_arguments(struct arguments *a)
{
    add_common(a, "controller-manager", PORT_CONTROLLER_MANAGER);
    add(a, "--cluster-signing-cert-file=%s/pki/ca.crt", a->c->dir);
    add(a, "--cluster-signing-key-file=%s/pki/ca.key", a->c->dir);
    add(a, "--root-ca-file=%s/pki/ca.crt", a->c->dir);
    add(a, "--allocate-node-cidrs");
}

static void scheduler_arguments(struct arguments *a)
{
    add_common(a, "scheduler", PORT_SCHEDULER);
}

static void kubelet_arguments(struct arguments *a)
{
    const struct cluster *c = a->c;

    add_common(a, "kubelet", PORT_KUBELET);
    if (c->joined)
        add(a, "--bootstrap-kubeconfig=%s/bootstrap.kubeconfig", c->dir);
    add(a, "--hostname-override=%s", c->node_name);
    add(a, "--node-ip=%s", c->node_ip);
    add(a, "--root-dir=%s/kubelet", c->dir);
    add(a, "--cluster-id=%s", c->id);
    add(a, "--docker-endpoint=%s", c->docker_endpoint);
    add(a, "--cni-conf-dir=%s", c->cni_conf_dir);
    add(a, "--cluster-dns=10.96.0.10");
}

static void hollow_arguments(struct arguments *a)
{
    add(a, "--runtime=hollow");
    add(a, "--hollow-nodes=%lld", (long long)a->c->hollow_nodes);
    add(a, "--kubeconfig=%s/hollow.kubeconfig", a->c->dir);
    add(a, "--secure-port=0");
    add(a, "--node-ip=%s", a->c->node_ip);
    add(a, "--root-dir=%s/hollow", a->c->dir);
    add(a, "--client-ca-file=%s/pki/ca.crt", a->c->dir);
}

static void proxy_arguments(struct arguments *a)
{
    add_common(a, "proxy", PORT_PROXY);
    add(a, "--hostname-override=%s", a->c->node_name);
}

static void dns_arguments(struct arguments *a)
{
    add_common(a, "dns", PORT_DNS_HEALTH);
    add(a, "--node-name=%s", a->c->node_name);
    add(a, "--listen-address=%s", a->c->node_ip);
    add(a, "--dns-port=%d", cluster_port(a->c, PORT_DNS));
}

static bool is_server(const struct cluster *c)
{
    return !c->joined;
}

static bool is_node(const struct cluster *c)
{
    return !c->control_plane_only;
}

static bool is_hollow(const struct cluster *c)
{
    return c->hollow_nodes > 0;
}

static const struct {
    const char *name, *binary;
    bool (*wanted)(const struct cluster *c);
    void (*arguments)(struct arguments *a);
    int port; /* enum cluster_port, or -1: no health page */
} table[] = {
    {"apiserver", "skiff-apiserver", is_server, apiserver_arguments, PORT_APISERVER},
    {"controller-manager", "skiff-controller-manager", is_server, controller_manager_arguments,
        PORT_CONTROLLER_MANAGER},
    {"scheduler", "skiff-scheduler", is_server, scheduler_arguments, PORT_SCHEDULER},
    {"kubelet", "skiff-kubelet", is_node, kubelet_arguments, PORT_KUBELET},
    {"proxy", "skiff-proxy", is_node, proxy_arguments, PORT_PROXY},
    {"dns", "skiff-dns", is_node, dns_arguments, PORT_DNS_HEALTH},
    {"hollow", "skiff-kubelet", is_hollow, hollow_arguments, -1},
};

cJSON *daemons_list(const struct cluster *c)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        if (!table[i].wanted(c))
            continue;
        cJSON *row = cJSON_CreateObject();
        struct arguments a = {cJSON_CreateArray(), c};
        autofree char *binary = binary_path(table[i].binary);
        add(&a, "%s", binary);
        table[i].arguments(&a);
        json_set_string(row, "name", table[i].name);
        json_set(row, "argv", a.argv);
        if (table[i].port >= 0) {
            autofree char *url = str_format(
                "https://127.0.0.1:%d/readyz", cluster_port(c, (enum cluster_port)table[i].port));
            json_set_string(row, "health", url);
        }
        cJSON_AddItemToArray(list, row);
    }
    return list;
}
