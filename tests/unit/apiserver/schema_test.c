/*
 * The schema engine against tables of cases: decoding, defaults, refusals, updates, the three kinds
 * of patches, Table cells, conversion; and that what a kind prints is read back unchanged.
 */
#include <CUnit/CUnit.h>

#include "apiserver/schema/model.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/time.h"
#include "tests/unit/cases.h"

static struct api *api;
static cJSON *bases; /* objects that cases vary */

static void setup(void)
{
    struct error err;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (api)
        return;
    if (api_new(&api, &err) < 0 ||
        file_read(UNIT_CASES "/schema_bases.json", 1u << 20, &text, &err) < 0 ||
        json_parse(strbuf_str(&text), &bases, &err) < 0) {
        printf("%s\n", err.text);
        abort();
    }
}

static const struct resource *resource_of(const cJSON *tree)
{
    const char *version = json_string(tree, "apiVersion"), *kind = json_string(tree, "kind");
    return version && kind ? api_find_kind(api, version, kind) : NULL;
}

/* Merges a patch into a whole object, or into the part of it at a path ("spec.volumes.0"). */
static void merge_at(cJSON **tree, const char *path, const cJSON *patch)
{
    struct error err;
    cJSON *parent = *tree, *part = *tree;
    struct str rest = str_of(path), name;
    while (str_split(&rest, '.', &name)) {
        autofree char *key = str_dup(name);
        parent = part;
        part = cJSON_IsArray(parent) ? cJSON_GetArrayItem(parent, key[0] - '0')
                                     : json_get(parent, key);
    }
    if (parent == part) {
        CU_ASSERT_EQUAL(patch_merge(tree, patch, &err), 0);
        return;
    }
    cJSON *copy = cJSON_Duplicate(part, true);
    CU_ASSERT_EQUAL(patch_merge(&copy, patch, &err), 0);
    if (cJSON_IsArray(parent))
        cJSON_ReplaceItemViaPointer(parent, part, copy);
    else
        json_set(parent, part->string, copy);
}

/* Spells out "pod {...}", a merge patch of one of the objects in cases/schema_bases.json or of a
 * part of it, as what it stands for; after " -> " a second patch makes the new object of an update.
 */
static void expand(struct str input, struct strbuf *out)
{
    struct error err;
    struct str name;
    if (input.p[0] == '{') {
        strbuf_add(out, input);
        return;
    }
    str_split(&input, ' ', &name);
    autofree char *key = str_dup(name);
    const cJSON *base = json_get(bases, key), *of = json_get(base, "of");
    autojson cJSON *tree = cJSON_Duplicate(of ? json_get(bases, of->valuestring) : base, true);
    while (tree && input.n > 0) {
        autojson cJSON *patch = NULL;
        const char *end = memmem(input.p, input.n, " -> ", 4);
        struct str part = end ? str_range(input.p, (size_t)(end - input.p)) : input;
        if (json_parse(part, &patch, &err) < 0) {
            strbuf_clear(out);
            strbuf_addf(out, "bad case: %s", err.text);
            return;
        }
        merge_at(&tree, of ? json_string(base, "at") : "", patch);
        strbuf_addc(out, out->n > 0 ? "\n---\n" : "");
        json_print(tree, out);
        input = end ? str_range(end + 4, input.n - part.n - 4) : str_range(NULL, 0);
    }
}

/* The part of the input up to a line of dashes, parsed. */
static cJSON *next_tree(struct str *input, struct strbuf *out)
{
    struct error err;
    cJSON *tree = NULL;
    const char *end = memmem(input->p, input->n, "\n---\n", 5);
    struct str part = end ? str_range(input->p, (size_t)(end - input->p)) : *input;
    *input = end ? str_range(end + 5, input->n - part.n - 5) : str_range(NULL, 0);
    if (json_parse(str_trim(part), &tree, &err) < 0)
        strbuf_addf(out, "bad case: %s", err.text);
    return tree;
}

static void run_decode(struct str input, struct strbuf *out)
{
    struct error err;
    autojson cJSON *tree = next_tree(&input, out);
    const struct resource *r = resource_of(tree);
    autostrbuf struct strbuf warnings = STRBUF_EMPTY;
    if (!r) {
        strbuf_addc(out, "unknown kind");
    } else if (schema_decode(r->schema, tree, VALIDATION_STRICT, &warnings, &err) < 0) {
        strbuf_addc(out, err.text);
    } else {
        schema_normalise(r->schema, tree);
        json_print(tree, out);
    }
}

static cJSON *defaulted(struct str *input, struct strbuf *out, const struct resource **ret)
{
    struct error err;
    cJSON *tree = next_tree(input, out);
    *ret = resource_of(tree);
    autostrbuf struct strbuf warnings = STRBUF_EMPTY;
    if (!*ret || schema_decode((*ret)->schema, tree, VALIDATION_WARN, &warnings, &err) < 0) {
        strbuf_addc(out, *ret ? err.text : "unknown kind");
        cJSON_Delete(tree);
        return NULL;
    }
    schema_default((*ret)->schema, tree);
    return tree;
}

static void run_defaults(struct str input, struct strbuf *out)
{
    const struct resource *r;
    autojson cJSON *tree = defaulted(&input, out, &r);
    if (!tree)
        return;
    schema_normalise(r->schema, tree);
    json_print(tree, out);
}

static size_t refusals;

static void print_causes(
    const struct field_errors *errors, const struct resource *r, struct strbuf *out)
{
    if (field_errors_count(errors) == 0) {
        strbuf_addc(out, "fine");
        return;
    }
    autojson cJSON *status = field_errors_status(errors, r, "x");
    refusals += field_errors_count(errors);
    for (const cJSON *c = json_path(status, "details.causes")->child; c; c = c->next)
        strbuf_addf(out, "%s%s: %s", out->n ? "\n" : "", json_string(c, "field"),
            json_string(c, "message"));
}

static void run_refusals(struct str text, struct strbuf *out)
{
    const struct resource *r;
    autostrbuf struct strbuf spelt = STRBUF_EMPTY;
    expand(text, &spelt);
    struct str input = strbuf_str(&spelt);
    autojson cJSON *tree = defaulted(&input, out, &r);
    if (!tree)
        return;
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    schema_validate(r, tree, errors);
    print_causes(errors, r, out);
    arena_free(a);
}

static void run_updates(struct str text, struct strbuf *out)
{
    const struct resource *r, *again;
    autostrbuf struct strbuf spelt = STRBUF_EMPTY;
    expand(text, &spelt);
    struct str input = strbuf_str(&spelt);
    autojson cJSON *old = defaulted(&input, out, &r), *tree = defaulted(&input, out, &again);
    if (!old || !tree)
        return;
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    schema_validate_update(r, tree, old, errors);
    print_causes(errors, r, out);
    arena_free(a);
}

enum patch { PATCH_JSON, PATCH_MERGED, PATCH_STRATEGIC };

static void run_patch(struct str input, struct strbuf *out, enum patch how)
{
    struct error err;
    autojson cJSON *tree = next_tree(&input, out), *patch = next_tree(&input, out);
    if (!tree || !patch)
        return;
    const struct resource *r = resource_of(tree);
    autostrbuf struct strbuf before = STRBUF_EMPTY, after = STRBUF_EMPTY;
    json_print(tree, &before);
    int result = how == PATCH_JSON     ? patch_json(&tree, patch, &err)
                 : how == PATCH_MERGED ? patch_merge(&tree, patch, &err)
                                       : patch_strategic(r->schema, &tree, patch, &err);
    json_print(tree, &after);
    if (result < 0) {
        strbuf_addc(out, err.text);
        CU_ASSERT_STRING_EQUAL(before.data, after.data);
    } else {
        strbuf_addc(out, after.data);
    }
}

static void run_json_patch(struct str input, struct strbuf *out)
{
    run_patch(input, out, PATCH_JSON);
}

static void run_merge_patch(struct str input, struct strbuf *out)
{
    run_patch(input, out, PATCH_MERGED);
}

static void run_strategic_patch(struct str input, struct strbuf *out)
{
    run_patch(input, out, PATCH_STRATEGIC);
}

static void run_tables(struct str input, struct strbuf *out)
{
    struct error err;
    int64_t now;
    autojson cJSON *tree = next_tree(&input, out);
    const struct resource *r = resource_of(tree);
    if (!r || time_parse(STR("2026-01-02T00:00:00Z"), &now, &err) < 0)
        return;
    autojson cJSON *columns = table_columns(r), *cells = table_cells(r, tree, now);
    const cJSON *cell = cells->child;
    for (const cJSON *c = columns->child; c && cell; c = c->next, cell = cell->next) {
        strbuf_addf(out, "%s%s=", out->n ? "\n" : "", json_string(c, "name"));
        json_print(cell, out);
    }
}

/* First line: the group/version to convert to. */
static void run_conversions(struct str input, struct strbuf *out)
{
    struct error err;
    struct str version;
    str_split(&input, '\n', &version);
    autojson cJSON *tree = next_tree(&input, out);
    const struct resource *from = resource_of(tree);
    autofree char *wanted = str_dup(version);
    const struct resource *to = from ? api_find_kind(api, wanted, from->kind) : NULL;
    if (!to || schema_convert(from, to, &tree, &err) < 0)
        strbuf_addc(out, "no conversion");
    else
        json_print(tree, out);
}

#define CASES(name)                                                  \
    static void line_##name(struct str input, struct strbuf *out)    \
    {                                                                \
        run_##name(input, out);                                      \
        if (input.p[input.n - 1] == '\n')                            \
            strbuf_add_char(out, '\n'); /* as blocks of cases end */ \
    }                                                                \
    static void test_##name(void)                                    \
    {                                                                \
        setup();                                                     \
        cases_run("schema_" #name, line_##name);                     \
    }
CASES(decode)
CASES(defaults)
CASES(refusals)
CASES(updates)
CASES(json_patch)
CASES(merge_patch)
CASES(strategic_patch)
CASES(tables)
CASES(conversions)

/* The same, one line a case, group by group. */
static void test_refusals_of_groups(void)
{
    static const char *const groups[] = {
        "pods", "core", "workloads", "network", "storage", "admission", "devices", "others"};
    for (size_t i = 0; i < ARRAY_COUNT(groups); i++) {
        autofree char *name = str_format("schema_refusals_%s", groups[i]);
        cases_run(name, line_refusals);
    }
    cases_run("schema_updates_all", line_updates);
    printf("\n%zu refusals\n", refusals);
    CU_ASSERT(refusals >= 600);
}

/* Every kind with only its name: normalising what was normalised changes nothing. */
static void test_round_trip(void)
{
    struct error err;
    setup();
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        autojson cJSON *tree =
            json_make("{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"name\":\"x\"}}",
                r->kind, r->group_version);
        autostrbuf struct strbuf first = STRBUF_EMPTY, second = STRBUF_EMPTY,
                                 warnings = STRBUF_EMPTY;
        schema_default(r->schema, tree);
        schema_normalise(r->schema, tree);
        json_print(tree, &first);
        autojson cJSON *again = NULL;
        CU_ASSERT_EQUAL_FATAL(json_parse(strbuf_str(&first), &again, &err), 0);
        CU_ASSERT_EQUAL(schema_decode(r->schema, again, VALIDATION_STRICT, &warnings, &err), 0);
        schema_default(r->schema, again);
        schema_normalise(r->schema, again);
        json_print(again, &second);
        CU_ASSERT_STRING_EQUAL(first.data, second.data);
        CU_ASSERT(schema_equal(r->schema, tree, again));
    }
}

static cJSON *full_value(const struct field *f, int depth);

static cJSON *full_object(const struct schema *s, int depth)
{
    cJSON *o = cJSON_CreateObject();
    if (depth > 5 && !strcmp(s->name, "JSONSchemaProps"))
        return o; /* it holds itself, in fifteen ways */
    for (size_t i = 0; i < s->field_count; i++)
        if (!(s->fields[i].flags & F_TYPEMETA))
            cJSON_AddItemToObject(o, s->fields[i].name, full_value(&s->fields[i], depth));
    return o;
}

/* A value that is not empty and in its canonical form. */
static cJSON *full_value(const struct field *f, int depth)
{
    cJSON *list;
    switch ((enum value_type)f->type) {
    case V_BOOL:
        return cJSON_CreateTrue();
    case V_INT32:
    case V_INT64:
    case V_DOUBLE:
    case V_INT_OR_STRING:
        return cJSON_CreateNumber(7);
    case V_BYTES:
        return cJSON_CreateString("eA==");
    case V_QUANTITY:
        return cJSON_CreateString("1500m");
    case V_TIME:
        return cJSON_CreateString("2026-01-02T03:04:05Z");
    case V_MICROTIME:
        return cJSON_CreateString("2026-01-02T03:04:05.000006Z");
    case V_OBJECT:
        return full_object(f->object, depth + 1);
    case V_LIST:
        list = cJSON_CreateArray();
        cJSON_AddItemToArray(list, full_value(f->items, depth));
        return list;
    case V_MAP:
        list = cJSON_CreateObject();
        cJSON_AddItemToObject(list, "key", full_value(f->items, depth));
        return list;
    case V_ANY:
        return json_make("{\"a\":[1,null]}");
    default:
        return cJSON_CreateString(f->rules && f->rules->enums ? f->rules->enums[0] : "x");
    }
}

/* Every kind with every field: it comes out of decoding and normalising as it went in. */
static void test_full_objects(void)
{
    struct error err;
    setup();
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        autojson cJSON *tree = full_object(r->schema, 0), *again = NULL;
        autostrbuf struct strbuf first = STRBUF_EMPTY, second = STRBUF_EMPTY,
                                 warnings = STRBUF_EMPTY;
        json_print(tree, &first);
        CU_ASSERT_EQUAL_FATAL(json_parse(strbuf_str(&first), &again, &err), 0);
        CU_ASSERT_EQUAL(schema_decode(r->schema, again, VALIDATION_STRICT, &warnings, &err), 0);
        schema_normalise(r->schema, again);
        json_print(again, &second);
        if (strcmp(first.data, second.data) != 0)
            printf("%s differs\n", r->kind);
        CU_ASSERT_STRING_EQUAL(first.data, second.data);
        CU_ASSERT(schema_equal(r->schema, tree, again));
        struct arena *a = arena_new();
        struct field_errors *errors = field_errors_new(a);
        schema_default(r->schema, again);
        schema_validate(r, again, errors); /* whatever it says, on every path */
        schema_validate_update(r, again, tree, errors);
        arena_free(a);
    }
}

/* Each table lists its columns, and its cells are as many, whatever the object looks like. */
static void test_cells_of_nothing(void)
{
    setup();
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        autojson cJSON *nothing = cJSON_CreateObject(), *columns = table_columns(r);
        autojson cJSON *cells = table_cells(r, nothing, 0);
        CU_ASSERT_EQUAL(cJSON_GetArraySize(columns), cJSON_GetArraySize(cells));
        CU_ASSERT(cJSON_GetArraySize(cells) > 1);
    }
}

/* All documents are JSON, and every reference in them leads somewhere. */
static void check_references(const cJSON *at, const cJSON *definitions, size_t skip)
{
    for (const cJSON *m = at ? at->child : NULL; m; m = m->next) {
        if (m->string && !strcmp(m->string, "$ref") && cJSON_IsString(m)) {
            if (!json_get(definitions, m->valuestring + skip))
                printf("dangling reference %s\n", m->valuestring);
            CU_ASSERT_PTR_NOT_NULL(json_get(definitions, m->valuestring + skip));
        }
        check_references(m, definitions, skip);
    }
}

static void test_documents(void)
{
    struct error err;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    setup();
    openapi_v2_json(api, &text);
    autojson cJSON *v2 = NULL, *index = NULL;
    CU_ASSERT_EQUAL_FATAL(json_parse(strbuf_str(&text), &v2, &err), 0);
    check_references(v2, json_get(v2, "definitions"), strlen("#/definitions/"));
    strbuf_clear(&text);
    openapi_v3_index(api, &text);
    CU_ASSERT_EQUAL_FATAL(json_parse(strbuf_str(&text), &index, &err), 0);
    for (const cJSON *p = json_get(index, "paths")->child; p; p = p->next) {
        autojson cJSON *v3 = NULL;
        strbuf_clear(&text);
        CU_ASSERT_EQUAL_FATAL(openapi_v3_group(api, p->string, &text, &err), 0);
        CU_ASSERT_EQUAL_FATAL(json_parse(strbuf_str(&text), &v3, &err), 0);
        check_references(v3, json_path(v3, "components.schemas"), strlen("#/components/schemas/"));
    }
    CU_ASSERT(openapi_v3_group(api, "apis/none/v1", &text, &err) < 0);
}

/* A patch that doubles a value again and again, and a patch of a list of 20,000 elements: bounded.
 */
static void test_bombs(void)
{
    struct error err;
    autojson cJSON *tree = json_make("{\"a\":[\"0123456789\"]}"), *patch = cJSON_CreateArray();
    for (int i = 0; i < 60; i++)
        cJSON_AddItemToArray(
            patch, json_make("{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}"));
    CU_ASSERT_EQUAL(patch_json(&tree, patch, &err), -ERR_TOO_LARGE);
    autojson cJSON *list = json_make("{\"a\":[]}"), *moves = cJSON_CreateArray();
    for (int i = 0; i < 50000; i++)
        cJSON_AddItemToArray(json_get(list, "a"), cJSON_CreateNumber(i));
    for (int i = 0; i < 9000; i++)
        cJSON_AddItemToArray(
            moves, json_make("{\"op\":\"move\",\"from\":\"/a/49999\",\"path\":\"/a/0\"}"));
    CU_ASSERT_EQUAL(patch_json(&list, moves, &err), -ERR_TOO_LARGE);
    setup();
    autojson cJSON *pod = json_make("{\"spec\":{\"containers\":[]}}");
    autojson cJSON *many = json_make("{\"spec\":{\"containers\":[]}}");
    for (int i = 0; i < 20000; i++) {
        cJSON_AddItemToArray(json_path(pod, "spec.containers"), json_make("{\"name\":\"c%d\"}", i));
        cJSON_AddItemToArray(json_path(many, "spec.containers"),
            json_make("{\"name\":\"c%d\",\"image\":\"i\"}", i * 2));
    }
    const struct resource *r = api_find(api, STR(""), STR("v1"), STR("pods"));
    CU_ASSERT_EQUAL(patch_strategic(r->schema, &pod, many, &err), 0);
    CU_ASSERT_EQUAL(cJSON_GetArraySize(json_path(pod, "spec.containers")), 30000);
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    schema_validate(r, pod, errors);
    CU_ASSERT(field_errors_count(errors) > 0);
    arena_free(a);
}

/* A selector that nobody can have meant is refused by its length. */
static void test_long_selectors(void)
{
    setup();
    const struct resource *r = api_find(api, STR("apps"), STR("v1"), STR("deployments"));
    struct arena *a = arena_new();
    struct field_errors *errors = field_errors_new(a);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    autojson cJSON *tree = json_make("{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
                                     "\"matchExpressions\":[],\"matchLabels\":{}}}}");
    for (int i = 0; i <= LIMIT_SELECTOR_TERMS; i++) {
        autofree char *name = str_format("k%d", i);
        cJSON_AddItemToArray(json_path(tree, "spec.selector.matchExpressions"),
            json_make("{\"key\":\"%s\",\"operator\":\"Exists\"}", name));
        json_set_string(json_path(tree, "spec.selector.matchLabels"), name, "v");
    }
    schema_validate(r, tree, errors);
    autojson cJSON *status = field_errors_status(errors, r, "d");
    json_print(status, &text);
    CU_ASSERT_PTR_NOT_NULL(strstr(
        text.data, "spec.selector.matchExpressions: Too many: 1001: must have at most 1000 items"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text.data, "spec.selector.matchLabels: Too many: 1001: must have at most 1000"));
    arena_free(a);
}

static void test_find(void)
{
    setup();
    const struct resource *r = api_find(api, STR("apps"), STR("v1"), STR("deployments"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT_STRING_EQUAL(r->kind, "Deployment");
    CU_ASSERT_PTR_EQUAL(r, api_find_kind(api, "apps/v1", "Deployment"));
    CU_ASSERT_PTR_NULL(api_find(api, STR("apps"), STR("v2"), STR("deployments")));
    CU_ASSERT_STRING_EQUAL(
        api_find_plural(api, "autoscaling", "horizontalpodautoscalers")->version, "v2");
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *x = api_at(api, i);
        CU_ASSERT_PTR_EQUAL(x->internal ? NULL : x,
            api_find(api, str_of(x->group), str_of(x->version), str_of(x->plural)));
        if (x->stored)
            CU_ASSERT(x->id >= 0 && (size_t)x->id < api_stored_count(api));
        CU_ASSERT_EQUAL(x->id, x->storage->id);
    }
}

static void test_end(void)
{
    api_free(api);
    cJSON_Delete(bases);
    api = NULL;
}

const CU_TestInfo schema_tests[] = {
    {"resources are found", test_find},
    {"decoding", test_decode},
    {"defaults", test_defaults},
    {"refusals", test_refusals},
    {"updates", test_updates},
    {"refusals of every group", test_refusals_of_groups},
    {"JSON patch", test_json_patch},
    {"merge patch", test_merge_patch},
    {"strategic merge patch", test_strategic_patch},
    {"table cells", test_tables},
    {"conversions", test_conversions},
    {"what is normal stays", test_round_trip},
    {"full objects stay", test_full_objects},
    {"cells of an empty object", test_cells_of_nothing},
    {"documents", test_documents},
    {"patch bombs", test_bombs},
    {"long selectors", test_long_selectors},
    {"nothing leaks", test_end},
    CU_TEST_INFO_NULL,
};
