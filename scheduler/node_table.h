/*
 * Node table: all nodes as columns, one row a node.
 *
 *     live           bit: the row holds a node          unschedulable   bit: spec.unschedulable
 *     resources[id]  free and allocatable amount        labels, taints  columns of rows
 *     ports          rows that use a host port          rows[row]       name, pods, what to undo
 *
 * A row keeps its number while its node exists and is reused afterwards. A node without its pods,
 * or a pod whose node is not in the table, is normal: events of different kinds come in any order.
 *
 * free = allocatable - sum of the requests of the row's pods (bound and assumed), never recomputed
 * per decision; node_table_check() compares with a rebuild, for tests.
 *
 * Ownership: owns rows, borrows pod infos. Threads: the scheduler's loop only.
 * Cost: about 150 bytes a node, 8 more for each of its labels and 16 for each resource.
 */
#pragma once

#include "scheduler/labels.h"
#include "scheduler/pod_info.h"

/* What changed about a node or pod: plugins say which of these may help a pod they refused. */
enum cluster_event {
    EVENT_NODE_ADDED = 1 << 0,
    EVENT_NODE_ALLOCATABLE = 1 << 1,
    EVENT_NODE_RELABELLED = 1 << 2,
    EVENT_NODE_TAINTED = 1 << 3, /* taints or unschedulable changed */
    EVENT_POD_REMOVED = 1 << 4,  /* from a node: its resources and ports are free */
    EVENT_POD_ADDED = 1 << 5,    /* to a node: others may like to be near */
    EVENT_NODE_REMOVED = 1 << 6, /* domains may have gone with it */
    EVENT_NAMESPACE = 1 << 7,    /* labels of a namespace changed */
    EVENT_STORAGE = 1 << 8,      /* a volume, claim, class or CSI node changed */
};

/* Results kept for a version can be brought up to date while no more rows have changed since. */
#define NODE_TABLE_LOG 1024u

struct node_row {
    uint32_t row;
    char *name;
    struct label_value **labels; /* in key order */
    struct taint **taints;       /* in the node's order */
    struct image **images;
    uint32_t label_count, taint_count, image_count;
    uint32_t pod_count;
    struct pod_info *pods;
    UT_hash_handle hh; /* by name */
};

struct resource_column {
    int64_t *allocatable, *free; /* NULL until a node offers the resource */
};

/* Rows that use a host port, one entry a use. */
struct port_use {
    uint32_t row;
    struct host_port port;
};
struct port_entry {
    uint32_t key; /* protocol << 16 | port */
    struct port_use *uses;
    uint32_t count, capacity;
    UT_hash_handle hh;
};

struct node_table {
    uint32_t capacity, count; /* rows, a multiple of 64; nodes */
    struct node_set live, unschedulable;
    struct node_row **rows; /* by row; NULL where free */
    struct node_row *by_name;
    struct resource_names names;
    struct resource_column *resources; /* by resource id */
    size_t resource_count;
    int64_t *free_nonzero[2]; /* cpu, memory: allocatable - nonzero requests */
    double *inverse[2];       /* cpu, memory: 1 / allocatable, 0 where there is none */
    int64_t largest;          /* at least the largest allocatable cpu or memory there ever was */
    struct label_index labels;
    struct taint *taints;
    struct port_entry *ports;
    int32_t *lowest_priority; /* of the row's pods; INT32_MAX: it has none */
    int64_t *largest_pod[2];  /* of the row's pods: cpu, memory */
    int64_t *latest_start;    /* of the row's pods */
    struct pod_index *pods;
    struct budgets *budgets;
    struct workloads *workloads;
    struct image *images;
    struct pod_info **disk_pods; /* on rows, with volumes that NoDiskConflict knows */
    size_t disk_pod_count;
    struct pod_info **nominated; /* waiting for victims to leave the row they chose */
    size_t nominated_count;
    uint64_t version;  /* grows by one with each change of a row */
    uint32_t *touched; /* rows of the last NODE_TABLE_LOG changes, by version modulo that */
};

/* A container image that nodes have. */
struct image {
    char *name;
    int64_t bytes;
    struct column nodes;
    UT_hash_handle hh;
};

struct node_table *node_table_new(void);
void node_table_free(struct node_table *t);

/* Adds or updates a node; *ret_row gets its row. Returns the enum cluster_event bits of what
 * changed. */
unsigned node_table_set(struct node_table *t, const struct node *node, uint32_t *ret_row);
/* Removes a node; its pods stay, on no row. False when there is none of that name. */
bool node_table_remove(struct node_table *t, const char *name);
struct node_row *node_table_find(const struct node_table *t, const char *name);

void node_table_add_pod(struct node_table *t, struct pod_info *pod, uint32_t row);
void node_table_remove_pod(
    struct node_table *t, struct pod_info *pod); /* no-op when it is on no row */

/* A pod that no row holds waits for one: decisions on pods of no higher priority count it there. */
void node_table_nominate(struct node_table *t, struct pod_info *pod, uint32_t row);
void node_table_denominate(struct node_table *t, struct pod_info *pod); /* no-op when it is not */

/* Free amount in a row; 0 for a resource that no node offers. */
int64_t node_table_free_of(const struct node_table *t, uint32_t resource, uint32_t row);
int64_t node_table_allocatable_of(const struct node_table *t, uint32_t resource, uint32_t row);
const struct port_entry *node_table_port(const struct node_table *t, const struct host_port *port);

/* Recounts everything from rows and pods and compares; false, with a reason, when they differ. */
bool node_table_check(const struct node_table *t, struct strbuf *why);
