/*
 * Fuzz target of what CNI plugins and their configuration files say, and of Docker's descriptions.
 *
 * The first byte chooses the parser. An address that was accepted is a real one.
 */
/* links: skiff-kubelet-lib */
#include <arpa/inet.h>
#include <assert.h>

#include "kubelet/docker/docker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_result(struct str text)
{
    struct network_result result = {0};
    unsigned char raw[16];
    struct error err;
    cJSON *tree = NULL;

    if (cni_result_parse(text, &tree, &result, &err) < 0)
        return;
    if (result.ip[0])
        assert(inet_pton(strchr(result.ip, ':') ? AF_INET6 : AF_INET, result.ip, raw) == 1);
    cJSON_Delete(tree);
}

static void fuzz_config(struct str text)
{
    struct pod_network net = {.uid = "u"};
    struct error err;
    cJSON *list = NULL;
    const cJSON *plugin;

    if (cni_config_parse(text, &list, &err) < 0)
        return;
    cJSON_ArrayForEach(plugin, json_get(list, "plugins"))
    {
        cJSON *input = cni_plugin_input(list, plugin, &net, NULL);
        assert(json_string(input, "name"));
        cJSON_Delete(input);
    }
    cJSON_Delete(list);
}

static void fuzz_docker(struct str text)
{
    struct image_info image = {0};
    struct docker_event event;
    struct error err;
    cJSON *tree = NULL;

    if (json_parse(text, &tree, &err) < 0)
        return;
    container_info_unref(docker_parse_inspect(tree));
    container_info_unref(docker_parse_listed(tree));
    docker_parse_image(tree, "a:b", &image);
    image_info_done(&image);
    docker_parse_event(tree, &event);
    cJSON_Delete(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1)
        return 0;
    struct str text = str_range((const char *)data + 1, n - 1);
    if (data[0] % 4 == 0)
        fuzz_result(text);
    else if (data[0] % 4 == 1)
        fuzz_config(text);
    else if (data[0] % 4 == 2)
        fuzz_docker(text);
    else {
        struct error err;
        cni_error_parse("x", "ADD", text, &err);
    }
    return 0;
}
