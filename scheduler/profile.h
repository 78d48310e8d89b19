/*
 * Profile: which plugins run with which weights and arguments for the pods of one schedulerName.
 *
 * profile_default() is upstream's default set. config.h reads others from a file.
 *
 * Threads: immutable once the scheduler runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scheduler/objects.h"

#define PROFILE_RESOURCES_MAX 16
#define PROFILE_SHAPE_MAX 100
#define PROFILE_SPREAD_MAX 32

enum scoring_strategy { STRATEGY_LEAST, STRATEGY_MOST, STRATEGY_RATIO };

struct weighted_resource {
    char *name;
    int64_t weight;
};

/* Utilization in percent -> score 0..100. */
struct shape_point {
    int64_t utilization, score;
};

/* A default constraint; its selector comes from the pod's services and owner. */
struct default_spread {
    char *topology_key;
    int32_t max_skew;
    bool hard;
};

struct profile {
    char *scheduler_name;
    uint64_t filters, scores; /* bit i: plugins[i] runs */
    int64_t weights[64];      /* by plugin */

    /* NodeResourcesFit, NodeResourcesBalancedAllocation */
    enum scoring_strategy strategy;
    struct weighted_resource fit[PROFILE_RESOURCES_MAX];
    size_t fit_count;
    struct shape_point shape[PROFILE_SHAPE_MAX];
    size_t shape_count;
    struct weighted_resource balanced[PROFILE_RESOURCES_MAX];
    size_t balanced_count;
    char **ignored_resources; /* names, and prefixes that end in '/' */
    size_t ignored_count;

    /* InterPodAffinity */
    int64_t hard_affinity_weight;
    bool ignore_preferred_of_others;

    /* PodTopologySpread */
    struct default_spread spread[PROFILE_SPREAD_MAX];
    size_t spread_count;
    bool system_spread; /* the built-in defaults: nodes may lack their labels */

    /* NodeAffinity */
    const struct pod *added_affinity; /* a pod with nothing but node affinity, or NULL */

    bool no_preemption;
};

/* Upstream's defaults. Free with profile_done. */
void profile_init(struct profile *profile, const char *scheduler_name);
void profile_done(struct profile *profile);
