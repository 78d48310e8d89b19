/*
 * Writes what pod_sync() computed to the API: the newest status only, one writer a pod at a time,
 * so an older one can never win over a newer. When the pod is finished its object is deleted, after
 * the last status.
 *
 * The write is a patch of the status subresource with the pod's uid: it touches nothing but our
 * fields, and never a new pod of the same name.
 *
 * Upstream: pkg/kubelet/status/status_manager.go.
 */
#include "kubelet/sync.h"

#include "common/log.h"
#include "common/time.h"

static int write_patch(struct pod_record *r, const cJSON *from, const cJSON *to, struct error *err)
{
    struct agent *agent = r->agent;
    struct api_ref ref = {.group_version = "v1",
        .plural = "pods",
        .namespace_ = r->namespace_,
        .name = r->name,
        .subresource = "status"};
    autojson cJSON *patch = status_patch(r->uid, from, to), *answer = NULL;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (!patch)
        return 0;
    if (api_patch(agent->api, &ref, PATCH_STRATEGIC, patch, &answer, err) < 0)
        return -err->code;
    const char *version = json_string_at(answer, "metadata.resourceVersion");
    strbuf_init(&text, 0);
    if (json_get(answer, "status"))
        json_print(json_get(answer, "status"), &text);
    env_lock(agent->env, &r->lock);
    free(r->written_status);
    free(r->written_version);
    r->written_status = text.n ? strbuf_steal(&text) : NULL;
    r->written_version = xstrdup(version ? version : "0");
    env_unlock(agent->env, &r->lock);
    return 0;
}

/* The status the patch starts from: as the API last showed or returned it. */
static cJSON *current_status(struct pod_record *r)
{
    cJSON *tree = NULL;
    struct error err;
    int64_t seen = 0, written = 0;

    env_lock(r->agent->env, &r->lock);
    const char *text = r->view ? r->view->status : NULL;
    if (r->written_status && r->view &&
        str_parse_int64(str_of(r->written_version), &written, &err) == 0 &&
        str_parse_int64(str_of(r->view->meta.resource_version), &seen, &err) == 0 && written > seen)
        text = r->written_status;
    if (!text || json_parse(str_of(text), &tree, &err) < 0)
        tree = cJSON_CreateObject();
    env_unlock(r->agent->env, &r->lock);
    return tree;
}

static int delete_pod(struct pod_record *r, struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = "pods", .namespace_ = r->namespace_, .name = r->name};
    int result = api_delete(r->agent->api, &ref,
        &(struct api_delete_options){.uid = r->uid, .grace_seconds = 0}, NULL, err);

    /* Gone, or another pod by now: nothing is left to delete. */
    return result == -ERR_NOT_FOUND || result == -ERR_CONFLICT ? 0 : result;
}

int status_write(void *arg, const char *uid, int64_t *ret_again_ns, struct error *err)
{
    struct pod_record *r = record_find(arg, uid);

    (void)ret_again_ns;
    if (!r)
        return 0;
    struct env *env = r->agent->env;
    env_lock(env, &r->lock);
    autojson cJSON *wanted = steal(&r->wanted_status);
    bool finished = r->finished, in_api = r->in_api;
    env_unlock(env, &r->lock);
    int result = 0;
    if (wanted && in_api) {
        autojson cJSON *now = current_status(r);
        result = write_patch(r, now, wanted, err);
        if (result == -ERR_NOT_FOUND)
            result = 0; /* the informer will say so */
        if (result == -ERR_CONFLICT)
            log_debug("status write met another pod of this name", "pod", "%s/%s", r->namespace_,
                r->name, NULL);
    }
    if (result == 0 && finished && in_api)
        result = delete_pod(r, err);
    if (result < 0 && result != -ERR_CONFLICT) {
        env_lock(env, &r->lock);
        if (!r->wanted_status)
            r->wanted_status = steal(&wanted);
        env_unlock(env, &r->lock);
        error_wrap(err, "status of pod %s/%s", r->namespace_, r->name);
    } else {
        result = 0;
    }
    record_unref(r);
    return result;
}
