#!/usr/bin/env python3
"""
Options of requests: warnings, deletion of collections in parts, exact pages, dry runs without a trace.

Method: a real skiff-apiserver; headers, counts and versions are compared.
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

NS = "/api/v1/namespaces/default/"
CM, PODS, SVC = NS + "configmaps", NS + "pods", NS + "services"


def warnings_of(s, *args, **options):
    status, headers, data = s.request(*args, **options)
    return status, [w[7:-1].replace('\\"', '"') for w in headers.get_all("Warning") or []]


def warnings(s):
    text = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    for method, path, body in (("GET", NS + "endpoints", None), ("GET", "/api/v1/endpoints?limit=1", None),
                               ("POST", NS + "endpoints", {"metadata": {"name": "e"}}), ("DELETE", NS + "endpoints/e", None)):
        equal("%s of a kind that goes away" % method, warnings_of(s, method, path, body)[1], [text])
    equal("others have none", warnings_of(s, "GET", CM), (200, []))
    p = pod("dotted.name")
    p["spec"].update(nodeSelector={"beta.kubernetes.io/os": "linux"}, terminationGracePeriodSeconds=-1)
    p["spec"]["containers"][0].update(env=[{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}],
                                      ports=[{"containerPort": 1}, {"containerPort": 1}], resources={"limits": {"memory": "1500m"}})
    status, got = warnings_of(s, "POST", PODS + "?dryRun=All", p)
    equal("a pod is accepted", status, 201)
    for wanted in ('spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
                   "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                   'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
                   "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                   'spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer'):
        check("with: " + wanted[:70], wanted in got, got)
    check("and its name", any(w.startswith("metadata.name: this is used in the Pod's hostname") for w in got), got)
    d = deployment("d")
    d["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A"}, {"name": "A"}]
    status, got = warnings_of(s, "POST", "/apis/apps/v1/namespaces/default/deployments?dryRun=All", d)
    equal("templates, too", got, ['spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'])
    status, got = warnings_of(s, "POST", CM + "?dryRun=All", b"metadata:\n  name: x\ndata:\n  a: '1'\n  a: '2'\nb: 1\n", content_type="application/yaml")
    check("YAML that says a key twice", status == 201 and any('key "a" already set in map' in w for w in got) and 'unknown field "b"' in got, got)
    equal("not when nobody asks", warnings_of(s, "POST", CM + "?dryRun=All&fieldValidation=Ignore", b"metadata:\n  name: x\ndata:\n  a: '1'\n  a: '2'\nb: 1\n",
                                              content_type="application/yaml"), (201, []))


def collections(s):
    for i in range(10):
        s.call("POST", CM, config_map("c%d" % i, labels={"l": "x"}))

    def names():
        return [c["metadata"]["name"] for c in s.call("GET", CM + "?labelSelector=l%3Dx")[1]["items"]]
    status, gone = s.call("DELETE", CM + "?labelSelector=l%3Dx&dryRun=All")
    equal("a dry run of all", (status, len(gone["items"]), len(names())), (200, 10, 10))
    status, gone = s.call("DELETE", CM + "?labelSelector=l%3Dx&limit=3")
    equal("three of them", (status, [c["metadata"]["name"] for c in gone["items"]], len(names())), (200, ["c0", "c1", "c2"], 7))
    equal("preconditions that don't hold", s.call("DELETE", CM + "?labelSelector=l%3Dx", {"preconditions": {"uid": "x"}})[0], 409)
    equal("one by its name", (s.call("DELETE", CM + "?fieldSelector=metadata.name%3Dc5")[0], len(names())), (200, 6))
    token = s.call("GET", CM + "?labelSelector=l%3Dx&limit=2")[1]["metadata"]["continue"]
    s.call("DELETE", CM + "?labelSelector=l%3Dx&continue=" + token)
    equal("those behind a token", names(), ["c3", "c4"])
    page = s.call("GET", CM + "?labelSelector=l%3Dx&limit=1")[1]
    version = page["metadata"]["resourceVersion"]
    s.call("POST", CM, config_map("c0", labels={"l": "x"}))
    old = s.call("GET", CM + "?labelSelector=l%3Dx&limit=5&resourceVersion=" + version)[1]
    equal("a limit with a version means exactly that version", ([c["metadata"]["name"] for c in old["items"]], old["metadata"]["resourceVersion"]), (["c3", "c4"], version))
    s.call("POST", CM, config_map("held", finalizers=["example.org/x"]))
    status, tree = s.call("DELETE", CM + "/held?propagationPolicy=Foreground")
    check("held back by finalizers", status == 200 and "foregroundDeletion" in tree["metadata"]["finalizers"], tree)
    s.patch(CM + "/held", {"metadata": {"finalizers": None}})
    equal("and gone without", s.call("GET", CM + "/held")[0], 404)


def dry_runs(s):
    before = s.call("GET", CM)[1]["metadata"]["resourceVersion"]
    bodies = [("POST", CM, config_map("dry")), ("PUT", CM + "/c3", config_map("c3", {"a": "b"})), ("DELETE", CM + "/c3", None),
              ("POST", SVC, {"metadata": {"name": "dry"}, "spec": {"type": "NodePort", "ports": [{"port": 1}]}}), ("POST", PODS, pod("dry")),
              ("POST", "/api/v1/namespaces", {"metadata": {"name": "dry"}}), ("DELETE", CM, None)]
    for method, path, body in bodies:
        status, tree = s.call(method, path + "?dryRun=All", body)
        check("%s %s" % (method, path), status in (200, 201), tree)
    status, tree = s.patch(CM + "/c3?dryRun=All", {"data": {"x": "y"}})
    equal("a patch shows what would be", (status, tree["data"]), (200, {"x": "y"}))
    equal("and nothing happened", s.call("GET", CM)[1]["metadata"]["resourceVersion"], before)


def main():
    with Server() as s:
        service_account(s)
        warnings(s)
        collections(s)
        dry_runs(s)


main()
finish()
