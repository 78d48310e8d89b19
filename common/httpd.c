/*
 * The HTTPS server of common/httpd.h: listening socket, acceptor, one task a connection.
 *
 * Certificates are read again when their file changes, for new connections. The acceptor also joins
 * tasks that ended (they poke it through wake_fd). `stop_fd` becomes readable at the stop and stays
 * so; every wait of every connection polls it.
 */
#include "common/httpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_watch.h"
#include "common/httpd_request.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/time.h"

#define CONNECTIONS_MAX 64
/* Beyond the maximum so many are told 503; the rest are closed at once. */
#define REFUSALS_MAX 8
#define OUT_OF_DESCRIPTORS_MS 100

struct connection {
    struct connection *next;
    struct httpd *server;
    struct task *task;
    struct conn conn;
    SSL_CTX *tls; /* a reference, or NULL */
    bool refuse;
    bool done; /* guarded by the server's lock */
};

struct httpd {
    struct env *env;
    struct httpd_config config; /* its strings are copies */
    int listen_fd, stop_fd, wake_fd;
    int port;
    SSL_CTX *tls;              /* the acceptor's, as are those below */
    struct file_look looks[3]; /* at the files, when they were read */
    struct connection *connections;
    size_t count;
    struct task *task;
    struct lock lock;
};

static void serve(void *arg)
{
    struct connection *c = arg;
    struct httpd *h = c->server;
    struct error err;
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    if (c->tls &&
        conn_handshake(&c->conn, c->tls, env_now_ns(h->env) + LIMIT_HANDSHAKE_NS, &err) < 0)
        log_debug("connection dropped", "error", "%s", err.text, NULL);
    else if (c->refuse)
        httpd_refuse(&c->conn, 503, "too many connections, please try again later");
    else
        httpd_serve(&h->config, &c->conn);
    conn_done(&c->conn);
    SSL_CTX_free(c->tls);
    env_lock(h->env, &h->lock);
    c->done = true;
    env_unlock(h->env, &h->lock);
    eventfd_write(h->wake_fd, 1);
}

static void look_at_files(const struct httpd *h, struct file_look looks[3])
{
    const char *const files[] = {h->config.cert_file, h->config.key_file, h->config.client_ca_file};

    for (size_t i = 0; i < ARRAY_COUNT(files); i++)
        file_look(files[i], &looks[i]);
}

/* Reads certificate, key and client CA again when one of the files changed; what can't be read
 * leaves the old in use. */
static void refresh_tls(struct httpd *h)
{
    struct file_look looks[3];
    struct error err;
    SSL_CTX *tls;

    if (!h->tls)
        return;
    look_at_files(h, looks);
    if (memcmp(looks, h->looks, sizeof(looks)) == 0)
        return;
    if (tls_server_context(&h->config, &tls, &err) < 0) {
        log_warning(
            "certificate can't be read again, keeping the old one", "error", "%s", err.text, NULL);
        return;
    }
    SSL_CTX_free(h->tls);
    h->tls = tls;
    memcpy(h->looks, looks, sizeof(looks));
}

static void add_connection(struct httpd *h, int take_fd)
{
    if (h->count >= h->config.connections_max + REFUSALS_MAX) {
        close(take_fd);
        return;
    }
    refresh_tls(h);
    struct connection *c = xcalloc(1, sizeof(*c));
    c->server = h;
    c->refuse = h->count >= h->config.connections_max;
    c->tls = h->tls;
    if (c->tls)
        SSL_CTX_up_ref(c->tls);
    setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(take_fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    conn_init(&c->conn, h->env, take_fd, h->stop_fd);
    c->next = h->connections;
    h->connections = c;
    h->count++;
    c->task = env_spawn(h->env, "httpd", serve, c);
}

/* Joins the tasks that ended, or all. */
static void reap(struct httpd *h, bool all)
{
    for (struct connection **at = &h->connections; *at;) {
        struct connection *c = *at;
        env_lock(h->env, &h->lock);
        bool done = c->done;
        env_unlock(h->env, &h->lock);
        if (!done && !all) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        h->count--;
        env_join(h->env, c->task);
        free(c);
    }
}

static void accept_run(void *arg)
{
    struct httpd *h = arg;
    bool is_full = false;

    for (;;) {
        eventfd_t count;
        struct pollfd fds[] = {{.fd = h->stop_fd, .events = POLLIN},
            {.fd = h->wake_fd, .events = POLLIN}, {.fd = h->listen_fd, .events = POLLIN}};
        if (poll(fds, is_full ? 2 : 3, is_full ? OUT_OF_DESCRIPTORS_MS : -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            break;
        if (fds[1].revents)
            eventfd_read(h->wake_fd, &count);
        reap(h, false);
        int fd = accept4(h->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        is_full =
            fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS);
        if (is_full)
            log_warning(
                "can't accept a connection, retrying", "error", "%s", strerror(errno), NULL);
        if (fd >= 0)
            add_connection(h, fd);
    }
    reap(h, true);
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static int bind_socket(struct httpd *h, const struct addrinfo *info, struct error *err)
{
    struct sockaddr_storage bound;
    socklen_t n = sizeof(bound);
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";

    getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), port, sizeof(port),
        NI_NUMERICHOST | NI_NUMERICSERV);
    if (!h->config.cert_file && !is_loopback(info->ai_addr))
        return error_set(err, ERR_USAGE, "plain HTTP is served on loopback only, not on %s", host);
    h->listen_fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (h->listen_fd < 0)
        return error_sys(err, errno, "socket");
    setsockopt(h->listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (info->ai_family == AF_INET6)
        setsockopt(h->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(h->listen_fd, info->ai_addr, info->ai_addrlen) < 0 || listen(h->listen_fd, 128) < 0)
        return error_sys(err, errno, "listen on %s port %s", host, port);
    getsockname(h->listen_fd, (struct sockaddr *)&bound, &n);
    h->port = ntohs(bound.ss_family == AF_INET ? ((struct sockaddr_in *)&bound)->sin_port
                                               : ((struct sockaddr_in6 *)&bound)->sin6_port);
    return 0;
}

static int listen_on(struct httpd *h, struct error *err)
{
    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *info;
    char port[16];

    snprintf(port, sizeof(port), "%d", h->config.port);
    int failed = getaddrinfo(h->config.address, port, &hints, &info);
    if (failed)
        return error_set(err, ERR_USAGE, "\"%s\" is not an address to listen on: %s",
            h->config.address, gai_strerror(failed));
    int result = bind_socket(h, info, err);
    freeaddrinfo(info);
    return result;
}

static int open_all(struct httpd *h, struct error *err)
{
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->stop_fd < 0 || h->wake_fd < 0)
        return error_sys(err, errno, "eventfd");
    if (h->config.cert_file) {
        look_at_files(h, h->looks);
        if (tls_server_context(&h->config, &h->tls, err) < 0)
            return -err->code;
    }
    return listen_on(h, err);
}

static const char *copy_of(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

int httpd_new(
    struct env *env, const struct httpd_config *config, struct httpd **ret, struct error *err)
{
    struct httpd *h = xcalloc(1, sizeof(*h));

    h->env = env;
    h->config = *config;
    if (h->config.connections_max == 0)
        h->config.connections_max = CONNECTIONS_MAX;
    h->config.address = xstrdup(config->address);
    h->config.cert_file = copy_of(config->cert_file);
    h->config.key_file = copy_of(config->key_file);
    h->config.client_ca_file = copy_of(config->client_ca_file);
    h->config.tls.min_version = copy_of(config->tls.min_version);
    h->config.tls.cipher_suites = copy_of(config->tls.cipher_suites);
    h->listen_fd = h->stop_fd = h->wake_fd = -1;
    env_lock_init(&h->lock);
    if (open_all(h, err) < 0) {
        httpd_free(h);
        return -err->code;
    }
    h->task = env_spawn(env, "httpd-accept", accept_run, h);
    *ret = h;
    return 0;
}

void httpd_free(struct httpd *h)
{
    if (!h)
        return;
    if (h->task) {
        eventfd_write(h->stop_fd, 1);
        env_join(h->env, h->task);
    }
    if (h->listen_fd >= 0)
        close(h->listen_fd);
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    if (h->wake_fd >= 0)
        close(h->wake_fd);
    SSL_CTX_free(h->tls);
    free((char *)(uintptr_t)h->config.address);
    free((char *)(uintptr_t)h->config.cert_file);
    free((char *)(uintptr_t)h->config.key_file);
    free((char *)(uintptr_t)h->config.client_ca_file);
    free((char *)(uintptr_t)h->config.tls.min_version);
    free((char *)(uintptr_t)h->config.tls.cipher_suites);
    env_lock_done(&h->lock);
    free(h);
}

int httpd_port(const struct httpd *h)
{
    return h->port;
}
