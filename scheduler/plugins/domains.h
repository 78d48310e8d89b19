/*
 * Topology domains of one key during a cycle: an array of sums, one a value of the key.
 *
 * Domain 0 stands for rows without the key.
 */
#pragma once

#include "scheduler/plugin.h"

struct domains {
    const struct label_key *key; /* NULL: no node has it */
    const uint32_t *of;          /* domain by row */
    uint32_t count;              /* domains are below this */
    int64_t *sums;
};

struct domains domains_new(const struct cycle *cycle, const char *topology_key);
/* Adds the counts of rows in `only` (NULL: of all), each times `weight`. */
void domains_add(struct domains *d, const struct row_counts *counts, const struct node_set *only,
    int64_t weight);
/* Keeps the rows of set whose sum is (above false) at most, (above true) more than limit. Rows
 * without the key count as domain 0. */
void domains_keep(const struct domains *d, struct node_set *set, bool above, int64_t limit);
/* Marks in seen[] the domains that have a row in set; returns how many there are. */
uint32_t domains_seen(const struct domains *d, const struct node_set *set, uint8_t *seen);
