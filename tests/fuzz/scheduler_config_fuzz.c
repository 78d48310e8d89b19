/* Scheduler configuration: any text is a configuration or an error with a text. */
/* links: skiff-scheduler-lib */
#include <assert.h>

#include "scheduler/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config c;
    struct error err = {0};

    config_init(&c);
    if (config_parse(str_range((const char *)data, size), &c, &err) < 0)
        assert(err.text[0]);
    else
        assert(c.profile_count > 0);
    config_done(&c);
    return 0;
}
