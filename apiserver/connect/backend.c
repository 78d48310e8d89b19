/*
 * Connections to backends, and the wires a tunnel is made of: sockets that don't block, with TLS or
 * without.
 *
 * Two contexts: the one for kubelets verifies the certificate against the kubelets' CA and the
 * address, and shows our client certificate; the other, for https pods, does neither, as upstream.
 *
 * Threads: any; a wire belongs to one task.
 */
#include "apiserver/connect/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/server.h"
#include "common/log.h"
#include "common/time.h"

#define READ_BYTES (16u << 10)

struct backend_tls {
    pthread_mutex_t lock;
    const struct server_config *config;
    SSL_CTX *kubelets, *others;
    struct timespec read_at; /* the certificate file's time */
    ino_t inode;
};

/* --- wires --- */

/* What an SSL call's failure means. */
static ssize_t wire_wants(SSL *ssl, int result)
{
    int why = SSL_get_error(ssl, result);

    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return WIRE_WAIT;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : WIRE_BROKEN;
}

ssize_t wire_read(struct wire *w, void *buf, size_t n)
{
    size_t got = 0;

    if (!w->ssl) {
        ssize_t r = recv(w->fd, buf, n, 0);
        return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? WIRE_WAIT : WIRE_BROKEN;
    }
    ERR_clear_error();
    int r = SSL_read_ex(w->ssl, buf, n, &got);
    return r > 0 ? (ssize_t)got : wire_wants(w->ssl, r);
}

ssize_t wire_write(struct wire *w, struct str bytes)
{
    size_t put = 0;

    if (!w->ssl) {
        ssize_t r = send(w->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? WIRE_WAIT : WIRE_BROKEN;
    }
    ERR_clear_error();
    int r = SSL_write_ex(w->ssl, bytes.p, bytes.n, &put);
    if (r > 0)
        return (ssize_t)put;
    ssize_t why = wire_wants(w->ssl, r);
    return why == 0 ? WIRE_BROKEN : why;
}

bool wire_pending(struct wire *w)
{
    return w->ssl && SSL_pending(w->ssl) > 0;
}

void wire_finish(struct wire *w)
{
    if (w->ssl) {
        ERR_clear_error();
        SSL_shutdown(w->ssl);
        ERR_clear_error();
    }
    shutdown(w->fd, SHUT_WR);
}

void wire_close(struct wire *w)
{
    if (w->ssl) {
        ERR_clear_error();
        SSL_shutdown(w->ssl);
        SSL_free(w->ssl);
        ERR_clear_error();
    }
    if (w->fd >= 0)
        close(w->fd);
    *w = (struct wire){.fd = -1};
}

/* --- contexts --- */

static int tls_error(struct error *err, const char *what, const char *file)
{
    unsigned long code = ERR_peek_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return error_set(err, ERR_SYSTEM, "%s %s: %s", what, file, why ? why : "can't be used");
}

static SSL_CTX *context_new(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx)
        abort();
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(
        ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return ctx;
}

static int kubelet_context(const struct server_config *c, SSL_CTX **ret, struct error *err)
{
    SSL_CTX *ctx = context_new();
    int r = 0;

    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, c->kubelet_client_cert) != 1)
        r = tls_error(err, "--kubelet-client-certificate", c->kubelet_client_cert);
    else if (SSL_CTX_use_PrivateKey_file(ctx, c->kubelet_client_key, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(ctx) != 1)
        r = tls_error(err, "--kubelet-client-key", c->kubelet_client_key);
    else if (c->kubelet_ca && *c->kubelet_ca ? SSL_CTX_load_verify_file(ctx, c->kubelet_ca) != 1
                                             : SSL_CTX_set_default_verify_paths(ctx) != 1)
        r = tls_error(err, "--kubelet-certificate-authority", c->kubelet_ca ? c->kubelet_ca : "");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (r < 0)
        SSL_CTX_free(ctx);
    else
        *ret = ctx;
    return r;
}

int backend_tls_new(const struct server_config *config, struct backend_tls **ret, struct error *err)
{
    struct backend_tls *t = xcalloc(1, sizeof(*t));
    struct stat st;

    pthread_mutex_init(&t->lock, NULL);
    t->config = config;
    t->others = context_new();
    if (config->kubelet_client_cert && *config->kubelet_client_cert) {
        if (kubelet_context(config, &t->kubelets, err) < 0) {
            backend_tls_free(t);
            return -err->code;
        }
        if (stat(config->kubelet_client_cert, &st) == 0) {
            t->read_at = st.st_mtim;
            t->inode = st.st_ino;
        }
    }
    *ret = t;
    return 0;
}

void backend_tls_free(struct backend_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->kubelets);
    SSL_CTX_free(t->others);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

bool backend_reaches_kubelets(const struct backend_tls *t)
{
    return t->config->kubelet_client_cert && *t->config->kubelet_client_cert;
}

/* A certificate that was renewed is read again; one that can't be read leaves the old in use. */
static void refresh(struct backend_tls *t)
{
    struct stat st;
    struct error err;
    SSL_CTX *ctx;

    if (stat(t->config->kubelet_client_cert, &st) < 0 ||
        (st.st_ino == t->inode && st.st_mtim.tv_sec == t->read_at.tv_sec &&
            st.st_mtim.tv_nsec == t->read_at.tv_nsec))
        return;
    if (kubelet_context(t->config, &ctx, &err) < 0) {
        log_warning("client certificate for the kubelets can't be read again, keeping the old one",
            "error", "%s", err.text, NULL);
        return;
    }
    SSL_CTX_free(t->kubelets);
    t->kubelets = ctx;
    t->read_at = st.st_mtim;
    t->inode = st.st_ino;
}

static SSL *new_ssl(struct backend_tls *t, const struct location *to, int fd)
{
    pthread_mutex_lock(&t->lock);
    if (to->kubelet)
        refresh(t);
    SSL *ssl = SSL_new(to->kubelet ? t->kubelets : t->others);
    pthread_mutex_unlock(&t->lock);
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        abort();
    if (to->kubelet && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), to->address) != 1)
        abort(); /* it is a literal */
    SSL_set_connect_state(ssl);
    return ssl;
}

/* --- opening --- */

static int wait_for(
    struct nodes *nodes, int fd, short events, int wake_fd, int64_t deadline_ns, struct error *err)
{
    struct env *env = nodes->server->env;

    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = wake_fd, .events = POLLIN}};
        int64_t left = deadline_ns == ENV_FOREVER ? 3600 * NS_PER_S : deadline_ns - env_now_ns(env);
        if (left <= 0)
            return error_set(err, ERR_TIMEOUT, "i/o timeout");
        int n = poll(fds, 2, (int)(left / NS_PER_MS) + 1);
        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "poll");
        if (n > 0 && fds[1].revents)
            return error_set(err, ERR_CANCELLED, "cancelled");
        if (n > 0)
            return 0;
    }
}

/* errno in Go's words, which clients show */
static int dial_error(struct error *err, const struct location *to, const char *call, int code)
{
    autostrbuf struct strbuf host = STRBUF_EMPTY;
    const char *why = code == ECONNREFUSED   ? "connection refused"
                      : code == EHOSTUNREACH ? "no route to host"
                      : code == ENETUNREACH  ? "network is unreachable"
                      : code == ETIMEDOUT    ? "connection timed out"
                                             : strerror(code);

    location_add_host(to, &host);
    return error_set(err, ERR_UNAVAILABLE, "dial tcp %s: %s: %s", host.data, call, why);
}

static int dial(struct nodes *nodes, const struct location *to, int wake_fd, int64_t deadline_ns,
    int *ret_fd, struct error *err)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)to->port)};
    bool is_v4 = inet_pton(AF_INET, to->address, &v4.sin_addr) == 1;
    int code = 0;
    socklen_t n = sizeof(code);

    if (!is_v4 && inet_pton(AF_INET6, to->address, &v6.sin6_addr) != 1)
        return error_set(err, ERR_INTERNAL, "\"%s\" is no address", to->address);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return dial_error(err, to, "socket", errno);
    int r = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                  : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    code = r < 0 ? errno : 0;
    if (code == EINPROGRESS) {
        if (wait_for(nodes, fd, POLLOUT, wake_fd, deadline_ns, err) < 0) {
            close(fd);
            return -err->code;
        }
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n);
    }
    if (code) {
        close(fd);
        return dial_error(err, to, "connect", code);
    }
    *ret_fd = fd;
    return 0;
}

static void keep_alive(int fd)
{
    int on = 1, idle_s = 30, interval_s = 10, count = 3;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static int handshake_error(SSL *ssl, struct error *err)
{
    long verified = SSL_get_verify_result(ssl);
    unsigned long code = ERR_peek_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    if (verified != X509_V_OK)
        why = X509_verify_cert_error_string(verified);
    return error_set(err, ERR_UNAVAILABLE, "tls: %s", why ? why : "connection closed");
}

static int handshake(
    struct nodes *nodes, struct wire *w, int wake_fd, int64_t deadline_ns, struct error *err)
{
    for (;;) {
        ERR_clear_error();
        int r = SSL_do_handshake(w->ssl);
        if (r == 1)
            return 0;
        int why = SSL_get_error(w->ssl, r);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return handshake_error(w->ssl, err);
        short events = why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
        if (wait_for(nodes, w->fd, events, wake_fd, deadline_ns, err) < 0)
            return -err->code;
    }
}

int backend_open(struct nodes *nodes, const struct location *to, int wake_fd, int64_t deadline_ns,
    struct wire *ret, struct error *err)
{
    struct wire w = {.fd = -1};

    if (dial(nodes, to, wake_fd, deadline_ns, &w.fd, err) < 0)
        return -err->code;
    keep_alive(w.fd);
    if (to->tls) {
        w.ssl = new_ssl(nodes->tls, to, w.fd);
        if (handshake(nodes, &w, wake_fd, deadline_ns, err) < 0) {
            wire_close(&w);
            return -err->code;
        }
    }
    *ret = w;
    return 0;
}

int backend_send(struct nodes *nodes, struct wire *w, struct str bytes, int wake_fd,
    int64_t deadline_ns, struct error *err)
{
    while (bytes.n > 0) {
        ssize_t n = wire_write(w, bytes);
        if (n > 0)
            bytes = str_range(bytes.p + n, bytes.n - (size_t)n);
        else if (n == WIRE_BROKEN)
            return error_set(err, ERR_CLOSED, "write: connection reset by peer");
        else if (wait_for(nodes, w->fd, POLLOUT, wake_fd, deadline_ns, err) < 0)
            return -err->code;
    }
    return 0;
}

ssize_t backend_read(struct nodes *nodes, struct wire *w, struct strbuf *out, int wake_fd,
    int64_t deadline_ns, struct error *err)
{
    for (;;) {
        ssize_t n = wire_read(w, strbuf_reserve(out, READ_BYTES), READ_BYTES);
        if (n >= 0) {
            strbuf_commit(out, (size_t)n);
            return n;
        }
        if (n == WIRE_BROKEN)
            return error_set(err, ERR_CLOSED, "read: connection reset by peer");
        if (wait_for(nodes, w->fd, POLLIN, wake_fd, deadline_ns, err) < 0)
            return -(ssize_t)err->code;
    }
}
