/* JSON: the pre-scan and printing by cases; limits, members, order and equality here. */
#include "common/json.h"

#include <CUnit/CUnit.h>

#include "common/limits.h"
#include "tests/unit/cases.h"

static void parse_and_print(struct str input, struct strbuf *out)
{
    autojson cJSON *tree = NULL;
    struct error err;
    if (json_parse(input, &tree, &err) < 0)
        strbuf_addc(out, err.text);
    else
        json_print(tree, out);
}

static void cases(void)
{
    cases_run("json", parse_and_print);
}

static int parse_text(const char *text, cJSON **ret)
{
    struct error err;
    return json_parse(str_of(text), ret, &err);
}

static char *nested(int depth)
{
    char *text = xmalloc((size_t)depth * 2 + 1);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[2 * depth] = '\0';
    return text;
}

static void depth_and_count_are_limited(void)
{
    autofree char *deep = nested(LIMIT_JSON_DEPTH), *deeper = nested(LIMIT_JSON_DEPTH + 1);
    cJSON *tree = NULL;
    CU_ASSERT_EQUAL(parse_text(deep, &tree), 0);
    cJSON_Delete(tree);
    CU_ASSERT_EQUAL(parse_text(deeper, &tree), -ERR_TOO_LARGE);
    autostrbuf struct strbuf many = STRBUF_EMPTY;
    strbuf_add_char(&many, '[');
    for (int i = 0; i < LIMIT_JSON_VALUES; i++)
        strbuf_addc(&many, i ? ",1" : "1");
    strbuf_add_char(&many, ']');
    CU_ASSERT_EQUAL(parse_text(many.data, &tree), -ERR_TOO_LARGE);
}

static void text_needs_no_nul(void)
{
    static const char texts[][8] = {"[1,2]x", "123x", "\"a\"x", "truex"};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        size_t n = strlen(texts[i]) - 1;
        char *exact = malloc(n); /* a read behind it is an error of the sanitizer */
        memcpy(exact, texts[i], n);
        cJSON *tree = NULL;
        struct error err;
        CU_ASSERT_EQUAL(json_parse(str_range(exact, n), &tree, &err), 0);
        cJSON_Delete(tree);
        free(exact);
    }
}

static void scan_stops_behind_a_value(void)
{
    struct error err;
    size_t end;
    CU_ASSERT_EQUAL(json_scan(STR(" {\"a\":1} {\"b\":2}"), &end, &err), 0);
    CU_ASSERT_EQUAL(end, 8);
    CU_ASSERT_EQUAL(json_scan(STR("{\"a\":1} {"), NULL, &err), -ERR_BAD_REQUEST);
}

static void numbers_are_exact(void)
{
    autojson cJSON *tree = json_make(
        "{\"a\":9007199254740993,\"b\":-9223372036854775808,\"c\":1.5,\"d\":9223372036854775808,"
        "\"e\":\"5\",\"f\":1e3,\"g\":7}");
    int64_t value = 0;
    CU_ASSERT(json_int64(json_get(tree, "a"), &value) && value == 9007199254740993);
    CU_ASSERT(json_int64(json_get(tree, "b"), &value) && value == INT64_MIN);
    CU_ASSERT(!json_int64(json_get(tree, "c"), &value));
    CU_ASSERT(!json_int64(json_get(tree, "d"), &value) && json_is_number(json_get(tree, "d")));
    CU_ASSERT(!json_int64(json_get(tree, "e"), &value) && !json_is_number(json_get(tree, "e")));
    CU_ASSERT(json_int64(json_get(tree, "f"), &value) && value == 1000);
    CU_ASSERT_EQUAL(json_int64_at(tree, "g", -1), 7);
    CU_ASSERT_EQUAL(json_int64_at(tree, "h", -1), -1);
    static const int64_t values[] = {
        0, -1, 999999999999999, 1000000000000000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        autojson cJSON *item = json_new_int64(values[i]);
        CU_ASSERT(json_int64(item, &value) && value == values[i]);
    }
}

static void reading_members(void)
{
    autojson cJSON *tree = json_make("{\"a\":{\"b\":{\"c\":\"x\"}},\"t\":true,\"f\":false,\"n\":"
                                     "null,\"dup\":1,\"dup\":2,\"A\":\"upper\"}");
    CU_ASSERT_STRING_EQUAL(json_string_at(tree, "a.b.c"), "x");
    CU_ASSERT_PTR_NULL(json_string_at(tree, "a.b.c.d"));
    CU_ASSERT_PTR_NULL(json_path(tree, "a.x.c"));
    CU_ASSERT_PTR_NULL(json_string(tree, "t"));
    CU_ASSERT(
        json_bool(tree, "t", false) && !json_bool(tree, "f", true) && json_bool(tree, "n", true));
    CU_ASSERT_EQUAL(json_int64_at(tree, "dup", 0), 2);
    CU_ASSERT_STRING_EQUAL(json_string(tree, "A"), "upper");
    CU_ASSERT_PTR_NULL(json_get(NULL, "a"));
    CU_ASSERT_PTR_NULL(json_get(json_get(tree, "t"), "a"));
}

static char *printed(const cJSON *tree)
{
    struct strbuf text;
    strbuf_init(&text, 0);
    json_print(tree, &text);
    return strbuf_steal(&text);
}

static void changing_members(void)
{
    autojson cJSON *tree = cJSON_CreateObject();
    json_set_string(tree, "a", "1");
    json_set(tree, "b", json_new_int64(2));
    json_set_string(tree, "a", "3");
    json_set_at(tree, "c.d.e", cJSON_CreateTrue());
    json_set_string_at(tree, "c.d.f", "x");
    json_set_string_at(tree, "b.g", "y"); /* what is no object is replaced */
    autofree char *text = printed(tree);
    CU_ASSERT_STRING_EQUAL(
        text, "{\"a\":\"3\",\"b\":{\"g\":\"y\"},\"c\":{\"d\":{\"e\":true,\"f\":\"x\"}}}");
    json_remove(tree, "a");
    json_remove(tree, "nothing");
    json_remove_at(tree, "c.d.e");
    json_remove_at(tree, "c.x.e");
    cJSON_AddItemToArray(json_path(tree, "c.d"), cJSON_Duplicate(json_path(tree, "c.d.f"), 1));
    json_remove_at(tree, "c.d.f"); /* both of them */
    autofree char *after = printed(tree);
    CU_ASSERT_STRING_EQUAL(after, "{\"b\":{\"g\":\"y\"},\"c\":{\"d\":{}}}");
}

static void indented(void)
{
    autojson cJSON *tree = json_make("{\"a\":[1,{\"b\":{}}],\"c\":[]}");
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print_indented(tree, &text, 4);
    CU_ASSERT_STRING_EQUAL(text.data, "{\n    \"a\": [\n        1,\n        {\n            \"b\": "
                                      "{}\n        }\n    ],\n    \"c\": []\n}");
}

static void invalid_utf8_is_replaced_in_print(void)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print_string(STR("a\xff"
                          "b\xe2\x82"),
        &text);
    CU_ASSERT_STRING_EQUAL(text.data, "\"a\\ufffdb\\ufffd\\ufffd\"");
}

static void equality(void)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } pairs[] = {
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
        {"{\"a\":1}", "{\"a\":1.0}", true},
        {"{\"a\":1}", "{\"a\":1,\"b\":2}", false},
        {"{\"a\":1,\"b\":1}", "{\"a\":1,\"c\":1}", false},
        {"[1,2]", "[2,1]", false},
        {"[1]", "[1,2]", false},
        {"null", "false", false},
        {"\"1\"", "1", false},
        {"9007199254740993", "9007199254740992", false},
        {"9007199254740993", "9007199254740993", true},
        {"1000000000000000", "1e15", true},
        {"{\"x\":{\"a\":[{}],\"b\":0}}", "{\"x\":{\"b\":0,\"a\":[{}]}}", true},
        {"{}", "[]", false},
        {"99999999999999999999", "99999999999999999999", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        autojson cJSON *a = json_make("%s", pairs[i].a), *b = json_make("%s", pairs[i].b);
        CU_ASSERT_EQUAL(json_equal(a, b), pairs[i].equal);
        CU_ASSERT_EQUAL(json_equal(b, a), pairs[i].equal);
    }
    CU_ASSERT(json_equal(NULL, NULL));
}

static void sorting(void)
{
    autojson cJSON *tree =
        json_make("[{\"c\":1,\"a\":{\"z\":1,\"y\":2},\"b\":[{\"q\":1,\"p\":2}]}]");
    json_sort(tree);
    cJSON_AddItemToObject(tree->child, "d", cJSON_CreateNull()); /* the links are whole */
    autofree char *text = printed(tree);
    CU_ASSERT_STRING_EQUAL(
        text, "[{\"a\":{\"y\":2,\"z\":1},\"b\":[{\"p\":2,\"q\":1}],\"c\":1,\"d\":null}]");
}

static void note(void *arg, const char *path)
{
    strbuf_addf(arg, "%s;", path);
}

static void duplicates(void)
{
    autojson cJSON *tree =
        json_make("{\"a\":1,\"s\":{\"l\":[{},{\"x\":1,\"x\":2,\"x\":3}]},\"a\":2,"
                  "\"m\":{\"k0\":0,\"k1\":0,\"k2\":0,\"k3\":0,\"k4\":0,\"k5\":0,\"k6\":0,\"k7\":0,"
                  "\"k8\":0,\"k9\":0,"
                  "\"k10\":0,\"k11\":0,\"k12\":0,\"k3\":9}}");
    autostrbuf struct strbuf paths = STRBUF_EMPTY;
    CU_ASSERT_EQUAL(json_dedup(tree, note, &paths), 4);
    CU_ASSERT_STRING_EQUAL(paths.data, "a;s.l[1].x;m.k3;");
    CU_ASSERT_EQUAL(json_int64_at(tree, "a", 0), 2);
    CU_ASSERT_EQUAL(json_int64_at(tree, "m.k3", 0), 9);
    CU_ASSERT_EQUAL(cJSON_GetArraySize(json_get(tree, "m")), 13);
    CU_ASSERT_EQUAL(json_dedup(tree, NULL, NULL), 0);
}

const CU_TestInfo json_tests[] = {
    {"cases", cases},
    {"depth and count are limited", depth_and_count_are_limited},
    {"text needs no NUL", text_needs_no_nul},
    {"scan stops behind a value", scan_stops_behind_a_value},
    {"numbers are exact", numbers_are_exact},
    {"reading members", reading_members},
    {"changing members", changing_members},
    {"indented", indented},
    {"invalid UTF-8 is replaced in print", invalid_utf8_is_replaced_in_print},
    {"equality", equality},
    {"sorting", sorting},
    {"duplicates", duplicates},
    CU_TEST_INFO_NULL,
};
