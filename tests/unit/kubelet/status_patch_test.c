/* From one status to another: the smallest patch, and nobody else's conditions in it. */
#include <CUnit/CUnit.h>

#include "kubelet/status.h"

static const struct {
    const char *from, *to, *patch; /* of the status; NULL: nothing to send */
} cases[] = {
    {"{\"phase\":\"Running\"}", "{\"phase\":\"Running\"}", NULL},
    {"{}", "{\"phase\":\"Pending\"}", "{\"phase\":\"Pending\"}"},
    {"{\"phase\":\"Failed\",\"reason\":\"X\"}", "{\"phase\":\"Failed\"}", "{\"reason\":null}"},
    {"{\"podIP\":\"1\",\"podIPs\":[{\"ip\":\"1\"}]}",
        "{\"podIP\":\"2\",\"podIPs\":[{\"ip\":\"2\"}]}",
        "{\"podIP\":\"2\",\"podIPs\":[{\"ip\":\"2\"},{\"$patch\":\"replace\"}]}"},
    {"{\"conditions\":[{\"type\":\"Foreign\",\"status\":\"True\"},{\"type\":\"Ready\",\"status\":"
     "\"False\",\"reason\":\"R\"}]}",
        "{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}",
        "{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":null}]}"},
    /* A transition time alone is no change. */
    {"{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"a\"}]}",
        "{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"b\"}]}",
        NULL},
    /* A resize that is over takes its condition with it. */
    {"{\"conditions\":[{\"type\":\"PodResizePending\",\"status\":\"True\"}]}", "{}",
        "{\"conditions\":[{\"type\":\"PodResizePending\",\"$patch\":\"delete\"}]}"},
    {"{\"containerStatuses\":[{\"name\":\"a\"}]}",
        "{\"containerStatuses\":[{\"name\":\"a\",\"ready\":true}]}",
        "{\"containerStatuses\":[{\"name\":\"a\",\"ready\":true}]}"},
};

static void test_patches(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autojson cJSON *from = NULL, *to = NULL, *expected = NULL;
        struct error err;

        json_parse(str_of(cases[i].from), &from, &err);
        json_parse(str_of(cases[i].to), &to, &err);
        autojson cJSON *patch = status_patch("uid-1", from, to);
        CU_ASSERT_EQUAL(patch == NULL, cases[i].patch == NULL);
        if (!patch || !cases[i].patch)
            continue;
        json_parse(str_of(cases[i].patch), &expected, &err);
        CU_ASSERT(json_equal(json_get(patch, "status"), expected));
        CU_ASSERT_STRING_EQUAL(json_string_at(patch, "metadata.uid"), "uid-1");
    }
}

extern const CU_TestInfo status_patch_tests[];
const CU_TestInfo status_patch_tests[] = {{"patches", test_patches}, CU_TEST_INFO_NULL};
