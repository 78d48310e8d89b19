/*
 * exec, attach and port-forward: asked of the pod's kubelet, with an upgrade that becomes a tunnel.
 *
 * The options are checked and put into the kubelet's words here; what is spoken after the upgrade
 * is between the client and the kubelet. A refusal of the kubelet's is passed on as it is.
 *
 * Upstream: registry/core/pod/rest/subresources.go, pod/strategy.go (streamLocation).
 */
#include "apiserver/connect/internal.h"

#include "apiserver/server.h"
#include "common/http1.h"
#include "common/http_client.h"
#include "common/time.h"

#define ANSWER_TIMEOUT_NS (40 * NS_PER_S)

static bool is_set(struct request *q, const char *name)
{
    struct str value;

    return request_query(q, name, &value) &&
           (str_eqc(value, "true") || str_eqc(value, "1") || str_eqc(value, "t") ||
               str_eqc(value, "T") || str_eqc(value, "TRUE") || str_eqc(value, "True"));
}

/* Each value of a repeated parameter, as it was sent. */
static size_t add_all(
    struct request *q, const char *name, const char *as, struct strbuf *out, const char *separator)
{
    struct str rest = q->query, pair, key;
    size_t n = 0;

    while (str_split(&rest, '&', &pair)) {
        struct str value = pair;
        if (!str_split(&value, '=', &key) || !str_eqc(key, name))
            continue;
        strbuf_addf(out, "%s%s=%.*s", separator, as, STR_FMT(value));
        separator = "&";
        n++;
    }
    return n;
}

/* ?input=1&output=1&... false: nothing is wanted. */
static bool add_streams(struct request *q, struct strbuf *out)
{
    static const struct {
        const char *option, *parameter;
    } streams[] = {{"stdin", "input"}, {"stdout", "output"}, {"stderr", "error"}, {"tty", "tty"}};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_COUNT(streams); i++) {
        /* A terminal has no stderr of its own. */
        if (!is_set(q, streams[i].option) || (i == 2 && is_set(q, "tty")))
            continue;
        strbuf_addf(out, "%c%s=1", n ? '&' : '?', streams[i].parameter);
        n += i < 3;
    }
    return n > 0;
}

static enum stage_result add_target(struct request *q, const cJSON *pod, struct strbuf *out)
{
    bool is_exec = c_eq(q->subresource_name, "exec");
    const char *container = NULL;

    if (c_eq(q->subresource_name, "portforward")) {
        strbuf_addf(out, "/portForward/%s/%s", q->namespace_, q->name);
        add_all(q, "ports", "port", out, "?");
        return STAGE_DONE;
    }
    if (location_container(q, pod, &container) == STAGE_ERROR)
        return STAGE_ERROR;
    strbuf_addf(out, "/%s/%s/%s/", q->subresource_name, q->namespace_, q->name);
    url_encode(str_of(container), out);
    if (!add_streams(q, out))
        return request_fail(
            q, ERR_BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    if (is_exec && add_all(q, "command", "command", out, "&") == 0)
        return request_fail(q, ERR_BAD_REQUEST, "you must specify a command");
    return STAGE_DONE;
}

static enum stage_result begin(struct request *q)
{
    autostrbuf struct strbuf target = STRBUF_EMPTY;
    autojson cJSON *pod = NULL;
    struct location to;

    if (location_object(q, "pods", q->namespace_, q->name, &pod) == STAGE_ERROR ||
        add_target(q, pod, &target) == STAGE_ERROR)
        return STAGE_ERROR;
    const char *node = json_string_at(pod, "spec.nodeName");
    if (!node || !*node)
        return request_fail(q, ERR_BAD_REQUEST, "pod %s does not have a host assigned", q->name);
    if (location_kubelet(q, node, &to) == STAGE_ERROR)
        return STAGE_ERROR;
    if (!backend_reaches_kubelets(q->server->nodes->tls))
        return request_fail(q, ERR_NOT_IMPLEMENTED,
            "the API server was started without --kubelet-client-certificate");
    if (!proxy_wants_upgrade(q))
        return request_fail(q, ERR_BAD_REQUEST, "Upgrade request required");
    struct strbuf text;
    strbuf_init(&text, 0);
    strbuf_addf(&text, "%.*s %s HTTP/1.1\r\n", STR_FMT(q->method), target.data);
    proxy_add_headers(q, &to, &text);
    strbuf_addc(&text, str_eqc(q->method, "GET") ? "\r\n" : "Content-Length: 0\r\n\r\n");
    return relay_start(q, &to, &text, true, ANSWER_TIMEOUT_NS);
}

static enum stage_result answer(struct request *q, struct relay *r)
{
    if (r->status == 0)
        return request_fail(q, ERR_INTERNAL, "error dialing backend: %s", r->err.text);
    if (r->upgraded) {
        proxy_take_headers(q, r, true);
        return relay_upgrade(q, r);
    }
    if (r->status < 400)
        return request_fail(q, ERR_INTERNAL, "invalid upgrade response: status code %d", r->status);
    return proxy_pass_answer(q, r);
}

enum stage_result connect_stream_stage(struct request *q)
{
    struct relay *r = q->stage_state;

    if (!r)
        return begin(q);
    return relay_opened(r) ? answer(q, r) : STAGE_WAIT;
}
