/*
 * Compile: the rules of one Service and its EndpointSlices. Pure.
 *
 * Endpoints of a service port are those of the slice port with the same NAME (never the same
 * number), ready ones, or where there is none those that terminate but still serve. They are sorted
 * and without doubles, so that the same endpoints in any order compile to the same rules.
 *
 * Headless Services, those of type ExternalName and those without an IPv4 address get no rules.
 * Upstream: proxy/topology.go, endpointslicecache.go.
 */
#pragma once

#include "proxy/objects.h"
#include "proxy/rule.h"

/* Appends to out. slices: of this service; node: name of this node, for the Local policies. */
void compile_service(const struct service *service, const struct endpoint_slice *const *slices,
    size_t slice_count, const char *node, struct rules *out);
