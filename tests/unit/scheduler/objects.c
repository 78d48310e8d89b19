/* Pods and nodes for the scheduler's tests. */
#include "tests/unit/scheduler/objects.h"

struct node *test_node(
    const char *name, const char *cpu, const char *memory, const char *labels, const char *spec)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"%s\",\"uid\":\"uid-%s\",\"labels\":{%s}},\"spec\":{%s},"
        "\"status\":{\"allocatable\":{\"cpu\":\"%s\",\"memory\":\"%s\",\"pods\":\"110\","
        "\"ephemeral-storage\":\"100Gi\"}}}",
        name, name, labels, spec, cpu, memory);
    return projected_new(&node_projection, tree);
}

struct pod *test_pod(const char *name, const char *spec)
{
    const char *containers =
        strstr(spec, "\"containers\"") ? "" : ",\"containers\":[{\"name\":\"c\"}]";
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"uid\":\"uid-%s\"},"
                  "\"spec\":{\"schedulerName\":\"default-scheduler\"%s%s%s},\"status\":{\"phase\":"
                  "\"Pending\"}}",
            name, name, spec[0] ? "," : "", spec, containers);
    return projected_new(&pod_projection, tree);
}

struct pod *test_pod_requests(const char *name, const char *requests)
{
    autofree char *spec =
        str_format("\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{%s}}}]", requests);
    return test_pod(name, spec);
}
