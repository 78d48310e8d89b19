/* YAML: scalars, streams and printing by cases; limits and round trips here. */
#include "common/yaml.h"

#include <CUnit/CUnit.h>

#include "common/limits.h"
#include "tests/unit/cases.h"

static void scalar(struct str input, struct strbuf *out)
{
    autofree char *text = str_format("a: %.*s\n", STR_FMT(input));
    autojson cJSON *tree = NULL;
    struct error err;
    if (yaml_parse(str_of(text), YAML_STRICT, &tree, &err) < 0 || !cJSON_IsObject(tree))
        strbuf_addc(out, "error");
    else if (cJSON_IsArray(json_get(tree, "a")))
        strbuf_addc(out, "error");
    else
        json_print(json_get(tree, "a"), out);
}

static void stream(struct str input, struct strbuf *out)
{
    struct yaml_stream s = yaml_stream_of(input);
    struct error err;
    cJSON *tree;
    int r;
    while ((r = yaml_next(&s, YAML_STRICT, &tree, &err)) > 0) {
        json_print(tree, out);
        strbuf_add_char(out, '\n');
        cJSON_Delete(tree);
    }
    if (r < 0)
        strbuf_addf(out, "%s\n", err.text);
}

static void print_and_read_back(struct str input, struct strbuf *out)
{
    autojson cJSON *tree = NULL, *back = NULL;
    struct error err;
    CU_ASSERT_EQUAL_FATAL(json_parse(input, &tree, &err), 0);
    yaml_print(tree, out);
    if (yaml_parse(strbuf_str(out), YAML_STRICT, &back, &err) < 0)
        strbuf_addf(out, "can't be read back: %s\n", err.text);
    else if (!json_equal(tree, back))
        strbuf_addc(out, "reads back as something else\n");
}

static void scalar_cases(void)
{
    cases_run("yaml_scalar", scalar);
}

static void stream_cases(void)
{
    cases_run("yaml", stream);
}

static void print_cases(void)
{
    cases_run("yaml_print", print_and_read_back);
}

static int read_text(const char *text, enum yaml_mode mode)
{
    cJSON *tree = NULL;
    struct error err;
    int r = yaml_parse(str_of(text), mode, &tree, &err);
    cJSON_Delete(tree);
    return r;
}

static void lax_mode_takes_the_last(void)
{
    autojson cJSON *tree = NULL;
    struct error err;
    CU_ASSERT_EQUAL(read_text("a: 1\na: 2\n", YAML_STRICT), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL_FATAL(yaml_parse(STR("x: &x {p: 1}\na: 1\nb: 0\na: 2\nm:\n  p: 9\n  <<: *x\n"),
                              YAML_LAX, &tree, &err),
        0);
    CU_ASSERT_EQUAL(json_int64_at(tree, "a", 0), 2);
    CU_ASSERT_EQUAL(json_int64_at(tree, "m.p", 0), 9);
    CU_ASSERT_EQUAL(cJSON_GetArraySize(tree), 4);
}

static void one_document_only(void)
{
    autojson cJSON *tree = NULL;
    struct error err;
    CU_ASSERT_EQUAL(read_text("---\na: 1\n---\n# end\n", YAML_LAX), 0);
    CU_ASSERT_EQUAL(read_text("a: 1\n---\nb: 1\n", YAML_LAX), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(yaml_parse(STR("# nothing\n"), YAML_LAX, &tree, &err), 0);
    CU_ASSERT(cJSON_IsNull(tree));
}

static void aliases_are_bounded(void)
{
    autostrbuf struct strbuf bomb = STRBUF_EMPTY, deep = STRBUF_EMPTY;
    strbuf_addc(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++) {
        strbuf_addf(&bomb, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++)
            strbuf_addf(&bomb, "%s*a%d", j ? "," : "", i - 1);
        strbuf_addc(&bomb, "]\n");
    }
    CU_ASSERT_EQUAL(read_text(bomb.data, YAML_LAX), -ERR_TOO_LARGE);
    strbuf_addc(&deep, "a0: &a0 [[[[[[[[[[]]]]]]]]]]\n");
    for (int i = 1; i < 30; i++)
        strbuf_addf(&deep, "a%d: &a%d [[[[[[[[[[*a%d]]]]]]]]]]\n", i, i, i - 1);
    CU_ASSERT_EQUAL(read_text(deep.data, YAML_LAX), -ERR_TOO_LARGE);
}

static void nesting_is_bounded_in_time(void)
{
    autofree char *text = xmalloc(100001);
    memset(text, '[', 100000);
    text[100000] = '\0';
    CU_ASSERT_EQUAL(read_text(text, YAML_LAX), -ERR_TOO_LARGE);
}

static void wide_mappings_are_not_quadratic(void)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    for (int i = 0; i < 40000; i++)
        strbuf_addf(&text, "key%d: 1\n", i);
    CU_ASSERT_EQUAL(read_text(text.data, YAML_STRICT), 0);
    for (int i = 0; i < 40000; i++)
        strbuf_addf(&text, "more%d: 1\n", i);
    CU_ASSERT_EQUAL(read_text(text.data, YAML_STRICT), -ERR_TOO_LARGE);
}

const CU_TestInfo yaml_tests[] = {
    {"scalar cases", scalar_cases},
    {"stream cases", stream_cases},
    {"print cases", print_cases},
    {"lax mode takes the last", lax_mode_takes_the_last},
    {"one document only", one_document_only},
    {"aliases are bounded", aliases_are_bounded},
    {"nesting is bounded in time", nesting_is_bounded_in_time},
    {"wide mappings are not quadratic", wide_mappings_are_not_quadratic},
    CU_TEST_INFO_NULL,
};
