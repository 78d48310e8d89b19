/*
 * API client: paths, bodies, errors and repeats over an http_client.
 *
 * Upstream: client-go's rest.Request. What is repeated is said in the header; the waits come from
 * the server's Retry-After, or start at 50 ms and double (broken GETs), with jitter.
 */
#include "common/api_client.h"

#include "common/limits.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/time.h"

#define DEADLINE_NS (10 * NS_PER_S)
#define RETRY_FIRST_NS (50 * NS_PER_MS)
#define PAGE_OBJECTS "500"

struct api_client {
    struct env *env;
    struct http_client *http;
};

static const char *const patch_types[] = {
    [PATCH_JSON] = "application/json-patch+json",
    [PATCH_MERGE] = "application/merge-patch+json",
    [PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
};

static const struct metric_info metric_requests = {"rest_client_requests_total", METRIC_COUNTER,
    "Number of HTTP requests, partitioned by status code and method.", {"code", "method"}};

struct api_client *api_client_new(struct env *env, struct http_client *take_http)
{
    struct api_client *c = xcalloc(1, sizeof(*c));

    c->env = env;
    c->http = take_http;
    return c;
}

void api_client_free(struct api_client *c)
{
    if (!c)
        return;
    http_client_free(c->http);
    free(c);
}

struct env *api_client_env(struct api_client *c)
{
    return c->env;
}

struct http_client *api_client_http(struct api_client *c)
{
    return c->http;
}

static void add_segment(struct strbuf *out, const char *segment)
{
    strbuf_add_char(out, '/');
    url_encode(str_of(segment), out);
}

void api_path(const struct api_ref *ref, struct strbuf *out)
{
    struct str rest = str_of(ref->group_version), part;

    strbuf_addc(out, str_find(rest, '/') >= 0 ? "/apis" : "/api");
    while (str_split(&rest, '/', &part)) {
        strbuf_add_char(out, '/');
        url_encode(part, out);
    }
    if (ref->namespace_) {
        strbuf_addc(out, "/namespaces");
        add_segment(out, ref->namespace_);
    }
    if (ref->plural)
        add_segment(out, ref->plural);
    if (ref->name)
        add_segment(out, ref->name);
    if (ref->subresource)
        add_segment(out, ref->subresource);
}

/* The error of a Status tree; false when it is none. */
static bool read_status(const cJSON *tree, int http_status, struct error *err)
{
    const char *kind = json_string(tree, "kind");

    if (!kind || strcmp(kind, "Status"))
        return false;
    const char *reason = json_string(tree, "reason"), *message = json_string(tree, "message");
    enum err code = error_from_reason(reason ? reason : "", http_status);
    error_set(err, code, "%s", message && message[0] ? message : error_default_text(code));
    return true;
}

int api_error_from_response(const struct http_response *response, struct error *err)
{
    autojson cJSON *tree = NULL;
    struct error ignored;
    struct str body = strbuf_str(&response->body);

    if (body.n > 0 && body.p[0] == '{' && json_parse(body, &tree, &ignored) == 0 &&
        read_status(tree, response->status, err))
        return -err->code;
    body = str_trim(body);
    enum err code = error_from_reason("", response->status);
    int shown = body.n < 200 ? (int)body.n : 200;
    if (shown > 0 && !memchr(body.p, '\n', (size_t)shown))
        return error_set(
            err, code, "the server answered %d: %.*s", response->status, shown, body.p);
    return error_set(err, code, "the server answered %d", response->status);
}

static const char *code_label(int status, char *buf, size_t n)
{
    if (status == 0)
        return "<error>";
    snprintf(buf, n, "%d", status);
    return buf;
}

/* How long to wait before the next try; -1: the answer stands. */
static int64_t retry_after(struct api_client *c, const struct http_request *request, int attempt,
    int result, const struct http_response *response)
{
    int64_t seconds;
    struct error ignored;

    if (result == -ERR_CLOSED && !strcmp(request->method, "GET"))
        return env_jitter_ns(c->env, RETRY_FIRST_NS << (attempt < 6 ? attempt : 6), 0.5);
    if (result < 0 || (response->status != 429 && response->status != 503))
        return -1;
    struct str header = http_response_header(response, "retry-after");
    if (header.n == 0 || str_parse_int64(header, &seconds, &ignored) < 0 || seconds < 0 ||
        seconds > 60)
        return -1;
    return env_jitter_ns(c->env, seconds > 0 ? seconds * NS_PER_S : RETRY_FIRST_NS, 0.1);
}

int api_raw(struct api_client *c, const struct http_request *request,
    struct http_response *response, struct error *err)
{
    int64_t deadline_ns = env_now_ns(c->env) + DEADLINE_NS;
    char code[16];

    for (int attempt = 0;; attempt++) {
        int result = http_do(c->http, request, response, err);
        metric_add(metrics_default(), &metric_requests, 1,
            code_label(result < 0 ? 0 : response->status, code, sizeof(code)), request->method);
        int64_t wait_ns = retry_after(c, request, attempt, result, response);
        if (wait_ns < 0 || env_now_ns(c->env) + wait_ns > deadline_ns)
            return result;
        log_debug("request failed, retrying", "method", "%s", request->method, "path", "%s",
            request->path, "after_ms", "%lld", (long long)(wait_ns / NS_PER_MS), NULL);
        env_sleep_ns(c->env, wait_ns);
    }
}

static int call(struct api_client *c, const char *method, const char *path,
    const char *content_type, const cJSON *body, cJSON **ret, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct http_header headers[] = {
        {"Accept", "application/json"},
        {"Content-Type", content_type},
    };
    struct http_response response;

    if (body)
        json_print(body, &text);
    http_response_init(&response);
    struct http_request request = {
        .method = method,
        .path = path,
        .headers = headers,
        .header_count = body ? 2 : 1,
        .body = strbuf_str(&text),
    };
    int result = api_raw(c, &request, &response, err);
    if (result == 0 && response.status >= 400)
        result = api_error_from_response(&response, err);
    else if (result == 0 && (response.status < 200 || response.status >= 300))
        result = error_set(err, ERR_BAD_GATEWAY, "the server answered %d", response.status);
    if (result == 0 && ret) {
        result = json_parse(strbuf_str(&response.body), ret, err);
        if (result < 0) /* the server's fault, not ours */
            result = error_set(err, ERR_BAD_GATEWAY, "%s %s: the answer is not JSON", method, path);
    }
    http_response_done(&response);
    return result;
}

/* The call's path with its query, to be freed by the caller. */
static char *path_of(const struct api_ref *ref, const char *query)
{
    struct strbuf path = STRBUF_EMPTY;

    api_path(ref, &path);
    if (query && query[0]) {
        strbuf_add_char(&path, '?');
        strbuf_addc(&path, query);
    }
    return strbuf_steal(&path);
}

int api_call(struct api_client *c, const char *method, const struct api_ref *ref, const char *query,
    const cJSON *body, cJSON **ret, struct error *err)
{
    autofree char *path = path_of(ref, query);

    return call(c, method, path,
        strcmp(method, "PATCH") ? "application/json" : patch_types[PATCH_MERGE], body, ret, err);
}

int api_get(struct api_client *c, const struct api_ref *ref, cJSON **ret, struct error *err)
{
    return api_call(c, "GET", ref, NULL, NULL, ret, err);
}

int api_create(struct api_client *c, const struct api_ref *ref, const cJSON *object, cJSON **ret,
    struct error *err)
{
    struct api_ref collection = *ref;

    if (!ref->subresource)
        collection.name = NULL;
    return api_call(c, "POST", &collection, NULL, object, ret, err);
}

int api_update(struct api_client *c, const struct api_ref *ref, const cJSON *object, cJSON **ret,
    struct error *err)
{
    return api_call(c, "PUT", ref, NULL, object, ret, err);
}

int api_patch(struct api_client *c, const struct api_ref *ref, enum patch_type type,
    const cJSON *patch, cJSON **ret, struct error *err)
{
    autofree char *path = path_of(ref, NULL);

    return call(c, "PATCH", path, patch_types[type], patch, ret, err);
}

int api_apply(struct api_client *c, const struct api_ref *ref, const char *manager, bool force,
    const cJSON *config, cJSON **ret, struct error *err)
{
    autostrbuf struct strbuf query = STRBUF_EMPTY;

    strbuf_addc(&query, "fieldValidation=Strict&fieldManager=");
    url_encode(str_of(manager), &query);
    if (force)
        strbuf_addc(&query, "&force=true");
    autofree char *path = path_of(ref, query.data);

    return call(c, "PATCH", path, "application/apply-patch+yaml", config, ret, err);
}

int api_delete(struct api_client *c, const struct api_ref *ref,
    const struct api_delete_options *options, cJSON **ret, struct error *err)
{
    static const struct api_delete_options none = {.grace_seconds = -1};
    const struct api_delete_options *o = options ? options : &none;
    autojson cJSON *body = NULL;

    if (o->uid || o->resource_version || o->propagation || o->grace_seconds >= 0) {
        body = cJSON_CreateObject();
        json_set_string(body, "kind", "DeleteOptions");
        json_set_string(body, "apiVersion", "v1");
        if (o->uid)
            json_set_string_at(body, "preconditions.uid", o->uid);
        if (o->resource_version)
            json_set_string_at(body, "preconditions.resourceVersion", o->resource_version);
        if (o->propagation)
            json_set_string(body, "propagationPolicy", o->propagation);
        if (o->grace_seconds >= 0)
            json_set(body, "gracePeriodSeconds", json_new_int64(o->grace_seconds));
    }
    return api_call(c, "DELETE", ref, NULL, body, ret, err);
}

static int list_page(struct api_client *c, const struct api_ref *ref, const char *query,
    const char *continue_, cJSON **ret, struct error *err)
{
    autostrbuf struct strbuf q = STRBUF_EMPTY;

    if (query && query[0]) {
        strbuf_addc(&q, query);
        strbuf_add_char(&q, '&');
    }
    strbuf_addc(&q, "limit=" PAGE_OBJECTS);
    if (continue_) {
        strbuf_addc(&q, "&continue=");
        url_encode(str_of(continue_), &q);
    }
    return api_call(c, "GET", ref, q.data, NULL, ret, err);
}

static void move_items(cJSON *to, cJSON *from)
{
    cJSON *items = json_get(to, "items"), *more = json_get(from, "items"), *item;

    while (more && (item = more->child)) {
        cJSON_DetachItemViaPointer(more, item);
        cJSON_AddItemToArray(items, item);
    }
}

static int list_pages(struct api_client *c, const struct api_ref *ref, const char *query,
    cJSON **ret, struct error *err)
{
    autojson cJSON *all = NULL;
    autofree char *next = NULL;

    do {
        autojson cJSON *page = NULL;
        if (list_page(c, ref, query, next, &page, err) < 0)
            return -err->code;
        if (all && !cJSON_IsArray(json_get(page, "items")))
            return error_set(err, ERR_BAD_GATEWAY, "a page of the list has no items");
        const char *token = json_string_at(page, "metadata.continue");
        free(next);
        next = token && token[0] ? xstrdup(token) : NULL;
        if (!all)
            all = steal(&page);
        else
            move_items(all, page);
        if (next && !cJSON_IsArray(json_get(all, "items")))
            return error_set(err, ERR_BAD_GATEWAY, "a page of the list has no items");
    } while (next);
    json_remove_at(all, "metadata.continue");
    json_remove_at(all, "metadata.remainingItemCount");
    *ret = steal(&all);
    return 0;
}

int api_list(struct api_client *c, const struct api_ref *ref, const char *query, cJSON **ret,
    struct error *err)
{
    int result = list_pages(c, ref, query, ret, err);

    if (result == -ERR_EXPIRED) /* the pages outlived their snapshot: all in one */
        result = api_call(c, "GET", ref, query, NULL, ret, err);
    return result;
}
