/*
 * Sealing and opening one value; the form stands in encryption.h.
 *
 * Failures of the library while sealing abort: a value must never be stored in the clear because
 * of one. Opening treats everything it reads as hostile.
 */
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "apiserver/encryption/internal.h"

#define FORMAT_SEALED 2
#define SALT_BYTES 16
#define DERIVED_BYTES 32
#define GCM_NONCE_BYTES 12
#define GCM_TAG_BYTES 16
#define CBC_IV_BYTES 16
#define CBC_TAG_BYTES 32
#define BLOCK_BYTES 16

enum use { USE_ENCRYPT = 'e', USE_AUTHENTICATE = 'a' };

const char *cipher_name(enum cipher cipher)
{
    return cipher == CIPHER_AESGCM ? "aesgcm" : cipher == CIPHER_AESCBC ? "aescbc" : "identity";
}

bool cipher_is_sealed(struct str stored)
{
    return stored.n > 0 && stored.p[0] == FORMAT_SEALED;
}

static void derive(const struct sealing_key *k, enum use use, const uint8_t salt[SALT_BYTES],
    uint8_t ret[DERIVED_BYTES])
{
    uint8_t text[2 + SALT_BYTES] = {(uint8_t)k->cipher, (uint8_t)use};
    unsigned n = 0;

    memcpy(text + 2, salt, SALT_BYTES);
    const uint8_t *done =
        HMAC(EVP_sha256(), k->secret, (int)k->secret_bytes, text, sizeof(text), ret, &n);

    assert(done && n == DERIVED_BYTES);
}

/* HMAC over the length of the name, the name and the bytes. */
static void authenticate(const uint8_t derived[DERIVED_BYTES], struct str name, struct str bytes,
    uint8_t ret[CBC_TAG_BYTES])
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    unsigned n = 0;

    for (int i = 0; i < 8; i++)
        strbuf_add_char(&text, (char)((uint64_t)name.n >> (8 * i)));
    strbuf_add(&text, name);
    strbuf_add(&text, bytes);
    assert(!strbuf_overflowed(&text));
    const uint8_t *done =
        HMAC(EVP_sha256(), derived, DERIVED_BYTES, (const uint8_t *)text.data, text.n, ret, &n);

    assert(done && n == CBC_TAG_BYTES);
}

/* --- AES-256-GCM --- */

static bool gcm_begin(EVP_CIPHER_CTX *ctx, const uint8_t *derived, const uint8_t *nonce,
    struct str name, struct str head, bool encrypt)
{
    int n;

    return ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, derived, nonce, encrypt) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)name.p, (int)name.n) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)head.p, (int)head.n) == 1;
}

/* What is authenticated is the store's key and the head. No key holds the byte that heads start
 * with, so that the two can't be told apart wrongly. */
static void gcm_seal(const uint8_t *derived, const uint8_t *nonce, struct str name,
    struct str value, struct strbuf *out, size_t start)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    size_t head_bytes = out->n - start;
    uint8_t *to = (uint8_t *)strbuf_reserve(out, value.n + GCM_TAG_BYTES);
    int n = 0, last = 0;

    assert(to);
    bool ok =
        gcm_begin(ctx, derived, nonce, name, str_range(out->data + start, head_bytes), true) &&
        EVP_CipherUpdate(ctx, to, &n, (const uint8_t *)value.p, (int)value.n) == 1 &&
        EVP_CipherFinal_ex(ctx, to + n, &last) == 1 && (size_t)n == value.n && last == 0 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, GCM_TAG_BYTES, to + n) == 1;

    assert(ok);
    strbuf_commit(out, value.n + GCM_TAG_BYTES);
    EVP_CIPHER_CTX_free(ctx);
}

static bool gcm_open(
    const uint8_t *derived, struct str name, struct str head, struct str sealed, struct strbuf *out)
{
    if (sealed.n < GCM_TAG_BYTES)
        return false;
    size_t bytes = sealed.n - GCM_TAG_BYTES;
    uint8_t *to = (uint8_t *)strbuf_reserve(out, bytes + BLOCK_BYTES);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const uint8_t *nonce = (const uint8_t *)head.p + head.n - GCM_NONCE_BYTES;
    int n = 0, last = 0;
    bool ok = to && gcm_begin(ctx, derived, nonce, name, head, false) &&
              EVP_CipherUpdate(ctx, to, &n, (const uint8_t *)sealed.p, (int)bytes) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, GCM_TAG_BYTES,
                  (void *)(uintptr_t)(sealed.p + bytes)) == 1 &&
              EVP_CipherFinal_ex(ctx, to + n, &last) == 1;

    EVP_CIPHER_CTX_free(ctx);
    if (ok)
        strbuf_commit(out, bytes);
    return ok;
}

/* --- AES-256-CBC and HMAC --- */

static void cbc_seal(const struct sealing_key *k, const uint8_t *salt, const uint8_t *iv,
    struct str name, struct str value, struct strbuf *out, size_t start)
{
    uint8_t derived[DERIVED_BYTES];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *to = (uint8_t *)strbuf_reserve(out, value.n + BLOCK_BYTES + CBC_TAG_BYTES);
    int n = 0, last = 0;

    derive(k, USE_ENCRYPT, salt, derived);
    bool ok = to && ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, derived, iv) == 1 &&
              EVP_EncryptUpdate(ctx, to, &n, (const uint8_t *)value.p, (int)value.n) == 1 &&
              EVP_EncryptFinal_ex(ctx, to + n, &last) == 1;

    assert(ok);
    strbuf_commit(out, (size_t)(n + last));
    derive(k, USE_AUTHENTICATE, salt, derived);
    authenticate(derived, name, str_range(out->data + start, out->n - start), to + n + last);
    strbuf_commit(out, CBC_TAG_BYTES);
    EVP_CIPHER_CTX_free(ctx);
    OPENSSL_cleanse(derived, sizeof(derived));
}

static bool cbc_open(const struct sealing_key *k, const uint8_t *salt, struct str name,
    struct str head, struct str sealed, struct strbuf *out)
{
    uint8_t derived[DERIVED_BYTES], tag[CBC_TAG_BYTES];

    if (sealed.n < CBC_TAG_BYTES + BLOCK_BYTES)
        return false;
    size_t bytes = sealed.n - CBC_TAG_BYTES;

    derive(k, USE_AUTHENTICATE, salt, derived);
    authenticate(derived, name, str_range(head.p, head.n + bytes), tag);
    if (CRYPTO_memcmp(tag, sealed.p + bytes, CBC_TAG_BYTES) != 0)
        return false;
    derive(k, USE_ENCRYPT, salt, derived);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *to = (uint8_t *)strbuf_reserve(out, bytes + BLOCK_BYTES);
    const uint8_t *iv = (const uint8_t *)head.p + head.n - CBC_IV_BYTES;
    int n = 0, last = 0;
    bool ok = to && ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, derived, iv) == 1 &&
              EVP_DecryptUpdate(ctx, to, &n, (const uint8_t *)sealed.p, (int)bytes) == 1 &&
              EVP_DecryptFinal_ex(ctx, to + n, &last) == 1;

    EVP_CIPHER_CTX_free(ctx);
    OPENSSL_cleanse(derived, sizeof(derived));
    if (ok)
        strbuf_commit(out, (size_t)(n + last));
    return ok;
}

/* --- both --- */

static size_t nonce_bytes(enum cipher cipher)
{
    return cipher == CIPHER_AESGCM ? GCM_NONCE_BYTES : CBC_IV_BYTES;
}

void cipher_seal(struct env *env, const struct sealing_key *k, struct str key, struct str value,
    struct strbuf *out)
{
    uint8_t fresh[SALT_BYTES + CBC_IV_BYTES];
    size_t start = out->n, name_bytes = strlen(k->name), nonce = nonce_bytes(k->cipher);

    env_random_bytes(env, fresh, sizeof(fresh));
    strbuf_add_char(out, FORMAT_SEALED);
    strbuf_add_char(out, (char)k->cipher);
    strbuf_add_char(out, (char)name_bytes);
    strbuf_add(out, str_range(k->name, name_bytes));
    strbuf_add(out, str_range((const char *)fresh, SALT_BYTES + nonce));
    if (k->cipher == CIPHER_AESCBC) {
        cbc_seal(k, fresh, fresh + SALT_BYTES, key, value, out, start);
        return;
    }
    uint8_t derived[DERIVED_BYTES];

    derive(k, USE_ENCRYPT, fresh, derived);
    gcm_seal(derived, fresh + SALT_BYTES, key, value, out, start);
    OPENSSL_cleanse(derived, sizeof(derived));
}

int cipher_read_head(struct str stored, struct seal_head *ret, struct error *err)
{
    const uint8_t *p = (const uint8_t *)stored.p;

    if (stored.n < 3 || p[0] != FORMAT_SEALED || (p[1] != CIPHER_AESGCM && p[1] != CIPHER_AESCBC))
        return error_set(err, ERR_INTERNAL, "stored object is encrypted in an unknown way");
    *ret = (struct seal_head){.cipher = (enum cipher)p[1]};
    ret->bytes = 3 + (size_t)p[2] + SALT_BYTES + nonce_bytes(ret->cipher);
    if (stored.n < ret->bytes)
        return error_set(err, ERR_INTERNAL, "stored object is damaged");
    ret->key_name = str_range(stored.p + 3, p[2]);
    return 0;
}

bool cipher_open(const struct sealing_key *k, struct str key, struct str stored,
    const struct seal_head *head, struct strbuf *out)
{
    struct str first = str_range(stored.p, head->bytes);
    struct str sealed = str_range(stored.p + head->bytes, stored.n - head->bytes);
    const uint8_t *salt =
        (const uint8_t *)first.p + head->bytes - nonce_bytes(head->cipher) - SALT_BYTES;

    if (sealed.n > INT32_MAX)
        return false;
    if (head->cipher == CIPHER_AESCBC)
        return cbc_open(k, salt, key, first, sealed, out);
    uint8_t derived[DERIVED_BYTES];

    derive(k, USE_ENCRYPT, salt, derived);
    bool ok = gcm_open(derived, key, first, sealed, out);

    OPENSSL_cleanse(derived, sizeof(derived));
    return ok;
}
