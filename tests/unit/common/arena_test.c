/* Arena: alignment, growth, hooks, reuse. */
#include "common/arena.h"

#include <CUnit/CUnit.h>

static void allocations_are_aligned_and_apart(void)
{
    struct arena *a = arena_new();
    unsigned char *blocks[500];
    for (size_t i = 0; i < 500; i++) {
        size_t n = i * 37 % 1000;
        blocks[i] = arena_alloc(a, n);
        CU_ASSERT_EQUAL((uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
        memset(blocks[i], (int)(i & 255), n);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t j = 0; j < i * 37 % 1000; j++)
            if (blocks[i][j] != (i & 255))
                CU_FAIL("overlap");
    CU_ASSERT(arena_bytes(a) > 200000);
    arena_free(a);
    arena_free(NULL);
}

static void big_ones_do_not_waste_the_block(void)
{
    struct arena *a = arena_new();
    char *first = arena_alloc(a, 16);
    arena_alloc(a, 1u << 20);
    char *second = arena_alloc(a, 16);
    CU_ASSERT_EQUAL(second, first + 16);
    arena_free(a);
}

static void strings(void)
{
    struct arena *a = arena_new();
    CU_ASSERT_STRING_EQUAL(arena_strdup(a, str_range("abcdef", 3)), "abc");
    CU_ASSERT_STRING_EQUAL(arena_strdup(a, str_of(NULL)), "");
    CU_ASSERT_STRING_EQUAL(arena_printf(a, "%s-%05d", "x", 42), "x-00042");
    CU_ASSERT(str_eqc(arena_str(a, STR("xyz")), "xyz"));
    int *zeroed = arena_new_array(a, int, 100);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(zeroed[i], 0);
    arena_free(a);
}

static void append(void *arg)
{
    struct strbuf *b = *(struct strbuf **)arg;
    strbuf_addf(b, "%c", ((char *)arg)[sizeof(struct strbuf *)]);
}

static void hooks_run_last_first_once(void)
{
    autostrbuf struct strbuf order = STRBUF_EMPTY;
    struct arena *a = arena_new();
    for (char c = 'a'; c <= 'c'; c++) {
        char *arg = arena_alloc(a, sizeof(struct strbuf *) + 1);
        memcpy(arg, &(struct strbuf *){&order}, sizeof(struct strbuf *));
        arg[sizeof(struct strbuf *)] = c;
        arena_on_free(a, append, arg);
    }
    arena_alloc(a, 100000);
    arena_clear(a);
    CU_ASSERT_STRING_EQUAL(order.data, "cba");
    CU_ASSERT_EQUAL(arena_bytes(a), 0);
    CU_ASSERT_STRING_EQUAL(arena_strdup(a, STR("again")), "again");
    arena_free(a);
    CU_ASSERT_STRING_EQUAL(order.data, "cba");
}

const CU_TestInfo arena_tests[] = {
    {"allocations are aligned and apart", allocations_are_aligned_and_apart},
    {"big ones do not waste the block", big_ones_do_not_waste_the_block},
    {"strings", strings},
    {"hooks run last first, once", hooks_run_last_first_once},
    CU_TEST_INFO_NULL,
};
