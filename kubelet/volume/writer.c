/*
 * Writes atomic volumes: see writer.h.
 *
 * Upstream: pkg/volume/util/atomic_writer.go.
 */
#include "kubelet/volume/writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/limits.h"
#include "common/time.h"

static bool path_is_safe(const char *path)
{
    struct str rest = str_of(path), part;

    if (!path[0] || path[0] == '/')
        return false;
    while (str_split(&rest, '/', &part))
        if (part.n == 0 || str_eqc(part, "..") || str_eqc(part, "."))
            return false;
    return strncmp(path, "..", 2) != 0;
}

int volume_content_add(struct volume_content *content, const char *path, struct str data,
    mode_t mode, int64_t user, struct error *err)
{
    struct volume_file *file = NULL;

    if (!path_is_safe(path))
        return error_set(err, ERR_INVALID, "invalid path \"%s\" in a volume", path);
    for (size_t i = 0; i < content->count; i++)
        if (c_eq(content->files[i].path, path))
            file = &content->files[i];
    if (!file) {
        content->files = xrealloc(content->files, (content->count + 1) * sizeof(content->files[0]));
        file = &content->files[content->count++];
        *file = (struct volume_file){.path = xstrdup(path)};
    }
    free(file->data);
    file->data = xmalloc(data.n + 1);
    if (data.n)
        memcpy(file->data, data.p, data.n);
    file->size = data.n;
    file->mode = mode;
    file->user = user;
    return 0;
}

void volume_content_done(struct volume_content *content)
{
    for (size_t i = 0; i < content->count; i++) {
        free(content->files[i].path);
        free(content->files[i].data);
    }
    free(content->files);
    *content = (struct volume_content){0};
}

static bool same_file(const char *dir, const struct volume_file *file, mode_t mode)
{
    autofree char *path = str_format("%s/..data/%s", dir, file->path);
    autostrbuf struct strbuf now = STRBUF_EMPTY;
    struct stat st;
    struct error err;

    strbuf_init(&now, 0);
    return stat(path, &st) == 0 && (st.st_mode & 07777) == mode &&
           (size_t)st.st_size == file->size && file_read(path, LIMIT_BODY_BYTES, &now, &err) == 0 &&
           str_eq(strbuf_str(&now), str_range(file->data, file->size));
}

/* Files below dir, to find those that should be gone. */
static size_t count_files(const char *dir)
{
    DIR *handle = opendir(dir);
    const struct dirent *entry;
    size_t count = 0;

    while (handle && (entry = readdir(handle))) {
        autofree char *path = str_format("%s/%s", dir, entry->d_name);
        struct stat st;

        if (c_eq(entry->d_name, ".") || c_eq(entry->d_name, "..") || lstat(path, &st) < 0)
            continue;
        count += S_ISDIR(st.st_mode) ? count_files(path) : 1;
    }
    if (handle)
        closedir(handle);
    return count;
}

static mode_t mode_of(const struct volume_file *file, int64_t group)
{
    return file->mode | (group >= 0 ? 0440 : 0);
}

static bool is_current(const char *dir, const struct volume_content *content, int64_t group)
{
    autofree char *data = str_format("%s/..data/.", dir);

    if (!file_exists(data))
        return false;
    for (size_t i = 0; i < content->count; i++)
        if (!same_file(dir, &content->files[i], mode_of(&content->files[i], group)))
            return false;
    return count_files(data) == content->count;
}

static int write_file(
    const char *dir, const struct volume_file *file, int64_t group, struct error *err)
{
    autofree char *path = str_format("%s/%s", dir, file->path);
    char *slash = strrchr(path, '/');

    if (strchr(file->path, '/')) {
        *slash = '\0';
        int r = file_make_dirs(path, 0755, err);
        *slash = '/';
        if (r < 0)
            return r;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_sys(err, errno, "%s", path);
    size_t done = 0;
    while (done < file->size) {
        ssize_t n = write(fd, file->data + done, file->size - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    /* fchmod after the write: the umask has no say. */
    int r = done == file->size &&
                    fchown(fd, file->user >= 0 ? (uid_t)file->user : (uid_t)-1,
                        group >= 0 ? (gid_t)group : (gid_t)-1) == 0 &&
                    fchmod(fd, mode_of(file, group)) == 0
                ? 0
                : error_sys(err, errno, "%s", path);
    close(fd);
    return r;
}

/* First components of the paths, linked through ..data; stale links removed. */
static int link_names(const char *dir, const struct volume_content *content, struct error *err)
{
    for (size_t i = 0; i < content->count; i++) {
        struct str rest = str_of(content->files[i].path), first;
        str_split(&rest, '/', &first);
        autofree char *path = str_format("%s/%.*s", dir, STR_FMT(first));
        autofree char *target = str_format("..data/%.*s", STR_FMT(first));
        if (symlink(target, path) < 0 && errno != EEXIST)
            return error_sys(err, errno, "%s", path);
    }
    DIR *handle = opendir(dir);
    const struct dirent *entry;
    while (handle && (entry = readdir(handle))) {
        autofree char *path = str_format("%s/%s", dir, entry->d_name);
        if (strncmp(entry->d_name, "..", 2) && !c_eq(entry->d_name, ".") &&
            entry->d_type == DT_LNK && !file_exists(path))
            unlink(path);
    }
    if (handle)
        closedir(handle);
    return 0;
}

static void remove_old(const char *dir, const char *current)
{
    DIR *handle = opendir(dir);
    const struct dirent *entry;
    struct error err;

    while (handle && (entry = readdir(handle))) {
        autofree char *path = str_format("%s/%s", dir, entry->d_name);
        if (strncmp(entry->d_name, "..2", 3) == 0 && !c_eq(entry->d_name, current))
            file_remove_tree(path, &err);
    }
    if (handle)
        closedir(handle);
}

static void stamp(int64_t wall_ns, char *buf, size_t size)
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    snprintf(buf, size, "..%04d_%02d_%02d_%02d_%02d_%02d.%09lld", tm.tm_year + 1900, tm.tm_mon + 1,
        tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (long long)(wall_ns % NS_PER_S));
}

int volume_write(const char *dir, const struct volume_content *content, int64_t group,
    int64_t wall_ns, struct error *err)
{
    char name[64];

    if (file_make_dirs(dir, 0755, err) < 0)
        return -err->code;
    if (is_current(dir, content, group))
        return 0;
    stamp(wall_ns, name, sizeof(name));
    autofree char *fresh = str_format("%s/%s", dir, name), *data = str_format("%s/..data", dir);
    autofree char *temporary = str_format("%s/..data_tmp", dir);
    if (mkdir(fresh, 0755) < 0 || chmod(fresh, 0755) < 0)
        return error_sys(err, errno, "%s", fresh);
    for (size_t i = 0; i < content->count; i++)
        if (write_file(fresh, &content->files[i], group, err) < 0)
            return -err->code;
    unlink(temporary);
    if (symlink(name, temporary) < 0 || rename(temporary, data) < 0)
        return error_sys(err, errno, "%s", data);
    if (link_names(dir, content, err) < 0)
        return -err->code;
    remove_old(dir, name);
    return 0;
}
