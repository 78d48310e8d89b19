/*
 * Routing: what a method, a path and a query ask for, in Kubernetes' terms.
 *
 * Upstream: apiserver/pkg/endpoints/request/requestinfo.go.
 */
#pragma once

#include "apiserver/request/request.h"

/* Fills path, query, verb, group, version, plural, namespace_, name, subresource_name, subpath. For
 * a resource request (even of a resource that does not exist) plural is not empty, so that
 * authorization comes before 404. */
int route_parse(struct request *q, struct error *err);
/* Stages: route_stage parses and looks the resource up; route_check_stage answers 404 and 405. */
stage_fn route_stage;
stage_fn route_check_stage;

/* ?watch, ?watch=1, ?watch=true; not "0" or "false" (Go's conversion of a query to a bool). */
bool query_bool(struct request *q, const char *name, bool otherwise);
