/*
 * The server as a whole: the listening socket, the acceptor, the loops. See http.h.
 *
 * The acceptor is a thread of its own, so a busy loop does not delay new connections. Out of
 * descriptors, it waits a moment and leaves them in the kernel's queue.
 */
#include "apiserver/http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file_watch.h"
#include "common/log.h"

#define BACKLOG 1024
#define LOOPS_MAX 16

static int listen_on(const struct http_config *config, int *ret, struct error *err)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM},
                    *found;
    char port[8];
    int on = 1, off = 0;

    snprintf(port, sizeof(port), "%d", config->port);
    if (getaddrinfo(config->address, port, &hints, &found) != 0)
        return error_set(
            err, ERR_USAGE, "--bind-address: \"%s\" is no IP address", config->address);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r = fd < 0 ? -1 : 0;
    if (r == 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (r == 0 && found->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (r == 0)
        r = bind(fd, found->ai_addr, found->ai_addrlen);
    if (r == 0)
        r = listen(fd, BACKLOG);
    int why = errno;
    freeaddrinfo(found);
    if (r == 0) {
        *ret = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    return error_sys(err, why, "listen on %s port %d", config->address, config->port);
}

static int port_of(int fd)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof(at);

    if (getsockname(fd, (struct sockaddr *)&at, &n) < 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port);
}

static void print_peer(const struct sockaddr_storage *from, char *buf, size_t n)
{
    char address[INET6_ADDRSTRLEN] = "";

    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        inet_ntop(AF_INET, &v4->sin_addr, address, sizeof(address));
        snprintf(buf, n, "%s:%d", address, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        inet_ntop(AF_INET6, &v6->sin6_addr, address, sizeof(address));
        snprintf(buf, n, "[%s]:%d", address, ntohs(v6->sin6_port));
    }
}

static size_t load_of(const struct loop *loop)
{
    return __atomic_load_n(&loop->load, __ATOMIC_RELAXED);
}

static struct loop *least_loaded(struct http *h, size_t *ret_total)
{
    struct loop *best = &h->loops[0];

    *ret_total = 0;
    for (size_t i = 0; i < h->loop_count; i++) {
        *ret_total += load_of(&h->loops[i]);
        if (load_of(&h->loops[i]) < load_of(best))
            best = &h->loops[i];
    }
    return best;
}

static size_t *count_of_address(struct http *h, const struct sockaddr_storage *from)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    struct str bytes = from->ss_family == AF_INET6
                           ? str_range((const char *)&v6->sin6_addr, sizeof(v6->sin6_addr))
                           : str_range((const char *)&((const struct sockaddr_in *)from)->sin_addr,
                                 sizeof(struct in_addr));
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < bytes.n; i++)
        hash = (hash ^ (uint8_t)bytes.p[i]) * 16777619u;
    return &h->address_counts[hash % ADDRESS_COUNTERS];
}

/* false: nothing more to accept now. */
static bool accept_one(struct http *h)
{
    struct sockaddr_storage from;
    socklen_t n = sizeof(from);
    char peer[64];
    size_t total;
    int fd = accept4(h->listen_fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        int why = errno;
        if (why == EMFILE || why == ENFILE || why == ENOMEM) {
            log_warning("no descriptor for a new connection, waiting", NULL);
            env_sleep_ns(h->env, 100 * NS_PER_MS);
        }
        return why == EINTR || why == ECONNABORTED;
    }
    struct loop *loop = least_loaded(h, &total);
    size_t *of_address = count_of_address(h, &from);
    print_peer(&from, peer, sizeof(peer));
    if (total >= CONNECTIONS_MAX ||
        __atomic_load_n(of_address, __ATOMIC_RELAXED) >= CONNECTIONS_OF_ADDRESS_MAX) {
        log_warning("too many connections, refusing one", "peer", "%s", peer, NULL);
        close(fd);
        return true;
    }
    struct connection *c = connection_new(h, fd, peer);
    c->address_count = of_address;
    __atomic_add_fetch(of_address, 1, __ATOMIC_RELAXED);
    loop_add(loop, c);
    return true;
}

static void *acceptor_main(void *arg)
{
    struct http *h = arg;
    struct pollfd fds[] = {
        {.fd = h->listen_fd, .events = POLLIN}, {.fd = h->stop_fd, .events = POLLIN}};

    for (;;) {
        int n = poll(fds, 2, -1);
        if (fds[1].revents)
            return NULL;
        if (n > 0)
            while (accept_one(h))
                ;
    }
}

static void stop_acceptor(struct http *h)
{
    uint64_t one = 1;

    if (!h->acceptor_runs)
        return;
    h->acceptor_runs = false;
    if (write(h->stop_fd, &one, sizeof(one)) > 0)
        pthread_join(h->acceptor, NULL);
    close(h->listen_fd);
    h->listen_fd = -1;
}

static int start_threads(struct http *h, struct error *err)
{
    for (size_t i = 0; i < h->loop_count; i++) {
        if (loop_start(&h->loops[i], h, err) < 0)
            return -(int)err->code;
        h->loops_started++;
    }
    int r = pthread_create(&h->acceptor, NULL, acceptor_main, h);
    if (r != 0)
        return error_sys(err, r, "acceptor thread");
    h->acceptor_runs = true;
    return 0;
}

int http_new(const struct http_config *config, struct http **ret, struct error *err)
{
    struct http *h = xcalloc(1, sizeof(*h));

    h->config = *config;
    h->env = config->server->env;
    h->listen_fd = -1;
    env_lock_init(&h->tls_lock);
    h->stop_fd = eventfd(0, EFD_CLOEXEC);
    h->loop_count = config->loops < 1           ? 1
                    : config->loops > LOOPS_MAX ? LOOPS_MAX
                                                : (size_t)config->loops;
    h->loops = xcalloc(h->loop_count, sizeof(*h->loops));
    if (tls_context_new(config, &h->tls, err) < 0 || listen_on(config, &h->listen_fd, err) < 0) {
        http_free(h);
        return -(int)err->code;
    }
    h->port = port_of(h->listen_fd);
    if (start_threads(h, err) < 0) {
        http_free(h);
        return -(int)err->code;
    }
    tls_watch_files(h);
    *ret = h;
    return 0;
}

int http_port(const struct http *h)
{
    return h->port;
}

void http_drain(struct http *h)
{
    int64_t until_ns = env_now_ns(h->env) + DRAIN_NS;
    size_t total = 1;

    stop_acceptor(h);
    for (size_t i = 0; i < h->loop_count; i++)
        loop_ask_drain(&h->loops[i]);
    while (total > 0 && env_now_ns(h->env) < until_ns) {
        least_loaded(h, &total);
        if (total > 0)
            env_sleep_ns(h->env, 5 * NS_PER_MS);
    }
}

void http_free(struct http *h)
{
    if (!h)
        return;
    stop_acceptor(h);
    for (size_t i = 0; i < h->loops_started; i++)
        loop_stop(&h->loops[i]);
    if (h->listen_fd >= 0)
        close(h->listen_fd);
    close(h->stop_fd);
    file_watch_free(h->tls_watch);
    SSL_CTX_free(h->tls);
    env_lock_done(&h->tls_lock);
    free(h->loops);
    free(h);
}
