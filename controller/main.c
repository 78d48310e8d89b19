/*
 * skiff-controller-manager: flags, wiring, health pages.
 *
 * Order of the start: the pages are served at once (readyz says no); with --leader-elect wait for
 * the lease; then the controllers. Losing the lease ends the process: a restart is the clean way to
 * drop work in flight.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "common/component.h"
#include "common/daemon.h"
#include "common/harden.h"
#include "common/leader.h"
#include "common/log.h"
#include "common/time.h"
#include "controller/manager.h"

struct config {
    struct daemon_flags daemon;
    struct component_flags component;
    const char *controllers;
    struct leader_flags leader;
    struct manager_config manager;
};

#define FLAG(name, type, member, otherwise, argument, help)                              \
    {                                                                                    \
        (name), (type), offsetof(struct config, member), (otherwise), (argument), (help) \
    }

static const struct flag flags[] = {
    DAEMON_FLAGS(struct config, daemon),
    COMPONENT_FLAGS(struct config, component, "10257"),
    FLAG("controllers", FLAG_STRING, controllers, "*", "LIST",
        "controllers to run: \"*\" all, \"name\" this one, \"-name\" all but this one"),
    LEADER_FLAGS(struct config, leader),
    FLAG("cluster-signing-cert-file", FLAG_STRING, manager.signing_cert_file, NULL, "FILE",
        "CA that signs approved CertificateSigningRequests"),
    FLAG(
        "cluster-signing-key-file", FLAG_STRING, manager.signing_key_file, NULL, "FILE", "its key"),
    FLAG("cluster-signing-duration", FLAG_DURATION, manager.signing_duration_ns, "8760h", "TIME",
        "longest validity of a signed certificate"),
    FLAG("root-ca-file", FLAG_STRING, manager.root_ca_file, NULL, "FILE",
        "CA published to pods in kube-root-ca.crt"),
    FLAG("cluster-cidr", FLAG_STRING, manager.cluster_cidr, "10.244.0.0/16", "CIDR",
        "addresses of pods"),
    FLAG("allocate-node-cidrs", FLAG_BOOL, manager.allocate_node_cidrs, "true", NULL,
        "give each node a part of --cluster-cidr"),
    FLAG("node-cidr-mask-size", FLAG_INT, manager.node_mask_size, "24", "N",
        "size of a node's part"),
    FLAG("node-monitor-grace-period", FLAG_DURATION, manager.node_grace_ns, "40s", "TIME",
        "silence after which a node counts as unreachable"),
    FLAG("service-lb-pool", FLAG_STRING, manager.service_lb_pool, NULL, "LIST",
        "addresses for LoadBalancer Services: \"192.0.2.0/28\", \"192.0.2.1-192.0.2.9\""),
    FLAG("terminated-pod-gc-threshold", FLAG_INT, manager.terminated_pod_threshold, "12500", "N",
        "finished pods that may stay before the oldest are deleted; 0 keeps all"),
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

struct starter {
    struct manager *m;
    struct leader *leader;
    struct env *env;
};

static void start_manager(void *arg)
{
    struct starter *s = arg;
    struct error err;

    while (s->leader && !leader_wait(s->leader, env_now_ns(s->env) + NS_PER_S))
        if (manager_stopping(s->m))
            return;
    if (manager_start(s->m, &err) < 0) {
        if (err.code == ERR_CANCELLED)
            return;
        log_error("can't start", "err", "%s", err.text, NULL);
        _exit(1);
    }
    daemon_ready();
}

static bool is_ready(void *arg)
{
    return manager_ready(arg);
}

static void act(struct component *component, struct config *config, struct manager *m)
{
    struct starter s = {.m = m, .env = component->env};

    if (config->leader.elect)
        s.leader =
            leader_new(component->client, &(struct leader_config){.namespace_ = "kube-system",
                                              .name = "kube-controller-manager",
                                              .lease_ns = config->leader.lease_ns,
                                              .renew_deadline_ns = config->leader.renew_deadline_ns,
                                              .retry_ns = config->leader.retry_ns,
                                              .on_lost = on_lost});
    struct task *task = env_spawn(s.env, "start", start_manager, &s);
    daemon_wait();
    log_info("stopping", NULL);
    manager_stop(m);
    env_join(s.env, task);
    manager_free(m);
    leader_free(s.leader);
}

static int run(struct config *config, struct error *err)
{
    struct component *component;
    struct manager *m;

    if (component_new("kube-controller-manager", &config->component, &component, err) < 0)
        return -(int)err->code;
    int r = manager_new(component->client, &config->manager, &m, err);
    if (r == 0 && (r = component_serve(component, is_ready, m, err)) < 0)
        manager_free(m);
    if (r == 0)
        act(component, config, m);
    component_free(component);
    return r;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct error err;
    int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &config, &err);

    if (first == FLAGS_HELP)
        return 0;
    if (first < 0 || first < argc) {
        fprintf(
            stderr, "skiff-controller-manager: %s\n", first < 0 ? err.text : "takes no arguments");
        return 2;
    }
    split_controllers(&config);
    if (config.manager.terminated_pod_threshold == 0)
        config.manager.terminated_pod_threshold = -1;
    if (leader_flags_check(&config.leader, &err) < 0 || daemon_start(&config.daemon, &err) < 0 ||
        harden(HARDEN_KEEP(CAP_NET_BIND_SERVICE), &err) < 0 || run(&config, &err) < 0) {
        log_error("can't start", "err", "%s", err.text, NULL);
        return err.code == ERR_USAGE ? 2 : 1;
    }
    return 0;
}
