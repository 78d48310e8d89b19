/*
 * JSON Web Key Sets with OpenSSL; see jwks.h. Upstream: go-jose, coreos/go-oidc.
 */
#include "apiserver/auth/jwks.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "common/base64.h"

#define KEYS_MAX 64
#define TOKEN_BYTES_MAX (16u << 10)
#define NUMBER_BYTES_MAX 1024 /* RSA of 8192 bits */

static const struct algorithm {
    const char *name;
    const char *digest;
    const char *curve; /* NULL: RSA */
    int half;          /* bytes of r and of s */
    bool pss;
} algorithms_known[] = {
    {"RS256", "SHA256", NULL, 0, false},
    {"RS384", "SHA384", NULL, 0, false},
    {"RS512", "SHA512", NULL, 0, false},
    {"PS256", "SHA256", NULL, 0, true},
    {"PS384", "SHA384", NULL, 0, true},
    {"PS512", "SHA512", NULL, 0, true},
    {"ES256", "SHA256", "P-256", 32, false},
    {"ES384", "SHA384", "P-384", 48, false},
    {"ES512", "SHA512", "P-521", 66, false},
};

struct jwk {
    EVP_PKEY *key;
    char *id, *algorithm; /* or NULL */
    const char *curve;    /* NULL: RSA */
};

struct jwks {
    struct jwk all[KEYS_MAX];
    size_t count;
};

static const struct algorithm *find_algorithm(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_COUNT(algorithms_known); i++)
        if (c_eq(algorithms_known[i].name, name))
            return &algorithms_known[i];
    return NULL;
}

bool jwks_is_algorithm(const char *name)
{
    return find_algorithm(name) != NULL;
}

/* --- keys --- */

/* A base64url member; false when it is missing, malformed or too long. */
static bool bytes_of(const cJSON *jwk, const char *member, struct strbuf *out)
{
    const char *text = json_string(jwk, member);
    struct error err;
    strbuf_init(out, NUMBER_BYTES_MAX + 4);
    return text && *text && strlen(text) <= NUMBER_BYTES_MAX * 4 / 3 &&
           base64url_decode(str_of(text), out, &err) == 0 && out->n > 0;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!params || !context || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const cJSON *jwk)
{
    autostrbuf struct strbuf n = STRBUF_EMPTY, e = STRBUF_EMPTY;
    if (!bytes_of(jwk, "n", &n) || !bytes_of(jwk, "e", &e) || e.n > 8)
        return NULL;
    BIGNUM *modulus = BN_bin2bn((unsigned char *)n.data, (int)n.n, NULL);
    BIGNUM *exponent = BN_bin2bn((unsigned char *)e.data, (int)e.n, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (BN_num_bits(modulus) >= 2048 && BN_is_odd(exponent) && BN_num_bits(exponent) > 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
        key = key_from("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

static EVP_PKEY *ec_key(const cJSON *jwk, const struct algorithm *a)
{
    autostrbuf struct strbuf x = STRBUF_EMPTY, y = STRBUF_EMPTY;
    unsigned char point[1 + 2 * 66] = {4}; /* uncompressed */
    size_t half = (size_t)a->half;
    if (!bytes_of(jwk, "x", &x) || !bytes_of(jwk, "y", &y) || x.n != half || y.n != half)
        return NULL;
    memcpy(point + 1, x.data, half);
    memcpy(point + 1 + half, y.data, half);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, a->curve, 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * half))
        key = key_from("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static const struct algorithm *algorithm_of_curve(const char *curve)
{
    for (size_t i = 0; curve && i < ARRAY_COUNT(algorithms_known); i++)
        if (algorithms_known[i].curve && c_eq(algorithms_known[i].curve, curve))
            return &algorithms_known[i];
    return NULL;
}

static void add_key(struct jwks *keys, const cJSON *jwk)
{
    const char *type = json_string(jwk, "kty"), *use = json_string(jwk, "use");
    const char *id = json_string(jwk, "kid"), *algorithm = json_string(jwk, "alg");
    const struct algorithm *ec = algorithm_of_curve(json_string(jwk, "crv"));
    struct jwk k = {0};
    if (keys->count == KEYS_MAX || (use && !c_eq(use, "sig")) || !type)
        return;
    if (c_eq(type, "RSA")) {
        k.key = rsa_key(jwk);
    } else if (c_eq(type, "EC") && ec) {
        k.key = ec_key(jwk, ec);
        k.curve = ec->curve;
    }
    if (!k.key)
        return;
    k.id = id ? xstrdup(id) : NULL;
    k.algorithm = algorithm ? xstrdup(algorithm) : NULL;
    keys->all[keys->count++] = k;
}

int jwks_parse(const cJSON *set, struct jwks **ret, struct error *err)
{
    const cJSON *list = json_get(set, "keys"), *item;
    if (!cJSON_IsArray(list))
        return error_set(err, ERR_BAD_REQUEST, "no JSON Web Key Set: it has no list \"keys\"");
    struct jwks *keys = xcalloc(1, sizeof(*keys));
    cJSON_ArrayForEach(item, list) add_key(keys, item);
    *ret = keys;
    return 0;
}

void jwks_free(struct jwks *keys)
{
    for (size_t i = 0; keys && i < keys->count; i++) {
        EVP_PKEY_free(keys->all[i].key);
        free(keys->all[i].id);
        free(keys->all[i].algorithm);
    }
    free(keys);
}

size_t jwks_count(const struct jwks *keys)
{
    return keys ? keys->count : 0;
}

/* --- tokens --- */

struct parts {
    struct str header, claims, signature, signed_text;
};

static bool split_token(struct str token, struct parts *ret)
{
    struct str rest = token, parts[3];
    size_t count = 0;
    if (token.n > TOKEN_BYTES_MAX)
        return false;
    while (count < 3 && str_split(&rest, '.', &parts[count]))
        count++;
    if (count != 3 || parts[2].p + parts[2].n != token.p + token.n || parts[0].n == 0 ||
        parts[1].n == 0)
        return false;
    *ret = (struct parts){
        parts[0], parts[1], parts[2], str_range(token.p, parts[0].n + 1 + parts[1].n)};
    return true;
}

/* An object in a part; NULL: none. */
static cJSON *object_in(struct str part)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    cJSON *tree = NULL;
    struct error err;
    strbuf_init(&text, TOKEN_BYTES_MAX);
    if (base64url_decode(part, &text, &err) < 0 || json_parse(strbuf_str(&text), &tree, &err) < 0)
        return NULL;
    if (!cJSON_IsObject(tree)) {
        cJSON_Delete(tree);
        return NULL;
    }
    return tree;
}

cJSON *jwks_peek(struct str token)
{
    struct parts p;
    return split_token(token, &p) ? object_in(p.claims) : NULL;
}

/* r || s as DER. */
static bool der_of(struct str raw, int half, unsigned char **ret, size_t *ret_n)
{
    if (raw.n != 2 * (size_t)half)
        return false;
    const unsigned char *p = (const unsigned char *)raw.p;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(p, half, NULL), BN_bin2bn(p + half, half, NULL));
    int n = i2d_ECDSA_SIG(sig, ret);
    ECDSA_SIG_free(sig);
    *ret_n = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static bool signature_fits(
    EVP_PKEY *key, const struct algorithm *a, struct str text, struct str signature)
{
    unsigned char *der = NULL;
    const unsigned char *bytes = (const unsigned char *)signature.p;
    size_t n = signature.n;
    if (a->curve) {
        if (!der_of(signature, a->half, &der, &n))
            return false;
        bytes = der;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options;
    bool ok =
        EVP_DigestVerifyInit(context, &options, EVP_get_digestbyname(a->digest), NULL, key) == 1;
    if (ok && a->pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_DigestVerify(context, bytes, n, (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return ok;
}

static bool is_candidate(const struct jwk *k, const struct algorithm *a, const char *id)
{
    return c_eq(k->curve ? k->curve : "", a->curve ? a->curve : "") &&
           (!k->algorithm || c_eq(k->algorithm, a->name)) && (!id || !k->id || c_eq(k->id, id));
}

static const struct algorithm *allowed_algorithm(
    const cJSON *header, const char *const *algorithms, struct error *err)
{
    const char *name = json_string(header, "alg");
    const struct algorithm *a = find_algorithm(name);
    bool allowed = false;
    for (const char *const *one = algorithms; a && *one; one++)
        allowed = allowed || c_eq(*one, name);
    if (!allowed || json_get(header, "crit")) {
        error_set(err, ERR_UNAUTHORIZED, "the token's algorithm is not allowed");
        return NULL;
    }
    return a;
}

int jwks_verify(const struct jwks *keys, const char *const *algorithms, struct str token,
    cJSON **ret_claims, bool *ret_unknown_key, struct error *err)
{
    struct parts p;
    *ret_unknown_key = false;
    autojson cJSON *header = split_token(token, &p) ? object_in(p.header) : NULL;
    autostrbuf struct strbuf signature = STRBUF_EMPTY;
    if (!header || base64url_decode(p.signature, &signature, err) < 0)
        return error_set(err, ERR_UNAUTHORIZED, "malformed token");
    const struct algorithm *a = allowed_algorithm(header, algorithms, err);
    if (!a)
        return -(int)err->code;
    const char *id = json_string(header, "kid");
    *ret_unknown_key = true;
    for (size_t i = 0; keys && i < keys->count; i++) {
        if (!is_candidate(&keys->all[i], a, id))
            continue;
        if (id && keys->all[i].id)
            *ret_unknown_key = false;
        if (!signature_fits(keys->all[i].key, a, p.signed_text, strbuf_str(&signature)))
            continue;
        *ret_unknown_key = false;
        *ret_claims = object_in(p.claims);
        return *ret_claims ? 0 : error_set(err, ERR_UNAUTHORIZED, "malformed token");
    }
    return error_set(err, ERR_UNAUTHORIZED, "no key of the issuer made the token's signature");
}
