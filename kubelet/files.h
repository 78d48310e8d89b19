/*
 * Files of a running node: they need to survive the kubelet's death, not the machine's (the
 * containers that they belong to don't either), so nothing here waits for the disk.
 */
#pragma once

#include <sys/types.h>

#include "common/error.h"
#include "common/str.h"

/* Temporary file beside it, then rename. */
int quick_write(const char *path, struct str content, mode_t mode, struct error *err);
/* tmpfs at path; size_bytes 0: the kernel's default. Mounted already is fine. */
int mount_memory(const char *path, int64_t size_bytes, struct error *err);
bool is_mount_point(const char *path);
/* Unmounts everything at and below path, deepest first. */
int unmount_below(const char *path, struct error *err);
