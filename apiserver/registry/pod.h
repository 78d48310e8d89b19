/* What other kinds and admission need of pods. */
#pragma once

#include "apiserver/server.h"
#include "apiserver/request/request.h"

const char *pod_qos_class(const cJSON *spec); /* "Guaranteed", "Burstable", "BestEffort" */
enum stage_result pod_binding_run(struct request *q);
