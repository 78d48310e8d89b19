/*
 * port-forward: connections into a pod's network namespace, each a pair of streams.
 *
 * SPDY: the client opens an error and a data stream with the same requestid and a port. WebSocket:
 * channels 2i and 2i+1 belong to the i-th port of the query, and begin with its number. The pod's
 * own 127.0.0.1 is dialled, then ::1: the socket is made inside of the namespace (the task enters
 * it for that one call), so it stays there.
 *
 * A failure is told in the connection's error stream; the others go on. The pod's end ends the
 * connection; the client's end only its direction. While one pod socket takes nothing, the client
 * is not read (its framing has no flow control); while the client takes nothing, no pod is.
 *
 * Upstream: cri-streaming/pkg/streaming/portforward, containerd's sandbox_portforward.
 */
#include "kubelet/stream/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/time.h"

#define PAIRS_MAX 512
#define PAIR_TIMEOUT_NS (30 * NS_PER_S)
#define CONNECT_TIMEOUT_NS (30 * NS_PER_S)
#define INPUT_ENOUGH_BYTES (256u << 10)
#define READ_BYTES (32u << 10)
#define TURN_READS 4

enum pair_state { PAIR_AWAITED, PAIR_CONNECTING, PAIR_OPEN, PAIR_OVER };

struct pair {
    struct pair *next;
    enum pair_state state;
    uint32_t request; /* what the two streams have in common */
    uint16_t port;
    bool has_data, has_error;
    uint32_t data, error; /* streams */
    int fd, family;
    char why4[96];       /* the first attempt's failure */
    int64_t deadline_ns; /* of waiting and connecting */
    struct strbuf input; /* to the pod */
    size_t input_start;
    bool input_ended, input_shut;
};

struct forward {
    struct agent *agent;
    const struct forward_target *target;
    struct channels channels;
    int pod_netns, own_netns;
    struct pair *pairs;
    size_t count;
};

static const char *const spdy_protocols[] = {"portforward.k8s.io", NULL};
static const char *const websocket_protocols[] = {
    "v4.channel.k8s.io", "v4.base64.channel.k8s.io", NULL};
static const struct channels_protocols protocols = {.spdy = spdy_protocols,
    .websocket = websocket_protocols,
    .tunnel = "SPDY/3.1+portforward.k8s.io"};

/* --- the end of a pair --- */

static void pair_close(struct pair *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    strbuf_done(&p->input);
    p->input_start = 0;
    p->state = PAIR_OVER;
}

/* Everything was sent; both streams end. */
static void pair_finish(struct forward *f, struct pair *p)
{
    pair_close(p);
    if (p->has_data)
        channels_finish(&f->channels, p->data);
    if (p->has_error)
        channels_finish(&f->channels, p->error);
}

static void pair_fail(struct forward *f, struct pair *p, const char *why)
{
    autofree char *text = str_format("error forwarding port %u to pod %s, uid %s: %s", p->port,
        f->target->sandbox_id, f->target->uid, why);

    if (p->has_error)
        channels_send(&f->channels, p->error, str_of(text));
    pair_finish(f, p);
}

/* --- connecting --- */

static int socket_in_pod(struct forward *f, int family, struct error *err)
{
    if (setns(f->pod_netns, CLONE_NEWNET) < 0)
        return error_sys(err, errno, "network namespace of the pod");
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), failed = errno;
    if (setns(f->own_netns, CLONE_NEWNET) < 0)
        abort(); /* this task would go on in a stranger's network */
    return fd < 0 ? error_sys(err, failed, "socket") : fd;
}

/* Begins with the family; a failure goes on with the next one, then ends the pair. */
static void pair_connect(struct forward *f, struct pair *p, int family);

static void attempt_failed(struct forward *f, struct pair *p, const char *why)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (p->family == AF_INET) {
        snprintf(p->why4, sizeof(p->why4), "%s", why);
        pair_connect(f, p, AF_INET6);
        return;
    }
    autofree char *text =
        str_format("failed to connect to localhost:%u inside namespace \"%s\", "
                   "IPv4: dial tcp4 127.0.0.1:%u: %s IPv6: dial tcp6 [::1]:%u: %s",
            p->port, f->target->sandbox_id, p->port, p->why4, p->port, why);
    pair_fail(f, p, text);
}

/* errno in Go's words */
static const char *connect_text(int code, char *buffer, size_t size)
{
    if (code == ECONNREFUSED)
        return "connect: connection refused";
    snprintf(buffer, size, "connect: %s", strerror(code));
    buffer[9] = (char)(buffer[9] | 0x20);
    return buffer;
}

static void pair_connect(struct forward *f, struct pair *p, int family)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET,
        .sin_port = htons(p->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(p->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct error err;
    char text[96];

    p->family = family;
    p->state = PAIR_CONNECTING;
    p->deadline_ns = env_now_ns(f->agent->env) + CONNECT_TIMEOUT_NS;
    int fd = socket_in_pod(f, family, &err);
    if (fd < 0) {
        attempt_failed(f, p, err.text);
        return;
    }
    p->fd = fd;
    int r = family == AF_INET ? connect(p->fd, (struct sockaddr *)&v4, sizeof(v4))
                              : connect(p->fd, (struct sockaddr *)&v6, sizeof(v6));
    if (r < 0 && errno != EINPROGRESS)
        attempt_failed(f, p, connect_text(errno, text, sizeof(text)));
    else if (r == 0)
        p->state = PAIR_OPEN;
}

static void connected(struct forward *f, struct pair *p)
{
    int code = 0;
    socklen_t n = sizeof(code);
    char text[96];

    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &code, &n);
    if (code)
        attempt_failed(f, p, connect_text(code, text, sizeof(text)));
    else
        p->state = PAIR_OPEN;
}

/* --- what comes from the client --- */

static struct pair *pair_new(struct forward *f, uint32_t request, uint16_t port)
{
    struct pair *p = xcalloc(1, sizeof(*p));

    p->request = request;
    p->port = port;
    p->fd = -1;
    p->deadline_ns = env_now_ns(f->agent->env) + PAIR_TIMEOUT_NS;
    strbuf_init(&p->input, 0);
    p->next = f->pairs;
    f->pairs = p;
    f->count++;
    return p;
}

static struct pair *pair_of_request(struct forward *f, uint32_t request)
{
    for (struct pair *p = f->pairs; p; p = p->next)
        if (p->request == request)
            return p;
    return NULL;
}

/* Clients that send no requestid open the error stream, then the data stream. */
static bool request_of(const struct spdy_event *e, bool is_data, uint32_t *ret)
{
    struct str text = spdy_header(e, "requestid");
    struct error ignored;
    int64_t n;

    if (text.n == 0) {
        *ret = is_data ? e->stream - 2 : e->stream;
        return true;
    }
    if (str_parse_int64(text, &n, &ignored) < 0 || n < 0 || n > INT32_MAX)
        return false;
    *ret = (uint32_t)n;
    return true;
}

static void on_opened(void *arg, const struct spdy_event *e)
{
    struct forward *f = arg;
    bool is_data = str_eqc(spdy_header(e, "streamtype"), "data");
    bool is_error = str_eqc(spdy_header(e, "streamtype"), "error");
    struct error ignored;
    uint32_t request = 0;
    int64_t port = 0;

    bool fine = (is_data || is_error) &&
                str_parse_int64(spdy_header(e, "port"), &port, &ignored) == 0 && port > 0 &&
                port <= UINT16_MAX && request_of(e, is_data, &request);
    struct pair *p = fine ? pair_of_request(f, request) : NULL;
    if (p && (p->port != port || (is_data ? p->has_data : p->has_error)))
        fine = false;
    if (fine && !p && f->count < PAIRS_MAX)
        p = pair_new(f, request, (uint16_t)port);
    if (!fine || !p) {
        channels_reset(&f->channels, e->stream);
        return;
    }
    if (is_data) {
        p->has_data = true;
        p->data = e->stream;
    } else {
        p->has_error = true;
        p->error = e->stream;
    }
    if (p->has_data && p->has_error)
        pair_connect(f, p, AF_INET);
}

static struct pair *pair_of_data(struct forward *f, uint32_t stream)
{
    for (struct pair *p = f->pairs; p; p = p->next)
        if (p->has_data && p->data == stream && p->state != PAIR_OVER)
            return p;
    return NULL;
}

static void on_data(void *arg, uint32_t stream, struct str bytes)
{
    struct pair *p = pair_of_data(arg, stream);

    if (p && !p->input_ended)
        strbuf_add(&p->input, bytes);
}

static void on_ended(void *arg, uint32_t stream, bool reset)
{
    struct forward *f = arg;
    struct pair *p = pair_of_data(f, stream);

    if (!p)
        return;
    p->input_ended = true;
    if (reset) {
        pair_close(p);
        if (p->has_error)
            channels_finish(&f->channels, p->error);
    }
}

static const struct channels_handler handler = {on_opened, on_data, on_ended};

/* --- moving bytes --- */

static void write_pod(struct pair *p)
{
    while (p->input_start < p->input.n) {
        ssize_t n =
            send(p->fd, p->input.data + p->input_start, p->input.n - p->input_start, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { /* nobody reads it; what the pod has said still goes out */
            p->input_ended = p->input_shut = true;
            break;
        }
        p->input_start += (size_t)n;
    }
    strbuf_done(&p->input);
    p->input_start = 0;
    if (p->input_ended && !p->input_shut) {
        shutdown(p->fd, SHUT_WR);
        p->input_shut = true;
    }
}

static void read_pod(struct forward *f, struct pair *p)
{
    char buffer[READ_BYTES];

    for (int i = 0; i < TURN_READS && channels_has_room(&f->channels); i++) {
        ssize_t n = recv(p->fd, buffer, sizeof(buffer), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            pair_finish(f, p);
            return;
        }
        channels_send(&f->channels, p->data, str_range(buffer, (size_t)n));
        if ((size_t)n < sizeof(buffer))
            return;
    }
}

static short events_of(struct forward *f, const struct pair *p)
{
    if (p->state == PAIR_CONNECTING)
        return POLLOUT;
    return (short)((channels_has_room(&f->channels) ? POLLIN : 0) |
                   (p->input.n > p->input_start ? POLLOUT : 0));
}

static void pair_turn(struct forward *f, struct pair *p, short happened)
{
    if (p->state == PAIR_CONNECTING && happened)
        connected(f, p);
    if (p->state == PAIR_OPEN)
        write_pod(p);
    if (p->state == PAIR_OPEN && happened & ~POLLOUT)
        read_pod(f, p);
}

/* Removes those that are over, ends those that are late; sets `hold`. Returns how long nothing
 * becomes late, in ms. */
static int sweep(struct forward *f)
{
    int wait_ms = INT_MAX;
    int64_t now = env_now_ns(f->agent->env);

    f->channels.hold = false;
    for (struct pair **at = &f->pairs, *p; (p = *at);) {
        bool waits = p->state == PAIR_AWAITED || p->state == PAIR_CONNECTING;
        if (waits && now >= p->deadline_ns)
            pair_fail(
                f, p, p->state == PAIR_AWAITED ? "timed out waiting for streams" : "timed out");
        else if (waits && (p->deadline_ns - now) / NS_PER_MS < wait_ms)
            wait_ms = (int)((p->deadline_ns - now) / NS_PER_MS) + 1;
        if (p->input.n - p->input_start >= INPUT_ENOUGH_BYTES)
            f->channels.hold = true;
        if (p->state != PAIR_OVER) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        f->count--;
        free(p);
    }
    return wait_ms;
}

static void turn(struct forward *f, struct pollfd *fds, struct pair **polled, int late_ms)
{
    int wait_ms = channels_poll(&f->channels, fds);
    nfds_t n = 2;

    for (struct pair *p = f->pairs; p; p = p->next) {
        short events = p->fd >= 0 ? events_of(f, p) : 0;
        if (!events)
            continue;
        fds[n] = (struct pollfd){.fd = p->fd, .events = events};
        polled[n++] = p;
    }
    if (poll(fds, n, wait_ms < late_ms ? wait_ms : late_ms) < 0) {
        f->channels.over = errno != EINTR;
        return;
    }
    for (nfds_t i = 2; i < n; i++) /* first: the client's turn may add and end pairs */
        if (fds[i].revents)
            pair_turn(f, polled[i], fds[i].revents);
    channels_io(&f->channels, fds);
    for (struct pair *p = f->pairs; p; p = p->next)
        pair_turn(f, p, 0);
}

static bool is_done(const struct forward *f)
{
    return f->channels.over || (!f->channels.spdy && !f->pairs);
}

static void run(struct forward *f)
{
    struct pollfd *fds = xcalloc(PAIRS_MAX + 2, sizeof(*fds));
    struct pair **polled = xcalloc(PAIRS_MAX + 2, sizeof(struct pair *));

    for (int late_ms = sweep(f); !is_done(f); late_ms = sweep(f))
        turn(f, fds, polled, late_ms);
    for (struct pair *p; (p = f->pairs);) {
        f->pairs = p->next;
        pair_close(p);
        free(p);
    }
    free(fds);
    free(polled);
}

/* WebSocket: the ports of the query are connected at once. */
static void open_channels(struct forward *f)
{
    for (size_t i = 0; i < f->target->port_count; i++) {
        uint16_t port = f->target->ports[i];
        char number[] = {(char)(port & 0xff), (char)(port >> 8)};
        struct pair *p = pair_new(f, (uint32_t)i, port);
        p->has_data = p->has_error = true;
        p->data = (uint32_t)(2 * i);
        p->error = (uint32_t)(2 * i + 1);
        channels_send(&f->channels, p->data, str_range(number, 2));
        channels_send(&f->channels, p->error, str_range(number, 2));
        pair_connect(f, p, AF_INET);
    }
}

static int open_namespaces(struct forward *f, struct error *err)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%lld/ns/net", (long long)f->target->pid);
    f->pod_netns = open(path, O_RDONLY | O_CLOEXEC);
    f->own_netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (f->pod_netns < 0 || f->own_netns < 0)
        return error_sys(err, errno, "network namespace of the pod");
    return 0;
}

void forward_serve(
    struct agent *agent, struct httpd_request *r, const struct forward_target *target)
{
    struct forward f = {.agent = agent, .target = target, .pod_netns = -1, .own_netns = -1};
    struct error err;

    if (open_namespaces(&f, &err) < 0) {
        httpd_reply(r, 500, "text/plain; charset=utf-8", str_of(err.text));
    } else {
        if (channels_accept(&f.channels, agent->env, r, &protocols, &handler, &f) == 0) {
            if (!f.channels.spdy)
                open_channels(&f);
            run(&f);
            channels_end(&f.channels);
        }
        channels_done(&f.channels);
    }
    if (f.pod_netns >= 0)
        close(f.pod_netns);
    if (f.own_netns >= 0)
        close(f.own_netns);
}
