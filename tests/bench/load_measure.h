/*
 * What a load costs: latencies, the processor time of the servers' processes, printed with targets.
 *
 * CPU is read from /proc/PID/task/TID/schedstat, whose first field is the time on a processor in
 * ns; the time of threads that ended meanwhile is lost, so it's for servers with lasting threads.
 */
#pragma once

#include "common/str.h"

#define MEASURE_PROCESSES_MAX 16

struct measure {
    const char *title;
    double target_us; /* of CPU an operation; 0: none */
    int64_t *latencies_ns;
    size_t count, capacity, failed;
    double start_s, end_s;
    int pids[MEASURE_PROCESSES_MAX];
    int pid_count;
    double start_cpu_us, end_cpu_us;
};

/* pids: "123,456", or NULL: no CPU is told. */
void measure_init(struct measure *m, const char *title, const char *pids, size_t capacity);
void measure_done(struct measure *m);
void measure_start(struct measure *m);
void measure_add(struct measure *m, int64_t latency_ns);
void measure_stop(struct measure *m);
double measure_cpu_us(const struct measure *m); /* between start and stop */
/* One line for people; `figure NAME VALUE UNIT TARGET` lines for tests/lib/bench.sh as well. */
void measure_print(const struct measure *m, bool figures);
void measure_figure(
    const char *title, const char *what, double value, const char *unit, double target);
