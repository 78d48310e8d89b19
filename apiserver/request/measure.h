/*
 * What the pipeline tells Prometheus: upstream's names, and labels that no client can choose.
 */
#pragma once

#include "apiserver/request/request.h"

void measure_start(struct server *server);
/* A request is under way (by whether it changes something), or has ended. */
void measure_inflight(struct request *q, bool mutating, int by);
/* A watch or stream is open, or has ended. */
void measure_long_running(struct request *q, int by);
void measure_answered(struct request *q);
void measure_events(struct request *q, size_t count);
void measure_stored(struct request *q, const char *operation, int64_t took_ns);
