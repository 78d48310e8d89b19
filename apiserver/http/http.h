/*
 * Connections: TLS, HTTP/1.1 and HTTP/2 around the request pipeline.
 *
 * One acceptor hands each connection to the least loaded of N identical loops (a thread with an
 * epoll each), where it stays. A connection moves bytes between its socket and its exchanges; an
 * exchange is one request with its answer. Requests see no socket; connections know nothing of
 * Kubernetes.
 *
 * Threads: any for these functions. Upstream: net/http and apiserver/pkg/server/secure_serving.go.
 */
#pragma once

#include "apiserver/server.h"
#include "common/error.h"
#include "common/tls_settings.h"

struct http;

/* The files are read again when they change: new connections get what is new, those that are open
 * go on. Files that don't fit together are logged, and the ones before stay in use. */
struct http_config {
    struct server *server;
    const char *address; /* "0.0.0.0", "::", "127.0.0.1" */
    int port;            /* 0: any */
    const char *cert_file, *key_file;
    const char *cert_pem, *key_pem; /* where there are no files */
    const char *client_ca_file;     /* or NULL: no client certificates */
    struct tls_settings tls;        /* strings outlive the server, as those above */
    const char *proxy_ca_file;      /* of front proxies, or NULL */
    int loops;
};

/* Listens and serves. ERR_SYSTEM when the port is taken or a file can't be used. */
int http_new(const struct http_config *config, struct http **ret, struct error *err);
int http_port(const struct http *h);
/* No new connections; HTTP/2 clients get GOAWAY, what is under way is finished, watches end; 5 s at
 * most. */
void http_drain(struct http *h);
void http_free(struct http *h); /* NULL is fine */
