/*
 * A small HTTPS server for the daemons' own pages: /livez, /readyz, /healthz, /version, /metrics,
 * and the kubelet's logs. (The API server has its own in apiserver/http.)
 *
 * HTTP/1.1 over TLS or plain, one task a connection, at most 64 at a time unless the configuration
 * says otherwise (503 beyond). A handler
 * runs on the connection's task and may block; it writes head and body with httpd_*. Slow clients
 * are cut by the limits of common/limits.h. Requests are parsed by common/http1.h.
 *
 * Threads: start and free from one task; handlers run on several tasks at once.
 */
#pragma once

#include "common/env.h"
#include "common/http1.h"
#include "common/metrics.h"
#include "common/tls_settings.h"

struct httpd;
struct httpd_request;

typedef void httpd_handler_fn(void *arg, struct httpd_request *request);

struct httpd_route {
    const char *method; /* NULL: any */
    const char *path;   /* exact, or a prefix when it ends in '/' */
    bool anonymous;     /* skip authorize */
    httpd_handler_fn *handler;
};

struct httpd_config {
    const char *address;              /* "127.0.0.1", "0.0.0.0", "::" */
    int port;                         /* 0: any; see httpd_port() */
    const char *cert_file, *key_file; /* NULL: plain HTTP (loopback only) */
    struct tls_settings tls;          /* versions and suites */
    const char *client_ca_file;       /* verifies client certificates when they are sent; or NULL */
    const struct httpd_route *routes;
    size_t route_count;
    size_t connections_max; /* 0: 64 */
    void *arg;
    /* Decides on a request that is not anonymous: 0, or -ERR_UNAUTHORIZED / -ERR_FORBIDDEN. NULL
     * refuses all. */
    int (*authorize)(void *arg, struct httpd_request *request, struct error *err);
};

int httpd_new(
    struct env *env, const struct httpd_config *config, struct httpd **ret, struct error *err);
void httpd_free(struct httpd *h);
int httpd_port(const struct httpd *h);

const struct http1_head *httpd_head(const struct httpd_request *r);
struct str httpd_path(const struct httpd_request *r); /* decoded, without the query */
/* Decoded query parameter; false when absent. The view lives as long as the request. */
bool httpd_query(struct httpd_request *r, const char *name, struct str *ret);
/* Every one of them, in order; NUL-terminated. Returns how many, at most `most`. */
size_t httpd_query_all(struct httpd_request *r, const char *name, struct str *ret, size_t most);
const char *httpd_peer_name(
    const struct httpd_request *r); /* CN of a verified client certificate, or NULL */
const char *httpd_peer_groups(const struct httpd_request *r); /* O values, ','-separated, or "" */
int httpd_body(struct httpd_request *r, size_t limit, struct strbuf *out, struct error *err);

/* A whole answer. */
void httpd_reply(struct httpd_request *r, int status, const char *content_type, struct str body);
/* A streamed one: head, then pieces (chunked), then the end. A piece returns an error once the
 * client is gone. */
int httpd_begin(struct httpd_request *r, int status, const char *content_type, struct error *err);
int httpd_write(struct httpd_request *r, struct str piece, struct error *err);
void httpd_end(struct httpd_request *r);
bool httpd_client_gone(struct httpd_request *r); /* a cheap look */
/* For upgrades: 101 with the given extra header lines, then the raw byte stream. Nothing of it
 * waits: the handler polls httpd_raw_fd and httpd_raw_stop_fd (readable: the server stops) itself.
 * Output that the handler has written is seen to the end when it returns. */
int httpd_upgrade(struct httpd_request *r, const char *extra_head, struct error *err);
/* >0: bytes moved; 0: the peer's end (reads only); HTTPD_RAW_WAIT: poll first; HTTPD_RAW_BROKEN. */
#define HTTPD_RAW_WAIT (-1)
#define HTTPD_RAW_BROKEN (-2)
ssize_t httpd_raw_read(struct httpd_request *r, void *buf, size_t n);
ssize_t httpd_raw_write(struct httpd_request *r, struct str bytes);
int httpd_raw_fd(const struct httpd_request *r);
int httpd_raw_stop_fd(const struct httpd_request *r);
/* Bytes are buffered already: read them before polling the descriptor. */
bool httpd_raw_pending(struct httpd_request *r);
