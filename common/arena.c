/*
 * Arena: bump allocation in blocks that grow from 4 KiB, freed together.
 *
 * The arena's own struct lies at the start of its first block, so a request that needs little costs
 * one malloc. An allocation that does not fit opens a new block of at least twice the last one's
 * size (up to 64 KiB, or the size asked for), so at most half of the memory is unused. Threads: an
 * arena belongs to one task at a time.
 */
#include "common/arena.h"

#include <stdarg.h>

#define FIRST_BLOCK_BYTES 4096
#define BLOCK_BYTES_MAX (64u << 10)
#define ALIGNMENT _Alignof(max_align_t)

struct block {
    struct block *older;
    size_t bytes; /* of the whole block, this header included */
    max_align_t start[];
};

struct hook {
    struct hook *older;
    void (*fn)(void *);
    void *arg;
};

struct arena {
    char *next, *end; /* free space of the newest block */
    struct block *newest;
    struct hook *hooks;
    size_t handed_out;
};

static struct block *block_new(size_t bytes, struct block *older)
{
    struct block *b = xmalloc(bytes);
    b->older = older;
    b->bytes = bytes;
    return b;
}

static void use_first_block(struct arena *a, struct block *first)
{
    a->newest = first;
    a->next = (char *)(a + 1);
    a->end = (char *)first + first->bytes;
    a->hooks = NULL;
    a->handed_out = 0;
}

struct arena *arena_new(void)
{
    struct block *first = block_new(FIRST_BLOCK_BYTES, NULL);
    struct arena *a = (struct arena *)first->start;
    use_first_block(a, first);
    return a;
}

/* Runs the hooks and frees the blocks; returns the first block, which holds the arena itself. */
static struct block *release(struct arena *a)
{
    while (a->hooks) {
        struct hook *hook = a->hooks;
        a->hooks = hook->older;
        hook->fn(hook->arg);
    }
    struct block *b = a->newest;
    while (b->older) {
        struct block *older = b->older;
        free(b);
        b = older;
    }
    return b;
}

void arena_clear(struct arena *a)
{
    use_first_block(a, release(a));
}

void arena_free(struct arena *a)
{
    if (a)
        free(release(a));
}

static void *alloc_in_new_block(struct arena *a, size_t n)
{
    size_t bytes = a->newest->bytes * 2;
    if (bytes > BLOCK_BYTES_MAX)
        bytes = BLOCK_BYTES_MAX;
    if (n > SIZE_MAX / 2)
        abort();
    if (bytes < n + sizeof(struct block))
        bytes = n + sizeof(struct block);
    struct block *b = block_new(bytes, a->newest);
    char *start = (char *)b->start;
    size_t left_old = (size_t)(a->end - a->next), left_new = bytes - sizeof(struct block) - n;
    a->newest = b;
    if (left_new >= left_old) { /* a big allocation leaves the old block's space in use */
        a->next = start + n;
        a->end = (char *)b + bytes;
    }
    return start;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t pad = -(uintptr_t)a->next & (ALIGNMENT - 1), room = (size_t)(a->end - a->next);
    a->handed_out += n;
    if (pad > room || n > room - pad)
        return alloc_in_new_block(a, n);
    char *p = a->next + pad;
    a->next = p + n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

char *arena_strdup(struct arena *a, struct str s)
{
    char *copy = arena_alloc(a, s.n + 1);
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

struct str arena_str(struct arena *a, struct str s)
{
    return str_range(arena_strdup(a, s), s.n);
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        abort();
    char *text = arena_alloc(a, (size_t)n + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

size_t arena_bytes(const struct arena *a)
{
    return a->handed_out;
}

void arena_on_free(struct arena *a, void (*fn)(void *), void *arg)
{
    struct hook *hook = arena_alloc(a, sizeof(*hook));
    *hook = (struct hook){a->hooks, fn, arg};
    a->hooks = hook;
}
