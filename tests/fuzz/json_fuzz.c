/*
 * JSON: whatever the pre-scan accepts, cJSON must read; what is printed must read back as equal and
 * print the same again. Sorting and dropping duplicates must keep the tree whole.
 */
#include "common/json.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_range((const char *)data, size);
    autostrbuf struct strbuf once = STRBUF_EMPTY, twice = STRBUF_EMPTY, indented = STRBUF_EMPTY;
    autojson cJSON *tree = NULL, *back = NULL, *spaced = NULL;
    struct error err;
    size_t end;

    int scanned = json_scan(text, &end, &err);
    assert(scanned == 0 ? end <= size : err.text[0] != '\0');
    if (json_parse(text, &tree, &err) < 0) {
        assert(!tree);
        return 0;
    }
    assert(scanned == 0);
    json_dedup(tree, NULL, NULL);
    json_print(tree, &once);
    assert(json_parse(strbuf_str(&once), &back, &err) == 0);
    assert(json_equal(tree, back) && json_equal(back, tree));
    json_print(back, &twice);
    assert(str_eq(strbuf_str(&once), strbuf_str(&twice)));
    json_print_indented(tree, &indented, 2);
    assert(json_parse(strbuf_str(&indented), &spaced, &err) == 0);
    json_sort(spaced);
    assert(json_equal(tree, spaced));
    return 0;
}
