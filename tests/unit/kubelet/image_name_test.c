/* Image names: what is a reference, whose registry it is, which credentials fit. */
#include <CUnit/CUnit.h>

#include "common/base64.h"
#include "kubelet/pod.h"

static const struct {
    const char *image, *registry; /* NULL: not a valid name */
} names[] = {
    {"busybox", "index.docker.io"},
    {"busybox:1.36", "index.docker.io"},
    {"docker.io/library/busybox", "index.docker.io"},
    {"team/app_x.y--z:v1.2.3-rc_1", "index.docker.io"},
    {"localhost/app", "localhost"},
    {"127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000"},
    {"registry.example.com/app", "registry.example.com"},
    {"app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "index.docker.io"},
    {"app:v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "index.docker.io"},
    {"", NULL},
    {"Busybox", NULL},
    {"a//b", NULL},
    {"/a", NULL},
    {"a/", NULL},
    {"a:", NULL},
    {"a:b c", NULL},
    {"-a", NULL},
    {"a-", NULL},
    {"a...b", NULL},
    {"a@sha256:xyz", NULL},
    {"a:-tag", NULL},
};

static void test_names(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        autostrbuf struct strbuf registry = STRBUF_EMPTY;
        struct error err;

        strbuf_init(&registry, 0);
        int r = image_name_check(names[i].image, &err);
        CU_ASSERT_EQUAL(r == 0, names[i].registry != NULL);
        if (!names[i].registry)
            continue;
        image_registry(names[i].image, &registry);
        CU_ASSERT_STRING_EQUAL(registry.data, names[i].registry);
    }
}

static void test_auth(void)
{
    autojson cJSON *config = json_make(
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"username\":\"hub\",\"password\":\"h\"},"
        "\"reg.io:5000\":{\"auth\":\"dTpwOng=\"},\"reg.io:5000/"
        "team\":{\"username\":\"team\",\"password\":\"t\"}}}");
    static const struct {
        const char *image, *user; /* NULL: none fits */
    } cases[] = {{"busybox", "hub"}, {"reg.io:5000/x", "u"}, {"reg.io:5000/team/x", "team"},
        {"reg.io:5000/teamx/x", "u"}, {"other.io/x", NULL}};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autostrbuf struct strbuf auth = STRBUF_EMPTY, plain = STRBUF_EMPTY;
        autojson cJSON *tree = NULL;
        struct error err;

        strbuf_init(&auth, 0);
        strbuf_init(&plain, 0);
        CU_ASSERT_EQUAL(image_auth(config, cases[i].image, &auth), cases[i].user != NULL);
        if (!cases[i].user)
            continue;
        while (auth.n > 0 && auth.data[auth.n - 1] == '=')
            auth.data[--auth.n] = '\0';
        CU_ASSERT_EQUAL_FATAL(base64url_decode(strbuf_str(&auth), &plain, &err), 0);
        CU_ASSERT_EQUAL_FATAL(json_parse(strbuf_str(&plain), &tree, &err), 0);
        CU_ASSERT_STRING_EQUAL(json_string(tree, "username"), cases[i].user);
    }
}

extern const CU_TestInfo image_name_tests[];
const CU_TestInfo image_name_tests[] = {
    {"names", test_names},
    {"credentials", test_auth},
    CU_TEST_INFO_NULL,
};
