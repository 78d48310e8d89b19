/*
 * Files: whole reads, and writes that are either complete and durable or did not happen.
 *
 * Removing a tree works with file descriptors of the folders, never with paths, so a link that
 * appears meanwhile is removed and not followed. Mount points are recognised by the kernel's own
 * mark (bind mounts have the same device number).
 */
#include "common/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 200

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define autoclose __attribute__((cleanup(close_fd)))

int file_read(const char *path, size_t limit, struct strbuf *out, struct error *err)
{
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t total = 0;

    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "%s: No such file or directory", path);
    if (fd < 0)
        return error_sys(err, errno, "%s", path);
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "reading %s", path);
        if (n == 0)
            return 0;
        total += (size_t)n;
        strbuf_add(out, str_range(chunk, (size_t)n));
        if (total > limit || strbuf_overflowed(out))
            return error_set(err, ERR_TOO_LARGE, "%s: larger than %zu bytes", path, limit);
    }
}

static int write_all(int fd, struct str content)
{
    while (content.n > 0) {
        ssize_t n = write(fd, content.p, content.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        content = str_range(content.p + n, content.n - (size_t)n);
    }
    return 0;
}

/* The folder part of path: "." when there is none. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : str_dup(str_range(path, (size_t)(slash - path)));
}

static int sync_folder(const char *path, struct error *err)
{
    autofree char *folder = folder_of(path);
    autoclose int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_sys(err, errno, "syncing %s", folder);
    return 0;
}

int file_write(const char *path, struct str content, mode_t mode, struct error *err)
{
    autofree char *temporary = str_format("%s.tmp-XXXXXX", path);
    autoclose int fd = mkostemp(temporary, O_CLOEXEC);

    if (fd < 0)
        return error_sys(err, errno, "creating %s", path);
    if (write_all(fd, content) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0 ||
        rename(temporary, path) < 0) {
        int r = error_sys(err, errno, "writing %s", path);
        unlink(temporary);
        return r;
    }
    return sync_folder(path, err);
}

int file_make_dirs(const char *path, mode_t mode, struct error *err)
{
    autofree char *part = xstrdup(path);
    struct stat st;

    for (char *p = part + 1; *part; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char end = *p;
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return error_sys(err, errno, "making folder %s", part);
        *p = end;
        if (end == '\0')
            break;
    }
    if (stat(path, &st) < 0)
        return error_sys(err, errno, "%s", path);
    return S_ISDIR(st.st_mode) ? 0 : error_sys(err, ENOTDIR, "%s", path);
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool is_mount_point(int folder, const char *name)
{
    struct statx st;
    if (statx(folder, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &st) < 0)
        return false;
    return st.stx_attributes_mask & st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int remove_at(int folder, const char *name, int depth, struct error *err);

static int remove_content(int fd, const char *name, int depth, struct error *err)
{
    DIR *dir = fdopendir(fd); /* owns fd from here */
    int r = 0;
    if (!dir) {
        close(fd);
        return error_sys(err, ENOMEM, "reading folder %s", name);
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            r = remove_at(dirfd(dir), entry->d_name, depth, err);
    closedir(dir);
    return r;
}

/* One entry and everything below; texts name the entry, callers put the folder in front. */
static int remove_at(int folder, const char *name, int depth, struct error *err)
{
    if (depth > 0 && is_mount_point(folder, name))
        return error_sys(err, EBUSY, "%s is a mount point", name);
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && errno != ENOTDIR && errno != ELOOP)
        return error_sys(err, errno, "opening %s", name);
    if (fd >= 0 && depth >= TREE_DEPTH_MAX) {
        close(fd);
        return error_sys(err, ELOOP, "%s is nested too deep", name);
    }
    int r = fd >= 0 ? remove_content(fd, name, depth + 1, err) : 0;
    if (r < 0)
        return depth > 0 ? error_wrap(err, "%s", name) : r;
    if (unlinkat(folder, name, fd >= 0 ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
        return error_sys(err, errno, "removing %s", name);
    return 0;
}

int file_remove_tree(const char *path, struct error *err)
{
    int r = remove_at(AT_FDCWD, path, 0, err);
    return r < 0 ? error_wrap(err, "removing %s", path) : 0;
}
