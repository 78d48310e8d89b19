/*
 * Inside of connect/: locations, wires, relays.
 *
 * location.c finds where a request goes; backend.c connects there; relay.c is the task that sends
 * the request and brings the answer back, or becomes a tunnel (tunnel.c). log.c, stream.c and
 * proxy.c are the three kinds of requests.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "apiserver/connect/connect.h"

struct server_config;

struct location {
    char address[64]; /* a literal */
    int port;
    bool tls;
    bool kubelet; /* verified, and shown our certificate */
};

/* --- location.c --- */

/* The object or 404. */
enum stage_result location_object(
    struct request *q, const char *plural, const char *namespace_, const char *name, cJSON **ret);
/* The kubelet of a Node object; false: it has no address. */
bool location_of_node(const cJSON *node, struct location *ret);
/* The kubelet of the node. */
enum stage_result location_kubelet(struct request *q, const char *node, struct location *ret);
/* What a proxied request's name, "[SCHEME:]NAME[:PORT]", leads to. */
enum stage_result location_proxied(struct request *q, struct location *ret);
/* ?container=, or the pod's only one. */
enum stage_result location_container(struct request *q, const cJSON *pod, const char **ret);

/* --- backend.c: connections, not blocking --- */

#define WIRE_WAIT (-1)
#define WIRE_BROKEN (-2)

struct wire {
    int fd; /* -1: none */
    SSL *ssl;
};

ssize_t wire_read(struct wire *w, void *buf, size_t n); /* 0: the end */
ssize_t wire_write(struct wire *w, struct str bytes);
bool wire_pending(struct wire *w); /* bytes that no poll shows */
void wire_finish(struct wire *w);  /* nothing more is written */
void wire_close(struct wire *w);

struct backend_tls; /* contexts, made again when the files change */
int backend_tls_new(
    const struct server_config *config, struct backend_tls **ret, struct error *err);
void backend_tls_free(struct backend_tls *t);
bool backend_reaches_kubelets(const struct backend_tls *t);
/* Waits, until the deadline or until wake_fd is readable (ERR_CANCELLED). */
int backend_open(struct nodes *nodes, const struct location *to, int wake_fd, int64_t deadline_ns,
    struct wire *ret, struct error *err);
int backend_send(struct nodes *nodes, struct wire *w, struct str bytes, int wake_fd,
    int64_t deadline_ns, struct error *err);
/* Appends what comes; 0 at the end. */
ssize_t backend_read(struct nodes *nodes, struct wire *w, struct strbuf *out, int wake_fd,
    int64_t deadline_ns, struct error *err);

/* --- relay.c --- */

struct nodes {
    struct server *server;
    struct backend_tls *tls;
    struct lock lock;
    struct cond changed;
    struct relay *running, *over;
    size_t count;
    struct usages *usages;
};

struct relay {
    atomic_int references;
    struct nodes *nodes;
    struct request *q;
    struct task *task;
    struct relay *next; /* in one of nodes' lists */
    struct location to;
    struct strbuf request; /* to be sent, its body too */
    bool wants_upgrade, is_head;
    int64_t answer_timeout_ns; /* ENV_FOREVER: none */
    int wake_fd;               /* tells the task that something below has changed */
    struct lock lock;
    /* guarded by lock */
    bool cancelled, opened, ended, broken, taken;
    struct strbuf buffer; /* of the answer's body, for the request to take */
    struct taken_connection client;
    /* the task's before `opened`, only read afterwards */
    struct strbuf answer; /* its head */
    int status;           /* 0: there was no answer, see err */
    bool upgraded;
    bool unreachable; /* not even a connection */
    struct error err;
};

/* Starts it and returns STAGE_WAIT; the relay is then the stage's state. Takes the request's text.
 * timeout_ns: for the head of the answer. */
enum stage_result relay_start(struct request *q, const struct location *to, struct strbuf *take,
    bool wants_upgrade, int64_t timeout_ns);
bool relay_opened(struct relay *r);
/* The body's generator; state: the relay. */
body_fn relay_next;
/* Of an answer that is to be put in other words: its whole body, once it is there. */
bool relay_whole(struct relay *r, struct str *ret);
/* Answers 101 with the given headers; the client's connection becomes one with the backend's. */
enum stage_result relay_upgrade(struct request *q, struct relay *r);

/* --- tunnel.c --- */

/* Moves bytes both ways until both have ended, one breaks, nothing moved for 4 h, or cancelled. */
void tunnel_run(struct relay *r, struct wire *backend, struct str early_backend);

/* --- proxy.c --- */

/* Appends the headers of the client that a backend may see. */
void proxy_add_headers(struct request *q, const struct location *to, struct strbuf *out);
/* The backend's answer as it is, without what belongs to its connection. */
enum stage_result proxy_pass_answer(struct request *q, struct relay *r);
/* Headers of the answer as headers of ours. */
void proxy_take_headers(struct request *q, struct relay *r, bool upgraded);
bool proxy_wants_upgrade(const struct request *q);
void location_add_host(const struct location *to, struct strbuf *out); /* "10.0.0.1:80" */
