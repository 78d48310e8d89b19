/*
 * Private to common/httpd*.c: one accepted connection, plain or TLS, with deadlines.
 *
 * The socket is non-blocking; each wait polls it together with the server's stop descriptor, so a
 * stop ends every wait at once (ERR_CANCELLED). One task may read while another writes.
 */
#pragma once

#include <openssl/ssl.h>

#include "common/env.h"
#include "common/str.h"

struct conn {
    struct env *env;
    int fd;
    int stop_fd;         /* readable once the server stops; borrowed */
    SSL *ssl;            /* NULL: plain */
    struct lock io_lock; /* around each SSL call */
    struct strbuf in;    /* read and not yet used */
    char *peer_name;     /* of a verified client certificate, or NULL */
    char *peer_groups;   /* ',' between them, or "" */
};

void conn_init(struct conn *c, struct env *env, int take_fd, int stop_fd);
void conn_done(struct conn *c);
int conn_handshake(struct conn *c, SSL_CTX *tls, int64_t deadline_ns, struct error *err);
/* At least a byte, 0 at the end, or -ERR_TIMEOUT, -ERR_CANCELLED, -ERR_CLOSED. */
ssize_t conn_read(struct conn *c, void *buf, size_t n, int64_t deadline_ns, struct error *err);
/* Reads up to n more bytes into c->in. */
ssize_t conn_fill(struct conn *c, size_t n, int64_t deadline_ns, struct error *err);
/* All of it; stall_ns is the longest time without progress. */
int conn_write(struct conn *c, struct str bytes, int64_t stall_ns, struct error *err);
/* Without waiting: bytes moved, 0 at the end (reads only), HTTPD_RAW_WAIT or HTTPD_RAW_BROKEN. */
ssize_t conn_try_read(struct conn *c, void *buf, size_t n);
ssize_t conn_try_write(struct conn *c, struct str bytes);
/* A look that doesn't wait: the peer closed, or the server stops. */
bool conn_is_gone(struct conn *c);
bool conn_is_buffered(struct conn *c); /* a read would be answered from memory */
/* Ends the output and reads on for a moment, so that the last answer isn't lost to a reset. */
void conn_linger(struct conn *c);

struct httpd_config;
/* Server context of the configuration's files and settings; ALPN http/1.1. */
int tls_server_context(const struct httpd_config *config, SSL_CTX **ret, struct error *err);
