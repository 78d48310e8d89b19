/* Continue tokens: apiserver/registry/generic/token.c. */
#include <CUnit/CUnit.h>

#include "apiserver/registry/generic/token.h"
#include "common/base64.h"

static void test_round_trip(void)
{
    static const struct {
        int64_t version, seen;
        const char *namespace_, *name;
    } cases[] = {
        {1, 0, "", "a"},
        {-1, -1, "default", "web-0"},
        {9007199254740993, 500, "kube-system", "system:node"},
    };
    struct arena *a = arena_new();
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct continue_token t = {cases[i].version, cases[i].seen, str_of(cases[i].namespace_),
                                  str_of(cases[i].name)},
                              back;
        CU_ASSERT_EQUAL_FATAL(token_parse(a, token_print(a, &t), &back, &err), 0);
        CU_ASSERT_EQUAL(back.version, t.version);
        CU_ASSERT_EQUAL(back.seen, t.seen);
        CU_ASSERT(str_eq(back.namespace_, t.namespace_));
        CU_ASSERT(str_eq(back.name, t.name));
    }
    arena_free(a);
}

static void test_bad(void)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"v\":\"meta.k8s.io/v2\",\"rv\":1,\"seen\":0,\"start\":\"a/b\"}",
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":0,\"seen\":0,\"start\":\"a/b\"}",
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":-2,\"seen\":0,\"start\":\"a/b\"}",
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":\"1\",\"seen\":0,\"start\":\"a/b\"}",
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"seen\":0,\"start\":\"ab\"}",
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"seen\":0}",
        "[]",
        "nonsense",
    };
    struct arena *a = arena_new();
    struct continue_token t;
    struct error err;

    CU_ASSERT_EQUAL(token_parse(a, "!!!", &t, &err), -ERR_BAD_REQUEST);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        base64url_encode(str_of(bad[i]), &text);
        CU_ASSERT_EQUAL(token_parse(a, text.data, &t, &err), -ERR_BAD_REQUEST);
        CU_ASSERT(str_starts(str_of(err.text), STR("continue key is not valid")));
    }
    char *longest = arena_alloc(a, 5001);
    memset(longest, 'A', 5000);
    longest[5000] = '\0';
    CU_ASSERT_EQUAL(token_parse(a, longest, &t, &err), -ERR_BAD_REQUEST);
    arena_free(a);
}

const CU_TestInfo token_tests[] = {
    {"round trip", test_round_trip},
    {"bad ones", test_bad},
    CU_TEST_INFO_NULL,
};
