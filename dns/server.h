/*
 * Server: DNS over UDP and TCP on one address, answering from the zone and the forwarder.
 *
 * Limits: queries of 4 KiB; 128 TCP connections, 32 questions under way on each, closed after 10 s
 * of silence. An answer that does not fit a datagram has the TC bit, and the client comes again by
 * TCP.
 *
 * Threads: server_run blocks its task with the loop; dns_server_stop may be called from any.
 * Ownership: borrows zone and env.
 */
#pragma once

#include "common/metrics.h"
#include "dns/forward.h"
#include "dns/zone.h"

struct server;

struct server_config {
    const char *address;
    int port; /* 0: any, see server_port */
    struct forward_config forward;
};

int dns_server_new(struct env *env, const struct zone *zone, struct metrics *metrics,
    const struct server_config *config, struct server **ret, struct error *err);
int server_port(const struct server *s);
void server_run(struct server *s);
void dns_server_stop(struct server *s);
void dns_server_free(struct server *s);
