/*
 * New volumes for claims: see volume.h.
 *
 * The built-in provisioner makes a PersistentVolume of the type hostPath that only the chosen node
 * can use; the node agent makes the folder when a pod first mounts it. The name is the claim's uid,
 * so that two rounds never make two volumes. Any other provisioner runs outside: the claim gets the
 * annotations by which it finds its work.
 *
 * Upstream: provisionClaim of pkg/controller/volume/persistentvolume; the built-in one is like
 * rancher's local-path-provisioner.
 */
#include "controller/volume.h"

#define HOSTNAME_LABEL "kubernetes.io/hostname"

void volume_provisioned_name(const struct claim *claim, char *buf, size_t size)
{
    snprintf(buf, size, "pvc-%s", claim->meta.uid);
}

static void fail(struct controller *c, const struct claim *claim, const char *why)
{
    controller_event(c, KIND_CLAIM, &claim->meta, EVENT_WARNING, "ProvisioningFailed", "%s", why);
}

/* The scheduler chooses another node when the annotation is gone. */
static int unselect_node(struct controller *c, const struct claim *claim, struct error *err)
{
    cJSON *patch = json_make("{\"metadata\":{\"annotations\":{\"" SELECTED_NODE "\":null}}}");
    return object_patch(c->m, KIND_CLAIM, &claim->meta, NULL, patch, err);
}

static cJSON *strings_json(const struct string_list *list)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < list->count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateString(list->strings[i]));
    return array;
}

static cJSON *host_path_json(const struct claim *claim, const struct storage_class *class,
    const char *name, const struct node *node)
{
    const char *folder = string_map_get(&class->parameters, "path");
    const char *host = string_map_get(&node->meta.labels, HOSTNAME_LABEL);
    autofree char *path = str_format("%s/%s_%s_%s", folder ? folder : HOST_PATH_FOLDER, name,
        claim->meta.namespace_, claim->meta.name);
    cJSON *volume = json_make(
        "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"annotations\":{"
        "\"" PROVISIONED_BY "\":\"" HOST_PATH_PROVISIONER "\"},\"finalizers\":["
        "\"kubernetes.io/pv-protection\",\"" HOST_PATH_FINALIZER "\"]},\"spec\":{\"volumeMode\":"
        "\"Filesystem\",\"hostPath\":{\"type\":\"DirectoryOrCreate\"},\"nodeAffinity\":{"
        "\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"" HOSTNAME_LABEL
        "\",\"operator\":\"In\",\"values\":[]}]}]}}}}");
    cJSON *spec = json_get(volume, "spec"), *term;

    json_set_string_at(volume, "metadata.name", name);
    json_set(json_get(volume, "metadata"), "labels", cJSON_CreateObject());
    json_set_string(json_path(volume, "metadata.labels"), HOST_PATH_NODE_LABEL, node->meta.name);
    json_set_string_at(spec, "capacity.storage", claim->request);
    json_set(spec, "accessModes", strings_json(&claim->access_modes));
    json_set_string(
        spec, "persistentVolumeReclaimPolicy", *class->reclaim ? class->reclaim : "Delete");
    json_set_string(spec, "storageClassName", class->meta.name);
    json_set_string_at(spec, "hostPath.path", path);
    if (class->mount_options.count)
        json_set(spec, "mountOptions", strings_json(&class->mount_options));
    term = cJSON_GetArrayItem(json_path(spec, "nodeAffinity.required.nodeSelectorTerms"), 0);
    cJSON_AddItemToArray(
        json_get(cJSON_GetArrayItem(json_get(term, "matchExpressions"), 0), "values"),
        cJSON_CreateString(host ? host : node->meta.name));
    cJSON *ref = json_make("{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\"}");
    json_set_string(ref, "namespace", claim->meta.namespace_);
    json_set_string(ref, "name", claim->meta.name);
    json_set_string(ref, "uid", claim->meta.uid);
    json_set_string(ref, "resourceVersion", claim->meta.resource_version);
    json_set(spec, "claimRef", ref);
    return volume;
}

static int make_host_path(struct controller *c, const struct claim *claim,
    const struct storage_class *class, struct error *err)
{
    const char *selected = string_map_get(&claim->meta.annotations, SELECTED_NODE);
    auto_object const struct node *node = selected ? kind_get(c->m, KIND_NODE, "", selected) : NULL;
    struct api_ref ref = {.group_version = "v1", .plural = "persistentvolumes"};
    char name[128];

    if (!selected) {
        fail(c, claim,
            "the provisioner " HOST_PATH_PROVISIONER
            " needs a class with volumeBindingMode WaitForFirstConsumer");
        return 0;
    }
    if (!strcmp(claim->mode, "Block") || claim->selector) {
        fail(c, claim,
            claim->selector ? "claim.spec.selector is not supported by " HOST_PATH_PROVISIONER
                            : "volumeMode Block is not supported by " HOST_PATH_PROVISIONER);
        return 0;
    }
    if (!node) {
        fail(c, claim, "the selected node does not exist");
        return unselect_node(c, claim, err);
    }
    volume_provisioned_name(claim, name, sizeof(name));
    autojson cJSON *volume = host_path_json(claim, class, name, node), *made = NULL;
    int r = api_create(manager_client(c->m), &ref, volume, &made, err);
    if (r == -ERR_ALREADY_EXISTS)
        return 0;
    if (r < 0) {
        controller_event(c, KIND_CLAIM, &claim->meta, EVENT_WARNING, "ProvisioningFailed",
            "Failed to provision volume with StorageClass \"%s\": %s", class->meta.name, err->text);
        return r;
    }
    controller_event(c, KIND_CLAIM, &claim->meta, EVENT_NORMAL, "ProvisioningSucceeded",
        "Successfully provisioned volume %s using " HOST_PATH_PROVISIONER, name);
    return kind_wait_version(
        c->m, KIND_VOLUME, json_string_at(made, "metadata.resourceVersion"), err);
}

static int ask_external(struct controller *c, const struct claim *claim,
    const struct storage_class *class, struct error *err)
{
    const char *now = string_map_get(&claim->meta.annotations, STORAGE_PROVISIONER);
    const char *beta = string_map_get(&claim->meta.annotations, STORAGE_PROVISIONER_BETA);

    if (!strncmp(class->provisioner, "kubernetes.io/", 14)) {
        autofree char *why = str_format("no volume plugin matched name: %s", class->provisioner);
        fail(c, claim, why);
        return 0;
    }
    controller_event(c, KIND_CLAIM, &claim->meta, EVENT_NORMAL, "ExternalProvisioning",
        "Waiting for a volume to be created either by the external provisioner '%s' or manually by "
        "the system administrator. If volume creation is delayed, please verify that the "
        "provisioner is running and correctly registered.",
        class->provisioner);
    if (c_eq(now, class->provisioner) && c_eq(beta, class->provisioner))
        return 0;
    cJSON *patch = json_make("{\"metadata\":{\"annotations\":{}}}");
    cJSON *annotations = json_path(patch, "metadata.annotations");
    json_set_string(annotations, STORAGE_PROVISIONER, class->provisioner);
    json_set_string(annotations, STORAGE_PROVISIONER_BETA, class->provisioner);
    return object_patch(c->m, KIND_CLAIM, &claim->meta, NULL, patch, err);
}

int volume_provision(struct controller *c, const struct claim *claim,
    const struct storage_class *class, struct error *err)
{
    if (!strcmp(class->provisioner, HOST_PATH_PROVISIONER))
        return make_host_path(c, claim, class, err);
    return ask_external(c, claim, class, err);
}
