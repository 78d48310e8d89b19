/*
 * Logs from the kubelets. See nodes.h.
 *
 * A task for each stream reads from the kubelet (its client blocks) into a bounded buffer; the
 * request takes from it and sleeps when it is empty, the task when it is full. The task pins the
 * request, so the buffer outlives a client that goes away; then the stream is cancelled and the
 * task ends by itself. Ended tasks are joined by the next stream, or at the end.
 *
 * Upstream: registry/core/pod/strategy.go (LogLocation), registry/generic/rest/streamer.go.
 */
#include "apiserver/request/nodes.h"

#include "apiserver/cache/cache.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"
#include "common/http_client.h"
#include "common/log.h"

#define BUFFER_BYTES (256u << 10)
#define STREAMS_MAX 500
#define KUBELET_PORT 10250
#define OPEN_TIMEOUT_NS (30ll * 1000000000)

struct log_stream {
    struct nodes *nodes;
    struct request *q;
    char *url;
    struct task *task;
    struct lock lock;
    struct cond changed;
    struct strbuf buffer;
    struct http_stream *stream; /* while it may be cancelled */
    bool opened, ended, broken, cancelled;
    int status; /* of the kubelet's answer, 0: none */
    struct error err;
    struct strbuf refusal;   /* body of an answer that is no 200 */
    struct log_stream *next; /* in one of nodes' lists */
};

struct nodes {
    struct server *server;
    struct http_client *client;
    struct lock lock;
    struct cond changed;
    struct log_stream *running, *over;
    size_t count;
};

int nodes_new(struct server *server, struct nodes **ret, struct error *err)
{
    const struct server_config *c = server->config;
    struct nodes *n = xcalloc(1, sizeof(*n));

    n->server = server;
    if (c->kubelet_client_cert && *c->kubelet_client_cert) {
        struct http_client_config config = {
            .base_url = "https://127.0.0.1:10250",
            .ca_file = c->kubelet_ca,
            .cert_file = c->kubelet_client_cert,
            .key_file = c->kubelet_client_key,
            .user_agent = "skiff-apiserver",
        };
        if (http_client_new(server->env, &config, &n->client, err) < 0) {
            free(n);
            return error_wrap(err, "client for the kubelets");
        }
    }
    env_lock_init(&n->lock);
    env_cond_init(&n->changed);
    *ret = n;
    return 0;
}

static void stream_free(struct log_stream *s)
{
    if (s->task)
        env_join(s->nodes->server->env, s->task);
    env_lock_done(&s->lock);
    env_cond_done(&s->changed);
    strbuf_done(&s->buffer);
    strbuf_done(&s->refusal);
    free(s->url);
    free(s);
}

static void reap(struct nodes *n)
{
    env_lock(n->server->env, &n->lock);
    struct log_stream *s = n->over;
    n->over = NULL;
    env_unlock(n->server->env, &n->lock);
    while (s) {
        struct log_stream *next = s->next;
        stream_free(s);
        s = next;
    }
}

static void cancel(struct log_stream *s)
{
    struct env *env = s->nodes->server->env;

    env_lock(env, &s->lock);
    s->cancelled = true;
    if (s->stream)
        http_stream_cancel(s->stream);
    env_broadcast(env, &s->changed);
    env_unlock(env, &s->lock);
}

void nodes_free(struct nodes *n)
{
    if (!n)
        return;
    struct env *env = n->server->env;
    env_lock(env, &n->lock);
    for (struct log_stream *s = n->running; s; s = s->next)
        cancel(s);
    while (n->count > 0)
        env_wait_until(env, &n->changed, &n->lock, ENV_FOREVER);
    env_unlock(env, &n->lock);
    reap(n);
    http_client_free(n->client);
    env_lock_done(&n->lock);
    env_cond_done(&n->changed);
    free(n);
}

/* --- the task --- */

static void remove_running(struct nodes *n, struct log_stream *s)
{
    struct log_stream **at = &n->running;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
}

/* Appends to the buffer, waiting for room. false: cancelled. */
static bool hand_over(struct log_stream *s, struct str bytes)
{
    struct env *env = s->nodes->server->env;

    env_lock(env, &s->lock);
    while (!s->cancelled && s->buffer.n >= BUFFER_BYTES)
        env_wait_until(env, &s->changed, &s->lock, ENV_FOREVER);
    bool goes_on = !s->cancelled;
    if (goes_on)
        strbuf_add(&s->buffer, bytes);
    env_unlock(env, &s->lock);
    if (goes_on)
        request_wake(s->q);
    return goes_on;
}

static bool open_stream(struct log_stream *s, struct http_stream **ret)
{
    struct env *env = s->nodes->server->env;
    struct http_request request = {.method = "GET", .path = s->url, .timeout_ns = OPEN_TIMEOUT_NS};
    struct http_response head;
    struct error err = {0};

    http_response_init(&head);
    *ret = NULL;
    int r = http_stream_open(s->nodes->client, &request, ret, &head, &err);
    env_lock(env, &s->lock);
    s->opened = true;
    s->err = err;
    s->status = r < 0 ? 0 : head.status;
    strbuf_add(&s->refusal, strbuf_str(&head.body));
    s->stream = *ret;
    bool cancelled = s->cancelled;
    env_unlock(env, &s->lock);
    http_response_done(&head);
    request_wake(s->q);
    return *ret && !cancelled;
}

static void copy_stream(struct log_stream *s, struct http_stream *stream)
{
    struct strbuf piece;
    struct error err;
    int r = 0;

    strbuf_init(&piece, 0);
    do {
        strbuf_clear(&piece);
        r = http_stream_next(stream, ENV_FOREVER, &piece, &err);
    } while (r > 0 && hand_over(s, strbuf_str(&piece)));
    s->broken = r < 0;
    strbuf_done(&piece);
}

static void run_stream(void *arg)
{
    struct log_stream *s = arg;
    struct nodes *n = s->nodes;
    struct env *env = n->server->env;
    struct request *q = s->q;
    struct http_stream *stream;

    if (open_stream(s, &stream))
        copy_stream(s, stream);
    env_lock(env, &s->lock);
    s->stream = NULL;
    s->ended = true;
    env_unlock(env, &s->lock);
    if (stream)
        http_stream_close(stream);
    request_wake(q);
    request_unpin(q);
    env_lock(env, &n->lock);
    remove_running(n, s);
    s->next = n->over;
    n->over = s;
    n->count--;
    env_broadcast(env, &n->changed);
    env_unlock(env, &n->lock);
}

/* --- where to --- */

static const char *address_of(const cJSON *node, const char *type)
{
    const cJSON *item;

    cJSON_ArrayForEach(item,
        json_path(node, "status.addresses")) if (c_eq(json_string(item, "type"),
                                                     type)) return json_string(item, "address");
    return NULL;
}

static void add_query(struct request *q, struct strbuf *url)
{
    static const char *const passed[] = {
        "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"};
    struct str value;
    char separator = '?';

    for (size_t i = 0; i < ARRAY_COUNT(passed); i++) {
        if (!request_query(q, passed[i], &value))
            continue;
        strbuf_add_char(url, separator);
        separator = '&';
        strbuf_addf(url, "%s=", passed[i]);
        url_encode(value, url);
    }
}

static void list_names(const cJSON *containers, struct strbuf *out)
{
    const cJSON *item;
    bool first = true;

    cJSON_ArrayForEach(item, containers)
    {
        strbuf_addf(out, "%s%s", first ? "" : " ", json_string(item, "name"));
        first = false;
    }
}

static bool has_container(const cJSON *pod, const char *name)
{
    static const char *const lists[] = {
        "spec.containers", "spec.initContainers", "spec.ephemeralContainers"};
    const cJSON *item;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        cJSON_ArrayForEach(
            item, json_path(pod, lists[i])) if (c_eq(json_string(item, "name"), name)) return true;
    return false;
}

static enum stage_result choose_container(struct request *q, const cJSON *pod, const char **ret)
{
    const cJSON *containers = json_path(pod, "spec.containers");
    const cJSON *init = json_path(pod, "spec.initContainers");
    struct str asked = {0};

    request_query(q, "container", &asked);
    if (asked.n > 0) {
        *ret = arena_strdup(q->arena, asked);
        if (has_container(pod, *ret))
            return STAGE_DONE;
        return request_fail(
            q, ERR_BAD_REQUEST, "container %s is not valid for pod %s", *ret, q->name);
    }
    if (cJSON_GetArraySize(containers) == 1 && cJSON_GetArraySize(init) == 0) {
        *ret = arena_strdup(q->arena, str_of(json_string(containers->child, "name")));
        return STAGE_DONE;
    }
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_addf(&text, "a container name must be specified for pod %s, choose one of: [", q->name);
    list_names(containers, &text);
    strbuf_add_char(&text, ']');
    if (cJSON_GetArraySize(init) > 0) {
        strbuf_addc(&text, " or one of the init containers: [");
        list_names(init, &text);
        strbuf_add_char(&text, ']');
    }
    return request_fail(q, ERR_BAD_REQUEST, "%s", text.data);
}

/* *ret NULL: the pod has no node yet. */
static enum stage_result log_url(struct request *q, const cJSON *pod, char **ret)
{
    const char *node_name = json_string_at(pod, "spec.nodeName"), *container = NULL;
    const struct resource *nodes = api_find_plural(q->server->api, "", "nodes");
    autostrbuf struct strbuf url = STRBUF_EMPTY;

    *ret = NULL;
    if (choose_container(q, pod, &container) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!node_name || !*node_name)
        return STAGE_DONE;
    struct object *o = cache_get(q->server->cache, nodes, STR(""), str_of(node_name));
    if (!o)
        return request_not_found(q, nodes, node_name);
    autojson cJSON *node = object_tree(o);
    object_unref(o);
    const char *address = address_of(node, "InternalIP");
    if (!address)
        return request_fail(q, ERR_INTERNAL,
            "Internal error occurred: no preferred addresses found; known addresses: []");
    int64_t port = json_int64_at(node, "status.daemonEndpoints.kubeletEndpoint.Port", KUBELET_PORT);
    bool v6 = strchr(address, ':');
    strbuf_addf(&url, "https://%s%s%s:%lld/containerLogs/%s/%s/%s", v6 ? "[" : "", address,
        v6 ? "]" : "", (long long)port, q->namespace_, q->name, container);
    add_query(q, &url);
    *ret = strbuf_steal(&url);
    return STAGE_DONE;
}

/* --- the request's side --- */

static void client_gone(void *arg)
{
    cancel(arg);
}

static enum stage_result start(struct request *q, char *take_url)
{
    struct nodes *n = q->server->nodes;
    struct env *env = q->server->env;

    reap(n);
    env_lock(env, &n->lock);
    bool full = n->count >= STREAMS_MAX;
    env_unlock(env, &n->lock);
    if (full || !n->client) {
        free(take_url);
        if (full)
            return request_fail(
                q, ERR_TOO_MANY_REQUESTS, "too many log streams are open, please try again later");
        return request_fail(q, ERR_NOT_IMPLEMENTED,
            "the API server was started without --kubelet-client-certificate");
    }
    struct log_stream *s = xcalloc(1, sizeof(*s));
    s->nodes = n;
    s->q = q;
    s->url = take_url;
    env_lock_init(&s->lock);
    env_cond_init(&s->changed);
    strbuf_init(&s->buffer, 0);
    strbuf_init(&s->refusal, 0);
    q->stage_state = s;
    request_pin(q);
    request_on_free(q, client_gone, s);
    env_lock(env, &n->lock);
    s->next = n->running;
    n->running = s;
    n->count++;
    env_unlock(env, &n->lock);
    s->task = env_spawn(env, "log", run_stream, s);
    return STAGE_WAIT;
}

static enum body_result log_next(struct request *q, struct strbuf *out)
{
    struct log_stream *s = q->body_state;
    struct env *env = q->server->env;

    env_lock(env, &s->lock);
    bool had = s->buffer.n > 0;
    strbuf_add(out, strbuf_str(&s->buffer));
    strbuf_clear(&s->buffer);
    enum body_result r = s->ended ? BODY_END : had ? BODY_CHUNK : BODY_WAIT;
    if (s->ended && s->broken)
        r = BODY_ABORT;
    env_broadcast(env, &s->changed);
    env_unlock(env, &s->lock);
    return r;
}

static enum stage_result opened(struct request *q, struct log_stream *s)
{
    struct str text = arena_str(q->arena, str_trim(strbuf_str(&s->refusal)));

    if (s->status == 0) {
        q->reason = "";
        return request_fail(q, ERR_INTERNAL, "Get \"%s\": %s", s->url, s->err.text);
    }
    if (s->status == 200) {
        q->long_running = true;
        return request_reply_body(q, 200, "text/plain", log_next, s);
    }
    if (s->status == 404)
        return request_fail_object(q, ERR_NOT_FOUND,
            "the server could not find the requested resource (get pods %s): %.*s", q->name,
            STR_FMT(text));
    if (s->status == 400)
        return request_fail(q, ERR_BAD_REQUEST, "%.*s", STR_FMT(text));
    return request_fail(q, error_from_reason(NULL, s->status), "%.*s", STR_FMT(text));
}

enum stage_result pod_log_stage(struct request *q)
{
    struct log_stream *s = q->stage_state;
    char *url = NULL;

    if (!s) {
        struct object *o = cache_get(
            q->server->cache, q->resource->storage, str_of(q->namespace_), str_of(q->name));
        if (!o)
            return request_not_found(q, q->resource, q->name);
        autojson cJSON *pod = object_tree(o);
        object_unref(o);
        if (log_url(q, pod, &url) == STAGE_ERROR)
            return STAGE_ERROR;
        if (!url)
            return request_reply(q, 200, "text/plain", STR(""));
        return start(q, url);
    }
    env_lock(q->server->env, &s->lock);
    bool is_open = s->opened;
    env_unlock(q->server->env, &s->lock);
    return is_open ? opened(q, s) : STAGE_WAIT;
}
