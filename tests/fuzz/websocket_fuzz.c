/*
 * Fuzz target of common/websocket.h: frames, whole and in pieces, give the same messages.
 *
 * The first byte of the input is the size of the pieces. Also checked: pieces lie within the input,
 * and a closed connection takes nothing more.
 */
#include <assert.h>

#include "common/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int run(struct str bytes, size_t step, struct strbuf *said)
{
    struct websocket w = {0};
    autofree char *copy = str_dup(bytes);
    struct error err;
    int open_kind = 0;

    for (size_t fed = 0; fed < bytes.n; fed += step) {
        struct str in = {copy + fed, bytes.n - fed < step ? bytes.n - fed : step};
        struct websocket_piece p;
        do {
            size_t before = in.n;
            if (websocket_next(&w, &in, &p, &err) < 0) {
                assert(w.closed && w.close_code == 1002);
                return -1;
            }
            assert(in.n <= before);
            if (p.kind == WEBSOCKET_TEXT || p.kind == WEBSOCKET_BINARY) {
                assert(p.begins == (open_kind == 0) && (p.begins || open_kind == p.kind));
                open_kind = p.ends ? 0 : p.kind;
                strbuf_add(said, p.bytes);
                if (p.ends)
                    strbuf_addf(said, "|%d", p.kind);
            } else if (p.kind != WEBSOCKET_MORE) {
                assert(p.bytes.n <= 125);
                strbuf_addf(said, "<%d>", p.kind);
                strbuf_add(said, p.bytes);
            }
        } while (in.n > 0 || p.kind != WEBSOCKET_MORE);
    }
    return w.closed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    autostrbuf struct strbuf whole = STRBUF_EMPTY, pieces = STRBUF_EMPTY;

    if (n == 0)
        return 0;
    struct str bytes = {(const char *)data + 1, n - 1};
    int a = run(bytes, n, &whole), b = run(bytes, data[0] % 17 + 1, &pieces);
    assert(a == b);
    if (a >= 0)
        assert(str_eq(strbuf_str(&whole), strbuf_str(&pieces)));
    autostrbuf struct strbuf accept = STRBUF_EMPTY;
    struct error err;
    static const char *const served[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
    websocket_accept(bytes, &accept, &err);
    websocket_choose(bytes, served);
    return 0;
}
