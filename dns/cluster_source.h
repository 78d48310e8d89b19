/*
 * Cluster source: the zone's view of Services and EndpointSlices, from informers, and this server's
 * own EndpointSlice of the kube-dns Service.
 *
 * The slice kube-system/kube-dns-NODE is made when everything is known, put back when somebody
 * changes it, and deleted by cluster_source_unregister, so that traffic stops coming before the
 * server stops. It is owned by its Node.
 *
 * Threads: new and free from one task; the zone_source may be read from any. Borrows the client.
 */
#pragma once

#include "common/api_client.h"
#include "dns/zone.h"

struct cluster_source;

struct cluster_source_config {
    const char *node;    /* name of this node */
    const char *address; /* where this server listens; IPv4 */
    int port;
};

struct cluster_source *cluster_source_new(struct api_client *client);
void cluster_source_start(struct cluster_source *s);
bool cluster_source_synced(struct cluster_source *s);
struct zone_source cluster_source_zone(struct cluster_source *s);
/* Keeps the EndpointSlice from now on. */
void cluster_source_register(struct cluster_source *s, const struct cluster_source_config *config);
/* Stops keeping it and deletes it. */
void cluster_source_unregister(struct cluster_source *s);
void cluster_source_free(struct cluster_source *s);
