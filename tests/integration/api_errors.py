#!/usr/bin/env python3
"""
Goal: every malformed request gets the Status that a Kubernetes user knows, and nothing breaks.
Method: a real API server, one wrong thing at a time.
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CM = "/api/v1/namespaces/default/configmaps"
DEPLOY = "/apis/apps/v1/namespaces/default/deployments"


def expect(s, text, status, reason, method, path, body=None, message=None, **options):
    got, tree = s.call(method, path, body, **options)
    good = got == status and isinstance(tree, dict) and tree.get("kind") == "Status" and tree.get("status") == "Failure" and \
        tree.get("code") == status and tree.get("reason", "") == reason and "metadata" in tree
    if message:
        good = good and message in tree.get("message", "")
    check("%s: %d %s" % (text, status, reason), good, (got, tree))


def paths(s):
    no = "the server could not find the requested resource"
    for path in ("/apis/none/v1/things", "/apis/apps/v9/deployments", "/api/v1/things", "/api/v2", "/none", "/apis/none",
                 "/api/v1/namespaces/default/configmaps/a/none", "/api/v1/namespaces/default/nodes", "/api/v1/pods/x",
                 "/apis/apps/v1/namespaces/default/deployments/x/log", "/openapi/v3/apis/none/v1", "/api/v1/namespaces/default/pods/x/log/y"):
        expect(s, path, 404, "NotFound", "GET", path, message=no)
    for method, path in (("POST", CM + "/a"), ("PUT", CM), ("PATCH", CM), ("BREW", CM), ("POST", "/api/v1/configmaps"),
                         ("DELETE", "/api/v1/configmaps"), ("POST", "/version"), ("DELETE", "/api/v1/namespaces"), ("PATCH", "/api/v1/bindings")):
        expect(s, method + " " + path, 405, "MethodNotAllowed", method, path,
               {"x": 1} if method in ("POST", "PUT", "PATCH") else None)
    expect(s, "an escaped NUL", 400, "BadRequest", "GET", "/api/v1/namespaces/a%00b")
    expect(s, "a broken escape", 400, "BadRequest", "GET", "/api/v1/namespaces/%zz")
    expect(s, "a missing object", 404, "NotFound", "GET", CM + "/none", message='configmaps "none" not found')
    expect(s, "one of a group", 404, "NotFound", "GET", DEPLOY + "/none", message='deployments.apps "none" not found')


def media(s):
    expect(s, "Accept: text/html", 406, "NotAcceptable", "GET", CM, headers={"Accept": "text/html"})
    expect(s, "Accept: an unknown Table version", 406, "NotAcceptable", "GET", CM,
           headers={"Accept": "application/json;as=Table;v=v7;g=meta.k8s.io"})
    for kind in ("text/plain", "application/xml", "multipart/form-data"):
        expect(s, "Content-Type " + kind, 415, "UnsupportedMediaType", "POST", CM, "{}", content_type=kind)
        expect(s, "PATCH with " + kind, 415, "UnsupportedMediaType", "PATCH", CM + "/a", "{}", content_type=kind)
        expect(s, "DELETE with " + kind, 415, "UnsupportedMediaType", "DELETE", CM + "/a", "{}", content_type=kind)
    expect(s, "protobuf that is none", 400, "BadRequest", "POST", CM, "{}", content_type="application/vnd.kubernetes.protobuf")
    for cut in (b"k8s\0", b"k8s\0\x0a", b"k8s\0\x0a\xff", b"k8s\0\x12\x05\x0a\x03\x0a\x7f", b"k8s\0\x12\x02\x0f\x01", b"k8s\0" + b"\xff" * 20):
        status, tree = s.call("POST", CM, cut, content_type="application/vnd.kubernetes.protobuf")
        check("damaged protobuf %r is refused" % cut, status in (400, 422) and tree.get("kind") == "Status", (status, tree))


def bodies(s):
    expect(s, "no body", 400, "BadRequest", "POST", CM, "", message="the object provided is unrecognized (must be of type ConfigMap)")
    for text in ("{", "nonsense", '{"a":1}{"b":2}', '{"a":01}', "\xff\xfe", '{"metadata":{"name":"a\\u0000"}}', '"text"', "[]", "7", '{"a":"\x01"}'):
        expect(s, "a body %r" % text[:20], 400, "BadRequest", "POST", CM, text.encode("latin-1"))
    deep = '{"data":' + '{"a":' * 10000 + "1" + "}" * 10001
    expect(s, "JSON nested 10,000 deep", 400, "BadRequest", "POST", CM, deep)
    expect(s, "YAML nested deep", 400, "BadRequest", "POST", CM, "a: " + "[" * 5000, content_type="application/yaml")
    expect(s, "YAML that is none", 400, "BadRequest", "POST", CM, "a: b: c", content_type="application/yaml")
    big = json.dumps(config_map("big", {"x": "y" * (3 << 20)}))
    expect(s, "a body of 3 MiB", 413, "RequestEntityTooLarge", "POST", CM, big)
    big = deployment("big")
    big["spec"]["template"]["spec"]["containers"][0]["args"] = ["y" * (2 << 20)]
    expect(s, "an object that no store takes", 413, "RequestEntityTooLarge", "POST", DEPLOY, big)
    expect(s, "a ConfigMap above 1 MiB", 422, "Invalid", "POST", CM, config_map("big", {"x": "y" * (2 << 20)}))
    expect(s, "another kind", 400, "BadRequest", "POST", CM, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}})
    expect(s, "another version", 400, "BadRequest", "POST", CM, {"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "x"}},
           message="the API version in the data (v2) does not match the expected API version (v1)")
    wrong = deployment("d")
    wrong["spec"]["replicas"] = "three"
    expect(s, "a wrong type", 400, "BadRequest", "POST", DEPLOY, wrong, message="cannot unmarshal string into Go struct field")
    wrong = deployment("d")
    del wrong["spec"]["selector"]
    wrong["spec"]["template"]["spec"]["containers"][0].pop("image")
    status, e = s.call("POST", DEPLOY, wrong)
    fields = [c["field"] for c in e["details"]["causes"]]
    check("missing fields are all named", status == 422 and e["reason"] == "Invalid" and "spec.selector" in fields and
          "spec.template.spec.containers[0].image" in fields and e["details"]["kind"] == "Deployment", e)
    status, e = s.call("POST", CM, config_map("Not_A_Name"))
    check("a name that is none", status == 422 and e["details"]["causes"][0]["field"] == "metadata.name", e)


def strictness(s):
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"strict%d","nope":1},"data":{"a":"1","a":"2"},"other":{}}'
    status, e = s.call("POST", CM + "?fieldValidation=Strict", body % 1)
    check("Strict names every unknown and duplicate field", status == 400 and 'unknown field "other"' in e["message"] and
          'unknown field "metadata.nope"' in e["message"] and 'duplicate field "data.a"' in e["message"], e)
    status, headers, _ = s.request("POST", CM, body % 2)
    warnings = headers.get_all("Warning") or []
    check("Warn, the default, answers with warnings", status == 201 and len(warnings) == 3 and warnings[0].startswith("299 - "), warnings)
    status, headers, _ = s.request("POST", CM + "?fieldValidation=Ignore", body % 3)
    equal("Ignore says nothing", (status, headers.get_all("Warning")), (201, None))
    expect(s, "another mode", 422, "Invalid", "POST", CM + "?fieldValidation=Maybe", body % 4)
    status, o = s.call("GET", CM + "/strict2")
    check("unknown fields are not stored", "other" not in o and "nope" not in o["metadata"] and o["data"] == {"a": "2"}, o)


def access(s):
    expect(s, "no credentials", 401, "Unauthorized", "GET", CM, token=None)
    expect(s, "a wrong token", 401, "Unauthorized", "GET", CM, token="wrong")
    expect(s, "nobody allowed it", 403, "Forbidden", "GET", CM, token=USER,
           message='configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"')
    expect(s, "403 comes before 404", 403, "Forbidden", "GET", "/apis/none/v1/things", token=USER)


def browsers(s):
    expect(s, "a write for another site", 403, "Forbidden", "POST", CM, config_map("evil"), headers={"Origin": "https://evil.example"})
    expect(s, "a write from across", 403, "Forbidden", "POST", CM, config_map("evil"), headers={"Sec-Fetch-Site": "cross-site"})
    own = {"Origin": "https://127.0.0.1:%d" % s.port, "Sec-Fetch-Site": "same-origin"}
    equal("the own site may write", s.call("POST", CM, config_map("good"), headers=own)[0], 201)
    expect(s, "a timeout that is none", 400, "BadRequest", "GET", CM + "?timeout=soon")


with Server() as s:
    for part in (paths, media, bodies, strictness, access, browsers):
        part(s)
    equal("the server is still ready", s.call("GET", "/readyz", token=None), (200, "ok"))
finish()
