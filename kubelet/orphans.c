/*
 * Pods that left containers here but are not in the API any more.
 *
 * Runs once both lists (the API's and Docker's) are complete. Before a pod is taken for an orphan
 * the API itself is asked again: the informer may lag. What is found becomes a record without an
 * API object, and the ordinary steps stop and remove it with the grace its labels name.
 */
#include "kubelet/agent.h"

#include "common/log.h"

/* True when the API has this very pod. */
static int still_exists(
    struct agent *agent, const struct container_info *info, bool *ret, struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = "pods", .namespace_ = info->namespace_, .name = info->pod};
    autojson cJSON *pod = NULL;

    int r = api_get(agent->api, &ref, &pod, err);
    /* Forbidden: the name is another node's pod now. One of this uid was ours, and a binding stays.
     */
    if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_FORBIDDEN)
        return r;
    *ret = r == 0 && c_eq(json_string_at(pod, "metadata.uid"), info->uid);
    return 0;
}

int orphans_sweep(struct agent *agent, struct error *err)
{
    struct container_list list = {0};
    int result = 0;

    env_lock(agent->env, &agent->lock);
    bool synced = agent->synced;
    struct kubelet *node = agent->kubelets;
    env_unlock(agent->env, &agent->lock);
    if (!synced || !node || agent->runtime->pretends)
        return 0;
    if (agent->runtime->ops->list(agent->runtime, &list, err) < 0)
        return -err->code;
    for (size_t i = 0; i < list.count && result == 0; i++) {
        const struct container_info *info = list.items[i];
        struct pod_record *record = record_find(agent, info->uid);
        bool exists = true;

        if (!record && info->namespace_ && info->pod)
            result = still_exists(agent, info, &exists, err);
        if (!record && !exists) {
            log_info("pod is not in the API any more, stopping it", "pod", "%s/%s",
                info->namespace_, info->pod, "uid", "%s", info->uid, NULL);
            record = record_of(agent, node, info->uid, info->namespace_, info->pod);
            record_wake(record);
        }
        record_unref(record);
    }
    container_list_done(&list);
    return result;
}
