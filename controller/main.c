/*
 * skiff-controller-manager: flags, wiring, health pages.
 *
 * Order of the start: the pages are served at once (readyz says no); with --leader-elect wait for the lease;
 * then the controllers. Losing the lease ends the process: a restart is the clean way to drop work in flight.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/delegated_auth.h"
#include "common/httpd.h"
#include "common/kubeconfig.h"
#include "common/leader.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/pki.h"
#include "common/time.h"
#include "controller/controller.h"
#include "controller/fanout.h"
#include "controller/manager.h"
#include "controller/serving.h"

struct config {
    struct daemon_flags daemon;
    struct serving_config serving;
    const char *kubeconfig;
    const char *controllers;
    bool leader_elect;
    struct manager_config manager;
};

#define FLAG(name, type, member, otherwise, argument, help)                                       \
    {(name), (type), offsetof(struct config, member), (otherwise), (argument), (help)}

static const struct flag flags[] = {
    DAEMON_FLAGS(struct config, daemon),
    FLAG("kubeconfig", FLAG_STRING, kubeconfig, NULL, "FILE", "how to reach the API server"),
    FLAG("controllers", FLAG_STRING, controllers, "*", "LIST",
        "controllers to run: \"*\" all, \"name\" this one, \"-name\" all but this one"),
    FLAG("leader-elect", FLAG_BOOL, leader_elect, "false", NULL,
        "act only while holding the lease kube-system/kube-controller-manager"),
    FLAG("bind-address", FLAG_STRING, serving.address, "127.0.0.1", "IP", "address of the health and metrics pages"),
    FLAG("secure-port", FLAG_INT, serving.port, "10257", "N", "their port; 0 turns them off"),
    FLAG("tls-cert-file", FLAG_STRING, serving.cert_file, NULL, "FILE",
        "their certificate; without it one is made in --cert-dir"),
    FLAG("tls-private-key-file", FLAG_STRING, serving.key_file, NULL, "FILE", "its key"),
    FLAG("client-ca-file", FLAG_STRING, serving.client_ca_file, NULL, "FILE",
        "CA whose client certificates are accepted"),
    FLAG("cert-dir", FLAG_STRING, serving.cert_dir, NULL, "DIR", "where the pages' own certificate is kept"),
    FLAG("cluster-signing-cert-file", FLAG_STRING, manager.signing_cert_file, NULL, "FILE",
        "CA that signs approved CertificateSigningRequests"),
    FLAG("cluster-signing-key-file", FLAG_STRING, manager.signing_key_file, NULL, "FILE", "its key"),
    FLAG("cluster-signing-duration", FLAG_DURATION, manager.signing_duration_ns, "8760h", "TIME",
        "longest validity of a signed certificate"),
    FLAG("root-ca-file", FLAG_STRING, manager.root_ca_file, NULL, "FILE",
        "CA published to pods in kube-root-ca.crt"),
    FLAG("service-account-private-key-file", FLAG_STRING, manager.service_account_key_file, NULL, "FILE",
        "key that signs the tokens of token Secrets"),
    FLAG("cluster-cidr", FLAG_STRING, manager.cluster_cidr, "10.244.0.0/16", "CIDR", "addresses of pods"),
    FLAG("allocate-node-cidrs", FLAG_BOOL, manager.allocate_node_cidrs, "true", NULL,
        "give each node a part of --cluster-cidr"),
    FLAG("node-cidr-mask-size", FLAG_INT, manager.node_mask_size, "24", "N", "size of a node's part"),
    FLAG("node-monitor-grace-period", FLAG_DURATION, manager.node_grace_ns, "40s", "TIME",
        "silence after which a node counts as unreachable"),
    FLAG("terminated-pod-gc-threshold", FLAG_INT, manager.terminated_pod_threshold, "12500", "N",
        "finished pods that may stay before the oldest are deleted; 0 keeps all"),
    FLAG("host-path-dir", FLAG_STRING, manager.host_path_dir, "/var/lib/skiff/volumes", "DIR",
        "where volumes of class skiff-hostpath lie on their node; \"\" turns the provisioner off"),
};

static void on_lost(void *arg)
{
    _exit(1);
}

/* "a,b" as a list; the strings live as long as the process. */
static void split_controllers(struct config *config)
{
    static const char *names[64];
    struct str rest = str_of(config->controllers), part;

    while (rest.n && config->manager.controllers_count < ARRAY_COUNT(names) &&
           str_split(&rest, ',', &part))
        if (part.n)
            names[config->manager.controllers_count++] = str_dup(str_trim(part));
    config->manager.controllers = names;
}

static int connect(const struct config *config, struct env *env, struct api_client **ret, struct error *err)
{
    struct kubeconfig kubeconfig;
    struct http_client *http;

    if (kubeconfig_load(config->kubeconfig, NULL, &kubeconfig, err) < 0)
        return -(int)err->code;
    struct http_client_config client =
        kubeconfig_client_config(&kubeconfig, "skiff-controller-manager/" SKIFF_VERSION);
    client.connections_max = FANOUT_TASKS;
    int r = http_client_new(env, &client, &http, err);
    kubeconfig_done(&kubeconfig);
    if (r < 0)
        return r;
    *ret = api_client_new(env, http);
    return 0;
}

struct running {
    struct manager *m;
    atomic_bool started;
    struct leader *leader;
    struct env *env;
    bool leader_elect;
};

static void run_manager(void *arg)
{
    struct running *run = arg;
    struct error err;

    if (run->leader)
        while (!leader_wait(run->leader, env_now_ns(run->env) + NS_PER_S))
            if (manager_stopping(run->m))
                return;
    if (manager_start(run->m, &err) < 0) {
        if (err.code == ERR_CANCELLED)
            return;
        log_error("can't start", "err", "%s", err.text, NULL);
        _exit(1);
    }
    daemon_ready();
}

static int run(struct config *config, struct error *err)
{
    struct running running = {.env = env_new_real(), .leader_elect = config->leader_elect};
    struct api_client *client = NULL;
    struct serving *serving = NULL;

    if (connect(config, running.env, &client, err) < 0 ||
        manager_new(client, &config->manager, &running.m, err) < 0)
        return -(int)err->code;
    config->serving.ready = running.m;
    if (serving_new(client, &config->serving, &serving, err) < 0)
        return -(int)err->code;
    if (config->leader_elect)
        running.leader = leader_new(client,
            &(struct leader_config){.namespace_ = "kube-system", .name = "kube-controller-manager",
                .on_lost = on_lost});
    struct task *starter = env_spawn(running.env, "start", run_manager, &running);
    daemon_wait();
    log_info("stopping", NULL);
    manager_stop(running.m);
    env_join(running.env, starter);
    serving_free(serving);
    manager_free(running.m);
    leader_free(running.leader);
    api_client_free(client);
    env_free(running.env);
    return 0;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct error err;
    int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &config, &err);

    if (first == FLAGS_HELP)
        return 0;
    if (first < 0 || first < argc) {
        fprintf(stderr, "skiff-controller-manager: %s\n", first < 0 ? err.text : "takes no arguments");
        return 2;
    }
    split_controllers(&config);
    if (config.manager.host_path_dir && !*config.manager.host_path_dir)
        config.manager.host_path_dir = NULL;
    if (config.manager.terminated_pod_threshold == 0)
        config.manager.terminated_pod_threshold = -1;
    if (daemon_start(&config.daemon, &err) < 0 || run(&config, &err) < 0) {
        log_error("can't start", "err", "%s", err.text, NULL);
        return err.code == ERR_USAGE ? 2 : 1;
    }
    return 0;
}
