/*
 * The bootstrap policy: roles.policy turned into Role, ClusterRole and binding objects.
 *
 * Threads: none of its own.
 */
#pragma once

#include "common/json.h"

/* Calls fn for each object, in the order of the file; stops at its first failure. */
int policy_walk(
    int (*fn)(void *arg, const cJSON *object, struct error *err), void *arg, struct error *err);
