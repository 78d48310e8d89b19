/*
 * skiff-scheduler: gives pods their nodes. Flags, wiring and the wait for the end.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "common/component.h"
#include "common/daemon.h"
#include "common/harden.h"
#include "common/leader.h"
#include "common/log.h"
#include "scheduler/scheduler.h"

struct options {
    struct daemon_flags daemon;
    struct component_flags component;
    const char *config;
    struct leader_flags leader;
};

static const struct flag flags[] = {
    DAEMON_FLAGS(struct options, daemon),
    COMPONENT_FLAGS(struct options, component, "10259"),
    {"config", FLAG_STRING, offsetof(struct options, config), NULL, "FILE",
        "a KubeSchedulerConfiguration: profiles, plugins and their arguments"},
    LEADER_FLAGS(struct options, leader),
};

static bool is_ready(void *arg)
{
    return scheduler_synced(arg);
}

/* Another instance may lead from now on: two must never decide at once. */
static void on_lost(void *arg)
{
    log_error("lost the leader Lease, exiting", NULL);
    _exit(1);
}

static int run(const struct options *options, const struct config *config, struct error *err)
{
    struct component *component;
    struct leader *leader = NULL;

    int r = component_new("skiff-scheduler", &options->component, &component, err);
    if (r < 0)
        return r;
    struct events *events = events_new(component->client, SCHEDULER_NAME, NULL);
    struct scheduler *scheduler =
        scheduler_new(component->client, events, component->metrics, config);
    r = component_serve(component, is_ready, scheduler, err);
    if (r == 0) {
        if (options->leader.elect) {
            leader = leader_new(
                component->client, &(struct leader_config){
                                       .namespace_ = "kube-system",
                                       .name = "kube-scheduler",
                                       .lease_ns = options->leader.lease_ns,
                                       .renew_deadline_ns = options->leader.renew_deadline_ns,
                                       .retry_ns = options->leader.retry_ns,
                                       .on_lost = on_lost,
                                   });
            leader_wait(leader, ENV_FOREVER);
        }
        scheduler_start(scheduler);
        daemon_ready();
        log_info("stopping", "signal", "%d", daemon_wait(), NULL);
    }
    component_stop_serving(component);
    scheduler_free(scheduler);
    leader_free(leader);
    events_free(events);
    component_free(component);
    return r;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct config config;
    struct error err;
    int r = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &options, &err);

    if (r == FLAGS_HELP)
        return 0;
    if (r >= 0 && r < argc)
        r = error_set(&err, ERR_USAGE, "unexpected argument \"%s\"", argv[r]);
    if (r >= 0)
        r = daemon_start(&options.daemon, &err);
    if (r >= 0)
        r = harden(HARDEN_KEEP(CAP_NET_BIND_SERVICE), &err);
    config_init(&config);
    if (r >= 0 && options.config && options.config[0])
        r = config_read(options.config, &config, &err);
    options.leader.elect |= config.leader_elect;
    if (r >= 0)
        r = leader_flags_check(&options.leader, &err);
    if (r >= 0)
        r = run(&options, &config, &err);
    config_done(&config);
    if (r >= 0)
        return 0;
    fprintf(stderr, "skiff-scheduler: %s\n", err.text);
    return r == -ERR_USAGE ? 2 : 1;
}
