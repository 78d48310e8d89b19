/*
 * Fuzzes managedFields and apply: a list of entries, a zero byte, an object, a zero byte, a
 * configuration. The list is what a client may send; what was parsed prints as it parses again. The
 * configuration is applied to the object with that list, then the object is updated.
 */
/* links: skiff-apiserver-lib */
#include <assert.h>

#include "apiserver/schema/managed_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct api *api;

static struct str next_part(struct str *rest)
{
    const char *zero = rest->n > 0 ? memchr(rest->p, 0, rest->n) : NULL;
    struct str part = str_range(rest->p, zero ? (size_t)(zero - rest->p) : rest->n);

    *rest = str_range(rest->p + part.n + (zero != NULL), rest->n - part.n - (zero != NULL));
    return part;
}

static struct managed *parse_list(struct arena *a, struct str text)
{
    struct managed *m, *again;
    struct error err;
    autostrbuf struct strbuf first = STRBUF_EMPTY, second = STRBUF_EMPTY;

    if (json_scan(text, NULL, &err) < 0 || managed_parse(a, text, false, &m, &err) < 0)
        return managed_new(a);
    managed_print(m, &first);
    struct str printed = arena_str(a, strbuf_str(&first));
    assert(json_scan(printed, NULL, &err) == 0);
    int r = managed_parse(a, printed, true, &again, &err);
    assert(r == 0);
    managed_print(again, &second);
    assert(str_eq(printed, strbuf_str(&second)));
    return again;
}

static void try_apply(const struct resource *r, struct managed *m, cJSON *live, const cJSON *config)
{
    struct managed_writer w = {.manager = "fuzz",
        .subresource = "",
        .resource = r,
        .api = api,
        .now_ns = 1700000000ll * 1000000000};
    struct managed_refusal why = {0};
    struct error err;
    autojson cJSON *tree = cJSON_Duplicate(live, true);
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (managed_merge(m, &w, live, tree, config, &why, &err) < 0)
        return;
    if (schema_decode(r->schema, tree, VALIDATION_IGNORE, NULL, &err) < 0)
        return;
    schema_normalise(r->schema, tree);
    if (managed_own(m, &w, live, tree, false, &why, &err) < 0) {
        cJSON_Delete(why.causes);
        return;
    }
    managed_update(m, &w, NULL, tree, live);
    managed_print(m, &text);
    assert(json_scan(strbuf_str(&text), NULL, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = str_range((const char *)data, n);
    struct error err;
    autojson cJSON *live = NULL, *config = NULL;

    if (!api && api_new(&api, &err) < 0)
        return 0;
    struct str list = next_part(&rest), object = next_part(&rest);
    struct arena *a = arena_new();
    struct managed *m = parse_list(a, list);
    if (json_parse(object, &live, &err) == 0 && json_parse(rest, &config, &err) == 0 &&
        cJSON_IsObject(config)) {
        const char *version = json_string(live, "apiVersion"), *kind = json_string(live, "kind");
        const struct resource *r = version && kind ? api_find_kind(api, version, kind) : NULL;
        json_dedup(config, NULL, NULL);
        if (r && schema_decode(r->schema, live, VALIDATION_IGNORE, NULL, &err) == 0) {
            schema_normalise(r->schema, live);
            try_apply(r, m, live, config);
        }
    }
    arena_free(a);
    return 0;
}
