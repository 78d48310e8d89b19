#!/usr/bin/env python3
"""
Pods created, decided and bound through the API: an API server with its embedded store, skiff-scheduler, and a generator, all here.
Nodes are objects only. Prints NAME <tab> VALUE <tab> UNIT <tab> TARGET; CPU is that of the two Skiff processes.
Usage: scheduler_api.py NODES PODS
"""
import http.client, json, os, subprocess, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration", "lib"))
from apiserver import ADMIN, BIN, Server, free_port

TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def private_mb(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) / 1024
    return 0


def send_all(server, requests):
    """Sends (method, path, body, content type) over one connection."""
    connection = server.connect()
    for method, path, body, kind in requests:
        connection.request(method, path, body, {"Authorization": "Bearer " + ADMIN, "Content-Type": kind})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {data[:300]}")


def in_parallel(server, groups, tasks=4):
    """Requests of one group go one after the other."""
    failures = []

    def work(mine):
        try:
            send_all(server, [request for group in mine for request in group])
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(groups[i::tasks],)) for i in range(tasks)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def node_requests(i):
    node = {"metadata": {"name": f"node-{i}", "labels": {"kubernetes.io/hostname": f"node-{i}",
                                                         "topology.kubernetes.io/zone": f"zone-{i % 10}"}},
            "status": {"capacity": {"cpu": "32", "memory": "128Gi", "pods": "110"},
                       "allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"}}}
    yield "POST", "/api/v1/nodes", json.dumps(node), "application/json"
    yield ("PATCH", f"/api/v1/nodes/node-{i}/status", json.dumps({"status": node["status"]}),
           "application/merge-patch+json")
    yield ("PATCH", f"/api/v1/nodes/node-{i}", json.dumps({"spec": {"taints": None}}), "application/merge-patch+json")


def pod_request(i):
    pod = {"metadata": {"name": f"pod-{i}", "labels": {"app": f"app-{i % 100}"}},
           "spec": {"containers": [{"name": "c", "image": "x", "resources": {
               "requests": {"cpu": f"{50 + i % 97}m", "memory": f"{64 + i % 101}Mi"}}}]}}
    return "POST", "/api/v1/namespaces/default/pods", json.dumps(pod), "application/json"


def waiting(server):
    status, tree = server.call("GET", "/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3D&limit=1")
    return len(tree["items"])


def main(nodes, pods):
    with Server() as server:
        server.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        in_parallel(server, [list(node_requests(i)) for i in range(nodes)])
        with open(server.dir + "/scheduler.log", "ab") as log:
            scheduler = subprocess.Popen([BIN + "/skiff-scheduler", "--kubeconfig", server.kubeconfig(),
                                          "--secure-port", str(free_port())], stderr=log)
        try:
            send_all(server, [pod_request(pods)])
            while waiting(server):
                time.sleep(0.05)
            before = [cpu(p) for p in (server.process.pid, scheduler.pid)]
            start = time.time()
            in_parallel(server, [[pod_request(i)] for i in range(pods)])
            created = time.time()
            while waiting(server):
                time.sleep(0.05)
            end = time.time()
            time.sleep(1)  # the last events are written
            after = [cpu(p) for p in (server.process.pid, scheduler.pid)]
            print(f"through the API: pods created and bound\t{pods / (end - start):.0f}\t/s\t")
            print(f"through the API: last bind after last create\t{(end - created) * 1000:.0f}\tms\t")
            print(f"through the API: API server CPU a pod\t{(after[0] - before[0]) / pods * 1000:.3f}\tms\t")
            print(f"through the API: scheduler CPU a pod\t{(after[1] - before[1]) / pods * 1000:.3f}\tms\t")
            print(f"through the API: all Skiff CPU a pod\t{(sum(after) - sum(before)) / pods * 1000:.3f}\tms\t0.3")
            print(f"through the API: scheduler private memory\t{private_mb(scheduler.pid):.0f}\tMB\t")
        finally:
            scheduler.terminate()
            scheduler.wait()


main(int(sys.argv[1]), int(sys.argv[2]))
