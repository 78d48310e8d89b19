/*
 * skiff-pause: the process that holds a pod's namespaces.
 *
 * It does three things: waits, reaps children that were orphaned to it (it is process 1 where
 * containers share the process namespace), and ends with 0 on SIGTERM or SIGINT. Signals are
 * blocked and taken with rt_sigtimedwait: a blocked signal is kept even for process 1, and no
 * handler means no C library.
 *
 * Upstream: build/pause/linux/pause.c
 */
#include <stdint.h>

#if defined(__x86_64__)
enum { SYS_EXIT = 60, SYS_WAIT4 = 61, SYS_SIGPROCMASK = 14, SYS_SIGTIMEDWAIT = 128 };

static long call4(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}
#define ENTRY __attribute__((noreturn, force_align_arg_pointer))
#elif defined(__aarch64__)
enum { SYS_EXIT = 93, SYS_WAIT4 = 260, SYS_SIGPROCMASK = 135, SYS_SIGTIMEDWAIT = 137 };

static long call4(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#define ENTRY __attribute__((noreturn))
#else
#error "pause.c: add the system calls of this processor"
#endif

enum { SIGNAL_INT = 2, SIGNAL_TERM = 15, SIGNAL_CHLD = 17, SIG_BLOCK_HOW = 0, WAIT_NO_HANG = 1 };

#define BIT(signal) (1ull << ((signal)-1))

ENTRY void _start(void);

ENTRY void _start(void)
{
    uint64_t wanted = BIT(SIGNAL_INT) | BIT(SIGNAL_TERM) | BIT(SIGNAL_CHLD);

    call4(SYS_SIGPROCMASK, SIG_BLOCK_HOW, (long)&wanted, 0, sizeof(wanted));
    for (;;) {
        long signal = call4(SYS_SIGTIMEDWAIT, (long)&wanted, 0, 0, sizeof(wanted));

        if (signal == SIGNAL_INT || signal == SIGNAL_TERM)
            break;
        while (call4(SYS_WAIT4, -1, 0, WAIT_NO_HANG, 0) > 0)
            ;
    }
    for (;;)
        call4(SYS_EXIT, 0, 0, 0, 0);
}
