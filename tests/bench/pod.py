#!/usr/bin/env python3
"""Starts pods through the API and containers by hand, in turns, and prints the medians (tab separated) for pod.sh."""
import argparse
import base64
import http.client
import json
import os
import queue
import re
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

IMAGE = "skiff/bench:1"
BRIDGE = {
    "cniVersion": "0.4.0", "name": "byhand", "type": "bridge", "bridge": "byhand0", "isGateway": True,
    "hairpinMode": True, "ipMasq": False,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.245.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
}


class Docker(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def call(self, method, path, body=None):
        self.request(method, "/v1.41" + path, json.dumps(body) if body is not None else None,
                     {"Content-Type": "application/json"})
        r = self.getresponse()
        text = r.read()
        if r.status >= 400:
            raise RuntimeError(f"{method} {path}: {r.status} {text!r}")
        return json.loads(text) if text else None


class Events(threading.Thread):
    """Docker's container events: (nanoseconds, action, id, attributes)."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.docker = Docker(path)
        self.docker.request("GET", "/v1.41/events?filters=" + '{"type":["container"]}'.replace('"', "%22"))
        self.answer = self.docker.getresponse()
        self.events = []
        self.start()

    def run(self):
        for line in self.answer:
            e = json.loads(line)
            self.events.append((e["timeNano"] / 1e9, e["Action"], e["Actor"]["ID"], e["Actor"]["Attributes"]))


class Api:
    def __init__(self, kubeconfig, folder):
        text = open(kubeconfig).read()

        def field(name):
            return re.search(rf"{name}: *(\S+)", text).group(1)

        self.host = field("server").removeprefix("https://")
        self.context = ssl.create_default_context(cadata=base64.b64decode(field("certificate-authority-data")).decode())
        pair = os.path.join(folder, "client.pem")
        with open(pair, "wb") as f:
            f.write(base64.b64decode(field("client-certificate-data")) + base64.b64decode(field("client-key-data")))
        self.context.load_cert_chain(pair)
        self.connection = self.connect()

    def connect(self):
        return http.client.HTTPSConnection(self.host, context=self.context)

    def call(self, method, path, body=None):
        self.connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        r = self.connection.getresponse()
        return r.status, json.loads(r.read())


class Watch(threading.Thread):
    """The pods of the namespace as they change: (seconds, type, pod)."""

    def __init__(self, api):
        super().__init__(daemon=True)
        connection = api.connect()
        connection.request("GET", "/api/v1/namespaces/default/pods?watch=1")
        self.answer = connection.getresponse()
        self.changes = queue.Queue()
        self.start()

    def run(self):
        for line in self.answer:
            e = json.loads(line)
            self.changes.put((time.time(), e["type"], e["object"]))


def manifest(name):
    return (f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n"
            f"  containers:\n  - {{name: main, image: '{IMAGE}', imagePullPolicy: Never}}\n")


def run_pod(name, options, watch, events):
    path = os.path.join(options.folder, "pod.yaml")
    with open(path, "w") as f:
        f.write(manifest(name))
    seen = len(events.events)
    marks = {"start": time.time()}
    command = subprocess.Popen([options.skiffctl, "--kubeconfig", options.kubeconfig, "apply", "-f", path]
                               if options.global_flags else
                               [options.skiffctl, "apply", "--kubeconfig", options.kubeconfig, "-f", path],
                               stdout=subprocess.DEVNULL)
    while "running" not in marks:
        at, kind, pod = watch.changes.get(timeout=30)
        if pod["metadata"]["name"] != name:
            continue
        if kind == "ADDED":
            marks["created"] = at
        if pod["spec"].get("nodeName"):
            marks.setdefault("bound", at)
        if pod["status"].get("phase") == "Running":
            marks["running"] = at
    if command.wait() != 0:
        raise RuntimeError("skiffctl apply failed")
    time.sleep(0.05)
    for at, action, _, attributes in events.events[seen:]:
        if attributes.get("io.kubernetes.pod.name") == name and action in ("create", "start"):
            sandbox = "sandbox " if marks.get("container create") is None and "sandbox start" not in marks else "container "
            marks.setdefault(sandbox + action, at)
    return marks


def delete_pod(name, api, watch):
    api.call("DELETE", f"/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")
    while True:
        _, kind, pod = watch.changes.get(timeout=30)
        if kind == "DELETED" and pod["metadata"]["name"] == name:
            return


def cni(command, container, pid):
    env = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": f"/proc/{pid}/ns/net", "CNI_IFNAME": "eth0",
           "CNI_PATH": "/usr/lib/cni", "PATH": os.environ["PATH"]}
    done = subprocess.run(["/usr/lib/cni/bridge"], input=json.dumps(BRIDGE).encode(), env=env, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"CNI {command}: {done.stdout!r}")


def run_by_hand(docker, pause):
    marks = {"start": time.time()}
    sandbox = docker.call("POST", "/containers/create", {
        "Image": pause, "HostConfig": {"NetworkMode": "none", "IpcMode": "shareable"}})["Id"]
    marks["sandbox create"] = time.time()
    docker.call("POST", f"/containers/{sandbox}/start")
    pid = docker.call("GET", f"/containers/{sandbox}/json")["State"]["Pid"]
    marks["sandbox start"] = time.time()
    cni("ADD", sandbox, pid)
    marks["network"] = time.time()
    container = docker.call("POST", "/containers/create", {
        "Image": IMAGE, "HostConfig": {"NetworkMode": f"container:{sandbox}", "IpcMode": f"container:{sandbox}"}})["Id"]
    marks["container create"] = time.time()
    docker.call("POST", f"/containers/{container}/start")
    if not docker.call("GET", f"/containers/{container}/json")["State"]["Running"]:
        raise RuntimeError("the container does not run")
    marks["running"] = time.time()
    docker.call("DELETE", f"/containers/{container}?force=1")
    cni("DEL", sandbox, pid)
    docker.call("DELETE", f"/containers/{sandbox}?force=1")
    return marks


STAGES = [  # name, from, to
    ("command start, apply, API create", "start", "created"),
    ("schedule and bind", "created", "bound"),
    ("kubelet to sandbox made", "bound", "sandbox create"),
    ("sandbox start", "sandbox create", "sandbox start"),
    ("network (CNI) to container made", "sandbox start", "container create"),
    ("container start", "container create", "container start"),
    ("status to Running seen", "container start", "running"),
]
HAND = [
    ("sandbox create", "start", "sandbox create"), ("sandbox start", "sandbox create", "sandbox start"),
    ("network (CNI)", "sandbox start", "network"), ("container create", "network", "container create"),
    ("container start", "container create", "running"),
]


def medians(runs, stages):
    for name, a, b in stages:
        values = [(r[b] - r[a]) * 1000 for r in runs if a in r and b in r]
        if values:
            yield name, statistics.median(values)


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--docker", "--kubeconfig", "--skiffctl", "--folder"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--pods", type=int, default=12)
    options = parser.parse_args()
    options.global_flags = False
    docker = Docker(options.docker)
    pause = next(t for i in docker.call("GET", "/images/json") for t in (i["RepoTags"] or []) if "pause" in t)
    api = Api(options.kubeconfig, options.folder)
    watch, events = Watch(api), Events(options.docker)
    pods, hand = [], []
    for i in range(options.pods + 1):
        by_hand = run_by_hand(docker, pause)
        name = f"pod-{i}"
        marks = run_pod(name, options, watch, events)
        delete_pod(name, api, watch)
        if i:  # the first of each warms caches
            hand.append(by_hand)
            pods.append(marks)
    pod_ms = statistics.median((p["running"] - p["start"]) * 1000 for p in pods)
    hand_ms = statistics.median((h["running"] - h["start"]) * 1000 for h in hand)
    extra = statistics.median((p["running"] - p["start"] - (h["running"] - h["start"])) * 1000 for p, h in zip(pods, hand))
    print(f"by hand with Docker\t{hand_ms:.0f}\tms\t")
    print(f"apply to Running\t{pod_ms:.0f}\tms\t{hand_ms + 50:.0f}")
    print(f"more than by hand\t{pod_ms - hand_ms:.0f}\tms\t50")
    sys.stderr.write(f"median of the differences of each turn: {extra:.0f} ms\n")
    sys.stderr.write("pod: " + "; ".join(f"{n} {v:.0f}" for n, v in medians(pods, STAGES)) + " (ms)\n")
    sys.stderr.write("by hand: " + "; ".join(f"{n} {v:.0f}" for n, v in medians(hand, HAND)) + " (ms)\n")


main()
