/*
 * Controller "root-ca-certificate-publisher": the ConfigMap kube-root-ca.crt in every namespace, so
 * that pods can verify the API server. It is made again when it is deleted and repaired when its
 * content is changed.
 *
 * Keys are namespace names. Upstream: pkg/controller/certificates/rootcacertpublisher.
 */
#include "common/file.h"
#include "controller/controller.h"
#include "controller/manager.h"

#define NAME "kube-root-ca.crt"
#define CA_BYTES_MAX (256u << 10)

static bool wanted(const struct manager_config *config)
{
    return config->root_ca_file && *config->root_ca_file;
}

/* c->state is the PEM text. */
static int start(struct controller *c, struct error *err)
{
    struct strbuf pem;

    strbuf_init(&pem, CA_BYTES_MAX);
    if (file_read(manager_config(c->m)->root_ca_file, CA_BYTES_MAX, &pem, err) < 0) {
        strbuf_done(&pem);
        return error_wrap(err, "--root-ca-file");
    }
    c->state = strbuf_steal(&pem);
    return 0;
}

static void stop(struct controller *c)
{
    free(c->state);
}

static void on_namespace(struct controller *c, const void *old_object, const void *new_object)
{
    if (new_object)
        controller_add(c, new_object);
}

static void on_config_map(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *meta = new_object ? new_object : old_object;

    if (!strcmp(meta->name, NAME))
        workqueue_add(c->queue, meta->namespace_);
}

static bool is_right(struct controller *c, const struct root_ca *map)
{
    return map->data.count == 1 && c_eq(string_map_get(&map->data, "ca.crt"), c->state);
}

/* "data" as a whole: replaces what a user may have added. */
static cJSON *data_json(struct controller *c)
{
    cJSON *data = cJSON_CreateObject();

    json_set_string(data, "ca.crt", c->state);
    return data;
}

static int repair(struct controller *c, const struct root_ca *map, struct error *err)
{
    cJSON *patch = cJSON_CreateObject(), *data = data_json(c);

    for (size_t i = 0; i < map->data.count; i++)
        if (strcmp(map->data.pairs[i].key, "ca.crt"))
            json_set(data, map->data.pairs[i].key, cJSON_CreateNull());
    json_set(patch, "data", data);
    int r = object_patch(c->m, KIND_ROOT_CA, &map->meta, NULL, patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct namespace *ns = kind_get(c->m, KIND_NAMESPACE, "", key);
    auto_object const struct root_ca *map = kind_get(c->m, KIND_ROOT_CA, key, NAME);
    struct api_ref ref = {.group_version = "v1", .plural = "configmaps", .namespace_ = key};

    if (!ns || ns->meta.deletion_ns || !strcmp(ns->phase, "Terminating"))
        return 0;
    if (map)
        return is_right(c, map) ? 0 : repair(c, map, err);
    autojson cJSON *object =
        json_make("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"" NAME
                  "\",\"namespace\":\"%s\",\"annotations\":{\"kubernetes.io/"
                  "description\":\"Contains a CA bundle "
                  "that can be used to verify the kube-apiserver when using internal endpoints "
                  "such as the internal "
                  "service IP or kubernetes.default.svc. No other usage is guaranteed across "
                  "distributions of "
                  "Kubernetes clusters.\"}}}",
            key);
    json_set(object, "data", data_json(c));
    int r = api_create(manager_client(c->m), &ref, object, NULL, err);
    if (r == -ERR_ALREADY_EXISTS || r == -ERR_NOT_FOUND || (r < 0 && is_terminating_namespace(err)))
        return 0;
    return r;
}

const struct controller_info controller_root_ca = {
    .name = "root-ca-certificate-publisher-controller",
    .component = "root-ca-cert-publisher",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_NAMESPACE, on_namespace}, {KIND_ROOT_CA, on_config_map}},
    .wanted = wanted,
    .reconcile = reconcile,
    .start = start,
    .stop = stop,
};
