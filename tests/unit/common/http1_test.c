/* Tests of common/http1.c: what is accepted and refused, at every split of the input. */
#include "common/http1.h"

#include <CUnit/CUnit.h>

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

/* status 0: a whole head; 1: more is needed; else refused with it */
static const struct {
    const char *text;
    int status;
} heads[] = {
    {GET "\r\n", 0},
    {"GET / HTTP/1.0\r\n\r\n", 0},
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {GET "X:\t v \t\r\nY: a\xc3\xa9\r\n\r\n", 0},
    {GET, 1},
    {"", 1},
    {"\r", 1},
    {"G", 1},
    {"GET / HTTP/1.1\n", 400},
    {"\x16\x03\x01", 400},
    {" GET / HTTP/1.1\r\n", 400},
    {"GET / HTTP/1.1\r\n\r\n", 400}, /* no Host */
    {GET "Host: b\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET /\r\nHost: a\r\n\r\n", 400},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
    {"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
    {GET " folded\r\n\r\n", 400},
    {GET "X : v\r\n\r\n", 400},
    {GET ": v\r\n\r\n", 400},
    {GET "novalue\r\n\r\n", 400},
    {GET "X: a\x01z\r\n\r\n", 400},
    {GET "X: a\rb\r\n\r\n", 400},
    {GET "Content-Length: 3\r\n\r\n", 0},
    {GET "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
    {GET "Content-Length: +3\r\n\r\n", 400},
    {GET "Content-Length: 3,3\r\n\r\n", 400},
    {GET "Content-Length: 9999999999999999999\r\n\r\n", 400},
    {GET "Content-Length:\r\n\r\n", 400},
    {GET "Transfer-Encoding: CHUNKED\r\n\r\n", 0},
    {GET "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {GET "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
    {GET "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
};

/* result: the status, 0 for more, -1 for a refusal */
static const struct {
    const char *text;
    int result;
} answers[] = {
    {"HTTP/1.1 200 OK\r\n\r\n", 200},
    {"HTTP/1.1 200\r\n\r\n", 200},
    {"HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\n\r\n", 404},
    {"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", 101},
    {"HTTP/1.1 200 OK\r\n", 0},
    {"", 0},
    {"HTTP/2.0 200 OK\r\n\r\n", -1},
    {"HTTP/1.1 20 OK\r\n\r\n", -1},
    {"HTTP/1.1 2x0 OK\r\n\r\n", -1},
    {"HTTP/1.1 099 OK\r\n\r\n", -1},
    {"HTTP/1.1 2000 OK\r\n\r\n", -1},
    {"HTTP/1.1 200 OK\n\n", -1},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", -1},
};

static void test_answers(void)
{
    static struct http1_head head;
    struct error err;
    int status;

    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        struct str text = str_of(answers[i].text);
        ssize_t n = http1_parse_answer(text, &head, &status, &err);
        if (answers[i].result > 0) {
            CU_ASSERT_EQUAL(n, (ssize_t)text.n);
            CU_ASSERT_EQUAL(status, answers[i].result);
        } else if (answers[i].result == 0) {
            CU_ASSERT_EQUAL(n, 0);
        } else {
            CU_ASSERT(n < 0);
        }
    }
}

static void test_heads(void)
{
    static struct http1_head head;
    struct error err;
    int status;

    for (size_t i = 0; i < ARRAY_COUNT(heads); i++) {
        struct str text = str_of(heads[i].text);
        ssize_t n = http1_parse_head(text, &head, &status, &err);
        bool ok = heads[i].status == 0   ? n == (ssize_t)text.n
                  : heads[i].status == 1 ? n == 0
                                         : n < 0 && status == heads[i].status;
        CU_ASSERT(ok);
        if (!ok)
            printf("head %zu: %zd, status %d: %s\n", i, n, status, heads[i].text);
        for (size_t cut = 0; cut < text.n && heads[i].status <= 1; cut++)
            CU_ASSERT_EQUAL(http1_parse_head((struct str){text.p, cut}, &head, &status, &err), 0);
    }
}

static void test_fields(void)
{
    static struct http1_head head;
    struct error err;
    int status;
    struct str text = STR("POST /a?b=c HTTP/1.1\r\nhOST: x:1\r\nConnection: foo, Upgrade\r\n"
                          "Expect: 100-continue\r\nContent-Length: 12\r\n\r\nbody");

    CU_ASSERT_EQUAL(http1_parse_head(text, &head, &status, &err), (ssize_t)text.n - 4);
    CU_ASSERT(str_eqc(head.method, "POST"));
    CU_ASSERT(str_eqc(head.target, "/a?b=c"));
    CU_ASSERT(str_eqc(http1_header(&head, "Host"), "x:1"));
    CU_ASSERT_EQUAL(http1_header(&head, "none").n, 0);
    CU_ASSERT_EQUAL(head.content_length, 12);
    CU_ASSERT(head.keep_alive && head.upgrade && head.expect_continue && !head.chunked);
    text = STR(GET "Connection: close\r\n\r\n");
    CU_ASSERT(http1_parse_head(text, &head, &status, &err) > 0);
    CU_ASSERT(!head.keep_alive && head.content_length == -1);
    text = STR("GET / HTTP/1.0\r\nConnection: keep-alive, upgrade\r\n\r\n");
    CU_ASSERT(http1_parse_head(text, &head, &status, &err) > 0);
    CU_ASSERT(!head.keep_alive && !head.upgrade);
}

static void test_head_limits(void)
{
    static struct http1_head head;
    struct error err;
    struct strbuf text;
    int status;

    strbuf_init(&text, 0);
    strbuf_addc(&text, GET);
    for (int i = 0; i < LIMIT_HEADERS; i++)
        strbuf_addf(&text, "h%d: v\r\n", i);
    strbuf_addc(&text, "\r\n");
    CU_ASSERT_EQUAL(http1_parse_head(strbuf_str(&text), &head, &status, &err), -ERR_TOO_LARGE);
    CU_ASSERT_EQUAL(status, 431);
    strbuf_clear(&text);
    strbuf_addc(&text, GET "x: ");
    while (text.n < LIMIT_HEADER_BYTES)
        strbuf_add_char(&text, 'x');
    CU_ASSERT_EQUAL(http1_parse_head(strbuf_str(&text), &head, &status, &err), -ERR_TOO_LARGE);
    CU_ASSERT_EQUAL(status, 431);
    strbuf_clear(&text);
    strbuf_addc(&text, "GET /");
    for (size_t i = 0; i < LIMIT_URL_BYTES; i++)
        strbuf_add_char(&text, 'x');
    strbuf_addc(&text, " HTTP/1.1\r\nHost: a\r\n\r\n");
    CU_ASSERT_EQUAL(http1_parse_head(strbuf_str(&text), &head, &status, &err), -ERR_TOO_LARGE);
    CU_ASSERT_EQUAL(status, 414);
    strbuf_done(&text);
}

/* body NULL: refused */
static const struct {
    const char *text, *body, *rest;
} bodies[] = {
    {"0\r\n\r\n", "", ""},
    {"3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET"},
    {"3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n00\r\nT: v\r\nU: w\r\n\r\n", "abc0123456789", ""},
    {"\r\n", NULL, ""},
    {"g\r\n", NULL, ""},
    {"0x3\r\nabc\r\n", NULL, ""},
    {"-1\r\n", NULL, ""},
    {"3 \r\nabc\r\n", NULL, ""},
    {"3\nabc\r\n", NULL, ""},
    {"3\r\nabcd\r\n", NULL, ""},
    {"3\r\nabc\n", NULL, ""},
    {"fffffffffffffffff\r\n", NULL, ""},
    {"ffffffffffffffff\r\n", NULL, ""},
    {"000000000000000000000001\r\na\r\n", NULL, ""},
    {"3;\x01\r\nabc", NULL, ""},
    {"0\r\n folded\r\n\r\n", NULL, ""},
    {"0\r\nT: \x01\r\n\r\n", NULL, ""},
};

static void check_body(size_t i, size_t step)
{
    struct http1_chunked c = {0};
    struct strbuf out;
    struct error err;
    struct str all = str_of(bodies[i].text), in = {all.p, 0};
    int result = 0;

    strbuf_init(&out, 1000);
    for (size_t fed = 0; result == 0 && fed < all.n;) {
        size_t more = all.n - fed < step ? all.n - fed : step;
        in.n += more;
        fed += more;
        result = http1_chunked_decode(&c, &in, &out, &err);
    }
    bool ok = bodies[i].body ? result == 1 && !strcmp(out.data, bodies[i].body) : result < 0;
    if (bodies[i].body && step > all.n)
        ok = ok && str_eqc(in, bodies[i].rest);
    CU_ASSERT(ok);
    if (!ok)
        printf("body %zu in steps of %zu: %d\n", i, step, result);
    strbuf_done(&out);
}

static void test_chunked(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        check_body(i, 1);
        check_body(i, 2);
        check_body(i, 1000);
    }
}

static void test_chunked_limits(void)
{
    struct http1_chunked c = {0};
    struct strbuf out, in;
    struct error err;

    strbuf_init(&out, 8);
    struct str text = STR("9\r\n123456789\r\n0\r\n\r\n");
    CU_ASSERT_EQUAL(http1_chunked_decode(&c, &text, &out, &err), -ERR_TOO_LARGE);
    strbuf_init(&in, 0);
    strbuf_addc(&in, "0\r\n");
    for (int i = 0; i < 10000; i++)
        strbuf_addc(&in, "a: b\r\n");
    c = (struct http1_chunked){0};
    text = strbuf_str(&in);
    strbuf_clear(&out);
    CU_ASSERT_EQUAL(http1_chunked_decode(&c, &text, &out, &err), -ERR_TOO_LARGE);
    strbuf_done(&in);
    strbuf_done(&out);
}

const CU_TestInfo http1_tests[] = {
    {"heads", test_heads},
    {"answers", test_answers},
    {"fields", test_fields},
    {"limits of a head", test_head_limits},
    {"chunked bodies", test_chunked},
    {"limits of a chunked body", test_chunked_limits},
    CU_TEST_INFO_NULL,
};
