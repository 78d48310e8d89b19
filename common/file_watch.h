/*
 * Notices that files have changed: certificates, keys, configurations that are read again without a
 * restart.
 *
 *     const char *const paths[] = {cert, key, NULL};
 *     struct file_watch *w = file_watch_new(env, paths, on_change, server);
 *     ...
 *     file_watch_free(w);
 *
 * Looks once a second at what stat says (inode, size, times; symbolic links are followed, so
 * swapped folders of mounted Secrets are noticed), which works on every file system and survives
 * every way to replace a file. After a change it waits until a look finds no other, so that a
 * certificate and its key are mostly read together; a reader that still gets halves keeps what it
 * has and is called again at the next change.
 *
 * Threads: fn runs on the watch's own task and may block. file_watch_free waits for it.
 */
#pragma once

#include <sys/stat.h>
#include <time.h>

#include "common/env.h"

struct file_watch;

/* What stat says of a file, to be compared as bytes. */
struct file_look {
    bool there;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec modified, changed;
};
void file_look(const char *path, struct file_look *ret); /* path NULL: not there */

/* paths: ended by NULL, copied; may name files that are not there (yet). */
struct file_watch *file_watch_new(
    struct env *env, const char *const *paths, task_fn *fn, void *arg);
void file_watch_free(struct file_watch *w); /* NULL is fine */
