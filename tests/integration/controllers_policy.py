#!/usr/bin/env python3
"""
Goal: quotas count what a namespace uses, now and after things go.
Method: a real API server and controller manager without nodes; the script ends pods itself.
"""
import os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import check, equal, finish
from controllers import PODS, Cluster

CORE = "/api/v1/namespaces/default/"


def quotas(c):
    hard = {"pods": "10", "requests.cpu": "2", "limits.memory": "4Gi", "services": "5", "services.nodeports": "3", "secrets": "20",
            "configmaps": "20", "count/deployments.apps": "4", "requests.storage": "10Gi", "count/widgets.example.com": "1"}
    c.create(CORE + "resourcequotas", {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}})
    c.create(CORE + "resourcequotas", {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "best"},
                                       "spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}})

    def used(name, quota="all"):
        return c.get(CORE + "resourcequotas/" + quota)["status"]["used"].get(name)
    c.wait("a quota is counted", lambda: c.get(CORE + "resourcequotas/all")["status"]["hard"] == hard and used("pods") == "0")
    equal("what is not served has no figure", used("count/widgets.example.com"), None)
    start = int(used("configmaps"))
    size = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    for i in range(2):
        c.create(PODS, {"metadata": {"name": "p%d" % i}, "spec": {"containers": [{"name": "c", "image": "x:1", "resources": size}]}})
    c.create(PODS, {"metadata": {"name": "free"}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}})
    c.wait("pods and what they ask for", lambda: (used("pods"), used("requests.cpu"), used("limits.memory")) == ("3", "600m", "2Gi"))
    c.wait("a scope narrows", lambda: used("pods", "best") == "1")
    c.patch(PODS + "/p0/status", {"status": {"phase": "Succeeded"}})
    c.wait("a pod that ended counts no more", lambda: (used("pods"), used("requests.cpu")) == ("2", "300m"))
    c.delete(PODS + "/p1")
    c.wait("nor one that is gone", lambda: (used("pods"), used("requests.cpu"), used("limits.memory")) == ("1", "0", "0"))
    c.create(CORE + "configmaps", {"metadata": {"name": "x"}})
    c.wait("kinds that only quotas watch", lambda: used("configmaps") == str(start + 1))
    c.delete(CORE + "configmaps/x")
    c.wait("... also when they go", lambda: used("configmaps") == str(start))
    c.create(CORE + "services", {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    c.wait("services and their node ports", lambda: used("services.nodeports") == "1")
    c.create(CORE + "persistentvolumeclaims", {"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}})
    c.wait("storage", lambda: used("requests.storage") == "3Gi")
    c.patch(CORE + "resourcequotas/all", {"spec": {"hard": {"pods": "0"}}})
    c.wait("a quota below the use takes nothing away", lambda: c.get(CORE + "resourcequotas/all")["status"]["hard"]["pods"] == "0" and used("pods") == "1")
    version = c.get(CORE + "resourcequotas/all")["metadata"]["resourceVersion"]
    time.sleep(1)
    equal("at rest nothing is written", c.get(CORE + "resourcequotas/all")["metadata"]["resourceVersion"], version)


with Cluster(nodes=0) as cluster:
    quotas(cluster)
finish()
