/*
 * Discovery: which resources the server offers, at the preferred version of each.
 *
 * Aggregated discovery (two requests) where the server has it, else one request a group version.
 */
#pragma once

#include "common/api_client.h"

enum verb {
    VERB_CREATE = 1,
    VERB_DELETE = 2,
    VERB_DELETE_COLLECTION = 4,
    VERB_GET = 8,
    VERB_LIST = 16,
    VERB_PATCH = 32,
    VERB_UPDATE = 64,
    VERB_WATCH = 128,
};

struct resource {
    char *group_version, *plural, *kind;
    bool namespaced;
    unsigned verbs; /* enum verb */
};

struct discovery {
    struct resource *resources;
    size_t count, capacity;
    bool partial; /* some group could not be read */
};

/* Zeroed `ret` in; on an error it stays as it was. Subresources are left out; of several versions
 * of a resource only the group's preferred one is kept. */
int discovery_load(struct api_client *client, struct discovery *ret, struct error *err);
/* The objects of a resource as PartialObjectMetadata (or whole, where the server has no such form).
 */
int discovery_list_metadata(struct api_client *client, const struct resource *resource,
    const char *namespace_or_null, cJSON **ret, struct error *err);
int discovery_get_metadata(struct api_client *client, const struct resource *resource,
    const char *namespace_or_null, const char *name, cJSON **ret, struct error *err);
void discovery_done(struct discovery *d);
const struct resource *discovery_find(
    const struct discovery *d, const char *group_version, const char *plural);
const struct resource *discovery_find_kind(
    const struct discovery *d, const char *group_version, const char *kind);
