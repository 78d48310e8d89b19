/*
 * Forwarder: asks upstream nameservers, for names that are not the cluster's.
 *
 * Each try has a socket of its own, so its port is random as well as its id; an answer counts only
 * when it comes from the server asked, with that id and that question. 1.5 s a try, 3 tries, over
 * the upstreams in turn; one that did not answer is asked last for 10 s. Clients that ask the same
 * at the same time share one query, which also stops loops: a query that comes back to us waits for
 * itself and fails.
 *
 * Upstreams come from the flag, or from /etc/resolv.conf, which is read again when it changes;
 * addresses that are this server or the cluster DNS Service are left out.
 *
 * Threads: the DNS loop only. Limits: FORWARD_PENDING_MAX queries under way.
 */
#pragma once

#include <netinet/in.h>

#include "common/metrics.h"
#include "dns/cache.h"
#include "dns/loop.h"

#define FORWARD_PENDING_MAX 1000
#define UPSTREAMS_MAX 8

struct forwarder;

struct forward_config {
    const char *upstreams;   /* "1.1.1.1,9.9.9.9:5353", or NULL: resolv_conf */
    const char *resolv_conf; /* path */
    const char *self;        /* our own address and port, which are no upstream */
    int self_port;
    const char *cluster_dns; /* cluster IP of the DNS Service */
};

/* answer: the upstream's message, whatever its id and the case of its question; empty: none came.
 */
typedef void forward_done_fn(void *arg, struct str answer);

int forwarder_new(struct env *env, struct loop *loop, struct metrics *metrics,
    const struct forward_config *config, struct forwarder **ret, struct error *err);
void forwarder_free(struct forwarder *f);
/* done is called once, perhaps before this returns. tcp: ask by TCP, for an answer of any size. */
void forwarder_ask(
    struct forwarder *f, const struct dns_query *query, bool tcp, forward_done_fn *done, void *arg);
/* done will not be called any more for this arg. */
void forwarder_cancel(struct forwarder *f, void *arg);
