/*
 * Connection tracking: ending UDP flows that were translated to an endpoint that is gone, or that began
 * before their service had one. (TCP connections end by themselves.)
 *
 * Threads: any; a call walks the kernel's table of flows once. Upstream: proxy/conntrack.
 */
#pragma once

#include "proxy/ruleset.h"

int conntrack_forget_udp(udp_stale_fn *stale, void *arg, struct error *err);
