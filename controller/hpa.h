/*
 * HorizontalPodAutoscaler: the arithmetic (pure), and where metrics come from.
 *
 * A metric proposes a number of replicas: pods times usage over target. The largest proposal of all
 * metrics wins; then the behavior, the limits and what was recommended lately narrow it.
 */
#pragma once

#include "controller/scale.h"

/* --- one metric --- */

struct hpa_pod {
    const struct pod *pod;
    int64_t request; /* thousandths; 0: none */
    int64_t usage;   /* thousandths; -1: the metric has none of it */
    bool unready;    /* just started: its usage does not count for scaling up */
};

/* What a target's pods say together. utilization: percent of the requests, else an average value in
 * thousandths. */
struct hpa_usage {
    struct hpa_pod *pods;
    size_t count;
};

struct hpa_proposal {
    int64_t replicas;
    int64_t utilization; /* percent, of utilization targets */
    int64_t average;     /* thousandths */
};

struct hpa_tolerance {
    double up, down; /* 0.1: within 10 % nothing is done */
};

/* target: percent when utilization, else thousandths a pod. ERR_NOT_FOUND without any usage. */
int hpa_propose_pods(const struct hpa_usage *usage, bool utilization, int64_t target,
    int64_t current, const struct hpa_tolerance *tolerance, struct hpa_proposal *ret,
    struct error *err);
/* One value for all: `value` against target (thousandths), or against target a pod. */
int64_t hpa_propose_value(int64_t value, int64_t target, bool per_pod, int64_t current,
    int64_t ready, const struct hpa_tolerance *tolerance);

/* --- from a proposal to a decision --- */

#define HPA_POLICIES_MAX 8

struct hpa_policy {
    bool percent;
    int64_t value, period_ns;
};
struct hpa_rules {
    struct hpa_policy policies[HPA_POLICIES_MAX];
    size_t count;
    int64_t window_ns;    /* of stabilization */
    bool least, disabled; /* selectPolicy Min, Disabled */
    double tolerance;
};
struct hpa_behavior {
    bool set; /* spec.behavior is there */
    struct hpa_rules up, down;
};

/* Fills in the defaults. */
void hpa_behavior_parse(const cJSON *behavior, struct hpa_behavior *ret);

/* What was recommended, and what was done, lately. */
struct hpa_record {
    int64_t at_ns, replicas; /* a recommendation, or a change: > 0 up, < 0 down */
};
struct hpa_history {
    struct hpa_record *recommendations, *changes;
    size_t recommendation_count, change_count;
};
void hpa_history_add(struct hpa_record **list, size_t *count, int64_t at_ns, int64_t replicas,
    int64_t oldest_ns); /* forgets what is older */

struct hpa_limit {
    int64_t replicas;
    const char *stabilized_reason, *stabilized_message; /* AbleToScale */
    bool limited;
    const char *limit_reason, *limit_message; /* ScalingLimited */
};
struct hpa_limit hpa_limit(const struct hpa_behavior *behavior, const struct hpa_history *history,
    int64_t now_ns, int64_t current, int64_t desired, int64_t min, int64_t max);

/* --- metrics (hpa_metrics.c) --- */

struct hpa_target {
    struct manager *m;
    const char *namespace_;
    const char *selector; /* of the scale's status, as a query string */
    const struct selector *parsed;
    int64_t current, status_replicas, now_ns;
    struct hpa_tolerance tolerance;
};

/* One entry of spec.metrics. *ret_status gets its entry of status.currentMetrics, *ret_name what it
 * is called in messages. On an error *ret_reason is the condition's reason. */
int hpa_metric_propose(const struct hpa_target *target, const cJSON *metric, int64_t *ret_replicas,
    cJSON **ret_status, char **ret_name, const char **ret_reason, struct error *err);
