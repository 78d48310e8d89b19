#!/usr/bin/env python3
"""Prints `figure NAME VALUE UNIT TARGET` lines for controllers.sh; names have _ for blanks."""
import os, re, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration/lib"))
from controllers import APPS, PODS, Cluster, workload

NODES, COUNT = int(os.environ.get("SKIFF_BENCH_NODES", 1000)), int(os.environ.get("SKIFF_BENCH_PODS", 10000))


def figure(name, value, unit, target=""):
    print("figure", name, value, unit, target, flush=True)


def rss(c, name):
    return int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % c.daemons[name].pid).read()).group(1)) * 1024


def requests(c, resource, verbs=("POST", "PUT", "PATCH")):
    total = 0
    for line in c.server.request("GET", "/metrics")[2].decode().splitlines():
        if line.startswith("apiserver_request_total{") and 'resource="%s"' % resource in line and any(
                'verb="%s"' % v in line for v in verbs):
            total += float(line.split(" ")[-1])
    return int(total)


def until(condition, seconds=300, every=0.1):
    start = time.time()
    while time.time() - start < seconds:
        try:
            if condition():
                break
        except (KeyError, TypeError):
            pass
        time.sleep(every)
    return round(time.time() - start, 1)


def pod_count(c):
    o = c.get(PODS + "?limit=1")
    return len(o["items"]) + o["metadata"].get("remainingItemCount", 0)


def roomy(name, replicas):
    o = workload("Deployment", name, replicas)
    o["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 0
    o["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return o


def one_large(c):
    before = rss(c, "manager")
    start = time.time()
    c.create(APPS + "deployments", roomy("large", COUNT))
    until(lambda: pod_count(c) >= COUNT)
    figure("Deployment_of_%d:_all_pods_created" % COUNT, round(time.time() - start, 1), "s", 10)
    until(lambda: c.get(APPS + "deployments/large")["status"].get("readyReplicas") == COUNT)
    figure("...:_all_ready", round(time.time() - start, 1), "s")
    figure("manager's_memory_a_cached_pod", (rss(c, "manager") - before) // COUNT, "B", 500)
    events = c.get("/api/v1/namespaces/default/events?limit=1")
    figure("Events_there_are", len(events["items"]) + events["metadata"].get("remainingItemCount", 0), "")
    start = time.time()
    c.delete(APPS + "deployments/large", "Background")
    until(lambda: pod_count(c) == 0)
    figure("...:_deleted", round(time.time() - start, 1), "s", 10)


def many_small(c):
    many = COUNT // 10
    start = time.time()
    for i in range(many):
        c.server.call("POST", APPS + "deployments", roomy("small-%d" % i, 10))
    figure("%d_Deployments_of_10:_accepted" % many, round(time.time() - start, 1), "s")
    until(lambda: pod_count(c) >= 10 * many)
    figure("...:_all_pods_created", round(time.time() - start, 1), "s", 10)


def services(c):
    """A Service on every second small Deployment: two of them share nothing."""
    many = COUNT // 10
    for i in range(many):
        c.server.call("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "s%d" % i}, "spec": {
            "selector": {"app": "small-%d" % i}, "ports": [{"port": 80}]}})
    until(lambda: len(c.items("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")) >= many, every=2)
    last = [-1]

    def calm():
        now = requests(c, "endpointslices")
        same, last[0] = now == last[0], now
        return same
    until(calm, every=3)
    before = requests(c, "endpointslices")
    pod = c.items(PODS + "?labelSelector=app%3Dsmall-1")[0]["metadata"]["name"]
    c.patch(PODS + "/" + pod + "/status", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "strategic")
    time.sleep(3)
    figure("slice_writes_for_a_pod_not_ready_and_back_(%d_Services)" % many, requests(c, "endpointslices") - before, "", 2)
    all_before = {r: requests(c, r) for r in ("pods", "endpointslices", "deployments", "replicasets", "endpoints", "services")}
    time.sleep(30)
    figure("writes_in_30_s_at_rest", sum(requests(c, r) - n for r, n in all_before.items()), "", 0)
    start = time.time()
    c.server.call("DELETE", APPS + "deployments", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    until(lambda: pod_count(c) == 0)
    figure("%d_Deployments_of_10:_deleted" % many, round(time.time() - start, 1), "s", 10)


with Cluster(nodes=NODES) as cluster:
    one_large(cluster)
    many_small(cluster)
    services(cluster)
