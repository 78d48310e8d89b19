/*
 * GET /metrics/resource and /metrics/cadvisor: usage in Prometheus' text format, with a time stamp
 * on each figure.
 *
 * Both are tables: a metric, the part of struct usage it shows, its unit. cadvisor's labels are id,
 * name and image besides namespace, pod and container; a pod as a whole has an empty container, the
 * node the id "/".
 * Upstream: pkg/kubelet/metrics/collectors/resource_metrics.go, cadvisor metrics/prometheus.go.
 */
#include "common/time.h"
#include "kubelet/stats.h"

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum unit { PLAIN, SECONDS /* of nanoseconds */ };

struct shown {
    const char *name, *type, *help;
    size_t offset; /* in struct usage, or in struct interface_usage */
    enum unit unit;
};

/* A label's value, as the format wants it. */
static void add_value(struct strbuf *out, const char *text)
{
    for (; text && *text; text++) {
        if (*text == '"' || *text == '\\')
            strbuf_add_char(out, '\\');
        if (*text == '\n')
            strbuf_addc(out, "\\n");
        else
            strbuf_add_char(out, *text);
    }
}

static void add_head(struct strbuf *out, const char *name, const char *type, const char *help)
{
    strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_figure(struct strbuf *out, int64_t value, enum unit unit, int64_t time_ns)
{
    if (unit == SECONDS)
        strbuf_addf(out, " %.9f", (double)value / 1e9);
    else
        strbuf_addf(out, " %lld", (long long)value);
    if (time_ns > 0)
        strbuf_addf(out, " %lld", (long long)(time_ns / NS_PER_MS));
    strbuf_add_char(out, '\n');
}

static int64_t value_at(const void *base, size_t offset)
{
    return *(const int64_t *)((const char *)base + offset);
}

#define USAGE(field) offsetof(struct usage, field)

/* --- /metrics/resource --- */

static const struct {
    const char *name, *type, *help;
    size_t offset;
    enum unit unit;
} resources[] = {
    {"cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the %s in core-seconds",
        USAGE(cpu_ns), SECONDS},
    {"memory_working_set_bytes", "gauge", "Current working set of the %s in bytes",
        USAGE(working_set_bytes), PLAIN},
    {"swap_usage_bytes", "gauge", "Current amount of the %s swap usage in bytes", USAGE(swap_bytes),
        PLAIN},
};

static void add_pod_labels(
    struct strbuf *out, const char *container, const struct stats_pod *p, const char *separator)
{
    if (container) {
        strbuf_addf(out, "%scontainer=\"", separator);
        add_value(out, container);
        strbuf_add_char(out, '"');
        separator = ",";
    }
    strbuf_addf(out, "%snamespace=\"%s\",pod=\"%s\"", separator, p->pod->meta.namespace_,
        p->pod->meta.name);
}

static void add_resource_of_containers(struct strbuf *out, const struct stats *s, size_t which)
{
    for (size_t i = 0; i < s->pod_count; i++) {
        for (size_t j = 0; j < s->pods[i].count; j++) {
            const struct stats_container *c = &s->pods[i].items[j];
            int64_t value = value_at(&c->usage, resources[which].offset);
            if (value < 0 || container_is_sandbox(c->info))
                continue;
            strbuf_addf(out, "container_%s{", resources[which].name);
            add_pod_labels(out, c->info->container, &s->pods[i], "");
            strbuf_add_char(out, '}');
            add_figure(out, value, resources[which].unit, c->usage.time_ns);
        }
    }
}

/* The sum over its containers, sandbox included; 0 and -1 as usual. */
static int64_t pod_total(const struct stats_pod *p, size_t offset, int64_t *ret_time_ns)
{
    int64_t sum = -1;

    for (size_t i = 0; i < p->count; i++) {
        int64_t value = value_at(&p->items[i].usage, offset);
        if (value >= 0)
            sum = (sum < 0 ? 0 : sum) + value;
        *ret_time_ns = p->items[i].usage.time_ns;
    }
    return sum;
}

static void add_resource_of_pods(struct strbuf *out, const struct stats *s, size_t which)
{
    for (size_t i = 0; i < s->pod_count; i++) {
        int64_t time_ns = 0, value = pod_total(&s->pods[i], resources[which].offset, &time_ns);
        if (value < 0)
            continue;
        strbuf_addf(out, "pod_%s{", resources[which].name);
        add_pod_labels(out, NULL, &s->pods[i], "");
        strbuf_add_char(out, '}');
        add_figure(out, value, resources[which].unit, time_ns);
    }
}

static void add_start_times(struct strbuf *out, const struct stats *s)
{
    add_head(out, "container_start_time_seconds", "gauge",
        "Start time of the container since unix epoch in seconds");
    for (size_t i = 0; i < s->pod_count; i++) {
        for (size_t j = 0; j < s->pods[i].count; j++) {
            const struct stats_container *c = &s->pods[i].items[j];
            if (container_is_sandbox(c->info))
                continue;
            strbuf_addc(out, "container_start_time_seconds{");
            add_pod_labels(out, c->info->container, &s->pods[i], "");
            strbuf_add_char(out, '}');
            add_figure(out, c->info->started_ns, SECONDS, 0);
        }
    }
}

static void add_resources(struct strbuf *out, const struct stats *s)
{
    static const char *const kinds[] = {"container", "node", "pod"};

    for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
        for (size_t i = 0; i < ARRAY_COUNT(resources); i++) {
            int64_t value = value_at(&s->node, resources[i].offset);
            autofree char *name = str_format("%s_%s", kinds[k], resources[i].name);
            autostrbuf struct strbuf help = STRBUF_EMPTY;
            struct str after = str_of(resources[i].help), before;
            str_split(&after, '%', &before);
            strbuf_addf(
                &help, "%.*s%s%.*s", STR_FMT(before), kinds[k], (int)after.n - 1, after.p + 1);
            add_head(out, name, resources[i].type, help.data);
            if (k == 0)
                add_resource_of_containers(out, s, i);
            else if (k == 2)
                add_resource_of_pods(out, s, i);
            else if (value >= 0) {
                strbuf_addc(out, name);
                add_figure(out, value, resources[i].unit, s->node.time_ns);
            }
        }
    }
    add_start_times(out, s);
}

static void reply_page(struct httpd_request *r, struct agent *agent,
    void (*print)(struct strbuf *, struct agent *, const struct stats *))
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct stats s;
    struct error err;

    if (stats_take(agent, &s, &err) < 0)
        httpd_reply(r, 500, "text/plain; charset=utf-8", str_of(err.text));
    else {
        print(&text, agent, &s);
        httpd_reply(r, 200, TEXT_TYPE, strbuf_str(&text));
    }
    stats_done(&s);
}

static void print_resource(struct strbuf *out, struct agent *agent, const struct stats *s)
{
    (void)agent;
    add_resources(out, s);
    add_head(out, "resource_scrape_error", "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise");
    strbuf_addc(out, "resource_scrape_error 0\n");
}

void serve_metrics_resource(void *arg, struct httpd_request *r)
{
    reply_page(r, arg, print_resource);
}

/* --- /metrics/cadvisor --- */

static const struct shown of_containers[] = {
    {"container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.",
        USAGE(cpu_ns), SECONDS},
    {"container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.",
        USAGE(cpu_user_ns), SECONDS},
    {"container_cpu_system_seconds_total", "counter",
        "Cumulative system cpu time consumed in seconds.", USAGE(cpu_system_ns), SECONDS},
    {"container_cpu_cfs_periods_total", "counter",
        "Number of elapsed enforcement period intervals.", USAGE(periods), PLAIN},
    {"container_cpu_cfs_throttled_periods_total", "counter",
        "Number of throttled period intervals.", USAGE(throttled_periods), PLAIN},
    {"container_cpu_cfs_throttled_seconds_total", "counter",
        "Total time duration the container has been throttled.", USAGE(throttled_ns), SECONDS},
    {"container_memory_usage_bytes", "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        USAGE(memory_bytes), PLAIN},
    {"container_memory_working_set_bytes", "gauge", "Current working set in bytes.",
        USAGE(working_set_bytes), PLAIN},
    {"container_memory_rss", "gauge", "Size of RSS in bytes.", USAGE(rss_bytes), PLAIN},
    {"container_memory_cache", "gauge", "Number of bytes of page cache memory.", USAGE(cache_bytes),
        PLAIN},
    {"container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.",
        USAGE(mapped_bytes), PLAIN},
    {"container_memory_swap", "gauge", "Container swap usage in bytes.", USAGE(swap_bytes), PLAIN},
    {"container_memory_max_usage_bytes", "gauge", "Maximum memory usage recorded in bytes",
        USAGE(memory_max_bytes), PLAIN},
    {"container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.",
        USAGE(memory_limit_bytes), PLAIN},
    {"container_fs_reads_bytes_total", "counter", "Cumulative count of bytes read",
        USAGE(read_bytes), PLAIN},
    {"container_fs_writes_bytes_total", "counter", "Cumulative count of bytes written",
        USAGE(write_bytes), PLAIN},
    {"container_fs_reads_total", "counter", "Cumulative count of reads completed", USAGE(reads),
        PLAIN},
    {"container_fs_writes_total", "counter", "Cumulative count of writes completed", USAGE(writes),
        PLAIN},
    {"container_processes", "gauge", "Number of processes running inside the container.",
        USAGE(processes), PLAIN},
};

#define INTERFACE(field) offsetof(struct interface_usage, field)
#define NETWORK(name, what, field)                                                  \
    {                                                                               \
        "container_network_" name "_total", "counter", "Cumulative count of " what, \
            INTERFACE(field), PLAIN                                                 \
    }

static const struct shown of_interfaces[] = {
    NETWORK("receive_bytes", "bytes received", rx_bytes),
    NETWORK("receive_packets", "packets received", rx_packets),
    NETWORK("receive_errors", "errors encountered while receiving", rx_errors),
    NETWORK("receive_packets_dropped", "packets dropped while receiving", rx_dropped),
    NETWORK("transmit_bytes", "bytes transmitted", tx_bytes),
    NETWORK("transmit_packets", "packets transmitted", tx_packets),
    NETWORK("transmit_errors", "errors encountered while transmitting", tx_errors),
    NETWORK("transmit_packets_dropped", "packets dropped while transmitting", tx_dropped),
};

/* {container="",id="",image="",name="",namespace="",pod=""; c NULL: the pod, or with p the node */
static void add_labels(struct strbuf *out, const char *name, const struct stats_pod *p,
    const struct stats_container *c)
{
    strbuf_addf(out, "%s{container=\"", name);
    if (c)
        add_value(out, c->info->container);
    if (!p)
        strbuf_addc(out, "\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"");
    else if (!c)
        strbuf_addf(out,
            "\",id=\"/kubepods/pod%s\",image=\"\",name=\"\",namespace=\"%s\",pod=\"%s\"",
            p->pod->meta.uid, p->pod->meta.namespace_, p->pod->meta.name);
    else {
        strbuf_addf(out, "\",id=\"/kubepods/pod%s/%s\",image=\"", p->pod->meta.uid, c->info->id);
        add_value(out, c->info->image);
        strbuf_addf(out, "\",name=\"%s\",namespace=\"%s\",pod=\"%s\"",
            c->info->name ? c->info->name : "", p->pod->meta.namespace_, p->pod->meta.name);
    }
}

static void add_line(struct strbuf *out, const struct shown *m, const struct stats_pod *p,
    const struct stats_container *c, int64_t value, int64_t time_ns)
{
    if (value < 0)
        return;
    add_labels(out, m->name, p, c);
    strbuf_add_char(out, '}');
    add_figure(out, value, m->unit, time_ns);
}

static void add_container_metric(struct strbuf *out, const struct stats *s, const struct shown *m)
{
    add_head(out, m->name, m->type, m->help);
    add_line(out, m, NULL, NULL, value_at(&s->node, m->offset), s->node.time_ns);
    for (size_t i = 0; i < s->pod_count; i++) {
        const struct stats_pod *p = &s->pods[i];
        int64_t time_ns = 0, total = pod_total(p, m->offset, &time_ns);
        add_line(out, m, p, NULL, total, time_ns);
        for (size_t j = 0; j < p->count; j++)
            add_line(out, m, p, &p->items[j], value_at(&p->items[j].usage, m->offset),
                p->items[j].usage.time_ns);
    }
}

static void add_interface_metric(struct strbuf *out, const struct stats_pod *p,
    const struct interface_list *list, const struct shown *m, int64_t time_ns)
{
    for (size_t i = 0; i < list->count; i++) {
        int64_t value = value_at(&list->items[i], m->offset);
        if (value < 0)
            continue;
        add_labels(out, m->name, p, NULL);
        strbuf_addf(out, ",interface=\"%s\"}", list->items[i].name);
        add_figure(out, value, m->unit, time_ns);
    }
}

static void add_network(struct strbuf *out, const struct stats *s)
{
    struct interface_list host = {0};
    struct error ignored;

    (void)usage_of_interfaces("", 0, &host, &ignored);
    for (size_t k = 0; k < ARRAY_COUNT(of_interfaces); k++) {
        const struct shown *m = &of_interfaces[k];
        add_head(out, m->name, m->type, m->help);
        add_interface_metric(out, NULL, &host, m, s->node.time_ns);
        for (size_t i = 0; i < s->pod_count; i++)
            add_interface_metric(
                out, &s->pods[i], &s->pods[i].interfaces, m, s->pods[i].items[0].usage.time_ns);
    }
    interface_list_done(&host);
}

static void add_sizes(struct strbuf *out, struct agent *agent, const struct stats *s)
{
    static const struct shown used = {"container_fs_usage_bytes", "gauge",
        "Number of bytes that are consumed by the container on this filesystem.", 0, PLAIN};

    add_head(out, used.name, used.type, used.help);
    for (size_t i = 0; i < s->pod_count; i++)
        for (size_t j = 0; j < s->pods[i].count; j++) {
            const struct stats_container *c = &s->pods[i].items[j];
            add_line(
                out, &used, &s->pods[i], c, stats_disk(agent, c->info).bytes, c->usage.time_ns);
        }
}

static void add_begin(struct strbuf *out, const struct stats *s)
{
    static const struct shown begin = {"container_start_time_seconds", "gauge",
        "Start time of the container since unix epoch in seconds.", 0, SECONDS};
    static const struct shown seen = {"container_last_seen", "gauge",
        "Last time a container was seen by the exporter", 0, SECONDS};
    const struct shown *const both[] = {&begin, &seen};

    for (size_t k = 0; k < ARRAY_COUNT(both); k++) {
        add_head(out, both[k]->name, both[k]->type, both[k]->help);
        for (size_t i = 0; i < s->pod_count; i++)
            for (size_t j = 0; j < s->pods[i].count; j++) {
                const struct stats_container *c = &s->pods[i].items[j];
                add_line(out, both[k], &s->pods[i], c, k ? c->usage.time_ns : c->info->started_ns,
                    c->usage.time_ns);
            }
    }
}

static void add_machine(struct strbuf *out, struct agent *agent)
{
    const struct node_facts *f = &agent->facts;

    add_head(out, "cadvisor_version_info", "gauge",
        "A metric with a constant '1' value labeled by kernel version, OS version, docker version, "
        "cadvisor version & cadvisor revision.");
    strbuf_addf(out,
        "cadvisor_version_info{cadvisorRevision=\"\",cadvisorVersion=\"\",dockerVersion=\"%s\","
        "kernelVersion=\"%s\",osVersion=\"",
        f->runtime_version, f->kernel);
    add_value(out, f->os_image);
    strbuf_addc(out, "\"} 1\n");
    add_head(out, "machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    strbuf_addf(out,
        "machine_cpu_cores{boot_id=\"%s\",machine_id=\"%s\",system_uuid=\"%s\"} %lld\n", f->boot_id,
        f->machine_id, f->system_uuid, (long long)f->cpus);
    add_head(out, "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    strbuf_addf(out,
        "machine_memory_bytes{boot_id=\"%s\",machine_id=\"%s\",system_uuid=\"%s\"} %lld\n",
        f->boot_id, f->machine_id, f->system_uuid, (long long)f->memory_bytes);
    add_head(out, "container_scrape_error", "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise");
    strbuf_addc(out, "container_scrape_error 0\n");
}

static void print_cadvisor(struct strbuf *out, struct agent *agent, const struct stats *s)
{
    for (size_t i = 0; i < ARRAY_COUNT(of_containers); i++)
        add_container_metric(out, s, &of_containers[i]);
    add_network(out, s);
    add_sizes(out, agent, s);
    add_begin(out, s);
    add_machine(out, agent);
}

void serve_metrics_cadvisor(void *arg, struct httpd_request *r)
{
    reply_page(r, arg, print_cadvisor);
}
