/*
 * TLS: the server's context, ALPN, and who the peer is.
 *
 * A client certificate is asked for, not demanded. One that does not verify is noted and the
 * handshake goes on, so that the request gets a 401 that says so. No session tickets or cache: they
 * would keep client certificates out of sight, and cost memory.
 */
#include "apiserver/http/internal.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include "common/file_watch.h"
#include "common/log.h"

#define ORGANIZATIONS_MAX 64

static int tls_error(struct error *err, const char *what, const char *file)
{
    char text[160];
    unsigned long code = ERR_get_error();

    ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return error_set(err, ERR_SYSTEM, "%s %s: %s", what, file ? file : "", code ? text : "unknown");
}

static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
    const unsigned char *in, unsigned in_n, void *arg)
{
    static const unsigned char offered[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, out_n, offered, sizeof(offered) - 1, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A bad certificate is looked at in tls_peer(). */
static int let_pass(int ok, X509_STORE_CTX *store)
{
    return 1;
}

static int use_pem(SSL_CTX *ctx, const struct http_config *config, struct error *err)
{
    BIO *cert_bio = BIO_new_mem_buf(config->cert_pem, -1);
    BIO *key_bio = BIO_new_mem_buf(config->key_pem, -1);
    X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    bool ok = cert && key && SSL_CTX_use_certificate(ctx, cert) == 1 &&
              SSL_CTX_use_PrivateKey(ctx, key) == 1;

    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    return ok ? 0 : tls_error(err, "serving certificate", NULL);
}

static int use_certificate(SSL_CTX *ctx, const struct http_config *config, struct error *err)
{
    if (!config->cert_file)
        return use_pem(ctx, config, err);
    if (SSL_CTX_use_certificate_chain_file(ctx, config->cert_file) != 1)
        return tls_error(err, "--tls-cert-file", config->cert_file);
    if (SSL_CTX_use_PrivateKey_file(ctx, config->key_file, SSL_FILETYPE_PEM) != 1)
        return tls_error(err, "--tls-private-key-file", config->key_file);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return tls_error(err, "the key does not belong to the certificate:", config->key_file);
    return 0;
}

static int use_client_ca(SSL_CTX *ctx, const struct http_config *config, struct error *err)
{
    if (!config->client_ca_file || !*config->client_ca_file)
        return 0;
    if (SSL_CTX_load_verify_locations(ctx, config->client_ca_file, NULL) != 1)
        return tls_error(err, "--client-ca-file", config->client_ca_file);
    SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(config->client_ca_file));
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, let_pass);
    SSL_CTX_set_verify_depth(ctx, 5);
    return 0;
}

/* The proxies' CA goes with the context. */
static int proxies_index = -1;

static void free_proxies(
    void *parent, void *store, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    X509_STORE_free(store);
}

static int use_proxy_ca(SSL_CTX *ctx, const struct http_config *config, struct error *err)
{
    const char *file = config->proxy_ca_file;

    if (!file || !*file)
        return 0;
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (X509_STORE_load_locations(store, file, NULL) != 1 || !names) {
        X509_STORE_free(store);
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tls_error(err, "--requestheader-client-ca-file", file);
    }
    if (proxies_index < 0)
        proxies_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_proxies);
    SSL_CTX_set_ex_data(ctx, proxies_index, store);
    for (int i = 0; i < sk_X509_NAME_num(names); i++) {
        X509 *holder = X509_new();
        X509_set_subject_name(holder, sk_X509_NAME_value(names, i));
        SSL_CTX_add_client_CA(ctx, holder);
        X509_free(holder);
    }
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, let_pass);
    return 0;
}

int tls_context_new(const struct http_config *config, SSL_CTX **ret, struct error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (!ctx)
        return tls_error(err, "TLS", NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(ctx, select_protocol, NULL);
    if (tls_settings_apply(ctx, &config->tls, err) < 0 || use_certificate(ctx, config, err) < 0 ||
        use_client_ca(ctx, config, err) < 0 || use_proxy_ca(ctx, config, err) < 0) {
        SSL_CTX_free(ctx);
        return -(int)err->code;
    }
    *ret = ctx;
    return 0;
}

SSL *tls_connection_new(struct http *h)
{
    env_lock(h->env, &h->tls_lock);
    SSL *ssl = SSL_new(h->tls); /* with a reference to the context */

    env_unlock(h->env, &h->tls_lock);
    return ssl;
}

static void read_again(void *arg)
{
    struct http *h = arg;
    struct error err;
    SSL_CTX *fresh;

    if (tls_context_new(&h->config, &fresh, &err) < 0) {
        log_warning(
            "certificate can't be read again, keeping the old one", "error", "%s", err.text, NULL);
        return;
    }
    env_lock(h->env, &h->tls_lock);
    SSL_CTX *old = h->tls;

    h->tls = fresh;
    env_unlock(h->env, &h->tls_lock);
    SSL_CTX_free(old);
    log_info("certificate and client CA read again", NULL);
}

void tls_watch_files(struct http *h)
{
    const struct http_config *c = &h->config;
    const char *paths[4] = {NULL};
    size_t n = 0;

    if (c->cert_file) {
        paths[n++] = c->cert_file;
        paths[n++] = c->key_file;
    }
    if (c->client_ca_file && *c->client_ca_file)
        paths[n++] = c->client_ca_file;
    if (n > 0)
        h->tls_watch = file_watch_new(h->env, paths, read_again, h);
}

/* One attribute as heap text; NULL when it holds a NUL or isn't text. */
static char *attribute(X509_NAME_ENTRY *entry)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
    char *text = NULL;

    if (n >= 0 && !memchr(utf8, 0, (size_t)n))
        text = str_dup(str_range((const char *)utf8, (size_t)n));
    OPENSSL_free(utf8);
    return text;
}

static void read_subject(struct connection *c, X509 *cert)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    size_t organizations = 0;

    c->peer_organizations = xcalloc(ORGANIZATIONS_MAX + 1, sizeof(char *));
    for (int i = 0; i < X509_NAME_entry_count(subject); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        if (nid == NID_commonName && !c->peer_common_name)
            c->peer_common_name = attribute(entry);
        else if (nid == NID_organizationName && organizations < ORGANIZATIONS_MAX) {
            char *text = attribute(entry);
            if (text)
                c->peer_organizations[organizations++] = text;
        }
    }
}

static bool is_of_proxy(struct connection *c, X509 *cert)
{
    X509_STORE *store =
        proxies_index < 0 ? NULL : SSL_CTX_get_ex_data(SSL_get_SSL_CTX(c->ssl), proxies_index);
    X509_STORE_CTX *check = store ? X509_STORE_CTX_new() : NULL;

    if (!check)
        return false;
    bool good = X509_STORE_CTX_init(check, store, cert, SSL_get_peer_cert_chain(c->ssl)) == 1 &&
                X509_STORE_CTX_set_default(check, "ssl_client") == 1 &&
                X509_verify_cert(check) == 1;
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return good;
}

static char *common_name(X509 *cert)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    return at < 0 ? NULL : attribute(X509_NAME_get_entry(subject, at));
}

void tls_peer(struct connection *c)
{
    X509 *cert = SSL_get1_peer_certificate(c->ssl);

    if (!cert)
        return;
    if (is_of_proxy(c, cert))
        c->peer_proxy_name = common_name(cert);
    if (SSL_get_verify_result(c->ssl) == X509_V_OK)
        read_subject(c, cert);
    else
        c->peer_certificate_bad = true;
    X509_free(cert);
}

bool tls_is_h2(const struct connection *c)
{
    const unsigned char *protocol;
    unsigned n;

    SSL_get0_alpn_selected(c->ssl, &protocol, &n);
    return n == 2 && memcmp(protocol, "h2", 2) == 0;
}
