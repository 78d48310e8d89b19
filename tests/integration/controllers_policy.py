#!/usr/bin/env python3
"""
Goal: quotas count what a namespace uses, now and after things go; autoscalers keep their limits and say what metrics they lack.
Method: a real API server and controller manager without nodes; the script ends pods itself.
"""
import os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import check, equal, finish
from controllers import APPS, PODS, Cluster, workload

CORE = "/api/v1/namespaces/default/"


def quotas(c):
    hard = {"pods": "10", "requests.cpu": "2", "limits.memory": "4Gi", "services": "5", "services.nodeports": "3", "secrets": "20",
            "configmaps": "20", "count/deployments.apps": "4", "requests.storage": "10Gi", "count/widgets.example.com": "1"}
    c.wait("the namespace is furnished", lambda: c.get(CORE + "configmaps/kube-root-ca.crt"), quiet=True)
    c.create(PODS, {"metadata": {"name": "free"}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}})
    c.create(CORE + "resourcequotas", {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}})
    c.create(CORE + "resourcequotas", {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "best"},
                                       "spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}})

    def used(name, quota="all"):
        return c.get(CORE + "resourcequotas/" + quota)["status"]["used"].get(name)
    c.wait("a quota is counted", lambda: c.get(CORE + "resourcequotas/all")["status"]["hard"] == hard and used("pods") == "1")
    equal("what is not served has no figure", used("count/widgets.example.com"), None)
    start = int(used("configmaps"))
    size = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    for i in range(2):
        c.create(PODS, {"metadata": {"name": "p%d" % i}, "spec": {"containers": [{"name": "c", "image": "x:1", "resources": size}]}})
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


def autoscalers(c):
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    c.create(APPS + "deployments", workload("Deployment", "web", 1))

    def hpa(name, target="web", kind="Deployment", version="apps/v1", **spec):
        c.create(path, {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
                        "spec": {"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": target}, "maxReplicas": 5, **spec}})

    def conditions(name):
        return {x["type"]: (x["status"], x["reason"]) for x in c.get(path + "/" + name)["status"].get("conditions", [])}
    hpa("web", minReplicas=3, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}])
    c.wait("an autoscaler keeps its minimum", lambda: c.get(APPS + "deployments/web")["spec"]["replicas"] == 3)
    equal("... and says so", conditions("web")["AbleToScale"], ("True", "SucceededRescale"))
    c.patch(path + "/web", {"spec": {"maxReplicas": 4}})
    c.wait("without metrics it is not active", lambda: conditions("web").get("ScalingActive") == ("False", "FailedGetResourceMetric"))
    message = next(x["message"] for x in c.get(path + "/web")["status"]["conditions"] if x["type"] == "ScalingActive")
    check("its message names the API", message.startswith("the HPA was unable to compute the replica count: failed to get cpu utilization: "
          "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: "), message)
    hpa("lost", target="nobody")
    c.wait("one without target says so", lambda: conditions("lost").get("AbleToScale") == ("False", "FailedGetScale"))
    hpa("odd", target="x", kind="Widget", version="example.com/v1")
    c.wait("so does one of an unknown kind", lambda: conditions("odd").get("AbleToScale") == ("False", "FailedGetScale"))
    version = c.get(path + "/lost")["metadata"]["resourceVersion"]
    time.sleep(1)
    equal("at rest nothing is written", c.get(path + "/lost")["metadata"]["resourceVersion"], version)


with Cluster(nodes=0) as cluster:
    quotas(cluster)
    autoscalers(cluster)
finish()
