/*
 * YAML: every document that is read prints as YAML that reads back as the same tree, and as JSON
 * that the JSON parser accepts.
 */
#include "common/yaml.h"

#include <assert.h>

static void check(const cJSON *tree)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY, yaml = STRBUF_EMPTY;
    autojson cJSON *from_json = NULL, *from_yaml = NULL;
    struct error err;

    json_print(tree, &json);
    assert(json_parse(strbuf_str(&json), &from_json, &err) == 0);
    assert(json_equal(tree, from_json));
    yaml_print(tree, &yaml);
    int r = yaml_parse(strbuf_str(&yaml), YAML_STRICT, &from_yaml, &err);
    if (r == -ERR_TOO_LARGE)
        return; /* escapes can make it longer than the limit */
    assert(r == 0 && json_equal(tree, from_yaml));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_stream s = yaml_stream_of(str_range((const char *)data, size));
    struct error err;
    cJSON *tree;
    int r, last = 0;

    while ((r = yaml_next(&s, size & 1 ? YAML_STRICT : YAML_LAX, &tree, &err)) > 0) {
        assert(s.document == ++last);
        check(tree);
        cJSON_Delete(tree);
    }
    assert(r == 0 || err.text[0] != '\0');
    return 0;
}
