/*
 * Convergence: whatever happens to the controllers on the way, the cluster ends in the same state.
 *
 * A scenario is a row of a table: what users write, step by step. It runs once without faults, then
 * with one of three patterns: the manager is killed between any two of its writes; what it sees
 * comes late; some of what happens it never sees, only the state afterwards. The end states, with
 * what chance decides (names, addresses, times) taken out, must be equal. An object whose owner
 * does not exist is a failure of its own.
 */
#pragma once

#include "tests/sim/cluster.h"

enum fault_pattern { FAULTS_NONE, FAULTS_KILLS, FAULTS_STALE, FAULTS_STATES, FAULT_PATTERNS };

extern const char *const fault_names[FAULT_PATTERNS];
size_t convergence_count(void);
const char *convergence_name(size_t scenario);
/* Runs a scenario to its end. The end state is text, one line an object, sorted; heap. NULL: it did
 * not come to rest, or left orphans (said on stderr). */
char *convergence_run(struct cluster *c, size_t scenario, enum fault_pattern pattern);
