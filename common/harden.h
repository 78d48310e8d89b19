/*
 * Giving up rights that a daemon does not need, at its start and before it has threads.
 *
 * Capabilities outside `keep` leave all sets for good (also the bounding set), no new privileges
 * can be gained, and system calls that only an intruder would make are refused with EPERM by a
 * seccomp filter: running programs, tracing, mounting, namespaces, modules, keys, clocks. Where the
 * kernel has no seccomp, or we are not root, the rest still holds.
 *
 * Threads: call it from the only one.
 */
#pragma once

#include <stdint.h>

#include "common/error.h"

#define HARDEN_KEEP(capability) (1ull << (capability))

/* keep: an or of HARDEN_KEEP(CAP_...) of <linux/capability.h>. ERR_SYSTEM when the kernel refuses.
 */
int harden(uint64_t keep, struct error *err);
