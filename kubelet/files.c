/*
 * Quick files and mounts: see files.h.
 */
#include "kubelet/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

#define MOUNTINFO_MAX (16u << 20)

static int write_all(int fd, struct str content)
{
    while (content.n > 0) {
        ssize_t n = write(fd, content.p, content.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        content = str_range(content.p + n, content.n - (size_t)n);
    }
    return 0;
}

int quick_write(const char *path, struct str content, mode_t mode, struct error *err)
{
    autofree char *temporary = str_format("%s.tmp", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0)
        return error_sys(err, errno, "%s", temporary);
    int r = fchmod(fd, mode) < 0 || write_all(fd, content) < 0 ? -1 : 0;
    int saved = errno;
    if (close(fd) < 0 && r == 0) {
        r = -1;
        saved = errno;
    }
    if (r == 0 && rename(temporary, path) < 0) {
        r = -1;
        saved = errno;
    }
    if (r < 0) {
        unlink(temporary);
        return error_sys(err, saved, "%s", path);
    }
    return 0;
}

bool is_mount_point(const char *path)
{
    autofree char *parent = str_format("%s/..", path);
    struct stat here, above;

    return lstat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

int mount_memory(const char *path, int64_t size_bytes, struct error *err)
{
    char options[48] = "";

    if (file_make_dirs(path, 0750, err) < 0)
        return -err->code;
    if (is_mount_point(path))
        return 0;
    if (size_bytes > 0)
        snprintf(options, sizeof(options), "size=%lld", (long long)size_bytes);
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return error_sys(err, errno, "mount of tmpfs at %s", path);
    return 0;
}

/* The mount point of a mountinfo line (fifth field), with its octal escapes undone. */
static char *mount_point_of(struct str line)
{
    struct str field = {0};
    struct strbuf out;

    for (int i = 0; i < 5; i++)
        if (!str_split(&line, ' ', &field))
            return NULL;
    strbuf_init(&out, 0);
    for (size_t i = 0; i < field.n; i++) {
        if (field.p[i] == '\\' && i + 3 < field.n) {
            strbuf_add_char(&out, (char)((field.p[i + 1] - '0') * 64 + (field.p[i + 2] - '0') * 8 +
                                         (field.p[i + 3] - '0')));
            i += 3;
        } else {
            strbuf_add_char(&out, field.p[i]);
        }
    }
    return strbuf_steal(&out);
}

int unmount_below(const char *path, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    char **points = NULL;
    size_t count = 0, n = strlen(path);
    int r = 0;

    strbuf_init(&text, 0);
    if (file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, err) < 0)
        return -err->code;
    struct str rest = strbuf_str(&text), line;
    while (str_split(&rest, '\n', &line)) {
        char *point = mount_point_of(line);
        if (point && str_starts(str_of(point), str_of(path)) && (!point[n] || point[n] == '/')) {
            points = xrealloc(points, (count + 1) * sizeof(*points));
            points[count++] = point;
        } else {
            free(point);
        }
    }
    /* mountinfo lists a mount after the one it lies on. */
    for (size_t i = count; i-- > 0;) {
        if (r == 0 && umount2(points[i], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
            errno != ENOENT)
            r = error_sys(err, errno, "unmount of %s", points[i]);
        free(points[i]);
    }
    free(points);
    return r;
}
