/* Which taints a node's conditions ask for. */
#pragma once

#include "controller/kinds.h"

const struct node_condition *node_condition(const struct node *node, const char *type);

/* The whole new list of taints, foreign ones kept; NULL when it would equal the present one.
 * may_evict: NoExecute taints may be added (those that are there stay while their cause does). */
cJSON *node_taints_wanted(const struct node *node, bool may_evict, int64_t now_ns);
