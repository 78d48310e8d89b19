/*
 * WebSocket frames: see websocket.h. A frame's head is collected, then its payload is unmasked and
 * handed out where it lies.
 */
#include "common/websocket.h"

#include <openssl/evp.h>

#include "common/base64.h"

#define ACCEPT_SALT "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define FIN 0x80
#define MASKED 0x80
#define CLOSE_PROTOCOL 1002

static int violation(struct websocket *w, struct error *err, const char *why)
{
    w->close_code = CLOSE_PROTOCOL;
    w->closed = true;
    return error_set(err, ERR_BAD_REQUEST, "websocket: %s", why);
}

/* Bytes of the head that begins with these two. */
static size_t head_size(const struct websocket *w)
{
    unsigned length = w->head[1] & 0x7f;

    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
}

static int kind_of(const struct websocket *w)
{
    return w->head[0] & 0x0f;
}

static bool is_control(const struct websocket *w)
{
    return w->head[0] & 0x08;
}

static int check_start(struct websocket *w, struct error *err)
{
    int kind = kind_of(w);

    if (w->head[0] & 0x70)
        return violation(w, err, "reserved bits are set");
    if (!(w->head[1] & MASKED))
        return violation(w, err, "a client's frame is not masked");
    if ((kind > WEBSOCKET_BINARY && kind < WEBSOCKET_CLOSE) || kind > WEBSOCKET_PONG)
        return violation(w, err, "unknown opcode");
    if (is_control(w) && (!(w->head[0] & FIN) || (w->head[1] & 0x7f) > 125))
        return violation(w, err, "a control frame is fragmented or too large");
    if (kind == WEBSOCKET_CONTINUATION && !w->message)
        return violation(w, err, "a continuation of nothing");
    if ((kind == WEBSOCKET_TEXT || kind == WEBSOCKET_BINARY) && w->message)
        return violation(w, err, "a message within a message");
    return 0;
}

static int begin_frame(struct websocket *w, struct error *err)
{
    size_t mask = head_size(w) - 4;

    w->left = w->head[1] & 0x7f;
    if (mask > 2) {
        w->left = 0;
        for (size_t i = 2; i < mask; i++)
            w->left = w->left << 8 | w->head[i];
    }
    if (w->left >> 63)
        return violation(w, err, "a frame's length is negative");
    w->mask_at = 0;
    w->control_bytes = 0;
    if (kind_of(w) == WEBSOCKET_TEXT || kind_of(w) == WEBSOCKET_BINARY) {
        w->message = kind_of(w);
        w->message_begun = false;
    }
    return 0;
}

/* 1 once the head is whole. */
static int take_head(struct websocket *w, struct str *in, struct error *err)
{
    while (in->n > 0) {
        w->head[w->head_bytes++] = (unsigned char)in->p[0];
        *in = str_range(in->p + 1, in->n - 1);
        if (w->head_bytes == 2 && check_start(w, err) < 0)
            return -ERR_BAD_REQUEST;
        if (w->head_bytes >= 2 && w->head_bytes == head_size(w))
            return begin_frame(w, err) < 0 ? -ERR_BAD_REQUEST : 1;
    }
    return 0;
}

static void unmask(struct websocket *w, struct str bytes)
{
    const unsigned char *mask = w->head + head_size(w) - 4;
    char *p = (char *)(uintptr_t)bytes.p;

    for (size_t i = 0; i < bytes.n; i++)
        p[i] = (char)(p[i] ^ mask[(w->mask_at + i) & 3]);
    w->mask_at = (w->mask_at + (unsigned)(bytes.n & 3)) & 3;
}

static void end_control(struct websocket *w, struct websocket_piece *ret)
{
    *ret = (struct websocket_piece){.kind = kind_of(w),
        .bytes = str_range((const char *)w->control, w->control_bytes),
        .begins = true,
        .ends = true};
    if (ret->kind == WEBSOCKET_CLOSE) {
        w->closed = true;
        w->close_code = 1000;
    }
}

int websocket_next(
    struct websocket *w, struct str *in, struct websocket_piece *ret, struct error *err)
{
    *ret = (struct websocket_piece){.kind = WEBSOCKET_MORE};
    if (w->closed) {
        *in = STR("");
        return 0;
    }
    if (w->head_bytes < 2 || w->head_bytes < head_size(w)) {
        int r = take_head(w, in, err);
        if (r <= 0)
            return r;
    }
    struct str bytes = str_range(in->p, in->n < w->left ? in->n : (size_t)w->left);
    unmask(w, bytes);
    *in = str_range(in->p + bytes.n, in->n - bytes.n);
    w->left -= bytes.n;
    bool frame_ends = w->left == 0;
    if (is_control(w)) {
        if (bytes.n > 0)
            memcpy(w->control + w->control_bytes, bytes.p, bytes.n);
        w->control_bytes += bytes.n;
        if (frame_ends)
            end_control(w, ret);
    } else if (bytes.n > 0 || frame_ends) {
        *ret = (struct websocket_piece){.kind = w->message,
            .bytes = bytes,
            .begins = !w->message_begun,
            .ends = frame_ends && (w->head[0] & FIN)};
        w->message_begun = true;
        if (ret->ends)
            w->message = 0;
    }
    if (frame_ends)
        w->head_bytes = 0;
    return 0;
}

void websocket_add_head(struct strbuf *out, int kind, uint64_t bytes)
{
    char head[10] = {(char)(FIN | kind)};
    size_t n = 2;

    if (bytes < 126) {
        head[1] = (char)bytes;
    } else {
        size_t wide = bytes <= 0xffff ? 2 : 8;
        head[1] = wide == 2 ? 126 : 127;
        for (size_t i = 0; i < wide; i++)
            head[n++] = (char)(bytes >> 8 * (wide - 1 - i));
    }
    strbuf_add(out, str_range(head, n));
}

size_t websocket_frame_size(struct str frames)
{
    const unsigned char *p = (const unsigned char *)frames.p;
    size_t n = p[1], wide = n == 126 ? 2 : n == 127 ? 8 : 0;

    if (wide > 0)
        n = 0;
    for (size_t i = 0; i < wide; i++)
        n = n << 8 | p[2 + i];
    return 2 + wide + n;
}

void websocket_add(struct strbuf *out, int kind, struct str payload)
{
    websocket_add_head(out, kind, payload.n);
    strbuf_add(out, payload);
}

void websocket_add_close(struct strbuf *out, int code)
{
    char payload[] = {(char)(code >> 8), (char)code};

    websocket_add(out, WEBSOCKET_CLOSE, str_range(payload, sizeof(payload)));
}

int websocket_accept(struct str key, struct strbuf *out, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (base64_decode(key, &text, err) < 0 || text.n != 16)
        return error_set(
            err, ERR_BAD_REQUEST, "challenge/response mismatch: bad Sec-WebSocket-Key");
    strbuf_clear(&text);
    strbuf_add(&text, key);
    strbuf_addc(&text, ACCEPT_SALT);
    if (EVP_Digest(text.data, text.n, digest, &n, EVP_sha1(), NULL) != 1)
        return error_set(err, ERR_SYSTEM, "SHA-1");
    base64_encode(str_range((const char *)digest, n), out);
    return 0;
}

const char *websocket_choose(struct str offered, const char *const *served)
{
    struct str one;

    while (str_split(&offered, ',', &one))
        for (const char *const *s = served; *s; s++)
            if (str_eqc(str_trim(one), *s))
                return *s;
    return NULL;
}
