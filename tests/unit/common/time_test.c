/* Times and durations. */
#include "common/time.h"

#include <CUnit/CUnit.h>
#include <inttypes.h>

static void printing(void)
{
    static const struct {
        int64_t ns;
        const char *s, *us, *exact;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z",
            "1970-01-01T00:00:00.000000000Z"},
        {1795419113123456789, "2026-11-23T07:31:53Z", "2026-11-23T07:31:53.123456Z",
            "2026-11-23T07:31:53.123456789Z"},
        {951782400000000000, "2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000000Z",
            "2000-02-29T00:00:00.000000000Z"},
        {-1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999999Z",
            "1969-12-31T23:59:59.999999999Z"},
        {INT64_MAX, "2262-04-11T23:47:16Z", "2262-04-11T23:47:16.854775Z",
            "2262-04-11T23:47:16.854775807Z"},
        {INT64_MIN, "1677-09-21T00:12:43Z", "1677-09-21T00:12:43.145224Z",
            "1677-09-21T00:12:43.145224192Z"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[TIME_TEXT_BYTES];
        CU_ASSERT_STRING_EQUAL(time_print_s(cases[i].ns, text), cases[i].s);
        CU_ASSERT_STRING_EQUAL(time_print_us(cases[i].ns, text), cases[i].us);
        CU_ASSERT_STRING_EQUAL(time_print_ns(cases[i].ns, text), cases[i].exact);
    }
}

static void parsing(void)
{
    static const struct {
        const char *text, *expected; /* the time to the nanosecond, or the error */
    } cases[] = {
        {"2026-11-23T07:31:53Z", "2026-11-23T07:31:53.000000000Z"},
        {"2026-11-23T07:31:53.5Z", "2026-11-23T07:31:53.500000000Z"},
        {"2026-11-23T07:31:53.1234567899Z", "2026-11-23T07:31:53.123456789Z"},
        {"2026-11-23T07:31:53+05:30", "2026-11-23T02:01:53.000000000Z"},
        {"2026-11-23T07:31:53-01:00", "2026-11-23T08:31:53.000000000Z"},
        {"2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000000Z"},
        {"", "parsing time \"\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"2006\""},
        {"x",
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""},
        {"2026-11-23", "parsing time \"2026-11-23\" as \"2006-01-02T15:04:05Z07:00\": cannot parse "
                       "\"\" as \"T\""},
        {"2026-11-23 07:31:53Z",
            "parsing time \"2026-11-23 07:31:53Z\" as \"2006-01-02T15:04:05Z07:00\": "
            "cannot parse \" 07:31:53Z\" as \"T\""},
        {"2026-11-23T07:31:53",
            "parsing time \"2026-11-23T07:31:53\" as \"2006-01-02T15:04:05Z07:00\": "
            "cannot parse \"\" as \"Z07:00\""},
        {"2026-13-01T00:00:00Z", "parsing time \"2026-13-01T00:00:00Z\": month out of range"},
        {"2023-02-29T00:00:00Z", "parsing time \"2023-02-29T00:00:00Z\": day out of range"},
        {"2023-02-01T24:00:00Z", "parsing time \"2023-02-01T24:00:00Z\": hour out of range"},
        {"2023-02-01T00:00:00Zx", "parsing time \"2023-02-01T00:00:00Zx\": extra text: \"x\""},
        {"3000-01-01T00:00:00Z", "time \"3000-01-01T00:00:00Z\" is outside the years 1678 to 2261"},
        {"0001-01-01T00:00:00Z", "time \"0001-01-01T00:00:00Z\" is outside the years 1678 to 2261"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[TIME_TEXT_BYTES];
        struct error err;
        int64_t ns;
        int r = time_parse(str_of(cases[i].text), &ns, &err);
        CU_ASSERT_STRING_EQUAL(r < 0 ? err.text : time_print_ns(ns, text), cases[i].expected);
    }
}

static void every_day_round_trips(void)
{
    struct error err;
    for (int64_t day = -100000; day < 100000; day += 17) {
        char text[TIME_TEXT_BYTES];
        int64_t ns = day * 86400 * NS_PER_S + 3661 * NS_PER_S, back = 0;
        CU_ASSERT_EQUAL(time_parse(str_of(time_print_s(ns, text)), &back, &err), 0);
        CU_ASSERT_EQUAL(back, ns);
    }
}

static void durations(void)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"0", "0s"},
        {"0s", "0s"},
        {"5s", "5s"},
        {"30m", "30m0s"},
        {"1h30m", "1h30m0s"},
        {"250ms", "250ms"},
        {"-1.5s", "-1.5s"},
        {"+2h", "2h0m0s"},
        {"1.5h", "1h30m0s"},
        {".5s", "500ms"},
        {"1.s", "1s"},
        {"100us", "100\xc2\xb5s"},
        {"1\xc2\xb5s", "1\xc2\xb5s"},
        {"1500ns", "1.5\xc2\xb5s"},
        {"7ns", "7ns"},
        {"1h1m1.001s", "1h1m1.001s"},
        {"90s", "1m30s"},
        {"72h3m0.5s", "72h3m0.5s"},
        {"9223372036854775807ns", "2562047h47m16.854775807s"},
        {"-9223372036854775808ns", "-2562047h47m16.854775808s"},
        {"9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""},
        {"3000000h", "time: invalid duration \"3000000h\""},
        {"", "time: invalid duration \"\""},
        {"-", "time: invalid duration \"-\""},
        {".", "time: invalid duration \".\""},
        {"s", "time: invalid duration \"s\""},
        {"5", "time: missing unit in duration \"5\""},
        {"5x", "time: unknown unit \"x\" in duration \"5x\""},
        {"1h-5m", "time: unknown unit \"h-\" in duration \"1h-5m\""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        struct error err;
        int64_t ns;
        if (duration_parse(str_of(cases[i].text), &ns, &err) < 0)
            strbuf_addc(&text, err.text);
        else
            duration_print(ns, &text);
        CU_ASSERT_STRING_EQUAL(text.data, cases[i].expected);
    }
}

static void ages(void)
{
    static const struct {
        int64_t seconds;
        const char *expected;
    } cases[] = {
        {-5, "<invalid>"},
        {-1, "0s"},
        {0, "0s"},
        {59, "59s"},
        {119, "119s"},
        {120, "2m"},
        {192, "3m12s"},
        {599, "9m59s"},
        {600, "10m"},
        {10799, "179m"},
        {10800, "3h"},
        {11100, "3h5m"},
        {28800, "8h"},
        {172799, "47h"},
        {172800, "2d"},
        {619200, "7d4h"},
        {691200, "8d"},
        {63072000, "2y"},
        {64972800, "2y22d"},
        {259200000, "8y"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        duration_print_human(cases[i].seconds * NS_PER_S, &text);
        CU_ASSERT_STRING_EQUAL(text.data, cases[i].expected);
    }
}

const CU_TestInfo time_tests[] = {
    {"printing", printing},
    {"parsing", parsing},
    {"every day round-trips", every_day_round_trips},
    {"durations", durations},
    {"ages", ages},
    CU_TEST_INFO_NULL,
};
