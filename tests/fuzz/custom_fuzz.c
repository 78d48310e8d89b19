/*
 * Fuzzes custom kinds: the spec of a definition, a zero byte, an object. What the definition's
 * rules let through must compile; the object goes through pruning, defaults, validation,
 * normalising and cells, and what was normalised must stay as it is.
 */
/* links: skiff-apiserver-lib */
#include <assert.h>

#include "apiserver/custom/custom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct api *api;

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
    custom_validate(r->schema, tree, NULL, errors);
    cJSON_Delete(field_errors_status(errors, r, "x"));
    arena_free(a);
    schema_normalise(r->schema, tree);
    json_print(tree, &first);
    schema_refresh(r, tree);
    json_print(tree, &second);
    assert(str_eq(strbuf_str(&first), strbuf_str(&second)));
    cJSON_Delete(table_cells(r, tree, 0));
}

static void try_custom(cJSON *definition, struct str object)
{
    struct custom *custom;
    struct error err;
    if (custom_new(api, definition, 1000, NULL, &custom, &err) < 0)
        return;
    for (size_t i = 0; i < custom->count; i++) {
        autojson cJSON *tree = NULL;
        autostrbuf struct strbuf out = STRBUF_EMPTY;
        custom_openapi(&custom->resources[i], 2, &out);
        custom_openapi(&custom->resources[i], 3, &out);
        if (json_parse(object, &tree, &err) == 0 && cJSON_IsObject(tree))
            try_object(&custom->resources[i], tree);
    }
    custom_unref(custom);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err;
    autojson cJSON *definition = NULL, *spec = NULL;
    autostrbuf struct strbuf formats = STRBUF_EMPTY, ignored = STRBUF_EMPTY;
    if (!api && api_new(&api, &err) < 0)
        return 0;
    const uint8_t *zero = memchr(data, 0, n);
    size_t spec_bytes = zero ? (size_t)(zero - data) : n;
    if (json_parse(str_range((const char *)data, spec_bytes), &spec, &err) < 0)
        return 0;
    definition = json_make("{\"metadata\":{\"name\":\"things.example.com\"}}");
    json_set(definition, "spec", cJSON_Duplicate(spec, true));
    const struct resource *r =
        api_find_plural(api, "apiextensions.k8s.io", "customresourcedefinitions");
    if (schema_decode(r->schema, definition, VALIDATION_IGNORE, &ignored, &err) < 0)
        return 0;
    schema_default(r->schema, definition);
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    custom_check_definition(api, definition, definition, errors, &formats);
    bool fine = field_errors_count(errors) == 0;
    arena_free(a);
    if (!fine)
        return 0;
    try_custom(definition,
        zero ? str_range((const char *)zero + 1, n - spec_bytes - 1) : STR("{\"spec\":{}}"));
    return 0;
}
