/*
 * A pod's volumes: up before its sandbox, refreshed while it runs, down after its last container.
 * See volumes.h.
 *
 * A container's mounts are worked out here too, subPath included: a sub path is opened beneath its
 * volume (no link may lead out) and bound to a place of its own, so that the path cannot be
 * exchanged before Docker mounts it.
 */
#include "kubelet/volume/volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/file.h"
#include "common/time.h"
#include "kubelet/files.h"

/* Upstream's sync period: a minute, and a little spread. */
#define REFRESH_NS (60 * NS_PER_S)
#define MOUNTS_EXTRA 4 /* hosts, resolv.conf, termination message */

static const struct volume_plugin *const plugins[] = {
    &volume_config_map,
    &volume_secret,
    &volume_projected,
    &volume_downward,
    &volume_empty_dir,
    &volume_host_path,
    &volume_claim,
};

int64_t volume_group(struct sync *s)
{
    return json_int64_at(s->spec, "securityContext.fsGroup", -1);
}

static struct volume_path *find_path(struct pod_record *record, const char *name)
{
    for (size_t i = 0; i < record->volume_count; i++)
        if (c_eq(record->volumes[i].name, name))
            return &record->volumes[i];
    return NULL;
}

static void remember(
    struct pod_record *record, const char *name, const char *path, bool read_only, bool refreshes)
{
    struct volume_path *v = find_path(record, name);

    if (!v) {
        record->volumes =
            xrealloc(record->volumes, (record->volume_count + 1) * sizeof(record->volumes[0]));
        v = &record->volumes[record->volume_count++];
        *v = (struct volume_path){.name = xstrdup(name)};
    }
    free(v->path);
    v->path = xstrdup(path);
    v->read_only = read_only;
    v->refreshes = refreshes;
}

static int one_up(struct sync *s, const cJSON *volume, struct error *err)
{
    const char *name = json_string(volume, "name"), *path = NULL, *dir = NULL;
    bool read_only = false;

    for (size_t i = 0; i < ARRAY_COUNT(plugins); i++) {
        const struct volume_plugin *p = plugins[i];
        const cJSON *source = json_get(volume, p->field);

        if (!source)
            continue;
        if (p->folder) {
            dir = path = sync_pod_dir(s, arena_printf(s->arena, "volumes/%s/%s", p->folder, name));
            if (p->in_memory && s->agent->runtime->shares_mounts && mount_memory(dir, 0, err) < 0)
                return -err->code;
            if (p->in_memory && chmod(dir, 0755) < 0 && errno != ENOENT)
                return error_sys(err, errno, "%s", dir);
        }
        if (p->up(s, name, source, dir, &path, &read_only, err) < 0)
            return error_wrap(err, "MountVolume.SetUp failed for volume \"%s\" ", name);
        remember(s->record, name, path, read_only, p->refreshes);
        return 0;
    }
    return error_set(err, ERR_NOT_IMPLEMENTED,
        "Unable to attach or mount volumes: volume \"%s\": no volume plugin matched",
        name ? name : "");
}

int volumes_up(struct sync *s, struct error *err)
{
    const cJSON *volume;
    bool refreshes = false, again = s->record->volumes_up;

    cJSON_ArrayForEach(volume, json_get(s->spec, "volumes"))
    {
        const struct volume_path *known = find_path(s->record, json_string(volume, "name"));

        if ((!again || !known || known->refreshes) && one_up(s, volume, err) < 0) {
            s->record->volumes_fresh_ns = s->now_ns + REFRESH_NS;
            return -err->code;
        }
        known = find_path(s->record, json_string(volume, "name"));
        refreshes = refreshes || (known && known->refreshes);
    }
    s->record->volumes_up = true;
    s->record->volumes_fresh_ns =
        refreshes ? s->now_ns + env_jitter_ns(s->agent->env, REFRESH_NS, 0.2) : INT64_MAX;
    if (refreshes)
        sync_again(s, s->record->volumes_fresh_ns - s->now_ns);
    return 0;
}

int volumes_down(struct sync *s, struct error *err)
{
    static const char *const parts[] = {"volume-subpaths", "volumes"};
    char *dir = sync_pod_dir(s, NULL);

    if (!file_exists(dir))
        return 0;
    if (unmount_below(dir, err) < 0)
        return -err->code;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (file_remove_tree(sync_pod_dir(s, parts[i]), err) < 0)
            return -err->code;
    s->record->volumes_up = false;
    return 0;
}

static int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* Makes the folders of a sub path that are missing, each beneath the volume. */
static void make_beneath(int root, const char *path)
{
    struct str rest = str_of(path), part;
    autostrbuf struct strbuf so_far = STRBUF_EMPTY;

    strbuf_init(&so_far, 0);
    while (str_split(&rest, '/', &part)) {
        if (part.n == 0)
            continue;
        autofree char *name = str_dup(part);
        int parent = so_far.n ? open_beneath(root, so_far.data, O_PATH | O_DIRECTORY) : dup(root);
        if (parent < 0)
            return;
        mkdirat(parent, name, 0750);
        close(parent);
        strbuf_addf(&so_far, "%s%s", so_far.n ? "/" : "", name);
    }
}

static int bind_sub_path(struct sync *s, int fd, const char *volume, const char *container,
    size_t index, const char **ret, struct error *err)
{
    char *target = sync_pod_dir(
        s, arena_printf(s->arena, "volume-subpaths/%s/%s/%zu", volume, container, index));
    char source[64], real[4096];
    struct stat st;

    snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
    if (!s->agent->runtime->shares_mounts) {
        ssize_t n = readlink(source, real, sizeof(real) - 1);
        if (n < 0)
            return error_sys(err, errno, "%s", source);
        *ret = arena_strdup(s->arena, str_range(real, (size_t)n));
        return 0;
    }
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "%s", target);
    umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW); /* of an earlier instance */
    if (S_ISDIR(st.st_mode)) {
        if (file_make_dirs(target, 0750, err) < 0)
            return -err->code;
    } else {
        char *slash = strrchr(target, '/');
        *slash = '\0';
        int r = file_make_dirs(target, 0750, err);
        *slash = '/';
        if (r < 0 || quick_write(target, STR(""), 0640, err) < 0)
            return -err->code;
    }
    if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
        return error_sys(err, errno, "bind of sub path at %s", target);
    *ret = target;
    return 0;
}

static int sub_path(struct sync *s, const struct volume_path *volume, const char *path,
    const char *container, size_t index, const char **ret, struct error *err)
{
    if (path[0] == '/' || strchr(path, '`'))
        return error_set(err, ERR_INVALID, "subPath \"%s\" must be a relative path", path);
    struct str rest = str_of(path), part;
    while (str_split(&rest, '/', &part))
        if (str_eqc(part, ".."))
            return error_set(err, ERR_INVALID, "subPath \"%s\" must not contain \"..\"", path);
    int root = open(volume->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_sys(
            err, errno, "failed to prepare subPath for volumeMount \"%s\"", volume->name);
    int fd = open_beneath(root, path, O_PATH);
    if (fd < 0 && errno == ENOENT) {
        make_beneath(root, path);
        fd = open_beneath(root, path, O_PATH);
    }
    int saved = errno;
    close(root);
    if (fd < 0)
        return error_sys(
            err, saved, "failed to prepare subPath for volumeMount \"%s\"", volume->name);
    int r = bind_sub_path(s, fd, volume->name, container, index, ret, err);
    close(fd);
    return r;
}

static const char *propagation(const char *mode)
{
    if (c_eq(mode, "HostToContainer"))
        return "rslave";
    return c_eq(mode, "Bidirectional") ? "rshared" : "rprivate";
}

static int volume_mount(struct sync *s, const cJSON *container, const cJSON *mount_spec,
    size_t index, struct mount *ret, struct error *err)
{
    const char *name = json_string(mount_spec, "name"),
               *target = json_string(mount_spec, "mountPath");
    const char *sub = json_string(mount_spec, "subPath"),
               *expression = json_string(mount_spec, "subPathExpr");
    const struct volume_path *volume = find_path(s->record, name);

    if (!volume || !target)
        return error_set(err, ERR_NOT_FOUND,
            "cannot find volume \"%s\" to mount into container \"%s\"", name ? name : "",
            json_string(container, "name"));
    const char *source = volume->path;
    if (expression && expression[0]) {
        struct env_list services = {0}, env = {0};
        if (env_build(&s->facts, container, &services, s->arena, &env, err) < 0)
            return -err->code;
        sub = expand(s->arena, expression, &env, NULL);
    }
    if (sub && sub[0] &&
        sub_path(s, volume, sub, json_string(container, "name"), index, &source, err) < 0)
        return -err->code;
    *ret = (struct mount){.source = source,
        .target = target,
        .read_only = volume->read_only || json_bool(mount_spec, "readOnly", false),
        .propagation = propagation(json_string(mount_spec, "mountPropagation"))};
    if (target[0] != '/')
        ret->target = arena_printf(s->arena, "/%s", target);
    return 0;
}

/* The file that a container may leave a last message in; new and empty for each instance. */
static int message_mount(
    struct sync *s, const cJSON *container, const char *path, struct mount *ret, struct error *err)
{
    const char *target = json_string(container, "terminationMessagePath");
    char *slash = strrchr(path, '/');
    autofree char *dir = str_dup(str_range(path, (size_t)(slash - path)));

    /* Whoever the container runs as writes it. */
    if (file_make_dirs(dir, 0750, err) < 0 || quick_write(path, STR(""), 0666, err) < 0)
        return -err->code;
    *ret = (struct mount){
        .source = path, .target = target && target[0] ? target : "/dev/termination-log"};
    return 0;
}

int volumes_mounts(struct sync *s, const cJSON *container, const char *message_path,
    struct mount **ret, size_t *ret_count, struct error *err)
{
    const cJSON *list = json_get(container, "volumeMounts"), *item;
    size_t count = 0, index = 0;
    struct mount *mounts =
        arena_new_array(s->arena, struct mount, (size_t)cJSON_GetArraySize(list) + MOUNTS_EXTRA);

    cJSON_ArrayForEach(item, list)
    {
        if (volume_mount(s, container, item, index++, &mounts[count], err) < 0)
            return -err->code;
        count++;
    }
    hosts_mounts(s, container, mounts, &count);
    if (message_mount(s, container, message_path, &mounts[count], err) < 0)
        return -err->code;
    count++;
    *ret = mounts;
    *ret_count = count;
    return 0;
}
