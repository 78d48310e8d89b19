/*
 * Requests of common/httpd: reading heads and bodies, routes, answers, streams, upgrades.
 *
 * The head is copied out of the connection's buffer, so that reading the body can't move it. An
 * answer's head and a small body go out in one write. A body that a handler left unread is drained
 * when it is small, else the connection is closed.
 */
#include "common/httpd_request.h"

#include <assert.h>
#include <poll.h>

#include "common/http_client.h"
#include "common/limits.h"
#include "common/time.h"

#define READ_BYTES 4096u
#define BODY_READ_BYTES (16u << 10)
#define SMALL_BODY_BYTES (16u << 10)
#define DRAIN_BYTES (64u << 10)
#define IDLE_NS (60 * NS_PER_S)

/* ---- answers ---- */

static void add_date(struct conn *c, struct strbuf *out)
{
    time_t seconds = (time_t)(env_wall_ns(c->env) / NS_PER_S);
    struct tm tm;
    char text[40];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    strbuf_addf(out, "Date: %s\r\n", text);
}

/* All of a head but the length and the empty line. */
static void add_head(struct httpd_request *r, int status, const char *type, struct strbuf *out)
{
    strbuf_addf(out, "HTTP/1.1 %d %s\r\n", status, http1_reason(status));
    if (type)
        strbuf_addf(out, "Content-Type: %s\r\n", type);
    strbuf_addc(out, "X-Content-Type-Options: nosniff\r\nCache-Control: no-cache, private\r\n");
    add_date(r->conn, out);
    if (r->close_after)
        strbuf_addc(out, "Connection: close\r\n");
}

static int put(struct httpd_request *r, struct str bytes, struct error *err)
{
    if (r->state == ANSWER_BROKEN)
        return error_set(err, ERR_CLOSED, "the client closed the connection");
    if (conn_write(r->conn, bytes, LIMIT_BODY_STALL_NS, err) < 0) {
        r->state = ANSWER_BROKEN;
        return -err->code;
    }
    return 0;
}

void httpd_reply(struct httpd_request *r, int status, const char *content_type, struct str body)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    struct error ignored; /* a client that is gone needs no answer */
    bool has_body = status != 204 && status != 304;

    assert(r->state == ANSWER_NONE || r->state == ANSWER_BROKEN);
    if (r->state == ANSWER_BROKEN)
        return;
    add_head(r, status, content_type, &out);
    if (has_body)
        strbuf_addf(&out, "Content-Length: %zu\r\n", body.n);
    strbuf_addc(&out, "\r\n");
    r->state = ANSWER_WHOLE;
    if (!has_body || r->is_head)
        body = STR("");
    if (body.n <= SMALL_BODY_BYTES) {
        strbuf_add(&out, body);
        body = STR("");
    }
    if (put(r, strbuf_str(&out), &ignored) == 0 && body.n > 0)
        put(r, body, &ignored);
}

static void reply_text(struct httpd_request *r, int status, const char *text)
{
    autofree char *line = str_format("%s\n", text);

    httpd_reply(r, status, "text/plain; charset=utf-8", str_of(line));
}

int httpd_begin(struct httpd_request *r, int status, const char *content_type, struct error *err)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;

    assert(r->state == ANSWER_NONE || r->state == ANSWER_BROKEN);
    r->chunked_answer = r->head.minor_version == 1;
    if (!r->chunked_answer)
        r->close_after = true;
    add_head(r, status, content_type, &out);
    strbuf_addc(&out, r->chunked_answer ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    if (put(r, strbuf_str(&out), err) < 0)
        return -err->code;
    r->state = ANSWER_STREAM;
    return 0;
}

int httpd_write(struct httpd_request *r, struct str piece, struct error *err)
{
    assert(r->state == ANSWER_STREAM || r->state == ANSWER_BROKEN);
    if (piece.n == 0 || r->is_head)
        return r->state == ANSWER_BROKEN ? put(r, piece, err) : 0;
    if (!r->chunked_answer)
        return put(r, piece, err);
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    strbuf_addf(&out, "%zx\r\n", piece.n);
    if (piece.n <= SMALL_BODY_BYTES) {
        strbuf_add(&out, piece);
        strbuf_addc(&out, "\r\n");
        return put(r, strbuf_str(&out), err);
    }
    if (put(r, strbuf_str(&out), err) < 0 || put(r, piece, err) < 0)
        return -err->code;
    return put(r, STR("\r\n"), err);
}

void httpd_end(struct httpd_request *r)
{
    struct error ignored;

    if (r->state != ANSWER_STREAM)
        return;
    if (r->chunked_answer && !r->is_head && put(r, STR("0\r\n\r\n"), &ignored) < 0)
        return;
    r->state = ANSWER_ENDED;
}

bool httpd_client_gone(struct httpd_request *r)
{
    return r->state == ANSWER_BROKEN || conn_is_gone(r->conn);
}

int httpd_upgrade(struct httpd_request *r, const char *extra_head, struct error *err)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;

    assert(r->state == ANSWER_NONE || r->state == ANSWER_BROKEN);
    strbuf_addc(&out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n");
    strbuf_addc(&out, extra_head ? extra_head : "");
    strbuf_addc(&out, "\r\n");
    r->close_after = true;
    if (put(r, strbuf_str(&out), err) < 0)
        return -err->code;
    r->state = ANSWER_UPGRADED;
    return 0;
}

ssize_t httpd_raw_read(struct httpd_request *r, void *buf, size_t n)
{
    struct conn *c = r->conn;

    assert(r->state == ANSWER_UPGRADED);
    if (c->in.n > 0) { /* came with the request */
        n = n < c->in.n ? n : c->in.n;
        memcpy(buf, c->in.data, n);
        strbuf_remove_front(&c->in, n);
        return (ssize_t)n;
    }
    return conn_try_read(c, buf, n);
}

ssize_t httpd_raw_write(struct httpd_request *r, struct str bytes)
{
    return conn_try_write(r->conn, bytes);
}

int httpd_raw_fd(const struct httpd_request *r)
{
    return r->conn->fd;
}

int httpd_raw_stop_fd(const struct httpd_request *r)
{
    return r->conn->stop_fd;
}

bool httpd_raw_pending(struct httpd_request *r)
{
    return conn_is_buffered(r->conn);
}

/* ---- what a handler may ask ---- */

const struct http1_head *httpd_head(const struct httpd_request *r)
{
    return &r->head;
}

struct str httpd_path(const struct httpd_request *r)
{
    return strbuf_str(&r->path);
}

const char *httpd_peer_name(const struct httpd_request *r)
{
    return r->conn->peer_name;
}

const char *httpd_peer_groups(const struct httpd_request *r)
{
    return r->conn->peer_groups ? r->conn->peer_groups : "";
}

size_t httpd_query_all(struct httpd_request *r, const char *name, struct str *ret, size_t most)
{
    struct str rest = r->query, pair, key;
    struct error ignored;
    size_t n = 0;

    while (n < most && str_split(&rest, '&', &pair)) {
        autostrbuf struct strbuf decoded = STRBUF_EMPTY;
        struct str value = pair;
        if (!str_split(&value, '=', &key) || url_decode(key, true, &decoded, &ignored) < 0 ||
            !str_eqc(strbuf_str(&decoded), name))
            continue;
        struct query_value *v = xcalloc(1, sizeof(*v));
        strbuf_init(&v->text, 0);
        v->next = r->values;
        r->values = v;
        if (url_decode(value, true, &v->text, &ignored) == 0)
            ret[n++] = strbuf_str(&v->text);
    }
    return n;
}

bool httpd_query(struct httpd_request *r, const char *name, struct str *ret)
{
    return httpd_query_all(r, name, ret, 1) == 1;
}

/* ---- the request's body ---- */

/* Moves body bytes from the connection's buffer to out; 1 when the body is complete. */
static int take_body(struct httpd_request *r, struct strbuf *out, struct error *err)
{
    struct conn *c = r->conn;
    struct str in = strbuf_str(&c->in);

    if (r->head.chunked) {
        int done = http1_chunked_decode(&r->chunked, &in, out, err);
        strbuf_remove_front(&c->in, c->in.n - in.n);
        return done;
    }
    size_t n = in.n < (uint64_t)r->body_left ? in.n : (size_t)r->body_left;
    strbuf_add(out, (struct str){in.p, n});
    if (strbuf_overflowed(out))
        return error_set(err, ERR_TOO_LARGE, "the body is larger than %zu bytes", out->limit);
    strbuf_remove_front(&c->in, n);
    r->body_left -= (int64_t)n;
    return r->body_left == 0;
}

static int read_body(struct httpd_request *r, struct strbuf *out, struct error *err)
{
    if (out->limit > 0 && r->head.content_length > 0 &&
        (uint64_t)r->head.content_length > out->limit)
        return error_set(err, ERR_TOO_LARGE, "the body is larger than %zu bytes", out->limit);
    if (r->head.expect_continue && !r->continue_sent && r->conn->in.n == 0) {
        r->continue_sent = true;
        if (put(r, STR("HTTP/1.1 100 Continue\r\n\r\n"), err) < 0)
            return -err->code;
    }
    for (;;) {
        int done = take_body(r, out, err);
        if (done != 0)
            return done;
        ssize_t got = conn_fill(
            r->conn, BODY_READ_BYTES, env_now_ns(r->conn->env) + LIMIT_BODY_STALL_NS, err);
        if (got == 0)
            return error_set(err, ERR_CLOSED, "the client closed the connection within the body");
        if (got < 0)
            return (int)got;
    }
}

int httpd_body(struct httpd_request *r, size_t limit, struct strbuf *out, struct error *err)
{
    if (r->body_done)
        return 0;
    out->limit = limit;
    int result = read_body(r, out, err);
    if (result < 0) {
        r->close_after = true;
        return -err->code;
    }
    r->body_done = true;
    return 0;
}

/* A body that nobody wanted is read and dropped when that is cheap; false when the connection must
 * go. */
static bool drain_body(struct httpd_request *r)
{
    autostrbuf struct strbuf dropped;
    struct error ignored;

    if (r->body_done)
        return true;
    if ((r->head.expect_continue && !r->continue_sent) || r->close_after)
        return false;
    strbuf_init(&dropped, DRAIN_BYTES);
    return httpd_body(r, DRAIN_BYTES, &dropped, &ignored) == 0;
}

/* ---- reading and routing ---- */

void httpd_refuse(struct conn *conn, int status, const char *text)
{
    struct httpd_request r = {.conn = conn, .close_after = true};

    reply_text(&r, status, text);
}

/* Reads a head into r; 0 when the connection ended or an answer was given already. */
static int read_head(struct httpd_request *r, bool is_first)
{
    struct conn *c = r->conn;
    struct error err;
    int status;
    int64_t now = env_now_ns(c->env);
    bool is_begun = c->in.n > 0;
    int64_t deadline_ns = now + (is_first || is_begun ? LIMIT_REQUEST_HEAD_NS : IDLE_NS);

    for (;;) {
        ssize_t n = http1_parse_head(strbuf_str(&c->in), &r->head, &status, &err);
        if (n > 0) {
            strbuf_add(&r->head_text, (struct str){c->in.data, (size_t)n});
            strbuf_remove_front(&c->in, (size_t)n);
            break;
        }
        if (n < 0) {
            httpd_refuse(c, status, err.text);
            conn_linger(c);
            return 0;
        }
        ssize_t got = conn_fill(c, READ_BYTES, deadline_ns, &err);
        if (got == -ERR_TIMEOUT && c->in.n > 0)
            httpd_refuse(c, 408, "the request's head didn't arrive in time");
        if (got <= 0)
            return 0;
        if (!is_begun && !is_first)
            deadline_ns = env_now_ns(c->env) + LIMIT_REQUEST_HEAD_NS;
        is_begun = true;
    }
    ssize_t again = http1_parse_head(strbuf_str(&r->head_text), &r->head, &status, &err);
    assert(again > 0);
    return 1;
}

static bool has_dot_segment(struct str path)
{
    struct str segment;

    while (str_split(&path, '/', &segment))
        if (str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
            return true;
    return false;
}

static int set_target(struct httpd_request *r, struct error *err)
{
    struct str target = r->head.target, path;

    if (target.p[0] != '/')
        return error_set(err, ERR_BAD_REQUEST, "the request target must be a path");
    if (!str_split(&target, '?', &path))
        path = r->head.target;
    r->query = target;
    if (url_decode(path, false, &r->path, err) < 0)
        return -err->code;
    if (has_dot_segment(strbuf_str(&r->path)))
        return error_set(err, ERR_BAD_REQUEST, "the path holds \".\" or \"..\"");
    return 0;
}

static bool route_has_path(const struct httpd_route *route, struct str path)
{
    struct str wanted = str_of(route->path);

    return wanted.n > 0 && wanted.p[wanted.n - 1] == '/' ? str_starts(path, wanted)
                                                         : str_eq(path, wanted);
}

static bool route_has_method(const struct httpd_route *route, struct str method)
{
    if (!route->method || str_eqc(method, route->method))
        return true;
    return str_eq(method, STR("HEAD")) && !strcmp(route->method, "GET");
}

static void handle(const struct httpd_config *config, struct httpd_request *r)
{
    struct str path = httpd_path(r);
    const struct httpd_route *route = NULL;
    bool has_path = false;
    struct error err;

    for (size_t i = 0; i < config->route_count && !route; i++) {
        if (!route_has_path(&config->routes[i], path))
            continue;
        has_path = true;
        if (route_has_method(&config->routes[i], r->head.method))
            route = &config->routes[i];
    }
    if (!route || !route->anonymous) { /* strangers don't learn which pages there are */
        int refused = config->authorize ? config->authorize(config->arg, r, &err)
                                        : error_set(&err, ERR_FORBIDDEN, "Forbidden");
        if (refused < 0) {
            reply_text(r, error_http_status(err.code), err.text);
            return;
        }
    }
    if (!has_path)
        reply_text(r, 404, "404 page not found");
    else if (!route)
        reply_text(r, 405, "405 method not allowed");
    else
        route->handler(config->arg, r);
    if (r->state == ANSWER_NONE)
        reply_text(r, 500, "the page gave no answer");
}

static void request_done(struct httpd_request *r)
{
    while (r->values) {
        struct query_value *v = r->values;
        r->values = v->next;
        strbuf_done(&v->text);
        free(v);
    }
    strbuf_done(&r->path);
    strbuf_done(&r->head_text);
}

/* One request; false when the connection is to be closed. */
static bool serve_one(const struct httpd_config *config, struct conn *conn, bool is_first)
{
    struct httpd_request r = {.conn = conn};
    struct error err;
    bool keep = false;

    strbuf_init(&r.head_text, 0);
    strbuf_init(&r.path, 0);
    if (read_head(&r, is_first)) {
        r.is_head = str_eq(r.head.method, STR("HEAD"));
        r.close_after = !r.head.keep_alive;
        r.body_left = r.head.content_length > 0 ? r.head.content_length : 0;
        r.body_done = !r.head.chunked && r.body_left == 0;
        if (set_target(&r, &err) < 0)
            reply_text(&r, 400, err.text);
        else
            handle(config, &r);
        bool is_answered = r.state == ANSWER_WHOLE || r.state == ANSWER_ENDED;
        keep = is_answered && drain_body(&r) && !r.close_after;
        if ((is_answered && !r.body_done) || r.state == ANSWER_UPGRADED)
            conn_linger(conn);
    }
    request_done(&r);
    return keep;
}

void httpd_serve(const struct httpd_config *config, struct conn *conn)
{
    for (bool is_first = true; serve_one(config, conn, is_first); is_first = false)
        if (conn->in.n == 0) {
            strbuf_done(&conn->in); /* nothing is held while the client is idle */
            strbuf_init(&conn->in, 0);
        }
}
