/*
 * Inside of http/: loops, connections, exchanges.
 *
 * A loop's turn: events of sockets, then exchanges that were woken (or are new), then connections
 * with output ("dirty"). Connections are closed at the end of a turn only, so callbacks never see
 * freed memory: they set `broken`.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include "apiserver/http/http.h"
#include "apiserver/request/request.h"
#include "common/time.h"

/* Stop asking generators for more above this; LIMIT_OUTPUT_BYTES is where reading stops too. */
#define OUTPUT_ENOUGH_BYTES (256u << 10)
#define READ_BYTES (16u << 10)
/* What one connection may use of a turn. */
#define TURN_NS NS_PER_MS
#define IDLE_NS (300 * NS_PER_S)
#define LINGER_NS (1 * NS_PER_S)
#define DRAIN_NS (5 * NS_PER_S)
#define CONNECTIONS_MAX 16000
/* Of one client address (some share a counter): half of all, so that no host shuts out the rest. */
#define CONNECTIONS_OF_ADDRESS_MAX (CONNECTIONS_MAX / 2)
#define ADDRESS_COUNTERS 1024

struct loop;
struct connection;

/* One request and its answer. */
struct exchange {
    struct connection *c;
    struct request *q;
    struct exchange *prev, *next;         /* of the connection */
    struct exchange *run_prev, *run_next; /* in loop->woken (its lock) or loop->runnable */
    enum { RUN_NONE, RUN_WOKEN, RUN_QUEUED } run_state;

    struct strbuf body; /* of the request */
    bool body_done;
    bool is_head;        /* HEAD: no body is sent */
    bool head_sent;      /* the response's head is on its way */
    bool ended;          /* the generator has nothing more */
    bool dozing;         /* the generator waits for a wake */
    int64_t progress_ns; /* bytes of the body came, or of the answer went */

    /* HTTP/2 */
    int32_t stream_id;
    struct strbuf out; /* body bytes that wait for the flow-control window */
    size_t out_start;
    size_t body_held; /* request body bytes not given back to the connection's window */
    struct http1_header *headers;
    size_t header_count, header_capacity, header_bytes;
    size_t body_wasted; /* bytes thrown away after the refusal */
    bool too_large;     /* its body is thrown away */
    bool deferred;
};

struct connection {
    struct loop *loop;
    int fd;
    SSL *ssl;
    enum { CONN_HANDSHAKE, CONN_H1, CONN_H2, CONN_LINGER } state;
    struct connection *prev, *next; /* of the loop */
    struct connection *dirty_next;
    bool dirty, broken;
    bool closing;      /* close once the output is sent */
    bool said_goodbye; /* HTTP/2: GOAWAY for idleness */
    uint32_t epoll_events;
    bool tls_wants_write, tls_wants_read;
    bool reading_stopped;
    struct strbuf out;
    size_t out_start;
    int64_t deadline_ns; /* of the state; 0: none */
    int64_t write_progress_ns;
    int64_t produce_until_ns; /* of this turn */
    int64_t read_ns;          /* the last bytes came */
    struct exchange *exchanges;
    size_t exchange_count;

    char peer[64];
    size_t *address_count; /* of the peer's address, atomic; in http */
    char *peer_common_name;
    char *peer_proxy_name; /* verified by the proxies' CA */
    const char **peer_organizations;
    bool peer_certificate_bad;

    struct strbuf in; /* HTTP/1: not yet parsed */
    struct h1 *h1;
    nghttp2_session *h2;
};

struct loop {
    struct http *http;
    struct env *env;
    int epoll_fd, event_fd;
    pthread_t thread;
    size_t load; /* atomic: connections */

    pthread_mutex_t lock;
    struct exchange *woken;      /* circular-free list, newest first */
    struct connection *incoming; /* from the acceptor, by next */
    bool signalled, stop, drain;

    /* the loop's own */
    bool draining;
    struct exchange *runnable, *runnable_last;
    struct connection *connections;
    struct connection *dirty;
    int64_t sweep_at_ns;
    size_t load_peak;
    char buffer[READ_BYTES];
    struct strbuf spare_out, spare_body; /* memory that output grows in: held while some waits */
    char date[40];
    int64_t date_s;
};

struct http {
    struct http_config config;
    struct env *env;
    SSL_CTX *tls;
    struct lock tls_lock; /* of the pointer */
    struct file_watch *tls_watch;
    int listen_fd, stop_fd, port;
    pthread_t acceptor;
    bool acceptor_runs;
    struct loop *loops;
    size_t loop_count, loops_started;
    size_t address_counts[ADDRESS_COUNTERS]; /* atomic: connections, by hash of the address */
};

/* tls.c */
int tls_context_new(const struct http_config *config, SSL_CTX **ret, struct error *err);
SSL *tls_connection_new(struct http *h);
void tls_watch_files(struct http *h);
/* Reads the peer's certificate after the handshake. */
void tls_peer(struct connection *c);
bool tls_is_h2(const struct connection *c);

/* loop.c */
int loop_start(struct loop *loop, struct http *http, struct error *err);
void loop_add(struct loop *loop, struct connection *take); /* any thread */
void loop_ask_drain(struct loop *loop);
void loop_stop(struct loop *loop);                          /* and join */
void loop_run_later(struct loop *loop, struct exchange *x); /* own thread */
void loop_forget(struct loop *loop, struct exchange *x);
void loop_wake(struct request *q); /* a request's wake */
void loop_dirty(struct connection *c);
void loop_deadline(struct loop *loop, int64_t at_ns);
const char *loop_date(struct loop *loop);
/* An empty buffer gets the loop's spare memory, and gives it back: only who has bytes holds any. */
void loop_lend(struct strbuf *spare, struct strbuf *to);
void loop_take_back(struct strbuf *spare, struct strbuf *from);
int64_t loop_now(struct loop *loop);

/* connection.c */
struct connection *connection_new(struct http *http, int fd, const char *peer);
void connection_start(struct connection *c, struct loop *loop);
void connection_event(struct connection *c, uint32_t events);
/* Produces and sends; closes the connection when it is broken or done. May free c. */
void connection_output(struct connection *c);
void connection_free(struct connection *c);
void connection_break(struct connection *c);
/* Deadlines of the connection and its exchanges; returns the next one (INT64_MAX: none). */
int64_t connection_sweep(struct connection *c, int64_t now_ns);
void connection_drain(struct connection *c);
static inline size_t connection_queued(const struct connection *c)
{
    return c->out.n - c->out_start;
}

/* exchange.c */
struct exchange *exchange_new(struct connection *c);
void exchange_free(struct exchange *x);
/* Runs the request; its head is sent when it is ready. */
void exchange_run(struct exchange *x);
void exchange_body_complete(struct exchange *x);
int64_t exchange_body_deadline(const struct exchange *x);
/* The body is above the limit, or does not come. */
void exchange_refuse(struct exchange *x, enum err code, const char *text);

/* h1.c */
void h1_start(struct connection *c);
void h1_free(struct connection *c);
void h1_input(struct connection *c); /* c->in has grown */
void h1_send_head(struct exchange *x);
void h1_produce(struct connection *c); /* body bytes into c->out */
/* The exchange whose answer is 101, once its head is in the output; or NULL. */
struct exchange *h1_upgraded(const struct connection *c);

/* socket.c: an answer in WebSocket messages */
struct socket;
struct socket *socket_new(struct connection *c, struct request *q); /* writes the head */
void socket_free(struct socket *s);
void socket_produce(struct connection *c, struct socket *s, struct exchange *x);
void socket_input(struct connection *c, struct socket *s, struct exchange *x);

/* h2.c */
int h2_start(struct connection *c);
void h2_free(struct connection *c);
void h2_input(struct connection *c, struct str bytes);
void h2_send_head(struct exchange *x);
void h2_resume(struct exchange *x);
void h2_reset(struct exchange *x);
void h2_produce(struct connection *c);
void h2_drain(struct connection *c);
bool h2_is_over(const struct connection *c);
