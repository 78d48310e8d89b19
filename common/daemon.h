/*
 * What every daemon's main() does: flags every daemon has, logging, signals, limits, allocator
 * settings.
 *
 * daemon_start() sets the log level and format, M_ARENA_MAX, RLIMIT_NOFILE, no core dumps, ignores
 * SIGPIPE, and blocks SIGTERM and SIGINT; daemon_wait() returns when one of them arrives.
 * daemon_ready() tells the starter (sd_notify's protocol: READY=1 to $NOTIFY_SOCKET) that the
 * daemon serves.
 */
#pragma once

#include "common/flags.h"

struct daemon_flags {
    int64_t v;              /* log verbosity: 0 info, 2 and above debug */
    const char *log_format; /* "text" or "json" */
};

#define DAEMON_FLAGS(type, member)                                                         \
    {"v", FLAG_INT, offsetof(type, member.v), "0", "N",                                    \
        "log verbosity; 2 and above adds debug lines"},                                    \
    {                                                                                      \
        "log-format", FLAG_STRING, offsetof(type, member.log_format), "text", "text|json", \
            "form of log lines"                                                            \
    }

int daemon_start(const struct daemon_flags *flags, struct error *err);
void daemon_ready(void);
int daemon_wait(void); /* the signal's number */

#define SKIFF_VERSION "0.1.0"
#define SKIFF_KUBERNETES_VERSION "v1.34.0"
