/*
 * Server: sockets, requests and their answers. See server.h.
 *
 * A request that the zone can answer is answered on the stack; one that needs an upstream lives in
 * a struct request until the forwarder calls back, which it always does unless its TCP connection
 * went away.
 */
#include "dns/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/time.h"

#define QUERY_BYTES_MAX 4096
#define CONNECTIONS_MAX 128
#define QUESTIONS_MAX 32
#define IDLE_NS (10 * NS_PER_S)
#define DATAGRAMS_A_TURN 64
#define OUTPUT_BYTES_MAX (256u << 10)

static const struct metric_info requests = {
    "coredns_dns_requests_total", METRIC_COUNTER, "DNS queries, by transport.", {"proto"}};
static const struct metric_info responses = {
    "coredns_dns_responses_total", METRIC_COUNTER, "DNS answers, by code.", {"rcode"}};

struct connection {
    struct server *server;
    int fd;
    struct watch *watch;
    struct strbuf in, out;
    unsigned questions; /* under way upstream */
    bool handling;      /* in handle_stream, which must not be entered twice */
    int64_t active_ns;
    struct connection *previous, *next;
};

struct peer {
    struct connection *connection; /* NULL: a datagram */
    struct sockaddr_storage address;
    socklen_t bytes;
    struct in_pktinfo to; /* which of our addresses it came to */
    bool has_to;
};

struct request {
    struct server *server;
    struct peer peer;
    struct dns_query query;
    bool chase;           /* the forwarder resolves the target of our CNAME */
    struct request *next; /* of its connection's requests: see drop_requests() */
};

struct server {
    struct env *env;
    struct loop *loop;
    struct metrics *metrics;
    const struct zone *zone;
    struct forwarder *forwarder;
    int udp_fd, tcp_fd, port;
    struct watch *udp_watch, *tcp_watch;
    struct connection *connections;
    size_t connection_count;
    struct request *waiting; /* all requests at the forwarder */
    struct strbuf out;       /* the answer under way */
};

static void close_connection(struct connection *c);

static size_t answer_limit(const struct peer *peer, const struct dns_query *query)
{
    return peer->connection ? 65535 : query->udp_bytes;
}

static void send_datagram(struct server *s, const struct peer *peer, struct str message)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)message.p, .iov_len = message.n};
    struct msghdr m = {.msg_name = (void *)&peer->address,
        .msg_namelen = peer->bytes,
        .msg_iov = &iov,
        .msg_iovlen = 1};

    if (peer->has_to) {
        struct in_pktinfo from = {.ipi_spec_dst = peer->to.ipi_spec_dst};
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        control.head.cmsg_level = IPPROTO_IP;
        control.head.cmsg_type = IP_PKTINFO;
        control.head.cmsg_len = CMSG_LEN(sizeof(from));
        memcpy(CMSG_DATA(&control.head), &from, sizeof(from));
    }
    if (sendmsg(s->udp_fd, &m, MSG_NOSIGNAL) < 0)
        log_debug("answer not sent, the client will ask again", "errno", "%d", errno, NULL);
}

static void flush_connection(struct connection *c)
{
    while (c->out.n) {
        ssize_t n = send(c->fd, c->out.data, c->out.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* full, or gone: reading will tell */
        strbuf_remove_front(&c->out, (size_t)n);
    }
    bool room = c->questions < QUESTIONS_MAX && c->out.n < OUTPUT_BYTES_MAX;
    loop_change(c->server->loop, c->watch, (room ? EPOLLIN : 0u) | (c->out.n ? EPOLLOUT : 0u));
}

static void send_answer(struct server *s, const struct peer *peer, struct str message)
{
    static const char *const names[] = {
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
    unsigned rcode = message.p[3] & 15u;

    metric_add(s->metrics, &responses, 1, rcode < ARRAY_COUNT(names) ? names[rcode] : "other");
    if (!peer->connection) {
        send_datagram(s, peer, message);
        return;
    }
    struct connection *c = peer->connection;
    strbuf_add_char(&c->out, (char)(message.n >> 8));
    strbuf_add_char(&c->out, (char)message.n);
    strbuf_add(&c->out, message);
    c->active_ns = loop_now_ns(s->loop);
    flush_connection(c);
}

static void begin(struct server *s, const struct peer *peer, const struct dns_query *query,
    struct dns_writer *w, int rcode)
{
    strbuf_clear(&s->out);
    dns_writer_begin(w, &s->out, answer_limit(peer, query), query, DNS_RA, rcode);
}

static void finish(struct server *s, const struct peer *peer, struct dns_writer *w)
{
    dns_writer_end(w);
    send_answer(s, peer, strbuf_str(&s->out));
}

static void send_code(
    struct server *s, const struct peer *peer, const struct dns_query *query, int rcode)
{
    struct dns_writer w;

    begin(s, peer, query, &w, rcode);
    finish(s, peer, &w);
}

/* The upstream's message with the client's id and spelling, cut to what the client takes. */
static void send_upstream(struct server *s, const struct request *r, struct str answer)
{
    struct dns_writer w;

    if (answer.n < 12u + r->query.name.n) {
        send_code(s, &r->peer, &r->query, DNS_SERVFAIL);
        return;
    }
    if (answer.n > answer_limit(&r->peer, &r->query)) {
        begin(s, &r->peer, &r->query, &w, DNS_NOERROR);
        w.truncated = true;
        finish(s, &r->peer, &w);
        return;
    }
    strbuf_clear(&s->out);
    strbuf_add(&s->out, answer);
    s->out.data[0] = (char)(r->query.id >> 8);
    s->out.data[1] = (char)r->query.id;
    memcpy(s->out.data + 12, r->query.name.data, r->query.name.n);
    send_answer(s, &r->peer, strbuf_str(&s->out));
}

static void copy_record(struct dns_writer *w, struct str message, const struct dns_record *r)
{
    struct dns_name target;
    size_t pos = r->data_at;

    if (r->class_ != DNS_IN)
        return;
    if (r->type == DNS_A && r->data.n == 4)
        dns_put_a(w, &r->owner, r->ttl, (const uint8_t *)r->data.p);
    else if (r->type == DNS_AAAA && r->data.n == 16)
        dns_put_aaaa(w, &r->owner, r->ttl, (const uint8_t *)r->data.p);
    else if (r->type == DNS_CNAME && dns_name_parse(message, &pos, &target) == 0)
        dns_put_name(w, &r->owner, DNS_CNAME, r->ttl, &target);
}

/* Our CNAME, then what the upstream knows of its target. */
static void send_chased(struct server *s, const struct request *r, struct str answer)
{
    struct dns_writer w;
    struct dns_name target;
    struct dns_answer a;
    struct dns_record record;

    begin(s, &r->peer, &r->query, &w, DNS_NOERROR);
    if (zone_answer(s->zone, &r->query, env_random(s->env), &w, &target) != ZONE_CHASE) {
        finish(s, &r->peer, &w); /* the Service changed meanwhile */
        return;
    }
    if (dns_answer_parse(answer, &a) < 0) {
        w.rcode = DNS_SERVFAIL;
    } else {
        size_t pos = a.records_at;
        w.rcode = a.flags & 15;
        for (unsigned i = 0; i < a.counts[DNS_ANSWER]; i++)
            if (dns_record_parse(answer, &pos, &record) == 0)
                copy_record(&w, answer, &record);
    }
    finish(s, &r->peer, &w);
}

static void forget_request(struct server *s, struct request *r)
{
    struct request **at = &s->waiting;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free(r);
}

static bool handle_stream(struct connection *c);

static void on_upstream(void *arg, struct str answer)
{
    struct request *r = arg;
    struct server *s = r->server;
    struct connection *c = r->peer.connection;

    if (c)
        c->questions--;
    if (r->chase)
        send_chased(s, r, answer);
    else
        send_upstream(s, r, answer);
    forget_request(s, r);
    if (c && !handle_stream(c)) /* questions that waited for their turn */
        close_connection(c);
}

static void ask_upstream(struct server *s, const struct peer *peer, const struct dns_query *query,
    const struct dns_name *target)
{
    struct request *r = xmalloc(sizeof(*r));
    struct dns_query q = *query;

    *r = (struct request){
        .server = s, .peer = *peer, .query = *query, .chase = target != NULL, .next = s->waiting};
    s->waiting = r;
    if (target)
        q.name = *target;
    if (peer->connection)
        peer->connection->questions++;
    forwarder_ask(s->forwarder, &q, peer->connection != NULL, on_upstream, r);
}

static void handle(struct server *s, const struct peer *peer, struct str message)
{
    struct dns_query query;
    struct dns_writer w;
    struct dns_name target;
    int rcode = dns_query_parse(message, &query);

    if (rcode < 0)
        return;
    metric_add(s->metrics, &requests, 1, peer->connection ? "tcp" : "udp");
    if (!rcode && (query.class_ != DNS_IN || query.type == DNS_AXFR || query.type == DNS_IXFR))
        rcode = DNS_REFUSED;
    if (rcode) {
        send_code(s, peer, &query, rcode);
        return;
    }
    begin(s, peer, &query, &w, DNS_NOERROR);
    switch (zone_answer(s->zone, &query, env_random(s->env), &w, &target)) {
    case ZONE_DONE:
        finish(s, peer, &w);
        break;
    case ZONE_CHASE:
        ask_upstream(s, peer, &query, &target);
        break;
    case ZONE_FOREIGN:
        ask_upstream(s, peer, &query, NULL);
        break;
    }
}

static void on_datagram(void *arg, uint32_t events)
{
    struct server *s = arg;
    char buf[QUERY_BYTES_MAX];

    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        union {
            struct cmsghdr head;
            char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
        } control;
        struct peer peer = {.bytes = sizeof(peer.address)};
        struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
        struct msghdr m = {.msg_name = &peer.address,
            .msg_namelen = sizeof(peer.address),
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = &control,
            .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(s->udp_fd, &m, 0);
        if (n < 0)
            return;
        peer.bytes = m.msg_namelen;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                memcpy(&peer.to, CMSG_DATA(c), sizeof(peer.to));
                peer.has_to = true;
            }
        if (!(m.msg_flags & MSG_TRUNC))
            handle(s, &peer, str_range(buf, (size_t)n));
    }
}

/* Handles the whole queries that have arrived; false when the connection is to be closed. */
static bool handle_stream(struct connection *c)
{
    struct peer peer = {.connection = c};
    bool valid = true;

    if (c->handling)
        return true;
    c->handling = true;
    while (c->in.n >= 2 && c->questions < QUESTIONS_MAX) {
        size_t n = (size_t)((uint8_t)c->in.data[0] << 8 | (uint8_t)c->in.data[1]);
        valid = n <= QUERY_BYTES_MAX;
        if (!valid || c->in.n < 2 + n)
            break;
        handle(c->server, &peer, str_range(c->in.data + 2, n));
        strbuf_remove_front(&c->in, 2 + n);
    }
    c->handling = false;
    return valid;
}

static void on_connection(void *arg, uint32_t events)
{
    struct connection *c = arg;

    if (events & EPOLLOUT)
        flush_connection(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        char *room = strbuf_reserve(&c->in, QUERY_BYTES_MAX);
        ssize_t n = room ? recv(c->fd, room, QUERY_BYTES_MAX, 0) : 0;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close_connection(c);
            return;
        }
        strbuf_commit(&c->in, (size_t)n);
        c->active_ns = loop_now_ns(c->server->loop);
    }
    if (!handle_stream(c))
        close_connection(c);
    else
        flush_connection(c);
}

/* Requests of a connection that goes away: nobody waits for their answers. */
static void drop_requests(struct server *s, const struct connection *c)
{
    struct request **at = &s->waiting;

    while (*at) {
        struct request *r = *at;
        if (r->peer.connection != c) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        forwarder_cancel(s->forwarder, r);
        free(r);
    }
}

static void close_connection(struct connection *c)
{
    struct server *s = c->server;

    drop_requests(s, c);
    loop_unwatch(s->loop, c->watch);
    close(c->fd);
    if (c->previous)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    s->connection_count--;
    strbuf_done(&c->in);
    strbuf_done(&c->out);
    free(c);
}

static void on_accept(void *arg, uint32_t events)
{
    struct server *s = arg;
    int fd = accept4(s->tcp_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    if (s->connection_count >= CONNECTIONS_MAX) {
        close(fd);
        return;
    }
    struct connection *c = xcalloc(1, sizeof(*c));
    c->server = s;
    c->fd = fd;
    c->active_ns = loop_now_ns(s->loop);
    strbuf_init(&c->in, 4 * QUERY_BYTES_MAX);
    strbuf_init(&c->out, 0);
    c->next = s->connections;
    if (c->next)
        c->next->previous = c;
    s->connections = c;
    s->connection_count++;
    c->watch = loop_watch(s->loop, fd, EPOLLIN, on_connection, c);
}

static int64_t tick(void *arg, int64_t now_ns)
{
    struct server *s = arg;
    int64_t next_ns = ENV_FOREVER;

    for (struct connection *c = s->connections, *next; c; c = next) {
        next = c->next;
        if (c->active_ns + IDLE_NS <= now_ns)
            close_connection(c);
        else if (c->active_ns + IDLE_NS < next_ns)
            next_ns = c->active_ns + IDLE_NS;
    }
    return next_ns;
}

static int bind_socket(
    const struct sockaddr_storage *address, socklen_t n, int type, int *ret, struct error *err)
{
    int on = 1, fd = socket(address->ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const char *name = type == SOCK_STREAM ? "TCP" : "UDP";

    if (fd < 0)
        return error_sys(err, errno, "DNS %s socket", name);
    *ret = fd;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    else
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)address, n) < 0)
        return error_sys(err, errno, "DNS %s: binding the address", name);
    if (type == SOCK_STREAM && listen(fd, 128) < 0)
        return error_sys(err, errno, "DNS %s: listening", name);
    return 0;
}

static uint16_t *port_field(struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET ? &((struct sockaddr_in *)a)->sin_port
                                   : &((struct sockaddr_in6 *)a)->sin6_port;
}

/* Binds UDP, then TCP on the same port. */
static int bind_both(struct server *s, const struct server_config *config, struct error *err)
{
    struct sockaddr_storage a = {0}, bound;
    socklen_t n = sizeof(struct sockaddr_in), bound_n = sizeof(bound);

    if (inet_pton(AF_INET, config->address, &((struct sockaddr_in *)&a)->sin_addr) == 1) {
        a.ss_family = AF_INET;
    } else if (inet_pton(AF_INET6, config->address, &((struct sockaddr_in6 *)&a)->sin6_addr) == 1) {
        a.ss_family = AF_INET6;
        n = sizeof(struct sockaddr_in6);
    } else {
        return error_set(
            err, ERR_USAGE, "--listen-address \"%s\" is not an IP address", config->address);
    }
    *port_field(&a) = htons((uint16_t)config->port);
    int r = bind_socket(&a, n, SOCK_DGRAM, &s->udp_fd, err);
    if (r < 0)
        return r;
    getsockname(s->udp_fd, (struct sockaddr *)&bound, &bound_n);
    *port_field(&a) = *port_field(&bound);
    s->port = ntohs(*port_field(&bound));
    return bind_socket(&a, n, SOCK_STREAM, &s->tcp_fd, err);
}

int dns_server_new(struct env *env, const struct zone *zone, struct metrics *metrics,
    const struct server_config *config, struct server **ret, struct error *err)
{
    struct server *s = xcalloc(1, sizeof(*s));

    s->env = env;
    s->zone = zone;
    s->metrics = metrics;
    s->udp_fd = s->tcp_fd = -1;
    strbuf_init(&s->out, 0);
    int r = loop_new(env, &s->loop, err);
    if (r == 0)
        r = forwarder_new(env, s->loop, metrics, &config->forward, &s->forwarder, err);
    if (r == 0)
        r = bind_both(s, config, err);
    if (r < 0) {
        if (r == -ERR_SYSTEM)
            error_wrap(err, "%s port %d", config->address, config->port);
        dns_server_free(s);
        return r;
    }
    loop_add_tick(s->loop, tick, s);
    s->udp_watch = loop_watch(s->loop, s->udp_fd, EPOLLIN, on_datagram, s);
    s->tcp_watch = loop_watch(s->loop, s->tcp_fd, EPOLLIN, on_accept, s);
    *ret = s;
    return 0;
}

int server_port(const struct server *s)
{
    return s->port;
}

void server_run(struct server *s)
{
    loop_run(s->loop);
}

void dns_server_stop(struct server *s)
{
    dns_loop_stop(s->loop);
}

void dns_server_free(struct server *s)
{
    if (!s)
        return;
    while (s->connections)
        close_connection(s->connections);
    for (struct request *r = s->waiting; r; r = r->next)
        forwarder_cancel(s->forwarder, r);
    forwarder_free(s->forwarder);
    while (s->waiting) {
        struct request *r = s->waiting;
        s->waiting = r->next;
        free(r);
    }
    if (s->udp_watch)
        loop_unwatch(s->loop, s->udp_watch);
    if (s->tcp_watch)
        loop_unwatch(s->loop, s->tcp_watch);
    if (s->udp_fd >= 0)
        close(s->udp_fd);
    if (s->tcp_fd >= 0)
        close(s->tcp_fd);
    loop_free(s->loop);
    strbuf_done(&s->out);
    free(s);
}
