/*
 * Starts and stops a cluster's daemons: as systemd units where systemd runs the machine, else under
 * our supervisor.
 *
 * Both read the same list (daemons_list). Units are named skiff-ID-NAME.service after the cluster's
 * id, so that two clusters with different folders don't meet, and belong to one target
 * skiff-ID.target.
 */
#include "ctl/cluster.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"

#define UNIT_DIR "/etc/systemd/system"

/* Units are root's; a control plane alone may belong to anybody, and runs under our supervisor
 * then. */
static bool has_systemd(void)
{
    return geteuid() == 0 && file_exists("/run/systemd/system");
}

/* Runs a program with stdout and stderr to /dev/null; 0 or ERR_SYSTEM with its exit code. */
static int run(const char *const *argv, struct error *err)
{
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return error_sys(err, errno, "%s", argv[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(err, ERR_SYSTEM, "%s %s failed with status %d", argv[0], argv[1], status);
    return 0;
}

/* --- the supervisor --- */

/* What the lock file says while it is locked: 0 nobody runs; -1 somebody has just taken it and not
 * yet written the pid. */
static pid_t read_lock(const struct cluster *c, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char text[32] = "";
    int64_t pid = 0;
    struct error err;
    if (fd < 0)
        return 0;
    bool held = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (!held)
        return 0;
    if (n <= 0 || str_parse_int64(str_trim(str_range(text, (size_t)n)), &pid, &err) < 0 ||
        pid <= 1 || !leftover_is((pid_t)pid, c->dir))
        return -1;
    return (pid_t)pid;
}

static pid_t supervisor_pid(const struct cluster *c)
{
    autofree char *path = cluster_path(c, "run/supervisor.lock");
    pid_t pid = -1;
    for (int i = 0; i < 200 && (pid = read_lock(c, path)) < 0; i++)
        usleep(10000);
    return pid > 0 ? pid : 0;
}

static int spawn_supervisor(const struct cluster *c, struct error *err)
{
    autofree char *binary = binary_path("skiff-supervisor");
    autofree char *flag = str_format("--data-dir=%s", c->dir);
    autofree char *log_path = cluster_path(c, "log/supervisor.log");
    pid_t pid = fork();
    if (pid < 0)
        return error_sys(err, errno, "fork");
    if (pid == 0) { /* twice, so that it belongs to init */
        setsid();
        if (fork() != 0)
            _exit(0);
        int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        closefrom(3);
        if (chdir("/") == 0)
            execl(binary, "skiff-supervisor", flag, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return 0;
}

static int stop_supervisor(const struct cluster *c, struct error *err)
{
    pid_t pid = supervisor_pid(c);
    if (pid == 0)
        return 0;
    if (kill(pid, SIGTERM) < 0 && errno != ESRCH)
        return error_sys(err, errno, "supervisor %d", pid);
    for (int i = 0; i < 4000 && supervisor_pid(c) == pid; i++)
        usleep(10000);
    if (supervisor_pid(c) == pid)
        return error_set(err, ERR_TIMEOUT, "the supervisor (pid %d) does not stop", pid);
    return 0;
}

/* --- systemd --- */

static void add_unit_argument(struct strbuf *out, const char *argument)
{
    strbuf_addc(out, " \"");
    for (const char *p = argument; *p; p++) { /* systemd's specifiers and variables are doubled */
        if (*p == '%' || *p == '$')
            strbuf_add_char(out, *p);
        else if (*p == '"' || *p == '\\')
            strbuf_add_char(out, '\\');
        strbuf_add_char(out, *p);
    }
    strbuf_add_char(out, '"');
}

/* *ret_changed: it was there, and says something else now. */
static int write_unit(
    const struct cluster *c, const cJSON *row, bool *ret_changed, struct error *err)
{
    const char *name = json_string(row, "name");
    autofree char *path = str_format(UNIT_DIR "/skiff-%s-%s.service", c->id, name);
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    strbuf_init(&out, 0);
    strbuf_addf(&out,
        "[Unit]\nDescription=Skiff %s (%s)\nAfter=network.target docker.service\n"
        "PartOf=skiff-%s.target\nStartLimitIntervalSec=0\n\n[Service]\nType=exec\nExecStart=",
        name, c->dir, c->id);
    const cJSON *argument;
    cJSON_ArrayForEach(argument, json_get(row, "argv"))
        add_unit_argument(&out, argument->valuestring);
    strbuf_addf(&out,
        "\nRestart=always\nRestartSec=100ms\nKillMode=process\nLimitNOFILE=1048576\n"
        "StandardOutput=append:%s/log/%s.log\nStandardError=append:%s/log/%s.log\n\n"
        "[Install]\nWantedBy=skiff-%s.target\n",
        c->dir, name, c->dir, name, c->id);
    autostrbuf struct strbuf before = STRBUF_EMPTY;
    strbuf_init(&before, 0);
    *ret_changed = file_read(path, 1 << 20, &before, err) == 0 &&
                   !str_eq(strbuf_str(&before), strbuf_str(&out));
    return file_write(path, strbuf_str(&out), 0644, err);
}

static int start_units(const struct cluster *c, const cJSON *list, struct error *err)
{
    autofree char *target = str_format("skiff-%s.target", c->id);
    autofree char *target_path = str_format(UNIT_DIR "/%s", target);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 0);
    strbuf_addf(&text, "[Unit]\nDescription=Skiff cluster in %s\n", c->dir);
    const cJSON *row;
    bool changed[64] = {0};
    size_t n = 0;
    cJSON_ArrayForEach(row, list)
    {
        strbuf_addf(&text, "Wants=skiff-%s-%s.service\n", c->id, json_string(row, "name"));
        assert(n < ARRAY_COUNT(changed));
        if (write_unit(c, row, &changed[n++], err) < 0)
            return -err->code;
    }
    strbuf_addc(&text, "\n[Install]\nWantedBy=multi-user.target\n");
    if (file_write(target_path, strbuf_str(&text), 0644, err) < 0)
        return -err->code;
    const char *const reload[] = {"systemctl", "daemon-reload", NULL};
    const char *const start[] = {"systemctl", "enable", "--now", target, NULL};
    if (run(reload, err) < 0)
        return -err->code;
    n = 0;
    cJSON_ArrayForEach(row, list)
    {
        autofree char *unit = str_format("skiff-%s-%s.service", c->id, json_string(row, "name"));
        const char *const restart[] = {"systemctl", "try-restart", unit, NULL};
        if (changed[n++] && run(restart, err) < 0)
            return -err->code;
    }
    return run(start, err);
}

static int stop_units(const struct cluster *c, struct error *err)
{
    autojson cJSON *list = daemons_list(c);
    autofree char *target = str_format("skiff-%s.target", c->id);
    autofree char *target_path = str_format(UNIT_DIR "/%s", target);
    if (!file_exists(target_path))
        return 0;
    const char *const disable[] = {"systemctl", "disable", "--now", target, NULL};
    if (run(disable, err) < 0)
        return -err->code;
    const cJSON *row;
    cJSON_ArrayForEach(row, list)
    {
        autofree char *unit = str_format("skiff-%s-%s.service", c->id, json_string(row, "name"));
        autofree char *path = str_format(UNIT_DIR "/%s", unit);
        const char *const stop[] = {"systemctl", "stop", unit, NULL};
        if (run(stop, err) < 0)
            return -err->code;
        unlink(path);
    }
    unlink(target_path);
    const char *const reload[] = {"systemctl", "daemon-reload", NULL};
    return run(reload, err);
}

/* --- either --- */

bool service_running(const struct cluster *c)
{
    autofree char *target = str_format("skiff-%s.target", c->id);
    const char *const active[] = {"systemctl", "is-active", "--quiet", target, NULL};
    struct error err;
    return (has_systemd() && run(active, &err) == 0) || supervisor_pid(c) != 0;
}

int service_start(const struct cluster *c, struct error *err)
{
    autojson cJSON *list = daemons_list(c);
    autofree char *path = cluster_path(c, "run/daemons.json");
    autostrbuf struct strbuf text = STRBUF_EMPTY, before = STRBUF_EMPTY;
    strbuf_init(&text, 0);
    strbuf_init(&before, 1 << 20);
    json_print_indented(list, &text, 2);
    bool same = file_read(path, 1 << 20, &before, err) == 0 &&
                str_eq(strbuf_str(&before), strbuf_str(&text));
    if (!same && file_write(path, strbuf_str(&text), 0600, err) < 0)
        return -err->code;
    pid_t pid = supervisor_pid(c);
    if (pid == 0 && has_systemd())
        return start_units(c, list, err);
    if (pid == 0) {
        leftovers_end(c->dir); /* else they would answer for the ones that are to come */
        return spawn_supervisor(c, err);
    }
    if (!same && kill(pid, SIGHUP) < 0)
        return error_sys(err, errno, "supervisor %d", pid);
    return 0;
}

int service_stop(const struct cluster *c, struct error *err)
{
    if (has_systemd() && stop_units(c, err) < 0)
        return -err->code;
    if (stop_supervisor(c, err) < 0)
        return -err->code;
    leftovers_end(c->dir);
    return 0;
}
