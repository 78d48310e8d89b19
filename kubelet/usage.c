/*
 * The kernel's files as figures; see usage.h. Small texts in known forms: a line or a word that is
 * missing leaves its figure at -1.
 */
#include "kubelet/usage.h"

#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/time.h"

#define FILE_BYTES (256u << 10)
#define UNLIMITED (1ll << 62) /* version 1 writes nearly 2^63 for "no limit" */

static const struct usage unknown = {
    0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

void interface_list_done(struct interface_list *list)
{
    free(list->items);
    *list = (struct interface_list){0};
}

/* --- texts --- */

static bool read_file(const char *folder, const char *name, struct strbuf *out)
{
    autofree char *path = str_format("%s%s", folder, name);
    struct error ignored;

    strbuf_clear(out);
    return file_read(path, FILE_BYTES, out, &ignored) == 0;
}

static struct str next_word(struct str *rest)
{
    size_t begin = 0, end;

    while (begin < rest->n && (rest->p[begin] == ' ' || rest->p[begin] == '\t'))
        begin++;
    for (end = begin; end < rest->n && rest->p[end] != ' ' && rest->p[end] != '\t';)
        end++;
    struct str word = str_range(rest->p + begin, end - begin);
    *rest = str_range(rest->p + end, rest->n - end);
    return word;
}

static int64_t number_of(struct str word)
{
    struct error ignored;
    int64_t value;

    if (str_parse_int64(word, &value, &ignored) < 0 || value < 0)
        return -1;
    return value;
}

/* The only word of a file; "max" and what is as good as no limit are -1. */
static int64_t read_number(const char *folder, const char *name)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (!read_file(folder, name, &text))
        return -1;
    int64_t value = number_of(str_trim(strbuf_str(&text)));
    return value >= UNLIMITED ? -1 : value;
}

struct wanted {
    const char *name;
    size_t offset; /* in struct usage */
    int64_t unit;
};

/* Files of lines "name value". */
static void read_pairs(const char *folder, const char *name, const struct wanted *wanted,
    size_t count, struct usage *ret)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str line;

    if (!read_file(folder, name, &text))
        return;
    struct str rest = strbuf_str(&text);
    while (str_split(&rest, '\n', &line)) {
        struct str key = next_word(&line);
        for (size_t i = 0; i < count; i++) {
            if (!str_eqc(key, wanted[i].name))
                continue;
            int64_t value = number_of(next_word(&line));
            if (value >= 0 && value < UNLIMITED)
                *(int64_t *)((char *)ret + wanted[i].offset) = value * wanted[i].unit;
        }
    }
}

#define FIELD(text, field, unit)                      \
    {                                                 \
        (text), offsetof(struct usage, field), (unit) \
    }

/* --- version 1 --- */

static void read_blkio(const char *folder, const char *name, int64_t *ret_read, int64_t *ret_write)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str line;

    if (!read_file(folder, name, &text))
        return;
    *ret_read = *ret_write = 0;
    struct str rest = strbuf_str(&text);
    while (str_split(&rest, '\n', &line)) { /* "8:0 Read 4096" */
        next_word(&line);
        struct str operation = next_word(&line);
        int64_t value = number_of(next_word(&line));
        if (value > 0 && str_eqc(operation, "Read"))
            *ret_read += value;
        else if (value > 0 && str_eqc(operation, "Write"))
            *ret_write += value;
    }
}

static void read_cpuacct(const char *folder, struct usage *u)
{
    static const struct wanted ticks[] = {
        FIELD("user", cpu_user_ns, 1), FIELD("system", cpu_system_ns, 1)};
    int64_t tick_ns = NS_PER_S / sysconf(_SC_CLK_TCK);

    u->cpu_ns = read_number(folder, "/cpuacct.usage");
    read_pairs(folder, "/cpuacct.stat", ticks, ARRAY_COUNT(ticks), u);
    if (u->cpu_user_ns >= 0)
        u->cpu_user_ns *= tick_ns;
    if (u->cpu_system_ns >= 0)
        u->cpu_system_ns *= tick_ns;
}

static void read_cpu(const char *folder, struct usage *u)
{
    static const struct wanted quota[] = {FIELD("nr_periods", periods, 1),
        FIELD("nr_throttled", throttled_periods, 1), FIELD("throttled_time", throttled_ns, 1)};

    read_pairs(folder, "/cpu.stat", quota, ARRAY_COUNT(quota), u);
}

/* The working set is what is used without the inactive files. */
static void set_working_set(struct usage *u, int64_t inactive)
{
    if (u->memory_bytes < 0)
        return;
    u->working_set_bytes = inactive < 0                 ? u->memory_bytes
                           : inactive > u->memory_bytes ? 0
                                                        : u->memory_bytes - inactive;
}

static void read_memory(const char *folder, struct usage *u)
{
    static const struct wanted stat[] = {FIELD("total_rss", rss_bytes, 1),
        FIELD("total_cache", cache_bytes, 1), FIELD("total_mapped_file", mapped_bytes, 1),
        FIELD("total_swap", swap_bytes, 1), FIELD("total_pgfault", page_faults, 1),
        FIELD("total_pgmajfault", major_page_faults, 1),
        FIELD("total_inactive_file", working_set_bytes, 1)};

    u->memory_bytes = read_number(folder, "/memory.usage_in_bytes");
    u->memory_max_bytes = read_number(folder, "/memory.max_usage_in_bytes");
    u->memory_limit_bytes = read_number(folder, "/memory.limit_in_bytes");
    read_pairs(folder, "/memory.stat", stat, ARRAY_COUNT(stat), u);
    set_working_set(u, u->working_set_bytes);
}

static void read_io(const char *folder, struct usage *u)
{
    read_blkio(folder, "/blkio.throttle.io_service_bytes", &u->read_bytes, &u->write_bytes);
    read_blkio(folder, "/blkio.throttle.io_serviced", &u->reads, &u->writes);
}

static void read_pids(const char *folder, struct usage *u)
{
    u->processes = read_number(folder, "/pids.current");
}

static const struct {
    const char *name;
    void (*read)(const char *folder, struct usage *u);
} controllers[] = {{"cpuacct", read_cpuacct}, {"cpu", read_cpu}, {"memory", read_memory},
    {"blkio", read_io}, {"pids", read_pids}};

/* --- version 2 --- */

static void read_io_stat(const char *folder, struct usage *u)
{
    static const struct wanted fields[] = {FIELD("rbytes", read_bytes, 1),
        FIELD("wbytes", write_bytes, 1), FIELD("rios", reads, 1), FIELD("wios", writes, 1)};
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str line;

    if (!read_file(folder, "/io.stat", &text))
        return;
    u->read_bytes = u->write_bytes = u->reads = u->writes = 0;
    struct str rest = strbuf_str(&text);
    while (str_split(&rest, '\n', &line)) { /* "8:0 rbytes=4096 wbytes=0 rios=1 ..." */
        struct str key, word;
        for (next_word(&line); (word = next_word(&line)).n > 0;) {
            if (!str_split(&word, '=', &key))
                continue;
            for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
                if (str_eqc(key, fields[i].name) && number_of(word) > 0)
                    *(int64_t *)((char *)u + fields[i].offset) += number_of(word);
        }
    }
}

static void read_unified(const char *folder, struct usage *u)
{
    static const struct wanted cpu[] = {FIELD("usage_usec", cpu_ns, 1000),
        FIELD("user_usec", cpu_user_ns, 1000), FIELD("system_usec", cpu_system_ns, 1000),
        FIELD("nr_periods", periods, 1), FIELD("nr_throttled", throttled_periods, 1),
        FIELD("throttled_usec", throttled_ns, 1000)};
    static const struct wanted memory[] = {FIELD("anon", rss_bytes, 1),
        FIELD("file", cache_bytes, 1), FIELD("file_mapped", mapped_bytes, 1),
        FIELD("pgfault", page_faults, 1), FIELD("pgmajfault", major_page_faults, 1),
        FIELD("inactive_file", working_set_bytes, 1)};

    read_pairs(folder, "/cpu.stat", cpu, ARRAY_COUNT(cpu), u);
    u->memory_bytes = read_number(folder, "/memory.current");
    u->memory_max_bytes = read_number(folder, "/memory.peak");
    u->memory_limit_bytes = read_number(folder, "/memory.max");
    u->swap_bytes = read_number(folder, "/memory.swap.current");
    read_pairs(folder, "/memory.stat", memory, ARRAY_COUNT(memory), u);
    set_working_set(u, u->working_set_bytes);
    read_io_stat(folder, u);
    u->processes = read_number(folder, "/pids.current");
}

/* --- whose --- */

static bool has_controller(struct str list, const char *name)
{
    struct str one;

    while (str_split(&list, ',', &one))
        if (str_eqc(one, name))
            return true;
    return false;
}

/* A line of /proc/PID/cgroup, "4:memory:/a/b", or "0::/a/b" of version 2. */
static void read_hierarchy(const char *root, struct str line, struct usage *u)
{
    struct str number, names;

    if (!str_split(&line, ':', &number) || !str_split(&line, ':', &names) || line.n < 2)
        return; /* a process in the root says nothing about a container */
    if (names.n == 0) {
        autofree char *folder = str_format("%s/sys/fs/cgroup%.*s", root, STR_FMT(line));
        read_unified(folder, u);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(controllers); i++) {
        if (!has_controller(names, controllers[i].name))
            continue;
        autofree char *folder =
            str_format("%s/sys/fs/cgroup/%s%.*s", root, controllers[i].name, STR_FMT(line));
        controllers[i].read(folder, u);
    }
}

int usage_of_process(
    const char *root, int64_t pid, int64_t now_ns, struct usage *ret, struct error *err)
{
    autofree char *process = str_format("%s/proc/%lld", root, (long long)pid);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct usage u = unknown;
    struct str line;

    if (pid <= 0 || !read_file(process, "/cgroup", &text))
        return error_set(err, ERR_NOT_FOUND, "no process %lld", (long long)pid);
    u.time_ns = now_ns;
    struct str rest = strbuf_str(&text);
    /* Version 2 stands last, and has no controllers where version 1 has them: the files of those
     * are absent and change nothing but the memory. */
    bool has_v1 = !str_starts(rest, STR("0::"));
    while (str_split(&rest, '\n', &line))
        if (!has_v1 || !str_starts(line, STR("0::")))
            read_hierarchy(root, line, &u);
    if (u.cpu_ns < 0 && u.memory_bytes < 0)
        return error_set(err, ERR_NOT_FOUND, "no cgroup of process %lld", (long long)pid);
    *ret = u;
    return 0;
}

static void read_host_cpu(const char *root, struct usage *u)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str line;
    int64_t values[8], tick_ns = NS_PER_S / sysconf(_SC_CLK_TCK);

    if (!read_file(root, "/proc/stat", &text))
        return;
    struct str rest = strbuf_str(&text);
    if (!str_split(&rest, '\n', &line) || !str_eqc(next_word(&line), "cpu"))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        int64_t value = number_of(next_word(&line));
        values[i] = value < 0 ? 0 : value;
    }
    /* user nice system idle iowait irq softirq steal */
    u->cpu_user_ns = (values[0] + values[1]) * tick_ns;
    u->cpu_system_ns = (values[2] + values[5] + values[6]) * tick_ns;
    u->cpu_ns = u->cpu_user_ns + u->cpu_system_ns;
}

int usage_of_host(const char *root, int64_t now_ns, struct usage *ret, struct error *err)
{
    static const struct wanted memory[] = {FIELD("MemTotal:", memory_limit_bytes, 1024),
        FIELD("MemFree:", memory_bytes, 1024), FIELD("Inactive(file):", working_set_bytes, 1024),
        FIELD("AnonPages:", rss_bytes, 1024), FIELD("Cached:", cache_bytes, 1024),
        FIELD("Mapped:", mapped_bytes, 1024), FIELD("SwapTotal:", swap_bytes, 1024),
        FIELD("SwapFree:", memory_max_bytes, 1024)};
    static const struct wanted faults[] = {
        FIELD("pgfault", page_faults, 1), FIELD("pgmajfault", major_page_faults, 1)};
    struct usage u = unknown;

    u.time_ns = now_ns;
    read_host_cpu(root, &u);
    read_pairs(root, "/proc/meminfo", memory, ARRAY_COUNT(memory), &u);
    read_pairs(root, "/proc/vmstat", faults, ARRAY_COUNT(faults), &u);
    if (u.cpu_ns < 0 || u.memory_limit_bytes < 0 || u.memory_bytes < 0)
        return error_set(err, ERR_NOT_FOUND, "/proc/stat or /proc/meminfo can't be read");
    u.memory_bytes = u.memory_limit_bytes - u.memory_bytes;
    set_working_set(&u, u.working_set_bytes);
    if (u.swap_bytes >= 0 && u.memory_max_bytes >= 0)
        u.swap_bytes -= u.memory_max_bytes;
    u.memory_max_bytes = -1;
    *ret = u;
    return 0;
}

int usage_of_interfaces(
    const char *root, int64_t pid, struct interface_list *ret, struct error *err)
{
    autofree char *process = pid > 0 ? str_format("%s/proc/%lld", root, (long long)pid)
                                     : str_format("%s/proc/self", root);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct interface_list list = {0};
    struct str line, name;

    if (!read_file(process, "/net/dev", &text))
        return error_set(err, ERR_NOT_FOUND, "no process %lld", (long long)pid);
    struct str rest = strbuf_str(&text);
    while (str_split(&rest, '\n', &line)) {
        int64_t v[12];
        if (str_find(line, ':') < 0 || !str_split(&line, ':', &name))
            continue; /* the heads of the columns */
        name = str_trim(name);
        if (str_eqc(name, "lo") || name.n == 0 || name.n >= sizeof(list.items->name))
            continue;
        for (size_t i = 0; i < ARRAY_COUNT(v); i++)
            v[i] = number_of(next_word(&line));
        list.items = xrealloc(list.items, (list.count + 1) * sizeof(list.items[0]));
        struct interface_usage *one = &list.items[list.count++];
        *one = (struct interface_usage){.rx_bytes = v[0],
            .rx_packets = v[1],
            .rx_errors = v[2],
            .rx_dropped = v[3],
            .tx_bytes = v[8],
            .tx_packets = v[9],
            .tx_errors = v[10],
            .tx_dropped = v[11]};
        snprintf(one->name, sizeof(one->name), "%.*s", STR_FMT(name));
    }
    *ret = list;
    return 0;
}

struct seen_inode {
    UT_hash_handle hh;
    ino_t inode;
};

/* true: counted before. Only inodes of several names need be remembered. */
static bool is_seen(struct seen_inode **seen, const struct stat *st)
{
    struct seen_inode *one = NULL;

    if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
        return false;
    HASH_FIND(hh, *seen, &st->st_ino, sizeof(st->st_ino), one);
    if (one)
        return true;
    one = xcalloc(1, sizeof(*one));
    one->inode = st->st_ino;
    HASH_ADD(hh, *seen, inode, sizeof(one->inode), one);
    return false;
}

int64_t usage_of_folder(const char *path, int64_t *ret_inodes)
{
    char *const paths[] = {(char *)path, NULL};
    struct seen_inode *seen = NULL, *one, *next;
    int64_t bytes = -1, inodes = 0;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    FTSENT *entry;

    while (walk && (entry = fts_read(walk))) {
        if (entry->fts_info == FTS_DP || entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR ||
            is_seen(&seen, entry->fts_statp))
            continue;
        bytes = (bytes < 0 ? 0 : bytes) + entry->fts_statp->st_blocks * 512;
        inodes++;
    }
    if (walk)
        fts_close(walk);
    HASH_ITER(hh, seen, one, next)
    {
        HASH_DEL(seen, one);
        free(one);
    }
    *ret_inodes = inodes;
    return bytes;
}
