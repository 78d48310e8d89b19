#!/usr/bin/env python3
"""
Goal: claims find volumes, or get new ones; what is in use stays; what is released is kept or deleted as the policy says.
Method: a real API server, controller manager and hollow nodes; the script does the scheduler's part where it must.
"""
import os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import check, equal, finish
from controllers import PODS, Cluster

CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


def volume(name, size="1Gi", modes=("ReadWriteOnce",), class_name="", policy="Retain", labels=None, **spec):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels or {}},
            "spec": {"capacity": {"storage": size}, "accessModes": list(modes), "storageClassName": class_name,
                     "persistentVolumeReclaimPolicy": policy, "hostPath": {"path": "/tmp/skiff-test-" + name}, **spec}}


def claim(name, size="1Gi", modes=("ReadWriteOnce",), class_name="", **spec):
    o = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
         "spec": {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, **spec}}
    if class_name is not None:
        o["spec"]["storageClassName"] = class_name
    return o


def events(c, name):
    return {e["reason"]: e for e in c.items("/api/v1/namespaces/default/events") if e["involvedObject"]["name"] == name}


def phase(c, name):
    return c.get(CLAIMS + "/" + name)["status"]["phase"]


def volume_phase(c, name):
    return c.get(VOLUMES + "/" + name)["status"]["phase"]


def static(c):
    c.create(VOLUMES, volume("big", "10Gi"))
    c.create(VOLUMES, volume("small", "2Gi"))
    c.wait("volumes are available", lambda: volume_phase(c, "big") == volume_phase(c, "small") == "Available")
    c.create(CLAIMS, claim("first"))
    c.wait("a claim is bound", lambda: phase(c, "first") == "Bound")
    o, v = c.get(CLAIMS + "/first"), c.get(VOLUMES + "/small")
    equal("... to the smallest that fits", o["spec"]["volumeName"], "small")
    equal("... which knows it", (v["spec"]["claimRef"]["uid"], v["status"]["phase"]), (o["metadata"]["uid"], "Bound"))
    equal("it got", (o["status"]["capacity"]["storage"], o["status"]["accessModes"]), ("2Gi", ["ReadWriteOnce"]))
    equal("annotations", {k: v for k, v in o["metadata"]["annotations"].items()},
          {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"})
    c.create(CLAIMS, claim("many", modes=["ReadWriteMany"]))
    c.wait("one that nothing fits says so", lambda: "FailedBinding" in events(c, "many"))
    c.create(VOLUMES, volume("later", modes=["ReadWriteOnce", "ReadWriteMany"]))
    c.wait("... and is bound when a volume comes", lambda: c.get(CLAIMS + "/many")["spec"].get("volumeName") == "later" and phase(c, "many") == "Bound")
    c.create(VOLUMES, volume("gold", labels={"tier": "gold"}))
    c.create(CLAIMS, claim("picky", selector={"matchLabels": {"tier": "gold"}}))
    c.wait("a selector chooses", lambda: c.get(CLAIMS + "/picky")["spec"].get("volumeName") == "gold")
    c.create(CLAIMS, claim("named", volumeName="big"))
    c.wait("a claim may name its volume", lambda: phase(c, "named") == "Bound" and volume_phase(c, "big") == "Bound")
    c.create(CLAIMS, claim("second", volumeName="big"))
    c.wait("a second one waits", lambda: "FailedBinding" in events(c, "second"))
    c.create(VOLUMES, volume("kept", claimRef={"namespace": "default", "name": "reserved"}))
    c.create(CLAIMS, claim("reserved"))
    c.wait("a volume may be reserved", lambda: c.get(CLAIMS + "/reserved")["spec"].get("volumeName") == "kept" and phase(c, "reserved") == "Bound")
    c.delete(CLAIMS + "/first")
    c.wait("a volume whose claim goes is released", lambda: volume_phase(c, "small") == "Released" and not c.get(CLAIMS + "/first"))
    c.patch(VOLUMES + "/gold", {"spec": {"persistentVolumeReclaimPolicy": "Recycle"}})
    c.delete(CLAIMS + "/picky")
    c.wait("recycling is refused", lambda: volume_phase(c, "gold") == "Failed")
    c.delete(VOLUMES + "/later")
    time.sleep(0.3)
    check("a bound volume stays, though deleted", c.get(VOLUMES + "/later")["metadata"].get("deletionTimestamp"))
    c.delete(CLAIMS + "/many")
    c.wait("... until its claim is gone", lambda: not c.get(VOLUMES + "/later"))
    c.create(CLAIMS, claim("hopeless", class_name="no-such"))
    c.wait("a class that does not exist is told", lambda: "ProvisioningFailed" in events(c, "hopeless"))


def pod(name, claim_name, **volume_source):
    return {"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 0, "nodeName": "hollow-0", "containers": [
        {"name": "c", "image": "x:1"}], "volumes": [{"name": "data", **(volume_source or {
            "persistentVolumeClaim": {"claimName": claim_name}})}]}}


def protection(c):
    c.create(PODS, pod("user", "named"))
    c.delete(CLAIMS + "/named")
    time.sleep(0.3)
    check("a claim that a pod uses stays", c.get(CLAIMS + "/named")["metadata"].get("deletionTimestamp"))
    c.delete(PODS + "/user")
    c.wait("... until the pod is gone", lambda: not c.get(CLAIMS + "/named"))


def dynamic(c):
    equal("there is a default class", [(o["metadata"]["name"], o["provisioner"]) for o in c.items(CLASSES)],
          [("host-path", "skiff.io/host-path")])
    c.create(CLAIMS, claim("data", class_name=None))
    c.wait("its claims wait for a pod", lambda: "WaitForFirstConsumer" in events(c, "data") and phase(c, "data") == "Pending")
    c.patch(CLAIMS + "/data", {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "hollow-1"}}})
    c.wait("with a node chosen a volume is made", lambda: phase(c, "data") == "Bound")
    o = c.get(CLAIMS + "/data")
    v = c.get(VOLUMES + "/" + o["spec"]["volumeName"])
    equal("named after the claim", v["metadata"]["name"], "pvc-" + o["metadata"]["uid"])
    equal("for that node only", v["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"],
          [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["hollow-1"]}])
    check("a folder of its own", v["spec"]["hostPath"]["path"].endswith("pvc-%s_default_data" % o["metadata"]["uid"]), v["spec"])
    c.patch(CLAIMS + "/data", {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})
    c.wait("it grows", lambda: c.get(CLAIMS + "/data")["status"]["capacity"]["storage"] == "3Gi" and c.get(
        VOLUMES + "/" + v["metadata"]["name"])["spec"]["capacity"]["storage"] == "3Gi")
    c.delete(CLAIMS + "/data")
    c.wait("and goes with its claim", lambda: not c.get(VOLUMES + "/" + v["metadata"]["name"]))
    c.create(CLASSES, {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "far"}, "provisioner": "example.com/far"})
    c.create(CLAIMS, claim("far", class_name="far"))
    c.wait("an external provisioner is asked", lambda: c.get(CLAIMS + "/far")["metadata"]["annotations"].get(
        "volume.kubernetes.io/storage-provisioner") == "example.com/far")
    c.create(PODS, pod("eph", None, ephemeral={"volumeClaimTemplate": {"metadata": {"labels": {"x": "y"}}, "spec": claim("x", class_name="far")["spec"]}}))
    c.wait("an ephemeral volume gets its claim", lambda: c.get(CLAIMS + "/eph-data")["metadata"]["ownerReferences"][0]["name"] == "eph")
    c.delete(PODS + "/eph")
    c.wait("... which goes with the pod", lambda: not c.get(CLAIMS + "/eph-data"))


with Cluster(nodes=2) as cluster:
    static(cluster)
    protection(cluster)
    dynamic(cluster)
finish()
