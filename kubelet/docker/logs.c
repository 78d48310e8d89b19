/*
 * A container's output, read back from Docker.
 *
 * Docker stores long lines in pieces of 16 KiB, each with its own time; they are joined again here.
 * Nothing is added to what the program wrote but the times that were asked for.
 */
#include "kubelet/docker/docker.h"

#include "common/time.h"

/* How often a follower's client is looked at while nothing is written. */
#define LOOK_NS (1 * NS_PER_S)

struct reader {
    struct docker_frames frames;
    bool timestamps;
    bool in_line[3];  /* per stream: the last piece did not end its line */
    bool skipping[3]; /* the time of a continued piece is being dropped */
    int64_t left;     /* of limit_bytes; -1: no limit */
    log_sink_fn *sink;
    void *arg;
};

static int pass_on(void *arg, int stream, struct str piece)
{
    struct reader *r = arg;

    if (r->timestamps && r->frames.begins)
        r->skipping[stream] = r->in_line[stream];
    if (r->skipping[stream]) {
        ssize_t space = str_find(piece, ' ');
        if (space < 0)
            return 0;
        piece = str_range(piece.p + space + 1, piece.n - (size_t)space - 1);
        r->skipping[stream] = false;
    }
    if (piece.n == 0)
        return 0;
    r->in_line[stream] = piece.p[piece.n - 1] != '\n';
    if (r->left >= 0 && piece.n > (size_t)r->left)
        piece.n = (size_t)r->left;
    int result = piece.n ? r->sink(r->arg, piece) : 0;
    if (result >= 0 && r->left >= 0) {
        r->left -= (int64_t)piece.n;
        if (r->left == 0)
            return -ERR_CANCELLED;
    }
    return result;
}

static void add_query(struct strbuf *path, const struct log_options *o)
{
    strbuf_addf(path, "?stdout=1&stderr=1&follow=%d&timestamps=%d", o->follow, o->timestamps);
    if (o->tail_lines >= 0)
        strbuf_addf(path, "&tail=%lld", (long long)o->tail_lines);
    if (o->since_ns > 0)
        strbuf_addf(path, "&since=%lld.%09lld", (long long)(o->since_ns / NS_PER_S),
            (long long)(o->since_ns % NS_PER_S));
}

static int copy(struct runtime *rt, struct http_stream *stream, struct reader *reader,
    bool (*gone)(void *arg), struct error *err)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    int r;

    strbuf_init(&bytes, 0);
    for (;;) {
        r = http_stream_next(stream, env_now_ns(rt->env) + LOOK_NS, &bytes, err);
        if (r == -ERR_TIMEOUT && !gone(reader->arg))
            continue;
        if (r <= 0)
            return r == -ERR_TIMEOUT ? 0 : r;
        r = docker_frames_feed(&reader->frames, strbuf_str(&bytes), pass_on, reader, err);
        if (r < 0)
            return r == -ERR_CANCELLED || r == -ERR_CLOSED ? 0 : r;
        strbuf_clear(&bytes);
    }
}

int docker_logs(struct runtime *rt, const char *id, const struct log_options *options,
    log_sink_fn *sink, void *arg, bool (*gone)(void *arg), struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    struct container_info *info = NULL;
    struct http_response head;
    struct http_stream *stream = NULL;
    autostrbuf struct strbuf path = STRBUF_EMPTY;

    if (docker_inspect(rt, id, &info, err) < 0)
        return -err->code;
    struct reader reader = {.frames = {.raw = info->tty},
        .timestamps = options->timestamps && !info->tty,
        .left = options->limit_bytes,
        .sink = sink,
        .arg = arg};
    container_info_unref(info);
    if (reader.left == 0)
        return 0;
    autofree char *relative = str_format("/containers/%s/logs", id);
    strbuf_init(&path, 0);
    docker_path(d, &path, relative);
    add_query(&path, options);
    http_response_init(&head);
    int r = http_stream_open(
        d->http, &(struct http_request){.method = "GET", .path = path.data}, &stream, &head, err);
    if (r == 0 && !stream)
        r = docker_error_of(head.status, strbuf_str(&head.body), err);
    if (r == 0)
        r = copy(rt, stream, &reader, gone, err);
    if (stream)
        http_stream_close(stream);
    http_response_done(&head);
    return r;
}
