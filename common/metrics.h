/*
 * Metrics in Prometheus' text format: counters, gauges, histograms, with labels from a fixed
 * vocabulary.
 *
 *     static const struct metric_info requests = {"apiserver_request_total", METRIC_COUNTER,
 *         "Requests by verb and code.", {"verb", "code"}};
 *     metric_add(metrics, &requests, 1, "GET", "200");
 *
 * A label value is never something a client can choose freely. A metric first appears when it is
 * used. Process metrics (process_cpu_seconds_total, process_resident_memory_bytes, ...) are added
 * at printing. Threads: any; counters are atomic, a new label set takes a lock.
 */
#pragma once

#include "common/str.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
#define METRIC_LABELS_MAX 9

struct metric_info {
    const char *name;
    enum metric_type type;
    const char *help;
    const char *labels[METRIC_LABELS_MAX + 1]; /* NULL ended */
    const double *buckets; /* histograms: ascending, 0 ended; NULL: upstream's default */
};

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* Label values follow in the table's order, as const char *. m may be NULL: nothing happens. */
void metric_add(
    struct metrics *m, const struct metric_info *info, double value, ...); /* counter, gauge */
void metric_set(struct metrics *m, const struct metric_info *info, double value, ...); /* gauge */
void metric_observe(
    struct metrics *m, const struct metric_info *info, double value, ...);   /* histogram */
double metric_value(struct metrics *m, const struct metric_info *info, ...); /* for tests */
void metrics_print(struct metrics *m, struct strbuf *out);
/* The process' own, for code without access to a daemon's struct (workqueues, clients). */
struct metrics *metrics_default(void);
