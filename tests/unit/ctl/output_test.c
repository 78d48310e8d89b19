/* Tables in columns, and -o. */
#include <CUnit/CUnit.h>

#include "ctl/output.h"

static char *print(const char *text, bool wide, bool namespaces, const struct ctl_resource *prefix)
{
    autojson cJSON *table = NULL;
    struct error err;
    struct columns columns = {0};
    char *out = NULL;
    size_t n;
    CU_ASSERT_FATAL(json_parse(str_of(text), &table, &err) == 0);
    columns_add_table(&columns, table, true, wide, namespaces, prefix);
    FILE *file = open_memstream(&out, &n);
    columns_print(&columns, file);
    fclose(file);
    return out;
}

static const char table[] =
    "{\"columnDefinitions\":[{\"name\":\"Name\"},{\"name\":\"Wide\",\"priority\":1},{\"name\":"
    "\"Count\"}],\"rows\":["
    "{\"cells\":[\"a\",\"w\",1],\"object\":{\"metadata\":{\"namespace\":\"ns\"}}},"
    "{\"cells\":[\"b\\u001b[31m\",\"w\",null],\"object\":{\"metadata\":{}}},{\"cells\":["
    "\"\\u00e9\\nc\"]}]}";

static void tables(void)
{
    struct ctl_resource pods = {.singular = (char *)"pod", .group = (char *)""};
    autofree char *plain = print(table, false, false, NULL);
    CU_ASSERT_STRING_EQUAL(
        plain, "NAME      COUNT\na         1\nb^[[31m   <none>\n\u00e9...      <none>\n");
    autofree char *wide = print(table, true, true, &pods);
    CU_ASSERT_STRING_EQUAL(wide,
        "NAMESPACE   NAME          WIDE     COUNT\nns          pod/a         w        1\n"
        "            pod/b^[[31m   w        <none>\n            pod/\u00e9...      <none>   "
        "<none>\n");
}

static void many_columns(void)
{
    struct strbuf text;
    strbuf_init(&text, 0);
    strbuf_addc(&text, "{\"columnDefinitions\":[{\"name\":\"N\"}");
    for (int i = 0; i < 300; i++)
        strbuf_addc(&text, ",{\"name\":\"C\"}");
    strbuf_addc(&text, "],\"rows\":[{\"cells\":[]}]}");
    autofree char *out = print(text.data, true, true, NULL);
    CU_ASSERT(strlen(out) > 100);
    strbuf_done(&text);
}

static void forms(void)
{
    static const char *const good[] = {NULL, "", "wide", "yaml", "json", "name", "jsonpath={.a}"};
    static const char *const wrong[] = {
        "table", "YAML", "jsonpath", "jsonpath={.a", "jsonpath={.a[x]}"};
    struct error err;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        CU_ASSERT_EQUAL(output_check(good[i], &err), 0);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        CU_ASSERT_EQUAL(output_check(wrong[i], &err), -ERR_USAGE);
}

const CU_TestInfo output_tests[] = {
    {"rows become columns, without what steers a terminal", tables},
    {"more columns than fit are left out", many_columns},
    {"forms of output are checked before anything is asked", forms},
    CU_TEST_INFO_NULL,
};
