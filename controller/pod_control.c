/*
 * Creating and deleting pods on behalf of an owner: see pods.h.
 *
 * Upstream: RealPodControl and slowStartBatch.
 */
#include "common/log.h"
#include "common/names.h"
#include "controller/fanout.h"
#include "controller/pods.h"

static void copy(cJSON *to, const cJSON *from, const char *name)
{
    cJSON *item = json_get(from, name);
    if (item && !cJSON_IsNull(item))
        json_set(to, name, cJSON_Duplicate(item, true));
}

cJSON *pod_from_template(const cJSON *template, enum kind kind, const struct object_meta *owner)
{
    const cJSON *template_meta = json_get(template, "metadata");
    cJSON *pod = cJSON_CreateObject(), *meta = cJSON_CreateObject(), *refs = cJSON_CreateArray();
    autofree char *prefix = str_format("%s-", owner->name);

    json_set_string(pod, "apiVersion", "v1");
    json_set_string(pod, "kind", "Pod");
    json_set_string(meta, "generateName", prefix);
    json_set_string(meta, "namespace", owner->namespace_);
    copy(meta, template_meta, "labels");
    copy(meta, template_meta, "annotations");
    copy(meta, template_meta, "finalizers");
    cJSON_AddItemToArray(refs, controller_ref_json(kind, owner));
    json_set(meta, "ownerReferences", refs);
    json_set(pod, "metadata", meta);
    copy(pod, template, "spec");
    return pod;
}

int pod_create(struct controller *c, enum kind kind, const struct object_meta *owner,
    const cJSON *pod, char **ret_version, struct error *err)
{
    struct api_ref ref = {.group_version = "v1", .plural = "pods", .namespace_ = owner->namespace_};
    autojson cJSON *made = NULL;

    if (api_create(manager_client(c->m), &ref, pod, &made, err) < 0) {
        if (!is_terminating_namespace(err) && err->code != ERR_ALREADY_EXISTS)
            controller_event(
                c, kind, owner, EVENT_WARNING, "FailedCreate", "Error creating: %s", err->text);
        return -(int)err->code;
    }
    if (ret_version) {
        const char *version = json_string_at(made, "metadata.resourceVersion");
        *ret_version = xstrdup(version ? version : "");
    }
    controller_event(c, kind, owner, EVENT_NORMAL, "SuccessfulCreate", "Created pod: %s",
        json_string_at(made, "metadata.name"));
    return 0;
}

int pod_delete(struct controller *c, enum kind kind, const struct object_meta *owner,
    const struct pod *pod, struct error *err)
{
    if (object_delete(c->m, KIND_POD, &pod->meta, NULL, err) < 0) {
        controller_event(
            c, kind, owner, EVENT_WARNING, "FailedDelete", "Error deleting: %s", err->text);
        return -(int)err->code;
    }
    controller_event(
        c, kind, owner, EVENT_NORMAL, "SuccessfulDelete", "Deleted pod: %s", pod->meta.name);
    return 0;
}

struct create_run {
    struct controller *c;
    enum kind kind;
    const struct object_meta *owner;
    const cJSON *pod;
    struct lock lock;
    int64_t version; /* the highest */
};

static int create_one(void *arg, size_t i, struct error *err)
{
    struct create_run *run = arg;
    struct env *env = manager_env(run->c->m);
    autofree char *version = NULL;
    int64_t number = 0;
    struct error ignored;

    if (pod_create(run->c, run->kind, run->owner, run->pod, &version, err) < 0)
        return -(int)err->code;
    str_parse_int64(str_of(version), &number, &ignored);
    env_lock(env, &run->lock);
    if (number > run->version)
        run->version = number;
    env_unlock(env, &run->lock);
    return 0;
}

int pods_create(struct controller *c, enum kind kind, const struct object_meta *owner,
    const cJSON *template, size_t count, size_t *ret_done, struct error *err)
{
    autojson cJSON *pod = pod_from_template(template, kind, owner);
    struct create_run run = {.c = c, .kind = kind, .owner = owner, .pod = pod};
    struct error first, behind;

    env_lock_init(&run.lock);
    *ret_done = fanout_slow_start(manager_env(c->m), count, create_one, &run, &first);
    env_lock_done(&run.lock);
    if (run.version) {
        char version[24];
        snprintf(version, sizeof(version), "%lld", (long long)run.version);
        if (kind_wait_version(c->m, KIND_POD, version, &behind) < 0 && *ret_done == count) {
            *err = behind;
            return -(int)behind.code;
        }
    }
    if (*ret_done == count)
        return 0;
    *err = first;
    return -(int)first.code;
}

struct delete_run {
    struct controller *c;
    enum kind kind;
    const struct object_meta *owner;
    const struct pod *const *pods;
    bool *done;
};

static int delete_one(void *arg, size_t i, struct error *err)
{
    struct delete_run *run = arg;

    if (pod_delete(run->c, run->kind, run->owner, run->pods[i], err) < 0)
        return -(int)err->code;
    run->done[i] = true;
    return 0;
}

int pods_delete(struct controller *c, enum kind kind, const struct object_meta *owner,
    const struct pod *const *pods, size_t count, size_t *ret_done, struct error *err)
{
    autofree bool *done = xcalloc(count + 1, sizeof(*done));
    autofree const struct object_meta **metas = xcalloc(count + 1, sizeof(*metas));
    struct delete_run run = {c, kind, owner, pods, done};
    struct error first;
    size_t gone = 0;

    *ret_done = fanout(manager_env(c->m), count, delete_one, &run, &first);
    for (size_t i = 0; i < count; i++)
        if (done[i])
            metas[gone++] = &pods[i]->meta;
    if (kind_wait_gone(c->m, KIND_POD, metas, gone, err) < 0)
        return -(int)err->code;
    if (*ret_done == count)
        return 0;
    *err = first;
    return -(int)first.code;
}
