/*
 * Streams within one upgraded connection: SPDY streams, WebSocket channels, or SPDY tunnelled
 * through WebSocket, behind one interface.
 *
 * A handler answers a request with channels_accept(), then loops: it polls what channels_poll()
 * asks for together with its own descriptors, has channels_io() move bytes, and is told of what
 * came through its table. What it sends is framed into one buffer; it stops producing while
 * channels_has_room() is false. With SPDY a stream has the id that the client gave it in `opened`;
 * with WebSocket it is the channel's number and nothing is opened.
 *
 * Threads: one, the connection's. Limits: 4 h without traffic end it, as upstream; the handler
 * bounds what it keeps of the input by setting `hold`.
 * Upstream: apimachinery/pkg/util/httpstream (spdy, wsstream), portforward's tunnelling connection.
 */
#pragma once

#include <poll.h>

#include "common/env.h"
#include "common/httpd.h"
#include "common/websocket.h"
#include "kubelet/stream/spdy.h"

struct channels_handler {
    /* SPDY only; e's views live until it returns. */
    void (*opened)(void *arg, const struct spdy_event *e);
    void (*data)(void *arg, uint32_t stream, struct str bytes);
    /* Nothing more comes in this stream; reset: nor may anything be sent. */
    void (*ended)(void *arg, uint32_t stream, bool reset);
};

/* Protocols that a kind of request speaks, best first, NULL ended. */
struct channels_protocols {
    const char *const *spdy, *const *websocket;
    const char *tunnel; /* of WebSocket that carries SPDY, or NULL */
};

struct channels {
    struct httpd_request *request;
    struct env *env;
    const struct channels_handler *handler;
    void *arg;
    const char *protocol; /* as negotiated; "" for none */
    struct spdy *spdy;    /* NULL: WebSocket channels */
    bool is_websocket;    /* frames around everything, SPDY's too */
    bool base64;
    bool hold; /* by the handler: read nothing more for now */
    bool over; /* the connection is of no use any more */
    struct websocket websocket;
    struct strbuf message; /* of a base64 channel, until it is whole */
    int channel;           /* of the message under way; -1: its first byte is awaited */
    bool closing_channel;  /* v5: the message names a channel to close */
    struct strbuf out;
    size_t out_start;
    size_t frame_left; /* of the WebSocket frame that is being written */
    uint32_t last_opened;
    int64_t active_ns;
};

/* Sends 101, or an answer that says why not (then -1 comes back and the request is answered). */
int channels_accept(struct channels *c, struct env *env, struct httpd_request *r,
    const struct channels_protocols *protocols, const struct channels_handler *handler, void *arg);
void channels_done(struct channels *c);

/* Fills two entries: the connection, the server's stop. Returns the longest wait in ms. */
int channels_poll(struct channels *c, struct pollfd *ret);
/* Reads and writes what can be; calls the handler. Sets `over` at the end or after an error. */
void channels_io(struct channels *c, const struct pollfd *polled);
bool channels_has_room(const struct channels *c);

void channels_send(struct channels *c, uint32_t stream, struct str bytes);
/* Nothing more is sent in this stream. (Channels of a WebSocket can't say so.) */
void channels_finish(struct channels *c, uint32_t stream);
void channels_reset(struct channels *c, uint32_t stream);
/* Says goodbye and sends what waits, for at most some seconds. */
void channels_end(struct channels *c);
