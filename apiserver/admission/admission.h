/*
 * Built-in admission: an explicit, ordered list of plugins, each one file and one descriptor.
 *
 * mutate runs after defaulting, validate after the strategy's validation. Refusals are 403
 * Forbidden unless the plugin says otherwise. Plugins look at other objects through the cache only.
 */
#pragma once

#include "apiserver/registry/registry.h"

struct admission_plugin {
    const char *name; /* upstream's: "ServiceAccount" */
    /* Which writes: a plural (of group "" unless "plural.group"), or NULL for all. */
    const char *const *resources; /* NULL ended, or NULL */
    int (*mutate)(struct write_context *w, struct error *err);
    int (*validate)(const struct write_context *w, struct error *err);
};

extern const struct admission_plugin *const admission_plugins[];
extern const size_t admission_plugin_count;

int admission_mutate(struct write_context *w, struct error *err);
int admission_validate(const struct write_context *w, struct error *err);
