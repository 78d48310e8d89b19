/*
 * Proxying to pods, services and nodes: the client's request goes on as it is, but for what belongs
 * to its own connection and to us (credentials, impersonation), and so does the answer.
 *
 * A body is passed on once it is whole, so it has the usual limit. Redirects are the client's to
 * follow: a Location within the backend is put behind the proxy's path.
 *
 * Upstream: apimachinery/pkg/util/proxy (upgradeaware.go, transport.go).
 */
#include "apiserver/connect/internal.h"

#include "apiserver/auth/auth.h"
#include "apiserver/server.h"
#include "common/http1.h"
#include "common/time.h"

/* Not the client's business to tell a backend, or the connection's. A '-' at the end: a prefix. */
static const char *const dropped[] = {"authorization", "connection", "content-length", "expect",
    "host", "http2-settings", "impersonate-", "keep-alive", "proxy-", "te", "trailer",
    "transfer-encoding", "upgrade", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    "x-forwarded-uri", "x-remote-"};
/* A kubelet looks at them too, and has another name than we. */
static const char *const browser[] = {"origin", "sec-fetch-", "cookie"};
/* Of an answer. */
static const char *const of_connection[] = {"connection", "content-length", "date", "keep-alive",
    "proxy-", "te", "trailer", "transfer-encoding", "upgrade"};

#define BEARER_PROTOCOL "base64url.bearer.authorization.k8s.io."

static bool is_in(struct str name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct str entry = str_of(list[i]);
        bool is_prefix = entry.p[entry.n - 1] == '-';
        if (is_prefix ? name.n >= entry.n && str_eq_nocase(str_range(name.p, entry.n), entry)
                      : str_eq_nocase(name, entry))
            return true;
    }
    return false;
}

/* Is the name one of a Connection header's? */
static bool is_listed(struct str connection, struct str name)
{
    struct str one;

    while (str_split(&connection, ',', &one))
        if (str_eq_nocase(str_trim(one), name))
            return true;
    return false;
}

bool proxy_wants_upgrade(const struct request *q)
{
    return is_listed(request_header(q, "Connection"), STR("upgrade")) &&
           request_header(q, "Upgrade").n > 0;
}

/* Without the protocol that carries a token. */
static void add_protocols(struct str value, struct strbuf *out)
{
    struct str one;
    bool first = true;

    while (str_split(&value, ',', &one)) {
        one = str_trim(one);
        if (str_starts(one, STR(BEARER_PROTOCOL)))
            continue;
        strbuf_addf(out, "%s%.*s", first ? "Sec-WebSocket-Protocol: " : ", ", STR_FMT(one));
        first = false;
    }
    if (!first)
        strbuf_addc(out, "\r\n");
}

void proxy_add_headers(struct request *q, const struct location *to, struct strbuf *out)
{
    struct str connection = request_header(q, "Connection");

    for (size_t i = 0; i < q->header_count; i++) {
        struct str name = q->headers[i].name, value = q->headers[i].value;
        if (name.n == 0 || name.p[0] == ':' || is_in(name, dropped, ARRAY_COUNT(dropped)) ||
            (to->kubelet && is_in(name, browser, ARRAY_COUNT(browser))) ||
            is_listed(connection, name))
            continue;
        if (str_eq_nocase(name, STR("sec-websocket-protocol")))
            add_protocols(value, out);
        else
            strbuf_addf(out, "%.*s: %.*s\r\n", STR_FMT(name), STR_FMT(value));
    }
    strbuf_addc(out, "Host: ");
    location_add_host(to, out);
    if (proxy_wants_upgrade(q))
        strbuf_addf(out, "\r\nConnection: Upgrade\r\nUpgrade: %.*s\r\n",
            STR_FMT(request_header(q, "Upgrade")));
    else
        strbuf_addc(out, "\r\nConnection: close\r\n");
}

/* --- the request --- */

static bool has_dot_segment(const char *path)
{
    struct str rest = str_of(path), segment;

    while (str_split(&rest, '/', &segment))
        if (str_eqc(segment, ".") || str_eqc(segment, ".."))
            return true;
    return false;
}

static void add_path(const char *path, struct strbuf *out)
{
    strbuf_add_char(out, '/');
    for (const char *p = path; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("-._~!$&'()*+,;=:@/", c);
        if (plain)
            strbuf_add_char(out, (char)c);
        else
            strbuf_addf(out, "%%%02X", c);
    }
}

/* What the client's path has in front of the proxied one: ".../proxy". */
static struct str own_path(struct request *q)
{
    struct str path = q->path;
    size_t behind = strlen(q->subpath);

    path.n -= behind;
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

static void add_forwarded(struct request *q, struct strbuf *out)
{
    struct str peer = str_of(q->peer_address), host = request_header(q, "Host");
    struct str before = request_header(q, "X-Forwarded-For"), own = own_path(q);

    for (size_t i = peer.n; i > 0; i--)
        if (peer.p[i - 1] == ':') {
            peer.n = i - 1;
            break;
        }
    strbuf_addf(out, "X-Forwarded-For: %.*s%s%.*s\r\nX-Forwarded-Proto: https\r\n", STR_FMT(before),
        before.n ? ", " : "", STR_FMT(peer));
    if (host.n > 0)
        strbuf_addf(out, "X-Forwarded-Host: %.*s\r\n", STR_FMT(host));
    strbuf_addc(out, "X-Forwarded-Uri: ");
    add_path(own.n > 0 ? arena_strdup(q->arena, str_range(own.p + 1, own.n - 1)) : "", out);
    strbuf_addf(out, "/%s\r\n", "");
}

static void write_request(struct request *q, const struct location *to, struct strbuf *out)
{
    strbuf_addf(out, "%.*s ", STR_FMT(q->method));
    add_path(q->subpath, out);
    if (q->query.n > 0)
        strbuf_addf(out, "?%.*s", STR_FMT(q->query));
    strbuf_addc(out, " HTTP/1.1\r\n");
    proxy_add_headers(q, to, out);
    if (!to->kubelet)
        add_forwarded(q, out);
    bool has_body = q->body.n > 0 || str_eqc(q->method, "POST") || str_eqc(q->method, "PUT") ||
                    str_eqc(q->method, "PATCH");
    if (has_body)
        strbuf_addf(out, "Content-Length: %zu\r\n", q->body.n);
    strbuf_addc(out, "\r\n");
    strbuf_add(out, q->body);
}

/* "…/proxy" alone is where relative links of the page would go wrong. */
static enum stage_result add_slash(struct request *q)
{
    ssize_t mark = str_find(q->target, '?');
    size_t n = mark < 0 ? q->target.n : (size_t)mark;

    request_add_header(q, "Location",
        arena_printf(
            q->arena, "%.*s/%.*s", (int)n, q->target.p, (int)(q->target.n - n), q->target.p + n));
    return request_reply(q, 301, "text/plain; charset=utf-8", STR(""));
}

/* Through the kubelet's own exec a GET would open a shell. */
static bool reaches_streams(const struct request *q)
{
    static const char *const prefixes[] = {"exec", "attach", "portForward", "run"};

    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++)
        if (str_starts(str_of(q->subpath), str_of(prefixes[i])))
            return true;
    return proxy_wants_upgrade(q);
}

static enum stage_result begin(struct request *q)
{
    struct location to;
    bool upgrade = proxy_wants_upgrade(q);

    if (has_dot_segment(q->subpath))
        return request_fail(q, ERR_BAD_REQUEST, "the path holds \".\" or \"..\"");
    if (c_eq(q->plural, "nodes") && reaches_streams(q) && auth_create_stage(q) == STAGE_ERROR)
        return STAGE_ERROR;
    if (location_proxied(q, &to) == STAGE_ERROR)
        return STAGE_ERROR;
    if (to.kubelet && !backend_reaches_kubelets(q->server->nodes->tls))
        return request_fail(q, ERR_NOT_IMPLEMENTED,
            "the API server was started without --kubelet-client-certificate");
    if (!upgrade && !*q->subpath && q->path.n > 0 && q->path.p[q->path.n - 1] != '/')
        return add_slash(q);
    struct strbuf text;
    strbuf_init(&text, 0);
    write_request(q, &to, &text);
    q->deadline_ns = ENV_FOREVER; /* the backend's own */
    return relay_start(q, &to, &text, upgrade, ENV_FOREVER);
}

/* --- the answer --- */

/* "http://BACKEND/x" and "/x" become ".../proxy/x"; other hosts stay. */
static const char *rewritten(struct request *q, struct relay *r, struct str value)
{
    autostrbuf struct strbuf own = STRBUF_EMPTY;
    struct str rest = value;
    struct str prefix = own_path(q);

    strbuf_addf(&own, "%s://", r->to.tls ? "https" : "http");
    location_add_host(&r->to, &own);
    if (str_starts(rest, strbuf_str(&own)))
        rest = str_range(rest.p + own.n, rest.n - own.n);
    else if (!str_starts(rest, STR("/")) || str_starts(rest, STR("//")))
        return arena_strdup(q->arena, value);
    return arena_printf(q->arena, "%.*s%s%.*s", STR_FMT(prefix),
        str_starts(rest, STR("/")) ? "" : "/", STR_FMT(rest));
}

void proxy_take_headers(struct request *q, struct relay *r, bool upgraded)
{
    struct http1_head head;
    struct error ignored;
    int status;

    if (http1_parse_answer(strbuf_str(&r->answer), &head, &status, &ignored) <= 0)
        return; /* it was parsed before */
    struct str connection = http1_header(&head, "Connection");
    for (size_t i = 0; i < head.header_count; i++) {
        struct str name = head.headers[i].name, value = head.headers[i].value;
        if (is_in(name, of_connection, ARRAY_COUNT(of_connection)) || is_listed(connection, name))
            continue;
        if (str_eq_nocase(name, STR("content-type")) && !upgraded)
            q->content_type = arena_strdup(q->arena, value);
        else if (str_eq_nocase(name, STR("location")) && !upgraded && !r->to.kubelet)
            request_add_header(q, "Location", rewritten(q, r, value));
        else
            request_add_header(q, arena_strdup(q->arena, name), arena_strdup(q->arena, value));
    }
    if (upgraded) {
        request_add_header(q, "Connection", "Upgrade");
        request_add_header(q, "Upgrade", arena_strdup(q->arena, http1_header(&head, "Upgrade")));
    }
}

enum stage_result proxy_pass_answer(struct request *q, struct relay *r)
{
    q->long_running = true;
    request_reply_body(q, r->status, NULL, relay_next, r);
    proxy_take_headers(q, r, false);
    if (r->status == 204 || r->status == 304)
        request_reply(q, r->status, q->content_type, STR(""));
    return STAGE_RESPOND;
}

static enum stage_result answer(struct request *q, struct relay *r)
{
    if (r->status == 0)
        return request_fail(q, ERR_UNAVAILABLE, "error trying to reach service: %s", r->err.text);
    if (!r->upgraded)
        return proxy_pass_answer(q, r);
    if (!r->wants_upgrade)
        return request_fail(q, ERR_BAD_GATEWAY, "the backend switched protocols unasked");
    proxy_take_headers(q, r, true);
    return relay_upgrade(q, r);
}

enum stage_result connect_proxy_stage(struct request *q)
{
    struct relay *r = q->stage_state;

    if (!q->body_complete)
        return STAGE_WAIT;
    if (!r)
        return begin(q);
    return relay_opened(r) ? answer(q, r) : STAGE_WAIT;
}
