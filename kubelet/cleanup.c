/*
 * `skiff-kubelet --cleanup`: takes away what a kubelet of this cluster and node has made on the host, for `skiffctl
 * down`. Containers by our labels (network first, then the container), mounts, the pods' folders, routes, the nftables
 * table, the rules in DOCKER-USER, the bridge, the pause image. Nothing that lacks our label or name is touched;
 * running it again finds nothing and succeeds.
 */
#include "kubelet/agent.h"

#include "common/file.h"
#include "common/log.h"
#include "kubelet/docker/docker.h"
#include "kubelet/files.h"
#include "kubelet/network/host.h"

static int remove_container(struct runtime *rt, const struct container_info *info, struct error *err)
{
    struct container_info *whole = NULL;

    if (container_is_sandbox(info)) {
        if (rt->ops->inspect(rt, info->id, &whole, err) < 0)
            return err->code == ERR_NOT_FOUND ? 0 : -err->code;
        struct pod_network net = {.uid = info->uid, .namespace_ = info->namespace_, .pod = info->pod,
            .sandbox_id = info->id, .pid = whole->pid};
        struct error why;
        if (rt->ops->network_down(rt, &net, &why) < 0)
            log_warning("network of a pod cannot be taken down, its container is removed anyway", "pod", "%s/%s",
                info->namespace_, info->pod, "error", "%s", why.text, NULL);
        container_info_unref(whole);
    }
    return rt->ops->remove(rt, info->id, err);
}

static int remove_containers(struct runtime *rt, struct error *err)
{
    struct container_list list = {0};
    int r = rt->ops->list(rt, &list, err);

    /* Containers before the sandboxes that they joined. */
    for (int sandboxes = 0; sandboxes < 2 && r == 0; sandboxes++)
        for (size_t i = 0; i < list.count && r == 0; i++)
            if (container_is_sandbox(list.items[i]) == (sandboxes == 1))
                r = remove_container(rt, list.items[i], err);
    container_list_done(&list);
    return r;
}

int cleanup_run(struct env *env, const struct kubelet_config *config, struct runtime *runtime, struct error *err)
{
    autofree char *pods = str_format("%s/pods", config->root_dir), *cni = str_format("%s/cni", config->root_dir);
    struct error why;

    (void)env;
    if (docker_negotiate(container_of(runtime, struct docker, base), &why) < 0) {
        /* Without Docker nothing of ours runs; what stands in its files goes when it is back. */
        log_warning("docker does not answer, containers are left", "error", "%s", why.text, NULL);
    } else if (remove_containers(runtime, err) < 0) {
        return error_wrap(err, "containers");
    } else {
        docker_remove_pause(container_of(runtime, struct docker, base));
    }
    if (unmount_below(config->root_dir, err) < 0 || file_remove_tree(pods, err) < 0 || file_remove_tree(cni, err) < 0)
        return -err->code;
    return host_reset(err);
}
