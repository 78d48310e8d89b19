#!/usr/bin/env python3
"""Measures processes (lines "NAME PID" on stdin) for argv[1] seconds: figures for idle.sh, "NAME VALUE UNIT [TARGET]"."""
import os
import struct
import sys
import time

PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def field(path, name):
    with open(path) as f:
        for line in f:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def written(pid):
    return field(f"/proc/{pid}/io", "write_bytes")


def wakeups(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += field(f"/proc/{pid}/task/{task}/status", "voluntary_ctxt_switches")
    return total


def pages(pid):
    """Physical page numbers that the process has mapped (needs root)."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if line.rstrip().endswith(("[vsyscall]", "[vvar]", "[vdso]")):
                continue
            pagemap.seek(start // PAGE * 8)
            data = pagemap.read((end - start) // PAGE * 8)
            for (entry,) in struct.iter_unpack("<Q", data):
                if entry >> 63 and entry & ((1 << 55) - 1):
                    found.add(entry & ((1 << 55) - 1))
    return found


def look(daemons):
    return {name: (cpu_ns(pid), written(pid), wakeups(pid)) for name, pid in daemons}


def main():
    seconds = float(sys.argv[1])
    daemons = [(name, int(pid)) for name, pid in (line.split() for line in sys.stdin)]
    before = look(daemons)
    start = time.monotonic()
    time.sleep(seconds)
    after = look(daemons)
    took = time.monotonic() - start
    every_page, pss_sum, cpu_sum, bytes_sum, wake_sum = set(), 0, 0, 0, 0
    per_minute = 60 / took
    for name, pid in daemons:
        pss = field(f"/proc/{pid}/smaps_rollup", "Pss")
        dirty = field(f"/proc/{pid}/smaps_rollup", "Private_Dirty")
        cpu = (after[name][0] - before[name][0]) / 1e9 / took * 100
        wrote = (after[name][1] - before[name][1]) * per_minute / 1000
        wake = (after[name][2] - before[name][2]) / took
        every_page |= pages(pid)
        pss_sum, cpu_sum, bytes_sum, wake_sum = pss_sum + pss, cpu_sum + cpu, bytes_sum + wrote, wake_sum + wake
        print(f"{name}_PSS {pss / 1000:.2f} MB")
        print(f"{name}_private_memory {dirty / 1000:.2f} MB")
        print(f"{name}_CPU {cpu:.3f} %")
        print(f"{name}_written {wrote:.0f} KB")
        print(f"{name}_wake-ups {wake:.1f} /s")
    print(f"all_PSS {pss_sum / 1000:.2f} MB 40")
    print(f"all,_each_page_once {len(every_page) * PAGE / 1e6:.2f} MB 40")
    print(f"all_CPU {cpu_sum:.3f} % 1")
    print(f"all_written_in_a_minute {bytes_sum:.0f} KB 100")
    print(f"all_wake-ups {wake_sum:.1f} /s")


main()
