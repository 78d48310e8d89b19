#!/usr/bin/env python3
"""
Goal: skiff-scheduler binds every pod that fits, says of the others why not, and loses none when it is killed.
Method: a real API server, nodes that are objects only, skiff-scheduler as a process; pods in the ways that matter.
"""
import os, signal, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import BIN, Server, check, equal, finish, free_port

PODS = "/api/v1/namespaces/default/pods"


class Scheduler:
    def __init__(self, server):
        self.server, self.process = server, None
        self.log = open(server.dir + "/scheduler.log", "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen([BIN + "/skiff-scheduler", "--kubeconfig", self.server.kubeconfig(),
                                         "--secure-port", str(free_port())], stderr=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()


def node(name, cpu="4", memory="8Gi", labels=None, **spec):
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels or {}}, "spec": spec,
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110", "ephemeral-storage": "10Gi"}}}


def add_node(s, name, *a, **k):
    one = node(name, *a, **k)
    status, _ = s.call("POST", "/api/v1/nodes", one)
    s.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": one["status"]},
           content_type="application/merge-patch+json")
    # the API server marks new nodes not-ready; no node controller takes that away here
    s.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": k.get("taints")}})
    return status


def pod(name, cpu=None, **spec):
    c = {"name": "c", "image": "x"}
    if cpu:
        c["resources"] = {"requests": {"cpu": cpu}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [c], **spec}}


def add_pod(s, *a, **k):
    status, got = s.call("POST", PODS, pod(*a, **k))
    if status != 201:
        print(status, got)
    return status


def get(s, name):
    return s.call("GET", f"{PODS}/{name}")[1]


def wait(what, seconds=10):
    deadline = time.time() + seconds
    while time.time() < deadline:
        got = what()
        if got:
            return got
        time.sleep(0.02)
    return what()


def node_of(s, name, seconds=10):
    return wait(lambda: get(s, name)["spec"].get("nodeName"), seconds)


def why(s, name, text=""):
    def look():
        for c in get(s, name).get("status", {}).get("conditions", []):
            if c["type"] == "PodScheduled" and c["status"] == "False" and text in c["message"]:
                return c["message"]
    return wait(look)


def main(s):
    sched = Scheduler(s)
    try:
        scenarios(s, sched)
        sched.process.terminate()
        equal("skiff-scheduler ends cleanly", sched.process.wait(10), 0)
    finally:
        if sched.process.poll() is None:
            sched.kill()
    text = open(s.dir + "/scheduler.log").read()
    check("its log has no sanitizer's report", "ERROR:" not in text and "WARNING: Thread" not in text and
          "runtime error" not in text, text[-4000:])


def preemption(s):
    """A full node of its own: the lowest pod goes, the higher one waits for it and takes its place."""
    only = {"nodeSelector": {"for": "preemption"}}
    add_node(s, "full", "2", labels={"for": "preemption"})
    for name, value in (("low", 10), ("middle", 20), ("high", 100)):
        s.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses",
               {"metadata": {"name": name}, "value": value})
    add_pod(s, "low", "1", priorityClassName="low", **only)
    add_pod(s, "middle", "1", priorityClassName="middle", **only)
    check("two pods fill the node", node_of(s, "low") == node_of(s, "middle") == "full")
    s.patch(f"{PODS}/low/status", {"status": {"phase": "Running"}})
    add_pod(s, "polite", "1", priorityClassName="high", preemptionPolicy="Never", **only)
    check("preemptionPolicy Never evicts nobody",
          (why(s, "polite") or "").endswith("preemption: not eligible due to preemptionPolicy=Never."), why(s, "polite"))
    s.call("DELETE", f"{PODS}/polite?gracePeriodSeconds=0")
    add_pod(s, "high", "1", priorityClassName="high", **only)
    victim = wait(lambda: (lambda p: p if p["metadata"].get("deletionTimestamp") else None)(get(s, "low")))
    check("the lowest pod is being deleted, with its own grace period",
          victim and victim["metadata"]["deletionGracePeriodSeconds"] == 30, victim and victim["metadata"])
    check("and says why", [c["reason"] for c in victim["status"]["conditions"] if c["type"] == "DisruptionTarget"] ==
          ["PreemptionByScheduler"], victim["status"])
    check("the other one stays", not get(s, "middle")["metadata"].get("deletionTimestamp"))
    equal("the pod is nominated", wait(lambda: get(s, "high")["status"].get("nominatedNodeName")), "full")
    check("it waits", not get(s, "high")["spec"].get("nodeName"))
    add_pod(s, "thief", "1", priorityClassName="middle", **only)
    why(s, "thief")
    s.call("DELETE", f"{PODS}/low?gracePeriodSeconds=0")
    equal("the victim gone, the pod takes its place", node_of(s, "high"), "full")
    check("no pod of lower priority took it", not get(s, "thief")["spec"].get("nodeName"))
    s.call("DELETE", f"{PODS}/thief?gracePeriodSeconds=0")


def volumes(s):
    """A claim that waits for its first consumer: the scheduler chooses the volume, then binds the pod."""
    s.call("POST", "/apis/storage.k8s.io/v1/storageclasses",
           {"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer"})
    s.call("POST", "/api/v1/persistentvolumes",
           {"metadata": {"name": "disk"}, "spec": {
               "storageClassName": "local", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
               "hostPath": {"path": "/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                   {"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}}})
    s.patch("/api/v1/persistentvolumes/disk/status", {"status": {"phase": "Available"}})
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    use = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    add_pod(s, "stores", **use)
    check("a claim that is missing", "persistentvolumeclaim \"data\" not found" in (why(s, "stores") or ""), why(s, "stores"))
    s.call("POST", claims, {"metadata": {"name": "data"}, "spec": {
        "storageClassName": "local", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    claim = wait(lambda: s.call("GET", "/api/v1/persistentvolumes/disk")[1]["spec"].get("claimRef"))
    equal("the volume is given to the claim", claim and claim["name"], "data")
    check("the pod waits for the claim", not get(s, "stores")["spec"].get("nodeName"))
    # what the volume controller does
    s.patch(f"{claims}/data", {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                               "spec": {"volumeName": "disk"}})
    equal("the claim bound, the pod goes where the volume is", node_of(s, "stores"), "b")


def scenarios(s, sched):
    s.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    add_pod(s, "early")
    equal("without nodes", why(s, "early"), "no nodes available to schedule pods")
    add_node(s, "a")
    equal("a new node takes the pod", node_of(s, "early"), "a")
    add_node(s, "b", labels={"disk": "ssd"})
    add_node(s, "c", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
    add_pod(s, "huge", "100")
    equal("why not", why(s, "huge", "/3"), "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, "
          "2 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.")
    events = wait(lambda: [e for e in s.call("GET", "/api/v1/namespaces/default/events")[1]["items"]
                           if e["reason"] == "FailedScheduling" and e["involvedObject"]["name"] == "huge"])
    check("an event says so too", events and events[0]["type"] == "Warning", events)
    bound = wait(lambda: [e["message"] for e in s.call("GET", "/api/v1/namespaces/default/events")[1]["items"]
                          if e["reason"] == "Scheduled"])
    equal("an event of the bind", bound, ["Successfully assigned default/early to a"])
    add_pod(s, "picky", nodeSelector={"disk": "ssd"})
    equal("a node selector", node_of(s, "picky"), "b")
    add_pod(s, "tolerant", nodeSelector={"disk": "nvme"}, tolerations=[{"key": "k", "operator": "Exists"}])
    why(s, "tolerant")
    s.patch("/api/v1/nodes/c", {"metadata": {"labels": {"disk": "nvme"}}})
    equal("a label wakes the pod", node_of(s, "tolerant"), "c")
    add_pod(s, "gated", schedulingGates=[{"name": "example.com/gate"}])
    add_pod(s, "other", schedulerName="other")
    add_pod(s, "after")
    check("pods behind them are not delayed", node_of(s, "after"))
    check("a gated pod stays", not get(s, "gated")["spec"].get("nodeName"))
    check("another scheduler's pod stays", not get(s, "other")["spec"].get("nodeName"))
    s.patch(f"{PODS}/gated", [{"op": "remove", "path": "/spec/schedulingGates"}], kind="json")
    check("the last gate gone, it goes", node_of(s, "gated"))
    # a full node, and room made
    add_pod(s, "fill-a", "3500m", nodeName="a")
    add_pod(s, "fill-b", "3500m", nodeName="b")
    add_pod(s, "next", "1")
    why(s, "next", "2 Insufficient cpu")
    s.call("DELETE", f"{PODS}/fill-b?gracePeriodSeconds=0")
    equal("a deleted pod makes room", node_of(s, "next"), "b")
    s.patch("/api/v1/nodes/b", {"spec": {"unschedulable": True}})
    add_pod(s, "cordoned", nodeSelector={"disk": "ssd"})
    check("a cordoned node", "1 node(s) were unschedulable" in (why(s, "cordoned") or ""), why(s, "cordoned"))
    s.patch("/api/v1/nodes/b", {"spec": {"unschedulable": None}})
    equal("uncordoned", node_of(s, "cordoned"), "b")
    preemption(s)
    volumes(s)
    # a crash in the middle of many
    for i in range(5):
        add_node(s, f"n{i}", "8", "32Gi")
    for i in range(120):
        add_pod(s, f"many-{i}", "300m")
        if i in (40, 80):
            sched.kill()
            sched.start()
    left = wait(lambda: not [p for p in s.call("GET", PODS)[1]["items"] if p["metadata"]["name"].startswith("many-")
                             and not p["spec"].get("nodeName")], 20)
    check("all of 120 pods are bound though the scheduler was killed twice", left)
    use = {}
    for p in s.call("GET", PODS)[1]["items"]:
        for c in p["spec"]["containers"]:
            cpu = c.get("resources", {}).get("requests", {}).get("cpu", "0")
            milli = int(cpu[:-1]) if cpu.endswith("m") else 1000 * int(cpu)
            use[p["spec"].get("nodeName")] = use.get(p["spec"].get("nodeName"), 0) + milli
    check("no node is overcommitted", all(use.get(f"n{i}", 0) <= 8000 for i in range(5)) and use["b"] <= 4000, use)
    check("they are spread", max(use[f"n{i}"] for i in range(5)) - min(use[f"n{i}"] for i in range(5)) <= 900, use)
    # speed, through the API
    for i in range(400):
        add_pod(s, f"fast-{i}")
    start = time.time()
    wait(lambda: all(p["spec"].get("nodeName") for p in s.call("GET", PODS)[1]["items"]
                     if p["metadata"]["name"].startswith("fast-")), 20)
    print(f"the last of 400 pods was bound {time.time() - start:.2f} s after it was created")


with Server() as server:
    main(server)
finish()
