/*
 * Daemons: what main() does before the first thread starts, and waiting for the end.
 *
 * SIGTERM and SIGINT are blocked here, before any thread, so that every thread inherits the mask
 * and only daemon_wait() ever takes them. glibc's default of eight malloc arenas a core would keep
 * freed memory for ever; two are enough for our few threads.
 */
#include "common/daemon.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

#define OPEN_FILES_WANTED 1048576

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

static int set_limits(struct error *err)
{
    struct rlimit files, none = {0, 0};
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_sys(err, errno, "reading the limit of open files");
    files.rlim_cur = files.rlim_max < OPEN_FILES_WANTED ? files.rlim_max : OPEN_FILES_WANTED;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_sys(err, errno, "raising the limit of open files");
    if (setrlimit(RLIMIT_CORE, &none) < 0) /* a core would hold keys and Secrets */
        return error_sys(err, errno, "turning core dumps off");
    return 0;
}

/* Keys and Secrets in memory are for nobody to read by ptrace or a core, whoever runs us. The
 * sanitizers look at themselves that way. */
static bool is_undumpable(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return false;
#else
    return true;
#endif
#else
    return true;
#endif
}

int daemon_start(const struct daemon_flags *flags, struct error *err)
{
    sigset_t set;

    if (flags->log_format && !c_eq(flags->log_format, "text") && !c_eq(flags->log_format, "json"))
        return error_set(
            err, ERR_USAGE, "--log-format takes text or json, not \"%s\"", flags->log_format);
    log_set_json(c_eq(flags->log_format, "json"));
    log_set_level(flags->v >= 2 ? LOG_DEBUG : LOG_INFO);
    mallopt(M_ARENA_MAX, 2);
    signal(SIGPIPE, SIG_IGN);
    stop_signals(&set);
    int r = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r)
        return error_sys(err, r, "blocking signals");
    if (is_undumpable() && prctl(PR_SET_DUMPABLE, 0) < 0)
        return error_sys(err, errno, "keeping other processes out of the memory");
    return set_limits(err);
}

void daemon_ready(void)
{
    static const char message[] = "READY=1";
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;

    if (n == 0 || n >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, n);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (sendto(fd, message, sizeof(message) - 1, MSG_NOSIGNAL, (struct sockaddr *)&address, bytes) <
        0)
        log_warning("the starter could not be told that we are ready, going on", "socket", "%s",
            path, "errno", "%d", errno, NULL);
    close(fd);
}

int daemon_wait(void)
{
    sigset_t set;
    int number;

    stop_signals(&set);
    while (sigwait(&set, &number) != 0)
        ;
    return number;
}
