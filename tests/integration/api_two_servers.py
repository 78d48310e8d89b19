#!/usr/bin/env python3
"""
Goal: several API servers on one etcd are one: reads are fresh, versions are shared, no write is lost, watches see all.
Method: a real etcd and two API servers; writers and readers alternate between them.
"""
import os, shutil, subprocess, sys, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"


def fresh(a, b):
    stale = 0
    a.call("POST", CM, config_map("x"))
    for i in range(100):
        writer, reader = (a, b) if i % 2 else (b, a)
        _, o = writer.patch(CM + "/x", {"data": {"n": str(i)}})
        status, seen = reader.call("GET", CM + "/x")
        if seen["data"]["n"] != str(i) or seen["metadata"]["resourceVersion"] != o["metadata"]["resourceVersion"]:
            stale += 1
        listed = [c for c in reader.call("GET", CM)[1]["items"] if c["metadata"]["name"] == "x"]
        if listed[0]["data"]["n"] != str(i):
            stale += 1
    equal("100 writes are read at once through the other server", stale, 0)
    _, o = a.patch(CM + "/x", {"data": {"n": "last"}})
    o["data"]["n"] = "by version"
    status, e = b.call("PUT", CM + "/x", o)
    equal("a version of one server is good at the other", (status, e.get("data")), (200, {"n": "by version"}))
    equal("and an old one is a conflict there", a.call("PUT", CM + "/x", o)[0], 409)
    equal("a taken name", b.call("POST", CM, config_map("x"))[0], 409)


def counters(a, b):
    """Each writer adds its own keys by patch; all must be there in the end, and each watch must have seen them."""
    a.call("POST", CM, config_map("sum"))
    watches = [s.watch(CM + "?watch=1&fieldSelector=metadata.name%3Dsum") for s in (a, b)]
    errors = []

    def write(s, who):
        for i in range(25):
            status, e = s.patch(CM + "/sum", {"data": {"%s-%d" % (who, i): "1"}})
            if status != 200:
                errors.append(e)
    threads = [threading.Thread(target=write, args=(s, "w%d" % i)) for i, s in enumerate((a, b, a, b))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal("100 concurrent patches through both servers, no conflict for clients", errors, [])
    equal("none is lost", len(a.call("GET", CM + "/sum")[1]["data"]), 100)
    histories = []
    for w in watches:
        seen = []
        while len(seen) == 0 or len(seen[-1][1]) < 100:
            o = w.next()["object"]
            seen.append((o["metadata"]["resourceVersion"], o.get("data") or {}))
        histories.append(seen)
        w.close()
    equal("each watch saw every step", [len(h[-101:]) for h in histories], [101, 101])
    equal("both the same, in one order", histories[0], histories[1])


def main():
    if not shutil.which("etcd"):
        print("skip two servers: etcd is not installed")
        return
    directory = tempfile.mkdtemp(prefix="skiff-two-")
    os.environ.pop("SKIFF_TEST_ETCD", None)
    etcd, url = start_etcd(directory)
    try:
        with Server("--storage-backend=etcd", "--etcd-servers=" + url) as a, Server("--storage-backend=etcd", "--etcd-servers=" + url) as b:
            fresh(a, b)
            counters(a, b)
    finally:
        etcd.terminate()
        etcd.wait()
        shutil.rmtree(directory, ignore_errors=True)
    finish()


main()
