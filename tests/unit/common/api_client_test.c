/* Tests of common/api_client.c: paths, errors from Status, repeats, lists in pages, delete options.
 */
#include "common/api_client.h"

#include <CUnit/CUnit.h>

#include "common/time.h"
#include "tests/unit/common/raw_server.h"

struct rig {
    struct env *env;
    struct raw_server *server;
    struct api_client *client;
    struct error err;
    struct lock lock;
    struct strbuf seen; /* all requests, one after the other */
    int requests;
    const char *const *answers; /* the last is repeated; "" closes the connection */
    int answer_count;
};

static void script(void *arg, int fd, int index)
{
    struct rig *r = arg;
    struct strbuf request;

    strbuf_init(&request, 0);
    while (raw_read_request(fd, &request)) {
        env_lock(r->env, &r->lock);
        strbuf_add(&r->seen, strbuf_str(&request));
        int i = r->requests < r->answer_count ? r->requests : r->answer_count - 1;
        r->requests++;
        env_unlock(r->env, &r->lock);
        if (!r->answers[i][0])
            break;
        raw_send(fd, r->answers[i]);
    }
    strbuf_done(&request);
}

static void rig_init(struct rig *r, const char *const *answers, int count)
{
    char url[64];
    struct http_client *http;

    *r = (struct rig){.env = env_new_real(), .answers = answers, .answer_count = count};
    env_lock_init(&r->lock);
    strbuf_init(&r->seen, 0);
    r->server = raw_server_new(r->env, script, r);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", raw_server_port(r->server));
    CU_ASSERT_EQUAL_FATAL(
        http_client_new(r->env, &(struct http_client_config){.base_url = url}, &http, &r->err), 0);
    r->client = api_client_new(r->env, http);
}

static void rig_done(struct rig *r)
{
    api_client_free(r->client);
    raw_server_free(r->server);
    strbuf_done(&r->seen);
    env_lock_done(&r->lock);
    env_free(r->env);
}

static bool saw(struct rig *r, const char *text)
{
    env_lock(r->env, &r->lock);
    bool found = strstr(r->seen.data, text);
    env_unlock(r->env, &r->lock);
    return found;
}

/* An answer with the body's length; kept until the process ends. */
static const char *answer(int status, const char *headers, const char *body)
{
    static char *kept[64];
    static size_t count;

    free(kept[count % ARRAY_COUNT(kept)]);
    kept[count % ARRAY_COUNT(kept)] = str_format(
        "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
    return kept[count++ % ARRAY_COUNT(kept)];
}

static const struct api_ref pod = {
    .group_version = "v1", .plural = "pods", .namespace_ = "default", .name = "a"};

static void check_path(const struct api_ref *ref, const char *wanted)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;

    api_path(ref, &path);
    CU_ASSERT_STRING_EQUAL(path.data, wanted);
}

static void test_paths(void)
{
    check_path(&pod, "/api/v1/namespaces/default/pods/a");
    check_path(&(struct api_ref){.group_version = "v1", .plural = "nodes"}, "/api/v1/nodes");
    check_path(&(struct api_ref){.group_version = "apps/v1",
                   .plural = "deployments",
                   .namespace_ = "x",
                   .name = "y",
                   .subresource = "scale"},
        "/apis/apps/v1/namespaces/x/deployments/y/scale");
    check_path(&(struct api_ref){.group_version = "rbac.authorization.k8s.io/v1",
                   .plural = "clusterroles",
                   .name = "system:a/b"},
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aa%2Fb");
}

static void test_get_and_errors(void)
{
    struct rig r;
    const char *answers[] = {
        answer(200, "", "{\"kind\":\"Pod\"}"),
        answer(404, "",
            "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"message\":\"pods \\\"a\\\" not "
            "found\",\"code\":404}"),
        answer(
            409, "", "{\"kind\":\"Status\",\"reason\":\"AlreadyExists\",\"message\":\"exists\"}"),
        answer(500, "", "plain words"),
        answer(502, "", ""),
        answer(200, "", "not json"),
        answer(301, "Location: /x\r\n", ""),
    };
    autojson cJSON *tree = NULL;

    rig_init(&r, answers, ARRAY_COUNT(answers));
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &tree, &r.err), 0);
    CU_ASSERT_STRING_EQUAL(json_string(tree, "kind"), "Pod");
    CU_ASSERT(saw(&r, "GET /api/v1/namespaces/default/pods/a HTTP/1.1\r\n"));
    CU_ASSERT(saw(&r, "\r\nAccept: application/json\r\n"));
    cJSON *none = NULL;
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &none, &r.err), -ERR_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(r.err.text, "pods \"a\" not found");
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &none, &r.err), -ERR_ALREADY_EXISTS);
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &none, &r.err), -ERR_INTERNAL);
    CU_ASSERT_STRING_EQUAL(r.err.text, "the server answered 500: plain words");
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &none, &r.err), -ERR_BAD_GATEWAY);
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &none, &r.err), -ERR_BAD_GATEWAY);
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &none, &r.err), -ERR_BAD_GATEWAY);
    CU_ASSERT_PTR_NULL(none);
    rig_done(&r);
}

static void test_writes(void)
{
    struct rig r;
    const char *answers[] = {answer(200, "", "{}")};
    autojson cJSON *body = json_make("{\"a\":1}");
    autojson cJSON *tree = NULL;

    rig_init(&r, answers, ARRAY_COUNT(answers));
    CU_ASSERT_EQUAL(api_create(r.client, &pod, body, &tree, &r.err), 0);
    CU_ASSERT(saw(&r, "POST /api/v1/namespaces/default/pods HTTP/1.1\r\n"));
    CU_ASSERT(saw(&r, "\r\nContent-Type: application/json\r\n"));
    CU_ASSERT_EQUAL(api_update(r.client, &pod, body, NULL, &r.err), 0);
    CU_ASSERT(saw(&r, "PUT /api/v1/namespaces/default/pods/a HTTP/1.1\r\n"));
    CU_ASSERT_EQUAL(api_patch(r.client, &pod, PATCH_STRATEGIC, body, NULL, &r.err), 0);
    CU_ASSERT(saw(&r, "\r\nContent-Type: application/strategic-merge-patch+json\r\n"));
    CU_ASSERT_EQUAL(api_delete(r.client, &pod, NULL, NULL, &r.err), 0);
    CU_ASSERT(!saw(&r, "DeleteOptions"));
    struct api_delete_options options = {
        .uid = "u", .resource_version = "7", .propagation = "Foreground", .grace_seconds = 0};
    CU_ASSERT_EQUAL(api_delete(r.client, &pod, &options, NULL, &r.err), 0);
    CU_ASSERT(saw(&r,
        "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"preconditions\":{\"uid\":\"u\","
        "\"resourceVersion\":\"7\"},\"propagationPolicy\":\"Foreground\",\"gracePeriodSeconds\":"
        "0}"));
    rig_done(&r);
}

static void test_repeats(void)
{
    struct rig r;
    const char *answers[] = {
        answer(429, "Retry-After: 0\r\n", ""),
        answer(503, "Retry-After: 0\r\n", ""),
        "",
        "",
        answer(200, "", "{}"),
        answer(
            503, "", "{\"kind\":\"Status\",\"reason\":\"ServiceUnavailable\",\"message\":\"no\"}"),
        "",
        answer(429, "Retry-After: 30\r\n", ""),
        answer(200, "", "{}"),
    };
    autojson cJSON *body = json_make("{}");
    cJSON *tree = NULL;

    rig_init(&r, answers, ARRAY_COUNT(answers));
    CU_ASSERT_EQUAL(api_get(r.client, &pod, &tree, &r.err), 0); /* 429, 503, broken twice, 200 */
    cJSON_Delete(tree);
    CU_ASSERT(r.requests >= 5);
    CU_ASSERT_EQUAL(
        api_get(r.client, &pod, &tree, &r.err), -ERR_UNAVAILABLE); /* without Retry-After */
    CU_ASSERT_EQUAL(
        api_create(r.client, &pod, body, NULL, &r.err), -ERR_CLOSED); /* a write, lost */
    CU_ASSERT_EQUAL(api_create(r.client, &pod, body, NULL, &r.err), -ERR_TOO_MANY_REQUESTS);
    CU_ASSERT_EQUAL(api_create(r.client, &pod, body, NULL, &r.err), 0);
    rig_done(&r);
}

static void test_list(void)
{
    struct rig r;
    const char *answers[] = {
        answer(200, "",
            "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"a "
            "b\",\"remainingItemCount\":2},\"items\":[{\"n\":1}]}"),
        answer(200, "",
            "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"c\"},"
            "\"items\":[]}"),
        answer(200, "",
            "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"n\":2},{"
            "\"n\":3}]}"),
        answer(200, "",
            "{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"x\"},\"items\":[{\"n\":1}]}"),
        answer(410, "", "{\"kind\":\"Status\",\"reason\":\"Expired\",\"message\":\"old\"}"),
        answer(200, "", "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[{\"n\":7}]}"),
    };
    const struct api_ref pods = {.group_version = "v1", .plural = "pods"};
    cJSON *tree = NULL;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    rig_init(&r, answers, ARRAY_COUNT(answers));
    CU_ASSERT_EQUAL_FATAL(api_list(r.client, &pods, "labelSelector=a%3Db", &tree, &r.err), 0);
    json_print(tree, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":"
                                      "\"9\"},\"items\":[{\"n\":1},{\"n\":2},{\"n\":3}]}");
    CU_ASSERT(saw(&r, "GET /api/v1/pods?labelSelector=a%3Db&limit=500&continue=a%20b HTTP/1.1"));
    cJSON_Delete(tree);
    tree = NULL;
    CU_ASSERT_EQUAL_FATAL(api_list(r.client, &pods, NULL, &tree, &r.err), 0);
    CU_ASSERT_EQUAL(cJSON_GetArraySize(json_get(tree, "items")), 1);
    cJSON_Delete(tree);
    rig_done(&r);
}

const CU_TestInfo api_client_tests[] = {
    {"paths", test_paths},
    {"get and errors", test_get_and_errors},
    {"writes", test_writes},
    {"repeats", test_repeats},
    {"lists in pages", test_list},
    CU_TEST_INFO_NULL,
};
