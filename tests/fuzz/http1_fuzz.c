/*
 * Fuzz target of common/http1.h: heads and chunked bodies.
 *
 * Beyond not crashing it checks that the parser is consistent: views lie within the input, a head
 * that was accepted is accepted no sooner than at its last byte, and a chunked body decodes alike
 * in pieces of any size. The first byte of the input chooses the part and the size of the pieces.
 */
#include <assert.h>

#include "common/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_view(struct str all, struct str view)
{
    assert(view.n == 0 || (view.p >= all.p && view.p + view.n <= all.p + all.n));
}

static void fuzz_head(struct str text)
{
    static struct http1_head head;
    struct error err;
    int status = 0;

    ssize_t n = http1_parse_head(text, &head, &status, &err);
    assert(n <= (ssize_t)text.n);
    if (n < 0) {
        assert(status >= 400 && status <= 505 && err.text[0]);
        return;
    }
    if (n == 0)
        return;
    check_view(text, head.method);
    check_view(text, head.target);
    assert(head.method.n > 0 && head.target.n > 0 && head.header_count <= LIMIT_HEADERS);
    assert(!(head.chunked && head.content_length >= 0));
    for (size_t i = 0; i < head.header_count; i++) {
        check_view(text, head.headers[i].name);
        check_view(text, head.headers[i].value);
        for (size_t j = 0; j < head.headers[i].value.n; j++)
            assert(head.headers[i].value.p[j] != '\n' && head.headers[i].value.p[j] != '\r');
    }
    assert(http1_parse_head((struct str){text.p, (size_t)n - 1}, &head, &status, &err) == 0);
}

static void fuzz_answer(struct str text)
{
    static struct http1_head head;
    struct error err;
    int status = 0;

    ssize_t n = http1_parse_answer(text, &head, &status, &err);
    assert(n <= (ssize_t)text.n);
    if (n <= 0)
        return;
    assert(status >= 100 && status <= 999 && head.method.n == 0);
    for (size_t i = 0; i < head.header_count; i++)
        check_view(text, head.headers[i].value);
}

static int decode(struct str text, size_t step, struct strbuf *out, size_t *ret_used)
{
    struct http1_chunked c = {0};
    struct str in = {text.p, 0};
    struct error err;
    int result = 0;

    for (size_t fed = 0; result == 0 && fed < text.n;) {
        size_t more = text.n - fed < step ? text.n - fed : step;
        in.n += more;
        fed += more;
        result = http1_chunked_decode(&c, &in, out, &err);
    }
    *ret_used = (size_t)(in.p - text.p);
    return result;
}

static void fuzz_body(struct str text, size_t step)
{
    struct strbuf whole, pieces;
    size_t used_whole, used_pieces;

    strbuf_init(&whole, 1 << 16);
    strbuf_init(&pieces, 1 << 16);
    int a = decode(text, text.n + 1, &whole, &used_whole);
    int b = decode(text, step, &pieces, &used_pieces);
    assert(a == b);
    if (a >= 0) {
        assert(str_eq(strbuf_str(&whole), strbuf_str(&pieces)));
        assert(a == 0 || used_whole == used_pieces);
    }
    strbuf_done(&whole);
    strbuf_done(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    struct str text = {(const char *)data + 1, n - 1};
    if (data[0] & 1)
        fuzz_body(text, (size_t)(data[0] >> 1) % 17 + 1);
    else if (data[0] & 2)
        fuzz_answer(text);
    else
        fuzz_head(text);
    return 0;
}
