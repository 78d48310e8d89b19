/*
 * Atomic volumes: files that change all at once, as upstream's AtomicWriter makes them.
 *
 *     DIR/name           -> ..data/name           what a container opens
 *     DIR/..data         -> ..2026_11_23_07_31_53.123456789
 *     DIR/..2026_.../name                         the content
 *
 * A new content is a new hidden folder; ..data is renamed over, then links of names that are gone
 * are removed and the old folder goes. A reader that holds ..data open sees one version. Nothing is
 * touched when nothing changed.
 */
#pragma once

#include <sys/types.h>

#include "common/env.h"
#include "common/str.h"

struct volume_file {
    char *path; /* relative, no ".." */
    char *data;
    size_t size;
    mode_t mode;
    int64_t user; /* owner, or -1 */
};

struct volume_content {
    struct volume_file *files;
    size_t count;
};

/* Adds a file; an earlier one of the same path is replaced. ERR_INVALID for a path that leaves the
 * volume. */
int volume_content_add(struct volume_content *content, const char *path, struct str data,
    mode_t mode, int64_t user, struct error *err);
void volume_content_done(struct volume_content *content);

/* group: gets the files with group read (fsGroup), or -1. */
int volume_write(const char *dir, const struct volume_content *content, int64_t group,
    int64_t wall_ns, struct error *err);
