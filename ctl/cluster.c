/*
 * The cluster's folder and its marker file.
 */
#include "ctl/cluster.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "common/file.h"
#include "common/names.h"

#define MARKER ".skiff"
#define MARKER_FORMAT 1

char *cluster_path(const struct cluster *c, const char *format, ...)
{
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    return str_format("%s/%s", c->dir, name);
}

int cluster_port(const struct cluster *c, enum cluster_port which)
{
    static const int usual[] = {6443, 10257, 10259, 10256, 10250, 10053, 10054};

    return c->secure_port == usual[PORT_APISERVER] ? usual[which] : c->secure_port + (int)which;
}

int cluster_dir(const char *flag, char **ret, struct error *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@=,~";
    struct str dir = str_of(flag);
    while (dir.n > 1 && dir.p[dir.n - 1] == '/')
        dir.n--;
    if (dir.n < 2 || dir.p[0] != '/')
        return error_set(
            err, ERR_USAGE, "--data-dir must be the absolute path of a folder, not \"%s\"", flag);
    if (strspn(flag, letters) < dir.n)
        return error_set(err, ERR_USAGE,
            "--data-dir must be of letters, digits and /._-+@=,~ only, not \"%s\"", flag);
    *ret = str_dup(dir);
    return 0;
}

int cluster_check_node(const struct cluster *c, struct error *err)
{
    struct in_addr address;
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    strbuf_init(&why, 0);
    if (!name_is_dns1123_subdomain(str_of(c->node_name), &why))
        return error_set(err, ERR_USAGE, "--node-name \"%s\": %s", c->node_name, why.data);
    if (inet_pton(AF_INET, c->node_ip, &address) != 1)
        return error_set(
            err, ERR_USAGE, "--node-ip must be an IPv4 address, not \"%s\"", c->node_ip);
    return 0;
}

static bool dir_is_empty(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT;
    bool empty = true;
    for (struct dirent *e; empty && (e = readdir(dir));)
        empty = c_eq(e->d_name, ".") || c_eq(e->d_name, "..");
    closedir(dir);
    return empty;
}

static char *member(const cJSON *tree, const char *name)
{
    const char *value = json_string(tree, name);
    return value ? xstrdup(value) : NULL;
}

static void cluster_from_json(const char *dir, const cJSON *tree, struct cluster *ret)
{
    *ret = (struct cluster){
        .dir = xstrdup(dir),
        .id = member(tree, "id"),
        .joined = json_bool(tree, "joined", false),
        .control_plane_only = json_bool(tree, "controlPlaneOnly", false),
        .bootstrapped = json_bool(tree, "bootstrapped", false),
        .etcd = json_bool(tree, "etcd", false),
        .etcd_servers = member(tree, "etcdServers"),
        .server = member(tree, "server"),
        .secure_port = (int)json_int64_at(tree, "securePort", 6443),
        .node_name = member(tree, "nodeName"),
        .node_ip = member(tree, "nodeIP"),
        .docker_endpoint = member(tree, "dockerEndpoint"),
        .cni_conf_dir = member(tree, "cniConfDir"),
        .hollow_nodes = json_int64_at(tree, "hollowNodes", 0),
    };
}

int cluster_load(const char *dir, struct cluster *ret, struct error *err)
{
    autofree char *path = str_format("%s/" MARKER, dir);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 1 << 16);
    if (file_read(path, 1 << 16, &text, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -err->code;
        if (dir_is_empty(dir))
            return error_set(err, ERR_NOT_FOUND, "there is no cluster in %s", dir);
        return error_set(err, ERR_BAD_REQUEST,
            "%s is not empty and does not hold a Skiff cluster (no " MARKER " in it); "
            "name another folder with --data-dir",
            dir);
    }
    autojson cJSON *tree = NULL;
    if (json_parse(strbuf_str(&text), &tree, err) < 0)
        return error_wrap(err, "%s", path);
    if (json_int64_at(tree, "format", 0) != MARKER_FORMAT || !json_string(tree, "id"))
        return error_set(err, ERR_BAD_REQUEST, "%s: made by another version of Skiff", path);
    cluster_from_json(dir, tree, ret);
    return 0;
}

int cluster_save(const struct cluster *c, struct error *err)
{
    autojson cJSON *tree = cJSON_CreateObject();
    json_set(tree, "format", json_new_int64(MARKER_FORMAT));
    json_set_string(tree, "id", c->id);
    json_set(tree, "joined", cJSON_CreateBool(c->joined));
    json_set(tree, "controlPlaneOnly", cJSON_CreateBool(c->control_plane_only));
    json_set(tree, "bootstrapped", cJSON_CreateBool(c->bootstrapped));
    json_set(tree, "etcd", cJSON_CreateBool(c->etcd));
    json_set(tree, "securePort", json_new_int64(c->secure_port));
    json_set(tree, "hollowNodes", json_new_int64(c->hollow_nodes));
    const struct {
        const char *name, *value;
    } strings[] = {{"etcdServers", c->etcd_servers}, {"server", c->server},
        {"nodeName", c->node_name}, {"nodeIP", c->node_ip}, {"dockerEndpoint", c->docker_endpoint},
        {"cniConfDir", c->cni_conf_dir}};
    for (size_t i = 0; i < ARRAY_COUNT(strings); i++)
        if (strings[i].value)
            json_set_string(tree, strings[i].name, strings[i].value);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 0);
    json_print_indented(tree, &text, 2);
    strbuf_add_char(&text, '\n');
    autofree char *path = cluster_path(c, MARKER);
    return file_write(path, strbuf_str(&text), 0600, err);
}

void cluster_done(struct cluster *c)
{
    char *const strings[] = {c->dir, c->id, c->etcd_servers, c->server, c->node_name, c->node_ip,
        c->docker_endpoint, c->cni_conf_dir};
    for (size_t i = 0; i < ARRAY_COUNT(strings); i++)
        free(strings[i]);
    *c = (struct cluster){0};
}

char *binaries_dir(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n < 0)
        return xstrdup("/usr/bin");
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    *slash = '\0';
    return xstrdup(path);
}

char *binary_path(const char *name)
{
    autofree char *dir = binaries_dir();
    return str_format("%s/%s", dir, name);
}
