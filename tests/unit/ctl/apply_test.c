/* What `apply` sends for an old manifest, a new one and what the server holds. */
#include <CUnit/CUnit.h>

#include "common/str.h"
#include "ctl/apply.h"

static cJSON *parse(const char *text)
{
    cJSON *tree = NULL;
    struct error err;
    CU_ASSERT_FATAL(json_parse(str_of(text), &tree, &err) == 0);
    return tree;
}

/* `before` (NULL: never applied) is remembered in `current`; both annotations are left out of the
 * result. */
static void check(const char *before, const char *current, const char *manifest, bool strategic,
    const char *expected)
{
    static const char key[] = "kubectl.kubernetes.io/last-applied-configuration";
    autojson cJSON *now = parse(current);
    autojson cJSON *wanted = parse(manifest);
    autojson cJSON *expect = parse(expected);
    if (before) {
        autojson cJSON *old = parse(before);
        apply_annotate(old);
        json_set_string_at(now, "metadata.name", "x");
        if (!json_path(now, "metadata.annotations"))
            json_set(json_get(now, "metadata"), "annotations", cJSON_CreateObject());
        json_set_string(json_path(now, "metadata.annotations"), key,
            json_string(json_path(old, "metadata.annotations"), key));
    }
    apply_annotate(wanted);
    autojson cJSON *patch = apply_patch(wanted, now, strategic);
    json_remove(json_path(patch, "metadata.annotations"), key);
    json_remove(json_get(patch, "metadata"), "name");
    if (!json_equal(patch, expect)) {
        autofree char *text = cJSON_PrintUnformatted(patch);
        fprintf(stderr, "%s, expected %s\n", text, expected);
        CU_FAIL("another patch");
    }
    CU_PASS("");
}

#define META "\"metadata\":{\"name\":\"x\"}"
#define META_OUT "\"metadata\":{\"annotations\":{}}"

static void removed_fields(void)
{
    check(NULL, "{" META ",\"spec\":{\"a\":1,\"b\":2}}", "{" META ",\"spec\":{\"a\":3}}", true,
        "{" META_OUT ",\"spec\":{\"a\":3}}");
    check("{" META ",\"spec\":{\"a\":1,\"b\":{\"c\":1,\"d\":2}},\"data\":{\"k\":\"v\"}}",
        "{" META "}", "{" META ",\"spec\":{\"a\":1,\"b\":{\"d\":2}}}", true,
        "{" META_OUT ",\"spec\":{\"a\":1,\"b\":{\"d\":2,\"c\":null}},\"data\":null}");
}

static void removed_annotations(void)
{
    check("{\"metadata\":{\"name\":\"x\",\"annotations\":{\"mine\":\"1\",\"kept\":\"2\"}}}",
        "{\"metadata\":{\"name\":\"x\",\"annotations\":{\"mine\":\"1\",\"kept\":\"2\",\"other\":"
        "\"3\"}}}",
        "{\"metadata\":{\"name\":\"x\",\"annotations\":{\"kept\":\"2\"}}}", true,
        "{\"metadata\":{\"annotations\":{\"kept\":\"2\",\"mine\":null}}}");
    check("{\"metadata\":{\"name\":\"x\",\"annotations\":{\"mine\":\"1\"}}}", "{" META "}",
        "{" META "}", true, "{\"metadata\":{\"annotations\":{\"mine\":null}}}");
}

static void removed_items(void)
{
    check("{" META ",\"containers\":[{\"name\":\"a\",\"env\":[{\"name\":\"E\",\"value\":\"1\"},{"
          "\"name\":\"F\"}]},{\"name\":\"b\"}]}",
        "{" META "}", "{" META ",\"containers\":[{\"name\":\"a\",\"env\":[{\"name\":\"F\"}]}]}",
        true,
        "{" META_OUT ",\"containers\":[{\"name\":\"a\",\"env\":[{\"name\":\"F\"},{\"name\":\"E\","
        "\"$patch\":\"delete\"}]},"
        "{\"name\":\"b\",\"$patch\":\"delete\"}]}");
    check("{" META ",\"spec\":{\"ports\":[{\"port\":80},{\"port\":81}]}}", "{" META "}",
        "{" META ",\"spec\":{\"ports\":[{\"port\":80}]}}", true,
        "{" META_OUT ",\"spec\":{\"ports\":[{\"port\":80},{\"port\":81,\"$patch\":\"delete\"}]}}");
    check("{" META ",\"ports\":[{\"containerPort\":80}]}", "{" META "}", "{" META ",\"ports\":[]}",
        true, "{" META_OUT ",\"ports\":[{\"containerPort\":80,\"$patch\":\"delete\"}]}");
}

static void replaced_lists(void)
{
    check("{" META
          ",\"args\":[\"a\",\"b\"],\"taints\":[{\"key\":\"k\"}],\"tolerations\":[{\"key\":\"t\"}]}",
        "{" META "}", "{" META ",\"args\":[\"a\"],\"taints\":[],\"tolerations\":[]}", true,
        "{" META_OUT ",\"args\":[\"a\"],\"taints\":[],\"tolerations\":[]}");
    check("{" META ",\"kind\":\"EndpointSlice\",\"ports\":[{\"port\":80}]}", "{" META "}",
        "{" META ",\"kind\":\"EndpointSlice\",\"ports\":[]}", true,
        "{" META_OUT ",\"kind\":\"EndpointSlice\",\"ports\":[]}");
}

static void custom_kinds(void)
{
    check("{" META ",\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"x\":1}", "{" META "}",
        "{" META ",\"containers\":[{\"name\":\"a\"}]}", false,
        "{" META_OUT ",\"containers\":[{\"name\":\"a\"}],\"x\":null}");
}

static void strategies(void)
{
#define NOW                                                                                 \
    "{" META ",\"kind\":\"Deployment\",\"spec\":{\"strategy\":{\"type\":\"RollingUpdate\"," \
    "\"rollingUpdate\":{\"maxSurge\":1}}}}"
    check(NULL, NOW,
        "{" META ",\"kind\":\"Deployment\",\"spec\":{\"strategy\":{\"type\":\"Recreate\"}}}", true,
        "{" META_OUT ",\"kind\":\"Deployment\",\"spec\":{\"strategy\":{\"type\":\"Recreate\","
        "\"rollingUpdate\":null}}}");
    check(NULL, NOW,
        "{" META ",\"kind\":\"Deployment\",\"spec\":{\"strategy\":{\"type\":\"RollingUpdate\"}}}",
        true,
        "{" META_OUT
        ",\"kind\":\"Deployment\",\"spec\":{\"strategy\":{\"type\":\"RollingUpdate\"}}}");
#undef NOW
}

static void annotation(void)
{
    autojson cJSON *once = parse("{" META ",\"a\":1}");
    apply_annotate(once);
    autofree char *first = cJSON_PrintUnformatted(once);
    apply_annotate(once); /* its own text is not remembered in itself */
    autofree char *second = cJSON_PrintUnformatted(once);
    CU_ASSERT_STRING_EQUAL(first, second);
    autojson cJSON *empty = parse("{\"metadata\":{\"name\":\"x\",\"annotations\":null}}");
    apply_annotate(empty);
    CU_ASSERT_PTR_NOT_NULL(json_path(empty, "metadata.annotations")->child);
}

const CU_TestInfo apply_tests[] = {
    {"fields that are gone become null", removed_fields},
    {"annotations that are gone become null, others' stay", removed_annotations},
    {"items that are gone from merged lists are marked", removed_items},
    {"lists that are replaced carry no marks", replaced_lists},
    {"a plain patch carries no marks", custom_kinds},
    {"another strategy takes the old one's parameters away", strategies},
    {"the manifest is remembered without its memory", annotation},
    CU_TEST_INFO_NULL,
};
