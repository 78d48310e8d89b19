/*
 * Folders of volumes that the built-in provisioner made on this node.
 *
 * The contract: such a PersistentVolume bears the label skiff.io/host-path-node=NODE and the
 * finalizer skiff.io/host-path-data. When it is being deleted and nothing else holds it (no other
 * finalizer), the node's agent removes the folder, then the finalizer. Only folders are removed
 * whose last part begins with the volume's own name, pvc-UID: an object with any other path is left
 * alone and logged.
 *
 * One watch an agent, and one queue with one worker: removing may take long.
 *
 * Tests: tests/e2e, tests/integration/controllers_storage.py (hollow nodes).
 */
#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "kubelet/agent.h"
#include "kubelet/volume/folders.h"

#define NODE_LABEL "skiff.io/host-path-node"
#define FINALIZER "skiff.io/host-path-data"
#define BACKOFF_MS_MAX 300000

struct folder_volume {
    struct object_meta meta;
    const char *path;
};
static const struct projection_field fields[] = {
    PROJECT(struct folder_volume, path, "spec.hostPath.path", P_STRING)};
static const struct projection folder_projection = PROJECTION(struct folder_volume, fields);

struct folders {
    struct agent *agent;
    struct informer *volumes;
    struct workqueue *queue;
};

static bool is_ours(struct agent *agent, const struct folder_volume *v)
{
    const char *name = string_map_get(&v->meta.labels, NODE_LABEL);
    struct kubelet *node = NULL;

    env_lock(agent->env, &agent->lock);
    if (name)
        HASH_FIND_STR(agent->kubelets, name, node);
    env_unlock(agent->env, &agent->lock);
    return node != NULL;
}

/* Being deleted, and held by nothing but the folder. */
static bool is_due(const struct folder_volume *v)
{
    return v->meta.deletion_ns && v->meta.finalizers.count == 1 &&
           !strcmp(v->meta.finalizers.strings[0], FINALIZER);
}

static bool is_safe(const struct folder_volume *v)
{
    const char *last = strrchr(v->path, '/');
    size_t n = strlen(v->meta.name);

    return v->path[0] == '/' && last && !strstr(v->path, "/../") &&
           !strncmp(v->meta.name, "pvc-", 4) && n > 20 && !strncmp(last + 1, v->meta.name, n);
}

static int remove_folder(void *arg, const char *name, int64_t *ret_again_ns, struct error *err)
{
    struct folders *f = arg;
    const struct folder_volume *v = informer_get(f->volumes, NULL, name);
    int r = 0;

    if (v && is_due(v) && is_ours(f->agent, v)) {
        struct api_ref ref = {.group_version = "v1", .plural = "persistentvolumes", .name = name};
        if (!is_safe(v)) {
            log_warning("folder is not of this volume, leaving it", "volume", "%s", name, "path",
                "%s", v->path, NULL);
        } else if (!f->agent->runtime->pretends && (r = file_remove_tree(v->path, err)) == 0) {
            log_info("removed the folder of a deleted volume", "volume", "%s", name, "path", "%s",
                v->path, NULL);
        }
        autojson cJSON *patch = json_make("{\"metadata\":{\"uid\":\"%s\",\"resourceVersion\":"
                                          "\"%s\",\"finalizers\":null}}",
            v->meta.uid, v->meta.resource_version);
        if (r == 0 && is_safe(v))
            r = api_patch(f->agent->api, &ref, PATCH_MERGE, patch, NULL, err);
        r = r == -ERR_NOT_FOUND ? 0 : r;
    }
    projected_unref(v);
    return r;
}

static void on_volume(void *arg, const void *old_object, const void *new_object)
{
    struct folders *f = arg;
    const struct folder_volume *v = new_object;

    if (v && is_due(v))
        workqueue_add(f->queue, v->meta.name);
}

struct folders *folders_start(struct agent *agent)
{
    struct folders *f = xcalloc(1, sizeof(*f));
    bool alone = HASH_COUNT(agent->kubelets) == 1;
    autofree char *selector =
        alone ? str_format(NODE_LABEL "=%s", agent->kubelets->name) : xstrdup(NODE_LABEL);

    f->agent = agent;
    f->queue = workqueue_new(agent->env, "folders", BACKOFF_MS_MAX);
    f->volumes = informer_new(agent->api, &(struct informer_config){.group_version = "v1",
                                              .plural = "persistentvolumes",
                                              .label_selector = selector,
                                              .projection = &folder_projection,
                                              .handler = on_volume,
                                              .arg = f});
    workqueue_run(f->queue, 1, remove_folder, f);
    informer_start(f->volumes);
    return f;
}

void folders_free(struct folders *f)
{
    if (!f)
        return;
    informer_stop(f->volumes);
    workqueue_stop(f->queue);
    informer_free(f->volumes);
    workqueue_free(f->queue);
    free(f);
}
