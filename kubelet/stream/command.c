/*
 * exec and attach: a client's streams tied to a runtime's.
 *
 * First the streams that the query asks for must have been opened (SPDY; a WebSocket's channels are
 * there at once), then the command is started, then bytes are moved both ways until its output
 * ends. Its outcome goes into the error stream after everything else was sent: a Status since
 * version 4 of the protocol, plain text before.
 *
 * Nothing is kept without bound: while the command does not read, the client is not read; while the
 * client does not read, the command is not.
 *
 * Upstream: cri-streaming/pkg/streaming/remotecommand (exec.go, attach.go, httpstream.go).
 */
#include "kubelet/stream/stream.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/json.h"
#include "common/log.h"
#include "common/time.h"

#define STREAMS_TIMEOUT_NS (30 * NS_PER_S)
#define INPUT_ENOUGH_BYTES (256u << 10)
#define RESIZE_BYTES_MAX 4096
#define TURN_READS 8

/* Numbers of a WebSocket's channels. */
enum role { ROLE_IN, ROLE_OUT, ROLE_ERR, ROLE_STATUS, ROLE_RESIZE, ROLES };

static const char *const role_names[ROLES] = {"stdin", "stdout", "stderr", "error", "resize"};

struct command {
    struct agent *agent;
    const struct stream_options *options;
    struct channels channels;
    struct runtime_stream *io;
    int version; /* of the protocol, 1 to 5 */
    bool wanted[ROLES], open[ROLES];
    uint32_t ids[ROLES];
    struct strbuf input;
    size_t input_start;
    bool input_ended, input_shut;
    struct strbuf resize;
    bool output_ended;
};

static const char *const spdy_protocols[] = {
    "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", NULL};
static const char *const websocket_protocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", NULL};
static const struct channels_protocols protocols = {
    .spdy = spdy_protocols, .websocket = websocket_protocols};

/* --- what comes from the client --- */

static void on_opened(void *arg, const struct spdy_event *e)
{
    struct command *m = arg;
    struct str type = spdy_header(e, "streamtype");

    for (int i = 0; i < ROLES; i++)
        if (str_eqc(type, role_names[i]) && !m->open[i] && m->wanted[i]) {
            m->open[i] = true;
            m->ids[i] = e->stream;
            return;
        }
    channels_reset(&m->channels, e->stream);
}

static bool is_role(const struct command *m, uint32_t stream, enum role role)
{
    return m->open[role] && m->ids[role] == stream;
}

/* {"Width":80,"Height":24}, one after the other without separators. */
static void read_sizes(struct command *m)
{
    char *end;

    while (m->io && (end = memchr(m->resize.data, '}', m->resize.n))) {
        size_t n = (size_t)(end - m->resize.data) + 1;
        autojson cJSON *size = NULL;
        struct error err;
        if (json_parse(str_range(m->resize.data, n), &size, &err) == 0) {
            int64_t width = json_int64_at(size, "Width", 0),
                    height = json_int64_at(size, "Height", 0);
            if (width > 0 && width <= UINT16_MAX && height > 0 && height <= UINT16_MAX &&
                m->agent->runtime->ops->resize_stream(
                    m->agent->runtime, m->io, (unsigned)width, (unsigned)height, &err) < 0)
                log_debug("terminal keeps its size", "error", "%s", err.text, NULL);
        }
        strbuf_remove_front(&m->resize, n);
    }
}

static void on_data(void *arg, uint32_t stream, struct str bytes)
{
    struct command *m = arg;

    if (is_role(m, stream, ROLE_IN) && !m->input_ended) {
        strbuf_add(&m->input, bytes);
    } else if (is_role(m, stream, ROLE_RESIZE)) {
        strbuf_add(&m->resize, bytes);
        read_sizes(m);
        if (strbuf_overflowed(&m->resize))
            m->channels.over = true;
    }
}

static void on_ended(void *arg, uint32_t stream, bool reset)
{
    struct command *m = arg;

    (void)reset;
    if (is_role(m, stream, ROLE_IN))
        m->input_ended = true;
}

static const struct channels_handler handler = {on_opened, on_data, on_ended};

/* --- the loop --- */

static void want_streams(struct command *m)
{
    const struct stream_options *o = m->options;

    m->version = c_eq(m->channels.protocol, "v5.channel.k8s.io")        ? 5
                 : str_starts(str_of(m->channels.protocol), STR("v4.")) ? 4
                 : c_eq(m->channels.protocol, "v3.channel.k8s.io")      ? 3
                 : c_eq(m->channels.protocol, "v2.channel.k8s.io")      ? 2
                                                                        : 1;
    m->wanted[ROLE_STATUS] = true;
    m->wanted[ROLE_IN] = o->in;
    m->wanted[ROLE_OUT] = o->out;
    m->wanted[ROLE_ERR] = o->error && !o->tty;
    m->wanted[ROLE_RESIZE] = o->tty && (m->version >= 3 || !m->channels.spdy);
    if (m->channels.spdy)
        return;
    for (int i = 0; i < ROLES; i++) {
        m->open[i] = m->wanted[i];
        m->ids[i] = (uint32_t)i;
    }
    /* Tells the client that it is connected. */
    channels_send(&m->channels, m->wanted[ROLE_OUT] ? ROLE_OUT : ROLE_ERR, STR(""));
}

static bool all_open(const struct command *m)
{
    for (int i = 0; i < ROLES; i++)
        if (m->wanted[i] && !m->open[i])
            return false;
    return true;
}

/* false: the client leaves, or does not open what it asked for. */
static bool await_streams(struct command *m)
{
    int64_t deadline_ns = env_now_ns(m->agent->env) + STREAMS_TIMEOUT_NS;

    while (!all_open(m) && !m->channels.over) {
        struct pollfd fds[2];
        int wait_ms = channels_poll(&m->channels, fds);
        int64_t left = deadline_ns - env_now_ns(m->agent->env);
        if (left <= 0)
            return false;
        int left_ms = (int)(left / NS_PER_MS) + 1;
        if (poll(fds, 2, wait_ms < left_ms ? wait_ms : left_ms) < 0 && errno != EINTR)
            return false;
        channels_io(&m->channels, fds);
    }
    return !m->channels.over;
}

static int on_output(void *arg, int stream, struct str piece)
{
    struct command *m = arg;
    enum role role = stream == 2 ? ROLE_ERR : ROLE_OUT;

    if (m->open[role])
        channels_send(&m->channels, m->ids[role], piece);
    return 0;
}

static void read_output(struct command *m)
{
    struct error err;

    for (int i = 0; i < TURN_READS && channels_has_room(&m->channels); i++) {
        int r = m->agent->runtime->ops->read_stream(m->agent->runtime, m->io, on_output, m, &err);
        if (r < 0)
            log_warning("output of a command lost", "error", "%s", err.text, NULL);
        if (r <= 0) {
            m->output_ended = true;
            return;
        }
        struct pollfd more = {.fd = m->io->fd, .events = POLLIN};
        if (poll(&more, 1, 0) <= 0)
            return;
    }
}

static void write_input(struct command *m)
{
    while (m->input_start < m->input.n) {
        ssize_t n = send(
            m->io->fd, m->input.data + m->input_start, m->input.n - m->input_start, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) { /* nobody reads it any more */
            m->input_ended = true;
            m->input_start = m->input.n;
            break;
        }
        m->input_start += (size_t)n;
    }
    if (m->input_start == m->input.n) {
        strbuf_done(&m->input);
        m->input_start = 0;
        if (m->input_ended && !m->input_shut) {
            shutdown(m->io->fd, SHUT_WR);
            m->input_shut = true;
        }
    }
    m->channels.hold = m->input.n - m->input_start >= INPUT_ENOUGH_BYTES;
}

static void copy(struct command *m)
{
    read_sizes(m); /* those that came before there was a terminal */
    read_output(m);
    write_input(m);
    while (!m->channels.over && !m->output_ended) {
        struct pollfd fds[3];
        int wait_ms = channels_poll(&m->channels, fds);
        bool reads = channels_has_room(&m->channels), writes = m->input.n > m->input_start;
        fds[2] = (struct pollfd){
            .fd = m->io->fd, .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0))};
        if (!reads && !writes)
            fds[2].fd = -1; /* its end is no news yet */
        if (poll(fds, 3, wait_ms) < 0 && errno != EINTR)
            return;
        channels_io(&m->channels, fds);
        write_input(m);
        if (fds[2].revents & ~POLLOUT && reads)
            read_output(m);
    }
}

/* --- the outcome --- */

static cJSON *failure(const char *reason, int code, const char *message)
{
    cJSON *status = json_make("{\"metadata\":{},\"status\":\"Failure\"}");

    cJSON_AddStringToObject(status, "message", message);
    cJSON_AddStringToObject(status, "reason", reason);
    if (code)
        cJSON_AddNumberToObject(status, "code", code);
    return status;
}

static cJSON *internal_failure(const struct command *m, const struct error *err)
{
    autofree char *what = str_format("%s: %s",
        m->options->argv ? "error executing command in container" : "error attaching to container",
        err->text);
    autofree char *message = str_format("Internal error occurred: %s", what);
    cJSON *status = failure("InternalError", 500, message);
    cJSON *causes = cJSON_AddArrayToObject(cJSON_AddObjectToObject(status, "details"), "causes");
    cJSON *cause = cJSON_CreateObject();

    cJSON_AddStringToObject(cause, "message", what);
    cJSON_AddItemToArray(causes, cause);
    return status;
}

static cJSON *exit_failure(const struct command *m, int64_t exit_code)
{
    autostrbuf struct strbuf message = STRBUF_EMPTY;
    autofree char *code = str_format("%lld", (long long)exit_code);

    strbuf_addc(&message, "command terminated with non-zero exit code: error executing command [");
    for (size_t i = 0; m->options->argv[i]; i++)
        strbuf_addf(&message, "%s%s", i ? " " : "", m->options->argv[i]);
    strbuf_addf(&message, "], exit code %s", code);
    cJSON *status = failure("NonZeroExitCode", 0, message.data);
    cJSON *causes = cJSON_AddArrayToObject(cJSON_AddObjectToObject(status, "details"), "causes");
    cJSON *cause = cJSON_CreateObject();
    cJSON_AddStringToObject(cause, "reason", "ExitCode");
    cJSON_AddStringToObject(cause, "message", code);
    cJSON_AddItemToArray(causes, cause);
    return status;
}

static cJSON *outcome(struct command *m)
{
    struct runtime *rt = m->agent->runtime;
    struct error err;
    int64_t exit_code = 0;

    if (m->options->argv && rt->ops->stream_result(rt, m->io, &exit_code, &err) < 0)
        return internal_failure(m, &err);
    if (exit_code != 0)
        return exit_failure(m, exit_code);
    return json_make("{\"metadata\":{},\"status\":\"Success\"}");
}

static void send_outcome(struct command *m, const cJSON *status)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (m->version >= 4)
        json_print(status, &text);
    else if (json_string(status, "message"))
        strbuf_addc(&text, json_string(status, "message"));
    for (int i = ROLE_OUT; i <= ROLE_ERR; i++)
        if (m->open[i])
            channels_finish(&m->channels, m->ids[i]);
    /* Of the channels' protocols without versions none says anything about success. */
    if (text.n > 0 && m->open[ROLE_STATUS])
        channels_send(&m->channels, m->ids[ROLE_STATUS], strbuf_str(&text));
    if (m->open[ROLE_STATUS])
        channels_finish(&m->channels, m->ids[ROLE_STATUS]);
}

static void run(struct command *m, const char *container_id)
{
    struct runtime *rt = m->agent->runtime;
    autojson cJSON *status = NULL;
    struct error err;

    if (rt->ops->open_stream(rt, container_id, m->options, &m->io, &err) < 0) {
        status = internal_failure(m, &err);
        send_outcome(m, status);
        return;
    }
    copy(m);
    bool left = !m->output_ended;
    if (!left) {
        status = outcome(m);
        send_outcome(m, status);
    }
    rt->ops->close_stream(rt, m->io, left);
}

void command_serve(struct agent *agent, struct httpd_request *r, const char *container_id,
    const struct stream_options *options)
{
    struct command m = {.agent = agent, .options = options};

    strbuf_init(&m.input, 0);
    strbuf_init(&m.resize, RESIZE_BYTES_MAX);
    if (channels_accept(&m.channels, agent->env, r, &protocols, &handler, &m) == 0) {
        want_streams(&m);
        if (await_streams(&m))
            run(&m, container_id);
        channels_end(&m.channels);
    }
    channels_done(&m.channels);
    strbuf_done(&m.input);
    strbuf_done(&m.resize);
}
