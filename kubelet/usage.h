/*
 * What a container or the node uses, read from the kernel's files at the moment of asking: cgroups
 * (version 1, 2, or both side by side), /proc/PID/net/dev, /proc/stat and /proc/meminfo.
 *
 * Nothing is kept and nothing is polled: counters are since the start of the container or host, and
 * rates are the askers' to compute (stats.h). Values the kernel doesn't give are -1.
 *
 * `root` is put before every path: "" on a host, a folder in tests. Threads: any.
 * Upstream: cadvisor's container/libcontainer and machine.
 */
#pragma once

#include "common/str.h"

struct usage {
    int64_t time_ns; /* wall clock of the look */
    int64_t cpu_ns, cpu_user_ns, cpu_system_ns;
    int64_t periods, throttled_periods, throttled_ns; /* of the CPU quota */
    int64_t memory_bytes;                             /* with the page cache */
    int64_t working_set_bytes;                        /* without its inactive files */
    int64_t rss_bytes, cache_bytes, mapped_bytes, swap_bytes, memory_limit_bytes, memory_max_bytes;
    int64_t page_faults, major_page_faults;
    int64_t read_bytes, write_bytes, reads, writes; /* of block devices */
    int64_t processes;
};

struct interface_usage {
    char name[16];
    int64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
    int64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};

struct interface_list {
    struct interface_usage *items;
    size_t count;
};
void interface_list_done(struct interface_list *list);

/* Of the cgroups that the process is in. ERR_NOT_FOUND: there is none such (any more). */
int usage_of_process(
    const char *root, int64_t pid, int64_t now_ns, struct usage *ret, struct error *err);
/* Of the host as a whole. */
int usage_of_host(const char *root, int64_t now_ns, struct usage *ret, struct error *err);
/* The interfaces that the process sees, but lo. pid 0: the host's. */
int usage_of_interfaces(
    const char *root, int64_t pid, struct interface_list *ret, struct error *err);
/* Disk blocks below a folder, each inode once, no other file systems; -1 when it can't be read. */
int64_t usage_of_folder(const char *path, int64_t *ret_inodes);
