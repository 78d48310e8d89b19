/* What other kinds and admission need of pods. */
#pragma once

#include "apiserver/registry/registry.h"
#include "apiserver/request/request.h"
#include "apiserver/server.h"

const char *pod_qos_class(const cJSON *spec); /* "Guaranteed", "Burstable", "BestEffort" */
enum stage_result pod_binding_run(struct request *q);
enum stage_result pod_eviction_run(struct request *q); /* eviction.c */

/* pod_parts.c */
enum stage_result pod_ephemeral_containers_run(struct request *q);
enum stage_result pod_resize_run(struct request *q);
void pod_parts_validate(const struct write_context *w, struct field_errors *errors);
