/*
 * WebSocket (RFC 6455), the server's side: handshake values, frames in, frames out. No I/O.
 *
 *     struct websocket w = {0};
 *     while (bytes.n > 0 && !w.closed) {
 *         struct websocket_piece piece;
 *         if (websocket_next(&w, &bytes, &piece, &err) < 0)
 *             ... websocket_add_close(out, w.close_code);
 *         if (piece.kind == WEBSOCKET_PING)
 *             websocket_add(out, WEBSOCKET_PONG, piece.bytes);
 *     }
 *
 * Payloads of data frames are handed out as they come, in pieces of any size, so nothing is
 * buffered; control frames come whole. Refused, as the RFC asks: unmasked frames, reserved bits and
 * opcodes, fragmented or large control frames, continuations of nothing. Extensions are not
 * offered.
 *
 * Threads: none of its own. Fuzzed by tests/fuzz/websocket_fuzz.c. Upstream uses
 * golang.org/x/net/websocket and gorilla/websocket.
 */
#pragma once

#include "common/str.h"

enum websocket_kind {
    WEBSOCKET_MORE = -1, /* nothing complete yet */
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

struct websocket {
    unsigned char head[14];
    size_t head_bytes;
    uint64_t left; /* of the frame's payload */
    unsigned mask_at;
    int message; /* kind of the message under way; 0: none */
    bool message_begun;
    unsigned char control[125];
    size_t control_bytes;
    bool closed;    /* a close frame came: nothing more is read */
    int close_code; /* what to answer: 1000, or 1002 after a violation */
};

struct websocket_piece {
    int kind;          /* of the whole message: TEXT or BINARY; or a control frame's; or MORE */
    struct str bytes;  /* unmasked in place */
    bool begins, ends; /* the message */
};

/* Takes bytes off *in, whose memory is changed (unmasked). Data pieces may be empty. 0, or
 * -ERR_BAD_REQUEST with close_code set. */
int websocket_next(
    struct websocket *w, struct str *in, struct websocket_piece *ret, struct error *err);

/* One whole, unmasked frame. */
void websocket_add(struct strbuf *out, int kind, struct str payload);
/* Only its head: `bytes` of payload follow. */
void websocket_add_head(struct strbuf *out, int kind, uint64_t bytes);
/* Bytes of the unmasked frame at the beginning, its head too. */
size_t websocket_frame_size(struct str frames);
void websocket_add_close(struct strbuf *out, int code);

/* Sec-WebSocket-Accept for the client's Sec-WebSocket-Key; ERR_BAD_REQUEST unless that is 16 bytes
 * in base64. */
int websocket_accept(struct str key, struct strbuf *out, struct error *err);
/* The first of the client's comma-separated protocols that the server has (NULL ended); NULL when
 * there is none. */
const char *websocket_choose(struct str offered, const char *const *served);
