/*
 * What `up` and `join` share: laying out the folder, and waiting with progress lines.
 */
#pragma once

#include "common/api_client.h"
#include "ctl/cluster.h"

int up_make_dirs(const struct cluster *c, struct error *err);
/* This machine's own name and address, as defaults. */
char *up_node_name(void);
int up_node_ip(char **ret, struct error *err);
/* Waits until each daemon of the list answers 200 on its health page, with a progress line each:
 * all of them, or those from `first` to `last` in the list's order (NULL: its end). */
int up_wait_healthy(const struct cluster *c, struct env *env, const char *first, const char *last,
    int64_t deadline_ns, struct error *err);
int up_wait_node_ready(
    const struct cluster *c, struct api_client *api, int64_t deadline_ns, struct error *err);
