/*
 * Zone: answers for the cluster's names, after the Kubernetes DNS specification 1.1.0.
 *
 *     SERVICE.NS.svc.ZONE              A, AAAA: cluster IPs, or a headless Service's ready
 *                                      endpoints; CNAME of an ExternalName; SRV of all ports
 *     _PORT._PROTO.SERVICE.NS.svc.ZONE SRV
 *     HOST.SERVICE.NS.svc.ZONE         A, AAAA of one endpoint: its hostname, else a-b-c-d
 *     A-B-C-D.NS.pod.ZONE              A (and AAAA, for dashed IPv6)
 *     D.C.B.A.in-addr.arpa, ...ip6.arpa  PTR of cluster IPs and endpoints
 *     dns-version.ZONE                 TXT "1.1.0"
 *
 * A name that exists without the type asked for is NOERROR with the SOA, only a name that does not
 * exist is NXDOMAIN. A CNAME is followed inside the zone; where it leaves it the caller must
 * resolve the rest.
 *
 * Known difference: a headless Service without ready endpoints is NOERROR without data (the name
 * exists); CoreDNS says NXDOMAIN.
 *
 * Threads: reads through its source, which may be read from any task. Upstream: CoreDNS
 * plugin/kubernetes.
 */
#pragma once

#include "common/informer.h"
#include "dns/message.h"
#include "dns/objects.h"

#define ZONE_TTL_SECONDS 5

/* Where Services and EndpointSlices are looked up: informers, or tables of a test. Objects are
 * referenced. */
struct zone_source {
    void *arg;
    const struct dns_service *(*service)(
        void *arg, const char *namespace_, const char *name); /* or NULL */
    bool (*has_namespace)(void *arg, const char *namespace_); /* a namespace that has a Service */
    struct projected_array (*slices)(void *arg, const char *service_key); /* "ns/name" */
    struct projected_array (*services_by_ip)(void *arg, const char *ip);
    struct projected_array (*slices_by_ip)(void *arg, const char *ip);
    uint32_t (*serial)(void *arg);
};

struct zone {
    struct dns_name name;
    struct zone_source source;
    uint8_t address[4]; /* of this server, for ns.dns.ZONE; zeros: none */
};

enum zone_result {
    ZONE_DONE,    /* the writer has the whole answer; end it */
    ZONE_CHASE,   /* the writer has CNAMEs; *ret_target must be resolved elsewhere */
    ZONE_FOREIGN, /* not a name of ours, nothing was written */
};

/* random turns the order of addresses. Writes to a writer that has just begun. */
enum zone_result zone_answer(const struct zone *zone, const struct dns_query *query,
    uint64_t random, struct dns_writer *w, struct dns_name *ret_target);
