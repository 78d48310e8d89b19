/* When a CronJob is due. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "controller/cronjob.h"
#include "tests/unit/controller/objects.h"

static const struct {
    const char *schedule, *created, *last; /* last "": never ran */
    int deadline;                          /* -1: none */
    const char *now, *scheduled, *next;    /* scheduled "": none */
    bool too_late, too_many;
} cases[] = {
    {"0 * * * *", "10:00:00", "", -1, "10:30:00", "", "11:00:00", false, false},
    {"0 * * * *", "10:00:00", "", -1, "11:00:01", "11:00:00", "12:00:00", false, false},
    {"0 * * * *", "10:00:00", "11:00:00", -1, "11:20:00", "", "12:00:00", false, false},
    {"0 * * * *", "10:00:00", "", -1, "14:20:00", "14:00:00", "15:00:00", false, false},
    {"* * * * *", "10:00:00", "", -1, "11:40:30", "11:40:00", "11:41:00", false, false},
    {"* * * * *", "10:00:00", "", -1, "11:41:30", "11:41:00", "11:42:00", false, true},
    {"* * * * *", "10:00:00", "", 90, "23:41:30", "23:41:00", "23:42:00", false, false},
    {"0 * * * *", "10:00:00", "", 30, "11:00:20", "11:00:00", "12:00:00", false, false},
    {"0 * * * *", "10:00:00", "", 30, "11:00:40", "", "12:00:00", false, false},
    {"@every 7m", "10:00:00", "", -1, "10:30:00", "10:28:00", "10:35:00", false, false},
};

static int64_t time_at(const char *clock)
{
    int64_t ns = 0;
    struct error err;
    autofree char *text = str_format("2026-01-05T%sZ", clock); /* a Monday */

    CU_ASSERT_EQUAL_FATAL(time_parse(str_of(text), &ns, &err), 0);
    return ns;
}

static void test_due(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *last =
            *cases[i].last ? str_format("\"lastScheduleTime\":\"2026-01-05T%sZ\"", cases[i].last)
                           : xstrdup("");
        autofree char *deadline =
            cases[i].deadline >= 0
                ? str_format(",\"startingDeadlineSeconds\":%d", cases[i].deadline)
                : xstrdup("");
        const struct cron_job *job = object_of(KIND_CRON_JOB,
            "{\"metadata\":{\"creationTimestamp\":\"2026-01-05T%sZ\"},\"spec\":{\"schedule\":\"%s\""
            "%s},\"status\":{%s}}",
            cases[i].created, cases[i].schedule, deadline, last);
        struct cron cron;
        struct cron_due due;
        struct error err;
        CU_ASSERT_EQUAL_FATAL(cron_parse(job->schedule, &cron, &err), 0);
        CU_ASSERT_EQUAL_FATAL(cron_due(job, &cron, NULL, time_at(cases[i].now), &due, &err), 0);
        int64_t scheduled = *cases[i].scheduled ? time_at(cases[i].scheduled) : 0;
        int64_t next = time_at(cases[i].next) + 100 * NS_PER_MS;
        if (due.scheduled_ns != scheduled || due.next_ns != next ||
            due.too_late != cases[i].too_late || due.too_many != cases[i].too_many) {
            char a[TIME_TEXT_BYTES], b[TIME_TEXT_BYTES];
            printf("\ncase %zu: %s, next %s, %d %d\n", i, time_print_s(due.scheduled_ns, a),
                time_print_s(due.next_ns, b), due.too_late, due.too_many);
            CU_FAIL("due");
        }
        projected_unref(job);
    }
}

static void test_never(void)
{
    const struct cron_job *job = object_of(KIND_CRON_JOB,
        "{\"metadata\":{\"creationTimestamp\":\"2026-01-05T00:00:00Z\"},\"spec\":{\"schedule\":\"0 "
        "0 30 2 *\"}}");
    struct cron cron;
    struct cron_due due;
    struct error err;

    CU_ASSERT_EQUAL_FATAL(cron_parse(job->schedule, &cron, &err), 0);
    CU_ASSERT_EQUAL(cron_due(job, &cron, NULL, time_at("10:00:00"), &due, &err), -ERR_BAD_REQUEST);
    projected_unref(job);
}

const CU_TestInfo cronjob_tests[] = {{"due", test_due}, {"never", test_never}, CU_TEST_INFO_NULL};
