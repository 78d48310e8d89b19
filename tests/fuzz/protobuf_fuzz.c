/* links: skiff-apiserver-lib */
/*
 * Bodies in protobuf: read, then through all that a body of a kind goes through. The first two
 * bytes choose the kind.
 */
#include "apiserver/schema/schema.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct api *api;
    struct error err;
    autojson cJSON *tree = NULL;
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
    schema_normalise(r->schema, tree);
    json_print(tree, &out);
    return 0;
}
