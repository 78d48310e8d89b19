/*
 * Keys that others publish (JSON Web Key Sets), and checking their signatures.
 *
 * RS, PS and ES with 256, 384 and 512 bits; the algorithm must be one that the caller allows, fit
 * the key, and be the key's own where it names one. Anything else (none, HS256) is refused whatever
 * the token says. Threads: immutable after parsing.
 */
#pragma once

#include "common/json.h"

struct jwks;

/* Keys of other kinds or for other uses are passed over. ERR_BAD_REQUEST when it is no key set. */
int jwks_parse(const cJSON *set, struct jwks **ret, struct error *err);
void jwks_free(struct jwks *keys);
size_t jwks_count(const struct jwks *keys);

bool jwks_is_algorithm(const char *name);

/* The claims of a token signed by one of the keys with one of the algorithms (NULL ended).
 * *ret_unknown_key: no key fits, fresher ones might. */
int jwks_verify(const struct jwks *keys, const char *const *algorithms, struct str token,
    cJSON **ret_claims, bool *ret_unknown_key, struct error *err);
/* The claims without any check, to see who should check them; NULL when it is no token. */
cJSON *jwks_peek(struct str token);
