/*
 * What a hardened process can no longer do, and what it still can: in a child, because there is no
 * way back.
 */
#include <CUnit/CUnit.h>

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/harden.h"

/* The hexadecimal figure behind a name in /proc/self/status. */
static unsigned long long status_of(const char *name)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long ret = ~0ull;

    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0)
            ret = strtoull(line + strlen(name), NULL, 16);
    if (f)
        fclose(f);
    return ret;
}

/* 0, or the number of what was wrong. */
static int child(void)
{
    struct error err;
    bool root = geteuid() == 0;
    char *const argv[] = {(char *)"/bin/true", NULL};

    if (harden(HARDEN_KEEP(CAP_NET_BIND_SERVICE), &err) < 0)
        return 1;
    if (status_of("CapEff:") != (root ? 1ull << CAP_NET_BIND_SERVICE : 0))
        return 2;
    if (root && status_of("CapBnd:") != 1ull << CAP_NET_BIND_SERVICE)
        return 3;
    if (status_of("NoNewPrivs:") != 1 || status_of("Seccomp:") != 2)
        return 4;
    if (execv(argv[0], argv) == 0 || errno != EPERM)
        return 5;
    if (unshare(CLONE_NEWNS) == 0 || errno != EPERM)
        return 6;
    if (mount("x", "/tmp", "tmpfs", 0, NULL) == 0 || errno != EPERM)
        return 7;
    if (getpid() <= 0 || dup(0) < 0)
        return 8;
    return 0;
}

static void rights_are_gone(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(child());
    CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_TRUE(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

const CU_TestInfo harden_tests[] = {
    {"rights that are gone, and calls that are left", rights_are_gone}, CU_TEST_INFO_NULL};
