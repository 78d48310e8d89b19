/*
 * Answers as WebSocket messages: watches and logs for clients that can't read a streamed body.
 *
 * After 101 the generator's bytes become frames: a line each (a watch's events), as they come, or
 * as they come in base64. Of the client only pings and its goodbye are looked at.
 *
 * Upstream: endpoints/handlers/watch.go (HandleWS), apimachinery/pkg/util/httpstream/wsstream.
 */
#include "apiserver/http/internal.h"

#include "common/base64.h"
#include "common/websocket.h"

struct socket {
    struct websocket in;
    struct strbuf line; /* begun, not ended */
};

struct socket *socket_new(struct connection *c, struct request *q)
{
    struct socket *s = xcalloc(1, sizeof(*s));

    strbuf_init(&s->line, 0);
    strbuf_addf(&c->out,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: %s\r\n",
        q->socket_accept);
    if (q->socket_protocol)
        strbuf_addf(&c->out, "Sec-WebSocket-Protocol: %s\r\n", q->socket_protocol);
    strbuf_addc(&c->out, "\r\n");
    return s;
}

void socket_free(struct socket *s)
{
    if (!s)
        return;
    strbuf_done(&s->line);
    free(s);
}

static void add_lines(struct socket *s, struct str bytes, struct strbuf *out)
{
    ssize_t end;

    while ((end = str_find(bytes, '\n')) >= 0) {
        struct str line = str_range(bytes.p, (size_t)end + 1);
        websocket_add_head(out, WEBSOCKET_TEXT, s->line.n + line.n);
        strbuf_add(out, strbuf_str(&s->line));
        strbuf_add(out, line);
        strbuf_done(&s->line);
        bytes = str_range(bytes.p + line.n, bytes.n - line.n);
    }
    strbuf_add(&s->line, bytes);
}

static void add_base64(struct str bytes, struct strbuf *out)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    base64_encode(bytes, &text);
    websocket_add(out, WEBSOCKET_TEXT, strbuf_str(&text));
}

void socket_produce(struct connection *c, struct socket *s, struct exchange *x)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    enum body_result r = request_body(x->q, &bytes);

    if (x->q->socket == SOCKET_LINES)
        add_lines(s, strbuf_str(&bytes), &c->out);
    else if (bytes.n > 0 && x->q->socket == SOCKET_BASE64)
        add_base64(strbuf_str(&bytes), &c->out);
    else if (bytes.n > 0)
        websocket_add(&c->out, WEBSOCKET_BINARY, strbuf_str(&bytes));
    if (r == BODY_WAIT)
        x->dozing = true;
    else if (r == BODY_ABORT)
        connection_break(c);
    else if (r == BODY_END) {
        x->ended = true;
        if (!s->in.closed)
            websocket_add_close(&c->out, 1000);
    }
}

void socket_input(struct connection *c, struct socket *s, struct exchange *x)
{
    struct str in = strbuf_str(&c->in);
    struct websocket_piece piece;
    struct error ignored;

    do {
        bool fine = websocket_next(&s->in, &in, &piece, &ignored) == 0;
        if (piece.kind == WEBSOCKET_PING && connection_queued(c) < OUTPUT_ENOUGH_BYTES)
            websocket_add(&c->out, WEBSOCKET_PONG, piece.bytes);
        if ((!fine || piece.kind == WEBSOCKET_CLOSE) && !x->ended) {
            websocket_add_close(&c->out, s->in.close_code);
            x->ended = true;
        }
        if (!fine)
            break;
    } while (in.n > 0 || piece.kind != WEBSOCKET_MORE);
    strbuf_clear(&c->in);
    loop_dirty(c);
}
