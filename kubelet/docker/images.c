/*
 * Images: look, pull.
 *
 * Docker answers a pull with 200 and a stream of JSON lines; what went wrong is a line with
 * "error". The stream is read to its end with a deadline on silence, not on the whole pull.
 */
#include "kubelet/docker/docker.h"

#include "common/time.h"

/* Upstream's --image-pull-progress-deadline. */
#define SILENCE_NS (60 * NS_PER_S)
#define LINE_MAX_BYTES (1u << 20)

int docker_image_get(
    struct runtime *rt, const char *image, struct image_info *ret, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    autojson cJSON *tree = NULL;

    if (docker_call(d, "GET", 0, NULL, &tree, err, "/images/%s/json", image) < 0)
        return -err->code;
    docker_parse_image(tree, image, ret);
    return 0;
}

int docker_image_list(struct runtime *rt, cJSON **ret, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    autojson cJSON *tree = NULL;

    if (docker_call(d, "GET", 0, NULL, &tree, err, "/images/json") < 0)
        return -err->code;
    *ret = docker_parse_images(tree);
    return 0;
}

static int look_at_line(struct str line, struct error *err)
{
    autojson cJSON *tree = NULL;
    struct error ignored;

    if (json_parse(str_trim(line), &tree, &ignored) < 0)
        return 0;
    const char *text = json_string(tree, "error");
    return text ? error_set(err, ERR_INTERNAL, "%s", text) : 0;
}

static int read_progress(struct runtime *rt, struct http_stream *stream, struct error *err)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    int r;

    strbuf_init(&bytes, LINE_MAX_BYTES);
    while ((r = http_stream_next(stream, env_now_ns(rt->env) + SILENCE_NS, &bytes, err)) > 0) {
        char *end;
        while ((end = memchr(bytes.data, '\n', bytes.n))) {
            size_t n = (size_t)(end - bytes.data);
            if (look_at_line(str_range(bytes.data, n), err) < 0)
                return -err->code;
            strbuf_remove_front(&bytes, n + 1);
        }
        if (strbuf_overflowed(&bytes))
            return error_set(err, ERR_TOO_LARGE, "docker's progress line is too long");
    }
    if (r == 0 && bytes.n > 0)
        r = look_at_line(strbuf_str(&bytes), err);
    return r;
}

/* Splits "host/a/b:tag" or "...@sha256:..." into what /images/create wants. */
static void add_names(struct strbuf *path, const char *image)
{
    struct str rest = str_of(image), tag = {0};
    ssize_t at = str_find(rest, '@');

    if (at >= 0) {
        tag = str_range(rest.p + at + 1, rest.n - (size_t)at - 1);
        rest.n = (size_t)at;
    } else {
        for (size_t i = rest.n; i > 0 && rest.p[i - 1] != '/'; i--) {
            if (rest.p[i - 1] != ':')
                continue;
            tag = str_range(rest.p + i, rest.n - i);
            rest.n = i - 1;
            break;
        }
    }
    strbuf_addc(path, "?fromImage=");
    url_encode(rest, path);
    strbuf_addc(path, "&tag=");
    url_encode(tag.n ? tag : STR("latest"), path);
}

int docker_image_pull(struct runtime *rt, const char *image, const char *auth, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    struct http_response head;
    struct http_stream *stream = NULL;
    autostrbuf struct strbuf path = STRBUF_EMPTY;

    strbuf_init(&path, 0);
    docker_path(d, &path, "/images/create");
    add_names(&path, image);
    const struct http_header header = {"X-Registry-Auth", auth};
    struct http_request request = {.method = "POST",
        .path = path.data,
        .headers = &header,
        .header_count = auth ? 1 : 0,
        .timeout_ns = 120 * NS_PER_S};
    http_response_init(&head);
    int r = http_stream_open(d->http, &request, &stream, &head, err);
    if (r == 0 && !stream)
        r = docker_error_of(head.status, strbuf_str(&head.body), err);
    if (r == 0)
        r = read_progress(rt, stream, err);
    if (stream)
        http_stream_close(stream);
    http_response_done(&head);
    return r;
}
