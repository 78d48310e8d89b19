/* What a cached pod costs. */
#include <CUnit/CUnit.h>

#include "tests/unit/controller/objects.h"

/* As the API server shows a running pod of a Deployment. */
static const char *const running =
    "{\"metadata\":{\"name\":\"web-7c5ddbdf54-x2x4k\",\"generateName\":\"web-7c5ddbdf54-\","
    "\"namespace\":"
    "\"default\",\"uid\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\",\"resourceVersion\":\"123456\","
    "\"generation\":1,\"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{\"app\":\"web\","
    "\"pod-template-hash\":\"7c5ddbdf54\"},\"ownerReferences\":[{\"apiVersion\":\"apps/"
    "v1\",\"kind\":"
    "\"ReplicaSet\",\"name\":\"web-7c5ddbdf54\",\"uid\":\"6ba7b811-9dad-11d1-80b4-00c04fd430c8\","
    "\"controller\":true,\"blockOwnerDeletion\":true}]},\"spec\":{\"volumes\":[{\"name\":"
    "\"kube-api-access-abcde\",\"projected\":{}}],\"containers\":[{\"name\":\"web\",\"image\":"
    "\"nginx\",\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}]}],\"nodeName\":\"node-1\","
    "\"tolerations\":[{\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\",\"effect\":"
    "\"NoExecute\",\"tolerationSeconds\":300},{\"key\":\"node.kubernetes.io/"
    "unreachable\",\"operator\":"
    "\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}]},\"status\":{\"phase\":"
    "\"Running\","
    "\"podIP\":\"10.244.0.17\",\"podIPs\":[{\"ip\":\"10.244.0.17\"}],\"conditions\":["
    "{\"type\":\"PodReadyToStartContainers\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-"
    "01T00:00:01Z\"},"
    "{\"type\":\"Initialized\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:01Z\"}"
    ","
    "{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:01Z\"},"
    "{\"type\":\"ContainersReady\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:"
    "01Z\"},"
    "{\"type\":\"PodScheduled\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:"
    "01Z\"}],"
    "\"containerStatuses\":[{\"name\":\"web\",\"ready\":true,\"restartCount\":0,\"state\":{"
    "\"running\":{}}}]}}";

static void test_bytes(void)
{
    const struct pod *pod = object_of(KIND_POD, "%s", running);

    CU_ASSERT(projected_bytes(pod) < 1000);
    projected_unref(pod);
}

const CU_TestInfo pod_bytes_tests[] = {{"bytes", test_bytes}, CU_TEST_INFO_NULL};
