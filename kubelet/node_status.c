/*
 * The Node object: labels, taints, and the status that is reported. No calls to the API in here.
 *
 * Upstream: pkg/kubelet/kubelet_node_status.go, nodestatus/setters.go.
 */
#include "kubelet/agent.h"

#include <sys/statvfs.h>

#include "common/daemon.h"
#include "common/file.h"
#include "common/time.h"

#define MEMORY_RESERVED_BYTES (100ll << 20) /* upstream's hard eviction threshold */
#define MEMORY_PRESSURE_BYTES (100ll << 20)
#define DISK_PRESSURE_PERCENT 5
/* A runtime that is away for less is being restarted. */
#define RUNTIME_ABSENCE_NS (30 * NS_PER_S)

static void add_pairs(cJSON *labels, const char *text)
{
    struct str rest = str_of(text), pair;

    while (text && str_split(&rest, ',', &pair)) {
        struct str value = pair, key;
        if (!str_split(&value, '=', &key) || key.n == 0)
            continue;
        autofree char *name = str_dup(key), *content = str_dup(value);
        json_set_string(labels, name, content);
    }
}

/* "key=value:NoSchedule,key2:NoExecute" */
static cJSON *parse_taints(const char *text)
{
    cJSON *list = cJSON_CreateArray();
    struct str rest = str_of(text), item;

    while (text && str_split(&rest, ',', &item)) {
        struct str effect = item, left, key;
        if (!str_split(&effect, ':', &left) || effect.n == 0)
            continue;
        struct str value = left;
        str_split(&value, '=', &key);
        cJSON *taint = cJSON_CreateObject();
        autofree char *key_text = str_dup(key), *value_text = str_dup(value),
                      *effect_text = str_dup(effect);
        json_set_string(taint, "key", key_text);
        if (value_text[0])
            json_set_string(taint, "value", value_text);
        json_set_string(taint, "effect", effect_text);
        cJSON_AddItemToArray(list, taint);
    }
    return list;
}

cJSON *node_object(struct kubelet *node)
{
    struct agent *agent = node->agent;
    cJSON *object = json_make(
        "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"labels\":{},\"annotations\":{"
        "\"volumes.kubernetes.io/controller-managed-attach-detach\":\"true\"}},\"spec\":{}}");
    cJSON *labels = json_path(object, "metadata.labels"),
          *taints = parse_taints(agent->config->register_with_taints);

    json_set_string_at(object, "metadata.name", node->name);
    json_set_string(labels, "beta.kubernetes.io/arch", agent->facts.architecture);
    json_set_string(labels, "beta.kubernetes.io/os", "linux");
    json_set_string(labels, "kubernetes.io/arch", agent->facts.architecture);
    json_set_string(labels, "kubernetes.io/hostname", node->name);
    json_set_string(labels, "kubernetes.io/os", "linux");
    add_pairs(labels, agent->config->node_labels);
    if (cJSON_GetArraySize(taints) > 0)
        json_set_at(object, "spec.taints", taints);
    else
        cJSON_Delete(taints);
    json_set(object, "status", node_status(node, NULL));
    return object;
}

static void put_kibi(cJSON *map, const char *name, int64_t bytes)
{
    char text[32];

    snprintf(text, sizeof(text), "%lldKi", (long long)(bytes / 1024));
    json_set_string(map, name, text);
}

static cJSON *resources(const struct agent *agent, int64_t memory_bytes, int64_t disk_bytes)
{
    cJSON *map = cJSON_CreateObject();
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)agent->facts.cpus);
    json_set_string(map, "cpu", text);
    put_kibi(map, "ephemeral-storage", disk_bytes);
    json_set_string(map, "hugepages-1Gi", "0");
    json_set_string(map, "hugepages-2Mi", "0");
    put_kibi(map, "memory", memory_bytes);
    snprintf(text, sizeof(text), "%lld", (long long)agent->config->max_pods);
    json_set_string(map, "pods", text);
    return map;
}

/* What others put into capacity (device plugins, patches) is allocatable too. */
static void add_extended(struct kubelet *node, cJSON *allocatable)
{
    const struct node_view *view =
        node->agent->nodes ? informer_get(node->agent->nodes, NULL, node->name) : NULL;

    if (!view)
        return;
    for (size_t i = 0; i < view->capacity.count; i++)
        if (!json_get(allocatable, view->capacity.pairs[i].key))
            json_set_string(
                allocatable, view->capacity.pairs[i].key, view->capacity.pairs[i].value);
    projected_unref(view);
}

static int64_t available_memory(void)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;
    int64_t kib = INT64_MAX / 1024;

    strbuf_init(&text, 0);
    if (file_read("/proc/meminfo", 1u << 16, &text, &err) < 0)
        return INT64_MAX;
    const char *line = strstr(text.data, "MemAvailable:");
    if (line) {
        struct str rest = str_of(line + sizeof("MemAvailable:") - 1), number;
        str_split(&rest, '\n', &number);
        number = str_trim(number);
        rest = number;
        str_split(&rest, ' ', &number);
        str_parse_int64(number, &kib, &err);
    }
    return kib * 1024;
}

static bool disk_is_full(const char *root)
{
    struct statvfs disk;

    return statvfs(root, &disk) == 0 && disk.f_blocks > 0 &&
           disk.f_bavail * 100 < disk.f_blocks * DISK_PRESSURE_PERCENT;
}

static void put_condition(struct kubelet *node, cJSON *list, const cJSON *old, const char *type,
    bool status, const char *reason, const char *message)
{
    cJSON *item = cJSON_CreateObject();
    const char *text = status ? "True" : "False", *since = NULL;
    const cJSON *known;
    char now[TIME_TEXT_BYTES];

    cJSON_ArrayForEach(known, old)
    {
        if (c_eq(json_string(known, "type"), type) && c_eq(json_string(known, "status"), text))
            since = json_string(known, "lastTransitionTime");
    }
    json_set_string(item, "type", type);
    json_set_string(item, "status", text);
    json_set_string(item, "lastTransitionTime",
        since ? since : time_print_s(env_wall_ns(node->agent->env), now));
    json_set_string(item, "reason", reason);
    json_set_string(item, "message", message);
    cJSON_AddItemToArray(list, item);
}

static void put_ready(struct kubelet *node, cJSON *list, const cJSON *old)
{
    struct agent *agent = node->agent;
    autostrbuf struct strbuf why = STRBUF_EMPTY, network = STRBUF_EMPTY;

    strbuf_init(&why, 0);
    strbuf_init(&network, 0);
    env_lock(agent->env, &agent->lock);
    if (!agent->runtime_ready ||
        (agent->runtime_lost_ns &&
            env_now_ns(agent->env) > agent->runtime_lost_ns + RUNTIME_ABSENCE_NS))
        strbuf_addf(&why, "container runtime is down%s%s", agent->runtime_error[0] ? ": " : "",
            agent->runtime_error);
    env_unlock(agent->env, &agent->lock);
    if (!agent->runtime->ops->network_ready(agent->runtime, &network))
        strbuf_addf(&why,
            "%scontainer runtime network not ready: NetworkReady=false "
            "reason:NetworkPluginNotReady "
            "message:docker: network plugin is not ready: %s",
            why.n ? ", " : "", network.data);
    if (why.n)
        put_condition(node, list, old, "Ready", false, "KubeletNotReady", why.data);
    else
        put_condition(
            node, list, old, "Ready", true, "KubeletReady", "kubelet is posting ready status");
}

static cJSON *conditions(struct kubelet *node, const cJSON *old)
{
    const struct agent *agent = node->agent;
    cJSON *list = cJSON_CreateArray();
    bool memory = !agent->runtime->pretends && available_memory() < MEMORY_PRESSURE_BYTES;
    bool disk = !agent->runtime->pretends && disk_is_full(agent->config->root_dir);

    put_condition(node, list, old, "MemoryPressure", memory,
        memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
        memory ? "kubelet has insufficient memory available"
               : "kubelet has sufficient memory available");
    put_condition(node, list, old, "DiskPressure", disk,
        disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
        disk ? "kubelet has disk pressure" : "kubelet has no disk pressure");
    put_condition(node, list, old, "PIDPressure", false, "KubeletHasSufficientPID",
        "kubelet has sufficient PID available");
    put_ready(node, list, old);
    return list;
}

static cJSON *node_info(const struct node_facts *facts)
{
    cJSON *info = cJSON_CreateObject();

    json_set_string(info, "machineID", facts->machine_id);
    json_set_string(info, "systemUUID", facts->system_uuid);
    json_set_string(info, "bootID", facts->boot_id);
    json_set_string(info, "kernelVersion", facts->kernel);
    json_set_string(info, "osImage", facts->os_image);
    json_set_string(info, "containerRuntimeVersion", facts->runtime_version);
    json_set_string(info, "kubeletVersion", SKIFF_KUBERNETES_VERSION "+skiff");
    json_set_string(info, "kubeProxyVersion", "");
    json_set_string(info, "operatingSystem", "linux");
    json_set_string(info, "architecture", facts->architecture);
    return info;
}

cJSON *node_status(struct kubelet *node, const cJSON *old_conditions)
{
    const struct agent *agent = node->agent;
    cJSON *status = cJSON_CreateObject(), *addresses = cJSON_CreateArray();
    int64_t memory = agent->facts.memory_bytes, disk = agent->facts.disk_bytes;
    int64_t allocatable_memory =
        memory > 2 * MEMORY_RESERVED_BYTES ? memory - MEMORY_RESERVED_BYTES : memory;
    cJSON *allocatable = resources(agent, allocatable_memory, disk / 10 * 9);

    env_lock(agent->env, &node->lock);
    node->allocatable = (struct resource_pair){agent->facts.cpus * 1000, allocatable_memory};
    env_unlock(agent->env, &node->lock);
    json_set(status, "capacity", resources(agent, memory, disk));
    add_extended(node, allocatable);
    json_set(status, "allocatable", allocatable);
    json_set(status, "conditions", conditions(node, old_conditions));
    cJSON_AddItemToArray(
        addresses, json_make("{\"type\":\"InternalIP\",\"address\":\"%s\"}", node->ip));
    cJSON_AddItemToArray(
        addresses, json_make("{\"type\":\"Hostname\",\"address\":\"%s\"}", node->name));
    json_set(status, "addresses", addresses);
    json_set(status, "daemonEndpoints",
        json_make("{\"kubeletEndpoint\":{\"Port\":%d}}",
            (int)(agent->config->port ? agent->config->port : 10250)));
    json_set(status, "nodeInfo", node_info(&agent->facts));
    env_lock(agent->env, &node->agent->lock);
    if (agent->images)
        json_set(status, "images", cJSON_Duplicate(agent->images, true));
    env_unlock(agent->env, &node->agent->lock);
    return status;
}
