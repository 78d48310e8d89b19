/*
 * SPDY/3.1 frames: see spdy.h.
 *
 * Eight bytes begin each frame; the top bit of the first tells control frames from data. Numbers
 * are big-endian. A header block is: number of pairs, then length and bytes of each name and value.
 */
#include "kubelet/stream/spdy.h"

#include <zlib.h>

#define CONTROL_BYTES_MAX (64u << 10)
#define HEADER_BLOCK_MAX (64u << 10)
#define DATA_BYTES_MAX (64u << 10) /* of the frames we send */
#define VERSION 3
#define FLAG_FIN 1

enum { SYN_STREAM = 1, SYN_REPLY, RST_STREAM, SETTINGS, PING = 6, GOAWAY, HEADERS, WINDOW_UPDATE };
enum { STATUS_CANCEL = 5 };

struct spdy {
    unsigned char head[8];
    size_t head_bytes;
    uint32_t left; /* of the frame behind its head */
    uint32_t last_opened;
    struct strbuf control; /* payload of a control frame so far */
    struct strbuf block;   /* inflated headers */
    z_stream in, out;
};

/* The dictionary: names with their lengths in front, then one string. */
static const char *const dictionary_names[] = {"options", "head", "post", "put", "delete", "trace",
    "accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "age",
    "allow", "authorization", "cache-control", "connection", "content-base", "content-encoding",
    "content-language", "content-length", "content-location", "content-md5", "content-range",
    "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified",
    "location", "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range",
    "referer", "retry-after", "server", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent", "vary", "via", "warning", "www-authenticate", "method", "get", "status", "200 OK",
    "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"};
static const char dictionary_rest[] =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 "
    "Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 "
    "Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service "
    "UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, "
    "Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/"
    "xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-"
    "8charset=iso-8859-1,utf-,*,enq=0.";

static void add_u32(struct strbuf *out, uint32_t n)
{
    char bytes[] = {(char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};

    strbuf_add(out, str_range(bytes, 4));
}

static uint32_t get_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;

    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void make_dictionary(struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(dictionary_names); i++) {
        add_u32(out, (uint32_t)strlen(dictionary_names[i]));
        strbuf_addc(out, dictionary_names[i]);
    }
    strbuf_addc(out, dictionary_rest);
}

struct spdy *spdy_new(void)
{
    struct spdy *s = xcalloc(1, sizeof(*s));
    autostrbuf struct strbuf dictionary = STRBUF_EMPTY;

    strbuf_init(&s->control, CONTROL_BYTES_MAX);
    strbuf_init(&s->block, HEADER_BLOCK_MAX);
    make_dictionary(&dictionary);
    /* Our header blocks are empty: the smallest window does. */
    if (inflateInit(&s->in) != Z_OK ||
        deflateInit2(&s->out, Z_BEST_SPEED, Z_DEFLATED, 9, 1, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflateSetDictionary(&s->out, (const Bytef *)dictionary.data, (uInt)dictionary.n) != Z_OK)
        abort();
    return s;
}

void spdy_free(struct spdy *s)
{
    if (!s)
        return;
    inflateEnd(&s->in);
    deflateEnd(&s->out);
    strbuf_done(&s->control);
    strbuf_done(&s->block);
    free(s);
}

static int violation(struct error *err, const char *why)
{
    return error_set(err, ERR_BAD_REQUEST, "spdy: %s", why);
}

/* --- header blocks --- */

static int set_dictionary(struct spdy *s)
{
    autostrbuf struct strbuf dictionary = STRBUF_EMPTY;

    make_dictionary(&dictionary);
    return inflateSetDictionary(&s->in, (const Bytef *)dictionary.data, (uInt)dictionary.n);
}

static int inflate_block(struct spdy *s, struct str packed, struct error *err)
{
    strbuf_clear(&s->block);
    s->in.next_in = (Bytef *)(uintptr_t)packed.p;
    s->in.avail_in = (uInt)packed.n;
    for (;;) {
        char *room = strbuf_reserve(&s->block, 1024);
        if (!room)
            return violation(err, "the headers are too large");
        s->in.next_out = (Bytef *)room;
        s->in.avail_out = 1024;
        int r = inflate(&s->in, Z_SYNC_FLUSH);
        if (r == Z_NEED_DICT)
            r = set_dictionary(s);
        strbuf_commit(&s->block, 1024 - s->in.avail_out);
        if (r != Z_OK && r != Z_BUF_ERROR)
            return violation(err, "the headers can't be inflated");
        if (s->in.avail_in == 0 && s->in.avail_out > 0)
            return 0;
        if (r == Z_BUF_ERROR && s->in.avail_out > 0)
            return violation(err, "the headers can't be inflated");
    }
}

static bool take_string(struct str *rest, struct str *ret)
{
    if (rest->n < 4)
        return false;
    uint32_t n = get_u32(rest->p);
    if (n > rest->n - 4)
        return false;
    *ret = str_range(rest->p + 4, n);
    *rest = str_range(rest->p + 4 + n, rest->n - 4 - n);
    return true;
}

static int read_headers(struct spdy *s, struct spdy_event *e, struct error *err)
{
    struct str rest = strbuf_str(&s->block);

    if (rest.n < 4)
        return violation(err, "the headers are cut off");
    uint32_t count = get_u32(rest.p);
    rest = str_range(rest.p + 4, rest.n - 4);
    if (count > SPDY_HEADERS_MAX)
        return violation(err, "too many headers");
    for (uint32_t i = 0; i < count; i++)
        if (!take_string(&rest, &e->headers[i].name) || !take_string(&rest, &e->headers[i].value))
            return violation(err, "the headers are cut off");
    e->header_count = count;
    return 0;
}

struct str spdy_header(const struct spdy_event *e, const char *name)
{
    for (size_t i = 0; i < e->header_count; i++)
        if (str_eq_nocase(e->headers[i].name, str_of(name)))
            return e->headers[i].value;
    return (struct str){0};
}

/* --- frames in --- */

static int opened(struct spdy *s, struct str payload, struct spdy_event *e, struct error *err)
{
    if (payload.n < 10)
        return violation(err, "a SYN_STREAM is too short");
    uint32_t stream = get_u32(payload.p) & 0x7fffffff;
    if (stream % 2 == 0 || stream <= s->last_opened)
        return violation(err, "a SYN_STREAM with an impossible stream id");
    s->last_opened = stream;
    if (inflate_block(s, str_range(payload.p + 10, payload.n - 10), err) < 0 ||
        read_headers(s, e, err) < 0)
        return -ERR_BAD_REQUEST;
    e->kind = SPDY_OPEN;
    e->stream = stream;
    e->fin = s->head[4] & FLAG_FIN;
    return 0;
}

static int control_frame(struct spdy *s, struct spdy_event *e, struct error *err)
{
    unsigned type = (unsigned)s->head[2] << 8 | s->head[3];
    struct str payload = strbuf_str(&s->control);

    if ((s->head[0] & 0x7f) != 0 || s->head[1] != VERSION)
        return violation(err, "not version 3");
    switch (type) {
    case SYN_STREAM:
        return opened(s, payload, e, err);
    case SYN_REPLY:
    case HEADERS: /* says nothing we need, but the zlib stream must see it */
        if (payload.n < 4)
            return violation(err, "a header frame is too short");
        return inflate_block(s, str_range(payload.p + 4, payload.n - 4), err);
    case RST_STREAM:
    case PING:
    case GOAWAY:
        if (payload.n < 4)
            return violation(err, "a control frame is too short");
        e->kind = type == RST_STREAM ? SPDY_RESET : type == PING ? SPDY_PING : SPDY_GOAWAY;
        e->stream = get_u32(payload.p);
        return 0;
    default: /* SETTINGS, WINDOW_UPDATE and what may come to be */
        return 0;
    }
}

static void take_head(struct spdy *s, struct str *in)
{
    while (s->head_bytes < sizeof(s->head) && in->n > 0) {
        s->head[s->head_bytes++] = (unsigned char)in->p[0];
        *in = str_range(in->p + 1, in->n - 1);
    }
    if (s->head_bytes == sizeof(s->head)) {
        s->left = (uint32_t)s->head[5] << 16 | (uint32_t)s->head[6] << 8 | s->head[7];
        strbuf_clear(&s->control);
    }
}

static void data_piece(struct spdy *s, struct str bytes, struct spdy_event *e)
{
    e->kind = SPDY_DATA;
    e->stream = get_u32((const char *)s->head);
    e->bytes = bytes;
    e->fin = s->left == 0 && s->head[4] & FLAG_FIN;
}

int spdy_next(struct spdy *s, struct str *in, struct spdy_event *ret, struct error *err)
{
    for (;;) {
        *ret = (struct spdy_event){.kind = SPDY_MORE};
        if (s->head_bytes < sizeof(s->head)) {
            take_head(s, in);
            if (s->head_bytes < sizeof(s->head))
                return 0;
        }
        bool is_control = s->head[0] & 0x80;
        if (is_control && s->left > CONTROL_BYTES_MAX - s->control.n)
            return violation(err, "a control frame is too large");
        struct str bytes = str_range(in->p, in->n < s->left ? in->n : s->left);
        *in = str_range(in->p + bytes.n, in->n - bytes.n);
        s->left -= (uint32_t)bytes.n;
        bool ends = s->left == 0;
        if (is_control)
            strbuf_add(&s->control, bytes);
        if (ends)
            s->head_bytes = 0;
        if (is_control && ends && control_frame(s, ret, err) < 0)
            return -ERR_BAD_REQUEST;
        if (!is_control && (bytes.n > 0 || ends))
            data_piece(s, bytes, ret);
        if (ret->kind != SPDY_MORE || !ends)
            return 0;
    }
}

/* --- frames out --- */

static void add_control(struct strbuf *out, unsigned type, uint32_t bytes)
{
    add_u32(out, 0x80000000u | VERSION << 16 | type);
    add_u32(out, bytes);
}

void spdy_add_reply(struct spdy *s, struct strbuf *out, uint32_t stream)
{
    static const char no_headers[4] = {0};
    char packed[512];

    s->out.next_in = (Bytef *)(uintptr_t)no_headers;
    s->out.avail_in = sizeof(no_headers);
    s->out.next_out = (Bytef *)packed;
    s->out.avail_out = sizeof(packed);
    if (deflate(&s->out, Z_SYNC_FLUSH) != Z_OK)
        abort();
    size_t n = sizeof(packed) - s->out.avail_out;
    add_control(out, SYN_REPLY, (uint32_t)(4 + n));
    add_u32(out, stream);
    strbuf_add(out, str_range(packed, n));
}

void spdy_add_data(struct strbuf *out, uint32_t stream, struct str bytes, bool fin)
{
    do {
        size_t n = bytes.n < DATA_BYTES_MAX ? bytes.n : DATA_BYTES_MAX;
        bool last = n == bytes.n;
        add_u32(out, stream);
        add_u32(out, (fin && last ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)n);
        strbuf_add(out, str_range(bytes.p, n));
        bytes = str_range(bytes.p + n, bytes.n - n);
    } while (bytes.n > 0);
}

void spdy_add_reset(struct strbuf *out, uint32_t stream)
{
    add_control(out, RST_STREAM, 8);
    add_u32(out, stream);
    add_u32(out, STATUS_CANCEL);
}

void spdy_add_ping(struct strbuf *out, uint32_t id)
{
    add_control(out, PING, 4);
    add_u32(out, id);
}

void spdy_add_goaway(struct strbuf *out, uint32_t last_stream)
{
    add_control(out, GOAWAY, 8);
    add_u32(out, last_stream);
    add_u32(out, 0);
}
