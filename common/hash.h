/*
 * uthash with a hash function of our own (FNV-1a with a final mix).
 *
 * uthash's default falls through switch labels inside a macro, which clang's -Wimplicit-fallthrough
 * refuses. Include this instead of <uthash.h>.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline unsigned hash_bytes(const void *data, size_t n)
{
    const unsigned char *p = (const unsigned char *)data;
    uint64_t h = 14695981039346656037ull;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211ull;
    h ^= h >> 32;
    return (unsigned)(h ^ (h >> 15));
}

#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = hash_bytes((keyptr), (keylen)))
#include <uthash.h>
