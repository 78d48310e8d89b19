/*
 * See load_measure.h.
 */
#include "tests/bench/load_measure.h"

#include <dirent.h>

#include "tests/bench/load_client.h"

void measure_init(struct measure *m, const char *title, const char *pids, size_t capacity)
{
    struct str rest = str_of(pids), one;

    *m = (struct measure){.title = title, .capacity = capacity};
    m->latencies_ns = xcalloc(capacity + 1, sizeof(*m->latencies_ns));
    while (m->pid_count < MEASURE_PROCESSES_MAX && str_split(&rest, ',', &one)) {
        int64_t pid;
        struct error err;
        if (str_parse_int64(one, &pid, &err) < 0)
            load_fail(err.text);
        m->pids[m->pid_count++] = (int)pid;
    }
}

void measure_done(struct measure *m)
{
    free(m->latencies_ns);
}

static double thread_us(const char *path)
{
    unsigned long long ns = 0;
    FILE *f = fopen(path, "re");

    if (f && fscanf(f, "%llu", &ns) != 1)
        ns = 0;
    if (f)
        fclose(f);
    return (double)ns / 1e3;
}

static double process_us(int pid)
{
    char path[300];
    double sum = 0;
    struct dirent *e;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *d = opendir(path);
    if (!d)
        load_fail("a process to be measured is gone");
    while ((e = readdir(d))) {
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
        if (e->d_name[0] != '.')
            sum += thread_us(path);
    }
    closedir(d);
    return sum;
}

static double all_us(const struct measure *m)
{
    double sum = 0;

    for (int i = 0; i < m->pid_count; i++)
        sum += process_us(m->pids[i]);
    return sum;
}

void measure_start(struct measure *m)
{
    m->start_cpu_us = all_us(m);
    m->start_s = (double)load_now_ns() / 1e9;
}

void measure_stop(struct measure *m)
{
    m->end_s = (double)load_now_ns() / 1e9;
    m->end_cpu_us = all_us(m);
}

double measure_cpu_us(const struct measure *m)
{
    return m->end_cpu_us - m->start_cpu_us;
}

void measure_add(struct measure *m, int64_t latency_ns)
{
    if (m->count < m->capacity)
        m->latencies_ns[m->count++] = latency_ns;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void measure_figure(
    const char *title, const char *what, double value, const char *unit, double target)
{
    char name[200], goal[32] = "";

    snprintf(name, sizeof(name), "%s: %s", title, what);
    for (char *p = name; *p; p++)
        if (*p == ' ')
            *p = '_';
    if (target > 0)
        snprintf(goal, sizeof(goal), "%g", target);
    printf("figure %s %.*f %s %s\n", name, value < 100 ? 2 : 0, value, unit, goal);
    fflush(stdout);
}

void measure_print(const struct measure *m, bool figures)
{
    double seconds = m->end_s - m->start_s, cpu = measure_cpu_us(m) / (double)m->count;

    if (m->count == 0)
        load_fail("no operation succeeded");
    qsort(m->latencies_ns, m->count, sizeof(*m->latencies_ns), by_value);
    double p50 = (double)m->latencies_ns[m->count / 2] / 1e6;
    double p99 = (double)m->latencies_ns[m->count * 99 / 100] / 1e6;
    printf("%-34s %8zu operations, %zu failed %9.0f /s  p50 %7.2f ms  p99 %7.2f ms", m->title,
        m->count, m->failed, (double)m->count / seconds, p50, p99);
    if (m->pid_count > 0)
        printf("  CPU %9.2f us", cpu);
    if (m->pid_count > 0 && m->target_us > 0)
        printf("  target %6.1f  ratio %5.2f  %s", m->target_us, cpu / m->target_us,
            cpu <= m->target_us ? "ok" : "MISSED");
    printf("\n");
    fflush(stdout);
    if (!figures)
        return;
    measure_figure(m->title, "rate", (double)m->count / seconds, "/s", 0);
    measure_figure(m->title, "p50", p50, "ms", 0);
    measure_figure(m->title, "p99", p99, "ms", 0);
    if (m->pid_count > 0)
        measure_figure(m->title, "CPU", cpu, "us", m->target_us);
}
