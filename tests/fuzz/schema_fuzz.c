/*
 * Fuzzes the schema engine: an object, a zero byte, a patch. The object goes through decoding,
 * defaults, validation, normalising and Table cells; the patch is applied to it in all three ways.
 * What was normalised must stay as it is.
 */
/* links: skiff-apiserver-lib */
#include <assert.h>

#include "apiserver/schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct api *api;

static void try_patches(const struct schema *s, const cJSON *tree, struct str text)
{
    struct error err;
    autojson cJSON *patch = NULL;
    if (json_parse(text, &patch, &err) < 0)
        return;
    for (int how = 0; how < 3; how++) {
        autojson cJSON *copy = cJSON_Duplicate(tree, true);
        int r = how == 0   ? patch_json(&copy, patch, &err)
                : how == 1 ? patch_merge(&copy, patch, &err)
                           : patch_strategic(s, &copy, patch, &err);
        autostrbuf struct strbuf out = STRBUF_EMPTY;
        json_print(copy, &out);
        assert(r == 0 || json_equal(copy, tree));
    }
}

static void try_object(const struct resource *r, cJSON *tree)
{
    struct error err;
    autostrbuf struct strbuf warnings = STRBUF_EMPTY, first = STRBUF_EMPTY, second = STRBUF_EMPTY;
    if (schema_decode(r->schema, tree, VALIDATION_WARN, &warnings, &err) < 0)
        return;
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    schema_default(r->schema, tree);
    schema_validate(r, tree, errors);
    schema_validate_update(r, tree, tree, errors);
    cJSON_Delete(field_errors_status(errors, r, "x"));
    arena_free(a);
    schema_normalise(r->schema, tree);
    json_print(tree, &first);
    schema_normalise(r->schema, tree);
    json_print(tree, &second);
    assert(str_eq(strbuf_str(&first), strbuf_str(&second)));
    assert(schema_equal(r->schema, tree, tree));
    cJSON_Delete(table_cells(r, tree, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    if (!api && api_new(&api, &err) < 0)
        return 0;
    const uint8_t *zero = memchr(data, 0, n);
    size_t object_bytes = zero ? (size_t)(zero - data) : n;
    autojson cJSON *tree = NULL;
    if (json_parse(str_range((const char *)data, object_bytes), &tree, &err) < 0)
        return 0;
    const char *version = json_string(tree, "apiVersion"), *kind = json_string(tree, "kind");
    const struct resource *r = version && kind ? api_find_kind(api, version, kind) : NULL;
    if (!r)
        return 0;
    if (zero)
        try_patches(r->schema, tree, str_range((const char *)zero + 1, n - object_bytes - 1));
    try_object(r, tree);
    return 0;
}
