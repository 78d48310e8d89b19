/*
 * Requests and limits: to cgroup values, QoS classes, OOM scores and resourceFieldRef. Pure.
 *
 * Upstream: kubelet/cm/helpers_linux.go, qos/policy.go, component-helpers qos, resource/helpers.go.
 */
#include "kubelet/pod.h"

static bool read_quantity(const cJSON *map, const char *name, struct quantity *ret)
{
    const cJSON *item = json_get(map, name);
    struct error err;

    if (cJSON_IsString(item))
        return quantity_parse(str_of(item->valuestring), ret, &err) == 0;
    if (item && json_is_number(item)) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        strbuf_init(&text, 0);
        json_print(item, &text);
        return quantity_parse(strbuf_str(&text), ret, &err) == 0;
    }
    return false;
}

static struct resource_pair read_pair(const cJSON *map)
{
    struct resource_pair pair = {-1, -1};
    struct quantity q;

    if (read_quantity(map, "cpu", &q))
        pair.cpu_milli = quantity_milli_value(q);
    if (read_quantity(map, "memory", &q))
        pair.memory_bytes = quantity_value(q);
    return pair;
}

struct resource_pair container_limits(const cJSON *container)
{
    return read_pair(json_path(container, "resources.limits"));
}

struct resource_pair container_requests(const cJSON *container)
{
    struct resource_pair requests = read_pair(json_path(container, "resources.requests"));
    struct resource_pair limits = container_limits(container);

    if (requests.cpu_milli < 0)
        requests.cpu_milli = limits.cpu_milli;
    if (requests.memory_bytes < 0)
        requests.memory_bytes = limits.memory_bytes;
    return requests;
}

/* What is left of "Guaranteed" and "BestEffort" after one more container. */
static void weigh(const cJSON *container, bool *guaranteed, bool *best_effort)
{
    struct resource_pair requests = container_requests(container),
                         limits = container_limits(container);

    if (requests.cpu_milli > 0 || requests.memory_bytes > 0 || limits.cpu_milli > 0 ||
        limits.memory_bytes > 0)
        *best_effort = false;
    if (limits.cpu_milli <= 0 || limits.memory_bytes <= 0 ||
        limits.cpu_milli != requests.cpu_milli || limits.memory_bytes != requests.memory_bytes)
        *guaranteed = false;
}

const char *pod_qos(const cJSON *spec)
{
    bool guaranteed = true, best_effort = true;
    const cJSON *container;

    cJSON_ArrayForEach(container, json_get(spec, "containers"))
        weigh(container, &guaranteed, &best_effort);
    cJSON_ArrayForEach(container, json_get(spec, "initContainers"))
        weigh(container, &guaranteed, &best_effort);
    return best_effort ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

int64_t cpu_shares(int64_t cpu_milli)
{
    if (cpu_milli <= 0)
        return 2;
    int64_t shares = cpu_milli * 1024 / 1000;
    return shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
}

int64_t cpu_quota(int64_t cpu_milli)
{
    int64_t quota = cpu_milli * 100000 / 1000;

    return quota < 1000 ? 1000 : quota;
}

int64_t oom_score_adj(const char *qos, bool critical, int64_t request_bytes, int64_t capacity_bytes)
{
    if (critical || c_eq(qos, "Guaranteed"))
        return -997;
    if (c_eq(qos, "BestEffort") || capacity_bytes <= 0)
        return 1000;
    if (request_bytes < 0)
        request_bytes = 0;
    /* Its request's share of the machine, kept between the guaranteed and the best-effort pods. */
    int64_t score = 1000 - (int64_t)((__int128)1000 * request_bytes / capacity_bytes);
    return score < 3 ? 3 : score == 1000 ? 999 : score;
}

static int64_t divide_up(int64_t value, int64_t divisor)
{
    return divisor <= 0 ? value : (value + divisor - 1) / divisor;
}

int resource_field(const cJSON *container, const char *resource, const char *divisor,
    struct resource_pair node, char **ret, struct error *err)
{
    struct str name = str_of(resource), kind;
    struct quantity unit;
    int64_t value = 0;

    if (quantity_parse(
            str_of(divisor && divisor[0] && !c_eq(divisor, "0") ? divisor : "1"), &unit, err) < 0)
        return -err->code;
    if (!str_split(&name, '.', &kind) || (!str_eqc(kind, "limits") && !str_eqc(kind, "requests")))
        return error_set(err, ERR_BAD_REQUEST, "unsupported container resource : %s", resource);
    bool limits = str_eqc(kind, "limits");
    struct resource_pair pair =
        limits ? container_limits(container) : container_requests(container);
    if (limits && pair.cpu_milli <= 0)
        pair.cpu_milli = node.cpu_milli;
    if (limits && pair.memory_bytes <= 0)
        pair.memory_bytes = node.memory_bytes;
    if (str_eqc(name, "cpu")) {
        value = divide_up(pair.cpu_milli > 0 ? pair.cpu_milli : 0, quantity_milli_value(unit));
    } else if (str_eqc(name, "memory")) {
        value = divide_up(pair.memory_bytes > 0 ? pair.memory_bytes : 0, quantity_value(unit));
    } else {
        autofree char *key = str_dup(name);
        struct quantity q;
        if (read_quantity(
                json_path(container, limits ? "resources.limits" : "resources.requests"), key, &q))
            value = divide_up(quantity_value(q), quantity_value(unit));
    }
    *ret = str_format("%lld", (long long)value);
    return 0;
}
