/*
 * See measure.h. Upstream: apiserver/pkg/endpoints/metrics, storage/etcd3/metrics.
 */
#include "apiserver/request/measure.h"

#include "apiserver/schema/schema.h"
#include "apiserver/server.h"
#include "common/daemon.h"

/* Verbs as upstream's metrics call them. */
static const struct {
    const char *verb, *label;
} verb_labels[] = {
    {"get", "GET"},
    {"list", "LIST"},
    {"watch", "WATCH"},
    {"create", "POST"},
    {"update", "PUT"},
    {"patch", "PATCH"},
    {"delete", "DELETE"},
    {"deletecollection", "DELETECOLLECTION"},
    {"post", "POST"},
};

static const double duration_buckets[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25,
    1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 0};
static const double storage_buckets[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25,
    1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 0};

static const struct metric_info requests_total = {"apiserver_request_total", METRIC_COUNTER,
    "Requests answered, by verb, resource and HTTP code.",
    {"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component",
        "code"}};
static const struct metric_info request_seconds = {"apiserver_request_duration_seconds",
    METRIC_HISTOGRAM, "Time from the head of a request to the end of its answer; no watches.",
    {"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"},
    duration_buckets};
static const struct metric_info inflight = {"apiserver_current_inflight_requests", METRIC_GAUGE,
    "Requests in the pipeline.", {"request_kind"}};
static const struct metric_info long_running = {"apiserver_longrunning_requests", METRIC_GAUGE,
    "Watches and streams open.",
    {"verb", "group", "version", "resource", "subresource", "scope", "component"}};
static const struct metric_info watch_events = {"apiserver_watch_events_total", METRIC_COUNTER,
    "Events sent to watchers.", {"group", "version", "kind"}};
static const struct metric_info storage_seconds = {"etcd_request_duration_seconds",
    METRIC_HISTOGRAM, "Time from handing a write to the store until it is durable.",
    {"operation", "type"}, storage_buckets};
static const struct metric_info build_info = {"kubernetes_build_info", METRIC_GAUGE,
    "Version of the API that is served; always 1.", {"git_version", "platform"}};

void measure_start(struct server *server)
{
    metric_set(server->metrics, &build_info, 1, SKIFF_KUBERNETES_VERSION "+skiff", "linux");
    metric_set(server->metrics, &inflight, 0, "mutating");
    metric_set(server->metrics, &inflight, 0, "readOnly");
}

static const char *verb_label(const struct request *q)
{
    if (q->subresource && q->subresource->connect)
        return "CONNECT";
    for (size_t i = 0; i < ARRAY_COUNT(verb_labels); i++)
        if (c_eq(verb_labels[i].verb, q->verb))
            return verb_labels[i].label;
    return "OTHER";
}

/* Names that no client can choose: those of resources that exist. */
struct labels {
    const char *verb, *group, *version, *resource, *subresource, *scope, *dry_run;
};

static struct labels labels_of(const struct request *q)
{
    const struct resource *r = q->resource;
    bool named = (q->name && *q->name) || c_eq(q->verb, "create");

    return (struct labels){
        .verb = verb_label(q),
        .group = r ? r->group : "",
        .version = r ? r->version : "",
        .resource = r ? r->plural : "",
        .subresource = r && q->subresource ? q->subresource->name : "",
        .scope = !r                                ? ""
                 : named                           ? "resource"
                 : q->namespace_ && *q->namespace_ ? "namespace"
                                                   : "cluster",
        .dry_run = q->dry_run ? "All" : "",
    };
}

void measure_inflight(struct request *q, bool mutating, int by)
{
    metric_add(q->server->metrics, &inflight, by, mutating ? "mutating" : "readOnly");
}

void measure_long_running(struct request *q, int by)
{
    struct labels l = labels_of(q);

    metric_add(q->server->metrics, &long_running, by, l.verb, l.group, l.version, l.resource,
        l.subresource, l.scope, "apiserver");
}

void measure_answered(struct request *q)
{
    struct metrics *m = q->server->metrics;
    struct labels l = labels_of(q);
    char code[8];

    snprintf(code, sizeof(code), "%d", q->status);
    metric_add(m, &requests_total, 1, l.verb, l.dry_run, l.group, l.version, l.resource,
        l.subresource, l.scope, "apiserver", code);
    if (!q->long_running)
        metric_observe(m, &request_seconds,
            (double)(env_now_ns(q->server->env) - q->received_ns) / 1e9, l.verb, l.dry_run, l.group,
            l.version, l.resource, l.subresource, l.scope, "apiserver");
}

void measure_events(struct request *q, size_t count)
{
    const struct resource *r = q->resource;

    if (count > 0)
        metric_add(q->server->metrics, &watch_events, (double)count, r->group, r->version, r->kind);
}

void measure_stored(struct request *q, const char *operation, int64_t took_ns)
{
    metric_observe(q->server->metrics, &storage_seconds, (double)took_ns / 1e9, operation,
        q->resource ? q->resource->plural : "");
}
