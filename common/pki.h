/*
 * Keys and certificates (P-256, SHA-256): CAs, leaf certificates, signing requests, PEM files.
 *
 * Used by skiffctl up, the CSR signer and the kubelet. Files holding keys are written 0600,
 * atomically. PEM strings are heap, NUL-terminated. Times are seconds from now. Threads: any.
 */
#pragma once

#include "common/str.h"

struct pki_pair {
    char *cert_pem, *key_pem;
};
void pki_pair_done(struct pki_pair *pair);

enum pki_usage { PKI_SERVER = 1, PKI_CLIENT = 2 };

struct pki_subject {
    const char *common_name;
    const char *const *organizations; /* NULL ended, or NULL */
    const char *const *alt_names;     /* "DNS:a", "IP:10.0.0.1"; NULL ended, or NULL */
    unsigned usage;                   /* enum pki_usage */
    int64_t valid_seconds;
    int64_t not_before_ns; /* since the epoch; 0 means five minutes ago */
};

int pki_new_ca(
    const char *common_name, int64_t valid_seconds, struct pki_pair *ret, struct error *err);
int pki_new_cert(const struct pki_pair *ca, const struct pki_subject *subject, struct pki_pair *ret,
    struct error *err);
int pki_new_key(char **ret_key_pem, struct error *err);
int pki_public_key(const char *key_pem, char **ret_public_pem, struct error *err);
int pki_new_request(
    const char *key_pem, const struct pki_subject *subject, char **ret_csr_pem, struct error *err);

/* What a request asks for, checked against its own signature. */
struct pki_request {
    char *common_name;
    char **organizations; /* NULL ended */
    char **alt_names;     /* as above; NULL ended */
};
int pki_parse_request(const char *csr_pem, struct pki_request *ret, struct error *err);
void pki_request_done(struct pki_request *r);
/* Signs a request's key and names; usage and validity are the signer's. */
int pki_sign_request(const struct pki_pair *ca, const char *csr_pem, unsigned usage,
    int64_t valid_seconds, char **ret_cert_pem, struct error *err);

int pki_cert_expiry(const char *cert_pem, int64_t *ret_not_after_ns, struct error *err);
/* "sha256:<hex>" of the certificate's public key (--ca-hash, as kubeadm). */
int pki_cert_hash(const char *cert_pem, char **ret, struct error *err);
