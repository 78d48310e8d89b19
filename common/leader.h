/*
 * Leader election on a coordination.k8s.io/v1 Lease: at most one instance of a daemon acts.
 *
 *     struct leader *l = leader_new(client, &(struct leader_config){.namespace_ = "kube-system",
 *         .name = "kube-scheduler", .identity = host, .on_lost = die, .arg = d});
 *     leader_wait(l, ENV_FOREVER);    // now it leads
 *
 * A task of its own acquires the Lease, renews it every 2 s, and gives it up at leader_free. A
 * candidate counts the 15 s of validity from when it saw the Lease change, by its own clock. When
 * renewing fails for 10 s on_lost is called, once, from that task: the daemon must stop acting
 * before the 15 s are over; usually it exits.
 *
 * Threads: any. Borrows the client. Upstream: client-go tools/leaderelection, same timings and
 * fields.
 */
#pragma once

#include "common/api_client.h"

struct leader;

struct leader_config {
    const char *namespace_, *name;
    const char *identity;                          /* NULL: host name and a random part */
    int64_t lease_ns, renew_deadline_ns, retry_ns; /* 0: 15 s, 10 s, 2 s */
    void (*on_lost)(void *arg);
    void *arg;
};

struct leader *leader_new(struct api_client *client, const struct leader_config *config);
void leader_free(struct leader *leader);
bool leader_wait(struct leader *leader, int64_t deadline_ns); /* false at the deadline */
bool leader_leads(struct leader *leader);
/* leaseTransitions of the term that is held: with the holder's identity it names one term in
 * office. */
int64_t leader_transitions(struct leader *leader);
