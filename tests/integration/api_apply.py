#!/usr/bin/env python3
"""
Goal: every write records who owns which fields, and server-side apply merges, refuses and gives up as upstream does.
Method: a real API server on the embedded store, plain HTTPS requests; managedFields are compared as whole trees.
"""
import json, os, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"
DEPLOY = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
LAST = "kubectl.kubernetes.io/last-applied-configuration"


def apply(s, path, body, manager="one", force=False, more="", **options):
    return s.patch(path + "?fieldManager=" + manager + ("&force=true" if force else "") + more, body, "apply", **options)


def owners(o):
    """{(manager, operation, subresource): fieldsV1}"""
    return {(e["manager"], e["operation"], e.get("subresource", "")): e.get("fieldsV1")
            for e in o["metadata"].get("managedFields", [])}


def fields(*paths):
    """fieldsV1 of "a.b" paths; elements may hold dots when they are given as tuples."""
    tree = {}
    for path in paths:
        at = tree
        for part in path if isinstance(path, tuple) else path.split("."):
            at = at.setdefault(part if part[:2] in ("k:", "v:") or part == "self" else "f:" + part, {})
    def rename(t):
        return {("." if k == "self" else k): rename(v) for k, v in t.items()}
    return rename(tree)


def config(data, name="a", **metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict({"name": name}, **metadata), "data": data}


def tracking(s):
    agent = {"User-Agent": "my-client/1.2 (linux)"}
    status, o = s.call("POST", CM, config_map("t", {"k": "v"}, labels={"x": "y"}), headers=agent)
    entry = o["metadata"]["managedFields"]
    check("a create is recorded under the User-Agent's name", status == 201 and len(entry) == 1 and
          {k: entry[0][k] for k in ("manager", "operation", "apiVersion", "fieldsType")} ==
          {"manager": "my-client", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}, entry)
    equal("... with its fields", entry[0]["fieldsV1"],
          {"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}})
    check("... and a time", entry[0]["time"] == o["metadata"]["creationTimestamp"], entry)
    equal("GET and LIST show it", (s.call("GET", CM + "/t")[1]["metadata"]["managedFields"],
                                   [i for i in s.call("GET", CM)[1]["items"] if i["metadata"]["name"] == "t"][0]
                                   ["metadata"]["managedFields"]), (entry, entry))
    status, o = s.patch(CM + "/t?fieldManager=other", {"data": {"k": "w", "n": "1"}})
    equal("a patch takes what it changes", owners(o), {
        ("my-client", "Update", ""): {"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}},
        ("other", "Update", ""): fields("data.k", "data.n")})
    version = o["metadata"]["resourceVersion"]
    status, o = s.patch(CM + "/t?fieldManager=third", {"data": {"k": "w"}})
    check("a patch that changes nothing records nothing", o["metadata"]["resourceVersion"] == version and
          ("third", "Update", "") not in owners(o), o)
    o["data"].pop("n")
    status, o = s.call("PUT", CM + "/t?fieldManager=third", o)
    equal("a removed field is nobody's", owners(o)[("other", "Update", "")], fields("data.k"))
    o["metadata"]["managedFields"] = []
    status, same = s.call("PUT", CM + "/t", o)
    equal("an empty list changes nothing", same["metadata"]["managedFields"],
          s.call("GET", CM + "/t")[1]["metadata"]["managedFields"])
    check("... indeed", same["metadata"]["managedFields"], same)
    mine = [{"manager": "mine", "operation": "Update", "apiVersion": "v1", "time": "2024-01-01T00:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:k": {}}}}]
    same["metadata"]["managedFields"] = mine
    status, o = s.call("PUT", CM + "/t", same)
    equal("a client may write the list", (status, o["metadata"]["managedFields"]), (200, mine))
    o["metadata"]["managedFields"] = [{"manager": "bad", "operation": "Other", "apiVersion": "v1", "fieldsType": "FieldsV1"}]
    status, o = s.call("PUT", CM + "/t", o)
    equal("a bad list is left aside", (status, o["metadata"]["managedFields"]), (200, mine))
    o["metadata"]["managedFields"] = [{}]
    status, o = s.call("PUT", CM + "/t", o)
    check("[{}] empties it", status == 200 and "managedFields" not in o["metadata"], o["metadata"])
    status, o = s.patch(CM + "/t?fieldManager=late", {"data": {"k": "z"}})
    check("... and updates don't start it anew", status == 200 and "managedFields" not in o["metadata"], o["metadata"])
    status, o = s.patch(CM + "/t", [{"op": "add", "path": "/data/q", "value": "1"}], "json")
    equal("a JSON patch works on", (status, o["data"]), (200, {"k": "z", "q": "1"}))
    status, o = apply(s, CM + "/t", config({"k": "z"}, "t"))
    equal("apply starts it, with what was before", owners(o), {
        ("one", "Apply", ""): fields("data.k"),
        ("before-first-apply", "Update", ""): {"f:data": {".": {}, "f:k": {}, "f:q": {}},
                                               "f:metadata": {"f:labels": {".": {}, "f:x": {}}}}})
    for i in range(12):
        status, o = s.patch(CM + "/t?fieldManager=m%02d" % i, {"data": {"m%d" % i: "1"}})
    names = sorted(e["manager"] for e in o["metadata"]["managedFields"] if e["operation"] == "Update")
    check("at most ten update managers", len(names) == 10 and "ancient-changes" in names and "m11" in names, names)
    order = [(e["operation"], e["time"]) for e in o["metadata"]["managedFields"]]
    equal("appliers first, then by time", order, sorted(order))
    s.call("DELETE", CM + "/t")


def created_pod(s):
    body = pod("owned", labels={"a": "b"})
    body["spec"]["containers"][0]["ports"] = [{"containerPort": 80}, {"containerPort": 9, "protocol": "UDP"}]
    _, o = s.call("POST", PODS + "?fieldManager=kubectl-run", body)
    container = {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                 "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                 "f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
                             'k:{"containerPort":9,"protocol":"UDP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}}}}
    equal("a pod's create owns what upstream says", owners(o), {("kubectl-run", "Update", ""): {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {"f:containers": {'k:{"name":"c"}': container}, "f:dnsPolicy": {}, "f:enableServiceLinks": {},
                   "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                   "f:terminationGracePeriodSeconds": {}}}})
    status, _ = s.call("POST", PODS + "/owned/binding", {"apiVersion": "v1", "kind": "Binding",
                       "metadata": {"name": "owned"}, "target": {"kind": "Node", "name": "n1"}})
    _, after = s.call("GET", PODS + "/owned")
    equal("a binding is nobody's", (status, after["metadata"]["managedFields"]), (201, o["metadata"]["managedFields"]))
    status, o = s.patch(PODS + "/owned/status?fieldManager=kubelet", {"status": {"phase": "Running", "conditions": [
        {"type": "Ready", "status": "True"}]}}, "strategic")
    own = owners(o).get(("kubelet", "Update", "status"))
    check("a status write is recorded as one", own and own["f:status"]["f:phase"] == {} and
          own["f:status"]["f:conditions"]['k:{"type":"Ready"}']["f:status"] == {} and "f:spec" not in own, owners(o))
    before = o["metadata"]["managedFields"]
    status, o = s.call("DELETE", PODS + "/owned", {"gracePeriodSeconds": 30})
    equal("a deletion changes no owner", s.call("GET", PODS + "/owned")[1]["metadata"]["managedFields"], before)
    s.call("DELETE", PODS + "/owned", {"gracePeriodSeconds": 0})


def applies(s):
    status, o = apply(s, CM + "/a", config({"x": "1", "y": "2"}))
    equal("apply creates", (status, o["data"], owners(o)), (201, {"x": "1", "y": "2"},
          {("one", "Apply", ""): fields("data.x", "data.y")}))
    first = o["metadata"]
    time.sleep(1.1)
    status, o = apply(s, CM + "/a", config({"x": "1", "y": "2"}))
    equal("the same again changes nothing", (status, o["metadata"]), (200, first))
    status, o = apply(s, CM + "/a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: '1'\n")
    equal("what is no longer named goes, YAML is read", (status, o["data"], owners(o)),
          (200, {"x": "1"}, {("one", "Apply", ""): fields("data.x")}))
    status, e = apply(s, CM + "/a", config({"x": "2"}), "two")
    equal("another's field is a conflict", (status, e["reason"], e["message"], e["details"]),
          (409, "Conflict", 'Apply failed with 1 conflict: conflict with "one": .data.x',
           {"causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}]}))
    status, o = apply(s, CM + "/a", config({"x": "1", "z": "3"}), "two")
    equal("the same value is shared", (status, owners(o)), (200, {
        ("one", "Apply", ""): fields("data.x"), ("two", "Apply", ""): fields("data.x", "data.z")}))
    status, o = apply(s, CM + "/a", config({"x": "5"}), "two", force=True)
    equal("force takes it over", (status, o["data"], owners(o)),
          (200, {"x": "5"}, {("two", "Apply", ""): fields("data.x")}))
    status, o = apply(s, CM + "/a", config({"w": "1"}), "one")
    status, o = apply(s, CM + "/a", config({"x": "5"}), "one")
    equal("own fields go, shared ones come", (o["data"], owners(o)), ({"x": "5"}, {
        ("one", "Apply", ""): fields("data.x"), ("two", "Apply", ""): fields("data.x")}))
    status, o = apply(s, CM + "/a", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, "two")
    equal("giving up a shared field keeps it", (o["data"], list(owners(o))), ({"x": "5"}, [("one", "Apply", "")]))
    s.patch(CM + "/a?fieldManager=edit", {"data": {"x": "6", "u": "1"}})
    status, e = apply(s, CM + "/a", config({"x": "5", "u": "2"}), "one")
    equal("conflicts are listed", (status, e["message"]), (409,
          'Apply failed with 2 conflicts: conflicts with "edit" using v1:\n- .data.u\n- .data.x'))
    status, o = apply(s, CM + "/a", config({"x": "5"}, resourceVersion="1"), "one", force=True)
    equal("an old resourceVersion is 409", (status, o["message"]), (409,
          'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
          'please apply your changes to the latest version and try again'))
    status, o = apply(s, CM + "/a", config({"x": "5"}, uid="00000000-0000-0000-0000-000000000000"), "one", force=True)
    equal("another uid is 409", status, 409)
    status, e = apply(s, CM + "/none", config({}, "none", uid="u"), "one")
    equal("a uid without an object is 409", (status, e["message"]), (409,
          'Operation cannot be fulfilled on configmaps "none": uid mismatch: the provided object specified uid u, '
          'and no existing object was found'))
    _, before = s.call("GET", CM + "/a")
    status, o = apply(s, CM + "/a", config({"x": "9"}), "one", True, "&dryRun=All")
    equal("a dry run shows and keeps nothing", (status, o["data"]["x"], s.call("GET", CM + "/a")[1]), (200, "9", before))
    status, o = apply(s, CM + "/dry", config({"x": "9"}, "dry"), "one", True, "&dryRun=All")
    equal("... also of a create", (status, s.call("GET", CM + "/dry")[0]), (201, 404))


def refusals(s):
    good = config({"x": "1"}, "r")
    status, e = s.patch(CM + "/r", good, "apply")
    equal("a manager is required", (status, e["message"]), (422,
          'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'))
    status, e = s.patch(CM + "/a?force=true", {"data": {}})
    equal("force is for apply", (status, e["message"]), (422,
          'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'))
    status, e = apply(s, CM + "/r", good, "a" * 129)
    equal("a long manager is refused", status, 422)
    status, e = apply(s, CM + "/r", good, "a%0Ab")
    equal("... and an unprintable one", (status, e["message"]), (422,
          'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\nb": '
          'should only contain printable characters'))
    status, e = apply(s, CM + "/r", dict(good, metadata={"name": "r", "managedFields": []}))
    equal("managedFields must not be sent", (status, e["message"]), (400, "metadata.managedFields must be nil"))
    status, e = apply(s, CM + "/r", dict(good, kind="Secret"))
    equal("another kind is refused", (status, e["message"]), (400, "invalid object type: /v1, Kind=Secret"))
    status, e = apply(s, CM + "/r", "{{")
    check("bad YAML is 400", status == 400 and e["message"].startswith("error decoding YAML: "), e)
    status, e = apply(s, CM + "/r", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: r}\ndata: {a: b, a: c}\n", more="&fieldValidation=Strict")
    check("a key twice is refused when strict", status == 400 and e["message"].startswith("error strict decoding YAML: "), e)
    status, e = apply(s, CM + "/other", good)
    equal("the name is the path's", (status, e["message"]), (400,
          "the name of the object (r) does not match the name on the URL (other)"))
    status, e = s.call("PATCH", CM + "/r?fieldManager=x", b"\xa0", content_type="application/apply-patch+cbor")
    equal("CBOR is 415", status, 415)
    bad = deployment("bad")
    bad["spec"]["foo"] = 1
    bad["spec"]["replicas"] = "x"
    status, e = apply(s, DEPLOY + "/bad", bad)
    equal("the schema is obeyed", (status, e["message"], "reason" in e), (500,
          "failed to create typed patch object (/bad; apps/v1, Kind=Deployment): errors:\n"
          "  .spec.foo: field not declared in schema\n"
          "  .spec.replicas: expected numeric (int or float), got string", False))
    bad = deployment("bad")
    bad["spec"]["template"]["spec"]["containers"] *= 2
    status, e = apply(s, DEPLOY + "/bad", bad)
    equal("duplicates are refused", (status, e["message"]), (500,
          'failed to create typed patch object (/bad; apps/v1, Kind=Deployment): '
          '.spec.template.spec.containers: duplicate entries for key [name="c"]'))
    bad["spec"]["template"]["spec"]["containers"] = [{"image": "x"}]
    status, e = apply(s, DEPLOY + "/bad", bad)
    check("a missing key is refused", status == 500 and e["message"].endswith(
        '.spec.template.spec.containers: element 0: associative list with keys has an element that omits key field '
        '"name" (and doesn\'t have default value)'), e)
    bad = deployment("bad", replicas=-1)
    status, e = apply(s, DEPLOY + "/bad", bad)
    equal("validation follows", (status, e["reason"]), (422, "Invalid"))
    equal("a user without rights is refused", apply(s, CM + "/r", good, token=USER)[0], 403)


def lists(s):
    d = deployment("d", 2)
    d["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    status, o = apply(s, DEPLOY + "/d", d)
    equal("a deployment is applied", (status, owners(o)[("one", "Apply", "")]), (201, {"f:spec": {
        "f:replicas": {}, "f:selector": {}, "f:template": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:image": {},
                "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}}}}}}}))
    side = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {
        "containers": [{"name": "side", "image": "s"}, {"name": "c", "env": [{"name": "B", "value": "2"}]}]}}}}
    status, o = apply(s, DEPLOY + "/d", side, "two")
    spec = o["spec"]["template"]["spec"]
    equal("another adds its container and variable", (status, [c["name"] for c in spec["containers"]],
          [e["name"] for e in spec["containers"][1]["env"]]), (200, ["side", "c"], ["A", "B"]))
    status, o = apply(s, DEPLOY + "/d", d)
    equal("the first one leaves them", [c["name"] for c in o["spec"]["template"]["spec"]["containers"]], ["side", "c"])
    side["spec"]["template"]["spec"]["containers"].pop(0)
    status, o = apply(s, DEPLOY + "/d", side, "two")
    equal("its container goes with it", [c["name"] for c in o["spec"]["template"]["spec"]["containers"]], ["c"])
    status, e = apply(s, DEPLOY + "/d", dict(d, spec=dict(d["spec"], selector={"matchLabels": {"app": "x"}})), "three")
    check("the selector is one field", status == 409 and ".spec.selector" in e["message"], e)
    svc = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
        "selector": {"a": "b"}, "ports": [{"port": 80}, {"port": 443, "name": "tls"}]}}
    svc["spec"]["ports"][0]["name"] = "web"
    status, o = apply(s, SERVICES + "/s", svc)
    equal("a port's protocol is defaulted in its key", (status, sorted(owners(o)[("one", "Apply", "")]["f:spec"]["f:ports"])),
          (201, ['k:{"port":443,"protocol":"TCP"}', 'k:{"port":80,"protocol":"TCP"}']))
    svc["spec"]["ports"].pop()
    status, o = apply(s, SERVICES + "/s", svc)
    equal("a port goes", (status, [p["port"] for p in o["spec"]["ports"]]), (200, [80]))
    cm = config({}, "f", finalizers=["example.com/a"])
    apply(s, CM + "/f", cm)
    status, o = apply(s, CM + "/f", config({}, "f", finalizers=["example.com/b"]), "two")
    equal("sets are shared", (o["metadata"].get("finalizers", o), owners(o)[("two", "Apply", "")]), (
        ["example.com/a", "example.com/b"], fields("data", ("metadata", "finalizers", 'v:"example.com/b"'))))
    status, o = apply(s, CM + "/f", config({}, "f"), "two")
    equal("... element by element", o["metadata"]["finalizers"], ["example.com/a"])
    apply(s, CM + "/f", config({}, "f"))


def subresources(s):
    _, o = s.call("GET", DEPLOY + "/d")
    status, o = s.call("PUT", DEPLOY + "/d/scale?fieldManager=scaler", {"apiVersion": "autoscaling/v1", "kind": "Scale",
                       "metadata": {"name": "d"}, "spec": {"replicas": 5}})
    equal("scale shows its owner", [(e["manager"], e["apiVersion"], e["fieldsV1"]) for e in o["metadata"]["managedFields"]],
          [("scaler", "autoscaling/v1", fields("spec.replicas"))])
    _, o = s.call("GET", DEPLOY + "/d")
    check("scaling takes spec.replicas over", owners(o)[("scaler", "Update", "scale")] == fields("spec.replicas") and
          "f:replicas" not in owners(o)[("one", "Apply", "")]["f:spec"], owners(o))
    status, e = apply(s, DEPLOY + "/d", deployment("d", 2))
    equal("applying it again is a conflict", (status, e["message"]), (409,
          'Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas'))
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 7}}
    status, e = apply(s, DEPLOY + "/d/scale", scale, "hpa")
    equal("apply of scale conflicts too", (status, e["reason"]), (409, "Conflict"))
    status, o = apply(s, DEPLOY + "/d/scale", scale, "hpa", True)
    equal("... unless forced", (status, o["spec"], [e["manager"] for e in o["metadata"]["managedFields"]]),
          (200, {"replicas": 7}, ["hpa"]))
    _, o = s.call("GET", DEPLOY + "/d")
    equal("... and is recorded", owners(o)[("hpa", "Apply", "scale")], fields("spec.replicas"))
    status, o = apply(s, DEPLOY + "/d/status", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
                      "spec": {"replicas": 99}, "status": {"replicas": 3, "conditions": [
                          {"type": "Available", "status": "True", "lastTransitionTime": None}]}}, "ctl")
    check("apply of status changes status", status == 200 and o["status"]["replicas"] == 3 and o["spec"]["replicas"] == 7, o)
    own = owners(o)[("ctl", "Apply", "status")]
    check("... and owns nothing else", set(own) == {"f:status"} and 'k:{"type":"Available"}' in own["f:status"]["f:conditions"], own)
    status, o = apply(s, DEPLOY + "/d", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
                      "status": {"replicas": 8}}, "stat")
    check("status on the object itself is left out", status == 200 and o["status"]["replicas"] == 3 and
          ("stat", "Apply", "") not in owners(o), owners(o))
    equal("apply of a missing object's status is 404", apply(s, DEPLOY + "/nope/status",
          {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nope"}})[0], 404)


def migration(s):
    """What kubectl apply did as a client, the manager "kubectl" may change as a server."""
    body = config({"k": "1", "m": "1"}, "m")
    body["metadata"]["annotations"] = {LAST: json.dumps(config({"k": "1", "m": "1"}, "m"))}
    s.call("POST", CM + "?fieldManager=kubectl-client-side-apply", body)
    new = config({"k": "2"}, "m")
    equal("another manager conflicts", apply(s, CM + "/m", new, "someone")[0], 409)
    status, o = apply(s, CM + "/m", new, "kubectl")
    equal("kubectl takes over", (status, o["data"]["k"]), (200, "2"))
    equal("... and keeps its annotation", json.loads(o["metadata"]["annotations"][LAST])["data"], {"k": "2"})
    s.patch(CM + "/m?fieldManager=edit", {"data": {"m": "9"}})
    status, e = apply(s, CM + "/m", config({"k": "2", "m": "5"}, "m"), "kubectl")
    equal("what others changed since conflicts", (status, e["message"]), (409,
          'Apply failed with 1 conflict: conflict with "edit" using v1: .data.m'))


def versions(s):
    """An autoscaler has two versions: owners keep the one they wrote in."""
    hpa = "/apis/autoscaling/%s/namespaces/default/horizontalpodautoscalers"
    body = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {
        "maxReplicas": 5, "minReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}
    status, o = apply(s, hpa % "v1" + "/h", body)
    equal("applied in v1", (status, o["metadata"]["managedFields"][0]["apiVersion"]), (201, "autoscaling/v1"))
    status, o = s.patch(hpa % "v2" + "/h?fieldManager=edit", {"spec": {"maxReplicas": 6}})
    entries = {e["manager"]: (e["apiVersion"], e["fieldsV1"]) for e in o["metadata"]["managedFields"]}
    check("patched in v2, v1's owner loses the field", entries["edit"] == ("autoscaling/v2", fields("spec.maxReplicas")) and
          entries["one"][0] == "autoscaling/v1" and "f:maxReplicas" not in entries["one"][1]["f:spec"], entries)
    status, e = apply(s, hpa % "v1" + "/h", body)
    equal("... and conflicts in v1", (status, e["message"]), (409,
          'Apply failed with 1 conflict: conflict with "edit" using autoscaling/v2: .spec.maxReplicas'))


def custom_kinds(s):
    """The same through the schema of a definition: map and set lists, atomic ones, what it does not know."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    text = {"type": "string"}
    item = {"type": "object", "required": ["name"], "properties": {
        "name": text, "zone": {"type": "string", "default": "a"}, "value": {"type": "integer"}}}
    spec = {"type": "object", "properties": {
        "size": {"type": "integer"}, "plain": {"type": "array", "items": text},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "items": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "zone"]},
        "one": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": text, "b": text}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    status, e = s.call("POST", crds, {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
    path = "/apis/example.com/v1/namespaces/default/widgets/w"
    def widget(**spec):
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    if not e.get("status", {}).get("conditions"):  # nobody else establishes it here
        s.patch(crds + "/widgets.example.com/status", {"status": {"conditions": [
            {"type": "Established", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z"}],
            "acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "storedVersions": ["v1"]}})
    deadline = time.time() + 10
    while s.call("GET", path.rsplit("/", 1)[0])[0] != 200 and time.time() < deadline:
        time.sleep(0.02)
    status, o = apply(s, path, widget(size=1, set=["x"], plain=["p"], items=[{"name": "n", "value": 1}],
                                      one={"a": "1"}, open={"q": {"r": [1]}}))
    equal("a custom object is applied", (status, owners(o)), (201, {("one", "Apply", ""): {"f:spec": {
        "f:size": {}, "f:plain": {}, "f:one": {}, "f:set": {'v:"x"': {}},
        "f:open": {"f:q": {".": {}, "f:r": {}}},
        "f:items": {'k:{"name":"n","zone":"a"}': {".": {}, "f:name": {}, "f:value": {}}}}}}))
    status, o = apply(s, path, widget(set=["y"], items=[{"name": "n", "zone": "b"}]), "two")
    equal("lists are shared by their keys", (status, o["spec"]["set"], [(i["name"], i["zone"]) for i in o["spec"]["items"]]),
          (200, ["x", "y"], [("n", "a"), ("n", "b")]))
    status, e = apply(s, path, widget(one={"b": "2"}), "two")
    equal("an atomic map is one field", (status, e["message"]), (409,
          'Apply failed with 1 conflict: conflict with "one": .spec.one'))
    status, o = apply(s, path, widget(size=1))
    equal("what goes, goes", o["spec"], {"size": 1, "set": ["y"], "items": [{"name": "n", "zone": "b"}]})
    status, e = apply(s, path, widget(nope=1))
    check("unknown fields are refused", status == 500 and e["message"].endswith(".spec.nope: field not declared in schema"), e)


def races(s):
    """Appliers of different fields at once all get through."""
    import threading
    apply(s, CM + "/race", config({"base": "1"}, "race"))
    bad = []
    def one(i):
        status, o = apply(s, CM + "/race", config({"k%d" % i: "1"}, "race"), "m%d" % i)
        if status != 200:
            bad.append(o)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
    for t in threads: t.start()
    for t in threads: t.join()
    _, o = s.call("GET", CM + "/race")
    check("sixteen appliers at once", not bad and len(o["data"]) == 17 and len(owners(o)) == 17, (bad, o))


with Server() as s:
    service_account(s)
    for part in (tracking, created_pod, applies, refusals, lists, subresources, migration, versions, custom_kinds, races):
        part(s)
finish()
