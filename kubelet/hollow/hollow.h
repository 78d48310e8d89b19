/*
 * The pretend runtime: containers run as soon as they are started, addresses are made up, nothing
 * touches the host.
 *
 * One serves all hollow nodes of a process. It keeps no container: the cache above it does, so a
 * pod costs what the kubelet itself remembers. Exits, probes, logs and images do not exist here.
 */
#pragma once

#include "kubelet/runtime.h"

struct runtime *hollow_runtime_new(struct env *env);
