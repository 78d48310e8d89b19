/*
 * Waiting for daemons and nodes with progress lines; and what a node takes from this machine by
 * default.
 */
#include "ctl/up.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"
#include "common/http_client.h"
#include "common/time.h"
#include "ctl/ui.h"

#define POLL_NS (10 * NS_PER_MS)

int up_make_dirs(const struct cluster *c, struct error *err)
{
    static const char *const names[] = {"pki", "db", "log", "run", "kubelet"};

    if (file_make_dirs(c->dir, 0700, err) < 0)
        return -err->code;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        autofree char *path = cluster_path(c, "%s", names[i]);
        if (file_make_dirs(path, 0700, err) < 0)
            return -err->code;
    }
    return 0;
}

char *up_node_name(void)
{
    char name[256] = "";
    gethostname(name, sizeof(name) - 1);
    for (char *p = name; *p; p++)
        *p = isalnum((unsigned char)*p) || *p == '.' ? (char)tolower((unsigned char)*p) : '-';
    return xstrdup(*name ? name : "node");
}

/* The address that the default route would use; connect() on a datagram socket sends nothing. */
static bool route_address(char *text, socklen_t n)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)}, own;
    socklen_t length = sizeof(own);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "192.0.2.254", &to.sin_addr);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
              getsockname(fd, (struct sockaddr *)&own, &length) == 0 &&
              inet_ntop(AF_INET, &own.sin_addr, text, n);
    if (fd >= 0)
        close(fd);
    return ok;
}

int up_node_ip(char **ret, struct error *err)
{
    char text[INET_ADDRSTRLEN] = "";
    struct ifaddrs *all = NULL;
    if (route_address(text, sizeof(text)) && !str_starts(str_of(text), STR("127."))) {
        *ret = xstrdup(text);
        return 0;
    }
    *text = '\0';
    if (getifaddrs(&all) < 0)
        return error_sys(err, errno, "getifaddrs");
    for (struct ifaddrs *i = all; i && !*text; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK) &&
            (i->ifa_flags & IFF_UP))
            inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, text, sizeof(text));
    freeifaddrs(all);
    if (!*text)
        return error_set(err, ERR_BAD_REQUEST,
            "this machine has no IPv4 address besides loopback; give one with --node-ip");
    *ret = xstrdup(text);
    return 0;
}

static bool is_healthy(struct http_client *http, const char *url)
{
    struct http_response answer;
    struct error err;
    http_response_init(&answer);
    struct http_request request = {.method = "GET", .path = url, .timeout_ns = 2 * NS_PER_S};
    bool ok = http_do(http, &request, &answer, &err) == 0 && answer.status == 200;
    http_response_done(&answer);
    return ok;
}

static int wait_one(const struct cluster *c, struct env *env, struct http_client *http,
    const cJSON *row, int64_t deadline_ns, struct error *err)
{
    struct ui_step step;
    const char *name = json_string(row, "name"), *url = json_string(row, "health");
    ui_step_begin(&step, env, "%s", name);
    while (!is_healthy(http, url)) {
        if (env_now_ns(env) > deadline_ns) {
            ui_step_end(&step, false, "not ready");
            return error_set(err, ERR_TIMEOUT, "%s is not ready; see the end of %s/log/%s.log",
                name, c->dir, name);
        }
        ui_step_update(&step, "waiting");
        env_sleep_ns(env, POLL_NS);
    }
    ui_step_end(&step, true, "ready");
    return 0;
}

int up_wait_healthy(const struct cluster *c, struct env *env, const char *first, const char *last,
    int64_t deadline_ns, struct error *err)
{
    autojson cJSON *list = daemons_list(c);
    struct http_client *http;
    /* The pages are on loopback and say nothing secret; a joined node's are signed by nobody we
     * know. */
    struct http_client_config config = {
        .base_url = "https://127.0.0.1", .insecure_skip_verify = true};
    if (http_client_new(env, &config, &http, err) < 0)
        return -err->code;
    int result = 0;
    bool started = !first, ended = false;
    const cJSON *row;
    cJSON_ArrayForEach(row, list)
    {
        const char *name = json_string(row, "name");
        started = started || c_eq(name, first);
        if (result == 0 && started && !ended && json_string(row, "health"))
            result = wait_one(c, env, http, row, deadline_ns, err);
        ended = ended || (last && c_eq(name, last));
    }
    http_client_free(http);
    return result;
}

static bool node_is_ready(const cJSON *node, const char **ret_why)
{
    const cJSON *condition;
    cJSON_ArrayForEach(condition, json_path(node, "status.conditions"))
    {
        if (!c_eq(json_string(condition, "type"), "Ready"))
            continue;
        *ret_why = json_string(condition, "message");
        return c_eq(json_string(condition, "status"), "True");
    }
    *ret_why = "it has not reported yet";
    return false;
}

int up_wait_node_ready(
    const struct cluster *c, struct api_client *api, int64_t deadline_ns, struct error *err)
{
    struct api_ref ref = {.group_version = "v1", .plural = "nodes", .name = c->node_name};
    struct env *env = api_client_env(api);
    struct ui_step step;
    char why[1024] = "it has not registered yet";
    ui_step_begin(&step, env, "node %s", c->node_name);
    for (;;) {
        autojson cJSON *node = NULL;
        const char *message = NULL;
        if (api_get(api, &ref, &node, err) == 0) {
            if (node_is_ready(node, &message))
                break;
            snprintf(why, sizeof(why), "%s", message ? message : "");
        } else if (err->code != ERR_NOT_FOUND) {
            snprintf(why, sizeof(why), "%s", err->text);
        }
        if (env_now_ns(env) > deadline_ns) {
            ui_step_end(&step, false, "%s", why);
            return error_set(err, ERR_TIMEOUT,
                "node %s is not Ready: %s; see the end of %s/log/kubelet.log", c->node_name, why,
                c->dir);
        }
        ui_step_update(&step, "%s", why);
        env_sleep_ns(env, POLL_NS);
    }
    ui_step_end(&step, true, "Ready");
    return 0;
}
