/*
 * Ruleset: where rules take effect. The kernel's nftables in production; in tests and simulation a
 * table in memory with the same operations.
 *
 *     load     the rules in effect; makes an empty ruleset when there is none of ours, or one of an
 *              older form. A proxy that starts again finds its rules and changes what differs.
 *     apply    all changes or none, atomically for packets
 *     intact   the ruleset is still there (somebody may have flushed it)
 *     forget_udp  ends UDP flows (they have no end of their own) for which stale() says so
 *     remove   takes everything of ours away
 *
 * After a failed apply the state is unknown: load and compare again.
 * Threads: one at a time.
 */
#pragma once

#include "common/error.h"
#include "proxy/rule.h"

/* A UDP flow as the first packet was addressed, and where it goes. */
struct udp_flow {
    uint32_t to_addr, endpoint_addr;
    uint16_t to_port, endpoint_port;
    bool to_local; /* to_addr is an address of this machine */
};
typedef bool udp_stale_fn(void *arg, const struct udp_flow *flow);

struct ruleset;

struct ruleset_ops {
    int (*load)(struct ruleset *r, struct rules *ret, struct error *err);
    int (*apply)(struct ruleset *r, const struct rule_changes *changes, struct error *err);
    bool (*intact)(struct ruleset *r);
    int (*forget_udp)(struct ruleset *r, udp_stale_fn *stale, void *arg, struct error *err);
    int (*remove)(struct ruleset *r, struct error *err);
    void (*free)(struct ruleset *r);
};

struct ruleset {
    const struct ruleset_ops *ops;
};

struct ruleset_config {
    const char
        *cluster_cidr; /* sources outside of it are masqueraded on their way to cluster IPs */
    const char
        *nodeport_addresses; /* "a.b.c.d/n,...": node ports answer there only; "" everywhere */
};

/* The kernel's, table "skiff" of family ip in the current network namespace. */
int ruleset_new_nftables(
    const struct ruleset_config *config, struct ruleset **ret, struct error *err);
