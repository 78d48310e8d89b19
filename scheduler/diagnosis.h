/*
 * Diagnosis: why nodes were refused, counted and worded as upstream does.
 *
 * One diagnosis a failed decision; everything lies in its arena. A node may have several reasons;
 * it is unresolvable when one of them is: no eviction there would help.
 */
#pragma once

#include "scheduler/plugin.h"

struct reason_count;

struct reasons {
    struct arena *arena;
    struct reason_count *first; /* hash by text */
    struct node_set unresolvable;
};

struct reasons reasons_new(struct arena *arena, const struct node_set *like);
void reasons_done(struct reasons *reasons);
void reasons_count(struct reasons *reasons, size_t count, const char *text);
/* Why `refused` were refused by the plugin, which has run its filter in this cycle. */
void reasons_of_plugin(struct reasons *reasons, const struct cycle *cycle,
    const struct plugin *plugin, const struct node_set *refused);
/* " 1 Insufficient cpu, 2 Too many pods." sorted as text, as upstream does. */
void reasons_print(const struct reasons *reasons, struct strbuf *out);
