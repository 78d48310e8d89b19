/*
 * What `up` and `join` look at before they make anything, so that nothing is left half-started.
 */
#include "ctl/cluster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/file.h"
#include "common/http_client.h"
#include "common/time.h"

#define DISK_FREE_MIN (256ull << 20)

static int check_rights(const struct cluster *c, struct error *err)
{
    if (c->control_plane_only || geteuid() == 0)
        return 0;
    return error_set(err, ERR_FORBIDDEN,
        "a node needs root (network namespaces, mounts, nftables); run it with sudo, or "
        "use --control-plane-only");
}

static int check_programs(const struct cluster *c, struct error *err)
{
    static const struct {
        const char *name;
        bool server, node;
    } programs[] = {
        {"skiff-supervisor", true, true},
        {"skiff-apiserver", true, false},
        {"skiff-controller-manager", true, false},
        {"skiff-scheduler", true, false},
        {"skiff-kubelet", false, true},
        {"skiff-pause", false, true},
        {"skiff-proxy", false, true},
        {"skiff-dns", false, true},
    };
    autofree char *dir = binaries_dir();

    for (size_t i = 0; i < ARRAY_COUNT(programs); i++) {
        if (!(programs[i].server && !c->joined) && !(programs[i].node && !c->control_plane_only))
            continue;
        autofree char *path = binary_path(programs[i].name);
        if (access(path, X_OK) < 0)
            return error_set(err, ERR_NOT_FOUND,
                "%s is missing in %s; build it with: cmake --build build", programs[i].name, dir);
    }
    return 0;
}

static int check_port(const char *what, int port, int type, struct error *err)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, errno, "socket");
    int on = type == SOCK_STREAM; /* for datagrams it would mean to share the port */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int failed = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
    close(fd);
    if (failed)
        return error_set(err, ERR_CONFLICT,
            "port %d for %s is taken (%s); see who has it with 'ss -lptun sport = :%d', or choose "
            "others with --secure-port",
            port, what, strerror(failed), port);
    return 0;
}

static int check_ports(const struct cluster *c, struct error *err)
{
    static const struct {
        const char *what;
        enum cluster_port port;
        int type;
        bool node;
    } ports[] = {
        {"the API server", PORT_APISERVER, SOCK_STREAM, false},
        {"the controller manager", PORT_CONTROLLER_MANAGER, SOCK_STREAM, false},
        {"the scheduler", PORT_SCHEDULER, SOCK_STREAM, false},
        {"the node agent", PORT_KUBELET, SOCK_STREAM, true},
        {"the proxy's health page", PORT_PROXY, SOCK_STREAM, true},
        {"the cluster DNS", PORT_DNS, SOCK_DGRAM, true},
        {"the cluster DNS", PORT_DNS, SOCK_STREAM, true},
        {"the DNS's health page", PORT_DNS_HEALTH, SOCK_STREAM, true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(ports); i++) {
        if (ports[i].node ? c->control_plane_only : c->joined)
            continue;
        if (check_port(ports[i].what, cluster_port(c, ports[i].port), ports[i].type, err) < 0)
            return -err->code;
    }
    return 0;
}

static int check_docker(const struct cluster *c, struct env *env, struct error *err)
{
    if (c->control_plane_only)
        return 0;
    const char *socket_path = c->docker_endpoint;
    if (str_starts(str_of(socket_path), STR("unix://")))
        socket_path += strlen("unix://");
    struct http_client *client;
    struct http_client_config config = {.base_url = "http://docker", .unix_socket = socket_path};
    if (http_client_new(env, &config, &client, err) < 0)
        return -err->code;
    struct http_response answer;
    http_response_init(&answer);
    struct http_request ping = {.method = "GET", .path = "/_ping", .timeout_ns = 5 * NS_PER_S};
    int result = http_do(client, &ping, &answer, err);
    int status = answer.status;
    http_response_done(&answer);
    http_client_free(client);
    if (result < 0)
        return error_set(err, ERR_UNAVAILABLE,
            "Docker does not answer at %s (%s); start it with 'systemctl start docker' or 'dockerd "
            "&', "
            "install it with 'apt-get install docker.io', or name its socket with "
            "--docker-endpoint",
            c->docker_endpoint, file_exists(socket_path) ? "no answer" : "no such socket");
    if (status != 200)
        return error_set(err, ERR_UNAVAILABLE, "Docker at %s answers with status %d to a ping",
            c->docker_endpoint, status);
    return 0;
}

static int check_disk(const struct cluster *c, struct error *err)
{
    struct statvfs fs;
    if (statvfs(c->dir, &fs) < 0)
        return error_sys(err, errno, "%s", c->dir);
    unsigned long long available = (unsigned long long)fs.f_bavail * fs.f_frsize;
    if (available < DISK_FREE_MIN)
        return error_set(err, ERR_UNAVAILABLE,
            "only %llu MB are free in %s and at least %llu MB are needed; free some space, or name "
            "a "
            "folder on another disk with --data-dir",
            available >> 20, c->dir, DISK_FREE_MIN >> 20);
    return 0;
}

static int check_cni(const struct cluster *c, struct error *err)
{
    static const char *const plugins[] = {"bridge", "host-local", "portmap", "loopback"};

    for (size_t i = 0; !c->control_plane_only && i < ARRAY_COUNT(plugins); i++) {
        autofree char *path = str_format("/usr/lib/cni/%s", plugins[i]);
        if (!file_exists(path))
            return error_set(err, ERR_NOT_FOUND,
                "the CNI plugin %s is missing; install it with: apt-get install "
                "containernetworking-plugins",
                path);
    }
    return 0;
}

int preflight_check(const struct cluster *c, struct env *env, bool running, struct error *err)
{
    if (check_rights(c, err) < 0 || check_programs(c, err) < 0 || check_cni(c, err) < 0 ||
        check_disk(c, err) < 0 || check_docker(c, env, err) < 0)
        return -err->code;
    return running ? 0 : check_ports(c, err);
}
