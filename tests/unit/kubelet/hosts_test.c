/* /etc/hosts, resolv.conf and host names of pods. */
#include <CUnit/CUnit.h>

#include "kubelet/sync.h"

static void check_resolv(const char *spec_text, const char *expected)
{
    autojson cJSON *spec = NULL;
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    struct error err;
    const struct resolver resolver = {"10.96.0.10", "cluster.local", "prod",
        STR("# comment\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch corp.example "
            "lab.example\noptions timeout:2\n")};

    strbuf_init(&out, 0);
    CU_ASSERT_EQUAL_FATAL(json_parse(str_of(spec_text), &spec, &err), 0);
    resolv_print(spec, &resolver, &out);
    CU_ASSERT_STRING_EQUAL(out.data, expected);
}

static void test_resolv(void)
{
    static const char cluster[] =
        "search prod.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example\n"
        "nameserver 10.96.0.10\noptions ndots:5\n";
    static const char host[] =
        "search corp.example lab.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"
        "options timeout:2\n";

    check_resolv("{}", cluster);
    check_resolv("{\"dnsPolicy\":\"ClusterFirst\"}", cluster);
    check_resolv("{\"dnsPolicy\":\"ClusterFirst\",\"hostNetwork\":true}", host);
    check_resolv("{\"dnsPolicy\":\"ClusterFirstWithHostNet\",\"hostNetwork\":true}", cluster);
    check_resolv("{\"dnsPolicy\":\"Default\"}", host);
    check_resolv("{\"dnsPolicy\":\"None\",\"dnsConfig\":{\"nameservers\":[\"9.9.9.9\"],\"options\":"
                 "[{\"name\":\"ndots\",\"value\":\"1\"}]}}",
        "nameserver 9.9.9.9\noptions ndots:1\n");
    check_resolv("{\"dnsConfig\":{\"searches\":[\"x.y\"],\"options\":[{\"name\":\"ndots\","
                 "\"value\":\"2\"},{\"name\":\"edns0\"}]}}",
        "search prod.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example "
        "x.y\n"
        "nameserver 10.96.0.10\noptions ndots:2 edns0\n");
}

static void test_hosts(void)
{
    autojson cJSON *spec =
        json_make("{\"hostAliases\":[{\"ip\":\"1.2.3.4\",\"hostnames\":[\"a\",\"b\"]}]}");
    autostrbuf struct strbuf out = STRBUF_EMPTY;

    strbuf_init(&out, 0);
    hosts_print(spec, "10.1.1.1", "", "web-0", "web.prod.svc.cluster.local", &out);
    CU_ASSERT(str_starts(strbuf_str(&out), STR("# Kubernetes-managed hosts file.\n")));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(out.data, "\n10.1.1.1\tweb-0.web.prod.svc.cluster.local\tweb-0\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\n1.2.3.4\ta\tb\n"));
}

static void test_hostname(void)
{
    autojson cJSON *named = json_make("{\"hostname\":\"db\"}"), *plain = json_make("{}");
    autofree char *one = pod_hostname(named, "pod"), *two = pod_hostname(plain, "pod");
    autofree char *cut =
        pod_hostname(plain, "a123456789b123456789c123456789d123456789e123456789f123456789-3-4");

    CU_ASSERT_STRING_EQUAL(one, "db");
    CU_ASSERT_STRING_EQUAL(two, "pod");
    CU_ASSERT_EQUAL(strlen(cut), 62); /* not longer than 63, not ending in '-' */
}

extern const CU_TestInfo hosts_tests[];
const CU_TestInfo hosts_tests[] = {
    {"resolv.conf", test_resolv},
    {"hosts file", test_hosts},
    {"host names", test_hostname},
    CU_TEST_INFO_NULL,
};
