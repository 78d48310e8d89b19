/*
 * What a Service holds: IPAddress objects for its cluster IPs, claims for its node ports.
 *
 * Both are written in the same group as the Service, with "must not exist" as their compare, so two
 * Services never get the same one, and a crash leaves no half. A lost race for one is a conflict of
 * the group: the write starts again and chooses another.
 */
#pragma once

#include "apiserver/registry/registry.h"
#include "apiserver/registry/service_range.h"

/* The begin hook of Services. */
int service_hold(struct write_context *w, struct extra_writes *extra, struct error *err);
/* At start: what no Service holds is given back, what one should hold is held. */
void service_repair(struct server *server);

/* What the spec says (service.c). */
bool service_is_type(const cJSON *service, const char *type);
bool service_wants_cluster_ip(const cJSON *service);
bool service_wants_node_ports(const cJSON *service);
bool service_wants_health_port(const cJSON *service);
bool service_has_no_ip(const cJSON *service);
struct service_ranges service_ranges_of(const struct server *server);
/* The ServiceCIDR object that shows the flag's ranges. */
#define SERVICE_CIDR_OF_FLAG "kubernetes"
/* Is the text among the array's strings? */
bool service_has_text(const cJSON *array, const char *text);
