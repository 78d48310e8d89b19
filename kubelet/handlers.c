/*
 * One action on a container: exec, httpGet, tcpSocket, grpc (grpc_probe.c). Probes and lifecycle
 * hooks share it.
 *
 * HTTP goes straight to the pod's address: no proxy, certificates are not verified, redirects are
 * not followed (a redirect is a success to a probe). Names of ports are looked up in the container.
 *
 * Upstream: pkg/probe/http, tcp, exec; kubelet/lifecycle/handlers.go.
 */
#include "kubelet/agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/time.h"

#define BODY_MAX (10u << 10)
#define HEADERS_MAX 64

static int64_t port_of(const cJSON *container, const cJSON *action)
{
    const cJSON *port = json_get(action, "port"), *item;
    struct error err;
    int64_t number = 0;

    if (json_int64(port, &number))
        return number;
    const char *name = cJSON_GetStringValue(port);
    cJSON_ArrayForEach(item, json_get(container, "ports"))
    {
        if (name && c_eq(json_string(item, "name"), name))
            return json_int64_at(item, "containerPort", 0);
    }
    if (name && str_parse_int64(str_of(name), &number, &err) == 0)
        return number;
    return 0;
}

static const char *host_of(const cJSON *action, const char *pod_ip)
{
    const char *host = json_string(action, "host");

    return host && host[0] ? host : pod_ip;
}

static int http_action(struct agent *agent, const cJSON *container, const cJSON *action,
    const char *pod_ip, int64_t timeout_ns, struct error *err)
{
    const char *host = host_of(action, pod_ip), *path = json_string(action, "path");
    const char *scheme = json_string(action, "scheme");
    bool tls = c_eq(scheme, "HTTPS") || c_eq(scheme, "https"), v6 = strchr(host, ':') != NULL;
    int64_t port = port_of(container, action);
    struct http_header headers[HEADERS_MAX];
    size_t count = 0;
    const cJSON *item;
    bool has_accept = false;

    if (port <= 0 || port > 65535)
        return error_set(err, ERR_INVALID, "invalid port number: %lld", (long long)port);
    autofree char *base = str_format("%s://%s%s%s:%lld", tls ? "https" : "http", v6 ? "[" : "",
        host, v6 ? "]" : "", (long long)port);
    autofree char *url =
        str_format("%s%s%s", base, path && path[0] == '/' ? "" : "/", path ? path : "");
    cJSON_ArrayForEach(item, json_get(action, "httpHeaders"))
    {
        const char *name = json_string(item, "name"), *value = json_string(item, "value");
        if (!name || count + 2 >= HEADERS_MAX)
            continue;
        has_accept = has_accept || str_eq_nocase(str_of(name), STR("Accept"));
        headers[count++] = (struct http_header){name, value ? value : ""};
    }
    if (!has_accept)
        headers[count++] = (struct http_header){"Accept", "*/*"};
    headers[count++] = (struct http_header){"Connection", "close"};
    struct http_response response;
    http_response_init(&response);
    int r = http_do(agent->prober,
        &(struct http_request){.method = "GET",
            .path = url,
            .headers = headers,
            .header_count = count,
            .timeout_ns = timeout_ns,
            .response_limit = BODY_MAX},
        &response, err);
    if (r == -ERR_TOO_LARGE)
        r = 0; /* the status is all that counts */
    if (r < 0)
        error_wrap(err, "Get \"%s\"", url);
    else if (response.status && (response.status < 200 || response.status >= 400))
        r = error_set(err, ERR_INTERNAL, "HTTP probe failed with statuscode: %d", response.status);
    http_response_done(&response);
    return r;
}

static int connect_within(int fd, const struct addrinfo *address, int64_t timeout_ns)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    int n = poll(&poller, 1, (int)(timeout_ns / NS_PER_MS));
    if (n <= 0)
        return n == 0 ? ETIMEDOUT : errno;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) < 0 ? errno : failure;
}

int handler_connect(
    const char *host, int64_t port, int64_t timeout_ns, int *ret_fd, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = NULL;
    char service[24];

    snprintf(service, sizeof(service), "%lld", (long long)port);
    int r = getaddrinfo(host, service, &hints, &addresses);
    if (r != 0)
        return error_set(err, ERR_SYSTEM, "dial tcp %s:%s: %s", host, service, gai_strerror(r));
    int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failure = fd < 0 ? errno : connect_within(fd, addresses, timeout_ns);
    freeaddrinfo(addresses);
    if (failure && fd >= 0)
        close(fd);
    if (failure)
        return error_sys(err, failure, "dial tcp %s:%s: connect", host, service);
    *ret_fd = fd;
    return 0;
}

static int tcp_action(const cJSON *container, const cJSON *action, const char *pod_ip,
    int64_t timeout_ns, struct error *err)
{
    int fd;

    if (handler_connect(host_of(action, pod_ip), port_of(container, action), timeout_ns, &fd, err) <
        0)
        return -err->code;
    close(fd);
    return 0;
}

static int exec_action(struct agent *agent, const cJSON *action, const char *container_id,
    int64_t timeout_ns, struct strbuf *output, struct error *err)
{
    const cJSON *command = json_get(action, "command"), *item;
    const char **argv = xcalloc((size_t)cJSON_GetArraySize(command) + 1, sizeof(*argv));
    int64_t exit_code = 0;
    size_t n = 0;

    cJSON_ArrayForEach(item, command)
    {
        if (cJSON_IsString(item))
            argv[n++] = item->valuestring;
    }
    int r = agent->runtime->ops->exec(
        agent->runtime, container_id, argv, timeout_ns, output, &exit_code, err);
    free(argv);
    if (r < 0)
        return r;
    if (exit_code == 0)
        return 0;
    struct str text = str_trim(strbuf_str(output));
    if (text.n > 800)
        text.n = 800;
    return error_set(
        err, ERR_INTERNAL, "command exited with %lld: %.*s", (long long)exit_code, STR_FMT(text));
}

int handler_run(struct pod_record *record, const cJSON *container, const cJSON *handler,
    const char *container_id, const char *pod_ip, int64_t timeout_ns, struct strbuf *output,
    struct error *err)
{
    struct agent *agent = record->agent;
    const cJSON *exec = json_get(handler, "exec"), *http = json_get(handler, "httpGet");
    const cJSON *tcp = json_get(handler, "tcpSocket"), *sleep = json_get(handler, "sleep"),
                *grpc = json_get(handler, "grpc");

    if (exec)
        return exec_action(agent, exec, container_id, timeout_ns, output, err);
    if (http)
        return http_action(agent, container, http, pod_ip, timeout_ns, err);
    if (tcp)
        return tcp_action(container, tcp, pod_ip, timeout_ns, err);
    if (grpc)
        return grpc_action(agent->env, grpc, pod_ip, timeout_ns, err);
    if (sleep) {
        int64_t ns = json_int64_at(sleep, "seconds", 0) * NS_PER_S;
        agent_sleep(agent, ns < timeout_ns ? ns : timeout_ns);
        return 0;
    }
    return error_set(err, ERR_NOT_IMPLEMENTED, "missing probe handler for %s", record->name);
}
