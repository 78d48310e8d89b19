/*
 * Encryption at rest: which kinds are encrypted in the store, with which key, and the sealed form.
 *
 * Configured by a file in upstream's EncryptionConfiguration format: per entry a list of kinds
 * (`secrets`, `deployments.apps`, `*.apps`, `*.` for the core group, `*.*`; the first entry that
 * matches counts) and a list of providers, whose first key encrypts while all decrypt. The cache
 * seals what it hands to the store and opens what it gets back, so that both stores, their history
 * and their watches only ever see sealed values; in memory objects are in the clear.
 *
 *     2 | provider | length of the key's name, the name | salt (16) | nonce | ciphertext | tag
 *
 * Every value has a key of its own, HMAC-SHA256(secret, provider | use | salt), so that random
 * nonces can't run out. aesgcm is AES-256-GCM; aescbc is AES-256-CBC with PKCS#7 and HMAC-SHA256
 * over all that comes before the tag (encrypt, then authenticate). The store's key
 * ("secrets/default/a") and the head are authenticated with it: a value moved to another name, or
 * relabelled, does not open.
 *
 * The file is read again when it changes; one that is bad is logged and changes nothing. An
 * object knows which key its stored form used (object->sealed_by): a write that changes nothing is
 * still stored again when that is not the key that would be used now, which is how `kubectl
 * replace` of everything moves to a new key.
 *
 * Threads: any. Costs: a lock and a few comparisons for a kind that is matched, 1-2 us to seal a
 * small Secret. Upstream: apiserver/pkg/server/options/encryptionconfig. Differences: stored forms
 * are not upstream's (neither is the object's); aescbc is authenticated; a value whose key moved to
 * another entry still opens; secretbox and kms are refused.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

struct encryption;

/* path NULL or "": nothing is encrypted, and sealed values don't open. ERR_USAGE names the field.
 */
int encryption_new(struct env *env, const char *path, struct encryption **ret, struct error *err);
void encryption_free(struct encryption *e);

/* Below, `kind` is "secrets" or "deployments.apps", `key` the store's key. NULL as encryption is
 * one without a file. */

/* Which key encrypts the kind now; 0: none. Stays what it is for a key as long as the process. */
uint16_t encryption_current(struct encryption *e, struct str kind);
/* Adds the form to be stored to out; returns the key's id as above. */
uint16_t encryption_seal(
    struct encryption *e, struct str kind, struct str key, struct str value, struct strbuf *out);

/* Gives the value: `stored` itself when it is in the clear, or `room`'s content; ret_id as above.
 * ERR_FORBIDDEN when no such key is configured, or when the value is in the clear where the kind's
 * providers don't have identity; ERR_INTERNAL when it is damaged or was sealed with another secret
 * or for another name. */
int encryption_open(struct encryption *e, struct str kind, struct str key, struct str stored,
    struct strbuf *room, struct str *ret, uint16_t *ret_id, struct error *err);
