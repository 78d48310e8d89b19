#!/usr/bin/env python3
"""
Goal: create, update, patch, scale and delete behave as a Kubernetes user expects, refusals included.
Method: a real API server on the embedded store, plain HTTPS requests.
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"
DEPLOY = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"


def creates(s):
    status, o = s.call("POST", CM, config_map("a", {"k": "v"}))
    m = o["metadata"]
    equal("create answers 201", status, 201)
    check("the server sets uid, creationTimestamp, resourceVersion",
          m.get("uid") and m.get("creationTimestamp") and m.get("resourceVersion"), m)
    equal("GET gives what create gave", s.call("GET", CM + "/a"), (200, o))
    status, e = s.call("POST", CM, config_map("a"))
    equal("a taken name is 409", status, 409)
    equal("... AlreadyExists", (e["reason"], e["message"]), ("AlreadyExists", 'configmaps "a" already exists'))
    equal("... with details", e["details"], {"name": "a", "kind": "configmaps"})
    status, o = s.call("POST", CM, {"metadata": {"generateName": "gen-"}})
    check("generateName makes a name", status == 201 and len(o["metadata"]["name"]) == 9, o)
    status, o = s.call("POST", CM + "?dryRun=All", config_map("dry"))
    check("a dry run answers 201 without a version", status == 201 and "resourceVersion" not in o["metadata"], o)
    equal("... and stores nothing", s.call("GET", CM + "/dry")[0], 404)
    status, e = s.call("POST", CM + "?dryRun=Some", config_map("dry"))
    equal("dryRun knows All only", (status, e["reason"]), (422, "Invalid"))
    status, e = s.call("POST", CM, config_map("rv", resourceVersion="7"))
    equal("a create with a resourceVersion is refused", (status, e["message"]),
          (500, "resourceVersion should not be set on objects to be created"))
    status, e = s.call("POST", CM, {"metadata": {}})
    equal("a name is required", (status, e["reason"]), (422, "Invalid"))
    status, e = s.call("POST", CM, config_map("x", namespace="other"))
    equal("the body's namespace must be the path's", status, 400)
    status, o = s.call("POST", DEPLOY, dict(deployment("d"), status={"replicas": 7}))
    check("a create drops status and starts at generation 1",
          status == 201 and o["metadata"]["generation"] == 1 and not o["status"].get("replicas"), o)


def updates(s):
    _, o = s.call("GET", CM + "/a")
    version = o["metadata"]["resourceVersion"]
    status, same = s.call("PUT", CM + "/a", o)
    equal("a PUT that changes nothing makes no version", (status, same["metadata"]["resourceVersion"]), (200, version))
    o["data"] = {"k": "w"}
    status, new = s.call("PUT", CM + "/a", o)
    check("a PUT changes", status == 200 and new["data"] == {"k": "w"}, new)
    check("... the version", int(new["metadata"]["resourceVersion"]) > int(version))
    status, e = s.call("PUT", CM + "/a", o)
    equal("an old version is 409 Conflict", (status, e["reason"], e["message"]),
          (409, "Conflict", 'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
                            'please apply your changes to the latest version and try again'))
    status, new = s.call("PUT", CM + "/a", config_map("a", {"k": "x"}))
    check("without a version the PUT is unconditional, uid and creationTimestamp stay",
          status == 200 and new["metadata"]["uid"] == o["metadata"]["uid"] and
          new["metadata"]["creationTimestamp"] == o["metadata"]["creationTimestamp"], new)
    status, e = s.call("PUT", CM + "/a", config_map("a", uid="00000000-0000-0000-0000-000000000000"))
    equal("another uid is 409", status, 409)
    equal("a PUT of a missing object is 404", s.call("PUT", CM + "/none", config_map("none"))[0], 404)
    equal("another name in the body is 400", s.call("PUT", CM + "/a", config_map("b"))[0], 400)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "h"}}
    equal("a PUT of a missing Lease creates it",
          s.call("PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l", lease)[0], 201)


def status_and_generation(s):
    _, o = s.call("GET", DEPLOY + "/d")
    o["status"] = {"replicas": 3, "observedGeneration": 1}
    o["spec"]["replicas"] = 9
    o["metadata"].setdefault("annotations", {})["note"] = "1"
    status, new = s.call("PUT", DEPLOY + "/d/status", o)
    check("a status write changes status and annotations, not spec",
          status == 200 and new["status"]["replicas"] == 3 and new["spec"]["replicas"] == 1 and
          new["metadata"]["annotations"] == {"note": "1"} and new["metadata"]["generation"] == 1, new)
    new["status"] = {}
    new["spec"]["replicas"] = 2
    status, newer = s.call("PUT", DEPLOY + "/d", new)
    check("a main write changes spec, not status; generation counts it",
          status == 200 and newer["status"].get("replicas") == 3 and newer["metadata"]["generation"] == 2, newer)
    status, o = s.patch(DEPLOY + "/d", {"metadata": {"labels": {"l": "1"}}})
    equal("a label does not count", o["metadata"]["generation"], 2)
    status, o = s.patch(DEPLOY + "/d/status", {"status": {"readyReplicas": 1}})
    check("status can be patched", status == 200 and o["status"] == {"replicas": 3, "observedGeneration": 1, "readyReplicas": 1}, o)


def patches(s):
    status, o = s.patch(CM + "/a", {"data": {"k": None, "n": "1"}})
    equal("merge patch: null removes", (status, o.get("data")), (200, {"n": "1"}))
    status, o = s.patch(CM + "/a", [{"op": "test", "path": "/data/n", "value": "1"},
                                    {"op": "replace", "path": "/data/n", "value": "2"}], "json")
    equal("JSON patch", (status, o.get("data")), (200, {"n": "2"}))
    status, e = s.patch(CM + "/a", [{"op": "test", "path": "/data/n", "value": "9"}], "json")
    equal("a failed test is 422", (status, e["reason"]), (422, "Invalid"))
    status, o = s.patch(DEPLOY + "/d", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x:2"}]}}}}, "strategic")
    c = o["spec"]["template"]["spec"]["containers"]
    check("strategic merge goes by name", status == 200 and len(c) == 1 and c[0]["image"] == "x:2", c)
    status, e = s.patch(CM + "/a", {"metadata": {"resourceVersion": "1"}})
    equal("a patch that sends an old version is 409", status, 409)
    status, e = s.patch(CM + "/a", {"metadata": {"name": "b"}})
    equal("a patch can't rename", status, 400)
    status, e = s.patch(CM + "/a", "{", "merge")
    equal("a patch that is no JSON is 400", status, 400)
    status, e = s.patch(CM + "/a", {"x": 1}, "json")
    equal("a JSON patch is a list", status, 400)
    status, e = s.call("PATCH", CM + "/a", {"x": 1})
    equal("application/json is no patch: 415", (status, e["reason"]), (415, "UnsupportedMediaType"))
    status, e = s.patch(CM + "/a?fieldValidation=Strict", {"nonsense": 1})
    check("strict validation of a patch names the field", status == 422 and 'unknown field "nonsense"' in e["message"], e)
    equal("a patch of a missing object is 404", s.patch(CM + "/none", {})[0], 404)


def scales(s):
    status, o = s.call("GET", DEPLOY + "/d/scale")
    check("scale shows replicas and the selector as text", status == 200 and o["kind"] == "Scale" and
          o["spec"] == {"replicas": 2} and o["status"] == {"replicas": 3, "selector": "app=d"}, o)
    o["spec"]["replicas"] = 5
    status, o = s.call("PUT", DEPLOY + "/d/scale", o)
    equal("PUT of scale", (status, o["spec"]), (200, {"replicas": 5}))
    status, o = s.patch(DEPLOY + "/d/scale", {"spec": {"replicas": 4}})
    equal("PATCH of scale", (status, o["spec"]), (200, {"replicas": 4}))
    status, o = s.call("GET", DEPLOY + "/d")
    equal("the object has them", (o["spec"]["replicas"], o["metadata"]["generation"]), (4, 5))
    status, e = s.patch(DEPLOY + "/d/scale", {"spec": {"replicas": -1}})
    equal("negative replicas are 422", (status, e["reason"]), (422, "Invalid"))


def deletes(s):
    status, o = s.call("DELETE", CM + "/a?dryRun=All")
    equal("a dry deletion", (status, s.call("GET", CM + "/a")[0]), (200, 200))
    status, e = s.call("DELETE", CM + "/a", {"preconditions": {"uid": "x"}})
    equal("a uid precondition", (status, e["reason"]), (409, "Conflict"))
    status, e = s.call("DELETE", CM + "/a", {"preconditions": {"resourceVersion": "1"}})
    equal("a version precondition", (status, e["reason"]), (409, "Conflict"))
    status, e = s.call("DELETE", CM + "/a", {"propagationPolicy": "Sideways"})
    equal("an unknown propagationPolicy", (status, e["reason"]), (422, "Invalid"))
    status, o = s.call("DELETE", CM + "/a", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    check("delete answers a Status that names the object", status == 200 and o["status"] == "Success" and
          o["details"]["name"] == "a" and o["details"]["kind"] == "configmaps" and o["details"].get("uid"), o)
    equal("it is gone", s.call("GET", CM + "/a")[1]["message"], 'configmaps "a" not found')
    equal("once", s.call("DELETE", CM + "/a")[0], 404)
    s.call("POST", CM, config_map("f", finalizers=["example.com/f"]))
    status, o = s.call("DELETE", CM + "/f")
    check("a finalizer keeps it, marked", status == 200 and o["metadata"].get("deletionTimestamp") and
          o["metadata"]["deletionGracePeriodSeconds"] == 0, o)
    status, e = s.patch(CM + "/f", {"metadata": {"finalizers": ["example.com/f", "example.com/g"]}})
    equal("none can be added now", status, 422)
    status, o = s.patch(CM + "/f", {"metadata": {"finalizers": None}})
    equal("taking the last one away deletes", (status, s.call("GET", CM + "/f")[0]), (200, 404))
    s.call("POST", CM, config_map("o"))
    status, o = s.call("DELETE", CM + "/o?propagationPolicy=Orphan")
    equal("Orphan adds its finalizer", o["metadata"]["finalizers"], ["orphan"])
    s.call("POST", CM, config_map("p"))
    status, o = s.call("DELETE", CM + "/p", {"propagationPolicy": "Foreground"})
    equal("Foreground adds its finalizer", o["metadata"]["finalizers"], ["foregroundDeletion"])


def pods(s):
    service_account(s)
    status, o = s.call("POST", PODS, pod("p"))
    check("a pod starts Pending", status == 201 and o["status"]["phase"] == "Pending", o)
    status, o = s.call("POST", PODS + "/p/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
                                                     "target": {"kind": "Node", "name": "n1"}})
    equal("binding answers Success", (status, o.get("status")), (201, "Success"))
    status, o = s.call("GET", PODS + "/p")
    equal("it has its node", o["spec"].get("nodeName"), "n1")
    status, o = s.call("DELETE", PODS + "/p")
    check("a bound pod is marked with its grace", status == 200 and o["metadata"].get("deletionTimestamp") and
          o["metadata"]["deletionGracePeriodSeconds"] == 30, o["metadata"])
    first = o["metadata"]["deletionTimestamp"]
    status, o = s.call("DELETE", PODS + "/p?gracePeriodSeconds=60")
    equal("a second deletion can't lengthen it", o["metadata"]["deletionTimestamp"], first)
    status, o = s.call("DELETE", PODS + "/p?gracePeriodSeconds=5")
    equal("but shorten", o["metadata"]["deletionGracePeriodSeconds"], 5)
    status, o = s.call("DELETE", PODS + "/p", {"gracePeriodSeconds": 0})
    equal("grace 0 removes", (status, s.call("GET", PODS + "/p")[0]), (200, 404))


def collections(s):
    for i in range(150):
        s.call("POST", CM, config_map("many-%03d" % i, labels={"set": "a" if i % 3 else "b"}))
    status, o = s.call("DELETE", CM + "?labelSelector=set%3Db")
    equal("deletecollection answers what it deleted", (status, o["kind"], len(o["items"])), (200, "ConfigMapList", 50))
    equal("the others stay", len(s.call("GET", CM + "?labelSelector=set")[1]["items"]), 100)
    s.call("DELETE", CM + "?labelSelector=set")
    equal("until they go too", len(s.call("GET", CM + "?labelSelector=set")[1]["items"]), 0)


def namespaces(s):
    s.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    status, o = s.call("DELETE", "/api/v1/namespaces/n")
    equal("a namespace is terminating first", (status, o.get("status", {}).get("phase")), (200, "Terminating"))
    status, e = s.call("POST", "/api/v1/namespaces/n/configmaps", config_map("late"))
    equal("nothing new comes into it", (status, e["reason"]), (403, "Forbidden"))
    _, o = s.call("GET", "/api/v1/namespaces/n")
    o["spec"]["finalizers"] = []
    status, _ = s.call("PUT", "/api/v1/namespaces/n/finalize", o)
    equal("finalize removes it", (status, s.call("GET", "/api/v1/namespaces/n")[0]), (200, 404))


with Server() as s:
    for part in (creates, updates, status_and_generation, patches, scales, deletes, pods, collections, namespaces):
        part(s)
finish()
