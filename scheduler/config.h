/*
 * Config: upstream's KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), in YAML or JSON.
 *
 *     struct config config;
 *     config_init(&config);                          the defaults
 *     if (config_parse(text, &config, &err) < 0)     "profiles[0].schedulerName: Required value"
 *     config_done(&config);
 *
 * Known and used: profiles (schedulerName, plugins, pluginConfig), podInitialBackoffSeconds,
 * podMaxBackoffSeconds, leaderElection.leaderElect. Known and without effect here:
 * percentageOfNodesToScore (all nodes are looked at), parallelism (one loop decides),
 * clientConnection (flags say it), delayCacheUntilActive, enable*Profiling. Extenders and unknown
 * fields are refused. An error names the field by its path.
 *
 * Plugins go by upstream's names. One plugin of ours may be half of upstream's (NodeResourcesFit);
 * enabling and disabling at any extension point that we have no hook for is accepted when the
 * plugin exists.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#include "scheduler/profile.h"

#define CONFIG_PROFILES_MAX 64

struct config {
    struct profile *profiles;
    size_t profile_count;
    int64_t backoff_first_ns, backoff_max_ns;
    bool leader_elect;
};

void config_init(struct config *config);
void config_done(struct config *config);
/* Changes nothing of *config when it fails. */
int config_parse(struct str text, struct config *config, struct error *err);
int config_read(const char *path, struct config *config, struct error *err);
