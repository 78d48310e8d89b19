/* links: skiff-apiserver-lib */
/*
 * Bodies in protobuf: read, then through all that a body of a kind goes through; what is left is
 * answered in protobuf and read again, which must give the same object. The first two bytes choose
 * the kind.
 */
#include "apiserver/schema/protobuf.h"

#include <assert.h>

static void answer_and_read(const struct resource *r, struct str text)
{
    struct error err;
    struct protobuf p;
    autojson cJSON *tree = NULL;
    autostrbuf struct strbuf warnings = STRBUF_EMPTY, again = STRBUF_EMPTY;

    protobuf_init(&p);
    protobuf_object(&p, r->group_version, r->kind, r->schema, text);
    int result = schema_from_protobuf(r->schema, protobuf_bytes(&p), &tree, &err);
    protobuf_done(&p);
    if (result == -ERR_TOO_LARGE) /* more values than a body may have: Go writes zeros too */
        return;
    assert(result == 0);
    assert(schema_decode(r->schema, tree, VALIDATION_WARN, &warnings, &err) == 0);
    json_set_string(tree, "kind", r->kind);
    json_set_string(tree, "apiVersion", r->group_version);
    schema_normalise(r->schema, tree);
    json_print(tree, &again);
    if (!str_eq(strbuf_str(&again), text)) {
        fprintf(stderr, "%s\n%s\n", again.data, text.p);
        assert(false);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct api *api;
    struct error err;
    autojson cJSON *tree = NULL, *printed = NULL;
    autostrbuf struct strbuf warnings = STRBUF_EMPTY, out = STRBUF_EMPTY;

    if (!api)
        assert(api_new(&api, &err) == 0);
    if (n < 2)
        return 0;
    const struct resource *r = api_at(api, (size_t)(data[0] | data[1] << 8) % api_count(api));
    if (schema_from_protobuf(r->schema, str_range((const char *)data + 2, n - 2), &tree, &err) < 0)
        return 0;
    if (schema_decode(r->schema, tree, VALIDATION_WARN, &warnings, &err) < 0)
        return 0;
    schema_default(r->schema, tree);
    json_set_string(tree, "kind", r->kind);
    json_set_string(tree, "apiVersion", r->group_version);
    schema_normalise(r->schema, tree);
    json_print(tree, &out);
    /* what is no UTF-8 is replaced by the printer */
    assert(json_parse(strbuf_str(&out), &printed, &err) == 0);
    strbuf_clear(&out);
    json_print(printed, &out);
    answer_and_read(r, strbuf_str(&out));
    return 0;
}
