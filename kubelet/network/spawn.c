/*
 * Runs a program to its end with a deadline: input on its standard input, both outputs collected.
 *
 * posix_spawn, because many threads of ours run at once; the child gets no descriptor but its
 * three, a default signal mask and its own process group, which is killed as a whole at the
 * deadline.
 */
#include "kubelet/network/cni.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/time.h"

extern char **environ;

static int start(
    const char *path, char *const *argv, char *const *envp, int in, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, out, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int r = posix_spawn(pid, path, &actions, &attributes, argv, envp ? envp : environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

static int64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Feeds input and collects output until the program closes its side; false at the deadline. */
static bool converse(int to, int from, struct str input, int64_t deadline_ns, struct strbuf *output)
{
    while (from >= 0) {
        struct pollfd fds[2] = {{.fd = from, .events = POLLIN}, {.fd = to, .events = POLLOUT}};
        int64_t left_ms = (deadline_ns - monotonic_ns()) / NS_PER_MS;

        if (left_ms <= 0 || (poll(fds, 2, (int)left_ms) < 0 && errno != EINTR)) {
            if (to >= 0)
                close(to);
            return false;
        }
        if (to >= 0 && fds[1].revents) {
            ssize_t n = write(to, input.p, input.n);
            if (n > 0)
                input = str_range(input.p + n, input.n - (size_t)n);
            if (input.n == 0 || (n < 0 && errno != EAGAIN)) {
                close(to);
                to = -1;
            }
        }
        if (fds[0].revents) {
            char buffer[4096];
            ssize_t n = read(from, buffer, sizeof(buffer));
            if (n > 0)
                strbuf_add(output, str_range(buffer, (size_t)n));
            else if (n == 0 || errno != EAGAIN)
                from = -1;
        }
    }
    if (to >= 0)
        close(to);
    return true;
}

int spawn_run(const char *path, char *const *argv, char *const *envp, struct str input,
    int64_t timeout_ns, struct strbuf *output, struct error *err)
{
    int in[2], out[2], status = 0;
    pid_t pid;

    if (pipe2(in, O_CLOEXEC) < 0)
        return error_sys(err, errno, "pipe");
    if (pipe2(out, O_CLOEXEC) < 0) {
        int saved = errno;
        close(in[0]);
        close(in[1]);
        return error_sys(err, saved, "pipe");
    }
    int r = start(path, argv, envp, in[0], out[1], &pid);
    close(in[0]);
    close(out[1]);
    if (r != 0) {
        close(in[1]);
        close(out[0]);
        if (r == ENOENT)
            return error_set(err, ERR_NOT_FOUND, "%s: not found", path);
        return error_sys(err, r, "%s", path);
    }
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    bool done = converse(in[1], out[0], input, monotonic_ns() + timeout_ns, output);
    close(out[0]);
    if (!done)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!done)
        return error_set(err, ERR_TIMEOUT, "%s: did not end within %lld s", path,
            (long long)(timeout_ns / NS_PER_S));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
