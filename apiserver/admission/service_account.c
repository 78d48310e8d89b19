/*
 * ServiceAccount: a pod runs as an account that exists, and gets that account's token mounted.
 *
 * The projected volume kube-api-access-XXXXX (token of 3607 s, kube-root-ca.crt, namespace) goes
 * into every container that has nothing at that path already, unless pod or account say
 * automountServiceAccountToken: false. Upstream: plugin/pkg/admission/serviceaccount.
 */
#include "apiserver/admission/plugin.h"
#include "common/names.h"

#define MOUNT_PATH "/var/run/secrets/kubernetes.io/serviceaccount"
#define VOLUME_PREFIX "kube-api-access-"

static bool has_mount(const cJSON *container)
{
    const cJSON *mount;
    cJSON_ArrayForEach(mount, json_get(container, "volumeMounts"))
    {
        if (c_eq(json_string(mount, "mountPath"), MOUNT_PATH))
            return true;
    }
    return false;
}

static bool mount_into(cJSON *containers, const char *volume)
{
    cJSON *container;
    bool any = false;
    cJSON_ArrayForEach(container, containers)
    {
        if (has_mount(container))
            continue;
        if (!json_get(container, "volumeMounts"))
            json_set(container, "volumeMounts", cJSON_CreateArray());
        cJSON_AddItemToArray(json_get(container, "volumeMounts"),
            json_make(
                "{\"name\":\"%s\",\"readOnly\":true,\"mountPath\":\"" MOUNT_PATH "\"}", volume));
        any = true;
    }
    return any;
}

static void add_token_volume(struct write_context *w, cJSON *spec)
{
    char name[32] = VOLUME_PREFIX, suffix[6] = "";
    name_random_suffix(env_random(w->server->env), suffix, 5);
    suffix[5] = '\0';
    snprintf(name, sizeof(name), VOLUME_PREFIX "%s", suffix);
    bool any = mount_into(json_get(spec, "containers"), name);
    if (!mount_into(json_get(spec, "initContainers"), name) && !any)
        return;
    if (!json_get(spec, "volumes"))
        json_set(spec, "volumes", cJSON_CreateArray());
    cJSON_AddItemToArray(json_get(spec, "volumes"),
        json_make("{\"name\":\"%s\",\"projected\":{\"defaultMode\":420,\"sources\":["
                  "{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}},"
                  "{\"configMap\":{\"name\":\"kube-root-ca.crt\",\"items\":[{\"key\":\"ca.crt\","
                  "\"path\":\"ca.crt\"}]}},"
                  "{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":{"
                  "\"apiVersion\":\"v1\","
                  "\"fieldPath\":\"metadata.namespace\"}}]}}]}}",
            name));
}

static int service_account(struct write_context *w, struct error *err)
{
    cJSON *spec = json_get(w->tree, "spec");
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    if (w->kind != WRITE_CREATE || !spec ||
        json_string(json_path(w->tree, "metadata.annotations"), "kubernetes.io/config.mirror"))
        return 0;
    const char *name = json_string(spec, "serviceAccountName");
    if (!name || !*name)
        json_set_string(spec, "serviceAccountName", "default");
    name = json_string(spec, "serviceAccountName");
    json_set_string(spec, "serviceAccount", name);
    struct object *o = admission_get(w, "", "serviceaccounts", namespace_, name);
    if (!o)
        return admission_refuse(w, err,
            "error looking up service account %s/%s: serviceaccount \"%s\" not found", namespace_,
            name, name);
    autojson cJSON *account = object_tree(o);
    object_unref(o);
    bool automount = json_bool(account, "automountServiceAccountToken", true);
    if (json_bool(spec, "automountServiceAccountToken", automount))
        add_token_volume(w, spec);
    const cJSON *secrets = json_get(account, "imagePullSecrets");
    if (!json_get(spec, "imagePullSecrets") && cJSON_GetArraySize(secrets) > 0)
        json_set(spec, "imagePullSecrets", cJSON_Duplicate(secrets, true));
    return 0;
}

static const char *const pods[] = {"pods", NULL};

const struct admission_plugin admission_service_account = {
    .name = "ServiceAccount",
    .resources = pods,
    .mutate = service_account,
};
