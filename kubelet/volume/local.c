/*
 * Volumes that are files of this host: emptyDir, hostPath, and claims bound to hostPath or local
 * volumes.
 *
 * Upstream: pkg/volume/emptydir, hostpath, local.
 */
#include "kubelet/volume/volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "kubelet/files.h"

static int empty_dir_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    const char *medium = json_string(source, "medium"), *limit = json_string(source, "sizeLimit");
    int64_t group = volume_group(s);
    struct quantity size;

    (void)name, (void)ret_path, (void)ret_read_only;
    bool fresh = !file_exists(dir);
    if (file_make_dirs(dir, 0777, err) < 0)
        return -err->code;
    if (c_eq(medium, "Memory") && s->agent->runtime->shares_mounts && !is_mount_point(dir)) {
        fresh = true;
        int64_t bytes =
            limit && quantity_parse(str_of(limit), &size, err) == 0 ? quantity_value(size) : 0;
        if (mount_memory(dir, bytes, err) < 0)
            return -err->code;
    }
    if (!fresh)
        return 0;
    if (chmod(dir, group >= 0 ? 02777 : 0777) < 0 ||
        (group >= 0 && chown(dir, (uid_t)-1, (gid_t)group) < 0))
        return error_sys(err, errno, "%s", dir);
    return 0;
}

static int make_if_absent(const char *path, bool directory, struct error *err)
{
    if (file_exists(path))
        return 0;
    if (directory)
        return file_make_dirs(path, 0755, err);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_sys(err, errno, "%s", path);
    close(fd);
    return 0;
}

static int check_type(const char *path, const char *type, struct error *err)
{
    static const struct {
        const char *type, *what;
        mode_t mode;
    } kinds[] = {
        {"DirectoryOrCreate", "a directory", S_IFDIR},
        {"Directory", "a directory", S_IFDIR},
        {"FileOrCreate", "a file", S_IFREG},
        {"File", "a file", S_IFREG},
        {"Socket", "a socket file", S_IFSOCK},
        {"CharDevice", "a character device", S_IFCHR},
        {"BlockDevice", "a block device", S_IFBLK},
    };
    struct stat st;

    if (c_eq(type, "DirectoryOrCreate") && make_if_absent(path, true, err) < 0)
        return -err->code;
    if (c_eq(type, "FileOrCreate") && make_if_absent(path, false, err) < 0)
        return -err->code;
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (!c_eq(type, kinds[i].type))
            continue;
        if (stat(path, &st) < 0 || (st.st_mode & S_IFMT) != kinds[i].mode)
            return error_set(
                err, ERR_INVALID, "hostPath type check failed: %s is not %s", path, kinds[i].what);
        return 0;
    }
    return error_set(err, ERR_INVALID, "%s is an invalid volume type", type);
}

static int host_path(struct sync *s, const cJSON *source, const char **ret_path, struct error *err)
{
    const char *path = json_string(source, "path"), *type = json_string(source, "type");

    if (!path || path[0] != '/')
        return error_set(err, ERR_INVALID, "hostPath \"%s\" is no absolute path", path ? path : "");
    *ret_path = arena_strdup(s->arena, str_of(path));
    if (type && type[0])
        return check_type(path, type, err);
    return make_if_absent(path, true, err);
}

static int host_path_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    (void)name, (void)dir, (void)ret_read_only;
    return host_path(s, source, ret_path, err);
}

static int claim_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    const char *claim = json_string(source, "claimName");
    autojson cJSON *claim_tree = NULL, *volume = NULL;
    struct api_ref claim_ref = {
        "v1", "persistentvolumeclaims", s->record->namespace_, claim ? claim : "", NULL};

    (void)name, (void)dir;
    *ret_read_only = json_bool(source, "readOnly", false);
    if (api_get(s->agent->api, &claim_ref, &claim_tree, err) < 0)
        return -err->code;
    const char *volume_name = json_string_at(claim_tree, "spec.volumeName");
    if (!volume_name || !volume_name[0] ||
        !c_eq(json_string_at(claim_tree, "status.phase"), "Bound"))
        return error_set(err, ERR_UNAVAILABLE, "PVC %s/%s is not bound", s->record->namespace_,
            claim ? claim : "");
    struct api_ref volume_ref = {"v1", "persistentvolumes", NULL, volume_name, NULL};
    if (api_get(s->agent->api, &volume_ref, &volume, err) < 0)
        return -err->code;
    const cJSON *host = json_path(volume, "spec.hostPath"),
                *local = json_path(volume, "spec.local");
    if (host)
        return host_path(s, host, ret_path, err);
    const char *path = json_string(local, "path");
    if (!path)
        return error_set(
            err, ERR_NOT_IMPLEMENTED, "no volume plugin matched name: %s", volume_name);
    if (!file_exists(path))
        return error_set(err, ERR_NOT_FOUND, "path \"%s\" does not exist", path);
    *ret_path = arena_strdup(s->arena, str_of(path));
    return 0;
}

const struct volume_plugin volume_empty_dir = {
    .field = "emptyDir", .folder = "kubernetes.io~empty-dir", .up = empty_dir_up};
const struct volume_plugin volume_host_path = {.field = "hostPath", .up = host_path_up};
const struct volume_plugin volume_claim = {.field = "persistentVolumeClaim", .up = claim_up};
