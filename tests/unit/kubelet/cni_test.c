/* CNI: configurations, plugin inputs, results, errors; and the program runner against real
 * programs. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "kubelet/network/cni.h"

static void test_config(void)
{
    autojson cJSON *list = NULL, *single = NULL, *bad = NULL;
    struct error err;

    CU_ASSERT_EQUAL_FATAL(
        cni_config_parse(
            STR("{\"name\":\"x\",\"cniVersion\":\"0.4.0\",\"plugins\":[{\"type\":\"ptp\"}]}"),
            &list, &err),
        0);
    CU_ASSERT_EQUAL_FATAL(
        cni_config_parse(
            STR("{\"name\":\"x\",\"cniVersion\":\"0.3.1\",\"type\":\"macvlan\"}"), &single, &err),
        0);
    CU_ASSERT_STRING_EQUAL(
        json_string(cJSON_GetArrayItem(json_get(single, "plugins"), 0), "type"), "macvlan");
    CU_ASSERT_STRING_EQUAL(json_string(single, "cniVersion"), "0.3.1");
    static const char *const refused[] = {"", "{}", "{\"name\":\"x\"}",
        "{\"name\":\"x\",\"plugins\":[]}", "{\"name\":\"x\",\"plugins\":[{}]}",
        "{\"name\":\"x\",\"type\":\"../evil\"}"};
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++)
        CU_ASSERT(cni_config_parse(str_of(refused[i]), &bad, &err) < 0);
}

static void test_input(void)
{
    autojson cJSON *list = cni_config_default("10.244.7.0/24", "/d/cni", 1450, true);
    autojson cJSON *previous = json_make("{\"ips\":[]}");
    struct port_mapping ports[] = {{8080, 80, "tcp", NULL}};
    struct pod_network net = {.ports = ports, .port_count = 1};
    const cJSON *plugins = json_get(list, "plugins");
    autojson cJSON *bridge = cni_plugin_input(list, cJSON_GetArrayItem(plugins, 0), &net, NULL);
    autojson cJSON *portmap =
        cni_plugin_input(list, cJSON_GetArrayItem(plugins, 1), &net, previous);

    CU_ASSERT_EQUAL(json_int64_at(bridge, "mtu", 0), 1450);
    CU_ASSERT_PTR_NULL(json_get(bridge, "runtimeConfig"));
    CU_ASSERT_STRING_EQUAL(json_string(bridge, "name"), "skiff");
    CU_ASSERT_STRING_EQUAL(json_string_at(bridge, "ipam.dataDir"), "/d/cni/networks");
    const cJSON *mapping = cJSON_GetArrayItem(json_path(portmap, "runtimeConfig.portMappings"), 0);
    CU_ASSERT_EQUAL(json_int64_at(mapping, "hostPort", 0), 8080);
    CU_ASSERT_PTR_NOT_NULL(json_get(portmap, "prevResult"));
    CU_ASSERT_PTR_NULL(json_get(portmap, "capabilities"));
}

static void test_result(void)
{
    static const struct {
        const char *text, *ip, *other; /* ip NULL: refused */
    } cases[] = {
        {"{\"cniVersion\":\"0.4.0\",\"ips\":[{\"address\":\"10.1.2.3/24\",\"version\":\"4\"}]}",
            "10.1.2.3", ""},
        {"{\"ips\":[{\"address\":\"10.1.2.3/24\"},{\"address\":\"fd00::5/64\"}]}", "10.1.2.3",
            "fd00::5"},
        {"{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.9.9.9/16\"}}", "10.9.9.9", ""},
        {"{}", "", ""},
        {"[]", NULL, NULL},
        {"{\"ips\":[{\"address\":\"nonsense\"}]}", NULL, NULL},
        {"{\"ips\":[{}]}", NULL, NULL},
        {"", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct network_result result = {0};
        struct error err;
        int r = cni_result_parse(str_of(cases[i].text), NULL, &result, &err);

        CU_ASSERT_EQUAL(r == 0, cases[i].ip != NULL);
        if (r < 0 || !cases[i].ip)
            continue;
        CU_ASSERT_STRING_EQUAL(result.ip, cases[i].ip);
        CU_ASSERT_STRING_EQUAL(result.ip_other, cases[i].other);
    }
}

static void test_error(void)
{
    struct error err;

    cni_error_parse("bridge", "ADD",
        STR("{\"code\":7,\"msg\":\"no address\",\"details\":\"pool is full\"}"), &err);
    CU_ASSERT_STRING_EQUAL(
        err.text, "plugin type=\"bridge\" failed (add): no address; pool is full");
    cni_error_parse("bridge", "DEL", STR("panic: oh no\n"), &err);
    CU_ASSERT_STRING_EQUAL(err.text, "plugin type=\"bridge\" failed (del): panic: oh no");
}

static void test_spawn(void)
{
    char *const cat[] = {(char *)"cat", NULL}, *const fail[] = {(char *)"false", NULL};
    char *const slow[] = {(char *)"sleep", (char *)"20", NULL};
    autostrbuf struct strbuf out = STRBUF_EMPTY, big = STRBUF_EMPTY;
    struct error err;

    strbuf_init(&out, 0);
    strbuf_init(&big, 0);
    for (int i = 0; i < 40000; i++)
        strbuf_addc(&big, "0123456789");
    CU_ASSERT_EQUAL(
        spawn_run("/bin/cat", cat, NULL, strbuf_str(&big), 20 * NS_PER_S, &out, &err), 0);
    CU_ASSERT(str_eq(strbuf_str(&out), strbuf_str(&big)));
    CU_ASSERT_EQUAL(
        spawn_run("/bin/false", fail, NULL, (struct str){0}, 20 * NS_PER_S, &out, &err), 1);
    CU_ASSERT_EQUAL(spawn_run("/nowhere/x", cat, NULL, (struct str){0}, 20 * NS_PER_S, &out, &err),
        -ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(
        spawn_run("/bin/sleep", slow, NULL, (struct str){0}, 50 * NS_PER_MS, &out, &err),
        -ERR_TIMEOUT);
}

extern const CU_TestInfo cni_tests[];
const CU_TestInfo cni_tests[] = {
    {"configurations", test_config},
    {"plugin input", test_input},
    {"results", test_result},
    {"errors", test_error},
    {"running programs", test_spawn},
    CU_TEST_INFO_NULL,
};
