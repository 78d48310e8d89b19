/*
 * /livez, /readyz, /healthz: plain, ?verbose, ?exclude=NAME, and one check alone (/readyz/etcd).
 */
#pragma once

#include "apiserver/request/request.h"

/* rest: "" or "/NAME". */
enum stage_result health_serve(struct request *q, const char *rest);
