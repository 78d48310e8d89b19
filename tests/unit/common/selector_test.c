/* Selectors: by cases. */
#include "common/selector.h"

#include <CUnit/CUnit.h>

#include "common/limits.h"
#include "tests/unit/cases.h"

static const char *const label_sets[] = {
    "{}",
    "{\"app\":\"web\"}",
    "{\"app\":\"db\",\"tier\":\"back\"}",
    "{\"app\":\"web\",\"n\":\"5\"}",
    "{\"old\":\"\"}",
};

static void run_labels(struct str input, struct strbuf *out)
{
    struct selector *s;
    struct error err;
    bool any = false;
    if (selector_parse(input, &s, &err) < 0) {
        strbuf_addc(out, err.text);
        return;
    }
    selector_print(s, out);
    strbuf_addc(out, " | ");
    for (size_t i = 0; i < ARRAY_COUNT(label_sets); i++) {
        autojson cJSON *labels = json_make("%s", label_sets[i]);
        if (selector_matches_json(s, labels)) {
            strbuf_addf(out, "%zu", i + 1);
            any = true;
        }
    }
    if (!any)
        strbuf_add_char(out, '-');
    CU_ASSERT_EQUAL(selector_is_everything(s), s->term_count == 0);
    selector_free(s);
}

static void run_fields(struct str input, struct strbuf *out)
{
    struct selector *s;
    struct error err;
    if (field_selector_parse(input, &s, &err) < 0) {
        strbuf_addc(out, err.text);
        return;
    }
    selector_print(s, out);
    selector_free(s);
}

static void run_object(struct str input, struct strbuf *out)
{
    autojson cJSON *tree = NULL;
    struct selector *s;
    struct error err;
    CU_ASSERT_EQUAL_FATAL(json_parse(input, &tree, &err), 0);
    if (selector_from_json(tree, &s, &err) < 0) {
        strbuf_addc(out, err.text);
        return;
    }
    if (s->nothing)
        strbuf_addc(out, "<nothing>");
    CU_ASSERT(!s->nothing || !selector_matches_json(s, NULL));
    selector_print(s, out);
    selector_free(s);
}

static void label_cases(void)
{
    cases_run("selector", run_labels);
}

static void field_cases(void)
{
    cases_run("field_selector", run_fields);
}

static void object_cases(void)
{
    cases_run("label_selector", run_object);
}

static void the_number_of_terms_is_limited(void)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct selector *s;
    struct error err;
    strbuf_addc(&text, "a");
    for (int i = 0; i < LIMIT_SELECTOR_TERMS; i++)
        strbuf_addc(&text, ",a");
    CU_ASSERT_EQUAL(selector_parse(strbuf_str(&text), &s, &err), -ERR_TOO_LARGE);

    autojson cJSON *terms = json_make("{\"matchExpressions\":[]}");
    autojson cJSON *labels = json_make("{\"matchLabels\":{}}");
    autojson cJSON *one =
        json_make("{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[]}]}");
    cJSON *values = json_get(json_get(one, "matchExpressions")->child, "values");
    for (int i = 0; i <= LIMIT_SELECTOR_TERMS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", i);
        cJSON_AddItemToArray(json_get(terms, "matchExpressions"),
            json_make("{\"key\":\"%s\",\"operator\":\"Exists\"}", name));
        json_set_string(json_get(labels, "matchLabels"), name, "v");
        cJSON_AddItemToArray(values, cJSON_CreateString(name));
    }
    CU_ASSERT_EQUAL(selector_from_json(terms, &s, &err), -ERR_TOO_LARGE);
    CU_ASSERT_EQUAL(selector_from_json(labels, &s, &err), -ERR_TOO_LARGE);
    CU_ASSERT_EQUAL(selector_from_json(one, &s, &err), -ERR_TOO_LARGE);
    cJSON_DeleteItemFromArray(values, 0);
    CU_ASSERT_EQUAL_FATAL(selector_from_json(one, &s, &err), 0);
    CU_ASSERT_EQUAL(s->terms[0].value_count, LIMIT_SELECTOR_TERMS);
    selector_free(s);
}

const CU_TestInfo selector_tests[] = {
    {"label cases", label_cases},
    {"field cases", field_cases},
    {"object cases", object_cases},
    {"the number of terms is limited", the_number_of_terms_is_limited},
    CU_TEST_INFO_NULL,
};
