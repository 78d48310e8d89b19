/*
 * Docker containers: list, inspect, create, start, signal, remove.
 *
 * Every create carries a name that only its pod, container and attempt can have. When Docker says
 * the name is taken (a create whose answer was lost), a container that never ran is removed and
 * made again; one that ran is the caller's to find on its next look (ERR_ALREADY_EXISTS).
 */
#include "kubelet/docker/docker.h"

#include "common/time.h"

static struct docker *docker_of(struct runtime *rt)
{
    return container_of(rt, struct docker, base);
}

int docker_list(struct runtime *rt, struct container_list *ret, struct error *err)
{
    struct docker *d = docker_of(rt);
    autojson cJSON *tree = NULL;
    const cJSON *item;

    if (docker_call(
            d, "GET", 0, NULL, &tree, err, "/containers/json?all=1&filters=%s", d->filters) < 0)
        return -err->code;
    struct container_list list = {0};
    cJSON_ArrayForEach(item, tree)
    {
        struct container_info *info = docker_parse_listed(item);
        if (info->id && info->uid)
            container_list_add(&list, info);
        else
            container_info_unref(info);
    }
    *ret = list;
    return 0;
}

int docker_inspect(
    struct runtime *rt, const char *id, struct container_info **ret, struct error *err)
{
    autojson cJSON *tree = NULL;

    if (docker_call(docker_of(rt), "GET", 0, NULL, &tree, err, "/containers/%s/json", id) < 0)
        return -err->code;
    *ret = docker_parse_inspect(tree);
    return 0;
}

static int try_create(
    struct docker *d, const struct container_spec *spec, char **ret_id, struct error *err)
{
    autojson cJSON *tree = NULL;

    if (docker_call(
            d, "POST", 0, spec->body, &tree, err, "/containers/create?name=%s", spec->name) < 0)
        return -err->code;
    const char *id = json_string(tree, "Id");
    if (!id)
        return error_set(err, ERR_INTERNAL, "docker created a container without an id");
    *ret_id = xstrdup(id);
    return 0;
}

/* 0: the name is free now. */
static int free_name(struct docker *d, const char *name, struct error *err)
{
    autojson cJSON *tree = NULL;

    int r = docker_call(d, "GET", 0, NULL, &tree, err, "/containers/%s/json", name);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    struct container_info *old = docker_parse_inspect(tree);
    if (old->state == CONTAINER_CREATED)
        r = docker_remove(&d->base, old->id, err);
    else
        r = error_set(err, ERR_ALREADY_EXISTS, "container \"%s\" already exists", name);
    container_info_unref(old);
    return r;
}

int docker_create(
    struct runtime *rt, const struct container_spec *spec, char **ret_id, struct error *err)
{
    struct docker *d = docker_of(rt);
    const char *image = spec->image ? spec->image : d->pause_image;

    docker_complete_body(d, spec, image);
    int r = try_create(d, spec, ret_id, err);
    if (r == -ERR_NOT_FOUND && !spec->image) {
        /* Somebody removed the pause image. */
        d->prepared = false;
        if (docker_ensure_pause(d, err) < 0)
            return -err->code;
        r = try_create(d, spec, ret_id, err);
    }
    if (r != -ERR_CONFLICT)
        return r;
    if (free_name(d, spec->name, err) < 0)
        return -err->code;
    return try_create(d, spec, ret_id, err);
}

int docker_start(struct runtime *rt, const char *id, struct error *err)
{
    return docker_call(docker_of(rt), "POST", 0, NULL, NULL, err, "/containers/%s/start", id);
}

int docker_update(
    struct runtime *rt, const char *id, const struct container_limits *limits, struct error *err)
{
    autojson cJSON *body = cJSON_CreateObject();

    json_set(body, "CpuShares", json_new_int64(limits->cpu_shares));
    if (limits->cpu_quota > 0) {
        json_set(body, "CpuPeriod", json_new_int64(100000));
        json_set(body, "CpuQuota", json_new_int64(limits->cpu_quota));
    }
    if (limits->memory_bytes > 0) {
        json_set(body, "Memory", json_new_int64(limits->memory_bytes));
        json_set(body, "MemorySwap", json_new_int64(limits->memory_bytes)); /* no swap besides */
    }
    return docker_call(docker_of(rt), "POST", 0, body, NULL, err, "/containers/%s/update", id);
}

int docker_signal(struct runtime *rt, const char *id, const char *signal, struct error *err)
{
    int r = docker_call(
        docker_of(rt), "POST", 0, NULL, NULL, err, "/containers/%s/kill?signal=%s", id, signal);

    /* Not running any more is what was wanted. */
    return r == -ERR_CONFLICT || r == -ERR_NOT_FOUND ? 0 : r;
}

int docker_remove(struct runtime *rt, const char *id, struct error *err)
{
    int r =
        docker_call(docker_of(rt), "DELETE", 0, NULL, NULL, err, "/containers/%s?force=1&v=1", id);

    /* 409: a removal is already under way. */
    return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? 0 : r;
}

int docker_usage(
    struct runtime *rt, const struct container_info *info, struct usage *ret, struct error *err)
{
    return usage_of_process("", info->pid, env_wall_ns(rt->env), ret, err);
}

int docker_interfaces(struct runtime *rt, const struct container_info *info,
    struct interface_list *ret, struct error *err)
{
    (void)rt;
    return usage_of_interfaces("", info->pid, ret, err);
}
