/*
 * Calls CNI plugins: see cni.h.
 *
 * ADD runs a list's plugins in order, each with the result of the one before; when one fails, DEL
 * runs through all of them so that nothing stays behind. DEL runs in reverse with what ADD has
 * kept. Both may be repeated.
 */
#include "kubelet/network/cni.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "common/time.h"
#include "kubelet/files.h"

#define CONFIG_MAX (1u << 20)
#define OUTPUT_MAX (1u << 20)

struct cni {
    struct env *env;
    char *conf_dir, *bin_dir, *data_dir;
    int64_t mtu;
    struct lock lock; /* pod_cidr */
    char *pod_cidr;
};

struct cni *cni_new(struct env *env, const struct cni_options *options)
{
    struct cni *cni = xcalloc(1, sizeof(*cni));

    cni->env = env;
    cni->conf_dir = xstrdup(options->conf_dir ? options->conf_dir : "");
    cni->bin_dir = xstrdup(options->bin_dir);
    cni->data_dir = xstrdup(options->data_dir);
    cni->mtu = options->mtu;
    cni->pod_cidr = xstrdup("");
    env_lock_init(&cni->lock);
    return cni;
}

void cni_free(struct cni *cni)
{
    if (!cni)
        return;
    env_lock_done(&cni->lock);
    free(cni->conf_dir);
    free(cni->bin_dir);
    free(cni->data_dir);
    free(cni->pod_cidr);
    free(cni);
}

void cni_set_pod_cidr(struct cni *cni, const char *cidr)
{
    env_lock(cni->env, &cni->lock);
    free(cni->pod_cidr);
    cni->pod_cidr = xstrdup(cidr ? cidr : "");
    env_unlock(cni->env, &cni->lock);
}

static int is_config(const struct dirent *entry)
{
    struct str name = str_of(entry->d_name);

    return str_ends(name, STR(".conflist")) || str_ends(name, STR(".conf")) ||
           str_ends(name, STR(".json"));
}

/* The first readable configuration of the folder; NULL in *ret when there is none. */
static void load_file(struct cni *cni, cJSON **ret)
{
    struct dirent **entries = NULL;
    int n = scandir(cni->conf_dir, &entries, is_config, alphasort);

    for (int i = 0; i < n; i++) {
        autofree char *path = str_format("%s/%s", cni->conf_dir, entries[i]->d_name);
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        struct error err;

        strbuf_init(&text, 0);
        if (!*ret && (file_read(path, CONFIG_MAX, &text, &err) < 0 ||
                         cni_config_parse(strbuf_str(&text), ret, &err) < 0))
            log_warning("unusable network configuration, ignoring", "file", "%s", path, "error",
                "%s", err.text, NULL);
        free(entries[i]);
    }
    free(entries);
}

static int load_config(struct cni *cni, bool with_ports, cJSON **ret, struct error *err)
{
    load_file(cni, ret);
    if (*ret)
        return 0;
    env_lock(cni->env, &cni->lock);
    if (cni->pod_cidr[0])
        *ret = cni_config_default(cni->pod_cidr, cni->data_dir, cni->mtu, with_ports);
    env_unlock(cni->env, &cni->lock);
    if (!*ret)
        return error_set(err, ERR_UNAVAILABLE, "cni config uninitialized");
    return 0;
}

bool cni_ready(struct cni *cni, struct strbuf *why_not)
{
    autojson cJSON *config = NULL;
    struct error err;

    if (load_config(cni, false, &config, &err) == 0)
        return true;
    if (why_not)
        strbuf_addc(why_not, err.text);
    return false;
}

static char *result_path(struct cni *cni, const char *uid)
{
    return str_format("%s/results/%s.json", cni->data_dir, uid);
}

static int run_plugin(struct cni *cni, const char *command, const cJSON *plugin, const cJSON *input,
    const struct pod_network *net, struct strbuf *output, struct error *err)
{
    const char *type = json_string(plugin, "type");
    autofree char *path = str_format("%s/%s", cni->bin_dir, type);
    autofree char *netns = net->pid > 0
                               ? str_format("CNI_NETNS=/proc/%lld/ns/net", (long long)net->pid)
                               : xstrdup("CNI_NETNS=");
    autofree char *command_env = str_format("CNI_COMMAND=%s", command);
    autofree char *id = str_format("CNI_CONTAINERID=%s", net->sandbox_id);
    autofree char *bin = str_format("CNI_PATH=%s", cni->bin_dir);
    autofree char *args =
        str_format("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;"
                   "K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
            net->namespace_, net->pod, net->sandbox_id, net->uid);
    char *const envp[] = {command_env, id, netns, (char *)"CNI_IFNAME=eth0", args, bin,
        (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    char *const argv[] = {path, NULL};
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    strbuf_init(&text, 0);
    json_print(input, &text);
    int r = spawn_run(path, argv, envp, strbuf_str(&text), LIMIT_CNI_NS, output, err);
    if (r < 0)
        return error_wrap(err, "network plugin");
    return r == 0 ? 0 : cni_error_parse(type, command, strbuf_str(output), err);
}

static int del_list(struct cni *cni, const cJSON *list, const cJSON *previous,
    const struct pod_network *net, struct error *err)
{
    const cJSON *plugins = json_get(list, "plugins");

    for (int i = cJSON_GetArraySize(plugins) - 1; i >= 0; i--) {
        const cJSON *plugin = cJSON_GetArrayItem(plugins, i);
        autojson cJSON *input = cni_plugin_input(list, plugin, net, previous);
        autostrbuf struct strbuf output = STRBUF_EMPTY;

        strbuf_init(&output, OUTPUT_MAX);
        if (run_plugin(cni, "DEL", plugin, input, net, &output, err) < 0)
            return -err->code;
    }
    return 0;
}

static int add_list(struct cni *cni, const cJSON *list, const struct pod_network *net,
    cJSON **ret_result, struct network_result *ret, struct error *err)
{
    autojson cJSON *previous = NULL;
    const cJSON *plugin;

    cJSON_ArrayForEach(plugin, json_get(list, "plugins"))
    {
        autojson cJSON *input = cni_plugin_input(list, plugin, net, previous);
        autojson cJSON *result = NULL;
        autostrbuf struct strbuf output = STRBUF_EMPTY;

        strbuf_init(&output, OUTPUT_MAX);
        if (run_plugin(cni, "ADD", plugin, input, net, &output, err) < 0 ||
            cni_result_parse(strbuf_str(&output), &result, ret, err) < 0) {
            struct error ignored;
            del_list(cni, list, previous, net, &ignored);
            return -err->code;
        }
        cJSON_Delete(previous);
        previous = steal(&result);
    }
    *ret_result = steal(&previous);
    return 0;
}

/* Kept before ADD (so that DEL finds the configuration after a crash) and after it (with the
 * result). */
static int keep(struct cni *cni, const struct pod_network *net, const cJSON *list,
    const cJSON *result, struct error *err)
{
    autojson cJSON *tree = cJSON_CreateObject();
    autofree char *path = result_path(cni, net->uid),
                  *folder = str_format("%s/results", cni->data_dir);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    cJSON *ports = cJSON_CreateArray();

    json_set_string(tree, "sandboxId", net->sandbox_id);
    json_set(tree, "config", cJSON_Duplicate(list, true));
    if (result)
        json_set(tree, "result", cJSON_Duplicate(result, true));
    for (size_t i = 0; i < net->port_count; i++) {
        const struct port_mapping *p = &net->ports[i];
        cJSON *item =
            json_make("{\"host\":%d,\"container\":%d}", (int)p->host_port, (int)p->container_port);
        json_set_string(item, "protocol", p->protocol);
        json_set_string(item, "ip", p->host_ip ? p->host_ip : "");
        cJSON_AddItemToArray(ports, item);
    }
    json_set(tree, "ports", ports);
    strbuf_init(&text, 0);
    json_print(tree, &text);
    if (file_make_dirs(folder, 0700, err) < 0)
        return -err->code;
    return quick_write(path, strbuf_str(&text), 0600, err);
}

int cni_add(
    struct cni *cni, const struct pod_network *net, struct network_result *ret, struct error *err)
{
    autojson cJSON *list = NULL, *result = NULL;
    struct network_result addresses = {0};

    if (load_config(cni, net->port_count > 0, &list, err) < 0)
        return -err->code;
    if (keep(cni, net, list, NULL, err) < 0 ||
        add_list(cni, list, net, &result, &addresses, err) < 0)
        return -err->code;
    if (!addresses.ip[0])
        return error_set(err, ERR_INTERNAL, "the network plugins gave the pod no address");
    if (keep(cni, net, list, result, err) < 0)
        return -err->code;
    *ret = addresses;
    return 0;
}

static bool load_kept(struct cni *cni, const char *uid, const char *sandbox_id, cJSON **ret)
{
    autofree char *path = result_path(cni, uid);
    autojson cJSON *tree = NULL;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;

    strbuf_init(&text, 0);
    if (file_read(path, CONFIG_MAX, &text, &err) < 0 ||
        json_parse(strbuf_str(&text), &tree, &err) < 0)
        return false;
    if (!c_eq(json_string(tree, "sandboxId"), sandbox_id))
        return false;
    *ret = steal(&tree);
    return true;
}

bool cni_cached(
    struct cni *cni, const char *uid, const char *sandbox_id, struct network_result *ret)
{
    autojson cJSON *kept = NULL;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;

    if (!load_kept(cni, uid, sandbox_id, &kept) || !json_get(kept, "result"))
        return false;
    strbuf_init(&text, 0);
    json_print(json_get(kept, "result"), &text);
    return cni_result_parse(strbuf_str(&text), NULL, ret, &err) == 0 && ret->ip[0];
}

#define PORTS_MAX 256

int cni_del(struct cni *cni, const struct pod_network *net, struct error *err)
{
    autojson cJSON *kept = NULL;
    struct port_mapping ports[PORTS_MAX];
    struct pod_network again = *net;
    const cJSON *item;

    if (!load_kept(cni, net->uid, net->sandbox_id, &kept))
        return 0; /* never added, or already deleted */
    again.ports = ports;
    again.port_count = 0;
    cJSON_ArrayForEach(item, json_get(kept, "ports"))
    {
        if (again.port_count == PORTS_MAX)
            break;
        ports[again.port_count++] =
            (struct port_mapping){.host_port = json_int64_at(item, "host", 0),
                .container_port = json_int64_at(item, "container", 0),
                .protocol = json_string(item, "protocol"),
                .host_ip = json_string(item, "ip")};
    }
    if (del_list(cni, json_get(kept, "config"), json_get(kept, "result"), &again, err) < 0)
        return -err->code;
    autofree char *path = result_path(cni, net->uid);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_sys(err, errno, "%s", path);
    return 0;
}
