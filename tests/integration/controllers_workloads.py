#!/usr/bin/env python3
"""
Goal: Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs do what their objects ask for, also when the manager is killed.
Method: a real API server, scheduler and controller manager; pods run on hollow nodes.
"""
import os, random, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import check, equal, finish
from controllers import APPS, PODS, Cluster, template, workload


def status(c, plural, name):
    return c.get(APPS + plural + "/" + name)["status"]


def is_rolled_out(c, name, replicas):
    o = c.get(APPS + "deployments/" + name)
    s = o["status"]
    return (s["observedGeneration"] == o["metadata"]["generation"] and s.get("updatedReplicas") == replicas and
            s.get("replicas") == replicas and s.get("availableReplicas") == replicas)


def sets(c, name):
    return [r for r in c.items(APPS + "replicasets") if r["metadata"]["labels"].get("app") == name]


def revision(o):
    return o["metadata"]["annotations"]["deployment.kubernetes.io/revision"]


def set_image(c, plural, name, image):
    c.patch(APPS + plural + "/" + name, {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}},
            "strategic")


def deployments(c):
    c.create(APPS + "deployments", workload("Deployment", "web", 3))
    c.wait("a Deployment gets its pods", lambda: is_rolled_out(c, "web", 3))
    first = sets(c, "web")[0]
    owner = first["metadata"]["ownerReferences"][0]
    check("its ReplicaSet is owned, with hash label and annotations",
          owner["controller"] and owner["kind"] == "Deployment" and
          first["metadata"]["name"] == "web-" + first["metadata"]["labels"]["pod-template-hash"] and
          first["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"] == "4", first["metadata"])
    set_image(c, "deployments", "web", "x:2")
    lowest = [3]

    def watch_it():
        lowest[0] = min(lowest[0], status(c, "deployments", "web").get("availableReplicas", 0))
        return is_rolled_out(c, "web", 3)
    c.wait("a new image rolls out", watch_it)
    equal("no pod was missing meanwhile", lowest[0], 3)
    equal("revisions are 1 and 2", sorted(map(revision, sets(c, "web"))), ["1", "2"])
    set_image(c, "deployments", "web", "x:1")
    c.wait("the old image rolls out again", lambda: is_rolled_out(c, "web", 3))
    back = next(r for r in sets(c, "web") if r["metadata"]["uid"] == first["metadata"]["uid"])
    equal("by the old ReplicaSet, as revision 3", (revision(back), back["metadata"]["annotations"].get(
        "deployment.kubernetes.io/revision-history")), ("3", "1"))
    conditions = {x["type"]: x for x in status(c, "deployments", "web")["conditions"]}
    equal("conditions", [(conditions[t]["status"], conditions[t]["reason"]) for t in ("Available", "Progressing")],
          [("True", "MinimumReplicasAvailable"), ("True", "NewReplicaSetAvailable")])
    c.patch(APPS + "deployments/web", {"spec": {"paused": True, "replicas": 5}})
    set_image(c, "deployments", "web", "x:3")
    c.wait("paused, it still scales", lambda: status(c, "deployments", "web").get("availableReplicas") == 5)
    equal("... but makes no new ReplicaSet", len(sets(c, "web")), 2)
    c.patch(APPS + "deployments/web", {"spec": {"paused": False}})
    c.wait("resumed, it rolls out", lambda: is_rolled_out(c, "web", 5) and len(sets(c, "web")) == 3)
    c.patch(APPS + "deployments/web", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None},
                                               "revisionHistoryLimit": 1}})
    set_image(c, "deployments", "web", "x:4")
    c.wait("Recreate rolls out", lambda: is_rolled_out(c, "web", 5))
    c.wait("only one old ReplicaSet is kept", lambda: len(sets(c, "web")) == 2)
    c.create(APPS + "deployments", workload("Deployment", "stuck", 1, image="x:1", progressDeadlineSeconds=1))
    c.patch(APPS + "deployments/stuck", {"spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}})
    c.wait("a rollout that gets nowhere says so", lambda: any(
        x["reason"] == "ProgressDeadlineExceeded" for x in status(c, "deployments", "stuck")["conditions"]))
    c.delete(APPS + "deployments/stuck")


def replica_sets(c):
    lone = {"metadata": {"name": "lone", "labels": {"app": "rs"}}, "spec": template("rs")["spec"]}
    uid = c.create(PODS, lone)["metadata"]["uid"]
    c.create(APPS + "replicasets", workload("ReplicaSet", "rs", 2))
    c.wait("a ReplicaSet counts the pod it finds", lambda: status(c, "replicasets", "rs").get("readyReplicas") == 2)
    equal("... having adopted it", c.get(PODS + "/lone")["metadata"]["ownerReferences"][0]["name"], "rs")
    c.patch(PODS + "/lone", {"metadata": {"labels": {"app": "free"}}})
    c.wait("a pod whose label changes is released and replaced", lambda: not c.get(PODS + "/lone")["metadata"].get(
        "ownerReferences") and status(c, "replicasets", "rs").get("readyReplicas") == 2)
    equal("... not deleted", c.get(PODS + "/lone")["metadata"]["uid"], uid)
    cheap = next(p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "rs")["metadata"]["name"]
    c.patch(PODS + "/" + cheap, {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}})
    time.sleep(0.2)
    c.patch(APPS + "replicasets/rs", {"spec": {"replicas": 1}})
    c.wait("the cheap pod goes first", lambda: not c.get(PODS + "/" + cheap))
    equal("... alone", len([p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "rs"]), 1)
    c.delete(APPS + "replicasets/rs")
    c.delete(PODS + "/lone")


def stateful_sets(c):
    c.create(APPS + "statefulsets", workload("StatefulSet", "db", 3, serviceName="db"))

    def in_order():
        pods = sorted(p["metadata"]["name"] for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "db")
        check("StatefulSet pods come in order", pods == ["db-0", "db-1", "db-2"][:len(pods)], pods) if pods != [
            "db-0", "db-1", "db-2"][:len(pods)] else None
        return status(c, "statefulsets", "db").get("availableReplicas") == 3
    c.wait("a StatefulSet gets its pods", in_order)
    pod = c.get(PODS + "/db-1")
    equal("identity", (pod["spec"]["hostname"], pod["spec"]["subdomain"], pod["metadata"]["labels"][
        "apps.kubernetes.io/pod-index"]), ("db-1", "db", "1"))
    c.patch(APPS + "statefulsets/db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}})
    set_image(c, "statefulsets", "db", "x:2")
    c.wait("a partition updates the highest only", lambda: status(c, "statefulsets", "db").get("updatedReplicas") == 1 and
           status(c, "statefulsets", "db").get("readyReplicas") == 3)
    equal("... and keeps the current revision", [c.get(PODS + "/db-%d" % i)["spec"]["containers"][0]["image"]
                                                  for i in range(3)], ["x:1", "x:1", "x:2"])
    uid = c.get(PODS + "/db-0")["metadata"]["uid"]
    c.delete(PODS + "/db-0")
    c.wait("a deleted pod comes back", lambda: c.get(PODS + "/db-0")["metadata"]["uid"] != uid and status(
        c, "statefulsets", "db").get("readyReplicas") == 3)
    equal("... with the old image", c.get(PODS + "/db-0")["spec"]["containers"][0]["image"], "x:1")
    c.patch(APPS + "statefulsets/db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
    c.wait("without partition all are updated", lambda: status(c, "statefulsets", "db")["currentRevision"] == status(
        c, "statefulsets", "db")["updateRevision"] and status(c, "statefulsets", "db").get("currentReplicas") == 3)
    c.patch(APPS + "statefulsets/db", {"spec": {"replicas": 1}})
    c.wait("it shrinks", lambda: status(c, "statefulsets", "db")["replicas"] == 1)
    check("... from the top", c.get(PODS + "/db-0") and not c.get(PODS + "/db-1"))
    c.delete(APPS + "statefulsets/db")


def daemon_sets(c):
    c.create(APPS + "daemonsets", workload("DaemonSet", "agent"))
    c.wait("a DaemonSet runs on every node", lambda: status(c, "daemonsets", "agent")["numberReady"] == 2)
    set_image(c, "daemonsets", "agent", "x:2")
    c.wait("it is updated", lambda: status(c, "daemonsets", "agent")["observedGeneration"] == 2 and
           status(c, "daemonsets", "agent").get("updatedNumberScheduled") == 2 and status(c, "daemonsets", "agent").get("numberAvailable") == 2)
    equal("two revisions", len([r for r in c.items(APPS + "controllerrevisions")
                                if r["metadata"]["name"].startswith("agent-")]), 2)
    c.patch("/api/v1/nodes/hollow-0", {"metadata": {"labels": {"kind": "small"}}})
    c.patch(APPS + "daemonsets/agent", {"spec": {"template": {"spec": {"nodeSelector": {"kind": "small"}}}}})
    c.wait("a selector takes it off other nodes", lambda: status(c, "daemonsets", "agent")["desiredNumberScheduled"] == 1 and
           len([p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "agent"]) == 1)
    c.delete(APPS + "daemonsets/agent")


def jobs(c):
    path = "/apis/batch/v1/namespaces/default/jobs"
    c.create(path, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"}, "spec": {
        "completions": 3, "parallelism": 2, "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "c", "image": "x"}]}}}})

    def pods():
        return [p for p in c.items(PODS) if p["metadata"]["labels"].get("job-name") == "sum"]
    c.wait("a Job starts as many pods as may run at once", lambda: len(pods()) == 2)
    for n in range(3):
        c.wait("a pod runs", lambda: any(p["status"]["phase"] == "Running" for p in pods()), quiet=True)
        one = next(p for p in pods() if p["status"]["phase"] == "Running")
        c.patch(PODS + "/" + one["metadata"]["name"] + "/status", {"status": {"phase": "Succeeded"}})
        c.wait("success %d is counted once" % (n + 1), lambda: c.get(path + "/sum")["status"].get("succeeded") == n + 1)
    c.wait("it is complete", lambda: [x["type"] for x in c.get(path + "/sum")["status"]["conditions"]
                                      if x["status"] == "True"] == ["SuccessCriteriaMet", "Complete"])
    check("no pod keeps the finalizer", not any(p["metadata"].get("finalizers") for p in pods()))
    c.delete(path + "/sum", "Background")
    c.wait("deleted, its pods go too", lambda: not pods())


def killed(c):
    """The manager dies again and again; the end is as if it had not."""
    c.create(APPS + "deployments", workload("Deployment", "k", 6))
    c.create(APPS + "statefulsets", workload("StatefulSet", "s", 3, serviceName="s", podManagementPolicy="Parallel"))
    for i in range(12):
        set_image(c, "deployments", "k", "x:%d" % (i // 3))
        c.patch(APPS + "deployments/k", {"spec": {"replicas": 4 + i % 5}})
        set_image(c, "statefulsets", "s", "x:%d" % (i // 4))
        time.sleep(random.uniform(0.05, 0.4))
        c.kill("manager")
        c.start_manager()
    c.wait("the Deployment converges", lambda: is_rolled_out(c, "k", 5))
    c.wait("the StatefulSet converges", lambda: status(c, "statefulsets", "s").get("availableReplicas") == 3 and status(
        c, "statefulsets", "s")["currentRevision"] == status(c, "statefulsets", "s")["updateRevision"])
    c.wait("no pod is left over", lambda: len([p for p in c.items(PODS) if p["metadata"]["labels"].get("app") in ("k", "s")]) == 8)
    check("every pod has one controller", all(
        len(p["metadata"]["ownerReferences"]) == 1 for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "k"))


with Cluster(nodes=2) as cluster:
    for part in (deployments, replica_sets, stateful_sets, daemon_sets, jobs, killed):
        part(cluster)
finish()
