/*
 * JSON Web Tokens with OpenSSL; see jwt.h.
 *
 * An ES256 signature is r || s, 32 bytes each, where OpenSSL speaks DER: the two forms are
 * converted here.
 */
#include "apiserver/auth/jwt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "common/base64.h"
#include "common/file.h"

#define KEYS_MAX 16
#define TOKEN_BYTES_MAX (16u << 10)
#define P256_BYTES 32

struct jwt_key {
    EVP_PKEY *key;
    char *id;
    bool ec;
    bool is_private;
};

struct jwt_keys {
    struct jwt_key all[KEYS_MAX];
    size_t count;
    const struct jwt_key *signer;
};

static char *key_id(EVP_PKEY *key)
{
    unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
    int n = i2d_PUBKEY(key, &der);
    if (n <= 0)
        return NULL;
    SHA256(der, (size_t)n, digest);
    OPENSSL_free(der);
    struct strbuf id;
    strbuf_init(&id, 0);
    base64url_encode(str_range((char *)digest, sizeof(digest)), &id);
    return strbuf_steal(&id);
}

static EVP_PKEY *read_key(const char *pem, bool *ret_private)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    *ret_private = key != NULL;
    if (!key) {
        BIO_reset(bio);
        key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    }
    BIO_free(bio);
    return key;
}

static int add_key(struct jwt_keys *keys, const char *path, bool sign, struct error *err)
{
    autostrbuf struct strbuf pem = STRBUF_EMPTY;
    strbuf_init(&pem, 1 << 16);
    if (file_read(path, 1 << 16, &pem, err) < 0)
        return error_wrap(err, "key file %s", path);
    struct jwt_key k = {0};
    k.key = read_key(pem.data, &k.is_private);
    if (!k.key)
        return error_set(
            err, ERR_BAD_REQUEST, "key file %s: no public or private key in PEM form", path);
    k.ec = EVP_PKEY_get_base_id(k.key) == EVP_PKEY_EC;
    bool usable =
        k.ec ? EVP_PKEY_get_bits(k.key) == 256
             : EVP_PKEY_get_base_id(k.key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(k.key) >= 2048;
    if (!usable || (sign && !k.is_private) || keys->count == KEYS_MAX) {
        EVP_PKEY_free(k.key);
        return error_set(err, ERR_BAD_REQUEST, "key file %s: %s", path,
            !usable ? "neither an ECDSA key on P-256 nor an RSA key of at least 2048 bits"
            : keys->count < KEYS_MAX ? "a private key is needed to sign"
                                     : "too many keys");
    }
    k.id = key_id(k.key);
    keys->all[keys->count] = k;
    if (sign)
        keys->signer = &keys->all[keys->count];
    keys->count++;
    return 0;
}

int jwt_keys_load(
    const char *const *files, const char *signing_file, struct jwt_keys **ret, struct error *err)
{
    struct jwt_keys *keys = xcalloc(1, sizeof(*keys));
    int result = signing_file ? add_key(keys, signing_file, true, err) : 0;
    for (; result == 0 && files && *files; files++)
        result = add_key(keys, *files, false, err);
    if (result < 0) {
        jwt_keys_free(keys);
        return result;
    }
    *ret = keys;
    return 0;
}

void jwt_keys_free(struct jwt_keys *keys)
{
    for (size_t i = 0; keys && i < keys->count; i++) {
        EVP_PKEY_free(keys->all[i].key);
        free(keys->all[i].id);
    }
    free(keys);
}

/* DER to r || s. */
static bool raw_signature(const unsigned char *der, size_t n, unsigned char *raw)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, P256_BYTES) == P256_BYTES &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + P256_BYTES, P256_BYTES) == P256_BYTES;
    ECDSA_SIG_free(sig);
    return ok;
}

/* r || s to DER, allocated by OpenSSL. */
static int der_signature(struct str raw, unsigned char **ret)
{
    if (raw.n != 2 * P256_BYTES)
        return -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    const unsigned char *p = (const unsigned char *)raw.p;
    ECDSA_SIG_set0(
        sig, BN_bin2bn(p, P256_BYTES, NULL), BN_bin2bn(p + P256_BYTES, P256_BYTES, NULL));
    int n = i2d_ECDSA_SIG(sig, ret);
    ECDSA_SIG_free(sig);
    return n;
}

static int sign_bytes(
    const struct jwt_key *k, struct str text, struct strbuf *out, struct error *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[1024], raw[2 * P256_BYTES];
    size_t n = sizeof(signature);
    bool ok = EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, k->key) == 1 &&
              EVP_DigestSign(context, signature, &n, (const unsigned char *)text.p, text.n) == 1 &&
              (!k->ec || raw_signature(signature, n, raw));
    EVP_MD_CTX_free(context);
    if (!ok)
        return error_set(err, ERR_INTERNAL, "signing the token failed");
    base64url_encode(
        k->ec ? str_range((char *)raw, sizeof(raw)) : str_range((char *)signature, n), out);
    return 0;
}

int jwt_sign(const struct jwt_keys *keys, const cJSON *claims, char **ret_token, struct error *err)
{
    if (!keys->signer)
        return error_set(err, ERR_INTERNAL, "no key to sign ServiceAccount tokens is configured");
    autostrbuf struct strbuf header = STRBUF_EMPTY, payload = STRBUF_EMPTY;
    struct strbuf token;
    strbuf_init(&header, 0);
    strbuf_init(&payload, 0);
    strbuf_init(&token, 0);
    strbuf_addf(&header, "{\"alg\":\"%s\",\"kid\":\"%s\"}", keys->signer->ec ? "ES256" : "RS256",
        keys->signer->id);
    json_print(claims, &payload);
    base64url_encode(strbuf_str(&header), &token);
    strbuf_add_char(&token, '.');
    base64url_encode(strbuf_str(&payload), &token);
    autostrbuf struct strbuf signature = STRBUF_EMPTY;
    strbuf_init(&signature, 0);
    if (sign_bytes(keys->signer, strbuf_str(&token), &signature, err) < 0) {
        strbuf_done(&token);
        return -err->code;
    }
    strbuf_add_char(&token, '.');
    strbuf_add(&token, strbuf_str(&signature));
    *ret_token = strbuf_steal(&token);
    return 0;
}

static bool signature_matches(const struct jwt_key *k, struct str text, struct str signature)
{
    unsigned char *der = NULL;
    int der_bytes = k->ec ? der_signature(signature, &der) : 0;
    if (k->ec && der_bytes <= 0)
        return false;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const unsigned char *bytes = k->ec ? der : (const unsigned char *)signature.p;
    size_t n = k->ec ? (size_t)der_bytes : signature.n;
    bool ok = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, k->key) == 1 &&
              EVP_DigestVerify(context, bytes, n, (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return ok;
}

static int decode_object(struct str part, cJSON **ret, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, TOKEN_BYTES_MAX);
    if (base64url_decode(part, &text, err) < 0 || json_parse(strbuf_str(&text), ret, err) < 0)
        return error_set(err, ERR_UNAUTHORIZED, "malformed token");
    if (!cJSON_IsObject(*ret)) {
        cJSON_Delete(*ret);
        *ret = NULL;
        return error_set(err, ERR_UNAUTHORIZED, "malformed token");
    }
    return 0;
}

/* Is this the one way to write these bytes? Decoding lets line ends and left-over bits pass, and a
 * signature must not have two forms. */
static bool is_canonical(struct str text, struct str bytes)
{
    autostrbuf struct strbuf again = STRBUF_EMPTY;
    base64url_encode(bytes, &again);
    return str_eq(strbuf_str(&again), text);
}

int jwt_verify(const struct jwt_keys *keys, struct str token, cJSON **ret_claims, struct error *err)
{
    struct str rest = token, parts[3];
    size_t count = 0;
    if (token.n > TOKEN_BYTES_MAX)
        return error_set(err, ERR_UNAUTHORIZED, "token too long");
    while (count < 3 && str_split(&rest, '.', &parts[count]))
        count++;
    bool more =
        count == 3 && parts[2].p + parts[2].n != token.p + token.n; /* also a dot at the end */
    if (count != 3 || more || parts[2].n == 0)
        return error_set(err, ERR_UNAUTHORIZED, "malformed token");
    autostrbuf struct strbuf signature = STRBUF_EMPTY;
    strbuf_init(&signature, 1024);
    if (base64url_decode(parts[2], &signature, err) < 0 ||
        !is_canonical(parts[2], strbuf_str(&signature)))
        return error_set(err, ERR_UNAUTHORIZED, "malformed token");
    struct str signed_text = str_range(token.p, parts[0].n + 1 + parts[1].n);
    for (size_t i = 0; i < keys->count; i++)
        if (signature_matches(&keys->all[i], signed_text, strbuf_str(&signature)))
            return decode_object(parts[1], ret_claims, err);
    return error_set(err, ERR_UNAUTHORIZED, "the token's signature is not one of ours");
}

static void add_coordinate(cJSON *out, const char *name, EVP_PKEY *key, const char *parameter)
{
    BIGNUM *n = NULL;
    unsigned char bytes[1024];
    if (EVP_PKEY_get_bn_param(key, parameter, &n) != 1)
        return;
    int size =
        c_eq(parameter, OSSL_PKEY_PARAM_EC_PUB_X) || c_eq(parameter, OSSL_PKEY_PARAM_EC_PUB_Y)
            ? P256_BYTES
            : BN_num_bytes(n);
    struct strbuf text;
    strbuf_init(&text, 0);
    if (size <= (int)sizeof(bytes) && BN_bn2binpad(n, bytes, size) == size)
        base64url_encode(str_range((char *)bytes, (size_t)size), &text);
    json_set_string(out, name, text.data);
    strbuf_done(&text);
    BN_free(n);
}

cJSON *jwt_key_set(const struct jwt_keys *keys)
{
    cJSON *set = cJSON_CreateObject(), *list = cJSON_CreateArray();
    for (size_t i = 0; i < keys->count; i++) {
        const struct jwt_key *k = &keys->all[i];
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = c_eq(keys->all[j].id, k->id); /* the public half of the signing key, usually */
        if (seen)
            continue;
        cJSON *out = cJSON_CreateObject();
        json_set_string(out, "use", "sig");
        json_set_string(out, "kty", k->ec ? "EC" : "RSA");
        json_set_string(out, "kid", k->id);
        json_set_string(out, "alg", k->ec ? "ES256" : "RS256");
        if (k->ec) {
            json_set_string(out, "crv", "P-256");
            add_coordinate(out, "x", k->key, OSSL_PKEY_PARAM_EC_PUB_X);
            add_coordinate(out, "y", k->key, OSSL_PKEY_PARAM_EC_PUB_Y);
        } else {
            add_coordinate(out, "n", k->key, OSSL_PKEY_PARAM_RSA_N);
            add_coordinate(out, "e", k->key, OSSL_PKEY_PARAM_RSA_E);
        }
        cJSON_AddItemToArray(list, out);
    }
    json_set(set, "keys", list);
    return set;
}
