/*
 * Keys and certificates by OpenSSL 3: P-256 keys, SHA-256 signatures, PEM in and out.
 *
 * A leaf's subject lists its organizations first and then its common name, as Kubernetes reads them
 * (groups and user). Serial numbers are 127 random bits. Requests are in pki_request.c.
 * Upstream: client-go util/cert, kubeadm's pkiutil.
 */
#include "common/pki.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "common/base64.h"
#include "common/pki_build.h"
#include "common/time.h"

#define BACKDATE_S 300

void pki_pair_done(struct pki_pair *pair)
{
    free(pair->cert_pem);
    if (pair->key_pem)
        OPENSSL_cleanse(pair->key_pem, strlen(pair->key_pem));
    free(pair->key_pem);
    *pair = (struct pki_pair){0};
}

int pki_ssl_error(struct error *err, const char *what)
{
    char reason[160] = "unknown reason";
    unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof(reason));
    ERR_clear_error();
    return error_set(err, ERR_INTERNAL, "%s: %s", what, reason);
}

/* PEM in and out */

char *pki_bio_text(BIO *bio)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    char *text = str_dup(str_range(data, n > 0 ? (size_t)n : 0));
    OPENSSL_cleanse(data, n > 0 ? (size_t)n : 0);
    return text;
}

EVP_PKEY *pki_read_key(const char *pem, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    if (!key)
        pki_ssl_error(err, "reading a private key");
    return key;
}

X509 *pki_read_cert(const char *pem, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (!cert)
        pki_ssl_error(err, "reading a certificate");
    return cert;
}

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text =
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? pki_bio_text(bio) : NULL;
    BIO_free(bio);
    return text;
}

static char *cert_text(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = PEM_write_bio_X509(bio, cert) ? pki_bio_text(bio) : NULL;
    BIO_free(bio);
    return text;
}

/* Keys */

static EVP_PKEY *new_key(struct error *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (!key)
        pki_ssl_error(err, "making a key");
    return key;
}

int pki_new_key(char **ret_key_pem, struct error *err)
{
    EVP_PKEY *key = new_key(err);
    if (!key)
        return -(int)err->code;
    char *text = key_text(key);
    EVP_PKEY_free(key);
    if (!text)
        return pki_ssl_error(err, "writing a key");
    *ret_key_pem = text;
    return 0;
}

int pki_public_key(const char *key_pem, char **ret_public_pem, struct error *err)
{
    EVP_PKEY *key = pki_read_key(key_pem, err);
    if (!key)
        return -(int)err->code;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = PEM_write_bio_PUBKEY(bio, key) ? pki_bio_text(bio) : NULL;
    BIO_free(bio);
    EVP_PKEY_free(key);
    if (!text)
        return pki_ssl_error(err, "writing a public key");
    *ret_public_pem = text;
    return 0;
}

/* Certificates */

bool pki_set_name(X509_NAME *name, const char *common_name, const char *const *organizations)
{
    bool ok = true;
    for (; organizations && *organizations; organizations++)
        ok = ok && X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
                       (const unsigned char *)*organizations, -1, -1, 0);
    if (common_name && *common_name)
        ok = ok && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                       (const unsigned char *)common_name, -1, -1, 0);
    return ok;
}

static GENERAL_NAME *alt_name(const char *text)
{
    bool ip = !strncmp(text, "IP:", 3), dns = !strncmp(text, "DNS:", 4),
         uri = !strncmp(text, "URI:", 4);
    GENERAL_NAME *name = GENERAL_NAME_new();
    void *value = NULL;

    if (ip) {
        value = a2i_IPADDRESS(text + 3);
    } else if (dns || uri) {
        ASN1_IA5STRING *string = ASN1_IA5STRING_new();
        ASN1_STRING_set(string, text + 4, -1);
        value = string;
    }
    if (!value) {
        GENERAL_NAME_free(name);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, ip ? GEN_IPADD : uri ? GEN_URI : GEN_DNS, value);
    return name;
}

X509_EXTENSION *pki_alt_names(const char *const *names, struct error *err)
{
    GENERAL_NAMES *list = GENERAL_NAMES_new();
    X509_EXTENSION *extension = NULL;

    for (; *names; names++) {
        GENERAL_NAME *name = alt_name(*names);
        if (!name) {
            error_set(err, ERR_BAD_REQUEST,
                "\"%s\" is no alternative name: DNS:name, IP:address or URI:uri", *names);
            break;
        }
        sk_GENERAL_NAME_push(list, name);
    }
    if (!*names) {
        extension = X509V3_EXT_i2d(NID_subject_alt_name, 0, list);
        if (!extension)
            pki_ssl_error(err, "encoding alternative names");
    }
    GENERAL_NAMES_free(list);
    return extension;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    bytes[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return ok;
}

static bool set_validity(X509 *cert, int64_t not_before_ns, int64_t valid_seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time_t from = not_before_ns ? (time_t)(not_before_ns / NS_PER_S) : now.tv_sec - BACKDATE_S;
    time_t until = (not_before_ns ? from : now.tv_sec) + valid_seconds;
    return ASN1_TIME_set(X509_getm_notBefore(cert), from) &&
           ASN1_TIME_set(X509_getm_notAfter(cert), until);
}

/* Version, serial number, validity and key; names and extensions are the caller's. */
X509 *pki_cert_begin(EVP_PKEY *key, int64_t not_before_ns, int64_t valid_seconds)
{
    X509 *cert = X509_new();
    if (!cert || !X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
        !set_validity(cert, not_before_ns, valid_seconds) || !X509_set_pubkey(cert, key)) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

bool pki_add_leaf_extensions(X509 *cert, X509 *issuer, unsigned usage)
{
    const char *extended = usage == (PKI_SERVER | PKI_CLIENT) ? "serverAuth,clientAuth"
                           : usage & PKI_SERVER               ? "serverAuth"
                                                              : "clientAuth";
    return add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
           add_extension(cert, issuer, NID_ext_key_usage, extended) &&
           add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always");
}

/* Signs and prints; frees cert. NULL and err on failure. */
char *pki_cert_finish(X509 *cert, X509 *issuer, EVP_PKEY *issuer_key, struct error *err)
{
    char *text = NULL;
    if (X509_set_issuer_name(cert, X509_get_subject_name(issuer)) &&
        X509_sign(cert, issuer_key, EVP_sha256()))
        text = cert_text(cert);
    X509_free(cert);
    if (!text)
        pki_ssl_error(err, "signing a certificate");
    return text;
}

static char *self_signed(
    EVP_PKEY *key, const char *common_name, int64_t valid_seconds, struct error *err)
{
    X509 *cert = pki_cert_begin(key, 0, valid_seconds);
    if (!cert || !pki_set_name(X509_get_subject_name(cert), common_name, NULL) ||
        !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE") ||
        !add_extension(
            cert, cert, NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash")) {
        X509_free(cert);
        pki_ssl_error(err, "making a CA certificate");
        return NULL;
    }
    return pki_cert_finish(cert, cert, key, err);
}

int pki_new_ca(
    const char *common_name, int64_t valid_seconds, struct pki_pair *ret, struct error *err)
{
    EVP_PKEY *key = new_key(err);
    if (!key)
        return -(int)err->code;
    struct pki_pair pair = {.cert_pem = self_signed(key, common_name, valid_seconds, err)};
    if (pair.cert_pem && !(pair.key_pem = key_text(key)))
        pki_ssl_error(err, "writing a key");
    EVP_PKEY_free(key);
    if (!pair.key_pem) {
        pki_pair_done(&pair);
        return -(int)err->code;
    }
    *ret = pair;
    return 0;
}

int pki_issuer_load(const struct pki_pair *ca, struct pki_issuer *ret, struct error *err)
{
    struct pki_issuer issuer = {.cert = pki_read_cert(ca->cert_pem, err)};
    if (issuer.cert)
        issuer.key = pki_read_key(ca->key_pem, err);
    if (!issuer.key) {
        pki_issuer_done(&issuer);
        return error_wrap(err, "certificate authority");
    }
    *ret = issuer;
    return 0;
}

void pki_issuer_done(struct pki_issuer *issuer)
{
    X509_free(issuer->cert);
    EVP_PKEY_free(issuer->key);
    *issuer = (struct pki_issuer){0};
}

static char *issue(const struct pki_issuer *issuer, const struct pki_subject *subject,
    EVP_PKEY *key, struct error *err)
{
    X509_EXTENSION *names = NULL;
    if (subject->alt_names && subject->alt_names[0] &&
        !(names = pki_alt_names(subject->alt_names, err)))
        return NULL;
    X509 *cert = pki_cert_begin(key, subject->not_before_ns, subject->valid_seconds);
    bool ok =
        cert &&
        pki_set_name(X509_get_subject_name(cert), subject->common_name, subject->organizations) &&
        pki_add_leaf_extensions(cert, issuer->cert, subject->usage) &&
        (!names || X509_add_ext(cert, names, -1));
    X509_EXTENSION_free(names);
    if (!ok) {
        X509_free(cert);
        pki_ssl_error(err, "making a certificate");
        return NULL;
    }
    return pki_cert_finish(cert, issuer->cert, issuer->key, err);
}

int pki_new_cert(const struct pki_pair *ca, const struct pki_subject *subject, struct pki_pair *ret,
    struct error *err)
{
    struct pki_issuer issuer;
    int r = pki_issuer_load(ca, &issuer, err);
    if (r < 0)
        return r;
    EVP_PKEY *key = new_key(err);
    struct pki_pair pair = {0};
    if (key)
        pair.cert_pem = issue(&issuer, subject, key, err);
    if (pair.cert_pem && !(pair.key_pem = key_text(key)))
        pki_ssl_error(err, "writing a key");
    EVP_PKEY_free(key);
    pki_issuer_done(&issuer);
    if (!pair.key_pem) {
        pki_pair_done(&pair);
        return error_wrap(
            err, "certificate for %s", subject->common_name ? subject->common_name : "");
    }
    *ret = pair;
    return 0;
}

/* Reading certificates */

int pki_cert_expiry(const char *cert_pem, int64_t *ret_not_after_ns, struct error *err)
{
    X509 *cert = pki_read_cert(cert_pem, err);
    int days, seconds;
    if (!cert)
        return -(int)err->code;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int ok = ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(cert));
    ASN1_TIME_free(epoch);
    X509_free(cert);
    if (!ok)
        return pki_ssl_error(err, "reading a certificate's time");
    int64_t since_epoch = days * 86400ll + seconds;
    *ret_not_after_ns = since_epoch > INT64_MAX / NS_PER_S ? INT64_MAX : since_epoch * NS_PER_S;
    return 0;
}

int pki_cert_hash(const char *cert_pem, char **ret, struct error *err)
{
    X509 *cert = pki_read_cert(cert_pem, err);
    unsigned char digest[32], *der = NULL;
    if (!cert)
        return -(int)err->code;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    int ok = n > 0 && EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    X509_free(cert);
    if (!ok)
        return pki_ssl_error(err, "hashing a certificate's key");
    struct strbuf text;
    strbuf_init(&text, 0);
    strbuf_addc(&text, "sha256:");
    hex_encode(str_range((const char *)digest, sizeof(digest)), &text);
    *ret = strbuf_steal(&text);
    return 0;
}
