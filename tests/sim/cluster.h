/*
 * A simulated cluster: the components, each in a process of its own, and their restarts.
 *
 * Components are the production code with a simulated env, network and disk. A component that was
 * killed is started again after 50 ms to 3 s, as a supervisor would; with the API server the disk
 * loses what was not synced.
 */
#pragma once

#include "common/api_client.h"
#include "tests/sim/disk.h"
#include "tests/sim/network.h"

#define COMPONENTS 4

struct cluster;

struct component {
    const char *name;
    void (*start)(struct cluster *c, struct sim_process *p);
    struct sim_process *process; /* NULL: down */
    int64_t restart_ns;
    int kills;
};

struct cluster {
    struct sim *sim;
    struct network net;
    struct disk *disk;
    struct component components[COMPONENTS];
    /* faults: up to kills_left kills, the next one at step next_kill */
    int kills_left;
    uint64_t next_kill;
    bool stopping;
    bool all_controllers; /* else only those that the workload needs */
};

void cluster_start(struct cluster *c, struct sim *sim, int kills);
/* Kills one component by name, whatever it is doing, if it is up. */
void cluster_kill(struct cluster *c, const char *name);
/* For the workload: a client with the rights of system:masters. */
struct api_client *cluster_client(struct cluster *c, const char *name);
