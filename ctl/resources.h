/*
 * Which resources the server has, and what people call them: "po", "deploy/web",
 * "deployments.apps", "all".
 *
 * Read once a command from aggregated discovery. Owned by the caller; strings live as long as the
 * map.
 */
#pragma once

#include "common/flags.h"
#include "ctl/client.h"

struct ctl_resource {
    char *group_version, *group, *plural, *singular, *kind;
    char **short_names, **categories; /* NULL ended */
    bool namespaced, listable;
};

struct resource_map {
    struct ctl_resource *all;
    size_t count;
};

int resource_map_load(struct ctl_client *client, struct resource_map *ret, struct error *err);
void resource_map_done(struct resource_map *m);
/* By any of its names, optionally with ".group" or ".version.group". ERR_NOT_FOUND in kubectl's
 * words. */
int resource_map_find(const struct resource_map *m, struct str name,
    const struct ctl_resource **ret, struct error *err);
int resource_map_find_kind(const struct resource_map *m, const char *group_version,
    const char *kind, const struct ctl_resource **ret, struct error *err);

/* What a command is to work on: TYPE NAME..., TYPE/NAME..., TYPE,TYPE or a category, or -f files.
 */
struct target {
    const struct ctl_resource *resource;
    char *name; /* NULL: all of the type */
};
struct targets {
    struct target *all;
    size_t count;
};
int targets_check(
    int argc, char **argv, struct error *err); /* what can be told without a server: ERR_USAGE */
int targets_parse(
    const struct resource_map *m, int argc, char **argv, struct targets *ret, struct error *err);
void targets_done(struct targets *t);

/* "pod/web", "deployment.apps/web" as kubectl prints them. */
char *resource_label(const struct ctl_resource *r, const char *name);
struct api_ref resource_ref(const struct ctl_resource *r, const char *namespace_, const char *name);

/* The manifests of -f arguments: files, folders (*.yaml, *.yml, *.json, sorted, not deeper), "-"
 * for standard input. */
int manifests_read(const struct flag_strings *files, cJSON **ret_array, struct error *err);
