/*
 * Runner of one folder's CUnit suites: `unit-common [SUITE]...` runs all, or the suites named.
 *
 * The last line is "N passed, N failed", in tests.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#define SUITE(name) extern const CU_TestInfo name##_tests[];
#include UNIT_SUITES
#undef SUITE

static const struct {
    const char *name;
    const CU_TestInfo *tests;
} suites[] = {
#define SUITE(name) {#name, name##_tests},
#include UNIT_SUITES
#undef SUITE
};

static int is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return argc < 2;
}

int main(int argc, char **argv)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        if (!is_wanted(suites[i].name, argc, argv))
            continue;
        CU_pSuite suite = CU_add_suite(suites[i].name, NULL, NULL);
        for (const CU_TestInfo *t = suites[i].tests; t->pName; t++)
            if (!CU_add_test(suite, t->pName, t->pTestFunc))
                return 2;
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned run = CU_get_number_of_tests_run(), failed = CU_get_number_of_tests_failed();
    CU_cleanup_registry();
    printf("unit-%s: %u passed, %u failed\n", UNIT_NAME, run - failed, failed);
    return failed > 0 || run == 0;
}
