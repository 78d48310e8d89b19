/* What a node may ask of a subresource that no write stands behind. */
#pragma once

#include "apiserver/request/request.h"

/* TokenRequest: a node gets tokens bound to a pod that runs on it only. STAGE_ERROR: refused. */
enum stage_result node_restriction_token(struct request *q, const cJSON *bound_object_reference);
