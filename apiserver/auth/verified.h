/*
 * Tokens that were verified, found again by the SHA-256 of the token; no token is stored.
 *
 * What a verified token says is compiled once: the identity, the audiences, and the objects it
 * stands or falls with. Times, audiences and those objects (by name and uid, in the cache of
 * objects) are looked at every time, so that what is deleted revokes at once. At most CACHE_ENTRIES
 * are kept; the first that came goes first. Upstream: token/cache.
 *
 * Threads: any loop; the lock is held for a look-up only, a reference keeps what was found.
 */
#pragma once

#include <openssl/sha.h>
#include <stdatomic.h>
#include "common/hash.h"

#include "apiserver/auth/auth.h"

struct bound {
    const char *claim; /* "pod" */
    const struct resource *resource;
    const char *namespace_, *name, *uid; /* uid NULL: any */
};

struct verified {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    atomic_int references;
    struct arena *arena; /* of all below, and of this */
    struct identity who;
    const char **audiences; /* NULL ended; NULL: the API server's own */
    struct bound bound[4];
    size_t bound_count;
    int64_t expires_s, not_before_s; /* wall clock */
    unsigned generation;             /* of the settings it was verified under; 0: under any */
    UT_hash_handle hh;
};

struct token_cache;
struct token_cache *token_cache_new(void);
void token_cache_free(struct token_cache *cache);

struct verified *verified_new(void); /* one reference */
void verified_unref(struct verified *v);
void verified_hash(struct str token, unsigned char *ret);
/* Referenced, or NULL. */
struct verified *verified_find(struct auth *auth, const unsigned char *hash);
/* Takes a reference of its own. */
void verified_remember(struct auth *auth, struct verified *v, const unsigned char *hash);
/* Is it valid now and for one of the audiences (NULL ended)? Then the identity, in the arena. */
int verified_use(struct auth *auth, struct verified *v, struct arena *a,
    const char *const *audiences, struct identity *ret, const char ***ret_audiences,
    struct error *err);
