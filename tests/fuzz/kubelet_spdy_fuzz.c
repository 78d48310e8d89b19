/* links: skiff-kubelet-lib */
/*
 * Fuzz target of kubelet/stream/spdy.h: frames, whole and in pieces, give the same events.
 *
 * The first byte of the input is the size of the pieces.
 */
#include <assert.h>

#include "kubelet/stream/spdy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int run(struct str bytes, size_t step, struct strbuf *said)
{
    struct spdy *s = spdy_new();
    struct error err;
    int r = 0;

    for (size_t fed = 0; fed < bytes.n && r == 0; fed += step) {
        struct str in = {bytes.p + fed, bytes.n - fed < step ? bytes.n - fed : step};
        struct spdy_event e;
        do {
            r = spdy_next(s, &in, &e, &err);
            if (r < 0)
                break;
            if (e.kind == SPDY_OPEN) {
                assert(e.header_count <= SPDY_HEADERS_MAX && e.stream % 2 == 1);
                strbuf_addf(said, "[%u", e.stream);
                for (size_t i = 0; i < e.header_count; i++) {
                    strbuf_add(said, e.headers[i].name);
                    strbuf_add(said, e.headers[i].value);
                }
            } else if (e.kind == SPDY_DATA) {
                strbuf_add(said, e.bytes);
            } else if (e.kind != SPDY_MORE) {
                strbuf_addf(said, "<%d %u>", (int)e.kind, e.stream);
            }
            if (e.fin)
                strbuf_addf(said, "|%u", e.stream);
        } while (e.kind != SPDY_MORE);
        assert(r < 0 || in.n == 0);
    }
    spdy_free(s);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    autostrbuf struct strbuf whole = STRBUF_EMPTY, pieces = STRBUF_EMPTY;

    if (n == 0)
        return 0;
    struct str bytes = {(const char *)data + 1, n - 1};
    int a = run(bytes, n, &whole), b = run(bytes, data[0] % 29 + 1, &pieces);
    assert(a == b);
    if (a >= 0)
        assert(str_eq(strbuf_str(&whole), strbuf_str(&pieces)));
    return 0;
}
