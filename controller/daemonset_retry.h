/*
 * DaemonSet: how long a failed daemon pod stays before it is made again.
 *
 * The first is replaced at once; then the wait doubles from 1 s to 15 min for each node and
 * template, and is forgotten after half an hour without a failure. In memory only: a restart
 * forgets it, which costs one early try. Threads: any. Upstream: failedPodsBackoff.
 */
#pragma once

#include "common/env.h"

struct daemon_retries;

struct daemon_retries *daemon_retries_new(struct env *env);
void daemon_retries_free(struct daemon_retries *r);
/* How long to wait now; 0: no need. */
int64_t daemon_retries_wait(
    struct daemon_retries *r, const char *set_uid, const char *hash, const char *node);
/* A failed pod is being replaced. */
void daemon_retries_note(
    struct daemon_retries *r, const char *set_uid, const char *hash, const char *node);
