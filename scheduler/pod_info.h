/*
 * Pod info: a pod as the scheduler counts it: what it requests, computed once, and where it is.
 *
 * Requests follow upstream's arithmetic: the sum of the containers and sidecars, at least what any
 * init container needs beside the sidecars started before it, replaced by pod-level requests where
 * given, plus overhead. `nonzero` is the same with 100m CPU and 200Mi for containers that name
 * none; scores use it.
 *
 * Resources are small integers: the four fixed ones below, then extended resources as they are met
 * (struct resource_names). CPU is in thousandths, everything else in units.
 *
 * Ownership: holds a reference to its projected object. Threads: the scheduler's loop only.
 */
#pragma once

#include "common/hash.h"

#include "scheduler/pod_index.h"

enum { RESOURCE_CPU, RESOURCE_MEMORY, RESOURCE_EPHEMERAL, RESOURCE_PODS, RESOURCE_FIXED };
#define RESOURCE_REQUESTABLE RESOURCE_PODS /* pods is counted, not requested */

/* Larger amounts count as this (a pebibyte, 10^12 cores): sums of 8,192 of them stay within 64
 * bits, so that columns need no overflow checks. */
#define RESOURCE_AMOUNT_MAX (1ll << 50)

#define NONZERO_MILLI_CPU 100
#define NONZERO_MEMORY (200ll << 20)

struct resource_names {
    char **names; /* by id */
    size_t count;
};

void resource_names_init(struct resource_names *names);
void resource_names_done(struct resource_names *names);
/* The id of a name, made when it is new. */
uint32_t resource_id(struct resource_names *names, const char *name);
/* UINT32_MAX: no node or pod has named it. */
uint32_t resource_names_find(const struct resource_names *names, const char *name);
/* An amount as the columns hold it; an invalid or negative quantity counts as 0. */
int64_t resource_amount(uint32_t id, const char *quantity);

struct resource_request {
    uint32_t id;
    int64_t amount;
};

struct host_port {
    uint16_t port;
    char protocol;  /* 'T', 'U', 'S' */
    const char *ip; /* "" for all addresses; lies in the projected object */
};

/* One constraint of spec.topologySpreadConstraints, or of the default ones. */
struct spread_term {
    struct matcher *matcher;
    const char *topology_key; /* lies in the projected object */
    int32_t max_skew, min_domains;
    bool hard;           /* DoNotSchedule */
    bool any_affinity;   /* nodeAffinityPolicy Ignore */
    bool honor_taints;   /* nodeTaintsPolicy Honor */
    bool counts_nothing; /* an empty selector: upstream counts no pod, though the pod matches */
};

/* What a pod says about other pods; none of its lists is long. */
struct pod_terms {
    struct term_group **terms; /* required affinity, required anti-affinity, preferred */
    uint32_t term_count, affinity_count, anti_count;
    struct matcher *affinity_all; /* pods that match every required affinity term */
    struct spread_term *spread;
    uint32_t spread_count;
};

struct queue_item;

struct pod_info {
    /* what preemption reads of every pod on a node, in one cache line */
    struct pod_info *next, *previous; /* on its row */
    int64_t request[RESOURCE_REQUESTABLE];
    int64_t start_ns; /* status.startTime, else the pod's creation */
    int32_t priority;
    uint32_t row; /* ROW_NONE: on no node of the table */

    const struct pod *object;
    int64_t nonzero[2];
    struct resource_request *extended;
    struct host_port *ports;
    uint32_t extended_count, port_count;
    struct pod_class *class_;
    struct pod_terms *terms;        /* NULL: it says nothing of other pods */
    struct matcher *spread_default; /* what its services and owner select, as of ... */
    uint64_t spread_version;        /* ... this workloads_version; 0: not looked up */
    struct pod_info *class_previous, *class_next; /* on rows, of its class */
    uint32_t nominated_row;                       /* ROW_NONE: waits for no node in particular */
    bool uses_disks;                              /* volumes that NoDiskConflict knows */
    bool uses_claims;                             /* volumes that are persistent volume claims */
    bool assumed;              /* on its row by our decision, not yet confirmed */
    struct queue_item *queued; /* while it waits; owned by the queue */
    UT_hash_handle hh;         /* by uid */
};

struct pod_info *pod_info_new(
    struct resource_names *names, struct pod_index *index, const struct pod *pod);
void pod_info_free(struct pod_index *index, struct pod_info *info);

/* What it requests of a resource; 0 of RESOURCE_PODS and of unknown ones. */
int64_t pod_info_request(const struct pod_info *info, uint32_t id);
bool pod_volume_is_disk(const struct pod_volume *v);

struct pod_terms *pod_terms_new(struct pod_index *index, const struct pod *pod);
void pod_terms_free(struct pod_index *index, struct pod_terms *terms);

/* Two ports clash: same protocol and port, and the same address or one of them all addresses. */
bool host_port_conflicts(const struct host_port *a, const struct host_port *b);
