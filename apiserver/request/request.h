/*
 * A request in the pipeline, seen from both sides: from the connection (which only moves bytes) and from the stages.
 *
 * The connection makes one with request_new(), fills the inputs, and calls request_run(). The pipeline (pipeline.c, a table
 * of stages) runs until a stage says *wait* or the response head is ready. A waiting stage keeps its state in the arena and
 * has somebody call request_wake(), from any thread; the connection then calls request_run() again on its own thread.
 * When `responded` is set the connection sends status and headers, then pulls the body with request_body().
 * The simulator drives requests in the same way without a connection.
 *
 * Ownership: a request and all it allocated live in its arena; request_free() may be called at any time on
 * the connection's thread (client gone): it cancels watches and detaches from writes in flight.
 * Threads: one thread at a time (the connection's loop); only request_wake() is called from others.
 */
#pragma once

#include "common/arena.h"
#include "common/http1.h"
#include "common/json.h"

struct server;   /* apiserver/server.h: everything an API server consists of */
struct request;
struct resource;
struct subresource;

enum stage_result { STAGE_DONE, STAGE_ERROR, STAGE_WAIT, STAGE_RESPOND /* skip the rest: the response is made */ };
typedef enum stage_result stage_fn(struct request *q);

enum body_result { BODY_CHUNK, BODY_WAIT, BODY_END, BODY_ABORT /* cut the connection or stream */ };
/* The next piece of the body, appended to out (about 16-64 KiB at most a call, 1 ms at most). */
typedef enum body_result body_fn(struct request *q, struct strbuf *out);

struct identity {
    const char *name; /* "system:anonymous" */
    const char *uid;
    const char **groups; /* NULL ended */
    const char *node_name; /* set for system:node:X in system:nodes */
    struct { const char *key; const char **values; } extra[8];
    size_t extra_count;
};

struct response_header {
    const char *name, *value;
};

struct request {
    struct arena *arena;
    struct server *server;

    /* inputs, filled by the connection */
    struct str method, target;      /* "GET", "/api/v1/pods?limit=5" */
    struct http1_header *headers;   /* names in any case */
    size_t header_count;
    struct str body;                /* complete */
    const char *peer_common_name;   /* of a verified client certificate, or NULL */
    const char **peer_organizations;
    const char *peer_address;       /* "10.0.0.7:51234" */
    void (*wake)(struct request *q); /* set by the connection: schedules request_run on its thread */
    void *connection;

    /* the pipeline's state */
    size_t stage;                   /* index into the table */
    void *stage_state;              /* of a waiting stage */
    struct error err;               /* of a stage that returned STAGE_ERROR */
    cJSON *status_details;          /* "details" of the Status, or NULL (owned) */
    int retry_after_s;              /* 0: none */
    int64_t received_ns, deadline_ns;

    /* route */
    struct str path;                /* decoded */
    struct str query;               /* raw */
    const char *verb;               /* "get", "list", "watch", "create", "deletecollection", ...; lower-case HTTP method for non-resources */
    const struct resource *resource; /* NULL: a non-resource path */
    const struct subresource *subresource;
    const char *group, *version, *plural;
    const char *namespace_, *name;  /* "" when absent */
    const char *subpath;            /* behind proxy/ */

    struct identity identity;

    /* the response */
    bool responded;
    int status;
    const char *content_type;
    struct response_header response_headers[16];
    size_t response_header_count;
    struct str response_body;       /* a whole body, or */
    body_fn *body_next;             /* a generator */
    void *body_state;
    void (*upgrade)(struct request *q, int fd_taken_over); /* reserved for exec, attach, port-forward */
};

struct request *request_new(struct server *server);
void request_free(struct request *q);
/* true: the head is ready (q->responded). false: waiting; wake will be called. */
bool request_run(struct request *q);
void request_wake(struct request *q);
enum body_result request_body(struct request *q, struct strbuf *out);

/* For stages. */
struct str request_header(const struct request *q, const char *name);
bool request_query(struct request *q, const char *name, struct str *ret); /* decoded, last one wins */
void request_warn(struct request *q, const char *format, ...) __attribute__((format(printf, 2, 3))); /* Warning: 299 */
enum stage_result request_fail(struct request *q, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum stage_result request_reply(struct request *q, int status, const char *content_type, struct str body);
enum stage_result request_reply_json(struct request *q, int status, const cJSON *tree);
