/* Base64 and hexadecimal. */
#include "common/base64.h"

#include <CUnit/CUnit.h>

typedef int decode_fn(struct str text, struct strbuf *out, struct error *err);

static void encoding(void)
{
    static const struct {
        const char *bytes, *standard, *url, *hex;
    } cases[] = {
        {"", "", "", ""},
        {"f", "Zg==", "Zg", "66"},
        {"fo", "Zm8=", "Zm8", "666f"},
        {"foo", "Zm9v", "Zm9v", "666f6f"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy", "666f6f626172"},
        {"\xfb\xff\xfe", "+//+", "-__-", "fbfffe"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autostrbuf struct strbuf a = STRBUF_EMPTY, b = STRBUF_EMPTY, c = STRBUF_EMPTY,
                                 d = STRBUF_EMPTY;
        struct error err;
        base64_encode(str_of(cases[i].bytes), &a);
        base64url_encode(str_of(cases[i].bytes), &b);
        hex_encode(str_of(cases[i].bytes), &c);
        CU_ASSERT_STRING_EQUAL(a.data, cases[i].standard);
        CU_ASSERT_STRING_EQUAL(b.data, cases[i].url);
        CU_ASSERT_STRING_EQUAL(c.data, cases[i].hex);
        CU_ASSERT_EQUAL(base64_decode(strbuf_str(&a), &d, &err), 0);
        CU_ASSERT_EQUAL(base64url_decode(strbuf_str(&b), &d, &err), 0);
        CU_ASSERT_EQUAL(d.n, 2 * strlen(cases[i].bytes));
    }
}

static void all_lengths_round_trip(void)
{
    char bytes[300];
    struct error err;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7);
    for (size_t n = 0; n < sizeof(bytes); n++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY, back = STRBUF_EMPTY;
        base64_encode(str_range(bytes, n), &text);
        CU_ASSERT_EQUAL(base64_decode(strbuf_str(&text), &back, &err), 0);
        CU_ASSERT(str_eq(strbuf_str(&back), str_range(bytes, n)));
    }
}

static void refusals_name_the_byte(void)
{
    static const struct {
        decode_fn *decode;
        const char *text;
        int at; /* -1: accepted */
    } cases[] = {
        {base64_decode, "Zm9v\nYmFy\r\n", -1},
        {base64_decode, "Zg==", -1},
        {base64_decode, "Zg=\n=", -1},
        {base64_decode, "!!!!", 0},
        {base64_decode, "====", 0},
        {base64_decode, "x===", 1},
        {base64_decode, "=AAA", 0},
        {base64_decode, "A=AA", 1},
        {base64_decode, "AA=A", 2},
        {base64_decode, "AA==A", 4},
        {base64_decode, "AAA=AAAA", 4},
        {base64_decode, "AAAAA", 4},
        {base64_decode, "AAAAAA", 4},
        {base64_decode, "A=", 1},
        {base64_decode, "AA=", 3},
        {base64_decode, "AAAA=", 4},
        {base64_decode, "Zm 9v", 2},
        {base64_decode, "-_-_", 0},
        {base64url_decode, "Zg", -1},
        {base64url_decode, "Zg==", 2},
        {base64url_decode, "A", 0},
        {base64url_decode, "AAAAA", 4},
        {base64url_decode, "+/+/", 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autostrbuf struct strbuf out = STRBUF_EMPTY;
        struct error err = {0};
        char expected[80];
        int r = cases[i].decode(str_of(cases[i].text), &out, &err);
        snprintf(expected, sizeof(expected), "illegal base64 data at input byte %d", cases[i].at);
        CU_ASSERT_EQUAL(r, cases[i].at < 0 ? 0 : -ERR_BAD_REQUEST);
        if (r < 0) {
            CU_ASSERT_STRING_EQUAL(err.text, expected);
            CU_ASSERT_EQUAL(out.n, 0);
        }
    }
}

const CU_TestInfo base64_tests[] = {
    {"encoding", encoding},
    {"all lengths round-trip", all_lengths_round_trip},
    {"refusals name the byte", refusals_name_the_byte},
    CU_TEST_INFO_NULL,
};
