/* Status differences and conditions. */
#include <CUnit/CUnit.h>

#include "controller/conditions.h"
#include "controller/status.h"

static void test_merge_diff(void)
{
    static const struct {
        const char *old, *now, *diff; /* NULL: equal */
    } cases[] = {
        {"{}", "{}", NULL},
        {"{\"a\":1,\"b\":{\"c\":2}}", "{\"b\":{\"c\":2},\"a\":1.0}", NULL},
        {"{\"a\":1}", "{\"a\":2}", "{\"a\":2}"},
        {"{\"a\":1,\"b\":2}", "{\"b\":2}", "{\"a\":null}"},
        {"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":1,\"c\":3}}", "{\"a\":{\"c\":3}}"},
        {"{\"a\":[1,2]}", "{\"a\":[1,3]}", "{\"a\":[1,3]}"},
        {"{\"a\":{\"b\":1}}", "{\"a\":5}", "{\"a\":5}"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autojson cJSON *old = json_make("%s", cases[i].old), *now = json_make("%s", cases[i].now);
        autojson cJSON *diff = merge_diff(old, now);
        CU_ASSERT_EQUAL(diff == NULL, cases[i].diff == NULL);
        if (diff && cases[i].diff) {
            autojson cJSON *want = json_make("%s", cases[i].diff);
            CU_ASSERT_TRUE(json_equal(diff, want));
        }
    }
}

static void test_conditions(void)
{
    autojson cJSON *list = cJSON_CreateArray();

    CU_ASSERT_TRUE(conditions_set(list, "A", "True", "r", "m", 1000000000, 0));
    CU_ASSERT_FALSE(conditions_set(list, "A", "True", "r", "m", 2000000000, 0));
    CU_ASSERT_TRUE(conditions_set(list, "A", "True", "r", "other", 2000000000, 0));
    CU_ASSERT_STRING_EQUAL(
        json_string(conditions_get(list, "A"), "lastTransitionTime"), "1970-01-01T00:00:01Z");
    CU_ASSERT_TRUE(conditions_set(list, "A", "False", "r", "other", 2000000000, 0));
    CU_ASSERT_STRING_EQUAL(
        json_string(conditions_get(list, "A"), "lastTransitionTime"), "1970-01-01T00:00:02Z");
    CU_ASSERT_FALSE(conditions_remove(list, "B"));
    CU_ASSERT_TRUE(conditions_remove(list, "A"));
    CU_ASSERT_PTR_NULL(list->child);
}

const CU_TestInfo status_tests[] = {
    {"merge patch of a difference", test_merge_diff},
    {"conditions", test_conditions},
    CU_TEST_INFO_NULL,
};
