/*
 * Connection tracking: ending UDP flows that were translated to an endpoint that is gone, or that
 * began before their service had one. (TCP connections end by themselves.)
 *
 * Threads: one a link; a call walks the kernel's table of flows once. Upstream: proxy/conntrack.
 */
#pragma once

#include "proxy/nft_batch.h"
#include "proxy/ruleset.h"

int conntrack_forget_udp(struct nft_link *link, udp_stale_fn *stale, void *arg, struct error *err);
