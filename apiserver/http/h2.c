/*
 * HTTP/2 on a connection, by nghttp2.
 *
 * A stream is an exchange. nghttp2 asks for body bytes when the stream's and the connection's
 * windows have room; a generator that has nothing is deferred until its request wakes. Request
 * bodies: a stream's window is given back as bytes come, the connection's only when the exchange is
 * over, so bodies hold at most the connection's window (16 MiB) together.
 *
 * Bounds: 250 streams, 64 KiB of headers, resets per second (rapid reset), control frames waiting
 * (nghttp2's own).
 */
#include "apiserver/http/internal.h"

#include "common/log.h"

#define STREAM_WINDOW_BYTES (256u << 10)
#define CONNECTION_WINDOW_BYTES (16 << 20)
#define RESET_BURST 1000
#define RESETS_A_SECOND 100
#define HEADERS_OUT_MAX 128
/* Of a body that was refused already. */
#define WASTE_BYTES_MAX (16u << 20)
#define FRAME_HEAD_BYTES 9

/* --- requests --- */

static struct exchange *exchange_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct connection *c = arg;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (c->exchange_count >= LIMIT_H2_STREAMS)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct exchange *x = exchange_new(c);
    x->stream_id = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(session, x->stream_id, x);
    return 0;
}

static void add_header(struct exchange *x, struct str name, struct str value)
{
    struct arena *a = x->q->arena;

    if (x->header_count == x->header_capacity) {
        size_t capacity = x->header_capacity ? 2 * x->header_capacity : 16;
        struct http1_header *grown = arena_new_array(a, struct http1_header, capacity);
        if (x->header_count > 0)
            memcpy(grown, x->headers, x->header_count * sizeof(*grown));
        x->headers = grown;
        x->header_capacity = capacity;
    }
    x->headers[x->header_count++] = (struct http1_header){arena_str(a, name), arena_str(a, value)};
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct exchange *x = exchange_of(session, frame->hd.stream_id);
    struct str n = str_range((const char *)name, name_n),
               v = str_range((const char *)value, value_n);

    if (!x || x->body_done || x->q->stage > 0)
        return 0; /* trailers mean nothing to us */
    x->header_bytes += name_n + value_n;
    if (x->header_bytes > LIMIT_HEADER_BYTES || x->header_count >= LIMIT_HEADERS)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (str_eqc(n, ":method"))
        x->q->method = arena_str(x->q->arena, v);
    else if (str_eqc(n, ":path"))
        x->q->target = arena_str(x->q->arena, v);
    else if (str_eqc(n, ":authority"))
        add_header(x, STR("host"), v);
    else if (n.n > 0 && n.p[0] != ':')
        add_header(x, n, v);
    return 0;
}

static void begin_request(struct exchange *x)
{
    x->q->headers = x->headers;
    x->q->header_count = x->header_count;
    x->is_head = str_eqc(x->q->method, "HEAD");
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct exchange *x;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    x = exchange_of(session, frame->hd.stream_id);
    if (!x)
        return 0;
    bool is_start = frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (is_start)
        begin_request(x);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM && !x->body_done) {
        if (x->too_large)
            x->body_done = true;
        else
            exchange_body_complete(x);
    } else if (is_start) {
        loop_run_later(x->c->loop, x);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
    size_t n, void *arg)
{
    struct exchange *x = exchange_of(session, stream_id);

    if (!x || x->too_large || x->q->responded) {
        /* Clients take a refusal better when they may finish; but not for ever. */
        nghttp2_session_consume(session, stream_id, n);
        if (x && (x->body_wasted += n) > WASTE_BYTES_MAX)
            h2_reset(x);
        return 0;
    }
    x->progress_ns = loop_now(x->c->loop);
    nghttp2_session_consume_stream(session, stream_id, n);
    x->body_held += n;
    strbuf_add(&x->body, str_range((const char *)data, n));
    if (strbuf_overflowed(&x->body)) {
        x->too_large = true;
        strbuf_done(&x->body);
        exchange_refuse(x, ERR_TOO_LARGE, "Request entity too large: limit is 3145728");
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *arg)
{
    struct exchange *x = exchange_of(session, stream_id);

    if (!x)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    if (x->body_held > 0)
        nghttp2_session_consume_connection(session, x->body_held);
    exchange_free(x);
    loop_dirty(arg);
    struct connection *c = arg;
    if (!c->exchanges)
        loop_deadline(c->loop, loop_now(c->loop) + IDLE_NS);
    return 0;
}

/* --- answers --- */

static struct str body_of(const struct exchange *x)
{
    return x->q->body_next ? strbuf_str(&x->out) : x->q->response_body;
}

/* nghttp2 copies nothing: it calls send_data() for what is announced here. */
static size_t announce(const struct exchange *x, size_t room, uint32_t *flags)
{
    size_t left = body_of(x).n - x->out_start, n = left < room ? left : room;

    if (n > 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == left && (!x->q->body_next || x->ended))
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return n;
}

/* An idle watch holds no buffer. */
static void give_back(struct exchange *x)
{
    if (!x->dozing || x->out_start < x->out.n)
        return;
    loop_take_back(&x->c->loop->spare_body, &x->out);
    x->out_start = 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
    nghttp2_data_source *source, void *arg)
{
    struct connection *c = arg;
    struct exchange *x = source->ptr;
    int64_t now = loop_now(c->loop);

    if (connection_queued(c) >= OUTPUT_ENOUGH_BYTES ||
        (connection_queued(c) > 0 && now > c->produce_until_ns))
        return NGHTTP2_ERR_WOULDBLOCK; /* it asks again */
    strbuf_add(&c->out, str_range((const char *)head, FRAME_HEAD_BYTES));
    strbuf_add(&c->out, str_range(body_of(x).p + x->out_start, n));
    x->out_start += n;
    x->progress_ns = now;
    if (x->q->body_next)
        give_back(x);
    return 0;
}

/* Asks the generator when nothing is left of its last piece. */
static bool refill(struct exchange *x)
{
    strbuf_clear(&x->out);
    x->out_start = 0;
    if (x->ended || x->dozing)
        return true;
    loop_lend(&x->c->loop->spare_body, &x->out);
    switch (request_body(x->q, &x->out)) {
    case BODY_ABORT:
        return false;
    case BODY_END:
        x->ended = true;
        break;
    case BODY_WAIT:
        x->dozing = true;
        break;
    case BODY_CHUNK:
        break;
    }
    if (x->out.n > 0) /* a window that stays shut is noticed */
        loop_deadline(x->c->loop, loop_now(x->c->loop) + 2 * LIMIT_BODY_STALL_NS);
    return true;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct exchange *x = source->ptr;

    if (x->q->body_next && x->out_start == x->out.n && !refill(x))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t n = announce(x, room, flags);
    if (n > 0 || *flags & NGHTTP2_DATA_FLAG_EOF)
        return (ssize_t)n;
    give_back(x);
    x->deferred = true;
    if (!x->dozing) /* an empty piece: it gave its turn away */
        loop_run_later(x->c->loop, x);
    return NGHTTP2_ERR_DEFERRED;
}

static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

/* Names are lower case in HTTP/2. */
static const char *lower(struct arena *a, const char *name)
{
    char *copy = arena_strdup(a, str_of(name));

    for (char *p = copy; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return copy;
}

void h2_send_head(struct exchange *x)
{
    struct request *q = x->q;
    nghttp2_nv headers[HEADERS_OUT_MAX];
    size_t n = 0;
    char status[8], length[24];
    nghttp2_data_provider provider = {.source.ptr = x, .read_callback = read_body};
    bool no_body = x->is_head || q->status == 204 || q->status == 304 ||
                   (!q->body_next && q->response_body.n == 0);

    snprintf(status, sizeof(status), "%d", q->status);
    headers[n++] = header(":status", status);
    headers[n++] = header("date", loop_date(x->c->loop));
    if (q->content_type)
        headers[n++] = header("content-type", q->content_type);
    if (!q->body_next && q->status != 304 && q->status != 204) {
        snprintf(length, sizeof(length), "%zu", q->response_body.n);
        headers[n++] = header("content-length", length);
    }
    for (size_t i = 0; i < q->response_header_count && n < HEADERS_OUT_MAX; i++)
        headers[n++] =
            header(lower(q->arena, q->response_headers[i].name), q->response_headers[i].value);
    if (nghttp2_submit_response(x->c->h2, x->stream_id, headers, n, no_body ? NULL : &provider) !=
        0)
        connection_break(x->c);
}

void h2_resume(struct exchange *x)
{
    if (!x->deferred)
        return;
    x->deferred = false;
    nghttp2_session_resume_data(x->c->h2, x->stream_id);
}

void h2_produce(struct connection *c)
{
    const uint8_t *bytes;

    c->produce_until_ns = loop_now(c->loop) + TURN_NS;
    while (connection_queued(c) < OUTPUT_ENOUGH_BYTES) {
        ssize_t n = nghttp2_session_mem_send(c->h2, &bytes);
        if (n < 0)
            connection_break(c);
        if (n <= 0)
            return;
        strbuf_add(&c->out, str_range((const char *)bytes, (size_t)n));
        if (loop_now(c->loop) > c->produce_until_ns) {
            loop_dirty(c);
            return;
        }
    }
}

/* --- the session --- */

static nghttp2_session_callbacks *new_callbacks(void)
{
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

int h2_start(struct connection *c)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_H2_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEADER_BYTES},
    };
    nghttp2_session_callbacks *callbacks = new_callbacks();
    nghttp2_option *option;

    if (nghttp2_option_new(&option) != 0)
        abort();
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_stream_reset_rate_limit(option, RESET_BURST, RESETS_A_SECOND);
    nghttp2_option_set_max_settings(option, 16);
    int r = nghttp2_session_server_new2(&c->h2, callbacks, c, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (r != 0)
        return -1;
    nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_COUNT(settings));
    nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES);
    return 0;
}

/* The exchanges are gone already: nghttp2 would not tell us of them. */
void h2_free(struct connection *c)
{
    nghttp2_session_del(c->h2);
    c->h2 = NULL;
}

void h2_input(struct connection *c, struct str bytes)
{
    if (c->broken)
        return;
    ssize_t n = nghttp2_session_mem_recv(c->h2, (const uint8_t *)bytes.p, bytes.n);
    if (n < 0) {
        log_debug("HTTP/2 error, closing", "peer", "%s", c->peer, "error", "%s",
            nghttp2_strerror((int)n), NULL);
        connection_break(c);
    }
    loop_dirty(c);
}

bool h2_is_over(const struct connection *c)
{
    return !nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2);
}

void h2_drain(struct connection *c)
{
    nghttp2_submit_goaway(c->h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->h2),
        NGHTTP2_NO_ERROR, NULL, 0);
}

void h2_reset(struct exchange *x)
{
    nghttp2_submit_rst_stream(x->c->h2, NGHTTP2_FLAG_NONE, x->stream_id, NGHTTP2_CANCEL);
    loop_dirty(x->c);
}
