/*
 * The pipeline: every request runs through this table of stages, from its path to its answer.
 *
 * A row says for which classes of requests it is there. A stage that waits is called again after a
 * wake; one that fails ends the request with a Status. A write that lost a race goes back to
 * "apply" (pipeline_again).
 *
 * Threads: a request runs on its connection's loop; nothing here blocks. Upstream: the handler
 * chain of apiserver/pkg/server and endpoints/handlers.
 */
#include "apiserver/request/pipeline.h"

#include "apiserver/audit/audit.h"
#include "apiserver/auth/auth.h"
#include "apiserver/registry/generic/generic.h"
#include "apiserver/request/documents.h"
#include "apiserver/request/flow.h"
#include "apiserver/request/gzip.h"
#include "apiserver/request/measure.h"
#include "apiserver/request/negotiate.h"
#include "apiserver/request/pretty.h"
#include "apiserver/request/route.h"
#include "apiserver/request/socket.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"
#include "common/log.h"
#include "common/time.h"

/* Classes of requests, as bits. */
enum {
    DOCUMENT = 1 << 0, /* a non-resource path */
    GET = 1 << 1,
    LIST = 1 << 2,
    WATCH = 1 << 3,
    WRITE = 1 << 4,      /* create, update, patch, delete of one object or its subresource */
    COLLECTION = 1 << 5, /* deletecollection */
    HANDLE = 1 << 6,     /* answered by a handler of the kind, without a body: log, exec */
    READ = GET | LIST | WATCH,
    RESOURCE = READ | WRITE | COLLECTION | HANDLE,
    ALL = DOCUMENT | RESOURCE,
    OUTSIDE = 1 << 7,     /* left out for the server's own requests */
    HANDLE_READ = 1 << 8, /* with HANDLE: it shows an object: GET scale */
};

/* A list costs about as much as so many small requests. */
#define LIST_SEATS 10

static stage_fn limits_stage;

static const struct stage {
    const char *name;
    stage_fn *run;
    unsigned classes;
} stages[] = {
    {"route", route_stage, ALL},
    {"authenticate", auth_authenticate_stage, ALL | OUTSIDE},
    {"audit", audit_stage, ALL | OUTSIDE},
    {"authorize", auth_authorize_stage, ALL | OUTSIDE},
    {"check", route_check_stage, RESOURCE},
    {"negotiate", negotiate_stage, RESOURCE},
    {"limits", limits_stage, ALL},
    {"document", documents_stage, DOCUMENT},
    {"fresh", read_fresh_stage, READ | HANDLE_READ},
    {"get", read_get_stage, GET},
    {"list", read_list_stage, LIST},
    {"watch", read_watch_stage, WATCH},
    {"delete collection", collection_delete_stage, COLLECTION},
    {"decode", write_decode_stage, WRITE},
    {"handle", write_handle_stage, WRITE | HANDLE},
    {"apply", write_apply_stage, WRITE},
    {"default", write_default_stage, WRITE},
    {"admit (mutating)", write_admit_stage, WRITE},
    {"validate", write_validate_stage, WRITE},
    {"admit (validating)", write_admitted_stage, WRITE},
    {"store", write_store_stage, WRITE},
    {"encode", write_encode_stage, WRITE},
};

static unsigned class_of(const struct request *q)
{
    if (!*q->plural)
        return DOCUMENT;
    if (c_eq(q->verb, "list"))
        return q->resource && !q->resource->stored ? HANDLE : LIST;
    if (c_eq(q->verb, "watch"))
        return WATCH;
    if (c_eq(q->verb, "deletecollection"))
        return COLLECTION;
    if (q->subresource && q->subresource->connect)
        return HANDLE;
    if (c_eq(q->verb, "get") && q->resource && !q->resource->stored)
        return HANDLE;
    if (c_eq(q->verb, "get"))
        return q->subresource && write_is_handled(q) ? HANDLE | HANDLE_READ : GET;
    return WRITE;
}

static bool is_mutating(const struct request *q)
{
    return q->class_ & (WRITE | COLLECTION);
}

/* A browser writes for another site's page: refused, whatever credentials it carries. */
static bool is_foreign(const struct request *q)
{
    return http1_is_cross_site(request_header(q, "Sec-Fetch-Site"), request_header(q, "Origin"),
        request_header(q, "Host"));
}

/* What a page must not do: writes, and connections that are upgraded or passed on. */
static bool is_guarded(const struct request *q)
{
    if (is_mutating(q) || request_header(q, "Upgrade").n > 0)
        return true;
    return q->class_ & HANDLE && !str_eqc(q->method, "GET") && !str_eqc(q->method, "HEAD");
}

/* ?timeout= makes the deadline earlier, never later. */
static enum stage_result apply_timeout(struct request *q)
{
    struct str text;
    struct error err;
    int64_t ns;

    if (!request_query(q, "timeout", &text) || text.n == 0)
        return STAGE_DONE;
    if (duration_parse(text, &ns, &err) < 0 || ns < 0)
        return request_fail(q, ERR_BAD_REQUEST, "invalid timeout specified in the request URL");
    if (ns > 0 && q->received_ns + ns < q->deadline_ns)
        q->deadline_ns = q->received_ns + ns;
    return STAGE_DONE;
}

/* The body has come, and the server is not overrun. Watches have a bound of their own: streams and
 * connections. */
static enum stage_result limits_stage(struct request *q)
{
    if (!q->counted && !q->trusted && !(q->class_ & (WATCH | DOCUMENT))) {
        bool many = q->class_ & (LIST | COLLECTION);
        if (flow_admit(q, many ? LIST_SEATS : 1) == STAGE_ERROR)
            return STAGE_ERROR;
        q->counted = true;
        measure_inflight(q, is_mutating(q), 1);
    }
    if (is_guarded(q) && is_foreign(q))
        return request_fail(q, ERR_FORBIDDEN, "writes from the pages of other sites are refused");
    if (is_mutating(q) && !q->body_complete)
        return STAGE_WAIT;
    return apply_timeout(q);
}

static void uncount(struct request *q)
{
    if (!q->counted)
        return;
    q->counted = false;
    flow_leave(q);
    measure_inflight(q, is_mutating(q), -1);
}

/* --- the end --- */

static void add_retry_after(struct request *q)
{
    if (q->retry_after_s > 0)
        request_add_header(q, "Retry-After", arena_printf(q->arena, "%d", q->retry_after_s));
}

static void respond(struct request *q)
{
    q->responded = true;
    if (q->class_ & RESOURCE)
        request_add_header(q, "Cache-Control", "no-cache, private");
    if (q->long_running) { /* it has its bounds elsewhere: streams and connections */
        uncount(q);
        measure_long_running(q, 1);
    }
    if (q->class_ & RESOURCE || str_starts(q->path, STR("/api")))
        pretty_response(q);
    audit_respond(q);
    socket_choose(q);
    if (q->class_ & (GET | LIST) && q->status == 200 && !q->trusted && accepts_gzip(q))
        gzip_response(q);
}

static void respond_error(struct request *q)
{
    autojson cJSON *status = NULL;

    add_retry_after(q);
    status = status_of_request(q);
    negotiate_error(q);
    request_reply_json(q, status_code(status), status);
    q->long_running = false;
    respond(q);
}

void request_time_out(struct request *q)
{
    if (q->responded)
        return;
    q->retry_after_s = 0;
    request_refuse(q, ERR_TIMEOUT, "Timeout: request did not complete within the allotted timeout");
}

void request_refuse(struct request *q, enum err code, const char *text)
{
    if (q->responded)
        return;
    if (q->class_ == 0)
        q->class_ = ALL;
    request_fail(q, code, "%s", text);
    respond_error(q);
}

void pipeline_again(struct request *q)
{
    for (size_t i = 0; i < ARRAY_COUNT(stages); i++)
        if (stages[i].run == write_apply_stage)
            q->stage = i - 1; /* request_run() goes one on */
}

static bool is_for(const struct stage *s, const struct request *q)
{
    return s->classes & q->class_ && !(s->classes & OUTSIDE && q->trusted);
}

static bool run(struct request *q)
{
    if (q->stage == 0)
        q->class_ = ALL;
    while (!q->responded && q->stage < ARRAY_COUNT(stages)) {
        const struct stage *s = &stages[q->stage];
        enum stage_result r = is_for(s, q) ? s->run(q) : STAGE_DONE;
        if (r == STAGE_WAIT)
            return false;
        if (q->stage == 0 && r == STAGE_DONE)
            q->class_ = class_of(q);
        if (r == STAGE_ERROR)
            respond_error(q);
        else if (r == STAGE_RESPOND)
            respond(q);
        q->stage++;
        q->stage_state = NULL;
    }
    if (!q->responded) {
        request_fail(q, ERR_INTERNAL, "Internal error occurred: the request was not answered");
        respond_error(q);
    }
    return true;
}

bool request_run(struct request *q)
{
    int64_t start_ns = env_now_ns(q->server->env);
    bool done = run(q);
    int64_t end_ns = env_now_ns(q->server->env);

    flow_charge(q, end_ns, end_ns - start_ns);
    return done;
}

enum body_result request_body(struct request *q, struct strbuf *out)
{
    if (!q->body_next)
        return BODY_END;
    int64_t start_ns = env_now_ns(q->server->env);
    enum body_result r = q->body_next(q, out);
    int64_t end_ns = env_now_ns(q->server->env);

    flow_charge(q, end_ns, end_ns - start_ns);
    return r;
}

void pipeline_finished(struct request *q)
{
    uncount(q);
    audit_finished(q);
    if (!q->responded || q->trusted)
        return;
    if (q->long_running)
        measure_long_running(q, -1);
    measure_answered(q);
}
