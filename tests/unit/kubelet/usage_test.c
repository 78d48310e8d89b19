/* Usage from the kernel's files: both versions of cgroups side by side and alone, hosts,
 * interfaces, files that are missing or odd. The trees are written into a folder of the test. */
#include <CUnit/CUnit.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "kubelet/usage.h"

static char root[64];

static void put(const char *path, const char *content)
{
    autofree char *full = str_format("%s%s", root, path), *folder = xstrdup(full);
    struct error err;

    *strrchr(folder, '/') = '\0';
    CU_ASSERT_EQUAL_FATAL(file_make_dirs(folder, 0755, &err), 0);
    FILE *f = fopen(full, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(content, f);
    fclose(f);
}

static void begin(void)
{
    snprintf(root, sizeof(root), "/tmp/skiff-usage-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
}

static void end(void)
{
    struct error err;

    CU_ASSERT_EQUAL(file_remove_tree(root, &err), 0);
}

static void test_version_1(void)
{
    struct usage u;
    struct error err;

    begin();
    put("/proc/7/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n2:blkio:/docker/abc\n"
                          "1:pids:/docker/abc\n0::/system.slice\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "5000\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.stat",
        "cache 1\ntotal_inactive_file 1500\ntotal_rss 3000\ntotal_pgfault 12\n");
    put("/sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage", "123456789\n");
    put("/sys/fs/cgroup/cpu/docker/abc/cpu.stat",
        "nr_periods 10\nnr_throttled 3\nthrottled_time 77\n");
    put("/sys/fs/cgroup/blkio/docker/abc/blkio.throttle.io_service_bytes",
        "8:0 Read 4096\n8:0 Write 100\n8:16 Read 4\nTotal 4200\n");
    put("/sys/fs/cgroup/pids/docker/abc/pids.current", "3\n");
    CU_ASSERT_EQUAL_FATAL(usage_of_process(root, 7, 42, &u, &err), 0);
    CU_ASSERT_EQUAL(u.time_ns, 42);
    CU_ASSERT_EQUAL(u.cpu_ns, 123456789);
    CU_ASSERT_EQUAL(u.memory_bytes, 5000);
    CU_ASSERT_EQUAL(u.working_set_bytes, 3500);
    CU_ASSERT_EQUAL(u.rss_bytes, 3000);
    CU_ASSERT_EQUAL(u.memory_limit_bytes, -1);
    CU_ASSERT_EQUAL(u.swap_bytes, -1);
    CU_ASSERT_EQUAL(u.throttled_periods, 3);
    CU_ASSERT_EQUAL(u.throttled_ns, 77);
    CU_ASSERT_EQUAL(u.read_bytes, 4100);
    CU_ASSERT_EQUAL(u.write_bytes, 100);
    CU_ASSERT_EQUAL(u.processes, 3);
    end();
}

static void test_version_2(void)
{
    struct usage u;
    struct error err;

    begin();
    put("/proc/7/cgroup", "0::/system.slice/docker-abc.scope\n");
#define GROUP "/sys/fs/cgroup/system.slice/docker-abc.scope/"
    put(GROUP "memory.current", "5000\n");
    put(GROUP "memory.max", "max\n");
    put(GROUP "memory.swap.current", "0\n");
    put(GROUP "memory.stat", "anon 3000\nfile 100\ninactive_file 6000\npgfault 9\n");
    put(GROUP "cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nthrottled_usec 2\n");
    put(GROUP "io.stat", "8:0 rbytes=4096 wbytes=5 rios=1 wios=2 dbytes=0\n8:16 rbytes=4\n");
    put(GROUP "pids.current", "1\n");
    CU_ASSERT_EQUAL_FATAL(usage_of_process(root, 7, 42, &u, &err), 0);
    CU_ASSERT_EQUAL(u.cpu_ns, 1500000);
    CU_ASSERT_EQUAL(u.cpu_system_ns, 500000);
    CU_ASSERT_EQUAL(u.throttled_ns, 2000);
    CU_ASSERT_EQUAL(u.periods, -1);
    CU_ASSERT_EQUAL(u.working_set_bytes, 0); /* never below nothing */
    CU_ASSERT_EQUAL(u.memory_limit_bytes, -1);
    CU_ASSERT_EQUAL(u.swap_bytes, 0);
    CU_ASSERT_EQUAL(u.read_bytes, 4100);
    CU_ASSERT_EQUAL(u.writes, 2);
    end();
}

static void test_missing(void)
{
    struct usage u;
    struct error err;

    begin();
    CU_ASSERT_EQUAL(usage_of_process(root, 7, 0, &u, &err), -ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(usage_of_process(root, 0, 0, &u, &err), -ERR_NOT_FOUND);
    put("/proc/7/cgroup", "0::/gone\n");
    CU_ASSERT_EQUAL(usage_of_process(root, 7, 0, &u, &err), -ERR_NOT_FOUND);
    put("/proc/7/cgroup", "::\n:\n\nno colon\n");
    CU_ASSERT_EQUAL(usage_of_process(root, 7, 0, &u, &err), -ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(usage_of_host(root, 0, &u, &err), -ERR_NOT_FOUND);
    end();
}

static void test_host(void)
{
    struct usage u;
    struct error err;

    begin();
    put("/proc/stat", "cpu  100 10 50 9000 5 2 3 1 0 0\ncpu0 1 1 1 1\n");
    put("/proc/meminfo", "MemTotal:  1000 kB\nMemFree:   300 kB\nInactive(file):   200 kB\n"
                         "SwapTotal: 50 kB\nSwapFree: 20 kB\n");
    CU_ASSERT_EQUAL_FATAL(usage_of_host(root, 42, &u, &err), 0);
    CU_ASSERT_EQUAL(u.cpu_ns, 165 * (1000000000 / sysconf(_SC_CLK_TCK)));
    CU_ASSERT_EQUAL(u.memory_bytes, 700 * 1024);
    CU_ASSERT_EQUAL(u.working_set_bytes, 500 * 1024);
    CU_ASSERT_EQUAL(u.memory_limit_bytes, 1000 * 1024);
    CU_ASSERT_EQUAL(u.swap_bytes, 30 * 1024);
    end();
}

static void test_interfaces(void)
{
    struct interface_list list = {0};
    struct error err;

    begin();
    put("/proc/7/net/dev",
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
        "    lo:  10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\n"
        "  eth0: 1000 20 1 2 0 0 0 0 3000 30 4 5 0 0 0 0\n");
    CU_ASSERT_EQUAL_FATAL(usage_of_interfaces(root, 7, &list, &err), 0);
    CU_ASSERT_EQUAL_FATAL(list.count, 1);
    CU_ASSERT_STRING_EQUAL(list.items[0].name, "eth0");
    CU_ASSERT_EQUAL(list.items[0].rx_bytes, 1000);
    CU_ASSERT_EQUAL(list.items[0].rx_dropped, 2);
    CU_ASSERT_EQUAL(list.items[0].tx_bytes, 3000);
    CU_ASSERT_EQUAL(list.items[0].tx_errors, 4);
    interface_list_done(&list);
    end();
}

/* A file of two names is counted once; the real kernel's files are read. */
static void test_folder(void)
{
    struct usage u;
    struct error err;
    int64_t inodes, once, twice;

    begin();
    put("/a/file", "some content");
    once = usage_of_folder(root, &inodes);
    CU_ASSERT_EQUAL(inodes, 3);
    autofree char *from = str_format("%s/a/file", root), *to = str_format("%s/a/other", root);
    CU_ASSERT_EQUAL(link(from, to), 0);
    twice = usage_of_folder(root, &inodes);
    CU_ASSERT_EQUAL(inodes, 3);
    CU_ASSERT_EQUAL(once, twice);
    end();
    CU_ASSERT_EQUAL(usage_of_folder("/nowhere", &inodes), -1);
    CU_ASSERT_EQUAL(usage_of_host("", 1, &u, &err), 0);
    CU_ASSERT(u.cpu_ns > 0 && u.working_set_bytes > 0);
}

extern const CU_TestInfo usage_tests[];
const CU_TestInfo usage_tests[] = {{"version 1", test_version_1}, {"version 2", test_version_2},
    {"missing", test_missing}, {"host", test_host}, {"interfaces", test_interfaces},
    {"folder", test_folder}, CU_TEST_INFO_NULL};
