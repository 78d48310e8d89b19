/* Services and slices to rules. 10.96.0.9 is a600009, 10.1.0.1 is a010001. */
#include <CUnit/CUnit.h>

#include "common/str.h"
#include "tests/unit/proxy/objects.h"

#define PORTS "\"ports\":[{\"name\":\"web\",\"port\":80,\"protocol\":\"TCP\"}]"
#define NODE_PORTS \
    "\"ports\":[{\"name\":\"web\",\"port\":80,\"nodePort\":30000,\"protocol\":\"TCP\"}]"
#define IP "\"clusterIP\":\"10.96.0.9\","

static const struct {
    const char *what, *spec, *endpoints, *rules;
} cases[] = {
    {"one endpoint, found by port name", IP PORTS, "[{\"addresses\":[\"10.1.0.1\"]}]",
        "cluster_ips a600009/0/0[0] 0:0 \n"
        "endpoints a600009/6/80[0] 0:0 endpoint a010001:8080\n"
        "hairpin a010001/0/0[0] 0:0 \n"
        "services a600009/6/80[0] 0:0 chain 0 n=1 a=0\n"},
    {"headless", "\"clusterIP\":\"None\"," PORTS, "[{\"addresses\":[\"10.1.0.1\"]}]", ""},
    {"external name", "\"type\":\"ExternalName\",\"externalName\":\"x.org\"", "[]", ""},
    {"doubles and order", IP PORTS,
        "[{\"addresses\":[\"10.1.0.2\"]},{\"addresses\":[\"10.1.0.1\"]},{\"addresses\":[\"10.1.0."
        "2\"]}]",
        "cluster_ips a600009/0/0[0] 0:0 \n"
        "endpoints a600009/6/80[0] 0:0 endpoint a010001:8080\n"
        "endpoints a600009/6/80[1] 0:0 endpoint a010002:8080\n"
        "hairpin a010001/0/0[0] 0:0 \nhairpin a010002/0/0[0] 0:0 \n"
        "services a600009/6/80[0] 0:0 chain 0 n=2 a=0\n"},
    {"not ready", IP PORTS, "[{\"addresses\":[\"10.1.0.1\"],\"conditions\":{\"ready\":false}}]",
        "cluster_ips a600009/0/0[0] 0:0 \nno_endpoints a600009/6/80[0] 0:0 refuse\n"},
    {"ready before terminating", IP PORTS,
        "[{\"addresses\":[\"10.1.0.1\"],\"conditions\":{\"ready\":false,\"serving\":true,"
        "\"terminating\":true}},"
        "{\"addresses\":[\"10.1.0.2\"],\"conditions\":{\"ready\":true}}]",
        "cluster_ips a600009/0/0[0] 0:0 \n"
        "endpoints a600009/6/80[0] 0:0 endpoint a010002:8080\n"
        "hairpin a010002/0/0[0] 0:0 \n"
        "services a600009/6/80[0] 0:0 chain 0 n=1 a=0\n"},
    {"node port, policy Local, none here", IP "\"externalTrafficPolicy\":\"Local\"," NODE_PORTS,
        "[{\"addresses\":[\"10.1.0.1\"],\"nodeName\":\"b\"}]",
        "cluster_ips a600009/0/0[0] 0:0 \n"
        "endpoints a600009/6/80[0] 0:0 endpoint a010001:8080\n"
        "hairpin a010001/0/0[0] 0:0 \n"
        "no_endpoints_nodeports 0/6/30000[0] 0:0 drop\n"
        "services a600009/6/80[0] 0:0 chain 0 n=1 a=0\n"},
    {"node port with affinity", IP "\"sessionAffinity\":\"ClientIP\"," NODE_PORTS,
        "[{\"addresses\":[\"10.1.0.1\"]}]",
        "cluster_ips a600009/0/0[0] 0:0 \n"
        "endpoints 0/6/30000[0] 0:0 endpoint a010001:8080\n"
        "endpoints a600009/6/80[0] 0:0 endpoint a010001:8080\n"
        "hairpin a010001/0/0[0] 0:0 \nhairpin a010001/0/0[0] 0:0 \n"
        "members 0/6/30000[0] a010001:8080 \nmembers a600009/6/80[0] a010001:8080 \n"
        "nodeports 0/6/30000[0] 0:0 chain 3 n=1 a=10800\n"
        "services a600009/6/80[0] 0:0 chain 0 n=1 a=10800\n"},
    {"bad address", IP PORTS, "[{\"addresses\":[\"fe80::1\"]},{\"addresses\":[]}]",
        "cluster_ips a600009/0/0[0] 0:0 \nno_endpoints a600009/6/80[0] 0:0 refuse\n"},
};

static void table(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct service *service = test_service(cases[i].spec);
        const struct endpoint_slice *slice = test_slice(cases[i].endpoints);
        struct rules rules = {0};
        compile_service(service, &slice, 1, "a", &rules);
        autofree char *text = test_rules_text(&rules);
        if (!c_eq(text, cases[i].rules))
            printf("%s:\n%s", cases[i].what, text);
        CU_ASSERT_STRING_EQUAL(text, cases[i].rules);
        rules_done(&rules);
        projected_unref(service);
        projected_unref(slice);
    }
}

const CU_TestInfo compile_tests[] = {
    {"table of services", table},
    CU_TEST_INFO_NULL,
};
