/*
 * Arena: task-lifetime memory. One per request, reconcile, scheduling cycle or DNS query;
 * everything in it goes at once.
 *
 * Allocation never returns NULL (out of memory aborts); sizes that a client controls are limited by
 * whoever reads them. Memory is aligned for any type and, from arena_alloc, not zeroed.
 *
 * Threads: an arena belongs to one task at a time.
 */
#pragma once

#include <stddef.h>

#include "common/str.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a);
void arena_clear(struct arena *a); /* frees all but the first block */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, struct str s);
struct str arena_str(struct arena *a, struct str s);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const struct arena *a); /* handed out so far */

/* Runs fn(arg) when the arena is cleared or freed, last added first. */
void arena_on_free(struct arena *a, void (*fn)(void *), void *arg);

#define arena_new_array(a, type, count) ((type *)arena_zalloc((a), sizeof(type) * (count)))
