/*
 * A server connection of common/httpd: non-blocking socket, TLS by OpenSSL, deadlines; see
 * httpd_conn.h.
 */
#include "common/httpd_conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/httpd.h"
#include "common/time.h"

#define LINGER_NS NS_PER_S
#define LINGER_BYTES (256u << 10)
#define WRITE_BYTES (64u << 10)

void conn_init(struct conn *c, struct env *env, int take_fd, int stop_fd)
{
    *c = (struct conn){.env = env, .fd = take_fd, .stop_fd = stop_fd};
    env_lock_init(&c->io_lock);
    strbuf_init(&c->in, 0);
}

void conn_done(struct conn *c)
{
    if (c->ssl) {
        ERR_clear_error();
        SSL_shutdown(c->ssl); /* close_notify, if there is room; the answer isn't awaited */
        SSL_free(c->ssl);
    }
    ERR_clear_error();
    if (c->fd >= 0)
        close(c->fd);
    strbuf_done(&c->in);
    free(c->peer_name);
    free(c->peer_groups);
    env_lock_done(&c->io_lock);
}

static int poll_timeout(struct conn *c, int64_t deadline_ns)
{
    if (deadline_ns == ENV_FOREVER)
        return -1;
    int64_t left = deadline_ns - env_now_ns(c->env);
    if (left <= 0)
        return 0;
    left = (left + NS_PER_MS - 1) / NS_PER_MS;
    return left < 1000000 ? (int)left : 1000000;
}

static int wait_for(struct conn *c, short events, int64_t deadline_ns, struct error *err)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = c->fd, .events = events}, {.fd = c->stop_fd, .events = POLLIN}};
        int n = poll(fds, 2, poll_timeout(c, deadline_ns));
        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "poll");
        if (n > 0 && fds[1].revents)
            return error_set(err, ERR_CANCELLED, "the server stops");
        if (n > 0)
            return 0;
        if (deadline_ns != ENV_FOREVER && env_now_ns(c->env) >= deadline_ns)
            return error_set(err, ERR_TIMEOUT, "the client is too slow");
    }
}

/* What an SSL call's result asks for: POLLIN, POLLOUT, 0 for a clean end, or -1. */
static int tls_wants(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return -1;
    }
}

/* One non-blocking try: bytes moved, or 0 with *wants as above. */
static size_t try_read(struct conn *c, void *buf, size_t n, int *wants)
{
    if (!c->ssl) {
        ssize_t got = recv(c->fd, buf, n, 0);
        if (got < 0)
            *wants = errno == EAGAIN || errno == EINTR ? POLLIN : -1;
        else
            *wants = 0;
        return got > 0 ? (size_t)got : 0;
    }
    size_t got = 0;
    env_lock(c->env, &c->io_lock);
    ERR_clear_error();
    int result = SSL_read_ex(c->ssl, buf, n, &got);
    if (result <= 0)
        *wants = tls_wants(c->ssl, result);
    env_unlock(c->env, &c->io_lock);
    return result > 0 ? got : 0;
}

static size_t try_write(struct conn *c, struct str bytes, int *wants)
{
    size_t n = bytes.n < WRITE_BYTES ? bytes.n : WRITE_BYTES;

    if (!c->ssl) {
        ssize_t put = send(c->fd, bytes.p, n, MSG_NOSIGNAL);
        if (put < 0)
            *wants = errno == EAGAIN || errno == EINTR ? POLLOUT : -1;
        return put > 0 ? (size_t)put : 0;
    }
    size_t put = 0;
    env_lock(c->env, &c->io_lock);
    ERR_clear_error();
    int result = SSL_write_ex(c->ssl, bytes.p, n, &put);
    if (result <= 0)
        *wants = tls_wants(c->ssl, result);
    env_unlock(c->env, &c->io_lock);
    return result > 0 ? put : 0;
}

static ssize_t moved(size_t n, int wants)
{
    if (n > 0)
        return (ssize_t)n;
    return wants == 0 ? 0 : wants > 0 ? HTTPD_RAW_WAIT : HTTPD_RAW_BROKEN;
}

ssize_t conn_try_read(struct conn *c, void *buf, size_t n)
{
    int wants = 0;
    size_t got = try_read(c, buf, n, &wants);

    return moved(got, wants);
}

ssize_t conn_try_write(struct conn *c, struct str bytes)
{
    int wants = -1;
    size_t put = try_write(c, bytes, &wants);

    return moved(put, wants == 0 ? -1 : wants);
}

ssize_t conn_read(struct conn *c, void *buf, size_t n, int64_t deadline_ns, struct error *err)
{
    for (;;) {
        int wants = 0;
        size_t got = try_read(c, buf, n, &wants);
        if (got > 0)
            return (ssize_t)got;
        if (wants == 0)
            return 0;
        if (wants < 0)
            return error_set(err, ERR_CLOSED, "the client closed the connection");
        if (wait_for(c, (short)wants, deadline_ns, err) < 0)
            return -(ssize_t)err->code;
    }
}

ssize_t conn_fill(struct conn *c, size_t n, int64_t deadline_ns, struct error *err)
{
    bool is_empty = c->in.capacity == 0 && !(c->ssl && SSL_has_pending(c->ssl));

    if (is_empty &&
        wait_for(c, POLLIN, deadline_ns, err) < 0) /* an idle connection holds no buffer */
        return -(ssize_t)err->code;
    ssize_t got = conn_read(c, strbuf_reserve(&c->in, n), n, deadline_ns, err);
    if (got > 0)
        strbuf_commit(&c->in, (size_t)got);
    return got;
}

int conn_write(struct conn *c, struct str bytes, int64_t stall_ns, struct error *err)
{
    while (bytes.n > 0) {
        int wants = -1;
        size_t put = try_write(c, bytes, &wants);
        bytes = (struct str){bytes.p + put, bytes.n - put};
        if (put > 0)
            continue;
        if (wants <= 0)
            return error_set(err, ERR_CLOSED, "the client closed the connection");
        if (wait_for(c, (short)wants, env_now_ns(c->env) + stall_ns, err) < 0)
            return -err->code;
    }
    return 0;
}

bool conn_is_gone(struct conn *c)
{
    struct pollfd fds[] = {
        {.fd = c->fd, .events = POLLIN | POLLRDHUP}, {.fd = c->stop_fd, .events = POLLIN}};
    char byte;

    if (poll(fds, 2, 0) <= 0)
        return false;
    if (fds[1].revents || fds[0].revents & (POLLERR | POLLHUP | POLLRDHUP))
        return true;
    if (!(fds[0].revents & POLLIN))
        return false;
    if (!c->ssl)
        return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    env_lock(c->env, &c->io_lock);
    ERR_clear_error();
    int result = SSL_peek(c->ssl, &byte, 1);
    bool gone = result <= 0 && tls_wants(c->ssl, result) <= 0;
    env_unlock(c->env, &c->io_lock);
    return gone;
}

bool conn_is_buffered(struct conn *c)
{
    if (c->in.n > 0)
        return true;
    if (!c->ssl)
        return false;
    env_lock(c->env, &c->io_lock);
    bool pending = SSL_pending(c->ssl) > 0;
    env_unlock(c->env, &c->io_lock);
    return pending;
}

void conn_linger(struct conn *c)
{
    char buf[2048];
    struct error err;
    size_t total = 0;
    int64_t deadline_ns = env_now_ns(c->env) + LINGER_NS;

    if (c->ssl) {
        ERR_clear_error();
        SSL_shutdown(c->ssl);
    }
    shutdown(c->fd, SHUT_WR);
    while (total < LINGER_BYTES && wait_for(c, POLLIN, deadline_ns, &err) == 0) {
        ssize_t got = recv(c->fd, buf, sizeof(buf), 0);
        if (got <= 0)
            break;
        total += (size_t)got;
    }
}

/* ---- TLS ---- */

/* CN, or the O values joined by ','. NULL when there is none, or one holds a NUL or a ','. */
static char *subject_text(X509 *cert, int nid)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    struct strbuf text = STRBUF_EMPTY;

    for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, nid, i)) >= 0;) {
        unsigned char *utf8 = NULL;
        int n =
            ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
        bool is_bad = n < 0 || memchr(utf8, '\0', (size_t)n) ||
                      (nid == NID_organizationName && memchr(utf8, ',', (size_t)n));
        if (!is_bad) {
            if (text.n > 0)
                strbuf_add_char(&text, ',');
            strbuf_add(&text, (struct str){(char *)utf8, (size_t)n});
        }
        OPENSSL_free(utf8);
        if (is_bad) {
            strbuf_done(&text);
            return NULL;
        }
        if (nid == NID_commonName)
            break;
    }
    return text.n > 0 ? strbuf_steal(&text) : NULL;
}

static void read_peer(struct conn *c)
{
    X509 *cert = SSL_get0_peer_certificate(c->ssl);

    if (!cert || SSL_get_verify_result(c->ssl) != X509_V_OK)
        return;
    c->peer_name = subject_text(cert, NID_commonName);
    c->peer_groups = subject_text(cert, NID_organizationName);
}

int conn_handshake(struct conn *c, SSL_CTX *tls, int64_t deadline_ns, struct error *err)
{
    c->ssl = SSL_new(tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd))
        return error_set(err, ERR_SYSTEM, "TLS connection");
    for (;;) {
        ERR_clear_error();
        int result = SSL_accept(c->ssl);
        if (result == 1)
            break;
        int wants = tls_wants(c->ssl, result);
        if (wants <= 0) {
            unsigned long code = ERR_peek_error();
            const char *why = code ? ERR_reason_error_string(code) : NULL;
            ERR_clear_error();
            return error_set(err, ERR_CLOSED, "TLS handshake: %s", why ? why : "connection closed");
        }
        if (wait_for(c, (short)wants, deadline_ns, err) < 0)
            return error_wrap(err, "TLS handshake");
    }
    read_peer(c);
    return 0;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
    const unsigned char *in, unsigned in_n, void *arg)
{
    static const unsigned char http1[] = "\x08http/1.1";

    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_n, http1, sizeof(http1) - 1, in,
            in_n) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_NOACK;
}

static int tls_error(struct error *err, const char *what, const char *path)
{
    unsigned long code = ERR_peek_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return error_set(err, ERR_SYSTEM, "%s %s: %s", what, path, why ? why : "can't be used");
}

static int load_files(SSL_CTX *tls, const char *cert_file, const char *key_file,
    const char *client_ca_file, struct error *err)
{
    if (SSL_CTX_use_certificate_chain_file(tls, cert_file) != 1)
        return tls_error(err, "certificate", cert_file);
    if (SSL_CTX_use_PrivateKey_file(tls, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1)
        return tls_error(err, "key", key_file);
    if (!client_ca_file)
        return 0;
    if (SSL_CTX_load_verify_file(tls, client_ca_file) != 1)
        return tls_error(err, "client CA", client_ca_file);
    SSL_CTX_set_client_CA_list(tls, SSL_load_client_CA_file(client_ca_file));
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    return 0;
}

int tls_server_context(const struct httpd_config *config, SSL_CTX **ret, struct error *err)
{
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls)
        return error_set(err, ERR_SYSTEM, "TLS context");
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(tls, 0);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(tls, choose_protocol, NULL);
    if (tls_settings_apply(tls, &config->tls, err) < 0 ||
        load_files(tls, config->cert_file, config->key_file, config->client_ca_file, err) < 0) {
        SSL_CTX_free(tls);
        return -err->code;
    }
    *ret = tls;
    return 0;
}
