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
#include "common/flags.h"

struct leader;

/* What a daemon's command line says of it; names and defaults are upstream's, except that election
 * is off unless asked for. */
struct leader_flags {
    bool elect;
    int64_t lease_ns, renew_deadline_ns, retry_ns;
};

#define LEADER_FLAGS(type, member)                                                                 \
    {"leader-elect", FLAG_BOOL, offsetof(type, member.elect), "false", NULL,                       \
        "act only while holding the daemon's Lease in kube-system; for several instances"},        \
        {"leader-elect-lease-duration", FLAG_DURATION, offsetof(type, member.lease_ns), "15s",     \
            "TIME", "how long others wait for a silent leader"},                                   \
        {"leader-elect-renew-deadline", FLAG_DURATION, offsetof(type, member.renew_deadline_ns),   \
            "10s", "TIME", "how long a leader tries to renew before it stops acting"},             \
    {                                                                                              \
        "leader-elect-retry-period", FLAG_DURATION, offsetof(type, member.retry_ns), "2s", "TIME", \
            "time between two looks at the Lease"                                                  \
    }

/* ERR_USAGE unless a leader stops, after several tries, before another may start. */
int leader_flags_check(const struct leader_flags *flags, struct error *err);

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
