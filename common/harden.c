/*
 * Capabilities, no_new_privs and a seccomp filter, by the bare system calls.
 *
 * The filter names what is refused and allows the rest: what libraries need is too much to list,
 * and differs between releases. Its list is short, so it costs some ten nanoseconds a call;
 * speculation stays as it is for other processes.
 */
#include "common/harden.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/str.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "name the audit architecture of this machine"
#endif

static const int refused[] = {
#ifndef __SANITIZE_ADDRESS__ /* which stops all threads to look for leaks at the end */
    SYS_ptrace,
#endif
    SYS_execve, SYS_execveat, SYS_process_vm_readv, SYS_process_vm_writev, SYS_mount, SYS_umount2,
    SYS_pivot_root, SYS_chroot, SYS_setns, SYS_unshare, SYS_init_module, SYS_finit_module,
    SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_bpf,
    SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key, SYS_request_key,
    SYS_open_by_handle_at, SYS_settimeofday, SYS_clock_settime, SYS_acct, SYS_quotactl,
    SYS_sethostname, SYS_setdomainname};
#define REFUSED ARRAY_COUNT(refused)

static int drop_capabilities(uint64_t keep, struct error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2], left[2] = {0};

    for (int cap = 0; cap <= 63 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(keep & HARDEN_KEEP(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
            errno != EPERM)
            return error_sys(err, errno, "dropping capability %d", cap);
    if (syscall(SYS_capget, &header, now) < 0)
        return error_sys(err, errno, "reading the capabilities");
    for (int i = 0; i < 2; i++) {
        uint32_t mine = now[i].permitted & (uint32_t)(keep >> (32 * i));
        left[i].effective = left[i].permitted = mine;
    }
    if (syscall(SYS_capset, &header, left) < 0)
        return error_sys(err, errno, "dropping capabilities");
    return 0;
}

static int install_filter(struct error *err)
{
    struct sock_filter code[REFUSED + 6];
    struct sock_fprog program = {.filter = code};
    size_t n = 0;

    /* another architecture's calls have other numbers: refuse them all */
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, REFUSED + 2);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < REFUSED; i++, n++)
        code[n] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused[i], (uint8_t)(REFUSED - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    program.len = (unsigned short)n;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) <
            0 &&
        errno != ENOSYS && errno != EINVAL)
        return error_sys(err, errno, "installing the filter of system calls");
    return 0;
}

int harden(uint64_t keep, struct error *err)
{
    if (drop_capabilities(keep, err) < 0)
        return -(int)err->code;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_sys(err, errno, "giving up new privileges");
    return install_filter(err);
}
