/*
 * `skiff-kubelet --cleanup`: takes away what a kubelet of this cluster and node has made on the
 * host, for `skiffctl down`. Containers by our labels (network first, then the container), mounts,
 * the pods' folders, routes, the nftables table, the rules in DOCKER-USER, the bridge, the pause
 * image. Nothing that lacks our label or name is touched; running it again finds nothing and
 * succeeds.
 */
#include "kubelet/agent.h"

#include "common/file.h"
#include "common/log.h"
#include "kubelet/docker/docker.h"
#include "kubelet/files.h"
#include "kubelet/network/host.h"

static int remove_container(
    struct runtime *rt, const struct container_info *info, struct error *err)
{
    struct container_info *whole = NULL;

    if (container_is_sandbox(info)) {
        if (rt->ops->inspect(rt, info->id, &whole, err) < 0)
            return err->code == ERR_NOT_FOUND ? 0 : -err->code;
        struct pod_network net = {.uid = info->uid,
            .namespace_ = info->namespace_,
            .pod = info->pod,
            .sandbox_id = info->id,
            .pid = whole->pid};
        struct error why;
        if (rt->ops->network_down(rt, &net, &why) < 0)
            log_warning("network of a pod cannot be taken down, its container is removed anyway",
                "pod", "%s/%s", info->namespace_, info->pod, "error", "%s", why.text, NULL);
        container_info_unref(whole);
    }
    return rt->ops->remove(rt, info->id, err);
}

/* All that can be removed are; the last failure is returned. */
static int remove_containers(struct runtime *rt, struct error *err)
{
    struct container_list list = {0};
    int result = rt->ops->list(rt, &list, err);

    /* Containers before the sandboxes that they joined. */
    for (int sandboxes = 0; sandboxes < 2; sandboxes++)
        for (size_t i = 0; i < list.count; i++)
            if (container_is_sandbox(list.items[i]) == (sandboxes == 1) &&
                remove_container(rt, list.items[i], err) < 0)
                result = -(int)err->code;
    container_list_done(&list);
    return result;
}

static int remove_files(const struct kubelet_config *config, struct error *err)
{
    static const char *const parts[] = {"pods", "cni"};

    if (unmount_below(config->root_dir, err) < 0)
        return -err->code;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        autofree char *path = str_format("%s/%s", config->root_dir, parts[i]);
        if (file_remove_tree(path, err) < 0)
            return -err->code;
    }
    return 0;
}

int cleanup_run(const struct kubelet_config *config, struct runtime *runtime, struct error *err)
{
    struct docker *docker = container_of(runtime, struct docker, base);
    struct error why;
    int result = 0;

    if (docker_negotiate(docker, &why) < 0) {
        /* Without Docker nothing of ours runs; what it remembers goes when this is run again. */
        log_warning("docker does not answer, containers are left", "error", "%s", why.text, NULL);
    } else {
        result = remove_containers(runtime, err);
        docker_remove_pause(docker);
    }
    if (remove_files(config, &why) < 0 || host_reset(&why) < 0) {
        *err = why;
        return -err->code;
    }
    return result < 0 ? error_wrap(err, "containers") : 0;
}
