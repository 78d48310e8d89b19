/*
 * CNI's JSON: configuration lists, plugin inputs, results and errors. Pure.
 *
 * Fuzzed by tests/fuzz/kubelet_cni_fuzz.c.
 */
#include "kubelet/network/cni.h"

#include <arpa/inet.h>

#include "common/time.h"

int cni_config_parse(struct str text, cJSON **ret, struct error *err)
{
    autojson cJSON *tree = NULL;
    const cJSON *plugins, *plugin;

    if (json_parse(text, &tree, err) < 0)
        return -err->code;
    if (!json_string(tree, "name"))
        return error_set(err, ERR_BAD_REQUEST, "a network configuration needs a name");
    if (!json_get(tree, "plugins") && json_string(tree, "type")) {
        cJSON *list = json_make("{\"plugins\":[]}");
        json_set_string(list, "name", json_string(tree, "name"));
        json_set_string(list, "cniVersion",
            json_string(tree, "cniVersion") ? json_string(tree, "cniVersion") : "0.2.0");
        cJSON_AddItemToArray(json_get(list, "plugins"), steal(&tree));
        tree = list;
    }
    plugins = json_get(tree, "plugins");
    if (!cJSON_IsArray(plugins) || cJSON_GetArraySize(plugins) == 0)
        return error_set(err, ERR_BAD_REQUEST, "a network configuration needs plugins");
    cJSON_ArrayForEach(plugin, plugins)
    {
        const char *type = json_string(plugin, "type");
        if (!type || !type[0] || strchr(type, '/'))
            return error_set(
                err, ERR_BAD_REQUEST, "a plugin of the network configuration needs a type");
    }
    *ret = steal(&tree);
    return 0;
}

cJSON *cni_config_default(const char *pod_cidr, const char *data_dir, int64_t mtu, bool with_ports)
{
    cJSON *list = json_make("{\"cniVersion\":\"0.4.0\",\"name\":\"skiff\",\"plugins\":[]}");
    cJSON *bridge =
        json_make("{\"type\":\"bridge\",\"bridge\":\"%s\",\"isGateway\":true,\"hairpinMode\":true,"
                  "\"ipMasq\":false,\"ipam\":{\"type\":\"host-local\",\"ranges\":[[{}]],"
                  "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}",
            CNI_BRIDGE);
    cJSON *range = cJSON_GetArrayItem(cJSON_GetArrayItem(json_path(bridge, "ipam.ranges"), 0), 0);
    autofree char *networks = str_format("%s/networks", data_dir);

    json_set_string(range, "subnet", pod_cidr);
    json_set_string_at(bridge, "ipam.dataDir", networks);
    if (mtu > 0)
        json_set(bridge, "mtu", json_new_int64(mtu));
    cJSON_AddItemToArray(json_get(list, "plugins"), bridge);
    if (with_ports)
        cJSON_AddItemToArray(json_get(list, "plugins"),
            json_make(
                "{\"type\":\"portmap\",\"snat\":true,\"capabilities\":{\"portMappings\":true}}"));
    return list;
}

static cJSON *port_mappings(const struct pod_network *net)
{
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < net->port_count; i++) {
        const struct port_mapping *port = &net->ports[i];
        cJSON *item = cJSON_CreateObject();

        json_set(item, "hostPort", json_new_int64(port->host_port));
        json_set(item, "containerPort", json_new_int64(port->container_port));
        json_set_string(item, "protocol", port->protocol);
        json_set_string(item, "hostIP", port->host_ip ? port->host_ip : "");
        cJSON_AddItemToArray(list, item);
    }
    return list;
}

cJSON *cni_plugin_input(
    const cJSON *list, const cJSON *plugin, const struct pod_network *net, const cJSON *previous)
{
    cJSON *input = cJSON_Duplicate(plugin, true);
    const cJSON *capabilities = json_get(plugin, "capabilities");
    const char *version = json_string(list, "cniVersion");

    json_set_string(input, "name", json_string(list, "name"));
    json_set_string(input, "cniVersion", version ? version : "0.2.0");
    if (json_bool(capabilities, "portMappings", false) && net->port_count > 0)
        json_set_at(input, "runtimeConfig.portMappings", port_mappings(net));
    json_remove(input, "capabilities");
    if (previous)
        json_set(input, "prevResult", cJSON_Duplicate(previous, true));
    return input;
}

/* The address without its prefix length into the first free field. */
static bool take_address(const char *text, struct network_result *ret)
{
    struct str address = str_of(text);
    ssize_t slash = str_find(address, '/');
    char plain[64];
    unsigned char raw[16];

    if (slash >= 0)
        address.n = (size_t)slash;
    if (address.n == 0 || address.n >= sizeof(plain))
        return false;
    snprintf(plain, sizeof(plain), "%.*s", STR_FMT(address));
    if (inet_pton(AF_INET, plain, raw) != 1 && inet_pton(AF_INET6, plain, raw) != 1)
        return false;
    if (!ret->ip[0])
        memcpy(ret->ip, plain, sizeof(plain));
    else if (!ret->ip_other[0])
        memcpy(ret->ip_other, plain, sizeof(plain));
    return true;
}

int cni_result_parse(
    struct str text, cJSON **ret_tree, struct network_result *ret, struct error *err)
{
    autojson cJSON *tree = NULL;
    struct network_result result = {0};
    const cJSON *ip;

    if (json_parse(str_trim(text), &tree, err) < 0)
        return error_wrap(err, "the network plugin's result");
    if (!cJSON_IsObject(tree))
        return error_set(err, ERR_BAD_REQUEST, "the network plugin's result is no object");
    cJSON_ArrayForEach(ip, json_get(tree, "ips"))
    {
        const char *address = json_string(ip, "address");
        if (!address || !take_address(address, &result))
            return error_set(err, ERR_BAD_REQUEST, "the network plugin's result has a bad address");
    }
    /* Results before 0.3.0 name the families. */
    const char *old4 = json_string_at(tree, "ip4.ip"), *old6 = json_string_at(tree, "ip6.ip");
    if ((old4 && !take_address(old4, &result)) || (old6 && !take_address(old6, &result)))
        return error_set(err, ERR_BAD_REQUEST, "the network plugin's result has a bad address");
    if (ret_tree)
        *ret_tree = steal(&tree);
    *ret = result;
    return 0;
}

int cni_error_parse(const char *plugin, const char *command, struct str output, struct error *err)
{
    autojson cJSON *tree = NULL;
    struct error ignored;
    struct str text = str_trim(output);
    const char *message = NULL, *details = NULL;

    if (json_parse(text, &tree, &ignored) == 0) {
        message = json_string(tree, "msg");
        details = json_string(tree, "details");
    }
    char lower[16] = "";
    for (size_t i = 0; command[i] && i + 1 < sizeof(lower); i++)
        lower[i] = (char)(command[i] | 0x20);
    if (message)
        return error_set(err, ERR_INTERNAL, "plugin type=\"%s\" failed (%s): %s%s%s", plugin, lower,
            message, details && details[0] ? "; " : "", details ? details : "");
    if (text.n > 400)
        text.n = 400;
    return error_set(
        err, ERR_INTERNAL, "plugin type=\"%s\" failed (%s): %.*s", plugin, lower, STR_FMT(text));
}
