/*
 * Log lines: `2026-11-23T07:31:53.123Z I scheduler/bind: pod bound pod=default/web-0 node=n3
 * took_ms=4`
 *
 *     log_info("pod bound", "pod", "%s/%s", ns, name, "node", "%s", node, NULL);
 *
 * A constant message, then key, printf-format, arguments ... for each field, ended by NULL. Only
 * these conversions are understood in a field's format: %s %d %u %ld %lu %lld %llu %zu %zd %c %x
 * %.*s %% and PRId64/PRIu64; another one aborts. Levels: E act now, W degraded but continuing (says
 * what happens next), I state changed, D off by default. The folder/file comes from __FILE__. The
 * same message from the same line more than 10 times a second is held back and counted. Never log a
 * Secret or a token.
 *
 * Threads: any. One line is one write(2) to standard error.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
void log_set_json(bool json); /* --log-format=json */

void log_write(enum log_level level, const char *file, int line, const char *message, ...)
    __attribute__((sentinel));

#define log_error(...) log_write(LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)
