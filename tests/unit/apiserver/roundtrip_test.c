/*
 * Every kind that is served, and every body of a subresource: an object with all fields set, and
 * one with every pointer at its zero, come back unchanged from JSON and from protobuf. The kinds
 * are counted. Known bytes: what upstream's generated code writes for a few objects.
 */
#include <CUnit/CUnit.h>

#include "apiserver/schema/protobuf.h"
#include "common/base64.h"
#include "tests/unit/apiserver/full_object.h"

static struct api *api;
static size_t kinds, values;

static void count_values(const cJSON *tree)
{
    for (const cJSON *m = tree->child; m; m = m->next, values++)
        count_values(m);
}

static void fail(const char *kind, const char *how, struct str got, struct str wanted)
{
    size_t at = 0;

    while (at < got.n && at < wanted.n && got.p[at] == wanted.p[at])
        at++;
    size_t from = at > 60 ? at - 60 : 0;
    printf("\n%s, %s: ...%.*s, wanted ...%.*s", kind, how,
        (int)(got.n - from < 120 ? got.n - from : 120), got.p + from,
        (int)(wanted.n - from < 120 ? wanted.n - from : 120), wanted.p + from);
    CU_FAIL("an object did not come back");
}

static void through_json(const struct schema *s, const char *kind, struct str text)
{
    autostrbuf struct strbuf warnings = STRBUF_EMPTY, again = STRBUF_EMPTY;
    autojson cJSON *tree = NULL;
    struct error err;

    if (json_parse(text, &tree, &err) < 0 ||
        schema_decode(s, tree, VALIDATION_STRICT, &warnings, &err) < 0) {
        fail(kind, "JSON", str_of(err.text), STR("no error"));
        return;
    }
    schema_normalise(s, tree);
    json_print(tree, &again);
    if (!str_eq(strbuf_str(&again), text))
        fail(kind, "JSON", strbuf_str(&again), text);
}

static void through_protobuf(
    const struct schema *s, const char *group_version, const char *kind, struct str text)
{
    autostrbuf struct strbuf warnings = STRBUF_EMPTY, again = STRBUF_EMPTY;
    autojson cJSON *tree = NULL;
    struct protobuf first, second;
    struct error err;

    protobuf_init(&first);
    protobuf_init(&second);
    protobuf_object(&first, group_version, kind, s, text);
    if (schema_from_protobuf(s, protobuf_bytes(&first), &tree, &err) < 0 ||
        schema_decode(s, tree, VALIDATION_STRICT, &warnings, &err) < 0) {
        fail(kind, "protobuf", str_of(err.text), STR("no error"));
    } else {
        schema_normalise(s, tree);
        json_print(tree, &again);
        if (!str_eq(strbuf_str(&again), text))
            fail(kind, "protobuf", strbuf_str(&again), text);
        protobuf_object(&second, group_version, kind, s, strbuf_str(&again));
        CU_ASSERT(str_eq(protobuf_bytes(&first), protobuf_bytes(&second)));
    }
    protobuf_done(&first);
    protobuf_done(&second);
}

static void check_kind(const struct schema *s, const char *group_version, const char *kind)
{
    autofree char *name = str_format("%s %s", group_version, kind);

    CU_ASSERT(schema_has_protobuf(s));
    for (enum fill fill = FILL_ALL; fill <= FILL_ZEROS; fill++) {
        autojson cJSON *tree = full_object(s, group_version, kind, fill);
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        json_print(tree, &text);
        count_values(tree);
        through_json(s, name, strbuf_str(&text));
        through_protobuf(s, group_version, kind, strbuf_str(&text));
    }
    kinds++;
}

static void test_all(void)
{
    struct error err;

    CU_ASSERT_EQUAL_FATAL(api_new(&api, &err), 0);
    size_t shown = 0;
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (!r->stored && r->verbs & VERB_GET) /* made up on asking, never read: JSON only */
            shown++;
        else
            check_kind(r->schema, r->group_version, r->kind);
    }
    CU_ASSERT_EQUAL(kinds + shown, api_count(api));
    for (size_t i = 0; i < api_count(api); i++)
        for (size_t k = 0; k < api_at(api, i)->subresource_count; k++) {
            const struct subresource *s = &api_at(api, i)->subresources[k];
            if (s->schema && s->schema != api_at(api, i)->schema)
                check_kind(s->schema, s->group_version, s->kind);
        }
    check_kind(api_find_schema(api, "v1", "Status"), "v1", "Status");
    check_kind(api_meta(api)->partial, "meta.k8s.io/v1", "PartialObjectMetadata");
    check_kind(schema_delete_options(api), "v1", "DeleteOptions");
    printf("%zu kinds, %zu values ... ", kinds, values);
    CU_ASSERT(kinds >= 80);
    api_free(api);
}

/* base64 of what the Go client (1.20, without a field that is gone since) writes for the JSON. */
static const struct {
    const char *group_version, *kind, *json, *bytes;
} known[] = {
    {"v1", "Namespace", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\"}",
        "azhzAAoPCgJ2MRIJTmFtZXNwYWNlEhgKEAoAEgAaACIAKgAyADgAQgASABoCCgAaACIA"},
    {"v1", "ConfigMap",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\","
        "\"creationTimestamp\":\"2026-11-23T19:43:00Z\"},\"data\":{\"b\":\"2\",\"a\":\"1\"}}",
        "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEisKGQoBYRIAGgAiACoAMgA4AEIICMSuktgGEAASBgoBYRIBMRIGCgFiEgEyGg"
        "AiAA=="},
    {"v1", "Endpoints",
        "{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":\"e\",\"labels\":{"
        "\"x\":\"\"},\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\","
        "\"uid\":\"u\",\"controller\":false}]},\"subsets\":[{\"addresses\":[{\"ip\":\"10.0.0.1\","
        "\"targetRef\":{\"kind\":\"Pod\"}}],\"ports\":[{\"port\":80}]}]}",
        "azhzAAoPCgJ2MRIJRW5kcG9pbnRzElgKKwoBZRIAGgAiACoAMgA4AEIAWgUKAXgSAGoRCgNQb2QaAXAiAXUqAnYxMA"
        "ASKQofCggxMC4wLjAuMRIRCgNQb2QSABoAIgAqADIAOgAaABoGCgAQUBoAGgAiAA=="},
    {"v1", "LimitRange",
        "{\"apiVersion\":\"v1\",\"kind\":\"LimitRange\",\"metadata\":{\"name\":\"l\"},\"spec\":{"
        "\"limits\":[{\"type\":\"Pod\",\"max\":{\"memory\":\"1Gi\",\"cpu\":\"100m\"}}]}}",
        "azhzAAoQCgJ2MRIKTGltaXRSYW5nZRI8ChEKAWwSABoAIgAqADIAOABCABInCiUKA1BvZBINCgNjcHUSBgoEMTAwbR"
        "IPCgZtZW1vcnkSBQoDMUdpGgAiAA=="},
    {"coordination.k8s.io/v1", "Lease",
        "{\"apiVersion\":\"coordination.k8s.io/"
        "v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"l\"},\"spec\":{\"renewTime\":\"2026-11-"
        "23T19:43:00.123456Z\",\"leaseDurationSeconds\":-1}}",
        "azhzAAofChZjb29yZGluYXRpb24uazhzLmlvL3YxEgVMZWFzZRItChEKAWwSABoAIgAqADIAOABCABIYEP////////"
        "///wEiCwjErpLYBhCAlO86GgAiAA=="},
    {"apps/v1", "ControllerRevision",
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"ControllerRevision\",\"metadata\":{\"name\":\"c\"},\"data\":{\"b\":[1,"
        "null],\"a\":\"x\"},\"revision\":300}",
        "azhzAAodCgdhcHBzL3YxEhJDb250cm9sbGVyUmV2aXNpb24SMAoRCgFjEgAaACIAKgAyADgAQgASGAoWeyJiIjpbMS"
        "xudWxsXSwiYSI6IngifRisAhoAIgA="},
    {"rbac.authorization.k8s.io/v1", "Role",
        "{\"apiVersion\":\"rbac.authorization.k8s.io/"
        "v1\",\"kind\":\"Role\",\"metadata\":{\"name\":\"r\"},\"rules\":[{\"verbs\":[\"get\",\"\"],"
        "\"resources\":[\"pods\"]}]}",
        "azhzAAokChxyYmFjLmF1dGhvcml6YXRpb24uazhzLmlvL3YxEgRSb2xlEiIKEQoBchIAGgAiACoAMgA4AEIAEg0KA2"
        "dldAoAGgRwb2RzGgAiAA=="},
    {"networking.k8s.io/v1", "NetworkPolicy",
        "{\"apiVersion\":\"networking.k8s.io/"
        "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"n\"},\"spec\":{\"podSelector\":{}"
        ",\"egress\":[{\"ports\":[{\"protocol\":\"TCP\",\"port\":\"http\"}]},{}]}}",
        "azhzAAolChRuZXR3b3JraW5nLms4cy5pby92MRINTmV0d29ya1BvbGljeRIuChEKAW4SABoAIgAqADIAOABCABIZCg"
        "AaEwoRCgNUQ1ASCggBEAAaBGh0dHAaABoAIgA="},
    {"v1", "Secret",
        "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"s\"},\"data\":{\"e\":"
        "\"\",\"x\":\"eQ==\"}}",
        "azhzAAoMCgJ2MRIGU2VjcmV0EiQKEQoBcxIAGgAiACoAMgA4AEIAEgUKAWUSABIGCgF4EgF5GgAaACIA"},
    {"authorization.k8s.io/v1", "SubjectAccessReview",
        "{\"apiVersion\":\"authorization.k8s.io/"
        "v1\",\"kind\":\"SubjectAccessReview\",\"spec\":{\"user\":\"u\",\"extra\":{\"k\":[\"a\","
        "\"b\"]},\"nonResourceAttributes\":{\"path\":\"/\"}}}",
        "azhzAAouChdhdXRob3JpemF0aW9uLms4cy5pby92MRITU3ViamVjdEFjY2Vzc1JldmlldxI3ChAKABIAGgAiACoAMg"
        "A4AEIAEhkSBQoBLxIAGgF1KgsKAWsSBgoBYQoBYjIAGggIABIAGgAgABoAIgA="},
};

static void test_known(void)
{
    struct error err;

    CU_ASSERT_EQUAL_FATAL(api_new(&api, &err), 0);
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        struct protobuf p;
        protobuf_init(&p);
        protobuf_object(&p, known[i].group_version, known[i].kind,
            api_find_schema(api, known[i].group_version, known[i].kind), str_of(known[i].json));
        base64_encode(protobuf_bytes(&p), &text);
        CU_ASSERT_STRING_EQUAL(text.data, known[i].bytes);
        if (strcmp(text.data, known[i].bytes))
            printf("%s\n", text.data);
        protobuf_done(&p);
    }
    api_free(api);
}

/* A frame of a watch: 4 bytes of length, type, the whole object; and a list in parts. */
static void test_frames(void)
{
    struct error err;
    struct protobuf p, item;

    CU_ASSERT_EQUAL_FATAL(api_new(&api, &err), 0);
    const struct schema *s = api_find_schema(api, "v1", "Namespace");
    protobuf_init(&p);
    protobuf_init(&item);
    protobuf_object(&p, "v1", "Namespace", s, STR("{\"metadata\":{\"name\":\"a\"}}"));
    size_t object = protobuf_bytes(&p).n;
    protobuf_event(&p, "ADDED");
    struct str frame = protobuf_bytes(&p);
    CU_ASSERT_EQUAL(frame.n, object + 4 + 7 + 4);
    CU_ASSERT(!memcmp(frame.p, "\0\0\0", 3) && (size_t)(unsigned char)frame.p[3] == frame.n - 4);
    CU_ASSERT(!memcmp(frame.p + 4, "\n\5ADDED\x12", 8));

    protobuf_item(&item, s, STR("{\"metadata\":{\"name\":\"a\"}}"));
    size_t bytes = protobuf_bytes(&item).n;
    protobuf_list_head(&p, api, "v1", "NamespaceList", STR("{\"resourceVersion\":\"7\"}"), bytes);
    /* raw: the metadata's 9 bytes and the items */
    autostrbuf struct strbuf head = STRBUF_EMPTY;
    strbuf_add(&head, STR("k8s\0\n\x13\n\2v1\x12\rNamespaceList\x12"));
    strbuf_add_char(&head, (char)(9 + bytes));
    strbuf_add(&head, STR("\n\7\n\0\x12\1"
                          "7\x1a\0"));
    CU_ASSERT(str_eq(protobuf_bytes(&p), strbuf_str(&head)));
    protobuf_done(&p);
    protobuf_done(&item);
    api_free(api);
}

const CU_TestInfo roundtrip_tests[] = {
    {"every kind comes back unchanged", test_all},
    {"bytes are upstream's", test_known},
    {"frames and lists", test_frames},
    CU_TEST_INFO_NULL,
};
