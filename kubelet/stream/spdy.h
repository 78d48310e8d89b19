/*
 * SPDY/3.1, the server's side: frames in, frames out, header blocks. No I/O.
 *
 * What Kubernetes' clients use of it: the client opens streams with SYN_STREAM, the server accepts
 * each with SYN_REPLY; DATA with FIN closes a direction; RST_STREAM ends both; PING is echoed;
 * GOAWAY announces the end. Window updates and settings are read over: the library on the other
 * side has no flow control, so TCP's is all there is.
 *
 * Payloads of DATA frames are handed out as they come, in pieces of any size; control frames are
 * collected, 64 KiB at most. Header blocks share one zlib stream a direction, begun with the
 * dictionary of the protocol.
 *
 * Errors end the session: -ERR_BAD_REQUEST. Threads: none of its own. Fuzzed by
 * tests/fuzz/kubelet_spdy_fuzz.c. Upstream: moby/spdystream.
 */
#pragma once

#include "common/http1.h"

struct spdy;

enum spdy_kind {
    SPDY_MORE, /* nothing complete yet */
    SPDY_OPEN, /* a new stream with its headers */
    SPDY_DATA, /* a piece; fin: the last one */
    SPDY_RESET,
    SPDY_PING, /* echo it: spdy_add_ping */
    SPDY_GOAWAY,
};

#define SPDY_HEADERS_MAX 32

struct spdy_event {
    enum spdy_kind kind;
    uint32_t stream; /* of a ping: its id */
    bool fin;
    struct str bytes;
    struct http1_header headers[SPDY_HEADERS_MAX]; /* of OPEN; valid until the next call */
    size_t header_count;
};

struct spdy *spdy_new(void);
void spdy_free(struct spdy *s);

/* Takes bytes off *in. SPDY_MORE means that *in is used up. */
int spdy_next(struct spdy *s, struct str *in, struct spdy_event *ret, struct error *err);
struct str spdy_header(const struct spdy_event *e, const char *name); /* empty when absent */

void spdy_add_reply(struct spdy *s, struct strbuf *out, uint32_t stream);
/* Large pieces become several frames. */
void spdy_add_data(struct strbuf *out, uint32_t stream, struct str bytes, bool fin);
void spdy_add_reset(struct strbuf *out, uint32_t stream);
void spdy_add_ping(struct strbuf *out, uint32_t id);
void spdy_add_goaway(struct strbuf *out, uint32_t last_stream);
