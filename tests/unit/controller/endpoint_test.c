/* Pods behind Services: selection, ports, addresses. */
#include <CUnit/CUnit.h>

#include "controller/endpoint.h"
#include "tests/unit/controller/objects.h"

static void test_ports(void)
{
    const struct pod *pod =
        object_of(KIND_POD, "{\"metadata\":{\"name\":\"p\",\"labels\":{\"app\":\"x\",\"v\":\"1\"}},"
                            "\"spec\":{\"containers\":[{\"name\":\"c\","
                            "\"ports\":[{\"name\":\"web\",\"containerPort\":8080,\"protocol\":"
                            "\"TCP\"},{\"name\":\"web\","
                            "\"containerPort\":9090,\"protocol\":\"UDP\"}]}]},\"status\":{"
                            "\"podIP\":\"10.0.0.1\",\"podIPs\":["
                            "{\"ip\":\"10.0.0.1\"},{\"ip\":\"fd00::1\"}]}}");
    const struct service *service =
        object_of(KIND_SERVICE, "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"selector\":{\"app\":"
                                "\"x\"},\"ports\":[{\"name\":\"a\",\"port\":80,"
                                "\"targetPort\":\"web\",\"protocol\":\"UDP\"},{\"name\":\"b\","
                                "\"port\":81,\"targetPort\":7000,\"protocol\":"
                                "\"TCP\"},{\"name\":\"c\",\"port\":82,\"protocol\":\"TCP\"},{"
                                "\"name\":\"d\",\"port\":83,\"targetPort\":"
                                "\"missing\",\"protocol\":\"TCP\"}]}}");
    autojson cJSON *ports = pod_ports_json(pod, service, true);
    autojson cJSON *want = json_make(
        "[{\"name\":\"a\",\"port\":9090,\"protocol\":\"UDP\"},{\"name\":\"b\",\"port\":7000,"
        "\"protocol\":\"TCP\"},{\"name\":\"c\",\"port\":82,\"protocol\":\"TCP\"}]");

    CU_ASSERT_TRUE(json_equal(ports, want));
    CU_ASSERT_TRUE(service_selects(service, pod));
    CU_ASSERT_STRING_EQUAL(pod_address(pod, "IPv4"), "10.0.0.1");
    CU_ASSERT_STRING_EQUAL(pod_address(pod, "IPv6"), "fd00::1");
    projected_unref(pod);
    projected_unref(service);
}

static void test_selection(void)
{
    const struct pod *pod = object_of(KIND_POD, "{\"metadata\":{\"labels\":{\"app\":\"x\"}}}");
    static const struct {
        const char *spec;
        bool selects, has_endpoints;
    } cases[] = {
        {"{}", false, false},
        {"{\"selector\":{\"app\":\"x\"}}", true, true},
        {"{\"selector\":{\"app\":\"y\"}}", false, true},
        {"{\"selector\":{\"app\":\"x\",\"b\":\"c\"}}", false, true},
        {"{\"type\":\"ExternalName\",\"selector\":{\"app\":\"x\"}}", true, false},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct service *service = object_of(KIND_SERVICE, "{\"spec\":%s}", cases[i].spec);
        CU_ASSERT_EQUAL(service_selects(service, pod), cases[i].selects);
        CU_ASSERT_EQUAL(service_has_endpoints(service), cases[i].has_endpoints);
        projected_unref(service);
    }
    projected_unref(pod);
}

const CU_TestInfo endpoint_tests[] = {
    {"ports as a pod has them", test_ports},
    {"which Services select", test_selection},
    CU_TEST_INFO_NULL,
};
