/*
 * GET /stats/summary: usage of node, pods and containers as JSON, with rates.
 *
 * ?only_cpu_and_memory=true leaves out what must be walked on disk.
 * Upstream: kubelet/pkg/apis/stats/v1alpha1, pkg/kubelet/server/stats/summary.go.
 */
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "common/file.h"
#include "common/time.h"
#include "kubelet/stats.h"

static void set_time(cJSON *object, const char *name, int64_t ns)
{
    char text[TIME_TEXT_BYTES];

    json_set_string(object, name, time_print_s(ns, text));
}

/* Unknown figures are left out. */
static void set_number(cJSON *object, const char *name, int64_t value)
{
    if (value >= 0)
        json_set(object, name, json_new_int64(value));
}

static cJSON *section(cJSON *parent, const char *name, int64_t time_ns)
{
    cJSON *object = cJSON_CreateObject();

    set_time(object, "time", time_ns);
    json_set(parent, name, object);
    return object;
}

static void add_usage(cJSON *parent, const struct usage *u, int64_t nano_cores)
{
    cJSON *cpu = section(parent, "cpu", u->time_ns),
          *memory = section(parent, "memory", u->time_ns);

    set_number(cpu, "usageNanoCores", nano_cores);
    set_number(cpu, "usageCoreNanoSeconds", u->cpu_ns);
    if (u->memory_limit_bytes >= 0 && u->working_set_bytes >= 0)
        set_number(memory, "availableBytes",
            u->memory_limit_bytes > u->working_set_bytes
                ? u->memory_limit_bytes - u->working_set_bytes
                : 0);
    set_number(memory, "usageBytes", u->memory_bytes);
    set_number(memory, "workingSetBytes", u->working_set_bytes);
    set_number(memory, "rssBytes", u->rss_bytes);
    set_number(memory, "pageFaults", u->page_faults);
    set_number(memory, "majorPageFaults", u->major_page_faults);
    if (u->swap_bytes >= 0)
        set_number(section(parent, "swap", u->time_ns), "swapUsageBytes", u->swap_bytes);
}

static void add_interface(cJSON *object, const struct interface_usage *i)
{
    json_set_string(object, "name", i->name);
    set_number(object, "rxBytes", i->rx_bytes);
    set_number(object, "rxErrors", i->rx_errors);
    set_number(object, "txBytes", i->tx_bytes);
    set_number(object, "txErrors", i->tx_errors);
}

/* The first one stands for the pod; all are listed. */
static void add_network(cJSON *parent, const struct interface_list *list, int64_t time_ns)
{
    if (list->count == 0)
        return;
    cJSON *network = section(parent, "network", time_ns), *all = cJSON_CreateArray();
    add_interface(network, &list->items[0]);
    for (size_t i = 0; i < list->count; i++) {
        cJSON *one = cJSON_CreateObject();
        add_interface(one, &list->items[i]);
        cJSON_AddItemToArray(all, one);
    }
    json_set(network, "interfaces", all);
}

/* Sizes of the file system that holds path; used: what is counted below it, -1: of all. */
static void add_file_system(cJSON *parent, const char *name, const char *path, int64_t time_ns,
    int64_t used, int64_t inodes_used)
{
    struct statvfs fs;

    if (!path || statvfs(path, &fs) < 0)
        return;
    int64_t block = (int64_t)fs.f_frsize, total = (int64_t)fs.f_blocks * block;
    cJSON *object = section(parent, name, time_ns);
    set_number(object, "availableBytes", (int64_t)fs.f_bavail * block);
    set_number(object, "capacityBytes", total);
    set_number(object, "usedBytes", used >= 0 ? used : total - (int64_t)fs.f_bfree * block);
    set_number(object, "inodesFree", (int64_t)fs.f_ffree);
    set_number(object, "inodes", (int64_t)fs.f_files);
    set_number(object, "inodesUsed",
        inodes_used >= 0 ? inodes_used : (int64_t)fs.f_files - (int64_t)fs.f_ffree);
}

struct sum {
    struct usage usage;
    int64_t nano_cores, disk_bytes, inodes;
};

static void add_to(int64_t *sum, int64_t value)
{
    if (value >= 0)
        *sum = (*sum < 0 ? 0 : *sum) + value;
}

static void add_up(struct sum *sum, const struct stats_container *c)
{
    static const size_t fields[] = {offsetof(struct usage, cpu_ns),
        offsetof(struct usage, memory_bytes), offsetof(struct usage, working_set_bytes),
        offsetof(struct usage, rss_bytes), offsetof(struct usage, swap_bytes),
        offsetof(struct usage, page_faults), offsetof(struct usage, major_page_faults),
        offsetof(struct usage, processes)};

    sum->usage.time_ns = c->usage.time_ns;
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
        add_to((int64_t *)((char *)&sum->usage + fields[i]),
            *(const int64_t *)((const char *)&c->usage + fields[i]));
    add_to(&sum->nano_cores, c->nano_cores);
}

static cJSON *container_json(
    struct agent *agent, const struct stats_container *c, bool with_disk, struct sum *sum)
{
    cJSON *object = cJSON_CreateObject();

    json_set_string(object, "name", c->info->container);
    set_time(object, "startTime", c->info->started_ns);
    add_usage(object, &c->usage, c->nano_cores);
    if (!with_disk)
        return object;
    struct disk_usage disk = stats_disk(agent, c->info);
    if (disk.bytes >= 0)
        add_file_system(
            object, "rootfs", c->info->layer_path, c->usage.time_ns, disk.bytes, disk.inodes);
    if (disk.log_bytes >= 0)
        add_file_system(object, "logs", c->info->log_path, c->usage.time_ns, disk.log_bytes, 1);
    add_to(&sum->disk_bytes, disk.bytes);
    add_to(&sum->disk_bytes, disk.log_bytes);
    add_to(&sum->inodes, disk.inodes);
    return object;
}

static cJSON *pod_json(struct agent *agent, const struct stats_pod *p, bool with_disk)
{
    cJSON *object = cJSON_CreateObject(), *containers = cJSON_CreateArray();
    struct sum sum = {.nano_cores = -1, .disk_bytes = -1, .inodes = -1};
    int64_t started_ns = 0;

    memset(&sum.usage, 0xff, sizeof(sum.usage)); /* all -1 */
    json_set_string_at(object, "podRef.name", p->pod->meta.name);
    json_set_string_at(object, "podRef.namespace", p->pod->meta.namespace_);
    json_set_string_at(object, "podRef.uid", p->pod->meta.uid);
    for (size_t i = 0; i < p->count; i++) {
        const struct stats_container *c = &p->items[i];
        add_up(&sum, c);
        if (started_ns == 0 || c->info->started_ns < started_ns)
            started_ns = c->info->started_ns;
        if (!container_is_sandbox(c->info))
            cJSON_AddItemToArray(containers, container_json(agent, c, with_disk, &sum));
    }
    set_time(object, "startTime", started_ns);
    json_set(object, "containers", containers);
    add_usage(object, &sum.usage, sum.nano_cores);
    add_network(object, &p->interfaces, sum.usage.time_ns);
    if (with_disk && sum.disk_bytes >= 0)
        add_file_system(object, "ephemeral-storage", agent->config->root_dir, sum.usage.time_ns,
            sum.disk_bytes, sum.inodes);
    if (sum.usage.processes >= 0)
        json_set_at(object, "process_stats.process_count", json_new_int64(sum.usage.processes));
    return object;
}

static int64_t number_in(const char *path)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error ignored;
    int64_t value;

    if (file_read(path, 4096, &text, &ignored) < 0 ||
        str_parse_int64(str_trim(strbuf_str(&text)), &value, &ignored) < 0)
        return -1;
    return value;
}

static cJSON *node_json(struct agent *agent, const struct stats *s)
{
    cJSON *object = cJSON_CreateObject();
    struct interface_list interfaces = {0};
    struct error ignored;
    struct sysinfo system;

    json_set_string(object, "nodeName", agent->kubelets->name);
    json_set(object, "systemContainers", cJSON_CreateArray());
    if (sysinfo(&system) == 0)
        set_time(object, "startTime", s->node.time_ns - (int64_t)system.uptime * NS_PER_S);
    add_usage(object, &s->node, s->nano_cores);
    if (usage_of_interfaces("", 0, &interfaces, &ignored) == 0)
        add_network(object, &interfaces, s->node.time_ns);
    interface_list_done(&interfaces);
    add_file_system(object, "fs", agent->config->root_dir, s->node.time_ns, -1, -1);
    if (agent->facts.disk_path[0]) {
        cJSON *runtime = cJSON_CreateObject();
        add_file_system(runtime, "imageFs", agent->facts.disk_path, s->node.time_ns, -1, -1);
        add_file_system(runtime, "containerFs", agent->facts.disk_path, s->node.time_ns, -1, -1);
        json_set(object, "runtime", runtime);
    }
    cJSON *limits = section(object, "rlimit", s->node.time_ns);
    set_number(limits, "maxpid", number_in("/proc/sys/kernel/pid_max"));
    if (sysinfo(&system) == 0)
        set_number(limits, "curproc", system.procs);
    return object;
}

void serve_stats_summary(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;
    autojson cJSON *tree = cJSON_CreateObject();
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str only;
    struct stats s;
    struct error err;
    bool with_disk =
        !(httpd_query(r, "only_cpu_and_memory", &only) && str_eq_nocase(only, STR("true")));

    if (stats_take_rates(agent, &s, &err) < 0) {
        stats_done(&s);
        httpd_reply(r, 500, "text/plain; charset=utf-8", str_of(err.text));
        return;
    }
    cJSON *pods = cJSON_CreateArray();
    for (size_t i = 0; i < s.pod_count; i++)
        cJSON_AddItemToArray(pods, pod_json(agent, &s.pods[i], with_disk));
    json_set(tree, "node", node_json(agent, &s));
    json_set(tree, "pods", pods);
    stats_done(&s);
    json_print(tree, &text);
    httpd_reply(r, 200, "application/json", strbuf_str(&text));
}
