/*
 * Commands in a running container, for probes and lifecycle hooks: start, collect the output, ask
 * for the exit code.
 *
 * Docker ends the answer when the command ends. A command that outlives its time is left alone:
 * Docker cannot kill one. (Interactive exec is another matter: it takes over the connection.)
 */
#include "kubelet/docker/docker.h"

#include "common/time.h"

static int exec_create(
    struct docker *d, const char *id, const char *const *argv, char **ret_exec, struct error *err)
{
    autojson cJSON *tree = NULL,
                   *body = json_make("{\"AttachStdout\":true,\"AttachStderr\":true,\"Cmd\":[]}");

    for (size_t i = 0; argv[i]; i++)
        cJSON_AddItemToArray(json_get(body, "Cmd"), cJSON_CreateString(argv[i]));
    if (docker_call(d, "POST", 0, body, &tree, err, "/containers/%s/exec", id) < 0)
        return -err->code;
    const char *exec = json_string(tree, "Id");
    if (!exec)
        return error_set(err, ERR_INTERNAL, "docker made an exec without an id");
    *ret_exec = xstrdup(exec);
    return 0;
}

static int add_output(void *arg, int stream, struct str piece)
{
    strbuf_add(arg, piece); /* over its limit the rest is dropped */
    return 0;
}

static int read_output(
    struct http_stream *stream, int64_t deadline_ns, struct strbuf *output, struct error *err)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    struct docker_frames frames = {0};
    int r;

    strbuf_init(&bytes, 0);
    while ((r = http_stream_next(stream, deadline_ns, &bytes, err)) > 0) {
        r = docker_frames_feed(&frames, strbuf_str(&bytes), add_output, output, err);
        if (r < 0)
            return r;
        strbuf_clear(&bytes);
    }
    return r;
}

int docker_exec(struct runtime *rt, const char *id, const char *const *argv, int64_t timeout_ns,
    struct strbuf *output, int64_t *ret_exit_code, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    autofree char *exec = NULL;
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    autojson cJSON *after = NULL;
    struct http_response head;
    struct http_stream *stream = NULL;
    int64_t deadline_ns = env_now_ns(rt->env) + timeout_ns;

    if (exec_create(d, id, argv, &exec, err) < 0)
        return -err->code;
    autofree char *relative = str_format("/exec/%s/start", exec);
    strbuf_init(&path, 0);
    docker_path(d, &path, relative);
    const struct http_header json = {"Content-Type", "application/json"};
    struct http_request request = {.method = "POST",
        .path = path.data,
        .headers = &json,
        .header_count = 1,
        .body = STR("{\"Detach\":false,\"Tty\":false}"),
        .timeout_ns = timeout_ns};
    http_response_init(&head);
    int r = http_stream_open(d->http, &request, &stream, &head, err);
    if (r == 0 && !stream)
        r = docker_error_of(head.status, strbuf_str(&head.body), err);
    if (r == 0)
        r = read_output(stream, deadline_ns, output, err);
    if (stream)
        http_stream_close(stream);
    http_response_done(&head);
    if (r < 0)
        return r;
    if (docker_call(d, "GET", 0, NULL, &after, err, "/exec/%s/json", exec) < 0)
        return -err->code;
    *ret_exit_code = json_int64_at(after, "ExitCode", -1);
    return 0;
}
