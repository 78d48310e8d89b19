/*
 * What the node, its pods and their containers use: collected when somebody asks, shown on the
 * pages /stats/summary (stats_summary.c), /metrics/resource and /metrics/cadvisor
 * (metrics_pages.c).
 *
 * A page is made from one `struct stats`: what is running now, each with its usage. Nothing is
 * sampled while nobody asks. A rate needs two looks: the last one is kept, and when it is too old
 * (or there is none) the asker waits a second for the second. Sizes of container layers are walked
 * at most once a minute.
 *
 * Threads: any; calls block.
 * Upstream: pkg/kubelet/server/stats, metrics/collectors, cadvisor's metrics/prometheus.go.
 */
#pragma once

#include "common/httpd.h"
#include "kubelet/agent.h"
#include "kubelet/usage.h"

struct stats_container {
    struct container_info *info; /* referenced */
    struct usage usage;
    int64_t nano_cores; /* -1 until stats_rate() */
};

struct stats_pod {
    const struct pod_view *pod;    /* referenced */
    struct stats_container *items; /* running ones, the sandbox too */
    size_t count;
    struct interface_list interfaces;
};

struct stats {
    struct usage node;
    int64_t nano_cores;
    struct stats_pod *pods;
    size_t pod_count;
};

/* One look at everything. Done with stats_done(), also after an error. */
int stats_take(struct agent *agent, struct stats *ret, struct error *err);
/* The same with rates. */
int stats_take_rates(struct agent *agent, struct stats *ret, struct error *err);
void stats_done(struct stats *stats);

/* Of the container's writable layer and its log; -1 when unknown. */
struct disk_usage {
    int64_t bytes, inodes;
    int64_t log_bytes;
};
struct disk_usage stats_disk(struct agent *agent, const struct container_info *info);

struct stats_history *stats_history_new(struct env *env);
void stats_history_free(struct stats_history *history);

/* The pages. */
httpd_handler_fn serve_stats_summary, serve_metrics_resource, serve_metrics_cadvisor;
