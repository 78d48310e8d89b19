/* Pods and nodes for the scheduler's tests, from short JSON. */
#pragma once

#include "scheduler/cluster.h"

/* extra: members to add, "" or "\"spec\":{...}". */
struct node *test_node(
    const char *name, const char *cpu, const char *memory, const char *labels, const char *spec);
/* spec: members of spec without braces; containers are added when absent. */
struct pod *test_pod(const char *name, const char *spec);
struct pod *test_pod_requests(const char *name, const char *requests);
