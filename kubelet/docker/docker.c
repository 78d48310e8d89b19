/*
 * The connection to Docker: calls, version negotiation, start-up, facts of the host.
 *
 * Invariant: no path is sent before docker_negotiate() succeeded once; a daemon that was replaced
 * by another version is negotiated with again, because a version it refuses makes docker_call
 * forget ours.
 *
 * Threads: any; `lock` guards version, prepared and pause_image.
 */
#include "kubelet/docker/docker.h"

#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "common/time.h"

#define CALL_TIMEOUT_NS (120 * NS_PER_S)
#define API_MAJOR 1
#define API_MINOR_MAX 44
#define API_MINOR_MIN 41

int docker_error_of(int status, struct str body, struct error *err)
{
    autojson cJSON *tree = NULL;
    struct error ignored;
    const char *message = NULL;
    enum err code = ERR_INTERNAL;

    if (json_parse(body, &tree, &ignored) == 0)
        message = json_string(tree, "message");
    if (status == 404)
        code = ERR_NOT_FOUND;
    else if (status == 409)
        code = ERR_CONFLICT;
    else if (status == 400)
        code = ERR_BAD_REQUEST;
    else if (status == 503)
        code = ERR_UNAVAILABLE;
    if (message)
        return error_set(err, code, "%s", message);
    return error_set(err, code, "docker answered with status %d", status);
}

int docker_negotiate(struct docker *d, struct error *err)
{
    struct http_response response;
    int64_t minor = 0;

    http_response_init(&response);
    int r = http_do(d->http,
        &(struct http_request){.method = "GET", .path = "/_ping", .timeout_ns = 10 * NS_PER_S},
        &response, err);
    if (r == 0 && response.status != 200)
        r = docker_error_of(response.status, strbuf_str(&response.body), err);
    if (r == 0) {
        struct str version = http_response_header(&response, "api-version"), major;
        if (!str_split(&version, '.', &major) || !str_eqc(major, "1") ||
            str_parse_int64(version, &minor, err) < 0)
            r = error_set(err, ERR_UNAVAILABLE, "docker tells no API version");
        else if (minor < API_MINOR_MIN)
            r = error_set(err, ERR_UNAVAILABLE, "docker's API is 1.%lld, at least 1.%d is needed",
                (long long)minor, API_MINOR_MIN);
    }
    http_response_done(&response);
    if (r < 0)
        return error_wrap(err, "docker at %s", d->socket_path);
    env_lock(d->base.env, &d->lock);
    snprintf(d->version, sizeof(d->version), "v%d.%d", API_MAJOR,
        minor < API_MINOR_MAX ? (int)minor : API_MINOR_MAX);
    env_unlock(d->base.env, &d->lock);
    return 0;
}

void docker_path(struct docker *d, struct strbuf *out, const char *path)
{
    env_lock(d->base.env, &d->lock);
    strbuf_addf(out, "/%s%s", d->version[0] ? d->version : "v1.41", path);
    env_unlock(d->base.env, &d->lock);
}

int docker_call(struct docker *d, const char *method, int64_t timeout_ns, const cJSON *body,
    cJSON **ret, struct error *err, const char *path_format, ...)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY, text = STRBUF_EMPTY;
    autofree char *relative = NULL;
    struct http_response response;
    va_list args;

    va_start(args, path_format);
    int n = vasprintf(&relative, path_format, args);
    va_end(args);
    if (n < 0)
        abort();
    strbuf_init(&path, 0);
    strbuf_init(&text, 0);
    docker_path(d, &path, relative);
    if (body)
        json_print(body, &text);
    const struct http_header json = {"Content-Type", "application/json"};
    struct http_request request = {.method = method,
        .path = path.data,
        .headers = &json,
        .header_count = body ? 1 : 0,
        .body = strbuf_str(&text),
        .timeout_ns = timeout_ns ? timeout_ns : CALL_TIMEOUT_NS};
    http_response_init(&response);
    int r = http_do(d->http, &request, &response, err);
    if (r < 0) {
        error_wrap(err, "docker at %s", d->socket_path);
        if (r != -ERR_TIMEOUT && r != -ERR_CANCELLED)
            err->code = ERR_UNAVAILABLE; /* it is not there */
        r = -(int)err->code;
    } else if (response.status >= 400) {
        r = docker_error_of(response.status, strbuf_str(&response.body), err);
    } else if (ret) {
        r = json_parse(strbuf_str(&response.body), ret, err);
    }
    http_response_done(&response);
    return r;
}

/* The daemon's process, or 0. */
static pid_t daemon_pid(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return 0;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        peer.pid = 0;
    close(fd);
    return peer.pid;
}

/* Whether the daemon sees what we mount: its mount namespace is ours. */
static bool daemon_shares_mounts(pid_t pid)
{
    struct stat ours, theirs;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
    return stat("/proc/self/ns/mnt", &ours) == 0 && stat(path, &theirs) == 0 &&
           ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static void read_line(const char *path, char *out, size_t size)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;

    strbuf_init(&text, 0);
    if (file_read(path, 4096, &text, &err) == 0) {
        struct str s = str_trim(strbuf_str(&text));
        snprintf(out, size, "%.*s", STR_FMT(s));
    }
}

/* The lowest OOM score the daemon can give: its own, when it lacks CAP_SYS_RESOURCE (bit 24). */
static int64_t daemon_oom_score_min(pid_t pid)
{
    autostrbuf struct strbuf status = STRBUF_EMPTY;
    char path[64], score[32] = "";
    struct error err;
    int64_t value = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    strbuf_init(&status, 0);
    if (file_read(path, 1u << 16, &status, &err) < 0)
        return -1000;
    const char *line = strstr(status.data, "CapEff:");
    if (!line || (strtoull(line + sizeof("CapEff:") - 1, NULL, 16) >> 24 & 1))
        return -1000;
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    read_line(path, score, sizeof(score));
    return str_parse_int64(str_of(score), &value, &err) == 0 ? value : 0;
}

static int docker_prepare(struct runtime *rt, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);

    if (docker_negotiate(d, err) < 0 || docker_ensure_pause(d, err) < 0)
        return -err->code;
    pid_t pid = daemon_pid(d->socket_path);
    rt->shares_mounts = daemon_shares_mounts(pid);
    rt->oom_score_min = daemon_oom_score_min(pid);
    if (!rt->shares_mounts)
        log_warning("docker has another mount namespace, volumes in memory will lie on disk", NULL);
    return 0;
}

static int docker_facts(struct runtime *rt, struct node_facts *ret, struct error *err)
{
    struct docker *d = container_of(rt, struct docker, base);
    autojson cJSON *info = NULL;
    struct statvfs disk;

    if (docker_negotiate(d, err) < 0 || docker_call(d, "GET", 0, NULL, &info, err, "/info") < 0)
        return -err->code;
    const char *version = json_string(info, "ServerVersion"),
               *kernel = json_string(info, "KernelVersion");
    const char *os = json_string(info, "OperatingSystem"),
               *arch = json_string(info, "Architecture");
    const char *root = json_string(info, "DockerRootDir");
    ret->cpus = json_int64_at(info, "NCPU", 1);
    ret->memory_bytes = json_int64_at(info, "MemTotal", 0);
    if (root && statvfs(root, &disk) == 0) {
        ret->disk_bytes = (int64_t)disk.f_blocks * (int64_t)disk.f_frsize;
        snprintf(ret->disk_path, sizeof(ret->disk_path), "%s", root);
    }
    snprintf(
        ret->runtime_version, sizeof(ret->runtime_version), "docker://%s", version ? version : "");
    snprintf(ret->kernel, sizeof(ret->kernel), "%s", kernel ? kernel : "");
    snprintf(ret->os_image, sizeof(ret->os_image), "%s", os ? os : "");
    snprintf(ret->architecture, sizeof(ret->architecture), "%s",
        c_eq(arch, "x86_64")    ? "amd64"
        : c_eq(arch, "aarch64") ? "arm64"
        : arch                  ? arch
                                : "");
    read_line("/etc/machine-id", ret->machine_id, sizeof(ret->machine_id));
    read_line("/sys/class/dmi/id/product_uuid", ret->system_uuid, sizeof(ret->system_uuid));
    if (!ret->system_uuid[0])
        snprintf(ret->system_uuid, sizeof(ret->system_uuid), "%s", ret->machine_id);
    read_line("/proc/sys/kernel/random/boot_id", ret->boot_id, sizeof(ret->boot_id));
    return 0;
}

static int docker_network_up(struct runtime *rt, const struct pod_network *net,
    struct network_result *ret, struct error *err)
{
    return cni_add(container_of(rt, struct docker, base)->cni, net, ret, err);
}

static int docker_network_down(struct runtime *rt, const struct pod_network *net, struct error *err)
{
    return cni_del(container_of(rt, struct docker, base)->cni, net, err);
}

static bool docker_network_get(
    struct runtime *rt, const char *uid, const char *sandbox_id, struct network_result *ret)
{
    return cni_cached(container_of(rt, struct docker, base)->cni, uid, sandbox_id, ret);
}

static bool docker_network_ready(struct runtime *rt, struct strbuf *why_not)
{
    return cni_ready(container_of(rt, struct docker, base)->cni, why_not);
}

static void docker_free(struct runtime *rt)
{
    struct docker *d = container_of(rt, struct docker, base);

    docker_watch_stop(rt);
    http_client_free(d->http);
    cni_free(d->cni);
    env_lock_done(&d->lock);
    free(d->socket_path);
    free(d->cluster_id);
    free(d->node_name);
    free(d->pause_binary);
    free(d->filters);
    free(d->event_filters);
    free(d->pause_image);
    free(d);
}

static const struct runtime_ops docker_ops = {
    .prepare = docker_prepare,
    .facts = docker_facts,
    .list = docker_list,
    .inspect = docker_inspect,
    .create = docker_create,
    .start = docker_start,
    .update = docker_update,
    .signal = docker_signal,
    .remove = docker_remove,
    .exec = docker_exec,
    .open_stream = docker_open_stream,
    .read_stream = docker_read_stream,
    .resize_stream = docker_resize_stream,
    .stream_result = docker_stream_result,
    .close_stream = docker_close_stream,
    .logs = docker_logs,
    .usage = docker_usage,
    .interfaces = docker_interfaces,
    .image_get = docker_image_get,
    .image_list = docker_image_list,
    .image_pull = docker_image_pull,
    .network_up = docker_network_up,
    .network_down = docker_network_down,
    .network_get = docker_network_get,
    .network_ready = docker_network_ready,
    .watch_start = docker_watch_start,
    .watch_stop = docker_watch_stop,
    .free = docker_free,
};

/* The encoded filters parameter: our containers, of the events only those that change a state. */
static char *make_filters(const struct docker *d, bool of_events)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY, encoded = STRBUF_EMPTY;
    autojson cJSON *tree = json_make(
        of_events ? "{\"label\":[],\"type\":[\"container\"],\"event\":[\"die\",\"destroy\"]}"
                  : "{\"label\":[]}");
    autofree char *cluster = str_format("%s=%s", LABEL_CLUSTER, d->cluster_id);
    autofree char *node = str_format("%s=%s", LABEL_NODE, d->node_name);

    strbuf_init(&text, 0);
    strbuf_init(&encoded, 0);
    cJSON_AddItemToArray(json_get(tree, "label"), cJSON_CreateString(cluster));
    cJSON_AddItemToArray(json_get(tree, "label"), cJSON_CreateString(node));
    json_print(tree, &text);
    url_encode(strbuf_str(&text), &encoded);
    return strbuf_steal(&encoded);
}

int docker_runtime_new(
    struct env *env, const struct docker_config *config, struct runtime **ret, struct error *err)
{
    struct str endpoint = str_of(config->endpoint);

    if (!str_starts(endpoint, STR("unix://")))
        return error_set(err, ERR_USAGE, "--docker-endpoint: \"%s\" does not begin with unix://",
            config->endpoint);
    const char *path = config->endpoint + sizeof("unix://") - 1;
    struct http_client_config http_config = {.base_url = "http://docker",
        .unix_socket = path,
        .user_agent = "skiff-kubelet",
        .connections_max = 8};
    struct http_client *http = NULL;
    if (http_client_new(env, &http_config, &http, err) < 0)
        return -err->code;
    struct docker *d = xcalloc(1, sizeof(*d));
    d->base = (struct runtime){.ops = &docker_ops, .env = env};
    d->http = http;
    d->socket_path = xstrdup(path);
    d->cluster_id = xstrdup(config->cluster_id);
    d->node_name = xstrdup(config->node_name);
    d->pause_binary = xstrdup(config->pause_binary);
    d->filters = make_filters(d, false);
    d->event_filters = make_filters(d, true);
    d->cni = cni_new(env, config->cni);
    env_lock_init(&d->lock);
    *ret = &d->base;
    return 0;
}

struct cni *docker_runtime_cni(struct runtime *rt)
{
    return container_of(rt, struct docker, base)->cni;
}
