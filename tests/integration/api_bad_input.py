#!/usr/bin/env python3
"""
Bad input: every malformed body, patch, selector, token, version, name, content type, method and URL gets upstream's status code,
reason and message shape; and what is meant to break a server is bounded, while other clients do not notice.

Method: a table of requests to a real skiff-apiserver, one a row: what is sent, code, reason, and what the message holds. Then the
bombs, with the p99 of another client's reads printed meanwhile.
"""
import gzip, os, socket, struct, sys, threading
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

NS = "/api/v1/namespaces/default/"
CM, PODS, SVC, DEP = NS + "configmaps", NS + "pods", NS + "services", "/apis/apps/v1/namespaces/default/deployments"
JSON, YAML, PROTO = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
MERGE, JPATCH, STRATEGIC = "application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json"
NO_PAGE = "the server could not find the requested resource"
NO_METHOD = "the server does not allow this method on the requested resource"
BAD, NF, INV, MNA, UMT, CONF = "BadRequest", "NotFound", "Invalid", "MethodNotAllowed", "UnsupportedMediaType", "Conflict"


def get(path, code, reason, text, **headers):
    return ("GET", path, None, None, headers, code, reason, text)


def post(path, body, code, reason, text, kind=JSON, **headers):
    return ("POST", path, body, kind, headers, code, reason, text)


def put(path, body, code, reason, text, kind=JSON):
    return ("PUT", path, body, kind, {}, code, reason, text)


def patch(body, code, reason, text, kind=MERGE, path=CM + "/there"):
    return ("PATCH", path, body, kind, {}, code, reason, text)


def delete(path, body, code, reason, text, kind=JSON):
    return ("DELETE", path, body, kind if body is not None else None, {}, code, reason, text)


URLS = [
    get("/api/v1/nonsense", 404, NF, NO_PAGE), get("/api/v2/pods", 404, NF, NO_PAGE), get("/api/v1/namespaces/default/nonsense", 404, NF, NO_PAGE),
    get("/apis/nonsense/v1/things", 404, NF, NO_PAGE), get("/apis/apps/v9/deployments", 404, NF, NO_PAGE), get("/apis/apps/v1/pods", 404, NF, NO_PAGE),
    get("/nonsense", 404, NF, NO_PAGE), get("/apis/nonsense", 404, NF, NO_PAGE), get("/apis/nonsense/v1", 404, NF, NO_PAGE), get("/api/v9", 404, NF, NO_PAGE),
    get(PODS + "/x/nonsense", 404, NF, NO_PAGE), get(CM + "/there/status", 404, NF, NO_PAGE), get(DEP + "/x/log", 404, NF, NO_PAGE),
    get(CM + "/there/a/b/c", 404, NF, NO_PAGE), get("/api/v1/namespaces/default/nodes", 404, NF, NO_PAGE), get("/api/v1/pods/x", 404, NF, NO_PAGE),
    get(CM + "/nobody", 404, NF, 'configmaps "nobody" not found'), get("/api/v1/nodes/nobody", 404, NF, 'nodes "nobody" not found'),
    get(DEP + "/nobody", 404, NF, 'deployments.apps "nobody" not found'), get("/api/v1/namespaces/nobody", 404, NF, 'namespaces "nobody" not found'),
    get(DEP + "/nobody/scale", 404, NF, 'deployments.apps "nobody" not found'), get(PODS + "/nobody/log", 404, NF, 'pods "nobody" not found'),
    get(PODS + "/nobody/status", 404, NF, 'pods "nobody" not found'), get(CM + "/%zz", 400, BAD, None), get(CM + "/a%00b", None, None, None),
    get(CM + "/%2e%2e", 404, NF, None), get(CM + "/..%2f..", 404, NF, None), get("/livez/nonsense", 404, None, None),
    get("/api/v1/namespaces/default/pods/x/proxy/a/b", 404, NF, 'pods "x" not found'), get("/openapi/v3/apis/nonsense/v1", 404, NF, None),
    get("/api/v1/watch/nonsense", 404, NF, NO_PAGE), get("/apis//v1/x", 404, NF, None),
]
METHODS = [
    ("POST", CM + "/there", {}, JSON, {}, 405, MNA, NO_METHOD), ("PUT", CM, {}, JSON, {}, 405, MNA, NO_METHOD), ("PATCH", CM, {}, MERGE, {}, 405, MNA, NO_METHOD),
    ("DELETE", "/api/v1/namespaces", None, None, {}, 405, MNA, NO_METHOD), ("NONSENSE", CM, None, None, {}, 405, MNA, NO_METHOD),
    ("OPTIONS", CM, None, None, {}, 405, MNA, NO_METHOD), ("TRACE", CM, None, None, {}, 405, MNA, NO_METHOD), ("GET", PODS + "/x/binding", None, None, {}, 405, MNA, NO_METHOD),
    ("GET", PODS + "/x/eviction", None, None, {}, 405, MNA, NO_METHOD), ("DELETE", DEP + "/x/scale", None, None, {}, 405, MNA, NO_METHOD),
    ("POST", DEP + "/x/status", {}, JSON, {}, 405, MNA, NO_METHOD), ("DELETE", PODS + "/x/status", None, None, {}, 405, MNA, NO_METHOD),
    ("PUT", PODS + "/x/binding", {}, JSON, {}, 405, MNA, NO_METHOD), ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", None, None, {}, 405, MNA, NO_METHOD),
    ("DELETE", "/apis/authorization.k8s.io/v1/subjectaccessreviews", None, None, {}, 405, MNA, NO_METHOD), ("POST", "/api/v1/pods", {}, JSON, {}, 405, MNA, NO_METHOD),
    ("DELETE", "/api/v1/configmaps", None, None, {}, 405, MNA, NO_METHOD), ("PATCH", "/api/v1/namespaces/default/finalize", {}, MERGE, {}, 405, MNA, NO_METHOD),
]
LISTS = [
    get(CM + "?limit=x", 400, BAD, 'strconv.ParseInt: parsing "x": invalid syntax'), get(CM + "?timeoutSeconds=x", 400, BAD, 'parsing "x": invalid syntax'),
    get(CM + "?limit=99999999999999999999", 400, BAD, "99999999999999999999"), get(CM + "?limit=1.5", 400, BAD, "1.5"), get(CM + "?timeout=x", 400, BAD, "invalid timeout specified in the request URL"),
    get(CM + "?timeout=-1s", 400, BAD, "invalid timeout"), get(CM + "?continue=xx", 400, BAD, "continue key is not valid: "), get(CM + "?continue=e30", 400, BAD, "continue key is not valid: "),
    get(CM + "?continue=" + "A" * 5000, 400, BAD, "continue key is not valid: "), get(CM + "?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLiJ9", 400, BAD, "continue key is not valid: "),
    get(CM + "?resourceVersion=abc", 400, BAD, 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'),
    get(CM + "?resourceVersion=-1", 400, BAD, "resourceVersion: Invalid value"), get(CM + "?resourceVersion=1.5", 400, BAD, "resourceVersion: Invalid value"),
    get(CM + "/there?resourceVersion=abc", 400, BAD, "resourceVersion: Invalid value"), get(CM + "?resourceVersion=99999999999999999999", 400, BAD, "resourceVersion: Invalid value"),
    get(CM + "?resourceVersion=9000000000000", 504, "Timeout", "Timeout: Too large resource version: 9000000000000, current: "),
    get(CM + "?resourceVersion=1&resourceVersionMatch=Exact", 410, "Expired", "The resourceVersion for the provided list is too old."),
    get(CM + "?resourceVersionMatch=Exact", 422, INV, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
    get(CM + "?resourceVersionMatch=x&resourceVersion=1", 422, INV, 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "x": supported values: "Exact", "NotOlderThan", ""'),
    get(CM + "?resourceVersionMatch=Exact&resourceVersion=0", 422, INV, 'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
    get(CM + "?resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x", 422, INV, "resourceVersionMatch is forbidden when continue is provided"),
    get(CM + "?sendInitialEvents=true", 422, INV, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    get(CM + "?watch=1&sendInitialEvents=true", 422, INV, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    get(CM + "?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", 422, INV, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    get(CM + "?watch=1&resourceVersionMatch=NotOlderThan", 422, INV, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
    get(CM + "?watch=1&resourceVersion=x", 400, BAD, "resourceVersion: Invalid value"), get(CM + "?watch=1&timeoutSeconds=x", 400, BAD, "invalid syntax"),
    get(CM + "?labelSelector=a+b+c", 400, BAD, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"), get(CM + "?labelSelector=a%3Db%3Dc", 400, BAD, "found '=', expected: ',' or 'end of string'"),
    get(CM + "?labelSelector=%2C", 400, BAD, "found ',', expected: !, identifier, or 'end of string'"), get(CM + "?labelSelector=a+in+b", 400, BAD, "unable to parse requirement: found 'b' expected: '('"),
    get(CM + "?labelSelector=a+in+(b", 400, BAD, "unable to parse requirement: found '', expected: ',' or ')'"), get(CM + "?labelSelector=-a", 400, BAD, "unable to parse requirement"),
    get(CM + "?labelSelector=a%3E-x", 400, BAD, None), get(CM + "?labelSelector=" + "a" * 64 + "%3Db", 400, BAD, "must be no more than 63 "), get(CM + "?labelSelector=a%3D" + "b" * 64, 400, BAD, "must be no more than 63 "),
    get(CM + "?labelSelector=a%2Fb%2Fc", 400, BAD, None), get(CM + "?labelSelector=%21", 400, BAD, None), get(CM + "?labelSelector=a%3D%C3%A4", 400, BAD, None),
    get(CM + "?fieldSelector=a", 400, BAD, "invalid selector: 'a'; can't understand 'a'"), get(CM + "?fieldSelector=spec.x%3D1", 400, BAD, None),
    get(PODS + "?fieldSelector=spec.nonsense%3D1", 400, BAD, "field label not supported: spec.nonsense"), get(PODS + "?fieldSelector=status.phase%3Ex", 400, BAD, None),
    get("/api/v1/nodes?fieldSelector=spec.nonsense%3D1", 400, BAD, "spec.nonsense"), get(CM + "?watch=1&labelSelector=a+b", 400, BAD, "unable to parse requirement"),
    delete(CM + "?labelSelector=a+b", None, 400, BAD, "unable to parse requirement"), delete(CM + "?fieldSelector=x%3Dy", None, 400, BAD, None),
    get(CM, 406, "NotAcceptable", "only the following media types are accepted: ", Accept="image/png"), get(CM, 406, "NotAcceptable", None, Accept="application/json;as=Nonsense;g=meta.k8s.io;v=v1"),
]
BODIES = [
    post(CM, b"", 400, BAD, None), post(CM, b"{", 400, BAD, None), post(CM, b"null", 400, BAD, None), post(CM, b"[]", 400, BAD, None), post(CM, b'"x"', 400, BAD, None), post(CM, b"7", 400, BAD, None),
    post(CM, b'{"metadata":{"name":"x"}} trailing', 400, BAD, None), post(CM, b'{"metadata":{"name":"x",}}', 400, BAD, None), post(CM, b"{'metadata':{}}", 400, BAD, None), post(CM, b"\xff\xfe{}", 400, BAD, None),
    post(CM, b'{"metadata":{"name":"\xff"}}', 400, BAD, None), post(CM, b'{"metadata":{"name":"\\ud800"}}', None, None, None), post(CM, b"\x00", 400, BAD, None), post(CM, b"nonsense", 400, BAD, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "),
    post(CM, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}, 400, BAD, 'Pod in version "v1" cannot be handled as a ConfigMap'),
    post(CM, {"kind": "ConfigMap", "apiVersion": "v9", "metadata": {"name": "x"}}, 400, BAD, "the API version in the data (v9) does not match the expected API version (v1)"),
    post(DEP, {"kind": "Deployment", "apiVersion": "apps/v1beta1", "metadata": {"name": "x"}}, 400, BAD, "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"),
    post(CM, {"kind": 7, "metadata": {"name": "x"}}, 400, BAD, None), post(CM, {"apiVersion": [], "metadata": {"name": "x"}}, 400, BAD, None),
    post(CM, {"metadata": {"name": 7}}, 400, BAD, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"),
    post(CM, {"metadata": "x"}, 400, BAD, "cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"), post(CM, {"metadata": {"name": "x", "labels": []}}, 400, BAD, "cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
    post(CM, {"metadata": {"name": "x"}, "data": {"a": 1}}, 400, BAD, "cannot unmarshal number into Go struct field ConfigMap.data of type string"), post(CM, {"metadata": {"name": "x"}, "data": []}, 400, BAD, "cannot unmarshal array"),
    post(CM, {"metadata": {"name": "x"}, "binaryData": {"a": "!!"}}, 400, BAD, "illegal base64 data at input byte 0"), post(CM, {"metadata": {"name": "x"}, "immutable": "yes"}, 400, BAD, "cannot unmarshal string"),
    post(CM, {"metadata": {"name": "x", "creationTimestamp": "yesterday"}}, 400, BAD, 'parsing time "yesterday"'), post(DEP, b'{"metadata":{"name":"x"},"spec":{"replicas":1.5}}', 400, BAD, "cannot unmarshal number 1.5 into Go struct field"),
    post(DEP, b'{"metadata":{"name":"x"},"spec":{"replicas":99999999999}}', 400, BAD, "99999999999"), post(DEP, b'{"metadata":{"name":"x"},"spec":{"replicas":1e400}}', 400, BAD, None),
    post(DEP, b'{"metadata":{"name":"x"},"spec":{"replicas":"3"}}', 400, BAD, "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
    post(DEP, b'{"metadata":{"name":"x"},"spec":{"replicas":' + b"9" * 4000 + b"}}", 400, BAD, None), post(DEP, b'{"metadata":{"name":"x"},"spec":{"replicas":-0x1}}', 400, BAD, None),
    post(PODS, {"metadata": {"name": "x"}, "spec": {"containers": {}}}, 400, BAD, "cannot unmarshal object into Go struct field"), post(PODS, {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "abc"}}}]}}, 400, BAD, "quantities must match the regular expression"),
    post(CM + "?fieldValidation=Strict", {"metadata": {"name": "x"}, "nonsense": 1}, 400, BAD, 'strict decoding error: unknown field "nonsense"'),
    post(CM + "?fieldValidation=Strict", b'{"metadata":{"name":"x"},"data":{"a":"1","a":"2"}}', 400, BAD, 'strict decoding error: duplicate field "data.a"'),
    post(CM + "?fieldValidation=Strict", b"metadata:\n  name: x\ndata:\n  a: '1'\n  a: '2'\n", 400, BAD, 'strict decoding error: yaml: unmarshal errors:', YAML),
    post(CM + "?fieldValidation=nonsense", {"metadata": {"name": "x"}}, 422, INV, 'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value'), post(CM + "?dryRun=nonsense", {"metadata": {"name": "x"}}, 422, INV, 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "nonsense": supported values: "All"'),
    post(CM + "?fieldManager=" + "m" * 129, {"metadata": {"name": "x"}}, 422, INV, "fieldManager: Too long: may not be more than 128 bytes"), post(CM, b"a: [", 400, BAD, None, YAML), post(CM, b"a: &x [*x]", 400, BAD, None, YAML), post(CM, b"- a\n- b\n", 400, BAD, None, YAML),
    post(CM, b"a: b\n---\nc: d\n", None, None, None, YAML), post(CM, b"\x00\x01", 400, BAD, None, YAML), post(CM, b"k8s\x00\xff\xff\xff", 400, BAD, None, PROTO), post(CM, b"nope", 400, BAD, None, PROTO), post(CM, b"k8s\x00", 422, INV, "metadata.name: Required value", PROTO),
    post(CM, b"{}", 415, UMT, "the body of the request was in an unknown format - accepted media types include: ", "text/plain"), post(CM, b"{}", 415, UMT, None, "application/x-www-form-urlencoded"), post(CM, b"{}", 415, UMT, None, "nonsense"), post(CM, b"{}", 415, UMT, None, MERGE),
    post(CM, gzip.compress(b'{"metadata":{"name":"x"}}'), None, None, None, JSON, **{"Content-Encoding": "gzip"}),
]
NAMES = [
    post(CM, {"metadata": {}}, 422, INV, "metadata.name: Required value: name or generateName is required"), post(CM, {"metadata": {"name": "UPPER"}}, 422, INV, 'metadata.name: Invalid value: "UPPER": a lowercase RFC 1123 subdomain must consist of'),
    post(CM, {"metadata": {"name": "a" * 254}}, 422, INV, "must be no more than 253 "), post(CM, {"metadata": {"name": "a/b"}}, 422, INV, "metadata.name: Invalid value"), post(CM, {"metadata": {"name": "..", "x": 1}}, 422, INV, "metadata.name: Invalid value"),
    post(CM, {"metadata": {"generateName": "UPPER-"}}, 422, INV, "metadata.generateName: Invalid value"), post(CM, {"metadata": {"name": "x", "namespace": "other"}}, 400, BAD, "the namespace of the provided object does not match the namespace sent on the request"),
    post(CM, {"metadata": {"name": "x", "resourceVersion": "7"}}, 500, None, "resourceVersion should not be set on objects to be created"), post(CM, {"metadata": {"name": "there"}}, 409, "AlreadyExists", 'configmaps "there" already exists'),
    post("/api/v1/namespaces/nobody/configmaps", {"metadata": {"name": "x"}}, 404, NF, 'namespaces "nobody" not found'), post(SVC, {"metadata": {"name": "1a"}, "spec": {"ports": [{"port": 1}]}}, 422, INV, "a DNS-1035 label must consist of"),
    post(CM, {"metadata": {"name": "x", "labels": {"a b": "c"}}}, 422, INV, 'metadata.labels: Invalid value: "a b"'), post(CM, {"metadata": {"name": "x", "labels": {"a": "b c"}}}, 422, INV, "a valid label must be an empty string or consist of"),
    post(CM, {"metadata": {"name": "x", "annotations": {"a b": "c"}}}, 422, INV, "metadata.annotations"), post(CM, {"metadata": {"name": "x", "annotations": {"a": "x" * 270000}}}, 422, INV, "metadata.annotations: Too long: may not be more than 262144 bytes"),
    post(CM, {"metadata": {"name": "x", "finalizers": ["nonsense"]}}, 422, INV, "metadata.finalizers"), post(CM, {"metadata": {"name": "x", "ownerReferences": [{"kind": "A"}]}}, 422, INV, "metadata.ownerReferences"),
    post(CM, {"metadata": {"name": "x"}, "data": {"a/b": "c"}}, 422, INV, "data[a/b]: Invalid value"), post(CM, {"metadata": {"name": "x"}, "data": {"a": "b"}, "binaryData": {"a": "Yg=="}}, 422, INV, "data[a]: Invalid value: \"a\": duplicate of key present in binaryData"),
    put(CM + "/there", {"metadata": {"name": "other"}}, 400, BAD, "the name of the object (other) does not match the name on the URL (there)"), put(CM + "/there", {"metadata": {"name": "there", "namespace": "x"}}, 400, BAD, "namespace"),
    put(CM + "/there", {"metadata": {"name": "there", "resourceVersion": "1"}}, 409, CONF, 'Operation cannot be fulfilled on configmaps "there": the object has been modified; please apply your changes to the latest version and try again'),
    put(CM + "/there", {"metadata": {"name": "there", "resourceVersion": "x"}}, 400, BAD, "metadata.resourceVersion: Invalid value"), put(CM + "/there", {"metadata": {"name": "there", "uid": "x"}}, 409, CONF, "Precondition failed: UID in precondition: x, UID in object meta: "),
    put(CM + "/nobody", {"metadata": {"name": "nobody"}}, 404, NF, 'configmaps "nobody" not found'), put(CM + "/there", b"{", 400, BAD, None), put(CM + "/there", b"{}", 415, UMT, None, "text/plain"), put(CM + "/there?dryRun=x", {}, 422, INV, "UpdateOptions.meta.k8s.io"),
    put(DEP + "/x/scale", b"[]", 400, BAD, None), post(PODS + "/x/binding", {"target": {}}, None, None, None), post(PODS + "/x/eviction", {"kind": "Pod", "apiVersion": "v1"}, 400, BAD, None),
]
PATCHES = [
    patch(b"{", 400, BAD, "error decoding patch: "), patch(b"[]", 400, BAD, "error decoding patch: "), patch(b"null", 400, BAD, None), patch(b'"x"', 400, BAD, None), patch(b"", 400, BAD, None), patch(b"{}", 415, UMT, "accepted media types include: ", "text/plain"),
    patch(b"{}", 415, UMT, "application/merge-patch+json", JSON), patch(b"{}", 400, BAD, None, JPATCH), patch(b'[{"op":"nonsense","path":"/a"}]', None, None, None, JPATCH), patch(b'[{"op":"add"}]', None, None, None, JPATCH),
    patch([{"op": "test", "path": "/data/a", "value": "no"}], 422, INV, "the server rejected our request due to an error in our request", JPATCH), patch([{"op": "remove", "path": "/data/nonsense"}], 422, INV, "the server rejected our request", JPATCH),
    patch([{"op": "replace", "path": "/x/y/z", "value": 1}], 422, INV, None, JPATCH), patch([{"op": "copy", "from": "/nonsense", "path": "/data/b"}], 422, INV, None, JPATCH), patch([{"op": "move", "from": "/data", "path": "/data/b"}], 422, INV, None, JPATCH),
    patch([{"op": "add", "path": "/data/x", "value": "y"}] * 10001, 413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000, got 10001", JPATCH), patch([{"op": "add", "path": "/data/-", "value": 7}], 422, INV, None, JPATCH),
    patch([{"op": "replace", "path": "", "value": 7}], None, None, None, JPATCH), patch([{"op": "remove", "path": ""}], None, None, None, JPATCH), patch({"data": {"a": 7}}, 422, INV, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
    patch({"metadata": {"name": "other"}}, 400, BAD, "does not match the name on the URL"), patch({"metadata": {"resourceVersion": "1"}}, 409, CONF, "the object has been modified"), patch({"metadata": {"labels": "x"}}, 422, INV, "cannot unmarshal string"),
    patch({"metadata": {"uid": "x"}}, 409, CONF, "Precondition failed"), patch({"metadata": None}, None, None, None), patch({}, 404, NF, "not found", path=CM + "/nobody"), patch({}, 422, INV, "PatchOptions.meta.k8s.io", path=CM + "/there?dryRun=x"),
    patch({}, 422, INV, "fieldValidation", path=CM + "/there?fieldValidation=x"), patch({"spec": {"$patch": "nonsense"}}, 400, BAD, None, STRATEGIC, DEP + "/d"), patch({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, None, None, None, STRATEGIC, DEP + "/d"),
    patch({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, 422, INV, "spec.selector: Invalid value", MERGE, DEP + "/d"), patch({"spec": {"replicas": -1}}, 422, INV, "spec.replicas: Invalid value: -1: must be greater than or equal to 0", MERGE, DEP + "/d"),
    patch({"spec": {"replicas": "x"}}, 422, INV, None, MERGE, DEP + "/d"), patch({"spec": {"replicas": "x"}}, None, None, None, MERGE, DEP + "/d/scale"), patch(b'{"a":"\xff"}', 400, BAD, None), patch({"immutable": True}, 200, None, None, MERGE, CM + "/there?dryRun=All"),
    patch(b'{"kind":"ConfigMap","apiVersion":"v1"}', None, None, None, "application/apply-patch+yaml"), patch({"spec": {"containers": [{"$patch": "delete"}]}}, None, None, None, STRATEGIC, PODS + "/nobody"),
]
DELETES = [
    delete(CM + "/nobody", None, 404, NF, 'configmaps "nobody" not found'), delete(CM + "/there", b"{", 400, BAD, None), delete(CM + "/there", b"[]", 400, BAD, None), delete(CM + "/there", {"kind": "Pod"}, 400, BAD, None),
    delete(CM + "/there", b"{}", 415, UMT, None, "text/plain"), delete(CM + "/there?gracePeriodSeconds=x", None, 400, BAD, "x"), delete(CM + "/there?propagationPolicy=x", None, 422, INV, 'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "x"'),
    delete(CM + "/there?dryRun=x", None, 422, INV, "dryRun"), delete(CM + "/there", {"propagationPolicy": "Orphan", "orphanDependents": True}, 422, INV, "orphanDependents and deletionPropagation cannot be both set"), delete(CM + "/there", {"gracePeriodSeconds": "x"}, 400, BAD, None),
    delete(CM + "/there", {"preconditions": {"uid": "x"}}, 409, CONF, "Precondition failed: UID in precondition: x"), delete(CM + "/there", {"preconditions": {"resourceVersion": "1"}}, 409, CONF, "Precondition failed: ResourceVersion in precondition: 1"), delete(CM + "/there", {"dryRun": ["x"]}, 422, INV, "dryRun"),
    delete("/api/v1/nodes/nobody", None, 404, NF, 'nodes "nobody" not found'), delete(CM + "?propagationPolicy=x", None, 422, INV, "propagationPolicy"),
]
TABLE = URLS + METHODS + LISTS + BODIES + NAMES + PATCHES + DELETES


def shape(tree, code):
    return isinstance(tree, dict) and tree.get("kind") == "Status" and tree.get("apiVersion") == "v1" and tree.get("status") == "Failure" \
        and tree.get("code") == code and isinstance(tree.get("metadata"), dict) and tree.get("message")


def table(s):
    for number, (method, path, body, kind, headers, code, reason, text) in enumerate(TABLE):
        status, answer, data = s.request(method, path, body, content_type=kind, headers=headers)
        try:
            tree = json.loads(data)
        except ValueError:
            tree = data.decode("utf-8", "replace")
        name = "%s %s %s" % (method, path[:70], "" if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())[:60])
        good = (code is None and (status < 300 or (400 <= status < 500 and shape(tree, status)))) or status == code
        if good and status >= 400 and (reason or text):
            good = shape(tree, status) and (reason is None or tree.get("reason") == reason) and (text is None or text in tree["message"])
        check("%d %s" % (number, name), good, (status, tree if status >= 400 else "", "wanted %s %s %s" % (code, reason, text)))
    check("the table has 150 rows at least (%d)" % len(TABLE), len(TABLE) >= 150)
    equal("nothing of it came to be", sorted(i["metadata"]["name"] for i in s.call("GET", CM)[1]["items"] if i["metadata"]["name"] not in ("kube-root-ca.crt", "x")), ["there"])


class Bystander:
    """Another client's small reads; their p99 is printed at the end."""

    def __init__(self, s, what):
        self.s, self.what, self.times, self.ended, self.codes = s, what, [], False, set()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        c = self.s.connect()
        while not self.ended:
            start = time.time()
            self.codes.add(self.s.request("GET", CM + "/there", connection=c)[0])
            self.times.append((time.time() - start) * 1000)
            time.sleep(0.002)

    def __exit__(self, *_):
        self.ended = True
        self.thread.join()
        self.times.sort()
        p99 = self.times[int(len(self.times) * 0.99)]
        print("   %s: %d reads of another client, p99 %.1f ms, longest %.1f ms" % (self.what, len(self.times), p99, self.times[-1]))
        check("%s: others are served" % self.what, self.codes == {200} and p99 < 1000, (self.codes, p99))


def answer(s, *args, **options):
    status, _, data = s.request(*args, **options)
    try:
        return status, json.loads(data).get("message", "")[:200]
    except (ValueError, AttributeError):
        return status, data[:100]


def resident_kb(s):
    for line in open("/proc/%d/status" % s.process.pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1])


def bombs(s):
    before = resident_kb(s)
    grow = [{"op": "add", "path": "/data/b", "value": "x" * 1000}] + [{"op": "copy", "from": "/data", "path": "/data/b"}] * 60
    with Bystander(s, "self-copying JSON patches"):
        for _ in range(30):
            status, why = answer(s, "PATCH", CM + "/there", grow, content_type=JPATCH)
            check("a patch that doubles is refused", status in (400, 413, 422), (status, why))
    with Bystander(s, "selectors of 100,000 terms"):
        for text in ("a in (%s)" % ",".join("v%d" % i for i in range(100000)), ",".join("k%d" % i for i in range(100000)), "," * 100000, "(" * 100000):
            query = text.replace(" ", "%20")
            status, why = answer(s, "GET", CM + "?labelSelector=" + query)
            check("a long selector in the URL is refused", status in (400, 414, 431), (status, why))
        terms = [{"key": "k%d" % i, "operator": "Exists"} for i in range(40000)]
        body = deployment("bomb")
        body["spec"]["selector"] = {"matchExpressions": terms}
        status, why = answer(s, "POST", DEP, body)
        check("one in a body is refused", status in (400, 413, 422), (status, why))
    with Bystander(s, "lists that rules look through"):
        rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["r%d/s%d" % (i, i) for i in range(50000)]}
        hook = {"name": "a.b.c", "clientConfig": {"url": "https://x/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule]}
        status, why = answer(s, "POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations?dryRun=All",
                             {"metadata": {"name": "long"}, "webhooks": [hook]})
        check("a rule for 50,000 resources is taken", status == 201, (status, why))
        versions = [{"name": "v%d" % (i + 1), "served": True, "storage": i == 0, "schema": {"openAPIV3Schema": {"type": "object"}}} for i in range(10000)]
        status, why = answer(s, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                             {"metadata": {"name": "as.x.y"}, "spec": {"group": "x.y", "scope": "Cluster", "names": {"plural": "as", "kind": "A"}, "versions": versions}})
        check("a definition of 10,000 versions is refused", status == 422 and "Too many" in why, (status, why))
        moves = [{"op": "add", "path": "/metadata/finalizers", "value": ["a.b/%d" % i for i in range(50000)]}]
        moves += [{"op": "move", "from": "/metadata/finalizers/49999", "path": "/metadata/finalizers/0"}] * 9900
        status, why = answer(s, "PATCH", CM + "/there", moves, content_type=JPATCH)
        check("a patch that moves through a long list is refused", status == 413, (status, why))
        entries = [{"manager": "m%d" % i, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}} for i in range(27000)]
        body = config_map("managed", {})
        body["metadata"]["managedFields"] = entries
        status, why = answer(s, "POST", CM + "?dryRun=All", body)
        check("made-up managers are passed over", status == 201, (status, why))
    with Bystander(s, "deep nesting"):
        for deep in (b"[" * 1000000, b'{"a":' * 500000, b'{"metadata":{"name":"x"},"data":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}"):
            status, why = answer(s, "POST", CM, deep)
            check("deep JSON is refused", status in (400, 413), (status, why))
        for deep in (b"a: " + b"[" * 50000, b"{a: " * 50000, b"".join(b" " * i + b"a:\n" for i in range(1500))):
            status, why = answer(s, "POST", CM, deep, content_type=YAML)
            check("deep YAML is refused", status in (400, 413), (status, why))
        laughs = b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10))
        status, why = answer(s, "POST", CM, laughs, content_type=YAML)
        check("a billion laughs are refused", status in (400, 413), (status, why))
    with Bystander(s, "3 MiB bodies"):
        status, why = answer(s, "POST", CM, config_map("big", {"a": "x" * (2 << 20)}))
        check("an object too large to keep is 413 or 422", status in (413, 422), (status, why))
        status, why = answer(s, "POST", CM, b'{"metadata":{"name":"x"},"a":[' + b"1," * 1400000 + b"1]}")
        check("many values are refused", status in (400, 413), (status, why))
        status, why = answer(s, "POST", CM, b" " * ((3 << 20) + 1))
        check("above 3 MiB", status == 413, (status, why))
        for i in range(5):
            status, headers, _ = s.request("POST", CM, b'{"metadata":{"name":"x"},"' + b"y" * ((3 << 20) - 100) + b'":1}')
            check("a name of 3 MiB is warned of with its start", len(headers.get("Warning") or "") < 400, len(headers.get("Warning") or ""))
        many = {"n%d" % i: 1 for i in range(5000)}
        _, headers, _ = s.request("POST", CM, dict(many, metadata={"name": "x"}))
        check("warnings have a bound in all", sum(map(len, headers.get_all("Warning") or [])) < 5000)
    with Bystander(s, "gzip bombs"):
        status, why = answer(s, "POST", CM, gzip.compress(b" " * (100 << 20)), headers={"Content-Encoding": "gzip"})
        check("a compressed body is not blown up", status in (400, 413, 415), (status, why))
    with Bystander(s, "header floods"):
        for head in ("".join("h%d: x\r\n" % i for i in range(20000)), "h: " + "x" * 2000000 + "\r\n", "x" * 100000) * 8:
            c = s.raw()
            try:
                c.sendall(("GET /version HTTP/1.1\r\nHost: x\r\n" + head).encode())
                c.settimeout(10)
                got = c.recv(1000)
            except OSError:
                got = b"HTTP/1.1 4 (cut)"
            check("a flood of headers is cut", got.startswith(b"HTTP/1.1 4"), got[:60])
            c.close()
    rapid_reset(s)
    after = resident_kb(s)
    print("   memory before %d KB, after %d KB" % (before, after))
    if "libasan" in os.popen("ldd %s/skiff-apiserver" % BIN).read():
        print("   AddressSanitizer keeps what is freed: memory is not judged")
    else:
        check("memory stays bounded", after < before + 200000, (before, after))


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def rapid_reset(s):
    """HTTP/2: streams opened and reset at once, without end."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    with Bystander(s, "HTTP/2 rapid reset"):
        cut = 0
        for _ in range(4):
            c = tls.wrap_socket(socket.create_connection(("127.0.0.1", s.port)))
            head = b"\x82\x87\x44" + bytes([len(CM)]) + CM.encode() + b"\x41\x01x"  # GET https CM x
            try:
                c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
                for block in range(100):
                    c.sendall(b"".join(frame(1, 5, 1 + 2 * i, head) + frame(3, 0, 1 + 2 * i, struct.pack(">I", 8))
                                       for i in range(block * 200, block * 200 + 200)))
                c.settimeout(2)
                while c.recv(65536):
                    pass
                cut += 1
            except (TimeoutError, socket.timeout):
                pass
            except OSError:
                cut += 1
            c.close()
        print("   %d of 4 connections with 20,000 resets were cut" % cut)
        check("connections that only reset are cut", cut == 4, cut)


def main():
    with Server() as s:
        s.call("POST", CM, config_map("there", {"a": "b"}))
        s.call("POST", DEP, deployment("d"))
        service_account(s)
        table(s)
        s.call("DELETE", CM + "/x")
        bombs(s)


main()
finish()
