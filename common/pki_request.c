/*
 * Certificate signing requests: making, reading and signing them.
 *
 * A request is only believed after its own signature was checked (proof that the sender has the
 * key). The signer takes key, subject and alternative names from it and nothing else: usages,
 * validity and CA bits that it may ask for are ignored.
 */
#include "common/pki.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/pki_build.h"

int pki_new_request(
    const char *key_pem, const struct pki_subject *subject, char **ret_csr_pem, struct error *err)
{
    EVP_PKEY *key = pki_read_key(key_pem, err);
    if (!key)
        return -(int)err->code;
    X509_EXTENSION *names = NULL;
    if (subject->alt_names && subject->alt_names[0] &&
        !(names = pki_alt_names(subject->alt_names, err))) {
        EVP_PKEY_free(key);
        return -(int)err->code;
    }
    X509_REQ *request = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    if (names)
        sk_X509_EXTENSION_push(extensions, names);
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = X509_REQ_set_version(request, X509_REQ_VERSION_1) &&
              X509_REQ_set_pubkey(request, key) &&
              pki_set_name(X509_REQ_get_subject_name(request), subject->common_name,
                  subject->organizations) &&
              (!names || X509_REQ_add_extensions(request, extensions)) &&
              X509_REQ_sign(request, key, EVP_sha256()) && PEM_write_bio_X509_REQ(bio, request);
    char *text = ok ? pki_bio_text(bio) : NULL;
    BIO_free(bio);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    if (!text)
        return pki_ssl_error(err, "making a certificate request");
    *ret_csr_pem = text;
    return 0;
}

/* NULL and err when the text is no request or its signature is wrong. */
static X509_REQ *read_request(const char *csr_pem, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(csr_pem, -1);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;
    if (!key || X509_REQ_verify(request, key) != 1) {
        pki_ssl_error(
            err, request ? "the request's signature is wrong" : "reading a certificate request");
        err->code = ERR_BAD_REQUEST;
        X509_REQ_free(request);
        return NULL;
    }
    return request;
}

static void push(char ***list, size_t *count, char *text)
{
    *list = xrealloc(*list, (*count + 2) * sizeof(char *));
    (*list)[(*count)++] = text;
    (*list)[*count] = NULL;
}

/* The entry's text; NULL when it holds a NUL, which could make two readers see different names. */
static char *entry_text(const ASN1_STRING *string)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, string);
    char *text = n >= 0 && !memchr(utf8, '\0', (size_t)n)
                     ? str_dup(str_range((char *)utf8, (size_t)n))
                     : NULL;
    if (n >= 0)
        OPENSSL_free(utf8);
    return text;
}

static bool read_subject(X509_NAME *name, struct pki_request *ret)
{
    size_t organizations = 0;
    ret->organizations = xcalloc(1, sizeof(char *));
    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        if (nid != NID_commonName && nid != NID_organizationName)
            continue;
        char *text = entry_text(X509_NAME_ENTRY_get_data(entry));
        if (!text)
            return false;
        if (nid == NID_organizationName) {
            push(&ret->organizations, &organizations, text);
        } else {
            free(ret->common_name);
            ret->common_name = text;
        }
    }
    if (!ret->common_name)
        ret->common_name = xstrdup("");
    return true;
}

/* "DNS:a", "IP:10.0.0.1", "URI:x" or "email:x"; NULL for other kinds and for NUL inside. */
static char *alt_name_text(const GENERAL_NAME *name)
{
    char address[INET6_ADDRSTRLEN];
    if (name->type == GEN_IPADD) {
        const ASN1_OCTET_STRING *ip = name->d.iPAddress;
        int family = ASN1_STRING_length(ip) == 4 ? AF_INET : AF_INET6;
        if (ASN1_STRING_length(ip) != (family == AF_INET ? 4 : 16) ||
            !inet_ntop(family, ASN1_STRING_get0_data(ip), address, sizeof(address)))
            return NULL;
        return str_format("IP:%s", address);
    }
    if (name->type != GEN_DNS && name->type != GEN_URI && name->type != GEN_EMAIL)
        return NULL;
    char *text = entry_text(name->d.ia5);
    if (!text)
        return NULL;
    const char *kind = name->type == GEN_DNS ? "DNS" : name->type == GEN_URI ? "URI" : "email";
    char *whole = str_format("%s:%s", kind, text);
    free(text);
    return whole;
}

static bool read_alt_names(X509_REQ *request, struct pki_request *ret)
{
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    size_t count = 0;
    bool ok = true;

    ret->alt_names = xcalloc(1, sizeof(char *));
    for (int i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
        char *text = alt_name_text(sk_GENERAL_NAME_value(names, i));
        ok = text;
        if (text)
            push(&ret->alt_names, &count, text);
    }
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return ok;
}

int pki_parse_request(const char *csr_pem, struct pki_request *ret, struct error *err)
{
    X509_REQ *request = read_request(csr_pem, err);
    struct pki_request parsed = {0};
    if (!request)
        return -(int)err->code;
    bool ok = read_subject(X509_REQ_get_subject_name(request), &parsed) &&
              read_alt_names(request, &parsed);
    X509_REQ_free(request);
    ERR_clear_error();
    if (!ok) {
        pki_request_done(&parsed);
        return error_set(err, ERR_BAD_REQUEST, "the request holds a name that can't be read");
    }
    *ret = parsed;
    return 0;
}

void pki_request_done(struct pki_request *r)
{
    for (char **p = r->organizations; p && *p; p++)
        free(*p);
    for (char **p = r->alt_names; p && *p; p++)
        free(*p);
    free(r->organizations);
    free(r->alt_names);
    free(r->common_name);
    *r = (struct pki_request){0};
}

/* Subject, key and alternative names of the request in a new certificate. */
static X509 *cert_for(X509_REQ *request, X509 *issuer, unsigned usage, int64_t valid_seconds)
{
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    int at = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);
    X509 *cert = pki_cert_begin(X509_REQ_get0_pubkey(request), 0, valid_seconds);
    bool ok = cert && X509_set_subject_name(cert, X509_REQ_get_subject_name(request)) &&
              pki_add_leaf_extensions(cert, issuer, usage) &&
              (at < 0 || X509_add_ext(cert, X509v3_get_ext(extensions, at), -1));
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

int pki_sign_request(const struct pki_pair *ca, const char *csr_pem, unsigned usage,
    int64_t valid_seconds, char **ret_cert_pem, struct error *err)
{
    struct pki_issuer issuer;
    int r = pki_issuer_load(ca, &issuer, err);
    if (r < 0)
        return r;
    X509_REQ *request = read_request(csr_pem, err);
    char *text = NULL;
    if (request) {
        X509 *cert = cert_for(request, issuer.cert, usage, valid_seconds);
        if (cert)
            text = pki_cert_finish(cert, issuer.cert, issuer.key, err);
        else
            pki_ssl_error(err, "making a certificate");
    }
    X509_REQ_free(request);
    pki_issuer_done(&issuer);
    if (!text)
        return -(int)err->code;
    *ret_cert_pem = text;
    return 0;
}
