/*
 * gRPC probes: one call of grpc.health.v1.Health/Check over plain HTTP/2 (nghttp2 frames it).
 *
 * The answer is one message, {status}, and trailers with grpc-status. Only SERVING is a success.
 * Everything that comes is bounded: a kilobyte of body, the probe's timeout.
 *
 * Threads: any; the call blocks. Upstream: pkg/probe/grpc.
 */
#include "kubelet/agent.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/time.h"

#define BODY_MAX 1024
#define SERVICE_MAX 200
#define UNIMPLEMENTED "12"

struct call {
    unsigned char request[5 + 3 + SERVICE_MAX];
    size_t request_bytes, sent;
    struct strbuf body;
    char status[8];    /* grpc-status */
    char message[256]; /* grpc-message */
    bool over;
};

/* Length-prefixed message with field 1 = service. */
static void make_request(struct call *c, const char *service)
{
    size_t n = service ? strlen(service) : 0;
    unsigned char *p = c->request + 5;

    if (n > SERVICE_MAX)
        n = SERVICE_MAX;
    if (n > 0) {
        *p++ = 0x0a;
        if (n > 127)
            *p++ = (unsigned char)(0x80 | (n & 0x7f));
        *p++ = (unsigned char)(n > 127 ? n >> 7 : n);
        memcpy(p, service, n);
        p += n;
    }
    size_t message = (size_t)(p - c->request) - 5;
    c->request[3] = (unsigned char)(message >> 8);
    c->request[4] = (unsigned char)message;
    c->request_bytes = message + 5;
}

static ssize_t give_body(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct call *c = source->ptr;
    size_t n = c->request_bytes - c->sent;

    n = n < room ? n : room;
    memcpy(out, c->request + c->sent, n);
    c->sent += n;
    if (c->sent == c->request_bytes)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
    size_t n, void *arg)
{
    struct call *c = arg;

    strbuf_add(&c->body, str_range((const char *)data, n));
    return strbuf_overflowed(&c->body) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void keep(char *out, size_t room, const uint8_t *value, size_t n)
{
    n = n < room ? n : room - 1;
    memcpy(out, value, n);
    out[n] = '\0';
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags, void *arg)
{
    struct call *c = arg;
    struct str which = str_range((const char *)name, name_bytes);

    if (str_eqc(which, "grpc-status"))
        keep(c->status, sizeof(c->status), value, value_bytes);
    else if (str_eqc(which, "grpc-message"))
        keep(c->message, sizeof(c->message), value, value_bytes);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    struct call *c = arg;

    c->over = true;
    return 0;
}

static nghttp2_session *new_session(struct call *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session;

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        abort();
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&session, callbacks, c) != 0)
        abort();
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

#define HEADER(name, value)                                                                      \
    {                                                                                            \
        (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE \
    }

static void submit(nghttp2_session *session, struct call *c, const char *authority)
{
    nghttp2_nv headers[] = {HEADER(":method", "POST"), HEADER(":scheme", "http"),
        HEADER(":path", "/grpc.health.v1.Health/Check"), HEADER(":authority", authority),
        HEADER("content-type", "application/grpc"), HEADER("user-agent", "kube-probe/1.34"),
        HEADER("te", "trailers")};
    nghttp2_data_provider body = {.source.ptr = c, .read_callback = give_body};

    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
    nghttp2_submit_request(session, NULL, headers, ARRAY_COUNT(headers), &body, NULL);
}

/* Waits for the descriptor; false at the deadline. */
static bool wait_for(struct env *env, int fd, short events, int64_t deadline_ns)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left_ns = deadline_ns - env_now_ns(env);

    return left_ns > 0 && poll(&p, 1, (int)(left_ns / NS_PER_MS) + 1) > 0;
}

/* Sends what the session has; 0, or -1 at the deadline, -2 when the connection broke. */
static int send_all(struct env *env, nghttp2_session *session, int fd, int64_t deadline_ns)
{
    const uint8_t *data;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(session, &data)) > 0) {
        while (n > 0) {
            ssize_t sent = write(fd, data, (size_t)n);
            if (sent < 0 && errno != EAGAIN && errno != EINTR)
                return -2;
            if (sent < 0 && !wait_for(env, fd, POLLOUT, deadline_ns))
                return -1;
            data += sent > 0 ? sent : 0;
            n -= sent > 0 ? sent : 0;
        }
    }
    return n < 0 ? -2 : 0;
}

static int converse(
    struct env *env, nghttp2_session *session, struct call *c, int fd, int64_t deadline_ns)
{
    uint8_t bytes[4096];

    for (;;) {
        int r = send_all(env, session, fd, deadline_ns);
        if (r < 0 || c->over)
            return r;
        if (!wait_for(env, fd, POLLIN, deadline_ns))
            return -1;
        ssize_t n = read(fd, bytes, sizeof(bytes));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0 || nghttp2_session_mem_recv(session, bytes, (size_t)n) < 0)
            return -2;
    }
}

/* {status: 1} */
static int judge(const struct call *c, struct error *err)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    const unsigned char *p = (const unsigned char *)c->body.data;
    size_t status = c->body.n >= 7 && p[5] == 0x08 ? p[6] : 0;

    if (c_eq(c->status, UNIMPLEMENTED))
        return error_set(err, ERR_INTERNAL,
            "error: this server does not implement the grpc health protocol "
            "(grpc.health.v1.Health): %s",
            c->message);
    if (!c_eq(c->status, "0"))
        return error_set(err, ERR_INTERNAL, "error: health rpc probe failed: code = %s desc = %s",
            c->status[0] ? c->status : "14", c->message);
    if (status == 1)
        return 0;
    return error_set(err, ERR_INTERNAL, "service unhealthy (responded with \"%s\")",
        status < ARRAY_COUNT(names) ? names[status] : names[0]);
}

int grpc_action(
    struct env *env, const cJSON *action, const char *host, int64_t timeout_ns, struct error *err)
{
    int64_t deadline_ns = env_now_ns(env) + timeout_ns, port = json_int64_at(action, "port", 0);
    bool v6 = strchr(host, ':') != NULL;
    autofree char *authority =
        str_format("%s%s%s:%lld", v6 ? "[" : "", host, v6 ? "]" : "", (long long)port);
    struct call c = {.request_bytes = 0};
    int fd;

    if (handler_connect(host, port, timeout_ns, &fd, err) < 0)
        return error_wrap(err, "error: failed to connect service \"%s\"", authority);
    strbuf_init(&c.body, BODY_MAX);
    make_request(&c, json_string(action, "service"));
    nghttp2_session *session = new_session(&c);
    submit(session, &c, authority);
    int r = converse(env, session, &c, fd, deadline_ns);
    nghttp2_session_del(session);
    close(fd);
    if (r == -1)
        r = error_set(err, ERR_TIMEOUT, "timeout: health rpc did not complete within %llds",
            (long long)(timeout_ns / NS_PER_S));
    else if (r < 0)
        r = error_set(err, ERR_UNAVAILABLE, "error: health rpc probe failed: connection closed");
    else
        r = judge(&c, err);
    strbuf_done(&c.body);
    return r;
}
