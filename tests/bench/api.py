#!/usr/bin/env python3
"""Starts API servers, loads them with bench-load, and prints `figure NAME VALUE UNIT TARGET` lines for api.sh."""
import os, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration/lib"))
from apiserver import BIN, Server, start_etcd

REQUESTS = int(os.environ.get("SKIFF_BENCH_REQUESTS", 50000))
OBJECTS = int(os.environ.get("SKIFF_BENCH_OBJECTS", 100000))


def figure(name, value, unit, target=""):
    print("figure", name.replace(" ", "_"), value, unit, target, flush=True)


class Loaded(Server):
    """A server and the processes whose CPU counts."""

    def __init__(self, *flags, others=(), **options):
        super().__init__("--disable-admission-plugins=EventRateLimit", *flags, **options)
        self.others = others

    def load(self, mode, title, target=0, requests=REQUESTS, **options):
        pids = ",".join(str(p) for p in [self.process.pid, *self.others])
        flags = ["--%s=%s" % (k.replace("_", "-"), v) for k, v in options.items() if v is not True]
        flags += ["--" + k for k, v in options.items() if v is True]
        subprocess.run([BIN + "/bench-load", "--kubeconfig=" + self.kubeconfig(), "--figures", "--pids=" + pids,
                        "--requests=%d" % requests, "--title=" + title, "--target=%d" % target, *flags, mode], check=True)

    def memory(self, field):
        with open("/proc/%d/smaps_rollup" % self.process.pid) as f:
            return next(int(line.split()[1]) for line in f if line.startswith(field)) * 1024


def operations():
    with Loaded() as s:
        figure("empty server: memory (PSS)", round(s.memory("Pss:") / 1e6, 1), "MB", 15)
        s.load("get", "GET over HTTP/2", 15)
        s.load("get", "GET over HTTP/1.1", 25, http1=True, connections=32)
        s.load("create", "create a ConfigMap", 80)
        s.load("patch", "merge patch", 80)
        s.load("watch", "delivery, 10 shared connections", 5, requests=REQUESTS // 200, connections=10, namespace="watch")
        s.load("watch", "delivery, own connections", 8, requests=REQUESTS // 200, connections=200, namespace="watch")
        s.load("list", "LIST 5000 pods", requests=50, in_flight=1, namespace="lists")
        s.load("list-cached", "LIST 5000 pods, version 0", requests=50, in_flight=1, namespace="lists")
        s.load("create-pod", "create a pod", 100, requests=REQUESTS // 2)
    with Loaded() as s:
        s.load("idle", "idle watch, shared connections", 10, watchers=10000, connections=100, objects=100)
    with Loaded() as s:
        s.load("idle", "idle watch, own connection", 40, watchers=1000, connections=1000, objects=100)
    with Loaded("--loops=2") as s:
        s.load("get", "GET over HTTP/2, 2 loops", 15)


def with_etcd():
    directory = tempfile.mkdtemp(prefix="skiff-bench-etcd-")
    etcd, url = start_etcd(directory)
    try:
        with Loaded("--storage-backend=etcd", "--etcd-servers=" + url, others=[etcd.pid]) as s:
            s.load("create", "create a ConfigMap, with etcd", 250, requests=REQUESTS // 2)
    finally:
        etcd.kill()
        etcd.wait()
        shutil.rmtree(directory, ignore_errors=True)


def ready_after(s):
    start = time.time()
    s.start()
    return round(time.time() - start, 3)


def growth():
    """The same operations among ever more objects; memory an object, and the start with all of them."""
    with Loaded() as s:
        figure("start to ready, empty", ready_again(s), "s", 0.1)
        empty, count = s.memory("Private_Dirty:"), 1000
        while count <= OBJECTS:
            s.load("fill", "fill", objects=count, in_flight=100)
            name = ", among %d objects" % count
            s.load("get", "GET" + name, requests=REQUESTS // 5, objects=count)
            s.load("patch", "merge patch" + name, requests=REQUESTS // 5, objects=count)
            s.load("watch", "delivery" + name, requests=REQUESTS // 1000, connections=10, objects=1)
            count *= 10
        count //= 10
        stored = len(s.request("GET", "/api/v1/namespaces/bench-load/configmaps/object-1")[2])
        figure("start to ready, %d objects" % count, ready_again(s), "s", round(max(0.1, count / 150000), 2))
        figure("memory an object of %d bytes" % stored, (s.memory("Private_Dirty:") - empty) // count, "B",
               int(stored * 1.2 + 200))


def ready_again(s):
    s.stop()
    return ready_after(s)


operations()
with_etcd()
growth()
