/*
 * Inside of the PKI modules: OpenSSL objects from PEM texts and back. Pointers are the caller's to
 * free.
 */
#pragma once

#include <openssl/err.h>

#include <openssl/x509.h>

#include "common/pki.h"

struct pki_issuer {
    X509 *cert;
    EVP_PKEY *key;
};

int pki_ssl_error(
    struct error *err, const char *what); /* with OpenSSL's reason; empties its queue */
char *pki_bio_text(BIO *bio);
EVP_PKEY *pki_read_key(const char *pem, struct error *err);
X509 *pki_read_cert(const char *pem, struct error *err);
int pki_issuer_load(const struct pki_pair *ca, struct pki_issuer *ret, struct error *err);
void pki_issuer_done(struct pki_issuer *issuer);

bool pki_set_name(X509_NAME *name, const char *common_name, const char *const *organizations);
X509_EXTENSION *pki_alt_names(const char *const *names, struct error *err);
X509 *pki_cert_begin(EVP_PKEY *key, int64_t not_before_ns, int64_t valid_seconds);
bool pki_add_leaf_extensions(X509 *cert, X509 *issuer, unsigned usage);
char *pki_cert_finish(X509 *cert, X509 *issuer, EVP_PKEY *issuer_key, struct error *err);
