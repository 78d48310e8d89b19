/*
 * Docker's JSON to our descriptions and back. Pure: no calls, no state.
 *
 * What is absent or of a wrong type is read as absent: the daemon is trusted to mean well, not to
 * be new.
 */
#include "kubelet/docker/docker.h"

#include "common/time.h"

/* In a Node's status; upstream's nodeStatusMaxImages and MaxNamesPerImageInNodeStatus. */
#define IMAGES_MAX 50
#define IMAGE_NAMES_MAX 5

static char *dup_or_null(const char *s)
{
    return s && s[0] ? xstrdup(s) : NULL;
}

static int64_t parse_time(const char *text)
{
    struct error err;
    int64_t ns = 0;

    /* Docker's "not yet" is Go's zero time, the year 1. */
    if (!text || str_starts(str_of(text), STR("0001-")) || time_parse(str_of(text), &ns, &err) < 0)
        return 0;
    return ns;
}

static int64_t label_int(const cJSON *labels, const char *name, int64_t otherwise)
{
    const char *text = json_string(labels, name);
    struct error err;
    int64_t value;

    return text && str_parse_int64(str_of(text), &value, &err) == 0 ? value : otherwise;
}

static void read_labels(struct container_info *info, const cJSON *labels)
{
    info->uid = dup_or_null(json_string(labels, LABEL_POD_UID));
    info->namespace_ = dup_or_null(json_string(labels, LABEL_POD_NAMESPACE));
    info->pod = dup_or_null(json_string(labels, LABEL_POD_NAME));
    info->container = dup_or_null(json_string(labels, LABEL_CONTAINER));
    info->sandbox_id = dup_or_null(json_string(labels, LABEL_SANDBOX));
    info->image_digest = dup_or_null(json_string(labels, LABEL_DIGEST));
    info->message_path = dup_or_null(json_string(labels, LABEL_LOG_MESSAGE));
    info->attempt = label_int(labels, LABEL_ATTEMPT, 0);
    info->grace_seconds = label_int(labels, LABEL_GRACE, -1);
}

static enum container_state parse_state(const char *status)
{
    if (c_eq(status, "created"))
        return CONTAINER_CREATED;
    if (c_eq(status, "running") || c_eq(status, "paused"))
        return CONTAINER_RUNNING;
    if (c_eq(status, "exited") || c_eq(status, "dead") || c_eq(status, "removing"))
        return CONTAINER_EXITED;
    return CONTAINER_UNKNOWN;
}

struct container_info *docker_parse_inspect(const cJSON *tree)
{
    struct container_info *info = container_info_new();
    const cJSON *state = json_get(tree, "State");
    const char *name = json_string(tree, "Name");

    info->id = dup_or_null(json_string(tree, "Id"));
    info->name = dup_or_null(name && name[0] == '/' ? name + 1 : name);
    read_labels(info, json_path(tree, "Config.Labels"));
    info->image = dup_or_null(json_string_at(tree, "Config.Image"));
    info->image_id = dup_or_null(json_string(tree, "Image"));
    info->stop_signal = dup_or_null(json_string_at(tree, "Config.StopSignal"));
    info->log_path = dup_or_null(json_string(tree, "LogPath"));
    info->layer_path = dup_or_null(json_string_at(tree, "GraphDriver.Data.UpperDir"));
    info->tty = json_bool(json_get(tree, "Config"), "Tty", false);
    info->error = dup_or_null(json_string(state, "Error"));
    info->state = parse_state(json_string(state, "Status"));
    info->exit_code = json_int64_at(state, "ExitCode", 0);
    info->oom_killed = json_bool(state, "OOMKilled", false);
    info->pid = json_int64_at(state, "Pid", 0);
    info->created_ns = parse_time(json_string(tree, "Created"));
    info->started_ns = parse_time(json_string(state, "StartedAt"));
    info->finished_ns = parse_time(json_string(state, "FinishedAt"));
    info->limits = (struct container_limits){.known = json_get(tree, "HostConfig"),
        .cpu_shares = json_int64_at(tree, "HostConfig.CpuShares", 0),
        .cpu_quota = json_int64_at(tree, "HostConfig.CpuQuota", 0),
        .memory_bytes = json_int64_at(tree, "HostConfig.Memory", 0)};
    info->complete = true;
    /* A container that could not be started stays "created" with an exit code: it has ended. */
    if (info->state == CONTAINER_CREATED && info->exit_code != 0) {
        info->state = CONTAINER_EXITED;
        info->started_ns = info->finished_ns = info->created_ns;
    }
    return info;
}

struct container_info *docker_parse_listed(const cJSON *item)
{
    struct container_info *info = container_info_new();
    const cJSON *first = cJSON_GetArrayItem(json_get(item, "Names"), 0);
    const char *name = cJSON_IsString(first) ? first->valuestring : NULL;

    info->id = dup_or_null(json_string(item, "Id"));
    info->name = dup_or_null(name && name[0] == '/' ? name + 1 : name);
    read_labels(info, json_get(item, "Labels"));
    info->image = dup_or_null(json_string(item, "Image"));
    info->image_id = dup_or_null(json_string(item, "ImageID"));
    info->state = parse_state(json_string(item, "State"));
    info->created_ns = json_int64_at(item, "Created", 0) * NS_PER_S;
    return info;
}

/* The repository of an image name: what stands before its tag or digest. */
static struct str repository_of(struct str image)
{
    ssize_t at = str_find(image, '@');

    if (at >= 0)
        image.n = (size_t)at;
    for (size_t i = image.n; i > 0 && image.p[i - 1] != '/'; i--)
        if (image.p[i - 1] == ':')
            return str_range(image.p, i - 1);
    return image;
}

void docker_parse_image(const cJSON *tree, const char *wanted, struct image_info *ret)
{
    const cJSON *digest, *digests = json_get(tree, "RepoDigests");
    const char *best = NULL;

    cJSON_ArrayForEach(digest, digests)
    {
        if (!cJSON_IsString(digest))
            continue;
        if (!best ||
            str_eq(repository_of(str_of(digest->valuestring)), repository_of(str_of(wanted))))
            best = digest->valuestring;
    }
    ret->id = dup_or_null(json_string(tree, "Id"));
    ret->digest = dup_or_null(best);
    ret->user = dup_or_null(json_string_at(tree, "Config.User"));
    ret->size = json_int64_at(tree, "Size", 0);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = json_int64_at(*(cJSON *const *)a, "Size", 0),
            y = json_int64_at(*(cJSON *const *)b, "Size", 0);

    return x < y ? 1 : x > y ? -1 : 0;
}

static void add_image_names(cJSON *names, const cJSON *list)
{
    const cJSON *name;

    cJSON_ArrayForEach(name, list)
    {
        if (cJSON_IsString(name) && !strstr(name->valuestring, "<none>") &&
            cJSON_GetArraySize(names) < IMAGE_NAMES_MAX)
            cJSON_AddItemToArray(names, cJSON_CreateString(name->valuestring));
    }
}

cJSON *docker_parse_images(const cJSON *tree)
{
    size_t count = 0, n = (size_t)cJSON_GetArraySize(tree);
    const cJSON **images = xcalloc(n + 1, sizeof(*images)), *image;
    cJSON *list = cJSON_CreateArray();

    cJSON_ArrayForEach(image, tree) images[count++] = image;
    qsort(images, count, sizeof(*images), by_size);
    for (size_t i = 0; i < count && cJSON_GetArraySize(list) < IMAGES_MAX; i++) {
        cJSON *item = cJSON_CreateObject(), *names = cJSON_CreateArray();
        add_image_names(names, json_get(images[i], "RepoDigests"));
        add_image_names(names, json_get(images[i], "RepoTags"));
        json_set(item, "names", names);
        json_set(item, "sizeBytes", json_new_int64(json_int64_at(images[i], "Size", 0)));
        if (names->child)
            cJSON_AddItemToArray(list, item);
        else
            cJSON_Delete(item);
    }
    free(images);
    return list;
}

static void add_mounts(cJSON *host_config, const struct container_spec *spec)
{
    cJSON *mounts = cJSON_CreateArray();

    for (size_t i = 0; i < spec->mount_count; i++) {
        const struct mount *m = &spec->mounts[i];
        cJSON *item = cJSON_CreateObject();

        json_set_string(item, "Type", "bind");
        json_set_string(item, "Source", m->source);
        json_set_string(item, "Target", m->target);
        if (m->read_only)
            json_set(item, "ReadOnly", cJSON_CreateTrue());
        if (m->propagation)
            json_set_string_at(item, "BindOptions.Propagation", m->propagation);
        cJSON_AddItemToArray(mounts, item);
    }
    json_set(host_config, "Mounts", mounts);
}

void docker_complete_body(struct docker *d, const struct container_spec *spec, const char *image)
{
    cJSON *body = spec->body, *labels = cJSON_CreateObject(), *host = json_get(body, "HostConfig");
    char number[24];

    if (!host) {
        host = cJSON_CreateObject();
        json_set(body, "HostConfig", host);
    }
    json_set_string(labels, LABEL_CLUSTER, d->cluster_id);
    json_set_string(labels, LABEL_NODE, d->node_name);
    json_set_string(labels, LABEL_POD_NAME, spec->pod);
    json_set_string(labels, LABEL_POD_NAMESPACE, spec->namespace_);
    json_set_string(labels, LABEL_POD_UID, spec->uid);
    json_set_string(labels, LABEL_CONTAINER, spec->container);
    snprintf(number, sizeof(number), "%lld", (long long)spec->attempt);
    json_set_string(labels, LABEL_ATTEMPT, number);
    snprintf(number, sizeof(number), "%lld", (long long)spec->grace_seconds);
    json_set_string(labels, LABEL_GRACE, number);
    if (spec->sandbox_id)
        json_set_string(labels, LABEL_SANDBOX, spec->sandbox_id);
    if (spec->image_digest)
        json_set_string(labels, LABEL_DIGEST, spec->image_digest);
    if (spec->message_path)
        json_set_string(labels, LABEL_LOG_MESSAGE, spec->message_path);
    json_set(body, "Labels", labels);
    json_set_string(body, "Image", image);
    /* A health check of the image is Docker's business, not ours; probes are. */
    json_set(body, "Healthcheck", json_make("{\"Test\":[\"NONE\"]}"));
    add_mounts(host, spec);
    json_set_string_at(host, "RestartPolicy.Name", "no");
    if (!json_get(host, "LogConfig"))
        json_set(host, "LogConfig",
            json_make(
                "{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"10m\",\"max-file\":\"5\"}}"));
}

bool docker_parse_event(const cJSON *tree, struct docker_event *ret)
{
    const cJSON *actor = json_get(tree, "Actor");

    if (!c_eq(json_string(tree, "Type"), "container"))
        return false;
    ret->id = json_string(actor, "ID");
    ret->uid = json_string(json_get(actor, "Attributes"), LABEL_POD_UID);
    ret->action = json_string(tree, "Action");
    return ret->id && ret->uid && ret->action;
}
