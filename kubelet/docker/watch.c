/*
 * Docker's events of our containers, on a task of its own.
 *
 * After every (re)connection the listener is told that events may have been missed, and looks at
 * everything again; so no time of the last event needs to be kept. The stream has no time limit: it
 * ends when Docker does.
 */
#include "kubelet/docker/docker.h"

#include "common/log.h"
#include "common/time.h"

#define RECONNECT_NS (1 * NS_PER_S)
#define LINE_MAX_BYTES (1u << 20)

static void look_at_line(struct docker *d, struct str line)
{
    autojson cJSON *tree = NULL;
    struct docker_event event;
    struct error err;

    if (line.n == 0)
        return;
    if (json_parse(line, &tree, &err) < 0) {
        log_warning("unreadable event of docker, ignoring", "error", "%s", err.text, NULL);
        return;
    }
    if (docker_parse_event(tree, &event))
        d->on_event(d->event_arg, event.id, event.uid, event.action);
}

static void read_events(struct docker *d, struct http_stream *stream)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    struct error err;

    strbuf_init(&bytes, LINE_MAX_BYTES);
    while (http_stream_next(stream, ENV_FOREVER, &bytes, &err) > 0) {
        char *end;
        while ((end = memchr(bytes.data, '\n', bytes.n))) {
            size_t n = (size_t)(end - bytes.data);
            look_at_line(d, str_trim(str_range(bytes.data, n)));
            strbuf_remove_front(&bytes, n + 1);
        }
        if (strbuf_overflowed(&bytes))
            return;
    }
}

static struct http_stream *open_events(struct docker *d)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    struct http_response head;
    struct http_stream *stream = NULL;
    struct error err;

    strbuf_init(&path, 0);
    docker_path(d, &path, "/events?filters=");
    strbuf_addc(&path, d->event_filters);
    http_response_init(&head);
    if (http_stream_open(d->http, &(struct http_request){.method = "GET", .path = path.data},
            &stream, &head, &err) < 0)
        log_warning("docker's events cannot be read, retrying", "error", "%s", err.text, NULL);
    http_response_done(&head);
    return stream;
}

static bool is_stopping(struct docker *d)
{
    env_lock(d->base.env, &d->lock);
    bool stopping = d->stopping;
    env_unlock(d->base.env, &d->lock);
    return stopping;
}

static void watch_run(void *arg)
{
    struct docker *d = arg;
    struct env *env = d->base.env;

    while (!is_stopping(d)) {
        struct http_stream *stream = open_events(d);
        if (!stream) {
            env_sleep_ns(env, RECONNECT_NS);
            continue;
        }
        env_lock(env, &d->lock);
        d->stream = stream;
        bool stopping = d->stopping;
        env_unlock(env, &d->lock);
        if (!stopping) {
            d->on_lost(d->event_arg);
            read_events(d, stream);
            /* It ended: the listener learns at once when Docker is gone. */
            if (!is_stopping(d))
                d->on_lost(d->event_arg);
        }
        env_lock(env, &d->lock);
        d->stream = NULL;
        env_unlock(env, &d->lock);
        http_stream_close(stream);
        if (!is_stopping(d))
            env_sleep_ns(env, RECONNECT_NS / 5);
    }
}

void docker_watch_start(struct runtime *rt, runtime_event_fn *fn, runtime_lost_fn *lost, void *arg)
{
    struct docker *d = container_of(rt, struct docker, base);

    d->on_event = fn;
    d->on_lost = lost;
    d->event_arg = arg;
    d->watcher = env_spawn(rt->env, "docker-events", watch_run, d);
}

void docker_watch_stop(struct runtime *rt)
{
    struct docker *d = container_of(rt, struct docker, base);

    if (!d->watcher)
        return;
    env_lock(rt->env, &d->lock);
    d->stopping = true;
    if (d->stream)
        http_stream_cancel(d->stream);
    env_unlock(rt->env, &d->lock);
    env_join(rt->env, d->watcher);
    d->watcher = NULL;
}
