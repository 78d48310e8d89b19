/*
 * HTTP/1.1 on a connection: one exchange at a time; what is pipelined behind it waits.
 *
 * HEAD -> BODY -> ANSWER -> HEAD. The request runs as soon as its head is there, so a refusal needs
 * no body; then the rest of the body is not read and the connection closes after the answer.
 * Generators write chunks straight into the output: the chunk's size has a fixed width and is
 * filled in afterwards.
 */
#include "apiserver/http/internal.h"

#include "common/log.h"

#define CHUNK_SIZE_DIGITS 8

struct h1 {
    enum { H1_HEAD, H1_BODY, H1_ANSWER } state;
    struct exchange *x;
    bool keep_alive, chunked_out, is_old; /* is_old: HTTP/1.0 */
    bool continue_wanted;
    int64_t body_left; /* of a Content-Length; -1: chunked */
    struct http1_chunked chunked;
    struct socket *socket; /* the answer goes out in WebSocket messages, or NULL */
    int64_t head_since_ns; /* the first byte of a head came; 0: none yet */
};

static void wait_for_head(struct connection *c)
{
    c->h1->state = H1_HEAD;
    c->h1->head_since_ns = 0;
    c->deadline_ns = loop_now(c->loop) + IDLE_NS;
    loop_deadline(c->loop, c->deadline_ns);
}

void h1_start(struct connection *c)
{
    c->h1 = xcalloc(1, sizeof(*c->h1));
    wait_for_head(c);
    /* A client that has shaken hands owes a request. */
    c->deadline_ns = loop_now(c->loop) + LIMIT_REQUEST_HEAD_NS;
    loop_deadline(c->loop, c->deadline_ns);
}

void h1_free(struct connection *c)
{
    if (c->h1)
        socket_free(c->h1->socket);
    free(c->h1);
    c->h1 = NULL;
}

/* --- requests --- */

/* What is no HTTP gets a plain answer and the door. */
static void refuse_connection(struct connection *c, int status)
{
    autofree char *body = str_format("%d %s", status, http1_reason(status));

    strbuf_addf(&c->out,
        "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
        "%zu\r\nConnection: close\r\n\r\n%s",
        body, strlen(body), body);
    c->closing = true;
    c->write_progress_ns = loop_now(c->loop);
    strbuf_clear(&c->in);
    loop_dirty(c);
}

static struct str moved(struct str s, const char *from, const char *to)
{
    return str_range(to + (s.p - from), s.n);
}

/* The head's bytes move into the request's arena. */
static void take_head(
    struct connection *c, struct exchange *x, const struct http1_head *head, size_t bytes)
{
    struct request *q = x->q;
    const char *from = c->in.data, *to = arena_strdup(q->arena, str_range(from, bytes));

    q->method = moved(head->method, from, to);
    q->target = moved(head->target, from, to);
    q->headers = arena_new_array(q->arena, struct http1_header, head->header_count);
    q->header_count = head->header_count;
    for (size_t i = 0; i < head->header_count; i++)
        q->headers[i] = (struct http1_header){
            moved(head->headers[i].name, from, to), moved(head->headers[i].value, from, to)};
    x->is_head = str_eqc(q->method, "HEAD");
    strbuf_remove_front(&c->in, bytes);
}

static void begin_exchange(struct connection *c, const struct http1_head *head, size_t bytes)
{
    struct h1 *h = c->h1;
    struct exchange *x = exchange_new(c);

    h->x = x;
    h->is_old = head->minor_version == 0;
    h->keep_alive = head->keep_alive && !c->loop->draining;
    h->continue_wanted = head->expect_continue && !h->is_old;
    h->body_left = head->chunked ? -1 : head->content_length > 0 ? head->content_length : 0;
    h->chunked = (struct http1_chunked){0};
    take_head(c, x, head, bytes);
    c->deadline_ns = 0;
    h->state = H1_BODY;
    if (h->body_left == 0) {
        h->state = H1_ANSWER;
        exchange_body_complete(x);
    } else if (h->body_left > (int64_t)LIMIT_BODY_BYTES) {
        exchange_refuse(x, ERR_TOO_LARGE, "Request entity too large: limit is 3145728");
    } else {
        loop_run_later(c->loop, x);
    }
}

/* true: a head was taken, go on. */
static bool parse_head(struct connection *c)
{
    struct http1_head head;
    struct error err;
    int status = 400;

    if (c->in.n == 0 || c->closing)
        return false;
    ssize_t n = http1_parse_head(strbuf_str(&c->in), &head, &status, &err);
    if (n < 0) {
        refuse_connection(c, status);
        return false;
    }
    if (n == 0) {
        if (c->h1->head_since_ns == 0) {
            c->h1->head_since_ns = loop_now(c->loop);
            c->deadline_ns = c->h1->head_since_ns + LIMIT_REQUEST_HEAD_NS;
            loop_deadline(c->loop, c->deadline_ns);
        }
        return false;
    }
    begin_exchange(c, &head, (size_t)n);
    return true;
}

/* The whole body is there, or can't come; false: more is needed. */
static bool take_body(struct connection *c)
{
    struct h1 *h = c->h1;
    struct exchange *x = h->x;
    struct str in = strbuf_str(&c->in);
    struct error err;
    int done = 0;

    if (h->body_left < 0) {
        done = http1_chunked_decode(&h->chunked, &in, &x->body, &err);
    } else {
        size_t n = in.n < (size_t)h->body_left ? in.n : (size_t)h->body_left;
        strbuf_add(&x->body, str_range(in.p, n));
        in = str_range(in.p + n, in.n - n);
        h->body_left -= (int64_t)n;
        done = h->body_left == 0;
    }
    if (in.n < c->in.n)
        x->progress_ns = loop_now(c->loop);
    strbuf_remove_front(&c->in, c->in.n - in.n);
    if (done < 0) {
        exchange_refuse(x, ERR_BAD_REQUEST, "the body of the request is malformed");
    } else if (strbuf_overflowed(&x->body)) {
        exchange_refuse(x, ERR_TOO_LARGE, "Request entity too large: limit is 3145728");
    } else if (done) {
        exchange_body_complete(x);
    } else {
        return false;
    }
    return true;
}

static void input_body(struct connection *c)
{
    struct h1 *h = c->h1;

    if (h->x->q->responded) { /* refused already: the rest is not wanted */
        strbuf_clear(&c->in);
        return;
    }
    if (h->continue_wanted && h->x->q->stage > 0) {
        h->continue_wanted = false;
        strbuf_addc(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        loop_dirty(c);
    }
    if (c->in.n > 0 && take_body(c))
        h->state = H1_ANSWER;
}

void h1_input(struct connection *c)
{
    struct h1 *h = c->h1;

    if (!h || c->broken)
        return;
    while (h->state == H1_HEAD && parse_head(c))
        ;
    if (h->state == H1_BODY)
        input_body(c);
    else if (h->socket && h->x && c->in.n > 0)
        socket_input(c, h->socket, h->x);
}

/* --- answers --- */

static bool has_no_body(int status)
{
    return status == 204 || status == 304;
}

void h1_send_head(struct exchange *x)
{
    struct connection *c = x->c;
    struct h1 *h = c->h1;
    struct request *q = x->q;
    struct strbuf *out = &c->out;

    if (!x->body_done || c->closing)
        h->keep_alive = false;
    if (q->socket != SOCKET_NONE && !h->is_old && x->body_done) {
        h->keep_alive = false;
        h->socket = socket_new(c, q);
        return;
    }
    h->chunked_out = q->body_next && !h->is_old;
    if (q->body_next && h->is_old)
        h->keep_alive = false;
    strbuf_addf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", q->status, http1_reason(q->status),
        loop_date(c->loop));
    if (q->content_type)
        strbuf_addf(out, "Content-Type: %s\r\n", q->content_type);
    h->chunked_out = h->chunked_out && !has_no_body(q->status);
    for (size_t i = 0; i < q->response_header_count; i++)
        strbuf_addf(out, "%s: %s\r\n", q->response_headers[i].name, q->response_headers[i].value);
    if (h->chunked_out)
        strbuf_addc(out, "Transfer-Encoding: chunked\r\n");
    else if (!q->body_next && !has_no_body(q->status) && !q->upgrade)
        strbuf_addf(out, "Content-Length: %zu\r\n", q->response_body.n);
    if (q->upgrade)
        ; /* it says "Connection: Upgrade" itself */
    else if (!h->keep_alive)
        strbuf_addc(out, "Connection: close\r\n");
    else if (h->is_old)
        strbuf_addc(out, "Connection: keep-alive\r\n");
    strbuf_addc(out, "\r\n");
    if (x->is_head || has_no_body(q->status))
        x->ended = true;
}

struct exchange *h1_upgraded(const struct connection *c)
{
    struct exchange *x = c->h1 ? c->h1->x : NULL;

    return x && x->head_sent && x->q->upgrade ? x : NULL;
}

static void finish_exchange(struct connection *c)
{
    struct h1 *h = c->h1;

    exchange_free(h->x);
    h->x = NULL;
    if (!h->keep_alive) {
        c->closing = true;
        strbuf_clear(&c->in);
        return;
    }
    wait_for_head(c);
    if (c->loop->draining)
        c->closing = true;
    h1_input(c);
}

static void produce_whole(struct exchange *x)
{
    struct connection *c = x->c;
    struct str body = x->q->response_body;
    size_t room = OUTPUT_ENOUGH_BYTES - connection_queued(c);
    size_t n = body.n - x->out_start < room ? body.n - x->out_start : room;

    strbuf_add(&c->out, str_range(body.p + x->out_start, n));
    x->out_start += n;
    x->ended = x->out_start == body.n;
}

static void produce_chunk(struct exchange *x)
{
    struct strbuf *out = &x->c->out;
    bool framed = x->c->h1->chunked_out;
    size_t start = out->n;

    if (framed)
        strbuf_addc(out, "00000000\r\n");
    size_t body_start = out->n;
    enum body_result r = request_body(x->q, out);
    size_t n = out->n - body_start;
    if (n == 0) {
        out->n = start; /* takes the frame back */
        out->data[start] = '\0';
    } else if (framed) {
        char size[CHUNK_SIZE_DIGITS + 1];
        snprintf(size, sizeof(size), "%08X", (unsigned)n);
        memcpy(out->data + start, size, CHUNK_SIZE_DIGITS);
        strbuf_addc(out, "\r\n");
    }
    if (r == BODY_WAIT)
        x->dozing = true;
    else if (r == BODY_ABORT)
        connection_break(x->c);
    else if (r == BODY_END) {
        x->ended = true;
        if (framed)
            strbuf_addc(out, "0\r\n\r\n");
    }
}

void h1_produce(struct connection *c)
{
    struct h1 *h = c->h1;

    while (h->x && h->x->head_sent && !c->broken) {
        struct exchange *x = h->x;
        if (x->q->upgrade)
            return;
        if (x->ended) {
            finish_exchange(c);
            return;
        }
        if (x->dozing || connection_queued(c) >= OUTPUT_ENOUGH_BYTES)
            return;
        if (h->socket)
            socket_produce(c, h->socket, x);
        else if (x->q->body_next)
            produce_chunk(x);
        else
            produce_whole(x);
        if (!x->ended && x->q->body_next) {
            if (!x->dozing)
                loop_dirty(c); /* one chunk a call, and it may have been empty */
            return;
        }
    }
}
