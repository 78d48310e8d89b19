/* Which timings of a leader election are safe. */
#include "common/leader.h"

#include <CUnit/CUnit.h>

#include "common/time.h"

static const struct {
    int64_t lease_ms, renew_ms, retry_ms;
    const char *refused; /* NULL: fine */
} cases[] = {
    {15000, 10000, 2000, NULL},
    {1000, 900, 100, NULL},
    {900, 500, 100, "lease-duration must be at least 1s"},
    {10000, 10000, 2000, "must be greater than --leader-elect-renew-deadline"},
    {15000, 2400, 2000, "must be greater than 1.2 times"},
    {15000, 2401, 2000, NULL},
    {15000, 10000, 0, "retry-period must be greater than zero"},
};

static void test_timings(void)
{
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct leader_flags flags = {.elect = true,
            .lease_ns = cases[i].lease_ms * NS_PER_MS,
            .renew_deadline_ns = cases[i].renew_ms * NS_PER_MS,
            .retry_ns = cases[i].retry_ms * NS_PER_MS};
        int r = leader_flags_check(&flags, &err);
        CU_ASSERT_EQUAL(r, cases[i].refused ? -ERR_USAGE : 0);
        if (r < 0 && cases[i].refused)
            CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].refused));
        flags.elect = false; /* then they don't matter */
        CU_ASSERT_EQUAL(leader_flags_check(&flags, &err), 0);
    }
}

const CU_TestInfo leader_tests[] = {
    {"timings", test_timings},
    CU_TEST_INFO_NULL,
};
