/*
 * The kubelet's own server: logs, exec, attach, port-forward (stream/), pods,
 * metrics, health; HTTPS on port 10250.
 *
 * Only health is anonymous. Everything else asks the API server whether the caller may use
 * nodes/log, nodes/metrics or nodes/proxy of this node (common/delegated_auth.h).
 *
 * Upstream: pkg/kubelet/server/server.go, auth.go.
 */
#include "kubelet/agent.h"

#include "common/log.h"
#include "common/time.h"
#include "kubelet/stats.h"
#include "kubelet/status.h"
#include "kubelet/stream/stream.h"

/* Streams and their like live long: room for two hundred besides the usual questions. */
#define CONNECTIONS_MAX 256

static const struct metric_info running_pods = {"kubelet_running_pods", METRIC_GAUGE,
    "Number of pods that have a running pod sandbox.", {NULL}};

static httpd_handler_fn serve_logs, serve_pods, serve_health, serve_metrics;

static const struct httpd_route routes[] = {
    {"GET", "/healthz", true, serve_health},
    {"GET", "/livez", true, serve_health},
    {"GET", "/readyz", true, serve_health},
    {"GET", "/pods", false, serve_pods},
    {"GET", "/metrics", false, serve_metrics},
    {"GET", "/metrics/resource", false, serve_metrics_resource},
    {"GET", "/metrics/cadvisor", false, serve_metrics_cadvisor},
    {"GET", "/stats/summary", false, serve_stats_summary},
    {"GET", "/containerLogs/", false, serve_logs},
    {NULL, "/exec/", false, stream_exec},
    {NULL, "/attach/", false, stream_attach},
    {NULL, "/portForward/", false, stream_port_forward},
};

static const struct {
    const char *prefix, *subresource;
} subresources[] = {
    {"/metrics", "metrics"}, {"/stats", "stats"}, {"/containerLogs/", "log"}, {"/logs", "log"}};

static const char *const streams[] = {"/exec/", "/attach/", "/portForward/"};

/* containerLogs is nodes/log or, as upstream asks, nodes/proxy: either is enough. */
static int authorize(void *arg, struct httpd_request *r, struct error *err)
{
    struct agent *agent = arg;
    struct delegated_attributes attributes = {
        .resource = "nodes", .subresource = "proxy", .name = agent->kubelets->name};

    for (size_t i = 0; i < ARRAY_COUNT(subresources); i++) {
        if (!str_starts(httpd_path(r), str_of(subresources[i].prefix)))
            continue;
        attributes.subresource = subresources[i].subresource;
        if (delegated_auth_check(agent->auth, r, &attributes, err) == 0)
            return 0;
        attributes.subresource = "proxy";
        break;
    }
    /* A GET must not open a shell. */
    for (size_t i = 0; i < ARRAY_COUNT(streams); i++)
        if (str_starts(httpd_path(r), str_of(streams[i])))
            attributes.verb = "create";
    return delegated_auth_check(agent->auth, r, &attributes, err);
}

static void serve_health(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;

    env_lock(agent->env, &agent->lock);
    bool fine = agent->synced && agent->runtime_ready;
    env_unlock(agent->env, &agent->lock);
    if (fine || str_eqc(httpd_path(r), "/livez"))
        httpd_reply(r, 200, "text/plain; charset=utf-8", STR("ok"));
    else
        httpd_reply(r, 503, "text/plain; charset=utf-8", STR("not ready"));
}

static void serve_metrics(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    strbuf_init(&text, 0);
    env_lock(agent->env, &agent->lock);
    size_t pods = HASH_COUNT(agent->records);
    env_unlock(agent->env, &agent->lock);
    metric_set(agent->metrics, &running_pods, (double)pods);
    metrics_print(agent->metrics, &text);
    httpd_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", strbuf_str(&text));
}

/* {"kind":"PodList",...}: name, namespace, uid, spec and status of the pods bound to this node. */
static void serve_pods(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;
    struct projected_array pods = informer_list(agent->pods, NULL);
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    strbuf_init(&text, 0);
    strbuf_addc(&text, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[");
    for (size_t i = 0; i < pods.count; i++) {
        const struct pod_view *pod = pods.objects[i];
        strbuf_addf(&text,
            "%s{\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":\"%s\"},\"spec\":",
            i ? "," : "", pod->meta.name, pod->meta.namespace_, pod->meta.uid);
        strbuf_addc(&text, pod->spec ? pod->spec : "{}");
        strbuf_addc(&text, ",\"status\":");
        strbuf_addc(&text, pod->status ? pod->status : "{}");
        strbuf_add_char(&text, '}');
    }
    strbuf_addc(&text, "]}\n");
    projected_array_done(&pods);
    httpd_reply(r, 200, "application/json", strbuf_str(&text));
}

static void reply_error(struct httpd_request *r, const struct error *err)
{
    httpd_reply(r, error_http_status(err->code), "text/plain; charset=utf-8", str_of(err->text));
}

/* As the API converts booleans: Python's clients send "True". */
static bool query_bool(struct httpd_request *r, const char *name)
{
    struct str value;

    return httpd_query(r, name, &value) && !str_eq_nocase(value, STR("false")) &&
           !str_eqc(value, "0");
}

static int query_int(struct httpd_request *r, const char *name, int64_t *ret, struct error *err)
{
    struct str value;

    if (!httpd_query(r, name, &value))
        return 0;
    if (str_parse_int64(value, ret, err) < 0)
        return error_wrap(err, "%s", name);
    return 0;
}

static int read_options(struct agent *agent, struct httpd_request *r, struct log_options *o,
    bool *ret_previous, struct error *err)
{
    int64_t since_seconds = -1;
    struct str since_time;

    *o = (struct log_options){.tail_lines = -1, .limit_bytes = -1};
    o->follow = query_bool(r, "follow");
    o->timestamps = query_bool(r, "timestamps");
    *ret_previous = query_bool(r, "previous");
    if (query_int(r, "tailLines", &o->tail_lines, err) < 0 ||
        query_int(r, "limitBytes", &o->limit_bytes, err) < 0 ||
        query_int(r, "sinceSeconds", &since_seconds, err) < 0)
        return -err->code;
    if (since_seconds >= 0)
        o->since_ns = env_wall_ns(agent->env) - since_seconds * NS_PER_S;
    if (httpd_query(r, "sinceTime", &since_time) && time_parse(since_time, &o->since_ns, err) < 0)
        return -err->code;
    return 0;
}

/* The instance whose output is wanted. */
static int find_instance(struct agent *agent, const struct pod_view *pod, const char *name,
    bool previous, char **ret_id, struct error *err)
{
    struct container_list list = {0};
    struct container_info *before = NULL, *newest;
    autojson cJSON *spec = NULL;

    if (!pod->spec || json_parse(str_of(pod->spec), &spec, err) < 0 ||
        !pod_container(spec, name, NULL))
        return error_set(err, ERR_NOT_FOUND, "container \"%s\" not found in pod \"%s_%s\"", name,
            pod->meta.name, pod->meta.namespace_);
    if (runtime_cache_pod(agent->cache, pod->meta.uid, &list, err) < 0)
        return -err->code;
    newest = newest_instance(&list, name, NULL, &before);
    /* One that is only being made has no output; the one before it has. */
    if (newest && newest->state == CONTAINER_CREATED && !previous)
        newest = before;
    if (previous)
        newest = before;
    int r = 0;
    if (newest)
        *ret_id = xstrdup(newest->id);
    else if (previous)
        r = error_set(err, ERR_BAD_REQUEST,
            "previous terminated container \"%s\" in pod \"%s\" not found", name, pod->meta.name);
    else
        r = error_set(err, ERR_BAD_REQUEST,
            "container \"%s\" in pod \"%s\" is waiting to start: ContainerCreating", name,
            pod->meta.name);
    container_list_done(&list);
    return r;
}

struct log_target {
    struct httpd_request *request;
    bool begun;
};

static int write_piece(void *arg, struct str piece)
{
    struct log_target *t = arg;
    struct error err;

    if (!t->begun && httpd_begin(t->request, 200, "text/plain", &err) < 0)
        return -ERR_CLOSED;
    t->begun = true;
    return httpd_write(t->request, piece, &err) < 0 ? -ERR_CLOSED : 0;
}

static bool client_gone(void *arg)
{
    struct log_target *t = arg;
    struct error err;

    /* A follower sees the head at once, also when nothing has been written yet. */
    if (!t->begun) {
        if (httpd_begin(t->request, 200, "text/plain", &err) < 0)
            return true;
        t->begun = true;
    }
    return httpd_client_gone(t->request);
}

static int stream_logs(struct agent *agent, struct httpd_request *r, const char *namespace_,
    const char *pod_name, const char *container, struct error *err)
{
    struct log_options options;
    bool previous = false;
    autofree char *id = NULL;
    const struct pod_view *pod = informer_get(agent->pods, namespace_, pod_name);

    if (!pod)
        return error_set(err, ERR_NOT_FOUND, "pod \"%s\" does not exist", pod_name);
    int result = read_options(agent, r, &options, &previous, err);
    if (result == 0)
        result = find_instance(agent, pod, container, previous, &id, err);
    projected_unref(pod);
    if (result < 0)
        return result;
    struct log_target target = {.request = r};
    result = agent->runtime->ops->logs(
        agent->runtime, id, &options, write_piece, &target, client_gone, err);
    if (result < 0 && !target.begun)
        return result;
    if (!target.begun)
        httpd_reply(r, 200, "text/plain", STR(""));
    else
        httpd_end(r);
    return 0;
}

static void serve_logs(void *arg, struct httpd_request *r)
{
    struct str rest = httpd_path(r), empty, kind, namespace_, pod;
    struct error err;

    if (!str_split(&rest, '/', &empty) || !str_split(&rest, '/', &kind) ||
        !str_split(&rest, '/', &namespace_) || !str_split(&rest, '/', &pod) || rest.n == 0) {
        httpd_reply(r, 404, "text/plain", STR("not found"));
        return;
    }
    autofree char *namespace_text = str_dup(namespace_), *pod_text = str_dup(pod),
                  *container = str_dup(rest);
    if (stream_logs(arg, r, namespace_text, pod_text, container, &err) < 0)
        reply_error(r, &err);
}

int server_start(struct agent *agent, struct error *err)
{
    struct httpd_config config = {.address = agent->config->bind_address,
        .port = (int)agent->config->port,
        .cert_file = agent->serving_cert,
        .key_file = agent->serving_key,
        .client_ca_file = agent->config->client_ca_file,
        .tls = agent->config->tls,
        .routes = routes,
        .route_count = ARRAY_COUNT(routes),
        .connections_max = CONNECTIONS_MAX,
        .arg = agent,
        .authorize = authorize};

    if (httpd_new(agent->env, &config, &agent->httpd, err) < 0)
        return error_wrap(err, "port %lld", (long long)agent->config->port);
    log_info("serving", "address", "%s", agent->config->bind_address, "port", "%d",
        httpd_port(agent->httpd), NULL);
    return 0;
}

void server_stop(struct agent *agent)
{
    httpd_free(agent->httpd);
    agent->httpd = NULL;
}
