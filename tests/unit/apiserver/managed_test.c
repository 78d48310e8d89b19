/*
 * Server-side apply and managedFields without a server: scenarios of tests/cases/apply_*.test.
 *
 * A scenario names a kind, then one write a line, "MANAGER VERB JSON": create (the whole object),
 * update (a merge patch), status (the same through /status), apply, force (a forced apply),
 * apply-status. The output is each refusal, the object in the end, and its owners.
 */
#include "apiserver/schema/managed.h"

#include <CUnit/CUnit.h>

#include "tests/unit/cases.h"

static struct api *api;
static struct env *env;
static struct field_memo *memo;

static const struct {
    const char *word, *group_version, *kind;
} kinds[] = {
    {"configmap", "v1", "ConfigMap"},
    {"pod", "v1", "Pod"},
    {"service", "v1", "Service"},
    {"deployment", "apps/v1", "Deployment"},
    {"node", "v1", "Node"},
    {"autoscaler", "autoscaling/v2", "HorizontalPodAutoscaler"},
};

static void setup(void)
{
    struct error err;
    if (!api && api_new(&api, &err) < 0)
        abort();
    if (!memo) {
        env = env_new_real();
        memo = field_memo_new(env);
    }
}

struct scenario {
    const struct resource *resource;
    cJSON *tree; /* NULL: not there */
    char *managed;
    int64_t now_ns;
    struct strbuf *out;
};

static void keep(struct scenario *s, struct managed *m, cJSON *tree)
{
    struct strbuf text;
    strbuf_init(&text, 0);
    managed_print(m, &text);
    free(s->managed);
    s->managed = strbuf_steal(&text);
    cJSON_Delete(s->tree);
    s->tree = tree;
}

static void keep_status(const struct scenario *s, cJSON *tree, bool status)
{
    const char *other = status ? "spec" : "status";
    const cJSON *was = s->tree ? json_get(s->tree, other) : NULL;
    if (was)
        json_set(tree, other, cJSON_Duplicate(was, true));
    else
        json_remove(tree, other);
}

static int settle(struct scenario *s, cJSON *tree, bool status, struct error *err)
{
    if (schema_decode(s->resource->schema, tree, VALIDATION_IGNORE, NULL, err) < 0)
        return -(int)err->code;
    keep_status(s, tree, status);
    schema_normalise(s->resource->schema, tree);
    return 0;
}

static int apply(struct scenario *s, struct managed *m, struct managed_writer *w, const cJSON *body,
    bool force, struct error *err)
{
    struct managed_refusal why = {0};
    bool status = *w->subresource;
    cJSON *tree = s->tree ? cJSON_Duplicate(s->tree, true) : json_make("{}");
    int r = managed_merge(m, w, s->tree, tree, body, &why, err);
    if (r == 0)
        r = settle(s, tree, status, err);
    if (r == 0)
        r = managed_own(m, w, s->tree, tree, force, &why, err);
    cJSON_Delete(why.causes);
    if (r < 0) {
        cJSON_Delete(tree);
        return r;
    }
    schema_default(s->resource->schema, tree);
    schema_normalise(s->resource->schema, tree);
    keep(s, m, tree);
    return 0;
}

static int update(struct scenario *s, struct managed *m, struct managed_writer *w,
    const cJSON *body, struct error *err)
{
    cJSON *tree = s->tree ? cJSON_Duplicate(s->tree, true) : cJSON_Duplicate(body, true);
    int r = s->tree ? patch_merge(&tree, body, err) : 0;
    if (r == 0)
        r = settle(s, tree, *w->subresource, err);
    if (r < 0) {
        cJSON_Delete(tree);
        return r;
    }
    schema_default(s->resource->schema, tree);
    keep_status(s, tree, *w->subresource);
    schema_normalise(s->resource->schema, tree);
    managed_update(m, w, memo, s->tree, tree);
    keep(s, m, tree);
    return 0;
}

static int step(struct scenario *s, struct arena *a, struct str line, struct error *err)
{
    struct str manager, verb;
    str_split(&line, ' ', &manager);
    str_split(&line, ' ', &verb);
    autojson cJSON *body = NULL;
    struct managed *m = managed_new(a);
    bool status = str_ends(verb, STR("status"));
    if (json_parse(line, &body, err) < 0)
        return -(int)err->code;
    if (s->managed && managed_parse(a, str_of(s->managed), true, &m, err) < 0)
        return -(int)err->code;
    json_set_string(body, "kind", s->resource->kind);
    json_set_string(body, "apiVersion", s->resource->group_version);
    s->now_ns += 1000000000;
    struct managed_writer w = {.manager = arena_strdup(a, manager),
        .subresource = status ? "status" : "",
        .resource = s->resource,
        .api = api,
        .now_ns = s->now_ns};
    if (str_starts(verb, STR("apply")) || str_eqc(verb, "force")) {
        /* what the list keeps points into it */
        arena_on_free(a, (void (*)(void *))cJSON_Delete, cJSON_Duplicate(body, true));
        return apply(s, m, &w, body, str_eqc(verb, "force"), err);
    }
    return update(s, m, &w, body, err);
}

static void print_owners(const char *list, struct strbuf *out)
{
    struct error err;
    autojson cJSON *tree = NULL;
    if (!list || json_parse(str_of(list), &tree, &err) < 0)
        return;
    for (const cJSON *e = tree->child; e; e = e->next) {
        const char *sub = json_string(e, "subresource");
        strbuf_addf(out, "\n%s %s%s%s ", json_string(e, "manager"), json_string(e, "operation"),
            sub ? "/" : "", sub ? sub : "");
        json_print(json_get(e, "fieldsV1"), out);
    }
}

static void run(struct str input, struct strbuf *out)
{
    struct scenario s = {.out = out, .now_ns = 1700000000ll * 1000000000};
    struct str line;
    struct error err;
    str_split(&input, '\n', &line);
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (str_eqc(line, kinds[i].word))
            s.resource = api_find_kind(api, kinds[i].group_version, kinds[i].kind);
    if (!s.resource) {
        strbuf_addc(out, "no such kind");
        return;
    }
    while (str_split(&input, '\n', &line)) {
        struct arena *a = arena_new();
        if (line.n > 0 && step(&s, a, line, &err) < 0)
            strbuf_addf(out, "%s\n", err.text);
        arena_free(a);
    }
    if (s.tree) {
        json_remove(s.tree, "kind");
        json_remove(s.tree, "apiVersion");
        json_print(s.tree, out);
    }
    print_owners(s.managed, out);
    if (s.tree)
        strbuf_add_char(out, '\n');
    cJSON_Delete(s.tree);
    free(s.managed);
}

static void test_tables(void)
{
    static const char *const tables[] = {"apply_fields", "apply_lists", "apply_updates"};
    setup();
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
        cases_run(tables[i], run);
}

/* --- FieldsV1 --- */

static void run_set(struct str input, struct strbuf *out)
{
    struct arena *a = arena_new();
    const struct field_set *s = NULL;
    struct error err;
    if (field_set_parse(a, input, false, &s, &err) < 0)
        strbuf_addc(out, err.text);
    else
        field_set_print(s, out);
    arena_free(a);
}

static void test_sets(void)
{
    cases_run("field_sets", run_set);
}

static void print_path(void *arg, const char *path)
{
    strbuf_addf(arg, "%s\n", path);
}

static void test_operations(void)
{
    static const struct {
        const char *x, *y, *both, *without, *without_deep, *common;
    } cases[] = {
        {"{}", "{}", "{}", "{}", "{}", "{}"},
        {"{\"f:a\":{}}", "{}", "{\"f:a\":{}}", "{\"f:a\":{}}", "{\"f:a\":{}}", "{}"},
        {"{\"f:a\":{}}", "{\"f:a\":{}}", "{\"f:a\":{}}", "{}", "{}", "{\"f:a\":{}}"},
        {"{\"f:a\":{\"f:b\":{}}}", "{\"f:a\":{}}", "{\"f:a\":{\".\":{},\"f:b\":{}}}",
            "{\"f:a\":{\"f:b\":{}}}", "{}", "{}"},
        {"{\"f:a\":{\".\":{},\"f:b\":{}}}", "{\"f:a\":{\"f:b\":{}},\"f:c\":{}}",
            "{\"f:a\":{\".\":{},\"f:b\":{}},\"f:c\":{}}", "{\"f:a\":{}}", "{\"f:a\":{}}",
            "{\"f:a\":{\"f:b\":{}}}"},
        {"{\"f:a\":{},\"f:c\":{}}", "{\"f:b\":{},\"f:c\":{},\"f:d\":{}}",
            "{\"f:a\":{},\"f:b\":{},\"f:c\":{},\"f:d\":{}}", "{\"f:a\":{}}", "{\"f:a\":{}}",
            "{\"f:c\":{}}"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct arena *a = arena_new();
        const struct field_set *x, *y;
        struct error err;
        CU_ASSERT_EQUAL(field_set_parse(a, str_of(cases[i].x), false, &x, &err), 0);
        CU_ASSERT_EQUAL(field_set_parse(a, str_of(cases[i].y), false, &y, &err), 0);
        const struct {
            const struct field_set *got;
            const char *wanted;
        } results[] = {
            {field_set_union(a, x, y), cases[i].both},
            {field_set_union(a, y, x), cases[i].both},
            {field_set_without(a, x, y), cases[i].without},
            {field_set_without_deep(a, x, y), cases[i].without_deep},
            {field_set_common(a, x, y), cases[i].common},
            {field_set_common(a, y, x), cases[i].common},
        };
        for (size_t k = 0; k < ARRAY_COUNT(results); k++) {
            autostrbuf struct strbuf text = STRBUF_EMPTY;
            field_set_print(results[k].got, &text);
            CU_ASSERT_STRING_EQUAL(text.data, results[k].wanted);
        }
        arena_free(a);
    }
}

static void test_paths(void)
{
    struct arena *a = arena_new();
    const struct field_set *s;
    struct error err;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    CU_ASSERT_EQUAL(
        field_set_parse(a,
            STR("{\"f:a\":{\".\":{},\"k:{\\\"p\\\":80,\\\"n\\\":\\\"x\\\"}\":{\"f:i\":{}},"
                "\"v:\\\"z\\\"\":{},\"i:3\":{}}}"),
            false, &s, &err),
        0);
    field_set_each(s, print_path, &text);
    CU_ASSERT_STRING_EQUAL(text.data, ".a\n.a[n=\"x\",p=80].i\n.a[=\"z\"]\n.a[3]\n");
    arena_free(a);
}

/* Wide and deep objects cost n log n: 20,000 members and elements are merged and compared at once.
 */
static void test_wide(void)
{
    struct error err;
    struct arena *a = arena_new();
    setup();
    const struct resource *r = api_find_kind(api, "v1", "ConfigMap");
    cJSON *live = json_make("{\"metadata\":{\"name\":\"x\",\"finalizers\":[]},\"data\":{}}");
    cJSON *data = json_get(live, "data"), *list = json_path(live, "metadata.finalizers");
    for (int i = 0; i < 20000; i++) {
        autofree char *name = str_format("key-%d", (i * 7919) % 20000);
        cJSON_AddItemToObject(data, name, cJSON_CreateString("v"));
        cJSON_AddItemToArray(list, cJSON_CreateString(name));
    }
    autojson cJSON *config = cJSON_Duplicate(live, true);
    autojson cJSON *tree = cJSON_Duplicate(live, true);
    struct managed *m = managed_new(a);
    struct managed_writer w = {.manager = "m", .subresource = "", .resource = r, .api = api};
    struct managed_refusal why = {0};
    CU_ASSERT_EQUAL(managed_merge(m, &w, live, tree, config, &why, &err), 0);
    CU_ASSERT_EQUAL(managed_own(m, &w, live, tree, false, &why, &err), 0);
    CU_ASSERT(json_equal(tree, live));
    autojson cJSON *less = json_make("{\"metadata\":{\"name\":\"x\"}}");
    CU_ASSERT_EQUAL(managed_merge(m, &w, live, tree, less, &why, &err), 0);
    CU_ASSERT(json_path(tree, "data") != NULL); /* before-first-apply has it too */
    arena_free(a);
    cJSON_Delete(live);
}

/* Shapes that own the same have one text; others have their own. */
static void test_memo(void)
{
    static const char *const bodies[] = {
        "{\"metadata\":{\"name\":\"a\",\"labels\":{\"x\":\"1\"}},\"data\":{\"k\":\"v\"}}",
        "{\"metadata\":{\"name\":\"b\",\"labels\":{\"x\":\"2\"}},\"data\":{\"k\":\"w\"}}",
        "{\"metadata\":{\"name\":\"b\",\"labels\":{\"y\":\"2\"}},\"data\":{\"k\":\"w\"}}",
        "{\"metadata\":{\"name\":\"b\",\"labels\":{\"y\":\"2\"}},\"data\":{\"l\":\"w\"}}",
    };
    uint64_t hashes[ARRAY_COUNT(bodies)];
    setup();
    const struct resource *r = api_find_kind(api, "v1", "ConfigMap");
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        struct error err;
        autojson cJSON *tree = NULL;
        CU_ASSERT_EQUAL(json_parse(str_of(bodies[i]), &tree, &err), 0);
        hashes[i] = field_shape_hash(7, r->schema, tree);
    }
    CU_ASSERT_EQUAL(hashes[0], hashes[1]);
    CU_ASSERT_NOT_EQUAL(hashes[1], hashes[2]);
    CU_ASSERT_NOT_EQUAL(hashes[2], hashes[3]);
}

static void test_end(void)
{
    api_free(api);
    field_memo_free(memo);
    env_free(env);
    api = NULL;
    memo = NULL;
}

const CU_TestInfo managed_tests[] = {
    {"scenarios of apply and update", test_tables},
    {"FieldsV1 texts", test_sets},
    {"operations on sets", test_operations},
    {"paths", test_paths},
    {"20,000 members", test_wide},
    {"shapes", test_memo},
    {"nothing leaks", test_end},
    CU_TEST_INFO_NULL,
};
