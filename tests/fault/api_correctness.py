#!/usr/bin/env python3
"""
Goal: under kill -9 no acknowledged write is lost, every key has one history, and everybody sees that one: reads by GET and
LIST, watches across reconnects, other API servers on the same etcd.

Method: writers count up in keys of their own and, by compare-and-swap, in one that they share; after each answer the key
is read again through another server. Readers and watchers collect what they see. Meanwhile an API server or etcd is killed
at random moments and started again. In the end what was seen is held against what was acknowledged. A write without an
answer may or may not have happened, but at one version only.

SKIFF_FAULT_ROUNDS kills for each store (default 6; a long run: 100). SKIFF_FAULT_SEED repeats the moments.
"""
import collections, os, random, shutil, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration/lib"))
from apiserver import *

ROUNDS = int(os.environ.get("SKIFF_FAULT_ROUNDS", 6))
SEED = int(os.environ.get("SKIFF_FAULT_SEED", random.randrange(1 << 30)))
CM = "/api/v1/namespaces/default/configmaps"
WRITERS, KEYS_EACH = 4, 3
BROKEN = (OSError, http.client.HTTPException, ValueError)


class Record:
    """What everybody saw: per key the number at each version."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = collections.defaultdict(dict)
        self.acknowledged = collections.defaultdict(dict)
        self.wrong = []
        self.swaps, self.swaps_unknown = 0, 0
        self.counts = collections.Counter()

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)

    def observe(self, o, how):
        key, version, n = o["metadata"]["name"], int(o["metadata"]["resourceVersion"]), int(o["data"]["n"])
        with self.lock:
            self.counts[how] += 1
            if self.seen[key].setdefault(version, n) != n:
                self.wrong.append("%s at version %d was %d and, by %s, %d" % (key, version, self.seen[key][version], how, n))
        return key, version, n

    def acknowledge(self, o):
        key, version, n = self.observe(o, "write")
        with self.lock:
            self.acknowledged[key][version] = n
        return version, n

    def check_order(self):
        for key, versions in self.seen.items():
            ordered = [versions[v] for v in sorted(versions)]
            if any(a >= b for a, b in zip(ordered, ordered[1:])):
                self.wrong.append("%s does not only grow: %s" % (key, ordered))


class Worker(threading.Thread):
    """Speaks to servers that come and go; one connection each."""

    def __init__(self, servers, record, stop, seed):
        super().__init__(daemon=True)
        self.servers, self.record, self.stop, self.random = servers, record, stop, random.Random(seed)
        self.connections = {}

    def call(self, server, method, path, body=None, content_type=None):
        """(status, tree), or (None, None): nobody knows."""
        try:
            c = self.connections.get(server) or self.connections.setdefault(server, server.connect())
            return server.call(method, path, body, connection=c, content_type=content_type)
        except BROKEN:
            if server in self.connections:
                self.connections.pop(server).close()
            time.sleep(0.02)
            return None, None

    def run(self):
        try:
            self.work()
        except Exception as e:
            self.record.complain("%s: %r" % (type(self).__name__, e))
            raise


class Writer(Worker):
    def __init__(self, number, *rest):
        super().__init__(*rest)
        self.keys = ["k%d-%d" % (number, i) for i in range(KEYS_EACH)]
        self.numbers = dict.fromkeys(self.keys, 0)

    def read_again(self, key, version, n):
        status, o = self.call(self.random.choice(self.servers), "GET", CM + "/" + key)
        if status == 404 or status == 200 and self.record.observe(o, "GET")[1] < version:
            self.record.complain("%s was %d at version %d, a read after that answer saw %s" % (key, n, version, o))

    def count(self, key):
        self.numbers[key] += 1
        status, o = self.call(self.random.choice(self.servers), "PATCH", CM + "/" + key,
                              {"data": {"n": str(self.numbers[key])}}, "application/merge-patch+json")
        if status == 200:
            self.read_again(key, *self.record.acknowledge(o))

    def swap(self):
        server = self.random.choice(self.servers)
        status, o = self.call(server, "GET", CM + "/shared")
        if status != 200:
            return
        o["data"]["n"] = str(int(o["data"]["n"]) + 1)
        status, o = self.call(server, "PUT", CM + "/shared", o)
        with self.record.lock:
            self.record.swaps += status == 200
            self.record.swaps_unknown += status is None or status >= 500
        if status == 200:
            self.record.acknowledge(o)

    def work(self):
        while not self.stop.is_set():
            if self.random.random() < 0.2:
                self.swap()
            else:
                self.count(self.random.choice(self.keys))


class Reader(Worker):
    """A later read never shows an earlier version, whichever server answers."""

    def work(self):
        last = collections.defaultdict(int)
        while not self.stop.is_set():
            status, o = self.call(self.random.choice(self.servers), "GET", CM + "?labelSelector=checked%3Dyes")
            if status != 200:
                continue
            for item in o["items"]:
                key, version, _ = self.record.observe(item, "LIST")
                if version < last[key]:
                    self.record.complain("%s: LIST went back from version %d to %d" % (key, last[key], version))
                last[key] = version
            status, o = self.call(self.random.choice(self.servers), "GET", CM + "?resourceVersion=0&labelSelector=checked%3Dyes")
            for item in o["items"] if status == 200 else []:
                self.record.observe(item, "LIST at 0")


class Watcher(Worker):
    """Goes on where it was. The history of a server on etcd starts with the server, as upstream: a watch from before gets
    410 and lists again, and what happened in between is nobody's to see. With the embedded store that never happens."""

    def __init__(self, version, history_lasts, *rest):
        super().__init__(*rest)
        self.version, self.history_lasts, self.events, self.reconnects, self.skipped = version, history_lasts, {}, 0, []

    def list_again(self, message):
        if self.history_lasts or not message.startswith("too old resource version"):
            self.record.complain("a watch at version %d was refused: %s" % (self.version, message))
        status, o = None, None
        while status != 200 and not self.stop.is_set():
            status, o = self.call(self.random.choice(self.servers), "GET", CM + "?labelSelector=checked%3Dyes")
        if status == 200:
            version = int(o["metadata"]["resourceVersion"])
            self.skipped.append((self.version, version))
            self.version = version

    def follow(self, watch):
        while not self.stop.is_set():
            try:
                event = watch.next(0.5)
            except TimeoutError:
                return # the rest of a line would be lost: a new watch
            if event is None:
                return
            if event["type"] == "ERROR":
                self.list_again(event["object"].get("message", ""))
                return
            key, version, n = self.record.observe(event["object"], "WATCH")
            if version <= self.version:
                self.record.complain("%s: a watch at version %d got version %d" % (key, self.version, version))
            self.version = version
            self.events[(key, version)] = n

    def work(self):
        while not self.stop.is_set():
            try:
                watch = self.random.choice(self.servers).watch(
                    CM + "?watch=1&labelSelector=checked%%3Dyes&resourceVersion=%d" % self.version)
                if watch.status == 200:
                    self.follow(watch)
                watch.close()
            except BROKEN:
                time.sleep(0.02)
            self.reconnects += 1


def check_watchers(record, watchers, start):
    for w in watchers:
        for key, versions in record.seen.items():
            missed = [v for v in versions if v > start and (key, v) not in w.events and
                      not any(a < v <= b for a, b in w.skipped)]
            if missed:
                record.complain("a watch missed %s at %s" % (key, missed[:5]))


def check_end(record, server):
    for key, versions in record.acknowledged.items():
        status, o = server.call("GET", CM + "/" + key)
        last = max(versions)
        if status != 200 or int(o["metadata"]["resourceVersion"]) < last or int(o["data"]["n"]) < versions[last]:
            record.complain("%s: version %d was acknowledged, there is %s" % (key, last, o))
    shared = int(server.call("GET", CM + "/shared")[1]["data"]["n"])
    if not record.swaps <= shared <= record.swaps + record.swaps_unknown:
        record.complain("the shared counter is %d after %d swaps and %d without an answer" %
                        (shared, record.swaps, record.swaps_unknown))


def make_keys(server, writers):
    for key in ["shared"] + [k for w in writers for k in w.keys]:
        status, o = server.call("POST", CM, config_map(key, {"n": "0"}, labels={"checked": "yes"}))
        version = int(o["metadata"]["resourceVersion"])
    return version


def wait_for_watchers(watchers, version):
    deadline = time.time() + 20
    while time.time() < deadline and not all(w.version >= version for w in watchers):
        time.sleep(0.05)


def run(title, servers, history_lasts, kill_one):
    """kill_one(random) kills something and starts it again."""
    moments, record, stop, stop_watching = random.Random(SEED), Record(), threading.Event(), threading.Event()
    writers = [Writer(i, servers, record, stop, SEED + i) for i in range(WRITERS)]
    start = make_keys(servers[0], writers)
    watchers = [Watcher(start, history_lasts, servers, record, stop_watching, SEED + 100 + i) for i in range(2)]
    reader = Reader(servers, record, stop, SEED + 200)
    for t in [*watchers, *writers, reader]:
        t.start()
    for _ in range(ROUNDS):
        time.sleep(moments.uniform(0.05, 0.8))
        kill_one(moments)
    time.sleep(0.5)
    stop.set()
    for t in [*writers, reader]:
        t.join()
    status, o = servers[0].patch(CM + "/shared", {"metadata": {"annotations": {"end": "yes"}}})
    wait_for_watchers(watchers, int(o["metadata"]["resourceVersion"]))
    stop_watching.set()
    for w in watchers:
        w.join()
    end_version = int(o["metadata"]["resourceVersion"])
    record.seen["shared"].pop(end_version, None) # the same number once more
    record.check_order()
    check_end(record, servers[0])
    check_watchers(record, watchers, start)
    writes = sum(len(v) for v in record.acknowledged.values())
    check("%s: %d kills, %d writes acknowledged, %d without an answer; %s; watches reconnected %d times, listed again %d times: one history (seed %d)" % (
        title, ROUNDS, writes, record.swaps_unknown + sum(w.numbers[k] for w in writers for k in w.keys) -
        (writes - record.swaps), dict(record.counts), sum(w.reconnects for w in watchers), sum(len(w.skipped) for w in watchers), SEED),
          not record.wrong, "\n".join(record.wrong[:10]))
    check("%s: writes, reads and events came between the kills" % title,
          writes > 10 * ROUNDS and all(record.counts[how] > 0 for how in ("GET", "LIST", "LIST at 0", "WATCH")), record.counts)


def again(server):
    server.stop(signal.SIGKILL)
    server.start()


def embedded():
    with Server() as s:
        run("embedded store", [s], True, lambda _: again(s))


def with_etcd():
    directory = tempfile.mkdtemp(prefix="skiff-fault-")
    etcd, url = start_etcd(directory)
    flags = ["--storage-backend=etcd", "--etcd-servers=" + url, "--etcd-prefix=/fault"]

    def kill_one(moments):
        nonlocal etcd
        victim = moments.randrange(3)
        if victim < 2:
            again(servers[victim])
            return
        etcd.kill()
        etcd.wait()
        time.sleep(moments.uniform(0, 0.3))
        etcd = subprocess.Popen(etcd.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    try:
        with Server(*flags) as a, Server(*flags) as b:
            servers = [a, b]
            run("etcd, two API servers", servers, False, kill_one)
    finally:
        etcd.kill()
        etcd.wait()
        shutil.rmtree(directory, ignore_errors=True)


os.environ.pop("SKIFF_TEST_ETCD", None)
embedded()
with_etcd()
finish()
