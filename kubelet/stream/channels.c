/*
 * Streams within a connection: see channels.h.
 *
 * Output of SPDY goes into `out` as it is, or, tunnelled, as one WebSocket message a call. Input is
 * read in pieces of 16 KiB and handed out without copying, but for base64 messages.
 */
#include "kubelet/stream/channels.h"

#include "common/base64.h"
#include "common/log.h"
#include "common/time.h"

#define READ_BYTES (16u << 10)
#define TURN_READS 8
#define OUTPUT_ENOUGH_BYTES (256u << 10)
#define KEEP_BYTES (16u << 10)
#define MESSAGE_BYTES_MAX (1u << 20) /* of a base64 channel */
#define IDLE_NS (4 * 3600 * NS_PER_S)
#define END_NS (10 * NS_PER_S)
#define CLOSE_SIGNAL 255

/* --- the handshake --- */

static int refuse(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", str_of(text));
    return -1;
}

/* The server's first choice among X-Stream-Protocol-Version's values; *ret "" when none is sent. */
static bool choose_spdy(
    const struct http1_head *head, const char *const *served, const char **ret, struct strbuf *sent)
{
    *ret = "";
    for (size_t i = 0; i < head->header_count; i++) {
        struct str value = head->headers[i].value;
        if (!str_eq_nocase(head->headers[i].name, STR("X-Stream-Protocol-Version")))
            continue;
        strbuf_addf(sent, "%s%.*s", sent->n ? " " : "", STR_FMT(value));
        const char *chosen = websocket_choose(value, served);
        if (chosen) {
            *ret = chosen;
            return true;
        }
    }
    return sent->n == 0;
}

static int accept_spdy(struct channels *c, const struct channels_protocols *protocols)
{
    const struct http1_head *head = httpd_head(c->request);
    autostrbuf struct strbuf sent = STRBUF_EMPTY, extra = STRBUF_EMPTY;
    struct error err;

    if (!choose_spdy(head, protocols->spdy, &c->protocol, &sent)) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        strbuf_addf(&text, "unable to negotiate protocol: client supports [%s], server accepts [",
            sent.data);
        for (const char *const *p = protocols->spdy; *p; p++)
            strbuf_addf(&text, "%s%s", p == protocols->spdy ? "" : " ", *p);
        strbuf_addc(&text, "]");
        return refuse(c->request, 403, text.data);
    }
    strbuf_addc(&extra, "Upgrade: SPDY/3.1\r\n");
    if (*c->protocol)
        strbuf_addf(&extra, "X-Stream-Protocol-Version: %s\r\n", c->protocol);
    if (httpd_upgrade(c->request, extra.data, &err) < 0)
        return -1;
    c->spdy = spdy_new();
    return 0;
}

static int accept_websocket(struct channels *c, const struct channels_protocols *protocols)
{
    const struct http1_head *head = httpd_head(c->request);
    struct str offered = http1_header(head, "Sec-WebSocket-Protocol");
    autostrbuf struct strbuf extra = STRBUF_EMPTY;
    struct error err;

    if (!str_eqc(http1_header(head, "Sec-WebSocket-Version"), "13") ||
        !str_eqc(head->method, "GET"))
        return refuse(c->request, 400, "missing or bad WebSocket Version");
    strbuf_addc(&extra, "Upgrade: websocket\r\nSec-WebSocket-Accept: ");
    if (websocket_accept(http1_header(head, "Sec-WebSocket-Key"), &extra, &err) < 0)
        return refuse(c->request, 400, err.text);
    strbuf_addc(&extra, "\r\n");
    const char *tunnel[] = {protocols->tunnel, NULL};
    bool tunnelled = protocols->tunnel && websocket_choose(offered, tunnel);
    c->protocol = tunnelled ? protocols->tunnel : websocket_choose(offered, protocols->websocket);
    if (!c->protocol && offered.n > 0)
        return refuse(c->request, 400, "bad protocol");
    if (!c->protocol)
        c->protocol = "";
    if (*c->protocol)
        strbuf_addf(&extra, "Sec-WebSocket-Protocol: %s\r\n", c->protocol);
    if (httpd_upgrade(c->request, extra.data, &err) < 0)
        return -1;
    c->is_websocket = true;
    c->base64 = strstr(c->protocol, "base64.") != NULL;
    if (tunnelled)
        c->spdy = spdy_new();
    return 0;
}

int channels_accept(struct channels *c, struct env *env, struct httpd_request *r,
    const struct channels_protocols *protocols, const struct channels_handler *handler, void *arg)
{
    const struct http1_head *head = httpd_head(r);
    struct str upgrade = http1_header(head, "Upgrade");

    *c = (struct channels){.request = r,
        .env = env,
        .handler = handler,
        .arg = arg,
        .protocol = "",
        .channel = -1,
        .active_ns = env_now_ns(env)};
    strbuf_init(&c->out, 0);
    strbuf_init(&c->message, MESSAGE_BYTES_MAX);
    if (http1_is_cross_site(http1_header(head, "Sec-Fetch-Site"), http1_header(head, "Origin"),
            http1_header(head, "Host")))
        return refuse(r, 403, "requests from the pages of other sites are refused");
    if (head->upgrade && str_eq_nocase(upgrade, STR("SPDY/3.1")))
        return accept_spdy(c, protocols);
    if (head->upgrade && str_eq_nocase(upgrade, STR("websocket")))
        return accept_websocket(c, protocols);
    return refuse(r, 400, "unable to upgrade: missing upgrade headers in request");
}

void channels_done(struct channels *c)
{
    spdy_free(c->spdy);
    strbuf_done(&c->out);
    strbuf_done(&c->message);
}

/* --- output --- */

bool channels_has_room(const struct channels *c)
{
    return c->out.n - c->out_start < OUTPUT_ENOUGH_BYTES;
}

/* What SPDY has appended behind `start` becomes one message of the tunnel. */
static void wrap(struct channels *c, size_t start)
{
    if (!c->is_websocket || c->out.n == start)
        return;
    autostrbuf struct strbuf frames = STRBUF_EMPTY;
    strbuf_add(&frames, str_range(c->out.data + start, c->out.n - start));
    c->out.n = start;
    websocket_add(&c->out, WEBSOCKET_BINARY, strbuf_str(&frames));
}

void channels_send(struct channels *c, uint32_t stream, struct str bytes)
{
    size_t start = c->out.n;

    if (c->spdy) {
        if (bytes.n > 0)
            spdy_add_data(&c->out, stream, bytes, false);
        wrap(c, start);
    } else if (c->base64) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        strbuf_add_char(&text, (char)('0' + stream));
        base64_encode(bytes, &text);
        websocket_add(&c->out, WEBSOCKET_TEXT, strbuf_str(&text));
    } else {
        websocket_add_head(&c->out, WEBSOCKET_BINARY, bytes.n + 1);
        strbuf_add_char(&c->out, (char)stream);
        strbuf_add(&c->out, bytes);
    }
}

void channels_finish(struct channels *c, uint32_t stream)
{
    size_t start = c->out.n;

    if (c->spdy)
        spdy_add_data(&c->out, stream, STR(""), true);
    wrap(c, start);
}

void channels_reset(struct channels *c, uint32_t stream)
{
    size_t start = c->out.n;

    if (c->spdy)
        spdy_add_reset(&c->out, stream);
    wrap(c, start);
}

/* Each WebSocket frame begins a TLS record of its own: some clients look at the socket only, and
 * miss a second frame that TLS holds for them already. */
static size_t write_size(struct channels *c)
{
    size_t waiting = c->out.n - c->out_start;

    if (!c->is_websocket)
        return waiting;
    if (c->frame_left == 0)
        c->frame_left = websocket_frame_size(str_range(c->out.data + c->out_start, waiting));
    return c->frame_left;
}

static void flush(struct channels *c)
{
    while (!c->over && c->out_start < c->out.n) {
        ssize_t n =
            httpd_raw_write(c->request, str_range(c->out.data + c->out_start, write_size(c)));
        if (n == HTTPD_RAW_WAIT)
            return;
        if (n < 0) {
            c->over = true;
        } else {
            c->out_start += (size_t)n;
            c->frame_left -= c->is_websocket ? (size_t)n : 0;
        }
        c->active_ns = env_now_ns(c->env);
    }
    c->out_start = 0;
    strbuf_clear(&c->out);
    if (c->out.capacity > KEEP_BYTES)
        strbuf_done(&c->out);
}

/* --- input --- */

static void spdy_event(struct channels *c, const struct spdy_event *e)
{
    size_t start = c->out.n;

    switch (e->kind) {
    case SPDY_OPEN:
        c->last_opened = e->stream;
        spdy_add_reply(c->spdy, &c->out, e->stream);
        wrap(c, start);
        c->handler->opened(c->arg, e);
        if (e->fin)
            c->handler->ended(c->arg, e->stream, false);
        break;
    case SPDY_DATA:
        if (e->bytes.n > 0)
            c->handler->data(c->arg, e->stream, e->bytes);
        if (e->fin)
            c->handler->ended(c->arg, e->stream, false);
        break;
    case SPDY_RESET:
        c->handler->ended(c->arg, e->stream, true);
        break;
    case SPDY_PING:
        spdy_add_ping(&c->out, e->stream);
        wrap(c, start);
        break;
    case SPDY_GOAWAY: /* the client closes the connection next */
    case SPDY_MORE:
        break;
    }
}

static int feed_spdy(struct channels *c, struct str bytes, struct error *err)
{
    struct spdy_event e;

    do {
        if (spdy_next(c->spdy, &bytes, &e, err) < 0)
            return -err->code;
        spdy_event(c, &e);
    } while (e.kind != SPDY_MORE);
    return 0;
}

static void base64_message(struct channels *c)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    struct str text = strbuf_str(&c->message);
    struct error err;

    if (strbuf_overflowed(&c->message) || text.n == 0 ||
        base64_decode(str_range(text.p + 1, text.n - 1), &bytes, &err) < 0)
        c->over = true; /* nobody knows what was meant */
    else if (bytes.n > 0)
        c->handler->data(c->arg, (uint32_t)(text.p[0] - '0') & 0xff, strbuf_str(&bytes));
    strbuf_clear(&c->message);
}

/* A piece of a channel's message: its first byte is the channel. */
static void channel_piece(struct channels *c, const struct websocket_piece *piece)
{
    struct str bytes = piece->bytes;

    if (c->base64) {
        strbuf_add(&c->message, bytes);
        if (piece->ends)
            base64_message(c);
        return;
    }
    if (piece->begins) {
        c->channel = -1;
        c->closing_channel = false;
    }
    if (c->channel < 0 && bytes.n > 0) {
        c->channel = (unsigned char)bytes.p[0];
        bytes = str_range(bytes.p + 1, bytes.n - 1);
        c->closing_channel =
            c->channel == CLOSE_SIGNAL && str_starts(str_of(c->protocol), STR("v5."));
    }
    if (bytes.n == 0)
        return;
    if (c->closing_channel)
        c->handler->ended(c->arg, (unsigned char)bytes.p[0], false);
    else
        c->handler->data(c->arg, (uint32_t)c->channel, bytes);
}

static int websocket_piece(
    struct channels *c, const struct websocket_piece *piece, struct error *err)
{
    switch (piece->kind) {
    case WEBSOCKET_CLOSE:
        websocket_add_close(&c->out, c->websocket.close_code);
        flush(c);
        c->over = true;
        return 0;
    case WEBSOCKET_PING:
        websocket_add(&c->out, WEBSOCKET_PONG, piece->bytes);
        return 0;
    case WEBSOCKET_TEXT:
    case WEBSOCKET_BINARY:
        if (c->spdy)
            return feed_spdy(c, piece->bytes, err);
        channel_piece(c, piece);
        return 0;
    default:
        return 0;
    }
}

static int feed_websocket(struct channels *c, struct str bytes, struct error *err)
{
    struct websocket_piece piece;

    do {
        if (websocket_next(&c->websocket, &bytes, &piece, err) < 0) {
            websocket_add_close(&c->out, c->websocket.close_code);
            flush(c);
            return -err->code;
        }
        if (websocket_piece(c, &piece, err) < 0)
            return -err->code;
    } while (!c->over && (bytes.n > 0 || piece.kind != WEBSOCKET_MORE));
    return 0;
}

static void read_some(struct channels *c)
{
    char buffer[READ_BYTES];
    struct error err;

    for (int i = 0; i < TURN_READS && !c->over && !c->hold; i++) {
        ssize_t n = httpd_raw_read(c->request, buffer, sizeof(buffer));
        if (n == HTTPD_RAW_WAIT)
            return;
        if (n <= 0) {
            c->over = true;
            return;
        }
        c->active_ns = env_now_ns(c->env);
        struct str bytes = str_range(buffer, (size_t)n);
        int r = c->is_websocket ? feed_websocket(c, bytes, &err) : feed_spdy(c, bytes, &err);
        if (r < 0) {
            log_info("stream ended, the client breaks the protocol", "error", "%s", err.text, NULL);
            c->over = true;
        }
    }
}

/* --- turns --- */

int channels_poll(struct channels *c, struct pollfd *ret)
{
    int64_t left = c->active_ns + IDLE_NS - env_now_ns(c->env);
    /* A client whose pings and openings are not answered must not go on. */
    bool reads = !c->hold && channels_has_room(c);

    ret[0] = (struct pollfd){.fd = httpd_raw_fd(c->request),
        .events =
            (short)(POLLRDHUP | (reads ? POLLIN : 0) | (c->out.n > c->out_start ? POLLOUT : 0))};
    ret[1] = (struct pollfd){.fd = httpd_raw_stop_fd(c->request), .events = POLLIN};
    if (reads && httpd_raw_pending(c->request))
        return 0;
    return left <= 0 ? 0 : (int)(left / NS_PER_MS) + 1;
}

void channels_io(struct channels *c, const struct pollfd *polled)
{
    if (polled[1].revents || env_now_ns(c->env) > c->active_ns + IDLE_NS) {
        c->over = true;
        return;
    }
    if (polled[0].revents & (POLLERR | POLLNVAL))
        c->over = true;
    if (!c->hold && channels_has_room(c))
        read_some(c);
    else if (polled[0].revents & (POLLHUP | POLLRDHUP)) /* it will never take or say anything */
        c->over = true;
    flush(c);
}

void channels_end(struct channels *c)
{
    int64_t deadline_ns = env_now_ns(c->env) + END_NS;
    size_t start = c->out.n;

    if (c->spdy)
        spdy_add_goaway(&c->out, c->last_opened);
    wrap(c, start);
    if (c->is_websocket && !c->websocket.closed)
        websocket_add_close(&c->out, 1000);
    for (flush(c); !c->over && c->out.n > c->out_start; flush(c)) {
        struct pollfd fds[2] = {{.fd = httpd_raw_fd(c->request), .events = POLLOUT},
            {.fd = httpd_raw_stop_fd(c->request), .events = POLLIN}};
        int64_t left = deadline_ns - env_now_ns(c->env);
        if (left <= 0 || poll(fds, 2, (int)(left / NS_PER_MS) + 1) <= 0 || fds[1].revents)
            break;
    }
}
