/*
 * skiff-dns: names for Services and pods, and everybody else's names for pods. Flags, wiring, the
 * wait for the end.
 */
#include <arpa/inet.h>
#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "common/component.h"
#include "common/daemon.h"
#include "common/harden.h"
#include "common/log.h"
#include "common/time.h"
#include "dns/cluster_source.h"
#include "dns/server.h"

/* Between leaving the cluster DNS's endpoints and the end: proxies need a moment to hear of it. */
#define DRAIN_NS (300 * NS_PER_MS)

struct config {
    struct daemon_flags daemon;
    struct component_flags component;
    const char *cluster_domain, *listen_address, *node_name, *upstream, *cluster_dns, *resolv_conf;
    int64_t dns_port;
};

static const struct flag flags[] = {
    DAEMON_FLAGS(struct config, daemon),
    COMPONENT_FLAGS(struct config, component, "10054"),
    {"cluster-domain", FLAG_STRING, offsetof(struct config, cluster_domain), "cluster.local",
        "NAME", "the cluster's domain"},
    {"listen-address", FLAG_STRING, offsetof(struct config, listen_address), NULL, "IP",
        "address of this node to serve DNS on; pods must reach it (required)"},
    {"dns-port", FLAG_INT, offsetof(struct config, dns_port), "10053", "N",
        "UDP and TCP port of DNS"},
    {"node-name", FLAG_STRING, offsetof(struct config, node_name), NULL, "NAME",
        "name of this node; default: the host's name"},
    {"upstream", FLAG_STRING, offsetof(struct config, upstream), NULL, "IP[:PORT],...",
        "nameservers for other names; default: those of --resolv-conf"},
    {"resolv-conf", FLAG_STRING, offsetof(struct config, resolv_conf), "/etc/resolv.conf", "FILE",
        "where the host's nameservers stand"},
    {"cluster-dns", FLAG_STRING, offsetof(struct config, cluster_dns), "10.96.0.10", "IP",
        "cluster IP of the DNS Service; never used as an upstream"},
};

struct dns {
    struct component *component;
    struct cluster_source *source;
    struct zone zone;
    struct server *server;
    struct task *task;
};

static bool is_ready(void *arg)
{
    return cluster_source_synced(((struct dns *)arg)->source);
}

static void serve(void *arg)
{
    server_run(((struct dns *)arg)->server);
}

static int make_server(struct dns *d, const struct config *config, struct error *err)
{
    struct server_config server = {
        .address = config->listen_address,
        .port = (int)config->dns_port,
        .forward =
            {
                .upstreams = config->upstream,
                .resolv_conf = config->resolv_conf,
                .self = config->listen_address,
                .self_port = (int)config->dns_port,
                .cluster_dns = config->cluster_dns,
            },
    };

    if (!config->listen_address)
        return error_set(
            err, ERR_USAGE, "--listen-address is needed: an address of this node that pods reach");
    if (!dns_name_of(config->cluster_domain, &d->zone.name))
        return error_set(
            err, ERR_USAGE, "--cluster-domain \"%s\" is not a domain name", config->cluster_domain);
    inet_pton(AF_INET, config->listen_address, d->zone.address);
    d->zone.source = cluster_source_zone(d->source);
    return dns_server_new(
        d->component->env, &d->zone, d->component->metrics, &server, &d->server, err);
}

static void run_until_signal(struct dns *d, const struct config *config)
{
    char host[256] = "";

    gethostname(host, sizeof(host) - 1);
    cluster_source_start(d->source);
    d->task = env_spawn(d->component->env, "dns", serve, d);
    cluster_source_register(d->source, &(struct cluster_source_config){
                                           .node = config->node_name ? config->node_name : host,
                                           .address = config->listen_address,
                                           .port = server_port(d->server),
                                       });
    log_info("serving DNS", "address", "%s", config->listen_address, "port", "%d",
        server_port(d->server), "zone", "%s", config->cluster_domain, NULL);
    daemon_ready();
    log_info("stopping", "signal", "%d", daemon_wait(), NULL);
}

static int run(const struct config *config, struct error *err)
{
    struct dns d = {0};

    int r = component_new("skiff-dns", &config->component, &d.component, err);
    if (r < 0)
        return r;
    d.source = cluster_source_new(d.component->client);
    r = make_server(&d, config, err);
    if (r == 0)
        r = component_serve(d.component, is_ready, &d, err);
    if (r == 0)
        run_until_signal(&d, config);
    if (d.task) {
        cluster_source_unregister(d.source);
        env_sleep_ns(d.component->env, DRAIN_NS);
        dns_server_stop(d.server);
        env_join(d.component->env, d.task);
    }
    dns_server_free(d.server);
    component_stop_serving(d.component);
    cluster_source_free(d.source);
    component_free(d.component);
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
        r = harden(HARDEN_KEEP(CAP_NET_BIND_SERVICE), &err);
    if (r >= 0)
        r = run(&config, &err);
    if (r >= 0)
        return 0;
    fprintf(stderr, "skiff-dns: %s\n", err.text);
    return r == -ERR_USAGE ? 2 : 1;
}
