/* Strings: views, number parsing, buffers and their limits. */
#include "common/str.h"

#include <CUnit/CUnit.h>

static void views(void)
{
    struct str s = STR("  Hello\t\n"), rest = STR("a,,b,"), part;
    CU_ASSERT(str_eqc(str_trim(s), "Hello"));
    CU_ASSERT(str_eq_nocase(str_trim(s), STR("hELLO")));
    CU_ASSERT(!str_eq_nocase(STR("@"), STR("`")));
    CU_ASSERT(str_eq(str_of(NULL), STR("")));
    CU_ASSERT(str_starts(STR("abc"), STR("ab")) && !str_starts(STR("a"), STR("ab")));
    CU_ASSERT(str_ends(STR("abc"), STR("bc")) && str_ends(STR("x"), STR("")));
    CU_ASSERT(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("b"), STR("ab")) > 0);
    CU_ASSERT_EQUAL(str_cmp(STR("ab"), STR("ab")), 0);
    CU_ASSERT_EQUAL(str_find(STR("abc"), 'c'), 2);
    CU_ASSERT_EQUAL(str_find(STR(""), 'c'), -1);
    static const char *const parts[] = {"a", "", "b"};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        CU_ASSERT(str_split(&rest, ',', &part));
        CU_ASSERT(str_eqc(part, parts[i]));
    }
    CU_ASSERT(!str_split(&rest, ',', &part));
    CU_ASSERT(c_eq(NULL, NULL) && !c_eq("", NULL) && c_eq("a", "a"));
}

static void integers(void)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"1 ", false, 0},
        {" 1", false, 0},
        {"1x", false, 0},
        {"0x1", false, 0},
        {"99999999999999999999999", false, 0},
        {"--1", false, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error err;
        int64_t value = 42;
        int r = str_parse_int64(str_of(cases[i].text), &value, &err);
        CU_ASSERT_EQUAL(r == 0, cases[i].ok);
        CU_ASSERT_EQUAL(value, cases[i].ok ? cases[i].value : 42);
    }
}

static void buffers_grow_and_keep_their_nul(void)
{
    struct strbuf b;
    strbuf_init(&b, 0);
    CU_ASSERT_STRING_EQUAL(b.data, "");
    for (int i = 0; i < 1000; i++) {
        strbuf_addf(&b, "%d,", i);
        CU_ASSERT_EQUAL(b.data[b.n], '\0');
    }
    CU_ASSERT_EQUAL(b.n, 3890);
    strbuf_remove_front(&b, 4);
    CU_ASSERT(!strncmp(b.data, "2,3,", 4));
    strbuf_clear(&b);
    CU_ASSERT_STRING_EQUAL(b.data, "");
    strbuf_addf(&b, "%300d", 5);
    CU_ASSERT_EQUAL(b.n, 300);
    char *text = strbuf_steal(&b);
    CU_ASSERT_EQUAL(strlen(text), 300);
    free(text);
    text = strbuf_steal(&b);
    CU_ASSERT_STRING_EQUAL(text, "");
    free(text);
    strbuf_done(&b);
}

static void a_limit_drops_everything_behind_it(void)
{
    autostrbuf struct strbuf b;
    strbuf_init(&b, 5);
    strbuf_addc(&b, "abc");
    CU_ASSERT(!strbuf_overflowed(&b));
    strbuf_addc(&b, "def");
    strbuf_addc(&b, "g");
    strbuf_add_char(&b, 'h');
    CU_ASSERT(strbuf_overflowed(&b));
    CU_ASSERT(!strbuf_reserve(&b, 1));
    CU_ASSERT_STRING_EQUAL(b.data, "abc");
    strbuf_clear(&b);
    strbuf_addc(&b, "12345");
    CU_ASSERT(!strbuf_overflowed(&b));
    CU_ASSERT_STRING_EQUAL(b.data, "12345");
}

static void reserve_and_commit(void)
{
    autostrbuf struct strbuf b = STRBUF_EMPTY;
    char *room = strbuf_reserve(&b, 100);
    memcpy(room, "xyz", 3);
    strbuf_commit(&b, 3);
    CU_ASSERT_STRING_EQUAL(b.data, "xyz");
    strbuf_commit(&b, 0);
    CU_ASSERT(!strbuf_reserve(&b, SIZE_MAX / 2));
    CU_ASSERT(strbuf_overflowed(&b));
}

const CU_TestInfo str_tests[] = {
    {"views", views},
    {"integers", integers},
    {"buffers grow and keep their NUL", buffers_grow_and_keep_their_nul},
    {"a limit drops everything behind it", a_limit_drops_everything_behind_it},
    {"reserve and commit", reserve_and_commit},
    CU_TEST_INFO_NULL,
};
