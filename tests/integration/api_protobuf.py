#!/usr/bin/env python3
"""
Goal: clients that speak protobuf get what clients of JSON get, and may send it; people get JSON and YAML that they can read.
Method: a full object of every kind, encoded by the server's code, is read by a reader that shares no code with it
(lib/protobuf.py, from a table of the published field numbers) and compared with its JSON. Then a real server: every kind
of its discovery is listed, got and watched in both encodings; many kinds are created, updated, patched and deleted with
protobuf in and out; refusals, Tables, metadata alone, pages, encodings that are not served.
"""
import base64, json, os, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import protobuf
from apiserver import *

PROTOBUF = "application/vnd.kubernetes.protobuf"
AS_PROTOBUF = {"Accept": PROTOBUF}
HERE = os.path.dirname(os.path.abspath(__file__))


def full_objects():
    out = subprocess.run([BIN + "/../tests/object-tool"], stdout=subprocess.PIPE, check=True).stdout.decode()
    tested = set()
    for line in out.splitlines():
        version, plural, kind, text, encoded = line.split("\t")
        if version == "metrics.k8s.io/v1beta1":
            continue  # figures of the nodes have no form in protobuf
        try:
            wire = protobuf.read_object(base64.b64decode(encoded))
            difference = protobuf.same(json.loads(text), wire)
        except (AssertionError, KeyError, ValueError) as e:
            difference = repr(e)
        tested.add((version, plural))
        if difference:
            check("full %s of %s" % (kind, version), False, difference)
    published = {tuple(line.split(" =>")[0].split()) for line in open(HERE + "/../cases/schema_facts.test")
                 if " => " in line and len(line.split(" =>")[0].split()) == 2}
    equal("every published resource was read", sorted(published - tested), [])
    check("%d kinds, all fields" % len(tested), len(tested) >= 65, len(tested))


def answer(s, method, path, body=None, headers=None, content_type=PROTOBUF):
    """(status, tree) with protobuf in and out."""
    data = protobuf.write_object(body) if isinstance(body, dict) else body
    status, got, data = s.request(method, path, data, headers=headers or AS_PROTOBUF, content_type=content_type)
    if not got["Content-Type"].startswith(PROTOBUF):
        check("%s %s is answered in protobuf" % (method, path), False, (status, got["Content-Type"], data[:200]))
        return status, {}
    return status, protobuf.read_object(data)


def meta(name):
    return {"name": name, "labels": {"z": "1", "a": ""}, "annotations": {"note": "line\n\"ü\""}}


CONTAINERS = [{"name": "c", "image": "i", "env": [{"name": "A", "value": "\t"}], "ports": [{"containerPort": 80}],
               "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
               "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
               "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 3}}]
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS, "volumes": [
    {"name": "e", "emptyDir": {}}, {"name": "p", "projected": {"sources": [{"configMap": {"name": "x"}}]}}]}}
SELECTOR = {"matchLabels": {"a": "b"}}
NAMESPACED, CLUSTER = "/namespaces/default", ""
OBJECTS = [
    ("v1", "ConfigMap", "configmaps", NAMESPACED, {"data": {"b": "2", "a": "1"}, "binaryData": {"x": "AAH/"}}),
    ("v1", "Secret", "secrets", NAMESPACED, {"data": {"e": "", "x": "eQ=="}, "type": "Opaque"}),
    ("v1", "Pod", "pods", NAMESPACED, {"spec": TEMPLATE["spec"]}),
    ("v1", "Service", "services", NAMESPACED, {"spec": {"selector": {"a": "b"}, "ports": [
        {"name": "a", "port": 80, "targetPort": "http"}, {"name": "b", "port": 81, "targetPort": 8080}]}}),
    ("v1", "ServiceAccount", "serviceaccounts", NAMESPACED, {}),
    ("v1", "LimitRange", "limitranges", NAMESPACED, {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]}}),
    ("v1", "ResourceQuota", "resourcequotas", NAMESPACED, {"spec": {"hard": {"count/widgets.example.com": "10"}}}),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", NAMESPACED, {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ("v1", "PersistentVolume", "persistentvolumes", CLUSTER, {"spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/x"}}}),
    ("v1", "ReplicationController", "replicationcontrollers", NAMESPACED, {"spec": {"selector": {"a": "b"}, "template": TEMPLATE}}),
    ("v1", "PodTemplate", "podtemplates", NAMESPACED, {"template": TEMPLATE}),
    ("v1", "Endpoints", "endpoints", NAMESPACED, {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}),
    ("v1", "Event", "events", NAMESPACED, {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"},
                                           "reason": "Why", "firstTimestamp": "2026-01-02T03:04:05Z"}),
    ("v1", "Node", "nodes", CLUSTER, {"spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}]}}),
    ("apps/v1", "Deployment", "deployments", NAMESPACED, {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "ReplicaSet", "replicasets", NAMESPACED, {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "StatefulSet", "statefulsets", NAMESPACED, {"spec": {"serviceName": "s", "selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "DaemonSet", "daemonsets", NAMESPACED, {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "ControllerRevision", "controllerrevisions", NAMESPACED, {"revision": 300, "data": {"b": [1, None], "a": "x"}}),
    ("batch/v1", "Job", "jobs", NAMESPACED, {"spec": {"template": {"spec": dict(TEMPLATE["spec"], restartPolicy="Never")}}}),
    ("batch/v1", "CronJob", "cronjobs", NAMESPACED, {"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {
        "template": {"spec": dict(TEMPLATE["spec"], restartPolicy="Never")}}}}}),
    ("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", NAMESPACED, {"spec": {
        "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
    ("coordination.k8s.io/v1", "Lease", "leases", NAMESPACED, {"spec": {
        "holderIdentity": "me", "renewTime": "2026-01-02T03:04:05.000007Z", "leaseDurationSeconds": 15}}),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", NAMESPACED, {"addressType": "IPv4", "endpoints": [
        {"addresses": ["10.1.2.3"], "conditions": {"ready": False}}], "ports": [{"name": "", "port": 80}]}),
    ("events.k8s.io/v1", "Event", "events", NAMESPACED, {
        "eventTime": "2026-01-02T03:04:05.000007Z", "reportingController": "example.com/x", "reportingInstance": "x",
        "action": "A", "reason": "R", "type": "Normal", "regarding": {"kind": "Pod", "name": "x", "namespace": "default"}}),
    ("networking.k8s.io/v1", "Ingress", "ingresses", NAMESPACED, {"spec": {"rules": [{"host": "example.com", "http": {
        "paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
    ("networking.k8s.io/v1", "IngressClass", "ingressclasses", CLUSTER, {"spec": {"controller": "example.com/x"}}),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", NAMESPACED, {"spec": {"podSelector": {}, "egress": [
        {"ports": [{"protocol": "TCP", "port": "http"}]}, {}]}}),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", NAMESPACED, {"spec": {"minAvailable": "50%", "selector": SELECTOR}}),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", NAMESPACED, {"rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", CLUSTER, {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "u"}]}),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", CLUSTER, {"value": -5}),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses", CLUSTER, {"provisioner": "example.com/x", "parameters": {"b": "", "a": "1"}}),
    ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", CLUSTER, {"handler": "runc"}),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", CLUSTER, None),
]
DEFINITION = {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
              "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                  "type": "object", "properties": {"spec": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 3},
                                                   "list": {"type": "array", "items": {"type": "number", "maximum": 1.5, "default": 0.5}}}}}}]}


def path_of(version, plural, where):
    return ("/api/" if version == "v1" else "/apis/") + version + where + "/" + plural


def name_of(version, plural):
    return "widgets.example.com" if plural == "customresourcedefinitions" else \
        "typed-new" if version == "events.k8s.io/v1" else "typed"


def one_life(s, version, kind, plural, where, body):
    name = name_of(version, plural)
    path = path_of(version, plural, where)
    sent = dict(body if body is not None else {"spec": DEFINITION}, apiVersion=version, kind=kind, metadata=meta(name))
    if plural == "events":
        sent["metadata"] = dict(meta(name), namespace="default")
    status, made = answer(s, "POST", path, sent)
    if not check("create %s %s" % (version, kind), status == 201, (status, made)):
        return
    for _ in range(5):  # the server itself writes the status of a definition
        text, (status, got) = s.call("GET", path + "/" + name)[1], answer(s, "GET", path + "/" + name)
        if text["metadata"]["resourceVersion"] == got["metadata"]["resourceVersion"]:
            break
    equal("%s %s is the same in JSON" % (version, kind), (status, protobuf.same(text, got)), (200, None))
    for _ in range(5):
        got["metadata"]["labels"]["changed"] = "yes"
        status, changed = answer(s, "PUT", path + "/" + name, got)
        if status != 409 or body is not None:
            break
        got = answer(s, "GET", path + "/" + name)[1]
    check("update %s %s" % (version, kind), status == 200 and changed["metadata"]["labels"]["changed"] == "yes", (status, changed))
    status, refused = answer(s, "PUT", path + "/" + name, got)
    check("conflict of %s %s" % (version, kind), status == 409 and refused["kind"] == "Status" and refused["reason"] == "Conflict", refused)
    status, patched = answer(s, "PATCH", path + "/" + name, b'{"metadata":{"labels":{"patched":"1"}}}',
                             content_type="application/merge-patch+json")
    check("patch %s %s" % (version, kind), status == 200 and patched["metadata"]["labels"]["patched"] == "1", (status, patched))


def lists(s):
    """Every kind that can be listed, in both encodings, and watched from the start."""
    kinds = 0
    for group in ["/api/v1"] + ["/apis/" + v["groupVersion"] for g in s.call("GET", "/apis")[1]["groups"] for v in g["versions"]]:
        for r in s.call("GET", group)[1]["resources"]:
            path = group + "/" + r["name"]
            if "/" in r["name"] or "list" not in r["verbs"] or group in ("/apis/example.com/v1", "/apis/metrics.k8s.io/v1beta1"):
                continue  # (custom kinds and figures of the nodes have no form in protobuf)
            kinds += 1
            status, text = s.call("GET", path)
            status, wire = answer(s, "GET", path)
            difference = protobuf.same(dict(text, metadata={}), dict(wire, metadata={}))
            check("list of %s" % path, status == 200 and difference is None and wire["metadata"]["resourceVersion"], difference)
            if "watch" not in r["verbs"]:
                continue
            w = s.watch(path + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
                        headers=AS_PROTOBUF)
            seen = []
            for event in protobuf.read_events(w.response):
                seen.append(event)
                if event["type"] == "BOOKMARK":
                    break
            w.close()
            names = [e["object"]["metadata"]["name"] for e in seen[:-1]]
            good = seen and seen[-1]["type"] == "BOOKMARK" and sorted(names) == sorted(i["metadata"]["name"] for i in text["items"])
            check("watch of %s" % path, good and seen[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}, seen)
    check("%d kinds listed and watched" % kinds, kinds >= 50, kinds)


def watches(s):
    path = "/api/v1/namespaces/default/configmaps"
    version = s.call("GET", path)[1]["metadata"]["resourceVersion"]
    wide = s.watch(path + "?watch=1&resourceVersion=" + version, headers=AS_PROTOBUF)
    narrow = s.watch(path + "?watch=1&labelSelector=in%3Dyes&resourceVersion=" + version, headers=AS_PROTOBUF)
    partial = s.watch(path + "?watch=1&resourceVersion=" + version,
                      headers={"Accept": PROTOBUF + ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"})
    equal("type of a watch", wide.response.headers["Content-Type"], PROTOBUF + ";stream=watch")
    s.call("POST", path, config_map("w", {"k": "v"}, labels={"in": "yes"}))
    s.patch(path + "/w", {"metadata": {"labels": {"in": "no"}}})
    s.call("DELETE", path + "/w")
    events = protobuf.read_events(wide.response)
    equal("all events", [next(events)["type"] for _ in range(3)], ["ADDED", "MODIFIED", "DELETED"])
    events = protobuf.read_events(narrow.response)
    seen = [next(events) for _ in range(2)]
    equal("events of a selector", [(e["type"], e["object"]["metadata"]["labels"]["in"]) for e in seen], [("ADDED", "yes"), ("DELETED", "yes")])
    check("the version of leaving is that of the change", seen[1]["object"]["metadata"]["resourceVersion"] != seen[0]["object"]["metadata"]["resourceVersion"])
    events = protobuf.read_events(partial.response)
    seen = [next(events) for _ in range(3)]
    equal("metadata alone", [(e["type"], e["object"]["kind"], sorted(e["object"])) for e in seen],
          [(t, "PartialObjectMetadata", ["apiVersion", "kind", "metadata"]) for t in ("ADDED", "MODIFIED", "DELETED")])
    for w in wide, narrow, partial:
        w.close()


def forms(s):
    path = "/api/v1/namespaces/default/configmaps"
    for i in range(25):
        s.call("POST", path, config_map("page-%02d" % i, labels={"page": "yes"}))
    seen, token = [], ""
    while True:
        status, page = answer(s, "GET", path + "?labelSelector=page%3Dyes&limit=10" + ("&continue=" + token if token else ""))
        seen += [i["metadata"]["name"] for i in page["items"]]
        token = page["metadata"]["continue"]
        if not token:
            break
    equal("pages", seen, ["page-%02d" % i for i in range(25)])
    status, got = answer(s, "GET", path, headers={"Accept": PROTOBUF + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"})
    check("metadata of a list", status == 200 and got["kind"] == "PartialObjectMetadataList" and len(got["items"]) >= 25 and
          set(got["items"][0]) == {"metadata"}, got)
    table = ";as=Table;g=meta.k8s.io;v=v1"
    status, headers, data = s.request("GET", path, headers={"Accept": PROTOBUF + table + ",application/json" + table})
    equal("a Table is JSON", (status, headers["Content-Type"], json.loads(data)["kind"]), (200, "application/json", "Table"))
    status, gone = answer(s, "DELETE", path + "?labelSelector=page%3Dyes")
    check("the deleted of a collection", status == 200 and gone["kind"] == "ConfigMapList" and len(gone["items"]) == 25, gone)
    scale = "/apis/apps/v1/namespaces/default/deployments/typed/scale"
    status, got = answer(s, "GET", scale)
    got["spec"]["replicas"] = 2
    status, changed = answer(s, "PUT", scale, got)
    equal("scale", (status, changed["kind"], changed["spec"]["replicas"]), (200, "Scale", 2))
    status, review = answer(s, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "u", "extra": {"k": ["a", "b"]}, "nonResourceAttributes": {"path": "/", "verb": "get"}}})
    equal("a review", (status, review["spec"]["extra"], review["status"]["allowed"]), (201, {"k": ["a", "b"]}, False))


def refusals(s):
    path = "/api/v1/namespaces/default/configmaps"
    media = "only the following media types are accepted: application/json, application/yaml, " + PROTOBUF
    for accept in ("text/html", "application/cbor", PROTOBUF + ";as=Table;g=meta.k8s.io;v=v1", "application/json;q=0"):
        status, _, data = s.request("GET", path, headers={"Accept": accept})
        equal("Accept " + accept, (status, json.loads(data)["message"]), (406, media))
    status, _, data = s.request("GET", path + "?watch=1", headers={"Accept": "application/yaml"})
    check("a watch in YAML", status == 406 and
          "accepted: application/json;stream=watch, %s;stream=watch" % PROTOBUF in data.decode(), data)
    for kind in ("application/cbor", "text/plain", "nonsense"):
        status, tree = s.call("POST", path, config_map("x"), content_type=kind)
        equal("Content-Type " + kind, (status, tree["reason"], tree["message"]), (415, "UnsupportedMediaType",
              "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, " + PROTOBUF))
    status, tree = answer(s, "GET", path + "/not-there")
    equal("not found", (status, tree["status"], tree["reason"], tree["details"]["kind"], tree["code"]),
          (404, "Failure", "NotFound", "configmaps", 404))
    status, tree = answer(s, "POST", path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "BAD"}})
    equal("invalid", (status, tree["reason"], tree["details"]["causes"][0]["field"]), (422, "Invalid", "metadata.name"))
    status, headers, data = s.request("GET", path, token="wrong", headers=AS_PROTOBUF)
    equal("a stranger", (status, protobuf.read_object(data)["reason"]), (401, "Unauthorized"))
    for name, bad in (("no magic", b"{}"), ("cut short", b"k8s\0\x0a\xff"), ("noise", b"k8s\0" + bytes(range(200)))):
        status, tree = answer(s, "POST", path, bad)
        equal("a body of " + name, (status, tree["reason"]), (400, "BadRequest"))
    # Custom kinds: JSON, whatever is liked better, and metadata in protobuf.
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": "b"}}
    deadline = time.time() + 3
    while s.request("GET", widgets)[0] == 404 and time.time() < deadline:
        time.sleep(0.05)
    if s.request("GET", widgets)[0] == 404:
        print("skipped: custom kinds are not served")
    else:
        status, made = s.call("POST", widgets, widget, headers={"Accept": PROTOBUF + ",application/json"})
        check("a custom object falls back to JSON", status == 201 and made.get("kind") == "Widget", (status, made))
        equal("a custom object in protobuf", s.request("GET", widgets, headers=AS_PROTOBUF)[0], 406)
        equal("a custom body in protobuf", s.request("POST", widgets, b"k8s\0", content_type=PROTOBUF)[0], 415)
        status, tree = answer(s, "GET", widgets + "/w", headers={"Accept": PROTOBUF + ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"})
        equal("a custom object's metadata", (status, tree["kind"], tree["metadata"]["name"]), (200, "PartialObjectMetadata", "w"))


def text_forms(s):
    """JSON for people, and YAML, also of long lists."""
    path = "/api/v1/namespaces/default/configmaps"
    for i in range(4):
        s.call("POST", path, config_map("long-%d" % i, {"text": "line %d\n  indented\n\n- no: item\n" % i, "big": "x" * 700000,
                                                       "quote": "\"a\\", "empty": ""}, labels={"long": "yes"}))
    plain = s.request("GET", path + "?labelSelector=long%3Dyes")[2]
    for what, query, agent, wanted in (("?pretty=true", "&pretty=true", "x", True), ("curl", "", "curl/8", True), ("Wget", "", "Wget/1", True),
                                       ("a browser", "", "Mozilla/5.0 (X)", True), ("?pretty=0 and curl", "&pretty=0", "curl/8", False),
                                       ("a program", "", "kubectl/v1.33", False)):
        data = s.request("GET", path + "?labelSelector=long%3Dyes" + query, headers={"User-Agent": agent})[2]
        check("JSON for " + what, data == (json.dumps(json.loads(plain), indent=2).encode() if wanted else plain), data[:200])
    for where, status in ((path + "/long-0", 200), (path + "/no", 404), ("/api", 200), ("/apis/apps/v1", 200), ("/api/v1/nodes", 200)):
        got, headers, data = s.request("GET", where, headers={"User-Agent": "curl/8"})
        equal("pretty " + where, (got, data.decode()), (status, json.dumps(json.loads(data), indent=2, ensure_ascii=False)))
    data = s.request("GET", path + "?labelSelector=long%3Dyes", headers={"Accept": "application/yaml"})[2].decode()
    lines = data.splitlines()
    equal("a long list in YAML", (len(data) > 2 << 20, lines[:2], sum(line.startswith("- ") for line in lines)),
          (True, ["apiVersion: v1", "items:"], 4))
    try:
        import yaml
        equal("YAML is the same as JSON", yaml.safe_load(data), json.loads(plain))
    except ImportError:
        print("skipped: no YAML reader")
    equal("an empty list in YAML", s.request("GET", path + "?labelSelector=no%3Dne", headers={"Accept": "application/yaml"})[2]
          .decode().split("metadata")[0], "apiVersion: v1\nitems: []\nkind: ConfigMapList\n")
    for i in range(4):
        s.call("DELETE", path + "/long-%d" % i)


def past(s):
    """A watch from a version that the history has lost."""
    path = "/api/v1/namespaces/default/configmaps"
    version = s.call("POST", path, config_map("huge", {"x": ""}))[1]["metadata"]["resourceVersion"]
    for i in range(9):
        s.patch(path + "/huge", {"data": {"x": chr(97 + i % 26) * 700000}})
    w = s.watch(path + "?watch=1&resourceVersion=" + version, headers=AS_PROTOBUF)
    event = next(protobuf.read_events(w.response))
    equal("a watch from the past", (event["type"], event["object"].get("code"), event["object"].get("reason")), ("ERROR", 410, "Expired"))
    w.close()


def deletions(s):
    for version, kind, plural, where, _ in OBJECTS:
        status, tree = answer(s, "DELETE", path_of(version, plural, where) + "/" + name_of(version, plural), protobuf.write_object(
            {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"}, "meta.v1.DeleteOptions"))
        check("delete %s %s" % (version, kind), status in (200, 202), (status, tree))


full_objects()
with Server("--disable-admission-plugins=ResourceQuota") as s:  # (one of the objects is a quota that nobody counts)
    service_account(s)
    for row in OBJECTS:
        one_life(s, *row)
    lists(s)
    watches(s)
    forms(s)
    refusals(s)
    text_forms(s)
    deletions(s)
    past(s)
finish()
