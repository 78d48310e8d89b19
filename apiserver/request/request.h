/*
 * A request in the pipeline, seen from both sides: from the connection (which only moves bytes) and
 * from the stages.
 *
 * The connection makes one with request_new(), fills the inputs, and calls request_run(). The
 * pipeline (pipeline.c, a table of stages) runs until a stage says *wait* or the response head is
 * ready. A waiting stage keeps its state in the arena and has somebody call request_wake(), from
 * any thread; the connection then calls request_run() again on its own thread. A stage that has
 * used up its turn (1 ms) wakes itself and waits. When `responded` is set the connection sends
 * status and headers, then pulls the body with request_body(). The simulator drives requests in the
 * same way without a connection.
 *
 * Ownership: a request and all it allocated live in its arena; request_free() may be called at any
 * time on the connection's thread (client gone): it runs what request_on_free() registered (cancels
 * watches and timers), and the memory goes once the last request_pin() is undone: whoever hands a
 * request's memory to another thread pins it. Threads: one thread at a time (the connection's
 * loop); only request_wake, request_pin and request_unpin are called from others. Wakes may be
 * spurious: a stage or generator always looks whether what it waits for is there.
 */
#pragma once

#include "common/arena.h"
#include "common/env.h"
#include "common/http1.h"
#include "common/json.h"

struct server; /* apiserver/server.h: everything an API server consists of */
struct request;
struct api;
struct resource;
struct subresource;
struct object_write;
struct audit_event;

enum stage_result {
    STAGE_DONE,
    STAGE_ERROR,
    STAGE_WAIT,
    STAGE_RESPOND /* skip the rest: the response is made */
};
typedef enum stage_result stage_fn(struct request *q);

enum body_result { BODY_CHUNK, BODY_WAIT, BODY_END, BODY_ABORT /* cut the connection or stream */ };
/* The next piece of the body, appended to out (about 16-64 KiB at most a call, 1 ms at most).
 * BODY_WAIT may come with bytes: they are sent, and the generator is called again after a wake. */
typedef enum body_result body_fn(struct request *q, struct strbuf *out);

struct identity {
    const char *name; /* "system:anonymous" */
    const char *uid;
    const char **groups;   /* NULL ended */
    const char *node_name; /* set for system:node:X in system:nodes */
    struct {
        const char *key;
        const char **values;
    } extra[8];
    size_t extra_count;
};

struct response_header {
    const char *name, *value;
};

enum socket_form { SOCKET_NONE, SOCKET_LINES /* text, one a line */, SOCKET_BYTES, SOCKET_BASE64 };

/* A client's connection that became a stream of bytes. */
struct taken_connection {
    int fd; /* does not block */
    struct ssl_st *ssl;
    struct strbuf in; /* came already */
};

/* What the client accepts, chosen by negotiate.c. */
enum media { MEDIA_JSON, MEDIA_YAML, MEDIA_PROTOBUF };
const char *media_type(enum media media); /* "application/json" */
enum form { FORM_OBJECT, FORM_TABLE, FORM_METADATA /* PartialObjectMetadata */ };

struct request {
    struct arena *arena;
    struct server *server;

    /* inputs, filled by the connection */
    struct str method, target;    /* "GET", "/api/v1/pods?limit=5" */
    struct http1_header *headers; /* names in any case */
    size_t header_count;
    struct str body;
    bool body_complete;           /* the stages up to authorize run before the body has arrived */
    bool trusted;                 /* the server's own: identity is given, nothing is asked */
    const char *peer_common_name; /* of a verified client certificate, or NULL */
    const char **peer_organizations;
    const char *peer_proxy_name;     /* of one of the front proxy's CA, or NULL */
    bool peer_certificate_bad;       /* one was sent and did not verify */
    const char *peer_address;        /* "10.0.0.7:51234" */
    void (*wake)(struct request *q); /* set by the connection: schedules request_run on its thread;
                                        called with a lock held */
    void *connection;

    /* the pipeline's state */
    size_t stage;                /* index into the table */
    void *stage_state;           /* of a waiting stage; NULL when a stage starts */
    struct error err;            /* of a stage that returned STAGE_ERROR */
    const char *reason;          /* instead of the one of err.code */
    cJSON *status_details;       /* "details" of the Status, or NULL (owned) */
    cJSON *error_status;         /* the whole Status instead (owned), or NULL */
    const char *status_continue; /* metadata.continue of the Status (410 of a list) */
    int retry_after_s;           /* 0: none */
    int64_t received_ns, deadline_ns;
    bool long_running; /* a watch or a stream: no deadline */

    /* route */
    struct str path;  /* decoded, NUL-terminated */
    struct str query; /* raw */
    const char *verb; /* "get", "list", "watch", "create", "deletecollection", ...; lower-case HTTP
                         method for non-resources */
    struct api
        *api; /* what there is for this request, to its end (held): built-in and custom kinds */
    const struct resource *resource; /* NULL: a non-resource path */
    const struct subresource *subresource;
    const char *group, *version,
        *plural; /* plural is "" on non-resource paths only, also when resource is NULL */
    const char *namespace_, *name; /* "" when absent */
    const char *subresource_name;  /* "" when absent; also set when the resource has none such */
    const char *subpath;           /* behind proxy/; "" when absent */

    struct identity identity;
    const char *authorization_reason; /* who decided, for the audit; NULL: not asked yet */
    bool authorized;
    struct audit_event *audit; /* audit/audit.h; NULL: nothing is recorded (yet) */

    enum media media;
    enum form form;
    const char *form_version;   /* "v1" or "v1beta1" of meta.k8s.io */
    struct read_state *read;    /* get, list, watch (registry/generic/read.h) */
    struct object_write *write; /* create, update, patch, delete (registry/generic/generic.h) */

    /* the response */
    bool responded;
    int status;
    const char *content_type;
    struct response_header *response_headers;
    size_t response_header_count, response_header_capacity;
    struct str response_body; /* a whole body, or */
    body_fn *body_next;       /* a generator */
    void *body_state;
    /* With status 101: takes the connection over once the head is sent, and the request with it
     * (request_free is the taker's then). */
    void (*upgrade)(struct request *q, struct taken_connection *take);

    /* The generator's bytes as WebSocket messages instead (HTTP/1.1; set by socket_choose). */
    enum socket_form socket;
    const char *socket_accept, *socket_protocol; /* the latter NULL: none */

    bool response_large; /* a generator says that compression pays */

    /* private */
    unsigned class_; /* pipeline.c */
    bool counted;
    bool dry_run;      /* a label of the metrics */
    struct flow *flow; /* flow.c */
    size_t flow_level;
    unsigned seats;
    struct lock lock;
    int pins;
    bool freed;
    struct request_hook *hooks;
};

struct request *request_new(struct server *server);
void request_free(struct request *q); /* NULL is fine */
/* true: the head is ready (q->responded). false: waiting; wake will be called. */
bool request_run(struct request *q);
/* Ends a request that is still waiting past its deadline: a Status 504 becomes its response. */
void request_time_out(struct request *q);
/* The same with another refusal (a body too large). Nothing happens once the head is ready. */
void request_refuse(struct request *q, enum err code, const char *text);
enum body_result request_body(struct request *q, struct strbuf *out);

/* From any thread. Nothing happens once the request was freed, but the caller must hold a pin or be
 * cancelled by a hook. */
void request_wake(struct request *q);
void request_pin(struct request *q);
void request_unpin(struct request *q);
/* request_free() runs fn(arg), last registered first, on the connection's thread. */
/* The connection has nothing to do with it any more: no wakes, no peer. */
void request_detach(struct request *q);
void request_on_free(struct request *q, void (*fn)(void *arg), void *arg);

/* For stages. */
struct str request_header(const struct request *q, const char *name);
bool request_query(struct request *q, const char *name,
    struct str *ret); /* decoded, first one wins (as Go); NUL-terminated */
void request_warn(struct request *q, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* Warning: 299 */
void request_add_header(struct request *q, const char *name,
    const char *value); /* value: lives as long as the request */
enum stage_result request_fail(struct request *q, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The error of a call below, with details {name, group, kind: plural} of the request's resource. */
enum stage_result request_fail_object(struct request *q, enum err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* q->err is set already. */
enum stage_result request_fail_error(struct request *q, const struct error *err);
/* The whole Status is made (taken): field_errors_status() and friends. */
enum stage_result request_fail_status(struct request *q, cJSON *take_status);
/* `pods "x" not found`, with its details. */
enum stage_result request_not_found(struct request *q, const struct resource *r, const char *name);
/* body must live as long as the request (arena, or constant). */
enum stage_result request_reply(
    struct request *q, int status, const char *content_type, struct str body);
/* An object with kind and apiVersion, in the negotiated encoding. */
enum stage_result request_reply_json(struct request *q, int status, const cJSON *tree);
/* Bytes that are in that encoding already; taken. */
enum stage_result request_reply_text(struct request *q, int status, struct strbuf *take);
enum stage_result request_reply_body(
    struct request *q, int status, const char *content_type, body_fn *next, void *state);
/* Has this turn of the loop used its millisecond? Then wake yourself and wait. */
bool request_turn_over(struct request *q, int64_t turn_start_ns);

/* A request of the server itself, run to its end on the caller's task: no socket, no
 * authentication. *ret (may be NULL) gets the answer's tree. Errors: those of the Status. Not for
 * watches, and never from a loop. */
int request_call(struct server *server, const char *method, const char *target, const cJSON *body,
    cJSON **ret, struct error *err);

/* Independent ones, several at once, so that their writes share commits; each has its own outcome.
 */
struct own_request {
    const char *method, *target;
    const cJSON *body;
    int result;       /* out */
    struct error err; /* out */
};
void request_call_all(struct server *server, struct own_request *list, size_t count);

/* "pods", "deployments.apps" */
const char *request_qualified(struct request *q, const struct resource *r);
