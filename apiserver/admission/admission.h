/*
 * Built-in admission: an explicit, ordered list of plugins, each one descriptor.
 *
 * mutate runs after defaulting, validate after the strategy's validation. Refusals are 403
 * Forbidden unless the plugin says otherwise. Plugins look at other objects through the cache only.
 * Which plugins run, and their configuration, is fixed at start. Upstream:
 * --enable-admission-plugins and apiserver's AdmissionConfiguration.
 */
#pragma once

#include "apiserver/registry/registry.h"

struct admission_plugin {
    const char *name; /* upstream's: "ServiceAccount" */
    /* Which writes: a plural (of group "" unless "plural.group"), or NULL for all. */
    const char *const *resources; /* NULL ended, or NULL */
    bool off;                     /* unless it is asked for */
    int (*mutate)(struct write_context *w, struct error *err);
    int (*validate)(const struct write_context *w, struct error *err);
    /* Right before the commit, and again on each conflict: writes to be committed with the object
     * or not at all. */
    int (*charge)(struct write_context *w, struct extra_writes *extra, struct error *err);
    /* Reads the plugin's part of the configuration file; ERR_USAGE names the field. *ret_state may
     * stay NULL. */
    int (*configure)(const cJSON *config, void **ret_state, struct error *err);
    void (*release)(void *state);
};

struct admission;
/* enable, disable: names joined by commas, or NULL; config_file: an AdmissionConfiguration, or
 * NULL. ERR_USAGE names the flag, plugin or field. */
int admission_new(const char *enable, const char *disable, const char *config_file,
    struct admission **ret, struct error *err);
void admission_free(struct admission *a); /* NULL is fine */

int admission_mutate(struct write_context *w, struct error *err);
int admission_validate(const struct write_context *w, struct error *err);
int admission_charge(struct write_context *w, struct extra_writes *extra, struct error *err);
