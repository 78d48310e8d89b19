/*
 * Diagnosis: counts why nodes were refused and words it as upstream does.
 *
 * One diagnosis a failed decision; everything lies in its arena. A node may have several reasons;
 * it is unresolvable when one of them is.
 */
#pragma once

#include "scheduler/plugin.h"

struct reason_count;

struct reasons {
    struct arena *arena;
    struct reason_count *first; /* hash by text */
    bool unresolvable;          /* of the node explained now */
};

struct diagnosis {
    struct reasons reasons;
    size_t nodes;          /* all nodes of the table */
    size_t resolvable;     /* nodes where eviction might help in principle */
    bool has_victims;      /* on one of those a pod of lower priority runs */
    const char *whole_pod; /* a sentence about all nodes at once, or NULL */
};

/* The same reason for `count` nodes. */
void diagnosis_add_nodes(struct diagnosis *d, const char *reason, size_t count, bool unresolvable);
/* One node, by its plugin's explain or reason. */
void diagnosis_add_node(
    struct diagnosis *d, const struct cycle *cycle, const struct plugin *plugin, uint32_t row);
void diagnosis_print(const struct diagnosis *d, const struct pod *pod, struct strbuf *out);
void diagnosis_done(struct diagnosis *d);
