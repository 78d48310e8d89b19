/*
 * Custom kinds without a server: schemas on objects, the rules of definitions, patterns, bounds,
 * and that the memory of a definition goes with its last user.
 */
#include <CUnit/CUnit.h>

#include "apiserver/cache/object.h"
#include "apiserver/custom/custom.h"
#include "apiserver/custom/node.h"
#include "tests/unit/cases.h"

static struct api *api;

static cJSON *definition_of(cJSON *take_schema)
{
    cJSON *d = json_make(
        "{\"metadata\":{\"name\":\"things.example.com\"},\"spec\":{\"group\":\"example.com\","
        "\"scope\":"
        "\"Namespaced\",\"names\":{\"plural\":\"things\",\"singular\":\"thing\",\"kind\":\"Thing\","
        "\"listKind\":\"ThingList\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":"
        "true,"
        "\"schema\":{}}]}}");
    json_set(cJSON_GetArrayItem(json_path(d, "spec.versions"), 0), "schema", cJSON_CreateObject());
    json_set(json_get(cJSON_GetArrayItem(json_path(d, "spec.versions"), 0), "schema"),
        "openAPIV3Schema", take_schema);
    return d;
}

/* "FIELD: MESSAGE" of each cause, one a line. */
static void print_causes(
    const struct field_errors *errors, const struct resource *r, struct strbuf *out)
{
    autojson cJSON *status = field_errors_status(errors, r, "x");
    const cJSON *cause;
    size_t n = 0;
    cJSON_ArrayForEach(cause, json_path(status, "details.causes")) strbuf_addf(out, "%s%s: %s",
        n++ ? " & " : "", json_string(cause, "field"), json_string(cause, "message"));
}

static bool split(struct str input, cJSON **ret_a, cJSON **ret_b, struct strbuf *out)
{
    struct error err = {0};
    const char *middle = memmem(input.p, input.n, " ; ", 3);
    size_t n = middle ? (size_t)(middle - input.p) : input.n;
    if (!middle || json_parse(str_range(input.p, n), ret_a, &err) < 0 ||
        json_parse(str_range(middle + 3, input.n - n - 3), ret_b, &err) < 0) {
        strbuf_addf(out, "bad case: %s", err.text);
        return false;
    }
    return true;
}

/* SCHEMA ; VALUE: the value of a member "v", decoded, defaulted, normalised; or why it is refused.
 */
static void line_object(struct str input, struct strbuf *out)
{
    autojson cJSON *schema = NULL, *value = NULL, *definition = NULL;
    struct custom *custom;
    struct error err;
    if (!split(input, &schema, &value, out))
        return;
    cJSON *root = json_make("{\"type\":\"object\",\"properties\":{}}");
    json_set(json_get(root, "properties"), "v", steal(&schema));
    definition = definition_of(root);
    if (custom_new(api, definition, 1000, NULL, &custom, &err) < 0) {
        strbuf_addf(out, "bad schema: %s", err.text);
        return;
    }
    autojson cJSON *tree =
        json_make("{\"apiVersion\":\"example.com/v1\",\"kind\":\"Thing\",\"metadata\":"
                  "{\"name\":\"x\",\"namespace\":\"y\"}}");
    autostrbuf struct strbuf warnings = STRBUF_EMPTY;
    json_set(tree, "v", steal(&value));
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    const struct resource *r = custom->storage;
    if (schema_decode(r->schema, tree, VALIDATION_WARN, &warnings, &err) < 0) {
        strbuf_addf(out, "%s", err.text);
    } else {
        schema_default(r->schema, tree);
        custom_validate(r->schema, tree, NULL, errors);
        schema_normalise(r->schema, tree);
        if (field_errors_count(errors) > 0)
            print_causes(errors, r, out);
        else if (json_get(tree, "v"))
            json_print(json_get(tree, "v"), out);
        else
            strbuf_addc(out, "absent");
    }
    arena_free(a);
    custom_unref(custom);
}

static void check_definition(const cJSON *definition, const cJSON *old, struct strbuf *out)
{
    const struct resource *r =
        api_find_plural(api, "apiextensions.k8s.io", "customresourcedefinitions");
    autostrbuf struct strbuf formats = STRBUF_EMPTY, text = STRBUF_EMPTY;
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    custom_check_definition(api, definition, old, errors, &formats);
    if (field_errors_count(errors) > 0)
        print_causes(errors, r, &text);
    else
        strbuf_addf(&text, "fine%s%.*s", formats.n ? ", " : "",
            (int)(formats.n ? formats.n - 1 : 0), formats.n ? formats.data : "");
    /* the path that all cases share */
    static const char prefix[] = "spec.versions[0].schema.openAPIV3Schema";
    for (const char *p = text.data; *p;) {
        if (!strncmp(p, prefix, sizeof(prefix) - 1)) {
            strbuf_addc(out, "S");
            p += sizeof(prefix) - 1;
        } else {
            strbuf_add_char(out, *p++);
        }
    }
    arena_free(a);
}

/* SCHEMA: of a definition that is fine otherwise. */
static void line_schema(struct str input, struct strbuf *out)
{
    autojson cJSON *schema = NULL;
    struct error err;
    if (json_parse(input, &schema, &err) < 0) {
        strbuf_addf(out, "bad case: %s", err.text);
        return;
    }
    autojson cJSON *definition = definition_of(steal(&schema));
    check_definition(definition, NULL, out);
}

/* PATCH: a merge patch of a definition that is fine. */
static void line_definition(struct str input, struct strbuf *out)
{
    autojson cJSON *patch = NULL;
    struct error err;
    if (json_parse(input, &patch, &err) < 0) {
        strbuf_addf(out, "bad case: %s", err.text);
        return;
    }
    autojson cJSON *old =
        definition_of(json_make("{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":"
                                "\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}}}"));
    json_set(old, "status",
        json_make("{\"conditions\":[{\"type\":\"Established\",\"status\":\"True\"}],"
                  "\"storedVersions\":[\"v1\"]}"));
    cJSON *definition = cJSON_Duplicate(old, true);
    bool update = json_get(patch, "update");
    json_remove(patch, "update");
    /* "version": a merge patch of the version */
    cJSON *version = cJSON_DetachItemFromObjectCaseSensitive(patch, "version");
    if (patch_merge(&definition, patch, &err) < 0)
        strbuf_addf(out, "bad case: %s", err.text);
    if (version) {
        cJSON *list = json_path(definition, "spec.versions");
        cJSON *first = cJSON_DetachItemFromArray(list, 0);
        patch_merge(&first, version, &err);
        cJSON_AddItemToArray(list, first);
        cJSON_Delete(version);
    }
    check_definition(definition, update ? old : NULL, out);
    cJSON_Delete(definition);
}

/* PATTERN ; TEXT */
static void line_pattern(struct str input, struct strbuf *out)
{
    const char *middle = memmem(input.p, input.n, " ; ", 3);
    struct pattern *p;
    struct error err;
    struct arena *a = arena_new();
    autofree char *pattern =
        str_dup(str_range(input.p, middle ? (size_t)(middle - input.p) : input.n));
    autofree char *text =
        middle ? str_dup(str_range(middle + 3, input.n - (size_t)(middle + 3 - input.p)))
               : xstrdup("");
    if (pattern_compile(a, pattern, &p, &err) < 0)
        strbuf_addc(out, err.text);
    else
        strbuf_addc(out, pattern_matches(p, text) == 1 ? "matches" : "differs");
    arena_free(a);
}

static void objects(void)
{
    cases_run("crd_objects", line_object);
}

static void schemas(void)
{
    cases_run("crd_schemas", line_schema);
}

static void definitions(void)
{
    cases_run("crd_definitions", line_definition);
}

static void patterns(void)
{
    cases_run("crd_patterns", line_pattern);
}

static int compile(const cJSON *schema, struct error *err)
{
    struct node *n;
    struct arena *a = arena_new();
    int r = node_compile(a, schema, &n, err);
    arena_free(a);
    return r;
}

static void bounds(void)
{
    struct error err;
    autojson cJSON *deep = json_make("{\"type\":\"string\"}"),
                   *wide = json_make("{\"properties\":{}}");
    for (int i = 0; i < 70; i++) {
        cJSON *outer = json_make("{\"type\":\"array\"}");
        json_set(outer, "items", deep);
        deep = outer;
    }
    CU_ASSERT_EQUAL(compile(deep, &err), -ERR_INVALID);
    CU_ASSERT_STRING_EQUAL(err.text, "a schema nested more than 64 deep is not taken");
    for (int i = 0; i < 5001; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%d", i);
        cJSON_AddItemToObject(json_get(wide, "properties"), name, cJSON_CreateObject());
    }
    CU_ASSERT_EQUAL(compile(wide, &err), -ERR_INVALID);
    CU_ASSERT_STRING_EQUAL(err.text, "an object of more than 5000 properties is not taken");
}

static void count_release(void *arg)
{
    ++*(int *)arg;
}

/* Objects, apis and their makers hold a definition; its memory goes with the last of them. */
static void ownership(void)
{
    int released = 0;
    struct custom *custom;
    struct object *o;
    struct error err;
    autojson cJSON *definition = definition_of(json_make("{\"type\":\"object\"}"));
    autojson cJSON *tree = json_make("{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"}}");
    CU_ASSERT_EQUAL_FATAL(custom_new(api, definition, 1000, NULL, &custom, &err), 0);
    custom->released = count_release;
    custom->released_arg = &released;
    struct api *extended = api_extend(api, &custom, 1, 2);
    const struct resource *r = api_find(extended, STR("example.com"), STR("v1"), STR("things"));
    CU_ASSERT_PTR_EQUAL_FATAL(r, custom->storage);
    CU_ASSERT_PTR_EQUAL(api_at(extended, api_count(extended) - 1), r);
    CU_ASSERT_PTR_NOT_NULL(api_find(extended, STR("apps"), STR("v1"), STR("deployments")));
    CU_ASSERT_PTR_NULL(api_find(api, STR("example.com"), STR("v1"), STR("things")));
    CU_ASSERT_EQUAL_FATAL(object_new(r, tree, &o, &err), 0);
    custom_unref(custom);
    api_unref(extended);
    CU_ASSERT_EQUAL(released, 0);
    object_unref(o);
    CU_ASSERT_EQUAL(released, 1);
}

static void preference(void)
{
    static const char *const sorted[] = {"v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1",
        "v12alpha1", "v11alpha2", "foo1", "foo10"};
    for (size_t i = 0; i + 1 < ARRAY_COUNT(sorted); i++) {
        CU_ASSERT(version_compare(sorted[i], sorted[i + 1]) < 0);
        CU_ASSERT(version_compare(sorted[i + 1], sorted[i]) > 0);
    }
}

static void start(void)
{
    struct error err;
    CU_ASSERT_EQUAL_FATAL(api_new(&api, &err), 0);
}

static void stop(void)
{
    api_free(api);
    api = NULL;
}

const CU_TestInfo custom_tests[] = {{"the built-in api", start},
    {"every keyword on objects", objects}, {"schemas of definitions", schemas},
    {"definitions", definitions}, {"patterns", patterns}, {"bounds", bounds},
    {"memory of definitions", ownership}, {"the order of versions", preference}, {"the end", stop},
    CU_TEST_INFO_NULL};
