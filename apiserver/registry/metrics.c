/*
 * NodeMetrics and PodMetrics (metrics.k8s.io): the kubelets' figures of the nodes and pods that
 * there are, as metrics-server shows them.
 *
 * A node or pod without figures is left out of lists and not found by its name. Labels are those of
 * the Node or Pod; a selector selects by them. A list is a generator over a snapshot, like every
 * other; it has no pages.
 *
 * Threads: the request's. Waiting is done by connect/usages.h.
 * Upstream: metrics-server pkg/api.
 */
#include "apiserver/connect/usages.h"
#include "apiserver/registry/generic/options.h"
#include "apiserver/registry/registry.h"
#include "apiserver/schema/schema.h"
#include "apiserver/server.h"
#include "common/quantity.h"
#include "common/time.h"

#define CHUNK_BYTES (32u << 10)

/* Appends the item; false when there are no figures. */
typedef bool print_fn(struct request *q, const struct usage_table *table, const struct object *o,
    bool whole, struct strbuf *out);

struct listing {
    struct snapshot *snapshot;
    struct usage_table *table;
    const struct list_options *options;
    print_fn *print;
    struct str at_namespace, at_name;
    bool begun;
    size_t count;
};

static void add_name(struct strbuf *out, const char *name, struct str value)
{
    strbuf_addf(out, "\"%s\":", name);
    json_print_string(value, out);
}

/* {"kind":...,"metadata":{...},"timestamp":...,"window":...; whole: with kind and apiVersion */
static void add_head(struct request *q, const struct object *o, bool whole, int64_t time_ns,
    int64_t window_ns, struct strbuf *out)
{
    char text[TIME_TEXT_BYTES];

    strbuf_add_char(out, '{');
    if (whole)
        strbuf_addf(out, "\"kind\":\"%s\",\"apiVersion\":\"%s\",", q->resource->kind,
            q->resource->group_version);
    strbuf_addc(out, "\"metadata\":{");
    add_name(out, "name", o->name);
    if (o->namespace_.n > 0) {
        strbuf_add_char(out, ',');
        add_name(out, "namespace", o->namespace_);
    }
    strbuf_addf(
        out, ",\"creationTimestamp\":\"%s\"", time_print_s(env_wall_ns(q->server->env), text));
    for (size_t i = 0; i < o->label_count; i++) {
        strbuf_addc(out, i ? "," : ",\"labels\":{");
        json_print_string(o->labels[i].key, out);
        strbuf_add_char(out, ':');
        json_print_string(o->labels[i].value, out);
    }
    strbuf_addc(out, o->label_count ? "}}," : "},");
    strbuf_addf(out, "\"timestamp\":\"%s\",\"window\":\"", time_print_s(time_ns, text));
    duration_print(window_ns - window_ns % NS_PER_MS, out);
    strbuf_addc(out, "\",");
}

static void add_usage(struct strbuf *out, int64_t nano_cores, int64_t memory_bytes)
{
    strbuf_addc(out, "\"usage\":{\"cpu\":\"");
    quantity_print((struct quantity){nano_cores, QUANTITY_DECIMAL_SI}, out);
    strbuf_addc(out, "\",\"memory\":\"");
    quantity_print(quantity_of_value(memory_bytes, QUANTITY_BINARY_SI), out);
    strbuf_addc(out, "\"}");
}

static bool print_node(struct request *q, const struct usage_table *table, const struct object *o,
    bool whole, struct strbuf *out)
{
    const struct node_usage *node = usage_table_node(table, o->name);
    int64_t window_ns = 0;

    if (!node)
        return false;
    struct container_sample before = {.cpu_ns = node->before->cpu_ns,
                                .time_ns = node->before->time_ns},
                            now = {.cpu_ns = node->now->cpu_ns, .time_ns = node->now->time_ns};
    int64_t rate = usage_rate(&before, &now, &window_ns);
    if (rate < 0)
        return false;
    add_head(q, o, whole, now.time_ns, window_ns, out);
    add_usage(out, rate, node->now->memory_bytes);
    strbuf_add_char(out, '}');
    return true;
}

static const struct container_sample *same_container(
    const struct container_sample *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (c_eq(list[i].container, name))
            return &list[i];
    return NULL;
}

/* A pod has figures when all of its containers have. */
static bool print_pod(struct request *q, const struct usage_table *table, const struct object *o,
    bool whole, struct strbuf *out)
{
    struct str node_name;
    size_t count = 0, count_before = 0, begin = out->n;
    int64_t window_ns = 0;

    if (!object_field_get(o, "spec.nodeName", &node_name))
        return false;
    const struct node_usage *node = usage_table_node(table, node_name);
    if (!node)
        return false;
    const struct container_sample *now = scrape_pod(node->now, o->namespace_, o->name, &count),
                                  *before = scrape_pod(
                                      node->before, o->namespace_, o->name, &count_before);
    for (size_t i = 0; i < count; i++) {
        int64_t rate =
            usage_rate(same_container(before, count_before, now[i].container), &now[i], &window_ns);
        if (rate < 0 || now[i].memory_bytes < 0) {
            out->n = begin;
            return false;
        }
        if (i == 0) {
            add_head(q, o, whole, now[i].time_ns, window_ns, out);
            strbuf_addc(out, "\"containers\":[");
        }
        strbuf_addf(out, "%s{\"name\":\"%s\",", i ? "," : "", now[i].container);
        add_usage(out, rate, now[i].memory_bytes);
        strbuf_add_char(out, '}');
    }
    if (count > 0)
        strbuf_addc(out, "]}");
    return count > 0;
}

/* --- one --- */

static enum stage_result get_one(
    struct request *q, struct usage_table *table, const struct resource *of, print_fn *print)
{
    struct object *o = cache_get(q->server->cache, of, str_of(q->namespace_), str_of(q->name));
    struct strbuf text;

    strbuf_init(&text, 0);
    bool found = o && print(q, table, o, true, &text);
    object_unref(o);
    usage_table_unref(table);
    if (found)
        return request_reply_text(q, 200, &text);
    strbuf_done(&text);
    return request_fail_object(q, ERR_NOT_FOUND, "%s.%s \"%s%s%s\" not found",
        q->resource->singular, q->group, q->namespace_, *q->namespace_ ? "/" : "", q->name);
}

/* --- all --- */

static void listing_gone(void *arg)
{
    struct listing *l = arg;

    snapshot_free(l->snapshot);
    usage_table_unref(l->table);
}

static enum body_result list_next(struct request *q, struct strbuf *out)
{
    struct listing *l = q->body_state;
    int64_t start_ns = env_now_ns(q->server->env);
    const struct object *o;

    if (!l->begun)
        strbuf_addf(out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{},\"items\":[",
            q->resource->list_kind, q->resource->group_version);
    l->begun = true;
    while ((o = snapshot_next(
                l->snapshot, l->options->filter.namespace_, l->at_namespace, l->at_name))) {
        size_t begin = out->n;
        l->at_namespace = o->namespace_;
        l->at_name = o->name;
        if (filter_matches(&l->options->filter, o)) {
            if (l->count > 0)
                strbuf_add_char(out, ',');
            if (l->print(q, l->table, o, false, out))
                l->count++;
            else
                out->n = begin;
        }
        if (out->n >= CHUNK_BYTES)
            return BODY_CHUNK;
        if (request_turn_over(q, start_ns))
            return BODY_WAIT;
    }
    strbuf_addc(out, "]}\n");
    return BODY_END;
}

static enum stage_result list_all(
    struct request *q, struct usage_table *table, const struct resource *of, print_fn *print)
{
    struct listing *l = arena_alloc(q->arena, sizeof(*l));
    struct list_options *options;

    *l = (struct listing){.table = table, .print = print};
    request_on_free(q, listing_gone, l);
    if (options_parse_list(q, &options) == STAGE_ERROR)
        return STAGE_ERROR;
    l->options = options;
    l->snapshot = snapshot_take(q->server->cache, of);
    return request_reply_body(q, 200, media_type(MEDIA_JSON), list_next, l);
}

static enum stage_result show(struct request *q, print_fn *print)
{
    struct usages *usages = usages_of(q->server);
    const struct resource *of = api_find_plural(q->api, "", q->plural);

    if (!usages)
        return request_fail(q, ERR_NOT_IMPLEMENTED,
            "the API server was started without --kubelet-client-certificate");
    struct usage_table *table = usages_get(usages, q);
    if (!table)
        return STAGE_WAIT;
    return *q->name ? get_one(q, table, of, print) : list_all(q, table, of, print);
}

static enum stage_result show_nodes(struct request *q)
{
    return show(q, print_node);
}

static enum stage_result show_pods(struct request *q)
{
    return show(q, print_pod);
}

const struct strategy strategy_node_metrics = {
    .group = "metrics.k8s.io", .plural = "nodes", .show = show_nodes};
const struct strategy strategy_pod_metrics = {
    .group = "metrics.k8s.io", .plural = "pods", .show = show_pods};
