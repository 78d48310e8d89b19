/*
 * The audit log: a JSON line an event, appended to a file (0600) that is rotated by size, or to
 * standard output.
 *
 * Rotated files are NAME-2026-11-23T07-31-53.123.EXT beside it, as upstream's; those beyond
 * maxbackup or older than maxage days are removed. A file that somebody moved away is noticed by
 * its inode and made anew. Blocks on its own task only.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/audit/sink.h"
#include "common/file.h"
#include "common/log.h"
#include "common/time.h"

#define BATCH_EVENTS 512

struct log_file {
    struct env *env;
    char *path, *dir, *base, *ext; /* /var/log/audit .log: base "audit", ext ".log" */
    int64_t bytes_max, backups_max, age_max_ns;
    int fd;
    off_t size;
    struct strbuf out;
};

static int open_file(struct log_file *l, struct error *err)
{
    struct stat st;

    l->fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (l->fd < 0 || fstat(l->fd, &st) < 0)
        return error_sys(err, errno, "audit log %s", l->path);
    l->size = st.st_size;
    return 0;
}

static void close_file(struct log_file *l)
{
    if (l->fd > STDERR_FILENO)
        close(l->fd);
    l->fd = -1;
}

/* --- rotation --- */

/* Is this name one of our backups? Its time sorts as text. */
static bool is_backup(const struct log_file *l, const char *name)
{
    struct str s = str_of(name), base = str_of(l->base), ext = str_of(l->ext);

    return s.n == base.n + 1 + 23 + ext.n && str_starts(s, base) && name[base.n] == '-' &&
           str_ends(s, ext);
}

static int compare_names(const void *a, const void *b)
{
    return -strcmp(*(char *const *)a, *(char *const *)b); /* newest first */
}

static bool is_old(const struct log_file *l, const char *path)
{
    struct stat st;

    return l->age_max_ns > 0 && stat(path, &st) == 0 &&
           st.st_mtim.tv_sec * NS_PER_S < env_wall_ns(l->env) - l->age_max_ns;
}

static void remove_backups(const struct log_file *l)
{
    DIR *dir = opendir(l->dir);
    char **names = NULL;
    size_t count = 0;

    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        if (is_backup(l, d->d_name)) {
            names = xrealloc(names, (count + 1) * sizeof(*names));
            names[count++] = xstrdup(d->d_name);
        }
    closedir(dir);
    if (names)
        qsort(names, count, sizeof(*names), compare_names);
    for (size_t i = 0; i < count; i++) {
        autofree char *path = str_format("%s/%s", l->dir, names[i]);

        if ((l->backups_max > 0 && i >= (size_t)l->backups_max) || is_old(l, path))
            unlink(path);
        free(names[i]);
    }
    free(names);
}

static int rotate(struct log_file *l, struct error *err)
{
    char stamp[TIME_TEXT_BYTES];

    time_print_us(env_wall_ns(l->env), stamp); /* 2026-11-23T07:31:53.123456Z */
    stamp[23] = '\0';
    for (char *p = stamp; *p; p++)
        if (*p == ':')
            *p = '-';
    autofree char *to = str_format("%s/%s-%s%s", l->dir, l->base, stamp, l->ext);

    close_file(l);
    if (rename(l->path, to) < 0 && errno != ENOENT)
        log_warning("the audit log can't be rotated, going on with it", "file", "%s", l->path,
            "err", "%s", strerrorname_np(errno), NULL);
    remove_backups(l);
    return open_file(l, err);
}

static bool was_moved(const struct log_file *l)
{
    struct stat there, ours;

    return stat(l->path, &there) < 0 || fstat(l->fd, &ours) < 0 || there.st_ino != ours.st_ino ||
           there.st_dev != ours.st_dev;
}

/* --- writing --- */

static int write_all(struct log_file *l, struct error *err)
{
    struct str rest = strbuf_str(&l->out);

    while (rest.n > 0) {
        ssize_t n = write(l->fd, rest.p, rest.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "audit log %s", l->path);
        rest = str_range(rest.p + n, rest.n - (size_t)n);
        l->size += n;
    }
    return 0;
}

static int flush(struct log_file *l, struct error *err)
{
    bool is_file = l->dir != NULL;

    if (l->out.n == 0)
        return 0;
    if (is_file && l->fd >= 0 && was_moved(l))
        close_file(l);
    if (is_file && l->fd < 0 && open_file(l, err) < 0)
        return -(int)err->code;
    if (is_file && l->bytes_max > 0 && l->size > 0 && l->size + (off_t)l->out.n > l->bytes_max &&
        rotate(l, err) < 0)
        return -(int)err->code;
    int result = write_all(l, err);

    strbuf_clear(&l->out);
    return result;
}

static int log_write_batch(
    void *state, struct audit_record **records, size_t count, struct error *err)
{
    struct log_file *l = state;
    int result = 0;

    for (size_t i = 0; i < count; i++) {
        audit_record_print(records[i], &l->out);
        strbuf_add_char(&l->out, '\n');
        if (l->out.n > (1 << 20) && flush(l, err) < 0)
            result = -1;
    }
    if (flush(l, err) < 0)
        result = -1;
    strbuf_clear(&l->out);
    return result;
}

static void log_file_free(void *state)
{
    struct log_file *l = state;

    close_file(l);
    strbuf_done(&l->out);
    free(l->path);
    free(l->dir);
    free(l->base);
    free(l->ext);
    free(l);
}

static const struct sink_ops log_ops = {
    .plugin = "log", .write = log_write_batch, .free = log_file_free};

static void split_path(struct log_file *l)
{
    const char *slash = strrchr(l->path, '/'), *name = slash ? slash + 1 : l->path;
    const char *point = strrchr(name, '.');

    l->dir = slash ? str_dup(str_range(l->path, (size_t)(slash - l->path) + (slash == l->path)))
                   : xstrdup(".");
    l->base = str_dup(str_range(name, point ? (size_t)(point - name) : strlen(name)));
    l->ext = xstrdup(point ? point : "");
}

int log_sink_new(struct env *env, struct metrics *metrics, const struct audit_settings *config,
    struct sink **ret, struct error *err)
{
    struct log_file *l = xcalloc(1, sizeof(*l));
    struct sink_limits limits = {
        .buffer_events = (size_t)config->buffer_events, .batch_events = BATCH_EVENTS};

    l->env = env;
    l->path = xstrdup(config->log_path);
    l->bytes_max = config->log_max_mb << 20;
    l->backups_max = config->log_max_backups;
    l->age_max_ns = config->log_max_age_days * 24 * 3600 * NS_PER_S;
    l->fd = STDOUT_FILENO;
    strbuf_init(&l->out, 0);
    if (!c_eq(l->path, "-")) {
        split_path(l);
        if (open_file(l, err) < 0) {
            log_file_free(l);
            return error_wrap(err, "--audit-log-path");
        }
    }
    *ret = sink_new(env, metrics, &log_ops, l, &limits);
    return 0;
}
