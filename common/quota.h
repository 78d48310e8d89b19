/*
 * Resource quotas: what an object uses of each constrained resource (pure).
 *
 * A sum belongs to one name of spec.hard. Objects are JSON trees as the API shows them. Scopes
 * narrow which pods count.
 */
#pragma once

#include "common/json.h"
#include "common/quantity.h"

enum quota_source { QUOTA_PODS, QUOTA_SERVICES, QUOTA_CLAIMS, QUOTA_OBJECTS };

struct quota_sum {
    const char *name; /* of spec.hard; borrowed */
    enum quota_source source;
    struct quantity used;
    bool unknown; /* the resource to count is not served: no figure */
};

enum quota_source quota_source_of(const char *name);
/* "deployments.apps" of "count/deployments.apps", "secrets" of "secrets". */
const char *quota_counted(const char *name);

/* Does a pod fall under spec.scopes and spec.scopeSelector? */
bool quota_scope_matches(const cJSON *spec, const cJSON *pod);

/* Adds what one object uses; now_ns: pods that should be gone by then count no more. */
void quota_add_pod(struct quota_sum *sums, size_t count, const cJSON *pod, int64_t now_ns);
void quota_add_service(struct quota_sum *sums, size_t count, const cJSON *service);
void quota_add_claim(struct quota_sum *sums, size_t count, const cJSON *claim);
