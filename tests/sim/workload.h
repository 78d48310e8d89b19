/*
 * What users do in a simulated cluster, and what must hold whatever dies.
 *
 *   - a counter in a ConfigMap goes up by one a write: no acknowledged value is ever lost, not even
 * by a crash;
 *   - a watch that resumes where it left sees every value once, in order;
 *   - a pod is bound to one node for ever, and versions of an object only grow;
 *   - a Deployment that was scaled and changed ends as its last spec says.
 */
#pragma once

#include "tests/sim/cluster.h"

/* Runs to the end; 0, or the number of broken invariants (each said on stderr). */
int workload_run(struct cluster *c);
