/* Quantities, times and durations: what is read prints in a form that reads back as the same value.
 */
#include "common/quantity.h"

#include <assert.h>

#include "common/time.h"

static void check_quantity(struct str text)
{
    autostrbuf struct strbuf printed = STRBUF_EMPTY, again = STRBUF_EMPTY;
    struct quantity q, back;
    struct error err;

    if (quantity_parse(text, &q, &err) < 0)
        return;
    quantity_print(q, &printed);
    assert(quantity_parse(strbuf_str(&printed), &back, &err) == 0);
    assert(quantity_cmp(q, back) == 0);
    quantity_print(back, &again);
    assert(str_eq(strbuf_str(&printed), strbuf_str(&again)));
    assert(quantity_cmp(quantity_sub(quantity_add(q, q), q), q) == 0 || q.nano > INT64_MAX ||
           q.nano < -INT64_MAX);
    quantity_milli_value(q);
    assert(quantity_value(q) == quantity_value(back));
}

static void check_time(struct str text)
{
    char printed[TIME_TEXT_BYTES];
    struct error err;
    int64_t ns, back;

    if (time_parse(text, &ns, &err) < 0)
        return;
    assert(time_parse(str_of(time_print_ns(ns, printed)), &back, &err) == 0 && back == ns);
}

static void check_duration(struct str text)
{
    autostrbuf struct strbuf printed = STRBUF_EMPTY, age = STRBUF_EMPTY;
    struct error err;
    int64_t ns, back;

    if (duration_parse(text, &ns, &err) < 0)
        return;
    duration_print(ns, &printed);
    assert(duration_parse(strbuf_str(&printed), &back, &err) == 0 && back == ns);
    duration_print_human(ns, &age);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_range((const char *)data, size);
    check_quantity(text);
    check_time(text);
    check_duration(text);
    return 0;
}
