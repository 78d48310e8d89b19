/*
 * Label selectors: what is read prints in a form that reads back as the same selector and matches
 * the same labels. Field selectors and names must only not crash.
 */
#include "common/selector.h"

#include <assert.h>

#include "common/names.h"

static void check_same(const struct selector *a, const struct selector *b)
{
    static const char *const labels[] = {"{}", "{\"a\":\"b\"}", "{\"a\":\"\",\"n\":\"5\"}"};
    assert(a->term_count == b->term_count);
    for (size_t i = 0; i < ARRAY_COUNT(labels); i++) {
        autojson cJSON *set = json_make("%s", labels[i]);
        assert(selector_matches_json(a, set) == selector_matches_json(b, set));
    }
}

static void check_labels(struct str text)
{
    autostrbuf struct strbuf printed = STRBUF_EMPTY, again = STRBUF_EMPTY;
    struct selector *s, *back;
    struct error err;

    if (selector_parse(text, &s, &err) < 0)
        return;
    selector_print(s, &printed);
    assert(selector_parse(strbuf_str(&printed), &back, &err) == 0);
    selector_print(back, &again);
    assert(str_eq(strbuf_str(&printed), strbuf_str(&again)));
    check_same(s, back);
    selector_free(s);
    selector_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_range((const char *)data, size);
    autostrbuf struct strbuf printed = STRBUF_EMPTY;
    struct selector *fields;
    struct error err;

    check_labels(text);
    if (field_selector_parse(text, &fields, &err) == 0) {
        selector_print(fields, &printed);
        selector_free(fields);
    }
    name_is_qualified(text, NULL);
    name_is_dns1123_subdomain(text, NULL);
    name_is_ip(text);
    return 0;
}
