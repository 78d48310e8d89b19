/*
 * JSON Web Tokens: signing, and checking against a set of public keys.
 *
 * ES256 (P-256) and RS256. The algorithm follows from the key, never from the token's header. A
 * key's id is base64url(SHA-256 of its DER public key), as upstream's. Claims are only parsed and
 * the signature checked here; times, issuer and audience are the caller's. Threads: immutable after
 * loading.
 */
#pragma once

#include "common/json.h"

struct jwt_keys;

/* PEM files with public or private keys; `signing_file` (may be NULL) is the private one that
 * signs. */
int jwt_keys_load(
    const char *const *files, const char *signing_file, struct jwt_keys **ret, struct error *err);
void jwt_keys_free(struct jwt_keys *keys);
int jwt_sign(const struct jwt_keys *keys, const cJSON *claims, char **ret_token, struct error *err);
/* ERR_UNAUTHORIZED when no key made this signature or it is no token at all. */
int jwt_verify(
    const struct jwt_keys *keys, struct str token, cJSON **ret_claims, struct error *err);
cJSON *jwt_key_set(const struct jwt_keys *keys); /* {"keys":[{...}]} */
