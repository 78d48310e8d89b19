#!/usr/bin/env python3
"""
What operators look at: health pages and their single checks, /version, /metrics (well-formed, upstream's names, no label that a
client can choose), and Events that go when their time is over, with both stores.

Method: a real skiff-apiserver; promtool checks the metrics where it is installed; --event-ttl is some seconds.
"""
import os, re, shutil, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM, EVENTS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/events"


def text(s, path, token=ADMIN):
    status, headers, data = s.request("GET", path, token=token)
    return status, data.decode()


def health(s):
    for page in ("livez", "readyz", "healthz"):
        equal("/%s is ok, for anybody" % page, text(s, "/" + page, None), (200, "ok"))
        status, body = text(s, "/%s?verbose" % page)
        check("/%s?verbose tells every check" % page, status == 200 and "[+]ping ok\n" in body and "[+]etcd ok\n" in body
              and body.endswith("%s check passed\n" % page), body)
        for name in re.findall(r"^\[\+\](\S+) ok$", body, re.M):
            equal("/%s/%s" % (page, name), text(s, "/%s/%s" % (page, name)), (200, "ok"))
        status, body = text(s, "/%s?verbose&exclude=etcd&exclude=no&exclude=ping" % page)
        check("excluded ones, and one that is none", "[+]etcd excluded: ok\n" in body and "[+]ping excluded: ok\n" in body
              and 'warn: some health checks cannot be excluded: no matches for "no"\n' in body, body)
        equal("no such check", s.request("GET", "/%s/no" % page)[0], 404)
    status, headers, _ = s.request("GET", "/livez")
    equal("headers", (headers["Content-Type"], headers["X-Content-Type-Options"], headers["Cache-Control"]),
          ("text/plain; charset=utf-8", "nosniff", "no-cache, private"))
    status, tree = s.call("GET", "/version")
    equal("the version", (status, tree["major"], tree["minor"], tree["gitVersion"][:5]), (200, "1", "34", "v1.34"))


def metrics(s):
    s.call("POST", CM, config_map("a"))
    s.call("POST", CM + "?dryRun=All", config_map("b"))
    for odd in ("/api/v1/nonsense-%d", "/apis/no-%d/v1/x", "/nonsense-%d", "/api/v1/namespaces/n-%d/configmaps/x", CM + "/a/sub-%d"):
        for i in range(20):
            s.call("GET", odd % i)
    s.request("NONSENSE", CM)
    w = s.watch("/api/v1/configmaps?watch=1&timeoutSeconds=30")
    w.next()
    equal("not for anybody", s.request("GET", "/metrics", token=None)[0], 401)
    status, headers, data = s.request("GET", "/metrics")
    body = data.decode()
    check("in the text format", status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers["Content-Type"])
    for line in ('apiserver_request_total{verb="POST",dry_run="",group="",version="v1",resource="configmaps",subresource="",scope="resource",component="apiserver",code="201"} 1',
                 'apiserver_request_total{verb="POST",dry_run="All",group="",version="v1",resource="configmaps",subresource="",scope="resource",component="apiserver",code="201"} 1',
                 'apiserver_longrunning_requests{verb="WATCH",group="",version="v1",resource="configmaps",subresource="",scope="cluster",component="apiserver"} 1',
                 'apiserver_current_inflight_requests{request_kind="mutating"} 0', 'apiserver_watch_events_total{group="",version="v1",kind="ConfigMap"} ',
                 'apiserver_storage_objects{resource="namespaces"} ', 'etcd_request_duration_seconds_count{operation="create",type="configmaps"} 1',
                 'apiserver_audit_event_total 0', 'kubernetes_build_info{', 'process_cpu_seconds_total ', 'process_resident_memory_bytes ',
                 'process_start_time_seconds ', 'process_open_fds '):
        check("has %s" % line[:60], "\n" + line in body)
    check("no Go runtime is invented", "go_" not in body)
    equal("nothing that a client chose", re.findall("nonsense|NONSENSE|no-1|n-1|sub-1", body), [])
    before = len(body.splitlines())
    for i in range(200):
        s.call("GET", "/apis/g%d/v1/x%d/y%d/z%d" % (i, i, i, i))
    now = len(s.request("GET", "/metrics")[2].decode().splitlines())
    check("and no series a request", now - before < 100, (before, now))
    w.close()
    tool = shutil.which("promtool")
    if tool:
        r = subprocess.run([tool, "check", "metrics"], input=data, capture_output=True)
        check("promtool is content", r.returncode == 0 and not r.stderr, r.stderr)
    else:
        print("skip promtool: not installed (Debian: prometheus)")


def events(s, what):
    base = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "r", "message": "m", "type": "Normal"}
    equal("an Event (%s)" % what, s.call("POST", EVENTS, dict(base, metadata={"name": "old"}))[0], 201)
    s.call("POST", EVENTS, dict(base, metadata={"name": "renewed"}))
    w = s.watch(EVENTS + "?watch=1&fieldSelector=metadata.name%3Dold&resourceVersion=" + s.call("GET", EVENTS)[1]["metadata"]["resourceVersion"])
    start, there = time.time(), True
    while there and time.time() - start < 30:
        s.patch(EVENTS + "/renewed", {"count": int((time.time() - start) * 1000) + 1})
        there = s.call("GET", EVENTS + "/old")[0] == 200
        time.sleep(0.2)
    took = time.time() - start
    check("goes when its time is over", not there and 3.5 < took < 15, took)
    equal("watchers are told", (w.next() or {}).get("type"), "DELETED")
    equal("one that was renewed stays", s.call("GET", EVENTS + "/renewed")[0], 200)
    w.close()
    s.call("POST", EVENTS, dict(base, metadata={"name": "before"}))
    s.stop()
    s.start()
    deadline = time.time() + 25
    while s.call("GET", EVENTS + "/before")[0] == 200 and time.time() < deadline:
        time.sleep(0.2)
    equal("so does one from before a restart", s.call("GET", EVENTS + "/before")[0], 404)


def etcd(directory):
    port, peer = free_port(), free_port()
    process = subprocess.Popen(["etcd", "--data-dir", directory, "--listen-client-urls", "http://127.0.0.1:%d" % port,
                                "--advertise-client-urls", "http://127.0.0.1:%d" % port, "--listen-peer-urls", "http://127.0.0.1:%d" % peer,
                                "--initial-advertise-peer-urls", "http://127.0.0.1:%d" % peer, "--initial-cluster", "default=http://127.0.0.1:%d" % peer],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, "http://127.0.0.1:%d" % port


def main():
    with Server("--event-ttl=4s") as s:
        health(s)
        metrics(s)
        events(s, "embedded")
    if not shutil.which("etcd"):
        print("skip Events with etcd: not installed")
        return
    with tempfile.TemporaryDirectory() as directory:
        process, url = etcd(directory)
        try:
            with Server("--event-ttl=4s", "--storage-backend=etcd", "--etcd-servers=" + url) as s:
                events(s, "etcd")
        finally:
            process.terminate()
            process.wait()


main()
finish()
