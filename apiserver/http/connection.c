/*
 * A connection: socket and TLS, output with back-pressure, deadlines; what the bytes mean is h1.c's
 * and h2.c's.
 *
 * Output waits in one buffer. Generators are asked only while it holds less than
 * OUTPUT_ENOUGH_BYTES; above LIMIT_OUTPUT_BYTES (control frames of a peer that never reads) reading
 * stops as well. A peer that takes no byte of waiting output for LIMIT_BODY_STALL_NS is cut.
 */
#include "apiserver/http/internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

/* HTTP/1: bytes behind the current request that are read ahead. */
#define READ_AHEAD_BYTES (64u << 10)
#define TURN_READS 4

struct connection *connection_new(struct http *http, int fd, const char *peer)
{
    struct connection *c = xcalloc(1, sizeof(*c));

    c->fd = fd;
    c->ssl = tls_connection_new(http);
    if (!c->ssl)
        abort();
    SSL_set_fd(c->ssl, fd);
    SSL_set_accept_state(c->ssl);
    strbuf_init(&c->in, 0);
    strbuf_init(&c->out, 0);
    snprintf(c->peer, sizeof(c->peer), "%s", peer);
    return c;
}

static void set_socket_options(int fd)
{
    int on = 1, idle_s = 30, interval_s = 10, count = 3, user_timeout_ms = 60000;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
}

void connection_start(struct connection *c, struct loop *loop)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};

    c->loop = loop;
    c->prev = NULL;
    c->next = loop->connections;
    if (c->next)
        c->next->prev = c;
    loop->connections = c;
    set_socket_options(c->fd);
    c->epoll_events = event.events;
    c->deadline_ns = loop_now(loop) + LIMIT_HANDSHAKE_NS;
    loop_deadline(loop, c->deadline_ns);
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        connection_break(c);
}

void connection_break(struct connection *c)
{
    c->broken = true;
    loop_dirty(c);
}

static void leave_loop(struct connection *c)
{
    struct loop *loop = c->loop;

    if (c->prev)
        c->prev->next = c->next;
    else
        loop->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (c->dirty)
        for (struct connection **at = &loop->dirty; *at; at = &(*at)->dirty_next)
            if (*at == c) {
                *at = c->dirty_next;
                break;
            }
    __atomic_sub_fetch(&loop->load, 1, __ATOMIC_RELAXED);
}

void connection_free(struct connection *c)
{
    while (c->exchanges)
        exchange_free(c->exchanges);
    h1_free(c);
    h2_free(c);
    if (c->loop)
        leave_loop(c);
    if (c->address_count)
        __atomic_sub_fetch(c->address_count, 1, __ATOMIC_RELAXED);
    ERR_clear_error();
    SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    strbuf_done(&c->in);
    strbuf_done(&c->out);
    free(c->peer_common_name);
    free(c->peer_proxy_name);
    for (size_t i = 0; c->peer_organizations && c->peer_organizations[i]; i++)
        free((void *)(uintptr_t)c->peer_organizations[i]);
    free(c->peer_organizations);
    free(c);
}

/* --- epoll --- */

static void update_events(struct connection *c)
{
    uint32_t wanted = EPOLLRDHUP;

    if (!c->reading_stopped || c->tls_wants_read)
        wanted |= EPOLLIN;
    if (c->tls_wants_write)
        wanted |= EPOLLOUT;
    if (wanted == c->epoll_events)
        return;
    struct epoll_event event = {.events = wanted, .data.ptr = c};
    c->epoll_events = wanted;
    if (epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_MOD, c->fd, &event) < 0)
        connection_break(c);
}

/* What a failed SSL call wants; false: the connection is over. */
static bool tls_wants(struct connection *c, int result)
{
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        c->tls_wants_read = true;
        return true;
    case SSL_ERROR_WANT_WRITE:
        c->tls_wants_write = true;
        return true;
    default:
        ERR_clear_error();
        return false;
    }
}

/* --- input --- */

static void handshake(struct connection *c)
{
    c->tls_wants_read = c->tls_wants_write = false;
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r != 1) {
        if (!tls_wants(c, r))
            connection_break(c);
        return;
    }
    tls_peer(c);
    c->deadline_ns = 0;
    if (!tls_is_h2(c)) {
        c->state = CONN_H1;
        h1_start(c);
    } else {
        c->state = CONN_H2;
        c->read_ns = loop_now(c->loop);
        loop_deadline(c->loop, c->read_ns + IDLE_NS);
        if (h2_start(c) < 0)
            connection_break(c);
    }
    loop_dirty(c);
}

static bool may_read(const struct connection *c)
{
    if (c->broken || c->closing)
        return false;
    if (connection_queued(c) > LIMIT_OUTPUT_BYTES)
        return false;
    return c->state != CONN_H1 || c->in.n < READ_AHEAD_BYTES;
}

static void give(struct connection *c, struct str bytes)
{
    c->read_ns = loop_now(c->loop);
    if (c->state == CONN_H2) {
        h2_input(c, bytes);
    } else if (c->state == CONN_H1) {
        strbuf_add(&c->in, bytes);
        h1_input(c);
    } /* else lingering: thrown away */
}

static void read_some(struct connection *c)
{
    for (int i = 0; i < TURN_READS && (may_read(c) || c->state == CONN_LINGER); i++) {
        ERR_clear_error();
        c->tls_wants_read = false;
        int n = SSL_read(c->ssl, c->loop->buffer, READ_BYTES);
        if (n <= 0) {
            if (!tls_wants(c, n))
                connection_break(c);
            return;
        }
        give(c, str_range(c->loop->buffer, (size_t)n));
    }
    /* Bytes that TLS holds already raise no event. */
    if (SSL_pending(c->ssl) > 0)
        loop_dirty(c);
}

void connection_event(struct connection *c, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        connection_break(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE)
        handshake(c);
    if (c->state != CONN_HANDSHAKE && events & (EPOLLIN | EPOLLRDHUP))
        read_some(c);
    /* The peer has closed, and there is nothing left to read of it. */
    if (events & EPOLLRDHUP && c->reading_stopped)
        connection_break(c);
    loop_dirty(c);
}

/* --- output --- */

/* Sends what waits. false: the connection is over. */
static bool flush(struct connection *c)
{
    c->tls_wants_write = false;
    while (connection_queued(c) > 0) {
        ERR_clear_error();
        int n = SSL_write(c->ssl, c->out.data + c->out_start, (int)connection_queued(c));
        if (n <= 0)
            return tls_wants(c, n);
        c->out_start += (size_t)n;
        c->write_progress_ns = loop_now(c->loop);
    }
    c->out_start = 0;
    loop_take_back(&c->loop->spare_out, &c->out);
    return true;
}

static void produce(struct connection *c)
{
    if (c->out_start > OUTPUT_ENOUGH_BYTES) {
        strbuf_remove_front(&c->out, c->out_start);
        c->out_start = 0;
    }
    loop_lend(&c->loop->spare_out, &c->out);
    if (c->state == CONN_H2)
        h2_produce(c);
    else if (c->state == CONN_H1)
        h1_produce(c);
}

/* All is sent that will be: says goodbye, and reads on for a moment so that the peer gets it. */
static void linger(struct connection *c)
{
    ERR_clear_error();
    SSL_shutdown(c->ssl);
    ERR_clear_error();
    shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    c->closing = false;
    c->deadline_ns = loop_now(c->loop) + LINGER_NS;
    loop_deadline(c->loop, c->deadline_ns);
}

static bool is_over(const struct connection *c)
{
    if (connection_queued(c) > 0 || c->state == CONN_LINGER)
        return false;
    return c->state == CONN_H2 ? h2_is_over(c) : c->closing && !c->exchanges;
}

/* 101 is sent: socket, TLS and request go to the one who knows what comes now. */
static void hand_over(struct connection *c, struct exchange *x)
{
    struct request *q = x->q;
    struct taken_connection taken = {.fd = c->fd, .ssl = c->ssl, .in = c->in};

    epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    c->fd = -1;
    c->ssl = NULL;
    strbuf_init(&c->in, 0);
    x->q = NULL;
    request_detach(q);
    connection_free(c);
    q->upgrade(q, &taken);
}

void connection_output(struct connection *c)
{
    int64_t until_ns = loop_now(c->loop) + TURN_NS;

    while (!c->broken && (c->state == CONN_H1 || c->state == CONN_H2)) {
        size_t before = connection_queued(c);
        produce(c);
        bool had = connection_queued(c) > 0;
        if (before == 0 && had)
            c->write_progress_ns = loop_now(c->loop);
        if (!flush(c))
            c->broken = true;
        if (!had || c->tls_wants_write)
            break;
        if (loop_now(c->loop) > until_ns) {
            loop_dirty(c);
            break;
        }
    }
    if (c->broken) {
        connection_free(c);
        return;
    }
    if (c->state == CONN_H1 && h1_upgraded(c) && connection_queued(c) == 0) {
        hand_over(c, h1_upgraded(c));
        return;
    }
    if (is_over(c))
        linger(c);
    if (c->tls_wants_write)
        loop_deadline(c->loop, c->write_progress_ns + LIMIT_BODY_STALL_NS);
    c->reading_stopped = c->state != CONN_HANDSHAKE && c->state != CONN_LINGER && !may_read(c);
    update_events(c);
    if (!c->reading_stopped && c->state != CONN_HANDSHAKE && SSL_pending(c->ssl) > 0) {
        read_some(c);
        loop_dirty(c);
    }
}

/* --- time --- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* An exchange's next deadline; what has passed is acted on. */
static int64_t sweep_exchange(struct exchange *x, int64_t now_ns)
{
    struct request *q = x->q;

    if (!x->head_sent && q) {
        if (!x->body_done) {
            int64_t until_ns = exchange_body_deadline(x);
            if (now_ns < until_ns)
                return until_ns;
            exchange_refuse(x, ERR_TIMEOUT, "Timeout: the body of the request stopped coming");
            return INT64_MAX;
        }
        if (now_ns < q->deadline_ns)
            return q->deadline_ns;
        request_time_out(q);
        loop_run_later(x->c->loop, x);
        return INT64_MAX;
    }
    /* A stream whose window stays shut while it has something to say, or whose unwanted body does
     * not end. */
    if (x->c->state == CONN_H2 && x->head_sent && (x->out.n > x->out_start || !x->body_done)) {
        if (now_ns < x->progress_ns + 2 * LIMIT_BODY_STALL_NS)
            return x->progress_ns + 2 * LIMIT_BODY_STALL_NS;
        h2_reset(x);
    }
    return INT64_MAX;
}

int64_t connection_sweep(struct connection *c, int64_t now_ns)
{
    int64_t next = INT64_MAX;

    if (c->deadline_ns > 0) {
        if (now_ns >= c->deadline_ns) {
            connection_break(c);
            return INT64_MAX;
        }
        next = c->deadline_ns;
    }
    if (connection_queued(c) > 0) {
        if (now_ns >= c->write_progress_ns + LIMIT_BODY_STALL_NS) {
            connection_break(c);
            return INT64_MAX;
        }
        next = earlier(next, c->write_progress_ns + LIMIT_BODY_STALL_NS);
    }
    if (c->state == CONN_H2 && !c->exchanges) {
        if (now_ns >= c->read_ns + IDLE_NS && !c->said_goodbye) {
            c->said_goodbye = true;
            h2_drain(c);
            loop_dirty(c);
            return next;
        }
        next = earlier(next, c->read_ns + IDLE_NS);
    }
    for (struct exchange *x = c->exchanges, *following; x; x = following) {
        following = x->next;
        next = earlier(next, sweep_exchange(x, now_ns));
    }
    return next;
}

void connection_drain(struct connection *c)
{
    if (c->state == CONN_H2)
        h2_drain(c);
    else if (c->state == CONN_H1)
        c->closing = true;
    else if (c->state == CONN_HANDSHAKE)
        c->broken = true;
    for (struct exchange *x = c->exchanges; x; x = x->next)
        loop_run_later(c->loop, x);
    loop_dirty(c);
}
