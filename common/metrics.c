/*
 * Metrics: a hash table of series that readers walk without a lock.
 *
 * A series is published at the head of its bucket and never changes place or goes before
 * metrics_free, so a look-up is a walk over atomically read pointers. Only a new series takes the
 * lock. Values are doubles kept as bits and changed by compare-and-swap.
 */
#include "common/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <dirent.h>
#include <unistd.h>

#include "common/time.h"

#define BUCKETS 256

struct series {
    struct series *next;
    const struct metric_info *info;
    uint32_t hash;
    const char *values[METRIC_LABELS_MAX];
    _Atomic uint64_t value;    /* counter, gauge; the sum of a histogram */
    size_t bucket_count;       /* histograms; without +Inf */
    _Atomic uint64_t *buckets; /* bucket_count + 1 counts, each on its own (not cumulative) */
};

struct metrics {
    pthread_mutex_t lock;
    _Atomic(struct series *) table[BUCKETS];
};

static const double default_buckets[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 0};

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof(*m));

    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct series *s = atomic_load(&m->table[i]);
        while (s) {
            struct series *next = s->next;
            for (size_t l = 0; l < METRIC_LABELS_MAX; l++)
                free((char *)s->values[l]);
            free(s->buckets);
            free(s);
            s = next;
        }
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static struct metrics *process_metrics;

static void process_metrics_init(void)
{
    process_metrics = metrics_new();
}

struct metrics *metrics_default(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, process_metrics_init);
    return process_metrics;
}

static uint32_t hash_add(uint32_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return (hash ^ 0xffu) * 16777619u;
}

static size_t label_count(const struct metric_info *info)
{
    size_t n = 0;

    while (n < METRIC_LABELS_MAX && info->labels[n])
        n++;
    return n;
}

static bool series_is(const struct series *s, uint32_t hash, const struct metric_info *info,
    const char *const *values)
{
    if (s->hash != hash || (s->info != info && strcmp(s->info->name, info->name)))
        return false;
    for (size_t i = 0; i < METRIC_LABELS_MAX && info->labels[i]; i++)
        if (strcmp(s->values[i], values[i]))
            return false;
    return true;
}

static struct series *series_find(
    struct metrics *m, uint32_t hash, const struct metric_info *info, const char *const *values)
{
    struct series *s = atomic_load_explicit(&m->table[hash % BUCKETS], memory_order_acquire);

    while (s && !series_is(s, hash, info, values))
        s = s->next;
    return s;
}

static struct series *series_new(
    uint32_t hash, const struct metric_info *info, const char *const *values)
{
    struct series *s = xcalloc(1, sizeof(*s));

    s->info = info;
    s->hash = hash;
    for (size_t i = 0, n = label_count(info); i < n; i++)
        s->values[i] = xstrdup(values[i]);
    if (info->type == METRIC_HISTOGRAM) {
        const double *b = info->buckets ? info->buckets : default_buckets;
        while (b[s->bucket_count] > 0)
            s->bucket_count++;
        s->buckets = xcalloc(s->bucket_count + 1, sizeof(*s->buckets));
    }
    return s;
}

/* The series of these labels; made when `make` and absent. */
static struct series *series_get(
    struct metrics *m, const struct metric_info *info, va_list ap, bool make)
{
    const char *values[METRIC_LABELS_MAX] = {NULL};
    uint32_t hash = hash_add(2166136261u, info->name);

    for (size_t i = 0, n = label_count(info); i < n; i++) {
        const char *value = va_arg(ap, const char *);
        values[i] = value ? value : "";
        hash = hash_add(hash, values[i]);
    }
    struct series *s = series_find(m, hash, info, values);
    if (s || !make)
        return s;
    pthread_mutex_lock(&m->lock);
    s = series_find(m, hash, info, values);
    if (!s) {
        s = series_new(hash, info, values);
        s->next = atomic_load_explicit(&m->table[hash % BUCKETS], memory_order_relaxed);
        atomic_store_explicit(&m->table[hash % BUCKETS], s, memory_order_release);
    }
    pthread_mutex_unlock(&m->lock);
    return s;
}

static double bits_to_double(uint64_t bits)
{
    double d;

    memcpy(&d, &bits, sizeof(d));
    return d;
}

static uint64_t double_to_bits(double d)
{
    uint64_t bits;

    memcpy(&bits, &d, sizeof(bits));
    return bits;
}

static void value_add(_Atomic uint64_t *value, double add)
{
    uint64_t old = atomic_load_explicit(value, memory_order_relaxed);

    while (!atomic_compare_exchange_weak(value, &old, double_to_bits(bits_to_double(old) + add)))
        ;
}

void metric_add(struct metrics *m, const struct metric_info *info, double value, ...)
{
    va_list ap;

    if (!m)
        return;
    assert(info->type != METRIC_HISTOGRAM && (value >= 0 || info->type == METRIC_GAUGE));
    va_start(ap, value);
    value_add(&series_get(m, info, ap, true)->value, value);
    va_end(ap);
}

void metric_set(struct metrics *m, const struct metric_info *info, double value, ...)
{
    va_list ap;

    if (!m)
        return;
    assert(info->type == METRIC_GAUGE);
    va_start(ap, value);
    atomic_store(&series_get(m, info, ap, true)->value, double_to_bits(value));
    va_end(ap);
}

void metric_observe(struct metrics *m, const struct metric_info *info, double value, ...)
{
    va_list ap;

    if (!m)
        return;
    assert(info->type == METRIC_HISTOGRAM);
    va_start(ap, value);
    struct series *s = series_get(m, info, ap, true);
    va_end(ap);
    const double *bounds = info->buckets ? info->buckets : default_buckets;
    size_t i = 0;
    while (i < s->bucket_count && value > bounds[i])
        i++;
    atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
    value_add(&s->value, value);
}

double metric_value(struct metrics *m, const struct metric_info *info, ...)
{
    va_list ap;

    if (!m)
        return 0;
    va_start(ap, info);
    struct series *s = series_get(m, info, ap, false);
    va_end(ap);
    if (!s)
        return 0;
    if (info->type != METRIC_HISTOGRAM)
        return bits_to_double(atomic_load(&s->value));
    uint64_t count = 0;
    for (size_t i = 0; i <= s->bucket_count; i++)
        count += atomic_load(&s->buckets[i]);
    return (double)count;
}

/* The shortest decimal that reads back as the same double. */
static void print_double(double d, struct strbuf *out)
{
    char text[40];

    if (isinf(d)) {
        strbuf_addc(out, d > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (isnan(d)) {
        strbuf_addc(out, "NaN");
        return;
    }
    if (d == floor(d) && fabs(d) < 1e15) {
        snprintf(text, sizeof(text), "%.0f", d);
    } else {
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, sizeof(text), "%.*g", digits, d);
            if (strtod(text, NULL) == d)
                break;
        }
    }
    strbuf_addc(out, text);
}

static void print_label(const char *name, const char *value, bool first, struct strbuf *out)
{
    strbuf_addc(out, first ? "{" : ",");
    strbuf_addc(out, name);
    strbuf_addc(out, "=\"");
    for (const char *p = value; *p; p++) {
        if (*p == '\n') {
            strbuf_addc(out, "\\n");
            continue;
        }
        if (*p == '"' || *p == '\\')
            strbuf_add_char(out, '\\');
        strbuf_add_char(out, *p);
    }
    strbuf_add_char(out, '"');
}

/* name[suffix]{labels[,le="le"]} value */
static void print_sample(
    const struct series *s, const char *suffix, const char *le, double value, struct strbuf *out)
{
    bool first = true;

    strbuf_addc(out, s->info->name);
    strbuf_addc(out, suffix);
    for (size_t i = 0; i < METRIC_LABELS_MAX && s->info->labels[i]; i++, first = false)
        print_label(s->info->labels[i], s->values[i], first, out);
    if (le) {
        print_label("le", le, first, out);
        first = false;
    }
    if (!first)
        strbuf_add_char(out, '}');
    strbuf_add_char(out, ' ');
    print_double(value, out);
    strbuf_add_char(out, '\n');
}

static void print_series(struct series *s, struct strbuf *out)
{
    if (s->info->type != METRIC_HISTOGRAM) {
        print_sample(s, "", NULL, bits_to_double(atomic_load(&s->value)), out);
        return;
    }
    const double *bounds = s->info->buckets ? s->info->buckets : default_buckets;
    uint64_t count = 0;
    for (size_t i = 0; i < s->bucket_count; i++) {
        autostrbuf struct strbuf le = STRBUF_EMPTY;
        print_double(bounds[i], &le);
        count += atomic_load(&s->buckets[i]);
        print_sample(s, "_bucket", le.data, (double)count, out);
    }
    count += atomic_load(&s->buckets[s->bucket_count]);
    print_sample(s, "_bucket", "+Inf", (double)count, out);
    print_sample(s, "_sum", NULL, bits_to_double(atomic_load(&s->value)), out);
    print_sample(s, "_count", NULL, (double)count, out);
}

static int series_cmp(const void *a, const void *b)
{
    const struct series *x = *(struct series *const *)a, *y = *(struct series *const *)b;
    int order = strcmp(x->info->name, y->info->name);

    for (size_t i = 0; !order && i < METRIC_LABELS_MAX && x->info->labels[i]; i++)
        order = strcmp(x->values[i], y->values[i]);
    return order;
}

static void print_head(
    const char *name, enum metric_type type, const char *help, struct strbuf *out)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

    strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help ? help : "", name, types[type]);
}

static void print_one(
    const char *name, enum metric_type type, const char *help, double value, struct strbuf *out)
{
    print_head(name, type, help, out);
    strbuf_addf(out, "%s ", name);
    print_double(value, out);
    strbuf_add_char(out, '\n');
}

static double open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = -3; /* ".", "..", and the one of this walk */

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Seconds since the epoch at which this process started; 0 when /proc can't tell. */
static double start_time(void)
{
    char text[1024];
    struct timespec wall, boot;
    unsigned long long ticks = 0;
    FILE *f = fopen("/proc/self/stat", "re");

    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *p = strrchr(text, ')'); /* field 2 may hold anything; 22 is the start in ticks */
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p || sscanf(p, "%llu", &ticks) != 1)
        return 0;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    double up = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9;
    double now = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9;
    return round((now - up + (double)ticks / (double)sysconf(_SC_CLK_TCK)) * 100) / 100;
}

static void print_process(struct strbuf *out)
{
    struct rusage usage;
    struct rlimit files = {0};
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f) {
        if (fscanf(f, "%lu %lu", &pages, &resident) != 2)
            pages = resident = 0;
        fclose(f);
    }
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &files);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    double page = (double)sysconf(_SC_PAGESIZE);
    print_one("process_cpu_seconds_total", METRIC_COUNTER,
        "Total user and system CPU time spent in seconds.", cpu, out);
    print_one("process_max_fds", METRIC_GAUGE, "Maximum number of open file descriptors.",
        (double)files.rlim_cur, out);
    print_one("process_open_fds", METRIC_GAUGE, "Number of open file descriptors.",
        open_descriptors(), out);
    print_one("process_resident_memory_bytes", METRIC_GAUGE, "Resident memory size in bytes.",
        (double)resident * page, out);
    print_one("process_start_time_seconds", METRIC_GAUGE,
        "Start time of the process since unix epoch in seconds.", start_time(), out);
    print_one("process_virtual_memory_bytes", METRIC_GAUGE, "Virtual memory size in bytes.",
        (double)pages * page, out);
}

void metrics_print(struct metrics *m, struct strbuf *out)
{
    size_t count = 0, capacity = 0;
    autofree struct series **all = NULL;

    for (size_t i = 0; i < BUCKETS; i++) {
        struct series *s = atomic_load_explicit(&m->table[i], memory_order_acquire);
        for (; s; s = s->next) {
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 64;
                all = xrealloc(all, capacity * sizeof(*all));
            }
            all[count++] = s;
        }
    }
    if (count > 0)
        qsort(all, count, sizeof(*all), series_cmp);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(all[i]->info->name, all[i - 1]->info->name))
            print_head(all[i]->info->name, all[i]->info->type, all[i]->info->help, out);
        print_series(all[i], out);
    }
    print_process(out);
}
