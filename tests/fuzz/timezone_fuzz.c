/* Time zone files: any bytes are refused or give an offset for every time, the same each time. */
#include "common/timezone.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t times[] = {
        INT64_MIN / 2, -5000000000, -1, 0, 1700000000, 2147483648, 33000000000, INT64_MAX / 2};
    struct timezone *zone;
    struct error err;

    if (timezone_parse(str_range((const char *)data, size), &zone, &err) < 0)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(times); i++)
        assert(timezone_offset(zone, times[i]) == timezone_offset(zone, times[i]));
    timezone_free(zone);
    return 0;
}
