/*
 * skiff-supervisor: keeps the daemons of one cluster running where systemd does not run the
 * machine. Started by `up`.
 *
 * Reads DIR/run/daemons.json at start and at SIGHUP: starts what is new, restarts what has another
 * command line, stops what is gone. A daemon that dies is started again after 0.1 s, doubling to 10
 * s, forgotten after a minute of good running. SIGTERM stops all: everything but the API server
 * first, then that. Output of a daemon goes to DIR/log/NAME.log, moved to NAME.log.1 above 8 MB at
 * a start.
 *
 * One supervisor a cluster, by a lock on DIR/run/supervisor.lock, which holds its pid. Daemons left
 * over by a supervisor that was killed are ended first (leftovers.c). Threads: one. A binary of its
 * own, because skiffctl's libraries (TLS, HTTP) would cost it a megabyte.
 */
#include "ctl/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "common/time.h"
#include "ctl/cluster.h"

#define DAEMONS_MAX 16
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 10000
#define GOOD_RUN_MS 60000
#define STOP_PATIENCE_MS 15000
#define LOG_BYTES_MAX (8 << 20)

struct child {
    char *name;
    cJSON *argv;
    pid_t pid; /* 0: not running */
    int64_t started_ms, start_at_ms;
    int64_t backoff_ms;
    bool wanted;
};

struct supervisor {
    const char *dir;
    struct child children[DAEMONS_MAX];
    size_t count;
    int signals;
    bool stopping;
};

struct supervise_flags {
    const char *data_dir;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static char *run_path(const struct supervisor *s, const char *name, const char *suffix)
{
    return str_format("%s/run/%s%s", s->dir, name, suffix);
}

static int open_log(const struct supervisor *s, const char *name)
{
    autofree char *path = str_format("%s/log/%s.log", s->dir, name);
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > LOG_BYTES_MAX) {
        autofree char *old = str_format("%s.1", path);
        rename(path, old);
    }
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void exec_child(const struct supervisor *s, const struct child *c)
{
    char *argv[128];
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, c->argv)
    {
        if (n < ARRAY_COUNT(argv) - 1)
            argv[n++] = item->valuestring;
    }
    argv[n] = NULL;
    int log = open_log(s, c->name);
    int null = open("/dev/null", O_RDONLY);
    if (log >= 0) {
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
    }
    dup2(null, STDIN_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    execv(argv[0], argv);
    _exit(127);
}

static void start_child(struct supervisor *s, struct child *c)
{
    pid_t pid = fork();
    if (pid == 0)
        exec_child(s, c);
    if (pid < 0) {
        log_warning("daemon could not be started, retrying", "name", "%s", c->name, "error", "%s",
            strerror(errno), NULL);
        c->start_at_ms = now_ms() + BACKOFF_MAX_MS;
        return;
    }
    c->pid = pid;
    c->started_ms = now_ms();
    struct error err;
    autofree char *path = run_path(s, c->name, ".pid");
    char text[32];
    snprintf(text, sizeof(text), "%d\n", pid);
    if (file_write(path, str_of(text), 0644, &err) < 0)
        log_warning("pid file not written, continuing", "error", "%s", err.text, NULL);
    log_info("daemon started", "name", "%s", c->name, "pid", "%d", pid, NULL);
}

static void child_ended(struct supervisor *s, struct child *c, int status)
{
    int64_t ran_ms = now_ms() - c->started_ms;
    c->pid = 0;
    autofree char *path = run_path(s, c->name, ".pid");
    unlink(path);
    if (s->stopping || !c->wanted) {
        log_info("daemon stopped", "name", "%s", c->name, NULL);
        return;
    }
    c->backoff_ms = ran_ms > GOOD_RUN_MS || c->backoff_ms == 0 ? BACKOFF_MIN_MS : c->backoff_ms * 2;
    if (c->backoff_ms > BACKOFF_MAX_MS)
        c->backoff_ms = BACKOFF_MAX_MS;
    c->start_at_ms = now_ms() + c->backoff_ms;
    log_warning("daemon died, restarting", "name", "%s", c->name, "status", "%d",
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), "after_ms", "%lld",
        (long long)c->backoff_ms, NULL);
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < s->count; i++)
            if (s->children[i].pid == pid)
                child_ended(s, &s->children[i], status);
}

static struct child *find_child(struct supervisor *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (c_eq(s->children[i].name, name))
            return &s->children[i];
    return NULL;
}

static int read_list(const struct supervisor *s, cJSON **ret, struct error *err)
{
    autofree char *path = run_path(s, "daemons", ".json");
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 1 << 20);
    if (file_read(path, 1 << 20, &text, err) < 0 || json_parse(strbuf_str(&text), ret, err) < 0)
        return error_wrap(err, "%s", path);
    return 0;
}

/* Takes over the list: what changed is ended here and started again by the loop. */
static int reload(struct supervisor *s, struct error *err)
{
    autojson cJSON *list = NULL;
    if (read_list(s, &list, err) < 0)
        return -err->code;
    for (size_t i = 0; i < s->count; i++)
        s->children[i].wanted = false;
    const cJSON *row;
    cJSON_ArrayForEach(row, list)
    {
        const char *name = json_string(row, "name");
        struct child *c = find_child(s, name);
        if (!c && s->count < DAEMONS_MAX) {
            c = &s->children[s->count++];
            *c = (struct child){.name = xstrdup(name)};
        }
        if (!c)
            return error_set(err, ERR_TOO_LARGE, "more than %d daemons", DAEMONS_MAX);
        c->wanted = true;
        c->start_at_ms = 0;
        if (c->argv && json_equal(c->argv, json_get(row, "argv")))
            continue;
        cJSON_Delete(c->argv);
        c->argv = cJSON_Duplicate(json_get(row, "argv"), true);
        if (c->pid)
            kill(c->pid, SIGTERM);
    }
    for (size_t i = 0; i < s->count; i++)
        if (!s->children[i].wanted && s->children[i].pid)
            kill(s->children[i].pid, SIGTERM);
    return 0;
}

/* Starts what is due; returns the milliseconds until the next start, or -1. */
static int start_due(struct supervisor *s)
{
    int64_t now = now_ms(), next = -1;
    for (size_t i = 0; i < s->count; i++) {
        struct child *c = &s->children[i];
        if (c->pid || !c->wanted)
            continue;
        if (c->start_at_ms <= now)
            start_child(s, c);
        else if (next < 0 || c->start_at_ms - now < next)
            next = c->start_at_ms - now;
    }
    return (int)next;
}

static bool any_running(const struct supervisor *s, bool but_apiserver)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].pid && !(but_apiserver && c_eq(s->children[i].name, "apiserver")))
            return true;
    return false;
}

static void signal_children(struct supervisor *s, int signal, bool but_apiserver)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].pid && !(but_apiserver && c_eq(s->children[i].name, "apiserver")))
            kill(s->children[i].pid, signal);
}

static void wait_stopped(struct supervisor *s, bool but_apiserver)
{
    int64_t deadline = now_ms() + STOP_PATIENCE_MS;
    signal_children(s, SIGTERM, but_apiserver);
    while (any_running(s, but_apiserver)) {
        struct pollfd p = {.fd = s->signals, .events = POLLIN};
        int64_t left = deadline - now_ms();
        if (left <= 0) {
            log_warning("daemons did not stop in time, killing them", NULL);
            signal_children(s, SIGKILL, but_apiserver);
            deadline = now_ms() + STOP_PATIENCE_MS;
            continue;
        }
        if (poll(&p, 1, (int)left) > 0) {
            struct signalfd_siginfo info;
            if (read(s->signals, &info, sizeof(info)) < 0)
                continue;
        }
        reap(s);
    }
}

/* Whoever looks for a supervisor holds the lock for a moment; another supervisor holds it for
 * longer than a second. The file stays: a supervisor that waits for the lock of a removed file
 * would run unseen. */
static int take_lock(const struct supervisor *s)
{
    autofree char *path = run_path(s, "supervisor", ".lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), held = -1;
    for (int i = 0; fd >= 0 && i < 100 && (held = flock(fd, LOCK_EX | LOCK_NB)) < 0; i++)
        usleep(10000);
    if (held < 0 || ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", getpid()) < 0)
        return -1;
    return fd;
}

static void loop(struct supervisor *s)
{
    struct error err;

    while (!s->stopping) {
        struct pollfd p = {.fd = s->signals, .events = POLLIN};
        struct signalfd_siginfo info;
        int timeout = start_due(s);
        if (poll(&p, 1, timeout) <= 0 || read(s->signals, &info, sizeof(info)) != sizeof(info))
            continue;
        if (info.ssi_signo == SIGHUP && reload(s, &err) < 0)
            log_error(
                "list of daemons not read, keeping the old one", "error", "%s", err.text, NULL);
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            s->stopping = true;
        reap(s);
    }
}

static int fail(const char *text)
{
    fprintf(stderr, "skiff-supervisor: %s\n", text);
    return EXIT_REQUEST_FAILED;
}

static int supervise(const char *dir)
{
    struct supervisor s = {.dir = dir};
    struct error err;
    sigset_t set;

    int lock = take_lock(&s);
    if (lock < 0)
        return fail("another supervisor runs this cluster");
    sigemptyset(&set);
    const int wanted[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++)
        sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s.signals = signalfd(-1, &set, SFD_CLOEXEC);
    leftovers_end(s.dir);
    if (reload(&s, &err) < 0)
        return fail(err.text);
    loop(&s);
    wait_stopped(&s, true);
    wait_stopped(&s, false);
    close(lock);
    return EXIT_DONE;
}

static const struct flag flags[] = {
    {"data-dir", FLAG_STRING, offsetof(struct supervise_flags, data_dir), NULL, "DIR",
        "the cluster's folder"},
};

int main(int argc, char **argv)
{
    struct supervise_flags config = {0};
    struct error err;
    int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &config, &err);

    if (first == FLAGS_HELP)
        return EXIT_DONE;
    if (first >= 0 && first == argc && config.data_dir)
        return supervise(config.data_dir);
    fprintf(stderr, "skiff-supervisor: %s\n",
        first < 0 ? err.text : "needs --data-dir and no arguments");
    return EXIT_WRONG_USAGE;
}
