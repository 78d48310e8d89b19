/* How many pods a budget lets go. */
#include <CUnit/CUnit.h>

#include "controller/disruption.h"
#include "tests/unit/controller/objects.h"

static const struct {
    const char *spec;
    int64_t pods, scale, healthy;
    struct budget_sum sum; /* expected, desired, healthy, allowed */
} cases[] = {
    {"\"minAvailable\":2", 3, 0, 3, {3, 2, 3, 1}},
    {"\"minAvailable\":2", 3, 0, 2, {3, 2, 2, 0}},
    {"\"minAvailable\":2", 3, 0, 1, {3, 2, 1, 0}},
    {"\"minAvailable\":0", 3, 0, 3, {3, 0, 3, 3}},
    {"\"minAvailable\":1", 0, 0, 0, {0, 1, 0, 0}},
    {"\"minAvailable\":\"50%\"", 3, 5, 3, {5, 3, 3, 0}},
    {"\"minAvailable\":\"50%\"", 5, 5, 5, {5, 3, 5, 2}},
    {"\"minAvailable\":\"100%\"", 2, 2, 2, {2, 2, 2, 0}},
    {"\"maxUnavailable\":1", 3, 3, 3, {3, 2, 3, 1}},
    {"\"maxUnavailable\":1", 2, 3, 2, {3, 2, 2, 0}},
    {"\"maxUnavailable\":\"30%\"", 3, 3, 3, {3, 2, 3, 1}},
    {"\"maxUnavailable\":10", 3, 3, 3, {3, 0, 3, 3}},
    {"\"maxUnavailable\":1", 0, 0, 0, {0, 0, 0, 0}},
    {"\"selector\":{}", 3, 0, 3, {3, 0, 3, 3}},
};

static void test_sums(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct budget *b = object_of(KIND_BUDGET, "{\"spec\":{%s}}", cases[i].spec);
        struct budget_sum s = budget_sum(b, cases[i].pods, cases[i].scale, cases[i].healthy);
        if (memcmp(&s, &cases[i].sum, sizeof(s)) != 0) {
            printf("\n%s: %lld %lld %lld %lld\n", cases[i].spec, (long long)s.expected,
                (long long)s.desired, (long long)s.healthy, (long long)s.allowed);
            CU_FAIL("sum");
        }
        projected_unref(b);
    }
}

const CU_TestInfo disruption_tests[] = {{"sums", test_sums}, CU_TEST_INFO_NULL};
