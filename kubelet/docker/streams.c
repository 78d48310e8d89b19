/*
 * Interactive streams: Docker's exec and attach with the connection taken over.
 *
 * The request is written by hand to a socket of its own; after 101 the socket is the stream: what
 * we write is stdin (SHUT_WR ends it), what we read is framed as in logs, raw with a terminal.
 *
 * Docker tells that a command could not be started in the command's own output. That is recognised
 * by its words together with exit code 126 or 127, so the first piece is held until it is known to
 * be something else. A command that outlives its client is left alone, as upstream does, but one
 * with a terminal is sent SIGHUP, as a terminal does.
 */
#include "kubelet/docker/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/http1.h"
#include "common/time.h"

#define OPEN_TIMEOUT_NS (30 * NS_PER_S)
#define RESIZE_TIMEOUT_NS (5 * NS_PER_S)
#define RESULT_TIMEOUT_NS (5 * NS_PER_S)
#define RESULT_LOOK_NS (10 * NS_PER_MS)
#define READ_BYTES (16u << 10)
#define REFUSAL_BYTES_MAX (16u << 10)
#define REFUSAL "OCI runtime exec failed: "

struct docker_stream {
    struct runtime_stream base;
    struct docker_frames frames;
    bool tty;
    char *exec; /* NULL: attached */
    char *container;
    struct strbuf early; /* read behind the head */
    struct strbuf held;  /* what may be a refusal */
    bool begun;          /* output was handed out */
};

static struct docker_stream *stream_of(struct runtime_stream *s)
{
    return container_of(s, struct docker_stream, base);
}

static void stream_free(struct docker_stream *s)
{
    if (s->base.fd >= 0)
        close(s->base.fd);
    free(s->exec);
    free(s->container);
    strbuf_done(&s->early);
    strbuf_done(&s->held);
    free(s);
}

/* --- opening --- */

static int connect_docker(struct docker *d, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return error_sys(err, errno, "socket");
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", d->socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        error_sys(err, errno, "docker at %s", d->socket_path);
        err->code = ERR_UNAVAILABLE;
        close(fd);
        return -ERR_UNAVAILABLE;
    }
    return fd;
}

static int wait_for(struct env *env, int fd, short events, int64_t deadline_ns, struct error *err)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ns - env_now_ns(env);
        if (left <= 0)
            return error_set(err, ERR_TIMEOUT, "docker does not answer");
        int n = poll(&p, 1, (int)(left / NS_PER_MS) + 1);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "poll");
    }
}

static int send_all(
    struct env *env, int fd, struct str bytes, int64_t deadline_ns, struct error *err)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n > 0)
            bytes = str_range(bytes.p + n, bytes.n - (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            return error_sys(err, errno, "docker");
        else if (wait_for(env, fd, POLLOUT, deadline_ns, err) < 0)
            return -err->code;
    }
    return 0;
}

/* Appends to `in`; 0 at the end. */
static ssize_t receive(
    struct env *env, int fd, struct strbuf *in, int64_t deadline_ns, struct error *err)
{
    for (;;) {
        ssize_t n = recv(fd, strbuf_reserve(in, 4096), 4096, 0);
        if (n >= 0) {
            strbuf_commit(in, (size_t)n);
            return n;
        }
        if (errno != EAGAIN && errno != EINTR)
            return error_sys(err, errno, "docker");
        if (wait_for(env, fd, POLLIN, deadline_ns, err) < 0)
            return -(ssize_t)err->code;
    }
}

static int refused(struct env *env, int fd, const struct http1_head *head, int status,
    struct strbuf *in, int64_t deadline_ns, struct error *err)
{
    struct error ignored;
    size_t wanted = head->content_length > 0 ? (size_t)head->content_length : 0;

    while (in->n < wanted && in->n < REFUSAL_BYTES_MAX &&
           receive(env, fd, in, deadline_ns, &ignored) > 0)
        ;
    return docker_error_of(status, str_trim(strbuf_str(in)), err);
}

/* Sends the request and reads the head of the answer; what follows stays in `in`. */
static int take_over(
    struct env *env, int fd, struct str request, struct strbuf *in, struct error *err)
{
    struct http1_head head;
    int64_t deadline_ns = env_now_ns(env) + OPEN_TIMEOUT_NS;
    int status = 0;
    ssize_t n;

    if (send_all(env, fd, request, deadline_ns, err) < 0)
        return -err->code;
    while ((n = http1_parse_answer(strbuf_str(in), &head, &status, err)) == 0) {
        ssize_t got = receive(env, fd, in, deadline_ns, err);
        if (got < 0)
            return -err->code;
        if (got == 0)
            return error_set(err, ERR_UNAVAILABLE, "docker closed the connection");
    }
    if (n < 0)
        return error_wrap(err, "docker's answer");
    strbuf_remove_front(in, (size_t)n);
    if (status != 101 && status != 200)
        return refused(env, fd, &head, status, in, deadline_ns, err);
    return 0;
}

static int open_path(
    struct docker *d, struct docker_stream *s, const char *path, struct str body, struct error *err)
{
    autostrbuf struct strbuf request = STRBUF_EMPTY;

    strbuf_addc(&request, "POST ");
    docker_path(d, &request, path);
    strbuf_addf(&request,
        " HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        body.n);
    strbuf_add(&request, body);
    int fd = connect_docker(d, err);
    if (fd < 0)
        return fd;
    s->base.fd = fd;
    return take_over(d->base.env, fd, strbuf_str(&request), &s->early, err);
}

static int make_exec(struct docker *d, const char *id, const struct stream_options *o,
    char **ret_exec, struct error *err)
{
    autojson cJSON *tree = NULL, *body = cJSON_CreateObject();
    cJSON *command = cJSON_AddArrayToObject(body, "Cmd");

    cJSON_AddBoolToObject(body, "AttachStdin", o->in);
    cJSON_AddBoolToObject(body, "AttachStdout", o->out);
    cJSON_AddBoolToObject(body, "AttachStderr", o->error && !o->tty);
    cJSON_AddBoolToObject(body, "Tty", o->tty);
    for (size_t i = 0; o->argv[i]; i++)
        cJSON_AddItemToArray(command, cJSON_CreateString(o->argv[i]));
    if (docker_call(d, "POST", OPEN_TIMEOUT_NS, body, &tree, err, "/containers/%s/exec", id) < 0)
        return -err->code;
    const char *exec = json_string(tree, "Id");
    if (!exec)
        return error_set(err, ERR_INTERNAL, "docker made an exec without an id");
    *ret_exec = xstrdup(exec);
    return 0;
}

static int open_exec(struct docker *d, struct docker_stream *s, const char *id,
    const struct stream_options *o, struct error *err)
{
    if (make_exec(d, id, o, &s->exec, err) < 0)
        return -err->code;
    autofree char *path = str_format("/exec/%s/start", s->exec);
    autofree char *body = str_format("{\"Detach\":false,\"Tty\":%s}", o->tty ? "true" : "false");
    return open_path(d, s, path, str_of(body), err);
}

/* Docker attaches to a container that has ended as well, and then says nothing for ever. Who ends
 * after this look closes the stream. */
static int check_running(struct docker *d, const char *id, struct error *err)
{
    autojson cJSON *tree = NULL;

    if (docker_call(d, "GET", OPEN_TIMEOUT_NS, NULL, &tree, err, "/containers/%s/json", id) < 0)
        return -err->code;
    return json_bool(json_get(tree, "State"), "Running", false)
               ? 0
               : error_set(err, ERR_BAD_REQUEST, "the container has ended");
}

static int open_attach(struct docker *d, struct docker_stream *s, const char *id,
    const struct stream_options *o, struct error *err)
{
    autofree char *path = str_format("/containers/%s/attach?stream=1&stdin=%d&stdout=%d&stderr=%d",
        id, o->in, o->out, o->error && !o->tty);

    if (open_path(d, s, path, STR(""), err) < 0)
        return -err->code;
    return check_running(d, id, err);
}

int docker_open_stream(struct runtime *rt, const char *id, const struct stream_options *o,
    struct runtime_stream **ret, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    struct docker_stream *s = xcalloc(1, sizeof(*s));

    s->base.fd = -1;
    s->tty = s->frames.raw = o->tty;
    s->container = xstrdup(id);
    strbuf_init(&s->early, 0);
    strbuf_init(&s->held, 0);
    int r = o->argv ? open_exec(d, s, id, o, err) : open_attach(d, s, id, o, err);
    if (r < 0) {
        stream_free(s);
        return r;
    }
    *ret = &s->base;
    return 0;
}

/* --- output --- */

struct passing {
    struct docker_stream *s;
    stream_sink_fn *sink;
    void *arg;
};

static bool may_be_refusal(struct str text)
{
    size_t n = text.n < sizeof(REFUSAL) - 1 ? text.n : sizeof(REFUSAL) - 1;

    return memcmp(text.p, REFUSAL, n) == 0 && text.n < REFUSAL_BYTES_MAX;
}

static int pass_on(void *arg, int stream, struct str piece)
{
    struct passing *p = arg;
    struct docker_stream *s = p->s;

    if (piece.n == 0)
        return 0;
    if (!s->begun && s->exec && stream == 1) {
        strbuf_add(&s->held, piece);
        if (may_be_refusal(strbuf_str(&s->held)))
            return 0;
        piece = strbuf_str(&s->held);
    }
    s->begun = true;
    int r = p->sink(p->arg, stream, piece);
    strbuf_done(&s->held);
    return r;
}

/* Held output that was no refusal after all. */
static void release(struct docker *d, struct docker_stream *s, stream_sink_fn *sink, void *arg)
{
    struct error ignored;
    int64_t code;

    if (s->held.n > 0 && docker_stream_result(&d->base, &s->base, &code, &ignored) == 0) {
        sink(arg, 1, strbuf_str(&s->held));
        strbuf_done(&s->held);
    }
}

int docker_read_stream(struct runtime *rt, struct runtime_stream *base, stream_sink_fn *sink,
    void *arg, struct error *err)
{
    struct docker_stream *s = stream_of(base);
    struct passing passing = {s, sink, arg};
    char buffer[READ_BYTES];

    if (s->early.n > 0) {
        int r = docker_frames_feed(&s->frames, strbuf_str(&s->early), pass_on, &passing, err);
        strbuf_done(&s->early);
        if (r < 0)
            return r;
    }
    ssize_t n = recv(s->base.fd, buffer, sizeof(buffer), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n < 0)
        return error_sys(err, errno, "docker");
    if (n == 0) {
        release(container_of(rt, struct docker, base), s, sink, arg);
        return 0;
    }
    int r = docker_frames_feed(&s->frames, str_range(buffer, (size_t)n), pass_on, &passing, err);
    return r < 0 ? r : 1;
}

int docker_resize_stream(struct runtime *rt, struct runtime_stream *base, unsigned width,
    unsigned height, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    struct docker_stream *s = stream_of(base);

    return docker_call(d, "POST", RESIZE_TIMEOUT_NS, NULL, NULL, err, "/%s/%s/resize?h=%u&w=%u",
        s->exec ? "exec" : "containers", s->exec ? s->exec : s->container, height, width);
}

/* --- the end --- */

static int inspect_exec(struct docker *d, const char *exec, bool *ret_running, int64_t *ret_code,
    int64_t *ret_pid, struct error *err)
{
    autojson cJSON *tree = NULL;

    if (docker_call(d, "GET", RESULT_TIMEOUT_NS, NULL, &tree, err, "/exec/%s/json", exec) < 0)
        return -err->code;
    *ret_running = json_bool(tree, "Running", false);
    *ret_code = json_int64_at(tree, "ExitCode", -1);
    *ret_pid = json_int64_at(tree, "Pid", 0);
    return 0;
}

int docker_stream_result(
    struct runtime *rt, struct runtime_stream *base, int64_t *ret_exit_code, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    struct docker_stream *s = stream_of(base);
    int64_t deadline_ns = env_now_ns(rt->env) + RESULT_TIMEOUT_NS, pid;
    bool running = true;

    /* The output ends a moment before Docker knows the exit code. */
    while (running) {
        if (inspect_exec(d, s->exec, &running, ret_exit_code, &pid, err) < 0)
            return -err->code;
        if (running && env_now_ns(rt->env) > deadline_ns)
            return error_set(err, ERR_TIMEOUT, "the command closed its output but still runs");
        if (running)
            env_sleep_ns(rt->env, RESULT_LOOK_NS);
    }
    struct str held = str_trim(strbuf_str(&s->held));
    if (held.n >= sizeof(REFUSAL) - 1 && (*ret_exit_code == 126 || *ret_exit_code == 127))
        return error_set(err, ERR_BAD_REQUEST, "%.*s", STR_FMT(held));
    return 0;
}

static void hang_up(struct docker *d, struct docker_stream *s)
{
    struct error ignored;
    int64_t code, pid = 0;
    bool running = false;

    if (inspect_exec(d, s->exec, &running, &code, &pid, &ignored) == 0 && running && pid > 1)
        kill((pid_t)pid, SIGHUP);
}

void docker_close_stream(struct runtime *rt, struct runtime_stream *base, bool hung_up)
{
    struct docker_stream *s = stream_of(base);

    if (hung_up && s->exec && s->tty)
        hang_up(container_of(rt, struct docker, base), s);
    stream_free(s);
}
