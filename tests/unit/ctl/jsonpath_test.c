/* jsonpath templates: what kubectl prints for the same. */
#include <CUnit/CUnit.h>

#include "common/json.h"
#include "ctl/output.h"

static const char tree_text[] =
    "{\"kind\":\"List\",\"items\":["
    "{\"metadata\":{\"name\":\"a\",\"labels\":{\"app.kubernetes.io/"
    "name\":\"web\",\"x]y\":\"1\"}},\"spec\":{\"n\":1,\"ok\":true,"
    "\"list\":[\"p\",\"q\",\"r\"]},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":"
    "\"True\"},{\"type\":\"Other\",\"status\":\"False\"}]}},"
    "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"n\":20,\"list\":[]}},"
    "{\"metadata\":{\"name\":\"c}d\"},\"spec\":{\"n\":3}}]}";

/* The output, or "error: TEXT"; heap. */
static char *print(const char *template_)
{
    char *text = NULL;
    size_t n;
    struct error err;
    autojson cJSON *tree = NULL;
    CU_ASSERT_FATAL(json_parse(str_of(tree_text), &tree, &err) == 0);
    FILE *out = open_memstream(&text, &n);
    int result = jsonpath_print(template_, tree, out, &err);
    fclose(out);
    if (result == 0)
        return text;
    free(text);
    return str_format("error: %s", err.text);
}

static void prints(void)
{
    static const struct {
        const char *template_, *expected;
    } cases[] = {
        {"", ""},
        {"plain {.kind}!", "plain List!"},
        {"{$.kind}{\"\\n\"}{'\\t'}", "List\n\t"},
        {"{.items[*].metadata.name}", "a b c}d"},
        {"{.items[0].metadata.name}", "a"},
        {"{.items[-1].metadata.name}", "c}d"},
        {"{.items[7].metadata.name}", ""},
        {"{.items[-7].metadata.name}", ""},
        {"{.items[0:2].metadata.name}", "a b"},
        {"{.items[1:].metadata.name}", "b c}d"},
        {"{.items[:-1].metadata.name}", "a b"},
        {"{.items[-2:].metadata.name}", "b c}d"},
        {"{.nothing.at.all}", ""},
        {"{.items.metadata}", ""},
        {"{.kind[0]}", ""},
        {"{.items[0].spec.list}", "[\"p\",\"q\",\"r\"]"},
        {"{.items[0].spec.list[*]}", "p q r"},
        {"{.items[0].spec.n} {.items[0].spec.ok}", "1 true"},
        {"{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "web"},
        {"{.items[0].metadata.labels['app.kubernetes.io/name']}", "web"},
        {"{.items[0].metadata.labels[\"app.kubernetes.io/name\"]}", "web"},
        {"{.items[0].metadata.labels['x]y']}", "1"},
        {"{.items[0].metadata.labels.*}", "web 1"},
        {"{.items[*].status.conditions[?(@.type==\"Ready\")].status}", "True"},
        {"{.items[*].status.conditions[?(@.type!='Ready')].type}", "Other"},
        {"{.items[?(@.spec.n>2)].metadata.name}", "b c}d"},
        {"{.items[?(@.spec.n<=3)].metadata.name}", "a c}d"},
        {"{.items[?(@.spec.n==20)].metadata.name}", "b"},
        {"{.items[?(@.spec.ok)].metadata.name}", "a"},
        {"{.items[?(@.metadata.name==\"c}d\")].spec.n}", "3"},
        {"{.items[?(@.metadata.labels['x]y']==\"1\")].metadata.name}", "a"},
        {"{.items[0].spec.list[?(@==\"q\")]}", "q"},
        {"{.items[0].spec.list[?(@!=\"q\")]}", "p r"},
        {"{..name}", "a b c}d"},
        {"{.items[0]..type}", "Ready Other"},
        {"{range .items[*]}{.metadata.name}={.spec.n};{end}", "a=1;b=20;c}d=3;"},
        {"{range .items[*]}[{range .spec.list[*]}{@},{end}]{end}", "[p,q,r,][][]"},
        {"{range .nothing[*]}x{end}.", "."},
        {"{.items[*].metadata.name",
            "error: jsonpath: unclosed action in \"{.items[*].metadata.name\""},
        {"{.items[x]}", "error: jsonpath: [x] is no index, slice, *, 'name' or ?(filter)"},
        {"{.items[}", "error: jsonpath: unclosed action in \"{.items[}\""},
        {"{range .items[*]}x", "error: jsonpath: {range} without {end}"},
        {"{end}", "error: jsonpath: {end} without {range}"},
        {"{.items[?(.a==1)]}",
            "error: jsonpath: filter \".a==1\" is not @.PATH or @.PATH==\"TEXT\""},
        {"{.items[?(@.a==)]}",
            "error: jsonpath: filter \"@.a==\" is not @.PATH or @.PATH==\"TEXT\""},
        {"{range .nothing[*]}{.a[x]}{end}",
            "error: jsonpath: [x] is no index, slice, *, 'name' or ?(filter)"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *text = print(cases[i].template_);
        if (!c_eq(text, cases[i].expected))
            fprintf(stderr, "%s: \"%s\", expected \"%s\"\n", cases[i].template_, text,
                cases[i].expected);
        CU_ASSERT_STRING_EQUAL(text, cases[i].expected);
    }
}

static void nesting_is_limited(void)
{
    struct strbuf text;
    strbuf_init(&text, 0);
    for (int i = 0; i < 30; i++)
        strbuf_addc(&text, "{range .items[*]}");
    autofree char *printed = print(text.data);
    CU_ASSERT_STRING_EQUAL(printed, "error: jsonpath: ranges nest too deep");
    strbuf_done(&text);
}

const CU_TestInfo jsonpath_tests[] = {
    {"templates print what kubectl prints, or say what is wrong", prints},
    {"ranges nest only so deep", nesting_is_limited},
    CU_TEST_INFO_NULL,
};
