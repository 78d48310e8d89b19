/* Columns behave like sets whatever their form. */
#include <CUnit/CUnit.h>

#include "common/hash.h"
#include "scheduler/column.h"

#define ROWS 4096u

static void random_operations(void)
{
    struct column c = {0};
    bool model[ROWS] = {false};
    uint32_t count = 0, state = 12345;

    for (int step = 0; step < 40000; step++) {
        state = state * 1664525 + 1013904223;
        uint32_t row = (state >> 8) % ROWS;
        bool add = step < 20000 ? state % 8 != 0 : state % 8 == 0;
        if (add) {
            count += !model[row];
            model[row] = true;
            column_add(&c, row, ROWS);
        } else {
            count -= model[row];
            model[row] = false;
            column_remove(&c, row, ROWS);
        }
        CU_ASSERT_EQUAL_FATAL(c.count, count);
        CU_ASSERT_EQUAL_FATAL(column_has(&c, row), model[row]);
    }
    for (uint32_t row = 0; row < ROWS; row++)
        CU_ASSERT_EQUAL_FATAL(column_has(&c, row), model[row]);
    column_done(&c);
}

static void check_operations(uint32_t every)
{
    struct column c = {0};
    uint64_t words[ROWS / 64];
    struct node_set set = {words, ROWS / 64};
    int32_t counts[ROWS] = {0};

    for (uint32_t row = 0; row < ROWS; row += every)
        column_add(&c, row, ROWS);
    memset(words, 0xff, sizeof(words));
    column_and(&c, &set);
    CU_ASSERT_EQUAL(node_set_count(&set), (ROWS + every - 1) / every);
    CU_ASSERT(node_set_has(&set, 0));
    CU_ASSERT(!node_set_has(&set, 1));
    column_count(&c, &set, 7, counts);
    CU_ASSERT_EQUAL(counts[every], 7);
    CU_ASSERT_EQUAL(counts[1], 0);
    column_and_not(&c, &set);
    CU_ASSERT(node_set_is_empty(&set));
    column_or(&c, &set);
    CU_ASSERT_EQUAL(node_set_count(&set), (ROWS + every - 1) / every);
    column_done(&c);
}

static void operations_on_list(void)
{
    check_operations(500);
}

static void operations_on_bitmap(void)
{
    check_operations(3);
}

static void grows_with_the_table(void)
{
    struct column c = {0};

    for (uint32_t row = 0; row < 64; row++)
        column_add(&c, row, 64);
    CU_ASSERT_PTR_NOT_NULL(c.words);
    column_add(&c, 1000, 1024);
    CU_ASSERT(column_has(&c, 1000));
    CU_ASSERT(!column_has(&c, 999));
    CU_ASSERT_EQUAL(c.count, 65);
    column_done(&c);
}

const CU_TestInfo column_tests[] = {
    {"random operations match a model", random_operations},
    {"set operations on a list", operations_on_list},
    {"set operations on a bitmap", operations_on_bitmap},
    {"a bitmap grows with the table", grows_with_the_table},
    CU_TEST_INFO_NULL,
};
