/*
 * The host's side of the default pod network: kernel settings, masquerading, Docker's FORWARD
 * policy, routes to other nodes' pods. Each function sees to it that a state holds and may be
 * called again and again.
 *
 * Threads: one at a time (the node's sync). Needs root.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

struct host_route {
    const char *cidr;    /* "10.244.3.0/24" */
    const char *gateway; /* "192.168.1.13" */
};

/* ip_forward, bridge-nf-call-iptables where the kernel has it. */
int host_set_kernel(struct error *err);
/* nftables table skiff-net: pods' packets to anything but `inside` (pod networks, node addresses)
 * leave with the node's address. */
int host_set_masquerade(
    const char *pod_cidr, const char *const *inside, size_t inside_count, struct error *err);
/* Accept rules for skiff0 in DOCKER-USER, when that chain exists. */
int host_set_forwarding(struct error *err);
/* Exactly these routes with our protocol number; the first that cannot be set is reported, the
 * others are set. */
int host_set_routes(const struct host_route *routes, size_t count, struct error *err);
/* MTU of the link that carries this address (or the default route's); 0 when unknown. */
int64_t host_mtu(const char *address);
/* The address other hosts know this one by: the source of the default route, else the first that is
 * up. */
bool host_default_address(char *buf, size_t size);
/* Takes all of the above away: table, rules, routes, and the bridge. What is not there is fine. */
int host_reset(struct error *err);
/* routes.c: removes a link by name; absent is fine. */
int host_remove_link(const char *name, struct error *err);
