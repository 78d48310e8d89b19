#!/usr/bin/env python3
"""
Goal: custom kinds behave like built-in ones from definition to removal: names, versions, schemas, status, scale, columns,
selectors, discovery, documents, watches; and survive a restart in the middle.
Method: a real API server (embedded store; etcd with SKIFF_TEST_ETCD), plain HTTPS requests.
"""
import os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
W = "/apis/example.com/v1/namespaces/default/widgets"
SPEC = {"type": "object", "properties": {
    "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
    "color": {"type": "string"}, "size": {"type": "string"},
    "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
              "items": {"type": "object", "required": ["name"],
                        "properties": {"name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": True}}}},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "template": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    "gone": {"type": "string", "nullable": True}}}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"},
                                           "conditions": {"type": "array", "items": {"type": "object", "properties": {
                                               "type": {"type": "string"}, "status": {"type": "string"}}}}}}


def version(name="v1", spec=SPEC, **more):
    return dict({"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": spec, "status": STATUS}}}}, **more)


def crd(plural="widgets", kind="Widget", group="example.com", versions=None, scope="Namespaced", **names):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": plural + "." + group},
            "spec": {"group": group, "scope": scope, "names": dict({"plural": plural, "kind": kind}, **names),
                     "versions": versions or [version()]}}


def widget(name, spec=None, **more):
    return dict({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec or {}}, **more)


def condition(o, kind):
    return next((c for c in o.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def until(text, fn, timeout=20):
    deadline = time.time() + timeout
    while time.time() < deadline:
        shown = fn()
        if shown[0]:
            return check(text, True)
        time.sleep(0.01)
    return check(text, False, shown[1])


def establish(s, definition):
    name = definition["metadata"]["name"]
    status, o = s.call("POST", CRDS, definition)
    check("definition %s is taken" % name, status == 201, o)

    def look():
        o = s.call("GET", CRDS + "/" + name)[1]
        return condition(o, "Established").get("status") == "True", o
    until("... and established", look)


def gone(s, path):
    until(path.rsplit("/", 1)[1] + " goes", lambda: (s.call("GET", path)[0] == 404, s.call("GET", path)))


FULL = dict(additionalPrinterColumns=[
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status', "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
    selectableFields=[{"jsonPath": ".spec.color"}],
    subresources={"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                                          "labelSelectorPath": ".status.selector"}})


def definitions(s):
    status, o = s.call("POST", CRDS, crd(versions=[version(**FULL)], shortNames=["wd"], categories=["toys"]))
    equal("a definition is created", status, 201)
    equal("... with singular, listKind and storedVersions",
          (o["spec"]["names"]["singular"], o["spec"]["names"]["listKind"], o["status"]["storedVersions"]),
          ("widget", "WidgetList", ["v1"]))
    w = s.watch(CRDS + "?watch=1&fieldSelector=metadata.name%%3Dwidgets.example.com&resourceVersion=%s" % o["metadata"]["resourceVersion"])
    seen = []
    while not seen or condition(seen[-1], "Established").get("status") != "True":
        seen.append(w.next()["object"])
    w.close()
    check("names are accepted in one change, the kind established in a later one", len(seen) == 2 and
          condition(seen[0], "Established")["reason"] == "Installing" and
          condition(seen[1], "NamesAccepted")["reason"] == "NoConflicts", seen)
    equal("what the watch announced is served", s.call("GET", W)[0], 200)
    d = {r["name"]: r for r in s.call("GET", "/apis/example.com/v1")[1]["resources"]}
    equal("discovery shows kind and subresources", sorted(d), ["widgets", "widgets/scale", "widgets/status"])
    equal("... short names and categories", (d["widgets"]["shortNames"], d["widgets"]["categories"]), (["wd"], ["toys"]))
    agg = s.call("GET", "/apis", headers={"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"})[1]
    group = [g for g in agg["items"] if g["metadata"].get("name") == "example.com"]
    check("aggregated discovery too", group and group[0]["versions"][0]["resources"][0]["responseKind"]["kind"] == "Widget", group)
    index = s.call("GET", "/openapi/v3")[1]["paths"]
    doc = s.call("GET", index["apis/example.com/v1"]["serverRelativeURL"])[1]
    schema = doc["components"]["schemas"]["com.example.v1.Widget"]
    check("OpenAPI v3 shows the schema", schema["properties"]["spec"]["properties"]["replicas"]["maximum"] == 10 and
          schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "Widget", "version": "v1"}] and
          "metadata" in schema["properties"] and
          "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale" in doc["paths"], schema)
    refs = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(doc)))
    equal("... and nothing that is not there", sorted(refs - set(doc["components"]["schemas"])), [])
    v2 = s.call("GET", "/openapi/v2")[1]["definitions"]["com.example.v1.Widget"]
    check("OpenAPI v2 has what v2 can say", v2["properties"]["metadata"]["$ref"].endswith("ObjectMeta") and
          "type" not in v2["properties"]["spec"]["properties"]["gone"], v2)


def objects(s):
    status, _, data = s.request("POST", W, widget("a", {"color": "red", "foo": 1, "any": {"x": [1]}, "gone": None, "size": None,
                                                        "ports": [{"name": "p", "port": "http", "junk": 1}]}))
    o = json.loads(data)
    equal("an object is pruned and defaulted, nulls that may not be go", (status, o["spec"]),
          (201, {"any": {"x": [1]}, "color": "red", "gone": None, "ports": [{"name": "p", "port": "http"}], "replicas": 1}))
    equal("generation starts at 1", o["metadata"]["generation"], 1)
    equal("GET gives the same", s.call("GET", W + "/a"), (200, o))
    items = s.call("GET", W)[1]
    equal("a list names its items' kind", (items["kind"], items["items"][0]["kind"], items["items"][0]["apiVersion"]),
          ("WidgetList", "Widget", "example.com/v1"))
    status, e = s.call("POST", W + "?fieldValidation=Strict", widget("b", {"foo": 1, "ports": [{"name": "p", "x": 1}]}))
    check("strict: unknown fields are refused with their paths", status == 400 and
          'strict decoding error: unknown field "spec.foo", unknown field "spec.ports[0].x"' in e["message"], e)
    _, h, _ = s.request("POST", W + "?dryRun=All", widget("b", {"foo": 1}))
    equal("warn is the default", h["Warning"], '299 - "unknown field \\"spec.foo\\""')
    status, e = s.call("POST", W, widget("b", {"color": 3, "replicas": 11, "template": {"spec": 1}}))
    equal("wrong values are refused with upstream's texts", (status, e["message"]), (
        422, 'Widget.example.com "b" is invalid: [spec.color: Invalid value: "integer": spec.color in body must be of type '
        'string: "integer", spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10, '
        'spec.template.apiVersion: Required value: must not be empty, spec.template.kind: Required value: must not be empty]'))
    status, e = s.call("POST", W, dict(widget("b"), metadata={"name": "B"}))
    check("the name is checked", status == 422 and "RFC 1123 subdomain" in e["message"], e)
    status, e = s.call("POST", W, b"\x6b8s\x00", content_type="application/vnd.kubernetes.protobuf")
    equal("protobuf is no form of custom objects", (status, e["reason"]), (415, "UnsupportedMediaType"))
    status, e = s.patch(W + "/a", {}, kind="strategic")
    check("nor are strategic merge patches", status == 415 and "application/merge-patch+json" in e["message"] and
          "strategic" not in e["message"], e)
    status, o = s.patch(W + "/a", {"spec": {"color": "blue"}})
    equal("a merge patch counts a generation", (status, o["spec"]["color"], o["metadata"]["generation"]), (200, "blue", 2))
    status, o = s.patch(W + "/a", [{"op": "replace", "path": "/spec/replicas", "value": 3}], kind="json")
    equal("a JSON patch too", (status, o["spec"]["replicas"]), (200, 3))
    status, o = s.patch(W + "/a", {"status": {"replicas": 9}})
    check("status is a subresource", "status" not in o, o)
    status, o = s.patch(W + "/a/status", {"status": {"replicas": 3, "selector": "app=x", "conditions": [{"type": "Ready", "status": "True"}]},
                                          "spec": {"color": "green"}})
    equal("... that changes nothing else", (status, o["status"]["replicas"], o["spec"]["color"], o["metadata"]["generation"]),
          (200, 3, "blue", 3))
    scale = s.call("GET", W + "/a/scale")[1]
    equal("scale shows the paths of the definition", (scale["spec"], scale["status"]), ({"replicas": 3}, {"replicas": 3, "selector": "app=x"}))
    status, scale = s.patch(W + "/a/scale", {"spec": {"replicas": 5}})
    equal("... and writes", (status, scale["spec"], s.call("GET", W + "/a")[1]["spec"]["replicas"]), (200, {"replicas": 5}, 5))
    equal("... within the schema", s.patch(W + "/a/scale", {"spec": {"replicas": 50}})[0], 422)
    t = s.call("GET", W, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})[1]
    equal("columns", [c["name"] for c in t["columnDefinitions"]], ["Name", "Replicas", "Ready", "Age"])
    check("... and cells", t["rows"][0]["cells"][:3] == ["a", 5, "True"] and re.match(r"\d+s$", t["rows"][0]["cells"][3]), t["rows"][0])
    s.call("POST", W, widget("b", {"color": "red"}))
    equal("selectable fields", [o["metadata"]["name"] for o in s.call("GET", W + "?fieldSelector=spec.color%3Dred")[1]["items"]], ["b"])
    status, e = s.call("GET", W + "?fieldSelector=spec.size%3D1")
    equal("... and no others", (status, e["message"]), (400, "field label not supported: spec.size"))
    w = s.watch(W + "?watch=1&fieldSelector=spec.color%%3Dred&resourceVersion=%s" % s.call("GET", W)[1]["metadata"]["resourceVersion"])
    s.patch(W + "/a", {"spec": {"color": "red"}})
    s.patch(W + "/b", {"spec": {"color": "blue"}})
    equal("a watch with a selector turns changes into ADDED and DELETED", [e["type"] for e in w.take(2)], ["ADDED", "DELETED"])
    w.close()


def versions(s):
    two = version("v2", spec={"type": "object", "properties": {"replicas": {"type": "integer", "maximum": 100}, "mode": {"type": "string", "default": "fast"}}},
                  served=True, deprecated=True)
    old = s.call("GET", CRDS + "/widgets.example.com")[1]
    old["spec"]["versions"] = [version(**FULL), two]
    equal("a version is added", s.call("PUT", CRDS + "/widgets.example.com", old)[0], 200)
    W2 = W.replace("/v1/", "/v2/")
    status, h, data = s.request("GET", W2 + "/a")
    o = json.loads(data)
    equal("an object is seen in it, pruned and defaulted", (status, o["apiVersion"], o["spec"]), (200, "example.com/v2", {"mode": "fast", "replicas": 5}))
    equal("... with the warning of a deprecated version", h["Warning"], '299 - "example.com/v2 Widget is deprecated"')
    equal("lists too", [i["apiVersion"] for i in s.call("GET", W2)[1]["items"]], ["example.com/v2"] * 2)
    equal("the preferred version is v2", s.call("GET", "/apis/example.com")[1]["preferredVersion"]["version"], "v2")
    w = s.watch(W2 + "?watch=1&resourceVersion=%s" % s.call("GET", W2)[1]["metadata"]["resourceVersion"])
    s.patch(W + "/a", {"spec": {"replicas": 6}})
    e = w.next()
    equal("watches as well", (e["type"], e["object"]["apiVersion"], e["object"]["spec"]["replicas"]), ("MODIFIED", "example.com/v2", 6))
    w.close()
    status, e = s.call("PUT", W2 + "/a", dict(o, spec={"replicas": 101}, metadata={"name": "a"}))
    check("a write is judged by its own version", status == 422 and "less than or equal to 100" in e["message"], e)
    old = s.call("GET", CRDS + "/widgets.example.com")[1]
    old["spec"]["versions"][0]["storage"], old["spec"]["versions"][1]["storage"] = False, True
    status, o = s.call("PUT", CRDS + "/widgets.example.com", old)
    equal("the storage version moves, both are remembered", (status, o["status"]["storedVersions"]), (200, ["v1", "v2"]))
    status, o = s.call("GET", W + "/a")
    equal("objects stored before are still whole", (status, o["apiVersion"], o["spec"]["color"]), (200, "example.com/v1", "red"))
    old = s.call("GET", CRDS + "/widgets.example.com")[1]
    kept = old["spec"]["versions"]
    old["spec"]["versions"] = kept[1:]
    status, e = s.call("PUT", CRDS + "/widgets.example.com", old)
    check("a stored version can't be dropped", status == 422 and "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions" in e["message"], e)
    kept[0]["storage"], kept[1]["storage"], kept[1]["served"] = True, False, False
    old["spec"]["versions"] = kept
    equal("a version stops being served", s.call("PUT", CRDS + "/widgets.example.com", old)[0], 200)
    equal("... and is gone from the paths", s.call("GET", W2)[0], 404)
    equal("... and from discovery", [v["version"] for v in s.call("GET", "/apis/example.com")[1]["versions"]], ["v1"])


def conflicts(s):
    establish(s, crd("gadgets", "Gadget", shortNames=["gd"]))
    s.call("POST", CRDS, crd("gizmos", "Gadget"))

    def refused():
        o = s.call("GET", CRDS + "/gizmos.example.com")[1]
        return condition(o, "NamesAccepted").get("reason") == "ListKindConflict", o
    until("a taken kind is a condition, not an error", refused)
    o = s.call("GET", CRDS + "/gizmos.example.com")[1]
    equal("... with its reasons", (condition(o, "NamesAccepted")["message"], condition(o, "Established")["reason"]),
          ('"GadgetList" is already in use', "NotAccepted"))
    equal("... and nothing is served", s.call("GET", "/apis/example.com/v1/gizmos")[0], 404)
    s.call("DELETE", CRDS + "/gadgets.example.com")
    gone(s, CRDS + "/gadgets.example.com")
    until("when the other goes the name is free", lambda: (condition(s.call("GET", CRDS + "/gizmos.example.com")[1], "Established").get("status") == "True", None))
    s.call("DELETE", CRDS + "/gizmos.example.com")
    gone(s, CRDS + "/gizmos.example.com")


def restart(s):
    before = s.call("GET", W)[1]["items"]
    w = s.watch(W + "?watch=1&resourceVersion=%s" % s.call("GET", W)[1]["metadata"]["resourceVersion"])
    s.stop(signal.SIGKILL)
    w.close()
    s.start()
    equal("after a crash all objects are there", s.call("GET", W)[1]["items"], before)
    equal("... and selectors work", [o["metadata"]["name"] for o in s.call("GET", W + "?fieldSelector=spec.color%3Dred")[1]["items"]], ["a"])


def removal(s):
    s.patch(W + "/b", {"metadata": {"finalizers": ["example.com/hold"]}})
    w = s.watch(W + "?watch=1&resourceVersion=%s" % s.call("GET", W)[1]["metadata"]["resourceVersion"])
    status, o = s.call("DELETE", CRDS + "/widgets.example.com")
    equal("a definition goes when its objects have gone", (status, condition(o, "Terminating")["status"], o["metadata"]["finalizers"]),
          (200, "True", ["customresourcecleanup.apiextensions.k8s.io"]))
    until("objects are deleted", lambda: (s.call("GET", W + "/a")[0] == 404, None))
    status, e = s.call("POST", W, widget("late"))
    equal("nothing new is taken meanwhile", (status, e["message"]),
          (405, "create not allowed while custom resource definition is terminating"))
    check("a finalizer holds its object", s.call("GET", W + "/b")[1]["metadata"].get("deletionTimestamp"))
    s.patch(W + "/b", {"metadata": {"finalizers": None}})
    gone(s, CRDS + "/widgets.example.com")
    types = []
    while True:
        e = w.next()
        if not e or e["type"] == "ERROR":
            break
        types.append((e["type"], e["object"]["metadata"]["name"]))
    w.close()
    check("the watch saw both go, then ended", ("DELETED", "a") in types and types[-1] == ("DELETED", "b"), types)
    equal("the kind is gone", s.call("GET", W)[0], 404)
    check("... from the documents", "apis/example.com/v1" not in s.call("GET", "/openapi/v3")[1]["paths"] and
          "example.com" not in json.dumps(s.call("GET", "/apis")[1]))
    establish(s, crd())
    equal("the same definition again starts empty", s.call("GET", W)[1]["items"], [])


def bad(s):
    deep = {"type": "string"}
    for _ in range(80):
        deep = {"type": "object", "properties": {"a": deep}}
    cases = [
        ("a schema that nests without end", {"a": deep}, "nested more than 64 deep"),
        ("look-ahead", {"a": {"type": "string", "pattern": "^(?=a)"}}, "invalid or unsupported Perl syntax: `(?=`"),
        ("a back reference", {"a": {"type": "string", "pattern": r"(a)\1"}}, r"invalid escape sequence: `\\1`"),
        ("a repeat of a million", {"a": {"type": "string", "pattern": "a{1000000}"}}, "invalid repeat count"),
        ("a pattern that does not compile", {"a": {"type": "string", "pattern": "("}}, "must be a valid regular expression, but isn't"),
        ("a default that is wrong", {"a": {"type": "integer", "default": "x"}}, 'in body must be of type integer: \\"string\\"'),
        ("a default with unknown fields", {"a": {"type": "object", "default": {"b": 1}}}, "must not have unknown fields"),
    ]
    for text, properties, wanted in cases:
        status, e = s.call("POST", CRDS, crd("bads", "Bad", versions=[version(spec={"type": "object", "properties": properties})]))
        check(text + " is refused", status == 422 and wanted in json.dumps(e["message"]).replace("\\\\", "\\").replace('\\"', '\\"') or
              (status == 422 and wanted.replace('\\"', '"').replace("\\\\", "\\") in e["message"]), e)
    establish(s, crd("slows", "Slow", versions=[version(spec={"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})]))
    path = "/apis/example.com/v1/namespaces/default/slows"
    start = time.time()
    status, e = s.call("POST", path, {"metadata": {"name": "x"}, "spec": {"a": "a" * 20000 + "!"}})
    check("a catastrophic pattern is cut off", status == 422 and "takes too many steps to be matched against '^(a+)+$'" in e["message"] and
          time.time() - start < 2, (time.time() - start, e))
    status, e = s.call("POST", path, {"metadata": {"name": "x"}, "spec": {"a": "aab"}})
    check("... short texts are judged", status == 422 and "should match '^(a+)+$'" in e["message"], e)
    equal("... and still matches", s.call("POST", path, {"metadata": {"name": "y"}, "spec": {"a": "a" * 20000}})[0], 201)


def many(s):
    def rss():
        return int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % s.process.pid).read()).group(1))
    c = s.connect()

    def turn(i):
        name = "many%d" % i
        s.call("POST", CRDS, crd(name, "Many%d" % i), connection=c)
        for path, want in ((CRDS + "/%s.example.com" % name, None),):
            while condition(s.call("GET", path, connection=c)[1], "Established").get("status") != "True":
                time.sleep(0.002)
        status, _ = s.call("POST", "/apis/example.com/v1/namespaces/default/" + name, {"metadata": {"name": "x"}}, connection=c)
        s.call("DELETE", CRDS + "/%s.example.com" % name, connection=c)
        return status == 201
    good = all(turn(i) for i in range(30))
    until("definitions come and go", lambda: (good and len(s.call("GET", CRDS)[1]["items"]) == 2, None))
    first = rss()
    good = all(turn(i) for i in range(30, 180))
    until("150 more of them", lambda: (good and len(s.call("GET", CRDS)[1]["items"]) == 2, None), timeout=60)
    if "asan" in BIN:
        return print("skip: the address sanitizer keeps freed memory")
    check("... leave nothing behind (%d KB, then %d KB)" % (first, rss()), rss() < first + 20000)


with Server() as s:
    for part in (definitions, objects, versions, conflicts, restart, removal, bad, many):
        part(s)
finish()
