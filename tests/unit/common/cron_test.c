/* Cron schedules: when they fire next, also where the clock changes; time zones. */
#include <CUnit/CUnit.h>

#include "common/cron.h"
#include "common/time.h"

static const struct {
    const char *schedule, *zone, *after, *next; /* next NULL: never */
} cases[] = {
    {"* * * * *", "", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"},
    {"* * * * *", "", "2026-01-01T00:00:59.9Z", "2026-01-01T00:01:00Z"},
    {"*/15 * * * *", "", "2026-01-01T00:45:00Z", "2026-01-01T01:00:00Z"},
    {"20-35/15 * * * *", "", "2026-01-01T00:20:00Z", "2026-01-01T00:35:00Z"},
    {"5/20 * * * *", "", "2026-01-01T00:05:00Z", "2026-01-01T00:25:00Z"},
    {"0 0 29 2 ?", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
    {"0 0 30 feb *", "", "2026-01-01T00:00:00Z", NULL},
    {"0 0 * * mon", "", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"},
    {"0 0 13 * fri", "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
    {"0 0 */2 * fri", "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
    {"7/9223372036854775807 * * * *", "", "2026-01-01T00:00:00Z", "2026-01-01T00:07:00Z"},
    {"@every 2562047h", "", "2026-01-01T00:00:00Z", NULL},
    {"@hourly", "", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"},
    {"@weekly", "", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"},
    {"@yearly", "", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
    {"@every 90s", "", "2026-01-01T00:00:07.5Z", "2026-01-01T00:01:37Z"},
    {"@every 10ms", "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"},
    {"0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
    {"30 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T04:00:00Z"},
    {"0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T03:30:00Z"},
    {"0 12 * * *", "America/New_York", "2026-07-01T00:00:00Z", "2026-07-01T16:00:00Z"},
    {"0 12 * * *", "America/New_York", "2026-12-01T00:00:00Z", "2026-12-01T17:00:00Z"},
    /* after the last transition of the file, by its rule */
    {"0 12 * * *", "Europe/Berlin", "2090-07-01T00:00:00Z", "2090-07-01T10:00:00Z"},
    {"0 12 * * *", "Europe/Berlin", "2090-01-01T00:00:00Z", "2090-01-01T11:00:00Z"},
    /* 02:30 does not exist on the 29th of March 2026 */
    {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"},
    /* and twice on the 25th of October */
    {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
    /* midnight was skipped */
    {"0 0 4 11 *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2019-11-04T03:00:00Z"},
    {"0 0 * * *", "Australia/Sydney", "2026-01-01T00:00:00Z", "2026-01-01T13:00:00Z"},
};

static int64_t time_of(const char *text)
{
    int64_t ns;
    struct error err;

    CU_ASSERT_EQUAL_FATAL(time_parse(str_of(text), &ns, &err), 0);
    return ns;
}

static void test_next(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct timezone *zone = NULL;
        struct cron cron;
        struct error err;
        char got[TIME_TEXT_BYTES] = "";
        if (*cases[i].zone)
            CU_ASSERT_EQUAL_FATAL(timezone_load(cases[i].zone, &zone, &err), 0);
        CU_ASSERT_EQUAL_FATAL(cron_parse(cases[i].schedule, &cron, &err), 0);
        int64_t next = cron_next(&cron, zone, time_of(cases[i].after));
        if (next)
            time_print_s(next, got);
        if (strcmp(got, cases[i].next ? cases[i].next : "") != 0) {
            printf("\n%s %s after %s: %s\n", cases[i].schedule, cases[i].zone, cases[i].after, got);
            CU_FAIL("next");
        }
        timezone_free(zone);
    }
}

static void test_bad_schedules(void)
{
    static const char *const bad[][2] = {
        {"* * * *", "expected exactly 5 fields, found 4: [* * * *]"},
        {"60 * * * *", "end of range (60) above maximum (59): 60"},
        {"* * 0 * *", "beginning of range (0) below minimum (1): 0"},
        {"5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"},
        {"*/0 * * * *", "step of range should be a positive number: */0"},
        {"*/ * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"},
        {"/25 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"},
        {"@never", "unrecognized descriptor: @never"},
    };
    struct cron cron;
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        CU_ASSERT_EQUAL(cron_parse(bad[i][0], &cron, &err), -ERR_BAD_REQUEST);
        CU_ASSERT_STRING_EQUAL(err.text, bad[i][1]);
    }
}

static void test_bad_zones(void)
{
    static const char *const bad[] = {
        "", "Nowhere/City", "../passwd", "/etc/passwd", "posixrules/x"};
    static const char *const broken[] = {
        "", "TZif", "TZif2\0\0\0\0", "no zone at all, but long enough for a header"};
    struct timezone *zone;
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        CU_ASSERT_EQUAL(timezone_load(bad[i], &zone, &err), -ERR_NOT_FOUND);
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++)
        CU_ASSERT_EQUAL(timezone_parse(str_of(broken[i]), &zone, &err), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(timezone_offset(NULL, 0), 0);
}

const CU_TestInfo cron_tests[] = {{"next time", test_next}, {"bad schedules", test_bad_schedules},
    {"bad zones", test_bad_zones}, CU_TEST_INFO_NULL};
