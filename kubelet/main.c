/*
 * skiff-kubelet: runs the pods that are bound to this node. Flags, wiring and the wait for the end.
 */
#include <stdio.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/file.h"
#include "common/kubeconfig.h"
#include "common/log.h"
#include "kubelet/agent.h"
#include "kubelet/docker/docker.h"
#include "kubelet/hollow/hollow.h"
#include "kubelet/network/host.h"

struct config {
    struct daemon_flags daemon;
    struct kubelet_config kubelet;
};

#define STOP_SECONDS 5
#define OF(member) offsetof(struct config, kubelet.member)

static const struct flag flags[] = {
    DAEMON_FLAGS(struct config, daemon),
    {"kubeconfig", FLAG_STRING, OF(kubeconfig), NULL, "FILE",
        "how to reach the API server, and as whom"},
    {"bootstrap-kubeconfig", FLAG_STRING, OF(bootstrap_kubeconfig), NULL, "FILE",
        "credentials to ask for a certificate with when --kubeconfig does not exist yet; it is "
        "then written"},
    {"hostname-override", FLAG_STRING, OF(hostname_override), NULL, "NAME",
        "name of the node; otherwise the host's"},
    {"node-ip", FLAG_STRING, OF(node_ip), NULL, "IP",
        "address of the node; otherwise that of the default route"},
    {"node-labels", FLAG_STRING, OF(node_labels), NULL, "K=V,...",
        "labels given to the node when it registers"},
    {"register-with-taints", FLAG_STRING, OF(register_with_taints), NULL, "K=V:EFFECT,...",
        "taints given to the node when it registers"},
    {"max-pods", FLAG_INT, OF(max_pods), "110", "N", "pods this node takes"},
    {"root-dir", FLAG_STRING, OF(root_dir), "/var/lib/skiff/kubelet", "DIR",
        "volumes, certificates and network state"},
    {"cluster-id", FLAG_STRING, OF(cluster_id), "default", "ID",
        "tells this cluster's containers from others'"},
    {"docker-endpoint", FLAG_STRING, OF(docker_endpoint), "unix:///var/run/docker.sock", "URL",
        "Docker's socket"},
    {"pause-binary", FLAG_STRING, OF(pause_binary), NULL, "FILE",
        "the sandbox's program; otherwise skiff-pause beside this one"},
    {"cni-conf-dir", FLAG_STRING, OF(cni_conf_dir), "/etc/cni/net.d", "DIR",
        "network configuration; when it holds none, the built-in bridge network is used"},
    {"cni-bin-dir", FLAG_STRING, OF(cni_bin_dir), "/usr/lib/cni", "DIR", "network plugins"},
    {"cluster-dns", FLAG_STRING, OF(cluster_dns), "10.96.0.10", "IP",
        "name server of pods; empty: the node's own"},
    {"cluster-domain", FLAG_STRING, OF(cluster_domain), "cluster.local", "NAME",
        "the cluster's domain"},
    {"secure-port", FLAG_INT, OF(port), "10250", "N",
        "port of logs, metrics and health (HTTPS); 0 for none"},
    {"bind-address", FLAG_STRING, OF(bind_address), "0.0.0.0", "IP", "address of that port"},
    {"tls-cert-file", FLAG_STRING, OF(tls_cert_file), NULL, "FILE",
        "certificate of that port; otherwise one is asked for from the API server"},
    {"tls-private-key-file", FLAG_STRING, OF(tls_private_key_file), NULL, "FILE",
        "key that belongs to it"},
    TLS_SETTINGS_FLAGS(struct kubelet_config, tls),
    {"client-ca-file", FLAG_STRING, OF(client_ca_file), NULL, "FILE",
        "CA of the client certificates it accepts"},
    {"node-status-report-frequency", FLAG_DURATION, OF(node_status_frequency_ns), "5m", "TIME",
        "how often an unchanged node status is written"},
    {"runtime", FLAG_STRING, OF(runtime), "docker", "docker|hollow",
        "real containers, or pretended ones for scale tests"},
    {"hollow-nodes", FLAG_INT, OF(hollow_nodes), "1", "N",
        "nodes to pretend, with --runtime=hollow"},
    {"hollow-prefix", FLAG_STRING, OF(hollow_prefix), "hollow-", "TEXT",
        "their names, followed by a number"},
    {"cleanup", FLAG_BOOL, OF(cleanup), NULL, NULL,
        "remove everything this node's kubelet made on the host, and exit"},
};

static int new_runtime(struct env *env, const struct kubelet_config *c, const char *node,
    const char *ip, struct runtime **ret, struct error *err)
{
    autofree char *cni_dir = str_format("%s/cni", c->root_dir);
    char self[4096] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash = n > 0 ? strrchr(self, '/') : NULL;

    if (c_eq(c->runtime, "hollow")) {
        *ret = hollow_runtime_new(env);
        return 0;
    }
    if (!c_eq(c->runtime, "docker"))
        return error_set(
            err, ERR_USAGE, "--runtime: \"%s\" is neither docker nor hollow", c->runtime);
    if (slash)
        *slash = '\0';
    autofree char *pause = str_format("%s/skiff-pause", self);
    struct cni_options cni = {.conf_dir = c->cni_conf_dir,
        .bin_dir = c->cni_bin_dir,
        .data_dir = cni_dir,
        .mtu = host_mtu(ip)};
    struct docker_config config = {.endpoint = c->docker_endpoint,
        .cluster_id = c->cluster_id,
        .node_name = node,
        .pause_binary = c->pause_binary ? c->pause_binary : pause,
        .cni = &cni};
    return docker_runtime_new(env, &config, ret, err);
}

static int connect_api(struct env *env, const struct kubelet_config *c, const char *node,
    struct kubeconfig *k, struct api_client **ret, struct error *err)
{
    struct http_client *http = NULL;

    if (!c->kubeconfig)
        return error_set(err, ERR_USAGE, "--kubeconfig is needed");
    if (certs_bootstrap(env, c, node, err) < 0 || kubeconfig_load(c->kubeconfig, NULL, k, err) < 0)
        return -err->code;
    struct http_client_config config = kubeconfig_client_config(k, "skiff-kubelet");
    config.share_reads = true;
    if (http_client_new(env, &config, &http, err) < 0)
        return -err->code;
    *ret = api_client_new(env, http);
    return 0;
}

static void add_nodes(
    struct agent *agent, const struct kubelet_config *c, const char *name, const char *ip)
{
    if (!agent->runtime->pretends) {
        agent_add_node(agent, name, ip);
        return;
    }
    for (int64_t i = 0; i < c->hollow_nodes; i++) {
        autofree char *hollow = str_format("%s%lld", c->hollow_prefix, (long long)i);
        agent_add_node(agent, hollow, ip);
    }
}

static int run_agent(struct env *env, const struct kubelet_config *c, const char *name,
    const char *ip, struct runtime *runtime, struct error *err)
{
    struct kubeconfig k = {0};
    struct api_client *api = NULL;
    struct agent *agent = NULL;

    int r = connect_api(env, c, name, &k, &api, err);
    if (r == 0)
        r = agent_new(env, c, api, runtime, &agent, err);
    if (r == 0) {
        add_nodes(agent, c, name, ip);
        r = agent_start(agent, err);
    }
    if (r == 0) {
        daemon_ready();
        log_info("stopping", "signal", "%d", daemon_wait(), NULL);
        /* A call that Docker or the API never answers must not hold up the end: nothing is lost by
         * a hard one. */
        alarm(STOP_SECONDS);
    }
    if (agent)
        agent_free(agent);
    if (api)
        api_client_free(api);
    kubeconfig_done(&k);
    return r;
}

static int run(const struct kubelet_config *c, struct error *err)
{
    struct env *env = env_new_real();
    struct runtime *runtime = NULL;
    char name[256] = "", ip[64] = "";

    if (c->hostname_override && c->hostname_override[0])
        snprintf(name, sizeof(name), "%s", c->hostname_override);
    else if (gethostname(name, sizeof(name) - 1) < 0)
        return error_set(err, ERR_USAGE, "the host has no name; give --hostname-override");
    if (c->node_ip && c->node_ip[0])
        snprintf(ip, sizeof(ip), "%s", c->node_ip);
    else if (!host_default_address(ip, sizeof(ip)) && !c->cleanup)
        return error_set(err, ERR_USAGE, "the host has no address; give --node-ip");
    for (char *p = name; *p; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
    int r = new_runtime(env, c, name, ip, &runtime, err);
    if (r == 0 && !c->cleanup)
        r = file_make_dirs(c->root_dir, 0750, err);
    if (r == 0)
        r = c->cleanup ? cleanup_run(c, runtime, err) : run_agent(env, c, name, ip, runtime, err);
    if (runtime)
        runtime->ops->free(runtime);
    env_free(env);
    return r;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct error err;
    int r = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &config, &err);

    if (r == FLAGS_HELP)
        return 0;
    if (r >= 0 && r < argc)
        r = error_set(&err, ERR_USAGE, "unexpected argument \"%s\"", argv[r]);
    if (r >= 0)
        r = daemon_start(&config.daemon, &err);
    if (r >= 0)
        r = run(&config.kubelet, &err);
    if (r >= 0)
        return 0;
    fprintf(stderr, "skiff-kubelet: %s\n", err.text);
    return r == -ERR_USAGE ? 2 : 1;
}
