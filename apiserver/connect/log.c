/*
 * GET pods/NAME/log: the kubelet's containerLogs, streamed; its refusals in the API's words.
 *
 * Upstream: registry/core/pod/strategy.go (LogLocation), registry/generic/rest/streamer.go.
 */
#include "apiserver/connect/internal.h"

#include "apiserver/server.h"
#include "common/http_client.h"
#include "common/time.h"

#define ANSWER_TIMEOUT_NS (30 * NS_PER_S)

static void add_query(struct request *q, struct strbuf *out)
{
    static const char *const passed[] = {
        "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"};
    struct str value;
    char separator = '?';

    for (size_t i = 0; i < ARRAY_COUNT(passed); i++) {
        if (!request_query(q, passed[i], &value))
            continue;
        strbuf_addf(out, "%c%s=", separator, passed[i]);
        separator = '&';
        url_encode(value, out);
    }
}

static void log_target(struct request *q, const char *container, struct strbuf *out)
{
    strbuf_addf(out, "/containerLogs/%s/%s/", q->namespace_, q->name);
    url_encode(str_of(container), out);
    add_query(q, out);
}

static enum stage_result begin(struct request *q)
{
    autojson cJSON *pod = NULL;
    const char *container = NULL;
    struct location to;

    if (location_object(q, "pods", q->namespace_, q->name, &pod) == STAGE_ERROR ||
        location_container(q, pod, &container) == STAGE_ERROR)
        return STAGE_ERROR;
    const char *node = json_string_at(pod, "spec.nodeName");
    if (!node || !*node)
        return request_reply(q, 200, "text/plain", STR(""));
    if (location_kubelet(q, node, &to) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!backend_reaches_kubelets(q->server->nodes->tls))
        return request_fail(q, ERR_NOT_IMPLEMENTED,
            "the API server was started without --kubelet-client-certificate");
    struct strbuf text;
    strbuf_init(&text, 0);
    strbuf_addc(&text, "GET ");
    log_target(q, container, &text);
    strbuf_addc(&text, " HTTP/1.1\r\nHost: ");
    location_add_host(&to, &text);
    strbuf_addc(&text, "\r\nUser-Agent: skiff-apiserver\r\nConnection: close\r\n\r\n");
    return relay_start(q, &to, &text, false, ANSWER_TIMEOUT_NS);
}

static enum stage_result unreachable(struct request *q, struct relay *r)
{
    autostrbuf struct strbuf url = STRBUF_EMPTY;
    autojson cJSON *pod = NULL;
    const char *container = "";

    if (location_object(q, "pods", q->namespace_, q->name, &pod) == STAGE_ERROR ||
        location_container(q, pod, &container) == STAGE_ERROR)
        return STAGE_ERROR;
    location_add_host(&r->to, &url);
    log_target(q, container, &url);
    q->reason = "";
    return request_fail(q, ERR_INTERNAL, "Get \"https://%s\": %s", url.data, r->err.text);
}

static enum stage_result refused(struct request *q, struct relay *r)
{
    struct str text;

    if (!relay_whole(r, &text))
        return STAGE_WAIT;
    text = str_trim(text);
    if (r->status == 404)
        return request_fail_object(q, ERR_NOT_FOUND,
            "the server could not find the requested resource (get pods %s): %.*s", q->name,
            STR_FMT(text));
    enum err code = r->status == 400 ? ERR_BAD_REQUEST : error_from_reason(NULL, r->status);
    return request_fail(q, code, "%.*s", STR_FMT(text));
}

enum stage_result connect_log_stage(struct request *q)
{
    struct relay *r = q->stage_state;

    if (!r)
        return begin(q);
    if (!relay_opened(r))
        return STAGE_WAIT;
    if (r->status == 0)
        return unreachable(q, r);
    if (r->status != 200)
        return refused(q, r);
    q->long_running = true;
    return request_reply_body(q, 200, "text/plain", relay_next, r);
}
