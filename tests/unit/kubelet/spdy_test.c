/* Tests of kubelet/stream/spdy.c: sessions at every split of the input, and what is refused. */
#include "kubelet/stream/spdy.h"

#include <CUnit/CUnit.h>
#include <zlib.h>

static void add_u32(struct strbuf *out, uint32_t n)
{
    char bytes[] = {(char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};

    strbuf_add(out, str_range(bytes, 4));
}

static void add_string(struct strbuf *out, const char *s)
{
    add_u32(out, (uint32_t)strlen(s));
    strbuf_addc(out, s);
}

/* A client's SYN_STREAM. Its header block is plain deflate: a dictionary need not be used. */
static void add_open(struct strbuf *out, z_stream *z, uint32_t stream, const char *type, bool fin)
{
    autostrbuf struct strbuf block = STRBUF_EMPTY;
    char packed[512];

    add_u32(&block, 2);
    add_string(&block, "streamtype");
    add_string(&block, type);
    add_string(&block, "port");
    add_string(&block, "80");
    z->next_in = (Bytef *)block.data;
    z->avail_in = (uInt)block.n;
    z->next_out = (Bytef *)packed;
    z->avail_out = sizeof(packed);
    deflate(z, Z_SYNC_FLUSH);
    size_t n = sizeof(packed) - z->avail_out;
    add_u32(out, 0x80030001);
    add_u32(out, (fin ? 1u << 24 : 0) | (uint32_t)(10 + n));
    add_u32(out, stream);
    add_u32(out, 0);
    strbuf_add(out, STR("\0\0"));
    strbuf_add(out, str_range(packed, n));
}

/* Says what came, one letter and number a piece; data pieces are joined. */
static int feed(struct str in, size_t step, struct strbuf *said)
{
    struct spdy *s = spdy_new();
    struct error err;
    int r = 0;

    for (size_t fed = 0; fed < in.n && r == 0; fed += step) {
        struct str piece = {in.p + fed, in.n - fed < step ? in.n - fed : step};
        struct spdy_event e;
        do {
            r = spdy_next(s, &piece, &e, &err);
            if (r < 0)
                break;
            if (e.kind == SPDY_OPEN)
                strbuf_addf(said, "open%u:%.*s:%.*s ", e.stream,
                    STR_FMT(spdy_header(&e, "StreamType")), STR_FMT(spdy_header(&e, "port")));
            else if (e.kind == SPDY_DATA)
                strbuf_add(said, e.bytes);
            else if (e.kind != SPDY_MORE)
                strbuf_addf(said, "%s%u ",
                    e.kind == SPDY_RESET  ? "reset"
                    : e.kind == SPDY_PING ? "ping"
                                          : "goaway",
                    e.stream);
            if (e.fin)
                strbuf_addf(said, "fin%u ", e.stream);
        } while (e.kind != SPDY_MORE);
    }
    spdy_free(s);
    return r;
}

static void test_session(void)
{
    autostrbuf struct strbuf in = STRBUF_EMPTY;
    z_stream z = {0};

    deflateInit(&z, 9);
    add_open(&in, &z, 1, "error", true);
    add_open(&in, &z, 3, "data", false);
    strbuf_add(&in, STR("\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x04\0\x10\0\0")); /* SETTINGS */
    spdy_add_data(&in, 3, STR("some bytes "), false);
    spdy_add_ping(&in, 7);
    strbuf_add(&in, STR("\x80\x03\0\x09\0\0\0\x08\0\0\0\x03\0\0\x10\0")); /* WINDOW_UPDATE */
    spdy_add_data(&in, 3, STR(""), true);
    spdy_add_reset(&in, 1);
    spdy_add_goaway(&in, 3);
    for (size_t step = 1; step <= in.n; step++) {
        autostrbuf struct strbuf said = STRBUF_EMPTY;
        CU_ASSERT_EQUAL(feed(strbuf_str(&in), step, &said), 0);
        CU_ASSERT_STRING_EQUAL(
            said.data, "open1:error:80 fin1 open3:data:80 some bytes ping7 fin3 reset1 goaway3 ");
    }
    deflateEnd(&z);
}

static void test_refusals(void)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x80\x02\0\x06\0\0\0\x04\0\0\0\1", 12},                   /* version 2 */
        {"\x80\x03\0\x06\0\0\0\x02\0\1", 10},                       /* a short ping */
        {"\x80\x03\0\1\0\0\0\4\0\0\0\1", 12},                       /* a short SYN_STREAM */
        {"\x80\x03\0\1\0\0\0\x0a\0\0\0\2\0\0\0\0\0\0", 18},         /* an even stream */
        {"\x80\x03\0\1\0\0\0\x0c\0\0\0\1\0\0\0\0\0\0\xff\xff", 20}, /* no zlib */
        {"\x80\x03\0\1\0\x10\0\0", 8},                              /* a control frame of 1 MiB */
    };

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        autostrbuf struct strbuf said = STRBUF_EMPTY;
        CU_ASSERT(feed(str_range(bad[i].bytes, bad[i].n), 1, &said) < 0);
    }
}

/* A kilobyte that inflates to megabytes is cut. */
static void test_bomb(void)
{
    autostrbuf struct strbuf in = STRBUF_EMPTY, said = STRBUF_EMPTY;
    autofree char *zeros = xcalloc(1, 8u << 20), *packed = xmalloc(32u << 10);
    z_stream z = {0};

    deflateInit(&z, 9);
    z.next_in = (Bytef *)zeros;
    z.avail_in = 8u << 20;
    z.next_out = (Bytef *)packed;
    z.avail_out = 32u << 10;
    deflate(&z, Z_SYNC_FLUSH);
    size_t n = (32u << 10) - z.avail_out;
    add_u32(&in, 0x80030001);
    add_u32(&in, (uint32_t)(10 + n));
    add_u32(&in, 1);
    add_u32(&in, 0);
    strbuf_add(&in, STR("\0\0"));
    strbuf_add(&in, str_range(packed, n));
    CU_ASSERT(feed(strbuf_str(&in), in.n, &said) < 0);
    deflateEnd(&z);
}

/* The dictionary is the protocol's: a block that was packed with it has its checksum in front. */
static void test_reply(void)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    struct spdy *s = spdy_new();

    spdy_add_reply(s, &out, 5);
    CU_ASSERT(out.n > 18);
    CU_ASSERT_EQUAL(memcmp(out.data, "\x80\x03\0\2", 4), 0);
    CU_ASSERT_EQUAL(memcmp(out.data + 8, "\0\0\0\5", 4), 0);
    CU_ASSERT_EQUAL(memcmp(out.data + 14, "\xe3\xc6\xa7\xc2", 4), 0);
    spdy_free(s);
}

static void test_large_data(void)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY, said = STRBUF_EMPTY;
    autofree char *bytes = xmalloc(200000);

    memset(bytes, 'y', 200000);
    spdy_add_data(&out, 1, str_range(bytes, 200000), true);
    CU_ASSERT_EQUAL(out.n, 200000 + 4 * 8);
    CU_ASSERT_EQUAL(feed(strbuf_str(&out), 4096, &said), 0);
    CU_ASSERT_EQUAL(said.n, 200000 + 5);
    CU_ASSERT(str_ends(strbuf_str(&said), STR("yfin1 ")));
}

const CU_TestInfo spdy_tests[] = {
    {"a session", test_session},
    {"refusals", test_refusals},
    {"headers that inflate without end", test_bomb},
    {"the dictionary", test_reply},
    {"large data", test_large_data},
    CU_TEST_INFO_NULL,
};
