/*
 * skiff-proxy: makes Services reachable on this node. Flags, wiring and the wait for the end.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "common/component.h"
#include "common/daemon.h"
#include "common/file.h"
#include "common/harden.h"
#include "common/log.h"
#include "proxy/proxy.h"

struct config {
    struct daemon_flags daemon;
    struct component_flags component;
    const char *hostname_override;
    struct ruleset_config ruleset;
    bool cleanup;
};

static const struct flag flags[] = {
    DAEMON_FLAGS(struct config, daemon),
    COMPONENT_FLAGS(struct config, component, "10256"),
    {"hostname-override", FLAG_STRING, offsetof(struct config, hostname_override), NULL, "NAME",
        "name of this node; default: the host's name"},
    {"cluster-cidr", FLAG_STRING, offsetof(struct config, ruleset.cluster_cidr), "10.244.0.0/16",
        "CIDR", "addresses of pods; traffic from elsewhere to a cluster IP is masqueraded"},
    {"nodeport-addresses", FLAG_STRING, offsetof(struct config, ruleset.nodeport_addresses), NULL,
        "CIDR,...", "local addresses on which node ports answer; default: all but loopback"},
    {"cleanup", FLAG_BOOL, offsetof(struct config, cleanup), NULL, NULL,
        "remove the nftables table and exit"},
};

/* Pods on one bridge answer each other directly; their answers must pass the rules to be translated
 * back. */
static void let_bridges_call(void)
{
    static const char path[] = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    autostrbuf struct strbuf now;
    struct error err;

    strbuf_init(&now, 16);
    if (file_read(path, 16, &now, &err) < 0) {
        log_warning(
            "the kernel has no br_netfilter, so a pod may not reach a Service whose endpoint is on "
            "its own bridge; load the module br_netfilter",
            NULL);
        return;
    }
    if (now.data[0] == '1')
        return;
    FILE *f = fopen(path, "w");
    if (!f || fputs("1\n", f) < 0)
        log_warning("can't turn on net.bridge.bridge-nf-call-iptables, pods may not reach Services "
                    "on their "
                    "own bridge",
            NULL);
    if (f)
        fclose(f);
}

static bool is_ready(void *arg)
{
    return proxy_synced(arg);
}

static int run(const struct config *config, struct ruleset *ruleset, struct error *err)
{
    struct component *component;
    char host[256] = "";

    int r = component_new("skiff-proxy", &config->component, &component, err);
    if (r < 0) {
        ruleset->ops->free(ruleset);
        return r;
    }
    gethostname(host, sizeof(host) - 1);
    let_bridges_call();
    struct proxy *proxy = proxy_new(component->client, component->metrics, ruleset,
        config->hostname_override ? config->hostname_override : host);
    r = component_serve(component, is_ready, proxy, err);
    if (r == 0) {
        proxy_start(proxy);
        daemon_ready();
        log_info("stopping, the rules stay in effect", "signal", "%d", daemon_wait(), NULL);
    }
    component_stop_serving(component);
    proxy_free(proxy);
    component_free(component);
    return r;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct ruleset *ruleset;
    struct error err;
    int r = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &config, &err);

    if (r == FLAGS_HELP)
        return 0;
    if (r >= 0 && r < argc)
        r = error_set(&err, ERR_USAGE, "unexpected argument \"%s\"", argv[r]);
    if (r >= 0)
        r = daemon_start(&config.daemon, &err);
    if (r >= 0)
        r = harden(HARDEN_KEEP(CAP_NET_BIND_SERVICE) | HARDEN_KEEP(CAP_NET_ADMIN), &err);
    if (r >= 0)
        r = ruleset_new_nftables(&config.ruleset, &ruleset, &err);
    if (r >= 0 && config.cleanup) {
        r = ruleset->ops->remove(ruleset, &err);
        ruleset->ops->free(ruleset);
    } else if (r >= 0) {
        r = run(&config, ruleset, &err);
    }
    if (r >= 0)
        return 0;
    fprintf(stderr, "skiff-proxy: %s\n", err.text);
    return r == -ERR_USAGE ? 2 : 1;
}
