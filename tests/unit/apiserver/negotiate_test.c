/* Accept and Content-Type: apiserver/request/negotiate.c. */
#include <CUnit/CUnit.h>

#include "apiserver/request/negotiate.h"
#include "apiserver/server.h"

static const struct {
    const char *verb, *accept;
    int media, form; /* media -1: 406 */
    const char *version;
} cases[] = {
    {"list", "", MEDIA_JSON, FORM_OBJECT, "v1"},
    {"list", "*/*", MEDIA_JSON, FORM_OBJECT, "v1"},
    {"list", "application/*", MEDIA_JSON, FORM_OBJECT, "v1"},
    {"get", "application/yaml", MEDIA_YAML, FORM_OBJECT, "v1"},
    {"watch", "application/yaml", -1, 0, ""},
    {"get", "text/html", -1, 0, ""},
    {"get", "nonsense", -1, 0, ""},
    {"get", "application/json;q=0", -1, 0, ""},
    {"get", "application/json;q=0.2, application/yaml;q=0.9", MEDIA_YAML, FORM_OBJECT, "v1"},
    {"get", "application/vnd.kubernetes.protobuf,application/json", MEDIA_PROTOBUF, FORM_OBJECT,
        "v1"},
    {"get", "application/json, application/vnd.kubernetes.protobuf", MEDIA_JSON, FORM_OBJECT, "v1"},
    {"get", "*/*, application/vnd.kubernetes.protobuf", MEDIA_PROTOBUF, FORM_OBJECT, "v1"},
    {"get", "application/vnd.kubernetes.protobuf;q=0.5, application/*;q=0.6", MEDIA_JSON,
        FORM_OBJECT, "v1"},
    {"watch", "application/vnd.kubernetes.protobuf;stream=watch", MEDIA_PROTOBUF, FORM_OBJECT,
        "v1"},
    {"watch", "application/json;stream=watch;charset=utf-8", MEDIA_JSON, FORM_OBJECT, "v1"},
    {"get", "application/cbor", -1, 0, ""},
    {"list", "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", -1, 0, ""},
    {"list",
        "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,"
        "application/vnd.kubernetes.protobuf",
        MEDIA_PROTOBUF, FORM_OBJECT, "v1"},
    {"list", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        MEDIA_PROTOBUF, FORM_METADATA, "v1"},
    {"list", "application/yaml;as=Table;g=meta.k8s.io;v=v1", MEDIA_YAML, FORM_TABLE, "v1"},
    {"list",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/"
        "json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        MEDIA_JSON, FORM_TABLE, "v1"},
    {"list", "application/json;as=Table;v=v1beta1;g=meta.k8s.io", MEDIA_JSON, FORM_TABLE,
        "v1beta1"},
    {"list", "application/json;as=Table;v=v2;g=meta.k8s.io", -1, 0, ""},
    {"list", "application/json;as=Table;v=v1;g=other,application/json", MEDIA_JSON, FORM_OBJECT,
        "v1"},
    {"create", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", MEDIA_JSON,
        FORM_TABLE, "v1"},
    {"list", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", MEDIA_JSON,
        FORM_METADATA, "v1"},
    {"watch", "application/json;as=\"PartialObjectMetadata\" ; g=meta.k8s.io ;v=v1", MEDIA_JSON,
        FORM_METADATA, "v1"},
};

static void test_accept(void)
{
    struct server server = {.env = env_new_real()};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct request *q = request_new(&server);
        struct http1_header header = {STR("accept"), str_of(cases[i].accept)};
        q->verb = cases[i].verb;
        q->headers = &header;
        q->header_count = 1;
        enum stage_result r = negotiate_stage(q);
        if (cases[i].media < 0) {
            CU_ASSERT_EQUAL(r, STAGE_ERROR);
            CU_ASSERT_EQUAL(q->err.code, ERR_NOT_ACCEPTABLE);
        } else {
            CU_ASSERT_EQUAL(r, STAGE_DONE);
            CU_ASSERT_EQUAL((int)q->media, cases[i].media);
            CU_ASSERT_EQUAL((int)q->form, cases[i].form);
            CU_ASSERT_STRING_EQUAL(q->form_version, cases[i].version);
        }
        request_free(q);
    }
    env_free(server.env);
}

static void test_order(void)
{
    struct accept_clause c[ACCEPT_CLAUSES_MAX];
    size_t n = accept_parse(STR("a/a;q=0.5,b/b,c/c;q=0.75,d/d,e/e;q=0"), c, ARRAY_COUNT(c));

    CU_ASSERT_EQUAL_FATAL(n, 4);
    CU_ASSERT(str_eqc(c[0].type, "b/b"));
    CU_ASSERT(str_eqc(c[1].type, "d/d"));
    CU_ASSERT(str_eqc(c[2].type, "c/c"));
    CU_ASSERT(str_eqc(c[3].type, "a/a"));
}

static void test_content_type(void)
{
    static const struct {
        const char *header;
        bool otherwise_json;
        enum body_type type;
    } types[] = {
        {"", true, BODY_JSON},
        {"", false, BODY_OTHER},
        {"application/json", false, BODY_JSON},
        {"Application/JSON; charset=utf-8", false, BODY_JSON},
        {"application/yaml", true, BODY_YAML},
        {"application/vnd.kubernetes.protobuf", true, BODY_PROTOBUF},
        {"application/strategic-merge-patch+json", false, BODY_STRATEGIC_PATCH},
        {"application/apply-patch+yaml", false, BODY_APPLY_PATCH},
        {"text/plain", true, BODY_OTHER},
    };
    struct server server = {.env = env_new_real()};

    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        struct request *q = request_new(&server);
        struct http1_header header = {STR("Content-Type"), str_of(types[i].header)};
        q->headers = &header;
        q->header_count = 1;
        CU_ASSERT_EQUAL(body_type_of(q, types[i].otherwise_json), types[i].type);
        request_free(q);
    }
    env_free(server.env);
}

static void test_gzip(void)
{
    static const struct {
        const char *header;
        bool accepts;
    } headers[] = {{"", false}, {"gzip", true}, {"br, gzip", true}, {"gzip;q=0", false},
        {"gzip; q=0.5", true}, {"identity", false}};
    struct server server = {.env = env_new_real()};

    for (size_t i = 0; i < ARRAY_COUNT(headers); i++) {
        struct request *q = request_new(&server);
        struct http1_header header = {STR("Accept-Encoding"), str_of(headers[i].header)};
        q->headers = &header;
        q->header_count = 1;
        CU_ASSERT_EQUAL(accepts_gzip(q), headers[i].accepts);
        request_free(q);
    }
    env_free(server.env);
}

const CU_TestInfo negotiate_tests[] = {
    {"accept", test_accept},
    {"order by q", test_order},
    {"content types", test_content_type},
    {"gzip", test_gzip},
    CU_TEST_INFO_NULL,
};
