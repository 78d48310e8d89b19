/*
 * Status conditions as JSON arrays: a controller changes its own types and keeps the others as they
 * are.
 */
#pragma once

#include "controller/kinds.h"

/* The array of a projected list (struct condition), to be changed and put into a patch. */
cJSON *conditions_json(const struct projected_list *conditions);
const struct condition *conditions_find(const struct projected_list *conditions, const char *type);
bool condition_is(const struct projected_list *conditions, const char *type, const char *status);

/* Sets one; lastTransitionTime moves only when the status does. update_ns > 0 writes lastUpdateTime
 * (Deployments). Returns whether status, reason or message changed. */
bool conditions_set(cJSON *conditions, const char *type, const char *status, const char *reason,
    const char *message, int64_t now_ns, int64_t update_ns);
bool conditions_remove(cJSON *conditions, const char *type);
cJSON *conditions_get(cJSON *conditions, const char *type); /* borrowed */
