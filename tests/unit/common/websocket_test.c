/* Tests of common/websocket.c: frames at every split of the input, violations, the handshake. */
#include "common/websocket.h"

#include <CUnit/CUnit.h>

/* A masked frame; flags: FIN and reserved bits with the opcode. */
static void add_frame(struct strbuf *out, unsigned first, const char *payload, size_t n)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};

    strbuf_add_char(out, (char)first);
    if (n < 126) {
        strbuf_add_char(out, (char)(0x80 | n));
    } else {
        strbuf_add_char(out, (char)(0x80 | 126));
        strbuf_add_char(out, (char)(n >> 8));
        strbuf_add_char(out, (char)n);
    }
    strbuf_add(out, str_range((const char *)mask, 4));
    for (size_t i = 0; i < n; i++)
        strbuf_add_char(out, (char)(payload[i] ^ mask[i % 4]));
}

/* Feeds `in` in pieces of `step`; messages end with '|', control frames are their opcode's letter.
 */
static int feed(struct str in, size_t step, struct strbuf *out)
{
    struct websocket w = {0};
    autofree char *copy = str_dup(in);
    struct error err;

    for (size_t fed = 0; fed < in.n; fed += step) {
        struct str piece = {copy + fed, in.n - fed < step ? in.n - fed : step};
        struct websocket_piece p;
        do {
            if (websocket_next(&w, &piece, &p, &err) < 0)
                return -w.close_code;
            if (p.kind == WEBSOCKET_TEXT || p.kind == WEBSOCKET_BINARY) {
                if (p.begins)
                    strbuf_add_char(out, p.kind == WEBSOCKET_TEXT ? 't' : 'b');
                strbuf_add(out, p.bytes);
                if (p.ends)
                    strbuf_add_char(out, '|');
            } else if (p.kind != WEBSOCKET_MORE) {
                strbuf_addf(out, "<%d%.*s>", p.kind, STR_FMT(p.bytes));
            }
        } while (piece.n > 0 || p.kind != WEBSOCKET_MORE);
    }
    return w.closed ? w.close_code : 0;
}

static void test_frames(void)
{
    autostrbuf struct strbuf in = STRBUF_EMPTY, expected = STRBUF_EMPTY;
    char big[300];

    memset(big, 'x', sizeof(big));
    add_frame(&in, 0x81, "hello", 5);
    add_frame(&in, 0x02, "one ", 4); /* fragments with a ping in between */
    add_frame(&in, 0x89, "p", 1);
    add_frame(&in, 0x00, "two ", 4);
    add_frame(&in, 0x80, "", 0);
    add_frame(&in, 0x82, big, sizeof(big));
    add_frame(&in, 0x82, "", 0);
    add_frame(&in, 0x88, "\x03\xe8", 2);
    add_frame(&in, 0x81, "unheard", 7);
    strbuf_addc(&expected, "thello|");
    strbuf_addc(&expected, "bone <9p>two |b");
    strbuf_add(&expected, str_range(big, sizeof(big)));
    strbuf_addc(&expected, "|b|<8\x03\xe8>");
    for (size_t step = 1; step <= in.n; step += step < 20 ? 1 : 13) {
        autostrbuf struct strbuf got = STRBUF_EMPTY;
        CU_ASSERT_EQUAL(feed(strbuf_str(&in), step, &got), 1000);
        CU_ASSERT(str_eq(strbuf_str(&got), strbuf_str(&expected)));
    }
}

static void test_violations(void)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x81\x01x", 3},                           /* not masked */
        {"\xc1\x80\0\0\0\0", 6},                    /* reserved bit */
        {"\x83\x80\0\0\0\0", 6},                    /* opcode */
        {"\x80\x80\0\0\0\0", 6},                    /* continues nothing */
        {"\x09\x80\0\0\0\0", 6},                    /* fragmented ping */
        {"\x89\xfe\0\x80\0\0\0\0", 8},              /* large ping */
        {"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 12},   /* message within a message */
        {"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 14}, /* negative length */
    };

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        autostrbuf struct strbuf got = STRBUF_EMPTY;
        CU_ASSERT_EQUAL(feed(str_range(bad[i].bytes, bad[i].n), 1, &got), -1002);
    }
}

static void test_writing(void)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;

    websocket_add(&out, WEBSOCKET_TEXT, STR("hi"));
    CU_ASSERT_EQUAL(websocket_frame_size(strbuf_str(&out)), 4);
    websocket_add_head(&out, WEBSOCKET_BINARY, 300);
    CU_ASSERT_EQUAL(websocket_frame_size(str_range(out.data + 4, out.n - 4)), 304);
    websocket_add_head(&out, WEBSOCKET_BINARY, 70000);
    websocket_add_close(&out, 1000);
    static const char expected[] =
        "\x81\x02hi\x82\x7e\x01\x2c\x82\x7f\0\0\0\0\0\x01\x11\x70\x88\x02\x03\xe8";
    CU_ASSERT(str_eq(strbuf_str(&out), str_range(expected, sizeof(expected) - 1)));
}

static void test_handshake(void)
{
    static const char *const served[] = {"v5", "v4", NULL};
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    struct error err;

    /* The example of RFC 6455. */
    CU_ASSERT_EQUAL(websocket_accept(STR("dGhlIHNhbXBsZSBub25jZQ=="), &out, &err), 0);
    CU_ASSERT_STRING_EQUAL(out.data, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CU_ASSERT(websocket_accept(STR("c2hvcnQ="), &out, &err) < 0);
    CU_ASSERT(websocket_accept(STR(""), &out, &err) < 0);
    CU_ASSERT_STRING_EQUAL(websocket_choose(STR("v9, v4,v5"), served), "v4");
    CU_ASSERT_PTR_NULL(websocket_choose(STR("v9"), served));
    CU_ASSERT_PTR_NULL(websocket_choose(STR(""), served));
}

const CU_TestInfo websocket_tests[] = {
    {"frames", test_frames},
    {"violations", test_violations},
    {"writing", test_writing},
    {"handshake", test_handshake},
    CU_TEST_INFO_NULL,
};
