/*
 * Files: whole reads and atomic, durable writes. Threads: any; calls block.
 */
#pragma once

#include <sys/stat.h>

#include "common/str.h"

/* Whole content up to limit bytes. ERR_NOT_FOUND when absent, ERR_TOO_LARGE, else ERR_SYSTEM. */
int file_read(const char *path, size_t limit, struct strbuf *out, struct error *err);
/* Temporary file beside it, fsync, rename, fsync of the folder. */
int file_write(const char *path, struct str content, mode_t mode, struct error *err);
int file_make_dirs(const char *path, mode_t mode, struct error *err); /* like mkdir -p */
bool file_exists(const char *path);
/* Removes a tree without following links or crossing mounts. Absent is fine. */
int file_remove_tree(const char *path, struct error *err);
