/* Cron schedules: what is accepted fires later than asked, or never, and only at times it names. */
#include "common/cron.h"

#include <assert.h>

#include "common/time.h"

#define SOME_TIME_NS (1764000000 * NS_PER_S)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autofree char *schedule = str_dup(str_range((const char *)data, size));
    struct cron cron;
    struct error err;
    int64_t at_ns = SOME_TIME_NS;

    if (cron_parse(schedule, &cron, &err) < 0)
        return 0;
    for (int i = 0; i < 3; i++) {
        int64_t next_ns = cron_next(&cron, NULL, at_ns);
        if (next_ns == 0)
            break;
        assert(next_ns > at_ns);
        if (!cron.every_ns) {
            assert(next_ns % (60 * NS_PER_S) == 0);
            assert(cron.minutes >> (next_ns / (60 * NS_PER_S) % 60) & 1);
            assert(cron.hours >> (next_ns / (3600 * NS_PER_S) % 24) & 1);
        }
        at_ns = next_ns;
    }
    return 0;
}
