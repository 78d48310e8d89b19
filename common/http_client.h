/*
 * HTTP client: messages and byte streams, over TCP with TLS or a Unix socket.
 *
 * Production is one I/O task driving libcurl's multi interface (HTTP/1.1, a pool of kept
 * connections); calls block the calling task on a condition. The simulator brings its own table
 * (requests go to the in-process API server's pipeline). No redirects are followed, no proxy
 * environment is read.
 *
 *     struct http_response r;
 *     http_response_init(&r);
 *     if (http_do(client, &(struct http_request){.method = "GET", .path = "/api/v1/nodes"}, &r,
 * &err) < 0)
 *         ...                        // could not be sent or answered: ERR_CLOSED, ERR_TIMEOUT,
 * ERR_SYSTEM if (r.status != 200) ...       // any answer is a success of http_do
 *     http_response_done(&r);
 *
 * Threads: a client may be used by any number of tasks at once. A stream belongs to one task,
 * except http_stream_cancel, which any task may call. In flight at http_client_free: ended with
 * ERR_CANCELLED.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

struct http_client;
struct http_stream;

struct http_client_config {
    const char *base_url;    /* "https://10.0.0.1:6443", "http://docker" with unix_socket */
    const char *unix_socket; /* path, or NULL */
    const char *ca_file;     /* PEM; or ca_pem; both NULL: the system's roots */
    const char *ca_pem;
    const char *cert_file,
        *key_file; /* client certificate, or NULL; reread for each new connection */
    const char *cert_pem, *key_pem;
    const char *bearer_token;      /* or NULL */
    const char *bearer_token_file; /* reread when it changes; wins over bearer_token */
    const char *tls_server_name;   /* or NULL: the host of base_url */
    bool insecure_skip_verify;     /* for probes only */
    const char *user_agent;
    int connections_max; /* idle connections kept; 0 means 8 */
    bool share_reads; /* GETs share one connection (HTTP/2 over TLS): for a daemon with many watches
                       */
};

struct http_header {
    const char *name, *value;
};

/* Ends a blocked call, or a stream, from another task: give it with a request, then http_cancel()
 * makes that call (and those that follow on the stream) return -ERR_CANCELLED. For one request at a
 * time. */
struct http_canceller {
    struct lock lock;
    bool cancelled;
    void (*wake)(void *arg); /* set by the client while a call or stream is open */
    void *arg;
};

struct http_request {
    const char *method;
    const char *path; /* with query; appended to base_url; an absolute URL overrides it */
    const struct http_header *headers; /* besides those the client adds */
    size_t header_count;
    struct str body;       /* empty body and method POST/PUT/PATCH sends Content-Length: 0 */
    int64_t timeout_ns;    /* for the whole exchange; 0 means 30 s; streams: until the headers */
    size_t response_limit; /* bytes; 0 means LIMIT_RESPONSE_BYTES */
    struct http_canceller *canceller; /* or NULL; a simulator may look at `cancelled` only */
};

struct http_response {
    int status;
    struct strbuf body;
    struct strbuf head; /* "name: value\n" lines, names in lower case */
};

/* A simulator or a test supplies these; http_client_new() is production. */
struct http_client_ops {
    int (*exchange)(
        struct http_client *, const struct http_request *, struct http_response *, struct error *);
    int (*open)(struct http_client *, const struct http_request *, struct http_stream **,
        struct http_response *ret_head, struct error *);
    int (*next)(struct http_stream *, int64_t deadline_ns, struct strbuf *out, struct error *);
    void (*cancel)(struct http_stream *);
    void (*close)(struct http_stream *);
    void (*free)(struct http_client *);
};

struct http_client {
    const struct http_client_ops *ops;
    struct env *env;
};
struct http_stream {
    struct http_client *client;
};

int http_client_new(struct env *env, const struct http_client_config *config,
    struct http_client **ret, struct error *err);
void http_client_free(struct http_client *client);

int http_do(struct http_client *client, const struct http_request *request,
    struct http_response *response, struct error *err);

void http_canceller_init(struct http_canceller *c);
void http_canceller_done(struct http_canceller *c);
void http_cancel(struct env *env, struct http_canceller *c);

void http_response_init(struct http_response *response);
void http_response_done(struct http_response *response);
/* Value of a header (lower-case name), or an empty view. */
struct str http_response_header(const struct http_response *response, const char *name);

/* Opens a stream. When the status is not 2xx the body is read into ret_head->body (bounded), *ret
 * is NULL and 0 is returned. */
int http_stream_open(struct http_client *client, const struct http_request *request,
    struct http_stream **ret, struct http_response *ret_head, struct error *err);
/* Appends what has arrived (at least a byte) to out and returns 1; 0 at a clean end; -ERR_TIMEOUT
 * at the deadline (the stream stays usable), -ERR_CLOSED when it broke, -ERR_CANCELLED. Reading
 * slowly slows the sender. */
int http_stream_next(
    struct http_stream *stream, int64_t deadline_ns, struct strbuf *out, struct error *err);
void http_stream_cancel(struct http_stream *stream);
void http_stream_close(struct http_stream *stream); /* and frees */

/* Percent-encodes everything but unreserved characters. */
void url_encode(struct str s, struct strbuf *out);
/* '+' is a space where plus_is_space (queries). ERR_BAD_REQUEST for a bad escape or a NUL. */
int url_decode(struct str s, bool plus_is_space, struct strbuf *out, struct error *err);
