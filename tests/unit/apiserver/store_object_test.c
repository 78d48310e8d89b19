/* apiserver/cache/object.c: making objects, splicing while sending, the stored form and damaged
 * ones. */
#include <CUnit/CUnit.h>

#include "common/limits.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

static const char pod_text[] = "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"
                               "\"web-0\",\"namespace\":\"shop\",\"uid\":\"u1\","
                               "\"resourceVersion\":\"99\",\"creationTimestamp\":\"2026-01-02T03:"
                               "04:05Z\",\"labels\":{\"tier\":\"front\",\"app\":"
                               "\"web\"}},\"spec\":{\"nodeName\":\"n1\",\"hostNetwork\":true},"
                               "\"status\":{\"phase\":\"Running\"}}";

static struct object *make(const struct resource *r, const char *text)
{
    autojson cJSON *tree = NULL;
    struct object *o = NULL;
    struct error err;

    CU_ASSERT_FATAL(json_parse(str_of(text), &tree, &err) == 0);
    CU_ASSERT_FATAL(object_new(r, tree, &o, &err) == 0);
    return o;
}

static void check_pod(const struct object *o)
{
    struct str field;

    CU_ASSERT(str_eqc(o->namespace_, "shop") && str_eqc(o->name, "web-0") && str_eqc(o->uid, "u1"));
    CU_ASSERT(o->creation_ns == 1767323045ll * NS_PER_S);
    CU_ASSERT(!o->deleting);
    CU_ASSERT_EQUAL(o->label_count, 2);
    CU_ASSERT(str_eqc(o->labels[0].key, "app") && str_eqc(o->labels[1].key, "tier"));
    CU_ASSERT_STRING_EQUAL(object_label_get(o, "app"), "web");
    CU_ASSERT_STRING_EQUAL(object_label_get(o, "tier"), "front");
    CU_ASSERT_PTR_NULL(object_label_get(o, "ap"));
    CU_ASSERT(object_field_get(o, "spec.nodeName", &field) && str_eqc(field, "n1"));
    CU_ASSERT(object_field_get(o, "status.phase", &field) && str_eqc(field, "Running"));
    CU_ASSERT(object_field_get(o, "spec.hostNetwork", &field) && str_eqc(field, "true"));
    CU_ASSERT(object_field_get(o, "metadata.name", &field) && str_eqc(field, "web-0"));
    CU_ASSERT(!object_field_get(o, "spec.x", &field));
    CU_ASSERT(str_eqc(str_range(o->body.p + o->spec.offset, o->spec.length),
        "{\"nodeName\":\"n1\",\"hostNetwork\":true}"));
    CU_ASSERT(str_eqc(
        str_range(o->body.p + o->status.offset, o->status.length), "{\"phase\":\"Running\"}"));
}

static void test_make(void)
{
    struct object *o = make(&res_pods, pod_text);

    check_pod(o);
    CU_ASSERT(str_starts(o->body, STR("{\"metadata\":{\"name\":\"web-0\",")));
    object_unref(o);
}

static void check_sent(void (*send)(const struct object *, struct strbuf *), const struct object *o,
    const char *wanted)
{
    autostrbuf struct strbuf out;

    strbuf_init(&out, 0);
    send(o, &out);
    CU_ASSERT_STRING_EQUAL(out.data, wanted);
}

static void test_send(void)
{
    struct object *o = make(&res_pods, "{\"metadata\":{\"name\":\"a\"},\"spec\":{}}");

    check_sent(object_encode, o,
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"spec\":{}}");
    o->revision = 7;
    check_sent(object_encode, o,
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"7\",\"name\":"
        "\"a\"},\"spec\":{}}");
    check_sent(object_encode_item, o,
        "{\"metadata\":{\"resourceVersion\":\"7\",\"name\":\"a\"},\"spec\":{}}");
    check_sent(object_encode_metadata, o, "{\"resourceVersion\":\"7\",\"name\":\"a\"}");
    struct object *later = object_at_revision(o, 123456789012345678);

    check_sent(object_encode_item, later,
        "{\"metadata\":{\"resourceVersion\":\"123456789012345678\",\"name\":\"a\"},\"spec\":{}}");
    object_unref(later);
    object_unref(o);
    o = make(&res_pods, "{\"metadata\":{}}");
    o->revision = 3;
    check_sent(object_encode_item, o, "{\"metadata\":{\"resourceVersion\":\"3\"}}");
    object_unref(o);
}

static void test_tree(void)
{
    struct object *o = make(&res_pods, pod_text);

    o->revision = 12;
    autojson cJSON *tree = object_tree(o);

    CU_ASSERT_STRING_EQUAL(json_string(tree, "kind"), "Pod");
    CU_ASSERT_STRING_EQUAL(json_string_at(tree, "metadata.resourceVersion"), "12");
    struct object *again = NULL;
    struct error err;

    CU_ASSERT(object_new(&res_pods, tree, &again, &err) == 0);
    CU_ASSERT(str_eq(o->body, again->body));
    object_unref(o);
    object_unref(again);
}

static void test_escapes(void)
{
    struct object *o = make(&res_pods,
        "{\"metadata\":{\"name\":\"a<b\",\"labels\":{\"k\":\"v&w\"},\"deletionTimestamp\":\"x\"}}");
    autostrbuf struct strbuf value;
    struct error err;
    struct object *back = NULL;

    strbuf_init(&value, 0);
    object_to_value(o, &value);
    CU_ASSERT_FATAL(object_from_value(&res_pods, strbuf_str(&value), 5, &back, &err) == 0);
    struct object *moved = object_at_revision(back, 6);

    object_unref(back);
    CU_ASSERT(str_eqc(o->name, "a<b") && str_eqc(moved->name, "a<b"));
    CU_ASSERT_STRING_EQUAL(object_label_get(moved, "k"), "v&w");
    CU_ASSERT(o->deleting && moved->deleting);
    object_unref(o);
    object_unref(moved);
}

static void test_stored_form(void)
{
    struct object *o = make(&res_pods, pod_text), *back = NULL;
    autostrbuf struct strbuf value;
    struct error err;

    strbuf_init(&value, 0);
    object_to_value(o, &value);
    CU_ASSERT_FATAL(object_from_value(&res_pods, strbuf_str(&value), 42, &back, &err) == 0);
    check_pod(back);
    CU_ASSERT(str_eq(back->body, o->body));
    CU_ASSERT_EQUAL(back->revision, 42);
    CU_ASSERT_EQUAL(object_bytes(back), object_bytes(o));
    object_unref(back);
    /* another set of selectable fields: the body is parsed instead */
    struct resource changed = res_pods;
    static const char *const fields[] = {"spec.hostNetwork", NULL};

    changed.selectable = fields;
    CU_ASSERT_FATAL(object_from_value(&changed, strbuf_str(&value), 42, &back, &err) == 0);
    CU_ASSERT_EQUAL(back->field_count, 1);
    CU_ASSERT(str_eqc(back->fields[0], "true"));
    object_unref(back);
    object_unref(o);
}

static void test_damaged(void)
{
    struct object *o = make(&res_pods, pod_text);
    autostrbuf struct strbuf value;
    struct error err;
    unsigned seed = 1;

    strbuf_init(&value, 0);
    object_to_value(o, &value);
    for (size_t n = 0; n < value.n; n++) {
        struct object *back = NULL;
        autofree char *cut = (char *)xmalloc(n + 1);

        memcpy(cut, value.data, n);
        if (object_from_value(&res_pods, str_range(cut, n), 1, &back, &err) == 0)
            object_unref(back);
    }
    for (int i = 0; i < 20000; i++) {
        struct object *back = NULL;
        autofree char *copy = (char *)xmalloc(value.n);

        memcpy(copy, value.data, value.n);
        for (int k = 0; k < 3; k++)
            copy[(size_t)rand_r(&seed) % (k ? 80 : value.n)] = (char)rand_r(&seed);
        if (object_from_value(&res_pods, str_range(copy, value.n), 1, &back, &err) == 0) {
            object_label_get(back, "app");
            object_unref(object_at_revision(back, 2));
            object_unref(back);
        }
    }
    object_unref(o);
}

static void test_too_large(void)
{
    autofree char *text = (char *)xcalloc(1, LIMIT_OBJECT_BYTES + 1);
    autojson cJSON *tree = json_make("{\"metadata\":{\"name\":\"a\",\"labels\":{\"a\":\"b\"}}}");
    struct object *o = NULL;
    struct error err;

    memset(text, 'x', LIMIT_OBJECT_BYTES);
    json_set_string_at(tree, "data.x", text);
    CU_ASSERT_EQUAL(object_new(&res_config_maps, tree, &o, &err), -ERR_TOO_LARGE);
    json_set_string_at(tree, "metadata.annotations.x", text);
    CU_ASSERT_EQUAL(object_new(&res_config_maps, tree, &o, &err), -ERR_TOO_LARGE);
}

const CU_TestInfo store_object_tests[] = {
    {"header from a tree", test_make},
    {"sending splices the version", test_send},
    {"back to a tree", test_tree},
    {"escaped names", test_escapes},
    {"the stored form", test_stored_form},
    {"damaged values are refused", test_damaged},
    {"too large", test_too_large},
    CU_TEST_INFO_NULL,
};
