/* Certificates: what comes out verifies under the CA and carries the names; bad requests are
 * refused. */
#include "common/pki.h"

#include <CUnit/CUnit.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/time.h"

static const char *const groups[] = {"system:nodes", "more", NULL};
static const char *const alts[] = {"DNS:n1.example", "IP:10.0.0.7", "IP:fd00::7", NULL};
static const struct pki_subject subject = {
    .common_name = "system:node:n1",
    .organizations = groups,
    .alt_names = alts,
    .usage = PKI_SERVER | PKI_CLIENT,
    .valid_seconds = 3600,
};

static X509 *read_cert(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return cert;
}

/* OpenSSL's verdict on a certificate as a TLS server's or client's, under this CA alone. */
static bool verifies(const char *ca_pem, const char *cert_pem, int purpose)
{
    X509 *ca = read_cert(ca_pem), *cert = read_cert(cert_pem);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(context, store, cert, NULL);
    X509_STORE_CTX_set_purpose(context, purpose);
    bool ok = X509_verify_cert(context) == 1;
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    X509_free(ca);
    X509_free(cert);
    return ok;
}

static bool has_host(const char *cert_pem, const char *host, const char *address)
{
    X509 *cert = read_cert(cert_pem);
    bool ok =
        X509_check_host(cert, host, 0, 0, NULL) == 1 && X509_check_ip_asc(cert, address, 0) == 1;
    X509_free(cert);
    return ok;
}

static int64_t seconds_left(const char *cert_pem)
{
    struct error err;
    struct timespec now;
    int64_t until = 0;
    CU_ASSERT_EQUAL(pki_cert_expiry(cert_pem, &until, &err), 0);
    clock_gettime(CLOCK_REALTIME, &now);
    return until / NS_PER_S - now.tv_sec;
}

static void leaves(void)
{
    struct pki_pair ca, other, leaf;
    struct error err;
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("skiff-ca", 86400, &ca, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("skiff-ca", 86400, &other, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_cert(&ca, &subject, &leaf, &err), 0);
    CU_ASSERT(verifies(ca.cert_pem, leaf.cert_pem, X509_PURPOSE_SSL_SERVER));
    CU_ASSERT(verifies(ca.cert_pem, leaf.cert_pem, X509_PURPOSE_SSL_CLIENT));
    CU_ASSERT(!verifies(other.cert_pem, leaf.cert_pem, X509_PURPOSE_SSL_CLIENT));
    CU_ASSERT(has_host(leaf.cert_pem, "n1.example", "fd00::7"));
    int64_t left = seconds_left(leaf.cert_pem);
    CU_ASSERT(left > 3500 && left <= 3600);
    struct pki_subject client = subject;
    client.usage = PKI_CLIENT;
    pki_pair_done(&leaf);
    CU_ASSERT_EQUAL_FATAL(pki_new_cert(&ca, &client, &leaf, &err), 0);
    CU_ASSERT(!verifies(ca.cert_pem, leaf.cert_pem, X509_PURPOSE_SSL_SERVER));
    static const char *const bad[] = {"IP:1.2.3", NULL};
    client.alt_names = bad;
    struct pki_pair unused;
    CU_ASSERT_EQUAL(pki_new_cert(&ca, &client, &unused, &err), -ERR_BAD_REQUEST);
    pki_pair_done(&leaf);
    pki_pair_done(&other);
    pki_pair_done(&ca);
}

static void requests(void)
{
    struct pki_pair ca;
    struct pki_request parsed;
    struct error err;
    autofree char *key = NULL, *csr = NULL, *cert = NULL;
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("skiff-ca", 86400, &ca, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_key(&key, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_request(key, &subject, &csr, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_parse_request(csr, &parsed, &err), 0);
    CU_ASSERT_STRING_EQUAL(parsed.common_name, "system:node:n1");
    CU_ASSERT_STRING_EQUAL(parsed.organizations[1], "more");
    CU_ASSERT_PTR_NULL(parsed.organizations[2]);
    CU_ASSERT_STRING_EQUAL(parsed.alt_names[2], "IP:fd00::7");
    CU_ASSERT_PTR_NULL(parsed.alt_names[3]);
    pki_request_done(&parsed);
    CU_ASSERT_EQUAL_FATAL(pki_sign_request(&ca, csr, PKI_SERVER, 100, &cert, &err), 0);
    CU_ASSERT(verifies(ca.cert_pem, cert, X509_PURPOSE_SSL_SERVER));
    CU_ASSERT(!verifies(ca.cert_pem, cert, X509_PURPOSE_SSL_CLIENT));
    CU_ASSERT(has_host(cert, "n1.example", "10.0.0.7"));
    CU_ASSERT(seconds_left(cert) <= 100);
    CU_ASSERT_EQUAL(pki_parse_request("nonsense", &parsed, &err), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(pki_parse_request(ca.cert_pem, &parsed, &err), -ERR_BAD_REQUEST);
    struct pki_subject nobody = {0};
    free(csr);
    csr = NULL;
    CU_ASSERT_EQUAL_FATAL(pki_new_request(key, &nobody, &csr, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_parse_request(csr, &parsed, &err), 0);
    CU_ASSERT_STRING_EQUAL(parsed.common_name, "");
    CU_ASSERT_PTR_NULL(parsed.organizations[0]);
    pki_request_done(&parsed);
    pki_pair_done(&ca);
}

static void hashes_and_keys(void)
{
    struct pki_pair ca;
    struct error err;
    autofree char *hash = NULL, *again = NULL, *public_key = NULL, *none = NULL;
    int64_t until;
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("skiff-ca", 86400, &ca, &err), 0);
    CU_ASSERT_EQUAL(pki_cert_hash(ca.cert_pem, &hash, &err), 0);
    CU_ASSERT_EQUAL(pki_cert_hash(ca.cert_pem, &again, &err), 0);
    CU_ASSERT_STRING_EQUAL(hash, again);
    CU_ASSERT_EQUAL(strlen(hash), strlen("sha256:") + 64);
    CU_ASSERT_EQUAL(pki_public_key(ca.key_pem, &public_key, &err), 0);
    CU_ASSERT(!strncmp(public_key, "-----BEGIN PUBLIC KEY-----", 26));
    CU_ASSERT(pki_public_key("nonsense", &none, &err) < 0);
    CU_ASSERT(pki_cert_hash(ca.key_pem, &none, &err) < 0);
    CU_ASSERT(pki_cert_expiry("", &until, &err) < 0);
    pki_pair_done(&ca);
}

const CU_TestInfo pki_tests[] = {
    {"leaves", leaves},
    {"requests", requests},
    {"hashes and keys", hashes_and_keys},
    CU_TEST_INFO_NULL,
};
