/*
 * The values of the runtime's interface: container descriptions and lists. See runtime.h.
 *
 * A description may be held by the cache, a pod's sync and a log request at once, so its count is
 * atomic.
 */
#include "kubelet/runtime.h"

struct container_info *container_info_new(void)
{
    struct container_info *info = xcalloc(1, sizeof(*info));

    info->references = 1;
    info->grace_seconds = -1;
    info->state = CONTAINER_UNKNOWN;
    return info;
}

struct container_info *container_info_ref(struct container_info *info)
{
    __atomic_add_fetch(&info->references, 1, __ATOMIC_RELAXED);
    return info;
}

void container_info_unref(struct container_info *info)
{
    if (!info || __atomic_sub_fetch(&info->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    char *strings[] = {info->id, info->name, info->uid, info->namespace_, info->pod,
        info->container, info->sandbox_id, info->image, info->image_id, info->stop_signal,
        info->error, info->message_path, info->log_path, info->layer_path, info->image_digest};
    for (size_t i = 0; i < ARRAY_COUNT(strings); i++)
        free(strings[i]);
    free(info);
}

bool container_is_sandbox(const struct container_info *info)
{
    return c_eq(
        info->container, SANDBOX_NAME); /* no container can be called that: it is no DNS label */
}

void container_list_add(struct container_list *list, struct container_info *take_info)
{
    list->items = xrealloc(list->items, (list->count + 1) * sizeof(list->items[0]));
    list->items[list->count++] = take_info;
}

void container_list_done(struct container_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        container_info_unref(list->items[i]);
    free(list->items);
    *list = (struct container_list){0};
}

void image_info_done(struct image_info *image)
{
    free(image->id);
    free(image->digest);
    free(image->user);
    *image = (struct image_info){0};
}
