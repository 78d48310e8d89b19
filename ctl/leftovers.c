/*
 * Daemons that a supervisor left when it was killed: they serve on without it.
 *
 * DIR/run/NAME.pid says who they are; a pid counts only while its command line is that of a daemon
 * of this folder. `up` knows by them that a taken port is its own, the next supervisor ends them
 * before it starts its own, and `down` ends them when no supervisor is there to do it.
 */
#include "ctl/cluster.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"

#define PATIENCE_STEPS 500 /* of 10 ms, between SIGTERM and SIGKILL */

/* The folder's name, not the beginning of a longer one. */
static bool names_dir(const struct strbuf *line, const char *dir)
{
    size_t n = strlen(dir), from = 0;
    const char *at;
    while ((at = memmem(line->data + from, line->n - from, dir, n))) {
        from = (size_t)(at - line->data) + n;
        if (from >= line->n || line->data[from] == '/' || line->data[from] == '\0')
            return true;
    }
    return false;
}

bool leftover_is(pid_t pid, const char *dir)
{
    autofree char *path = str_format("/proc/%d/cmdline", pid);
    autostrbuf struct strbuf line = STRBUF_EMPTY;
    struct error err;
    strbuf_init(&line, 0);
    return file_read(path, 1 << 17, &line, &err) == 0 && names_dir(&line, dir) &&
           memmem(line.data, line.n, "skiff-", 6);
}

/* The pid of a file DIR/run/NAME.pid when that daemon still runs, else 0. */
static pid_t leftover_pid(const char *path, const char *dir)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;
    int64_t pid;
    strbuf_init(&text, 64);
    if (file_read(path, 64, &text, &err) < 0 ||
        str_parse_int64(str_trim(strbuf_str(&text)), &pid, &err) < 0 || pid <= 1 ||
        !leftover_is((pid_t)pid, dir))
        return 0;
    return (pid_t)pid;
}

static void end_daemon(pid_t pid, const char *dir)
{
    log_warning("daemon of an earlier run found, ending it", "pid", "%d", pid, NULL);
    kill(pid, SIGTERM);
    for (int i = 0; i < PATIENCE_STEPS && leftover_is(pid, dir); i++)
        usleep(10000);
    if (leftover_is(pid, dir))
        kill(pid, SIGKILL);
    while (leftover_is(pid, dir))
        usleep(10000);
}

static size_t each_leftover(const char *dir, bool end)
{
    autofree char *run = str_format("%s/run", dir);
    DIR *list = opendir(run);
    size_t found = 0;
    if (!list)
        return 0;
    for (struct dirent *e; (e = readdir(list));) {
        if (!str_ends(str_of(e->d_name), STR(".pid")))
            continue;
        autofree char *path = str_format("%s/%s", run, e->d_name);
        pid_t pid = leftover_pid(path, dir);
        found += pid != 0;
        if (end && pid)
            end_daemon(pid, dir);
        if (end)
            unlink(path);
    }
    closedir(list);
    return found;
}

bool leftovers_exist(const char *dir)
{
    return each_leftover(dir, false) > 0;
}

void leftovers_end(const char *dir)
{
    each_leftover(dir, true);
}
