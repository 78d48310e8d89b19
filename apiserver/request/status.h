/*
 * The Status object of meta/v1: upstream's form of every refusal.
 */
#pragma once

#include "apiserver/request/request.h"

/* {name, group, kind: plural}; empty members are left out. */
cJSON *status_details(const struct resource *r, const char *name);
cJSON *status_new(enum err code, const char *message);
cJSON *status_success(void);
/* The whole Status of q->err, q->reason, q->status_details..., or q->error_status. Owned by the
 * caller. */
cJSON *status_of_request(struct request *q);
/* The code of a Status. */
int status_code(const cJSON *status);
