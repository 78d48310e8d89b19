/* Errors: the table, filling, wrapping, cutting. */
#include "common/error.h"

#include <CUnit/CUnit.h>
#include <errno.h>

static void every_kind_is_complete(void)
{
    for (int i = 1; i < ERR_COUNT; i++) {
        CU_ASSERT(error_http_status((enum err)i) >= 400 && error_http_status((enum err)i) < 600);
        CU_ASSERT(*error_reason((enum err)i) != '\0');
        CU_ASSERT(*error_default_text((enum err)i) != '\0');
        enum err back = error_from_reason(error_reason((enum err)i), 0);
        CU_ASSERT_STRING_EQUAL(error_reason(back), error_reason((enum err)i));
    }
}

static void reasons_win_over_status(void)
{
    CU_ASSERT_EQUAL(error_from_reason("AlreadyExists", 409), ERR_ALREADY_EXISTS);
    CU_ASSERT_EQUAL(error_from_reason("Conflict", 409), ERR_CONFLICT);
    CU_ASSERT_EQUAL(error_from_reason("Unheard", 404), ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(error_from_reason("", 410), ERR_EXPIRED);
    CU_ASSERT_EQUAL(error_from_reason(NULL, 418), ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(error_from_reason(NULL, 599), ERR_INTERNAL);
}

static void setting_and_wrapping(void)
{
    struct error err;
    CU_ASSERT_EQUAL(error_set(&err, ERR_NOT_FOUND, "no %s", "pod"), -ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(error_wrap(&err, "node %d", 3), -ERR_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(err.text, "node 3: no pod");
    error_set(&err, ERR_CONFLICT, "<%s>", err.text); /* its own text as argument */
    CU_ASSERT_STRING_EQUAL(err.text, "<node 3: no pod>");
    CU_ASSERT_EQUAL(error_sys(&err, ENOENT, "open %s", "/x"), -ERR_SYSTEM);
    CU_ASSERT_STRING_EQUAL(err.text, "open /x: No such file or directory");
    CU_ASSERT_EQUAL(err.sys_errno, ENOENT);
}

static void long_texts_are_cut_between_characters(void)
{
    struct error err;
    char text[3000];
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa9", 3);
    for (int shift = 0; shift < 4; shift++) {
        error_set(&err, ERR_INTERNAL, "%.*s%s", shift, "abcd", text);
        size_t n = strlen(err.text);
        CU_ASSERT(n < sizeof(err.text) && !strcmp(err.text + n - 3, "..."));
        CU_ASSERT_EQUAL(
            (unsigned char)err.text[n - 4], 0xa9); /* a whole character before the dots */
        error_wrap(&err, "%s", text);
        CU_ASSERT_STRING_EQUAL(err.text + strlen(err.text) - 3, "...");
    }
}

const CU_TestInfo error_tests[] = {
    {"every kind is complete", every_kind_is_complete},
    {"reasons win over status", reasons_win_over_status},
    {"setting and wrapping", setting_and_wrapping},
    {"long texts are cut between characters", long_texts_are_cut_between_characters},
    CU_TEST_INFO_NULL,
};
