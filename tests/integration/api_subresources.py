#!/usr/bin/env python3
"""
Subresources: eviction with PodDisruptionBudgets, ephemeralcontainers, resize, finalize, token, approval, scale, binding.

Method: a real skiff-apiserver and no controllers: the test writes the status that they would write, then looks at codes,
reasons, causes and what is stored; eight evictions at once share the disruptions that are left.
"""
import base64, concurrent.futures, os, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from apiserver import *

PODS, PDBS = "/api/v1/namespaces/default/pods", "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


def running(s, name, labels=None, ready=True, phase="Running"):
    body = pod(name, labels=labels or {"app": "web"})
    body["spec"]["nodeName"] = "n1"
    status, p = s.call("POST", PODS, body)
    assert status == 201, p
    s.patch(PODS + "/" + name + "/status", {"status": {"phase": phase, "conditions": [
        {"type": "Ready", "status": "True" if ready else "False"}]}})


def budget(s, name, allowed, observed=1, healthy=3, desired=2, labels=None, **spec):
    s.call("DELETE", PDBS + "/" + name)
    status, p = s.call("POST", PDBS, {"metadata": {"name": name},
                                      "spec": dict({"minAvailable": 2, "selector": {"matchLabels": labels or {"app": "web"}}}, **spec)})
    assert status == 201, p
    s.patch(PDBS + "/" + name + "/status", {"status": {"observedGeneration": observed, "disruptionsAllowed": allowed,
            "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": 3}})


def evict(s, name, query="", version="policy/v1", **options):
    body = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": name}}
    if options:
        body["deleteOptions"] = options
    status, headers, data = s.request("POST", PODS + "/" + name + "/eviction" + query, body)
    return status, headers, json.loads(data)


def cause(tree):
    return ((tree.get("details") or {}).get("causes") or [{}])[0]


def evictions(s):
    for i in range(4):
        running(s, "web-%d" % i)
    status, _, tree = evict(s, "web-0")
    equal("without a budget a pod goes", (status, tree["status"]), (201, "Success"))
    gone = s.call("GET", PODS + "/web-0")[1]
    condition = [c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget"][0]
    equal("marked, with the reason", (condition["reason"], "deletionTimestamp" in gone["metadata"]), ("EvictionByEvictionAPI", True))
    equal("again is no error", evict(s, "web-0")[0], 201)
    budget(s, "b", 0)
    status, headers, tree = evict(s, "web-1")
    equal("a used-up budget refuses", (status, tree["reason"], tree["message"]),
          (429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."))
    equal("with its cause", cause(tree), {"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods and has 3 currently"})
    check("and no Retry-After, so that clients choose", headers.get("Retry-After") is None, headers.get("Retry-After"))
    budget(s, "b", 1, observed=0)
    status, headers, tree = evict(s, "web-1")
    equal("an unobserved budget asks to wait", (status, headers.get("Retry-After"), tree["details"].get("retryAfterSeconds"), cause(tree)["message"]),
          (429, "10", 10, "The disruption budget b is still being processed by the server."))
    budget(s, "b", 2)
    equal("dry run says yes", evict(s, "web-1", "?dryRun=All")[0], 201)
    equal("in the body too", evict(s, "web-1", dryRun=["All"])[0], 201)
    after = s.call("GET", PDBS + "/b")[1]["status"]
    check("and pays nothing", after["disruptionsAllowed"] == 2 and "disruptedPods" not in after
          and "deletionTimestamp" not in s.call("GET", PODS + "/web-1")[1]["metadata"], after)
    status, _, tree = evict(s, "web-1", preconditions={"uid": "no"})
    equal("preconditions hold", (status, tree["reason"]), (409, "Conflict"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i in range(8):
            running(s, "many-%d" % i)
        codes = [r[0] for r in pool.map(lambda i: evict(s, "many-%d" % i), range(8))]
    equal("eight at once share the two that are left", sorted(codes), [201, 201] + [429] * 6)
    after = s.call("GET", PDBS + "/b")[1]["status"]
    equal("the budget has paid", (after["disruptionsAllowed"], len(after["disruptedPods"])), (0, 2))
    condition = [c for c in after["conditions"] if c["type"] == "DisruptionAllowed"][0]
    equal("and says so", (condition["status"], condition["reason"]), ("False", "InsufficientPods"))
    running(s, "sick", ready=False)
    equal("a sick pod of a healthy application goes for nothing", evict(s, "sick")[0], 201)
    budget(s, "b", 0, healthy=1)
    running(s, "sick-2", ready=False)
    equal("of a sick application it does not", evict(s, "sick-2")[0], 429)
    budget(s, "b", 0, healthy=1, unhealthyPodEvictionPolicy="AlwaysAllow")
    equal("unless the budget lets it", evict(s, "sick-2")[0], 201)
    budget(s, "b2", 1)
    status, _, tree = evict(s, "web-2")
    equal("several budgets", (status, tree["message"]),
          (500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."))
    for name in ("Pending", "Succeeded"):
        running(s, "p-" + name.lower(), phase=name)
        equal("a %s pod goes at once" % name, evict(s, "p-" + name.lower())[0], 201)
    equal("older clients' version", evict(s, "web-0", version="policy/v1beta1")[0], 201)
    status, tree = s.call("POST", PODS + "/web-2/eviction", {"metadata": {"name": "other"}})
    equal("names must agree", (status, tree["message"]), (400, "name in URL does not match name in Eviction object"))
    equal("no such pod", evict(s, "nobody")[0], 404)
    s.call("DELETE", PDBS + "/b2")
    budget(s, "b", -1)
    status, _, tree = evict(s, "web-2")
    equal("a negative budget", (status, tree["message"]), (403, 'poddisruptionbudget.policy "b" is forbidden: pdb disruptions allowed is negative'))
    s.call("DELETE", PDBS + "/b")


def parts(s):
    running(s, "debugged")
    path = PODS + "/debugged/ephemeralcontainers"
    add = {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "busybox", "targetContainerName": "c"}]}}
    status, tree = s.patch(path, add, "strategic")
    equal("a debugging container is added", (status, [c["name"] for c in tree["spec"].get("ephemeralContainers", [])]), (200, ["dbg"]))
    equal("defaults come with it", tree["spec"]["ephemeralContainers"][0].get("terminationMessagePath"), "/dev/termination-log")
    generation = tree["metadata"]["generation"]
    status, tree = s.patch(path, {"metadata": {"labels": {"x": "y"}}, "spec": {"ephemeralContainers": [{"name": "two", "image": "busybox"}], "nodeName": "other"}}, "strategic")
    equal("another; the rest of the pod stays", (status, sorted(c["name"] for c in tree["spec"]["ephemeralContainers"]),
          tree["spec"]["nodeName"], "x" in tree["metadata"]["labels"], tree["metadata"]["generation"]), (200, ["dbg", "two"], "n1", False, generation + 1))
    whole = s.call("GET", path)[1]
    equal("GET shows the pod", (whole["kind"], whole["metadata"]["name"]), ("Pod", "debugged"))
    whole["spec"]["ephemeralContainers"].pop()
    status, tree = s.call("PUT", path, whole)
    check("none may go", status == 422 and 'existing ephemeral containers "' in tree["message"] and "may not be removed" in tree["message"], tree)
    whole = s.call("GET", path)[1]
    whole["spec"]["ephemeralContainers"][0]["image"] = "other"
    status, tree = s.call("PUT", path, whole)
    check("none may change", status == 422 and "may not be changed" in tree["message"], tree)
    status, tree = s.patch(path, {"spec": {"ephemeralContainers": [{"name": "three", "image": "b", "ports": [{"containerPort": 1}]}]}}, "strategic")
    check("no ports", status == 422 and "cannot be set for an Ephemeral Container" in tree["message"], tree)
    status, tree = s.patch(PODS + "/debugged", {"spec": {"ephemeralContainers": []}})
    check("not through the pod", status == 422 and len(s.call("GET", path)[1]["spec"]["ephemeralContainers"]) == 2, tree)

    body = pod("resized")
    body["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}
    s.call("POST", PODS, body)
    path = PODS + "/resized/resize"

    def resources(**lists):
        return {"spec": {"containers": [{"name": "c", "resources": lists}]}}
    status, tree = s.patch(path, resources(requests={"cpu": "200m"}), "strategic")
    equal("requests change in place", (status, tree["spec"]["containers"][0]["resources"]["requests"]["cpu"]), (200, "200m"))
    status, tree = s.patch(PODS + "/resized", resources(requests={"cpu": "300m"}), "strategic")
    check("not through the pod", status == 422 and "pod updates may not change fields" in tree["message"], tree)
    status, tree = s.patch(path, resources(requests={"cpu": "1", "memory": "64Mi"}, limits={"cpu": "1", "memory": "64Mi"}), "strategic")
    check("the class of service stays", status == 422 and "Pod QOS Class may not change as a result of resizing" in tree["message"], tree)
    status, tree = s.patch(path, resources(limits={"cpu": None}), "strategic")
    check("limits stay", status == 422 and "resource limits cannot be removed" in tree["message"], tree)
    status, tree = s.patch(path, resources(requests={"ephemeral-storage": "1Gi"}), "strategic")
    check("only cpu and memory", status == 422 and "only cpu and memory resources are mutable" in tree["message"], tree)
    whole = s.call("GET", path)[1]
    whole["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "250m"
    whole["spec"]["containers"][0]["image"] = "other"
    status, tree = s.call("PUT", path, whole)
    equal("PUT takes the resources alone", (status, tree["spec"]["containers"][0]["resources"]["requests"]["cpu"], tree["spec"]["containers"][0]["image"]), (200, "250m", "nginx"))
    whole["metadata"]["resourceVersion"] = "1"
    equal("an old version is a conflict", s.call("PUT", path, whole)[0], 409)


def finalize(s):
    s.call("POST", "/api/v1/namespaces", {"metadata": {"name": "going"}})
    ns = s.call("DELETE", "/api/v1/namespaces/going")[1]
    equal("a namespace waits", ns["status"]["phase"], "Terminating")
    ns = s.call("GET", "/api/v1/namespaces/going")[1]
    old = dict(ns, metadata=dict(ns["metadata"], resourceVersion="1"), spec={})
    equal("finalize honours the version", s.call("PUT", "/api/v1/namespaces/going/finalize", old)[0], 409)
    status, tree = s.call("PUT", "/api/v1/namespaces/going/finalize", dict(ns, spec={"finalizers": []}))
    equal("finalize lets it go", (status, s.call("GET", "/api/v1/namespaces/going")[0]), (200, 404))
    equal("GET finalize is no method", s.call("GET", "/api/v1/namespaces/default/finalize")[0], 405)


def approval(s):
    key = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
                          "-subj", "/CN=jane"], capture_output=True).stdout
    base = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    status, csr = s.call("POST", base, {"metadata": {"name": "r"}, "spec": {"request": base64.b64encode(key).decode(),
                         "signerName": "example.io/x", "usages": ["client auth"]}})
    equal("a request", status, 201)
    csr = s.call("GET", base + "/r/approval")[1]
    equal("GET approval shows it", (csr.get("kind"), csr["metadata"]["name"]), ("CertificateSigningRequest", "r"))
    yes = {"type": "Approved", "status": "True", "reason": "x", "message": "y"}
    status, tree = s.patch(base + "/r/status", {"status": {"conditions": [yes]}})
    check("status can't approve", status == 422 and 'updates may not add a condition of type "Approved"' in tree["message"], tree)
    status, tree = s.patch(base + "/r/approval", {"status": {"conditions": [dict(yes, status="False")]}})
    check("approved is True", status == 422 and "supported values: \"True\"" in tree["message"], tree)
    csr["status"] = {"conditions": [yes], "certificate": "eA=="}
    status, tree = s.call("PUT", base + "/r/approval", csr)
    equal("approval approves, and no more", (status, [c["type"] for c in tree["status"]["conditions"]], "certificate" in tree["status"],
          "lastUpdateTime" in tree["status"]["conditions"][0]), (200, ["Approved"], False, True))
    status, tree = s.patch(base + "/r/approval", {"status": {"conditions": []}})
    check("a verdict stays", status == 422 and 'updates may not remove a condition of type "Approved"' in tree["message"], tree)
    status, tree = s.patch(base + "/r/approval", {"status": {"conditions": tree_conditions(s, base) + [dict(yes, type="Denied")]}})
    check("approved and denied exclude each other", status == 422 and "Approved and Denied conditions are mutually exclusive" in tree["message"], tree)
    status, tree = s.patch(base + "/r/status", {"status": {"certificate": base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()}})
    equal("status issues", status, 200)
    status, tree = s.patch(base + "/r/status", {"status": {"certificate": "eA=="}})
    check("once", status == 422 and "updates may not modify existing certificate content" in tree["message"], tree)


def tree_conditions(s, base):
    return s.call("GET", base + "/r")[1]["status"]["conditions"]


def scales(s):
    sets = {"/apis/apps/v1/namespaces/default/deployments": "Deployment", "/apis/apps/v1/namespaces/default/replicasets": "ReplicaSet",
            "/apis/apps/v1/namespaces/default/statefulsets": "StatefulSet", "/api/v1/namespaces/default/replicationcontrollers": "ReplicationController"}
    for path, kind in sets.items():
        body = dict(deployment("s"), kind=kind, apiVersion="apps/v1" if "apps" in path else "v1")
        if kind == "StatefulSet":
            body["spec"]["serviceName"] = "s"
        if kind == "ReplicationController":
            body["spec"]["selector"] = {"app": "s"}
        assert s.call("POST", path, body)[0] == 201
        status, scale = s.call("GET", path + "/s/scale")
        equal("%s has a scale" % kind, (status, scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]), (200, "Scale", 1, "app=s"))
        scale["spec"]["replicas"] = 3
        status, scale = s.call("PUT", path + "/s/scale", scale)
        equal("PUT changes it", (status, scale["spec"]["replicas"], s.call("GET", path + "/s")[1]["spec"]["replicas"]), (200, 3, 3))
        for how, change in (("merge", {"spec": {"replicas": 4}}), ("strategic", {"spec": {"replicas": 4}}),
                            ("json", [{"op": "replace", "path": "/spec/replicas", "value": 4}])):
            status, scale = s.patch(path + "/s/scale", change, how)
            equal("%s patch" % how, (status, scale["spec"].get("replicas") if status == 200 else scale), (200, 4))
        equal("a version that is old", s.call("PUT", path + "/s/scale", dict(scale, metadata=dict(scale["metadata"], resourceVersion="1")))[0], 409)
        equal("a uid that is another's", s.call("PUT", path + "/s/scale", dict(scale, metadata={"name": "s", "uid": "no"}))[0], 409)
        status, tree = s.patch(path + "/s/scale", {"spec": {"replicas": -1}})
        check("not below zero", status == 422 and "must be greater than or equal to 0" in tree["message"], tree)
        equal("a name that is another's", s.call("PUT", path + "/s/scale", dict(scale, metadata={"name": "t"}))[0], 400)
        status, scale = s.call("PUT", path + "/s/scale?dryRun=All", {"metadata": {"name": "s"}, "spec": {"replicas": 9}})
        equal("dry run", (status, scale["spec"]["replicas"], s.call("GET", path + "/s")[1]["spec"]["replicas"]), (200, 9, 4))
        equal("of nobody", s.call("GET", path + "/t/scale")[0], 404)


def tokens_and_bindings(s):
    base = "/api/v1/namespaces/default/serviceaccounts/default/token"
    status, tree = s.call("POST", base, {"spec": {"audiences": ["a"], "expirationSeconds": 700}})
    equal("a token", (status, tree["kind"], tree["spec"]["expirationSeconds"], tree["status"]["token"].count(".")), (201, "TokenRequest", 700, 2))
    status, tree = s.call("POST", base, {"metadata": {"name": "other"}, "spec": {}})
    equal("of the account in the path", (status, tree.get("message")), (422, 'TokenRequest.authentication.k8s.io "default" is invalid: '
          'metadata.name: Invalid value: "other": must match the service account name if specified'))
    equal("too short", s.call("POST", base, {"spec": {"expirationSeconds": 1}})[0], 422)
    s.call("POST", PODS, pod("bound"))
    status, tree = s.call("POST", PODS + "/bound/binding", {"metadata": {"name": "other"}, "target": {"name": "n"}})
    equal("a binding of another pod", (status, tree["message"]), (400, "name in URL does not match name in Binding object"))
    status, tree = s.call("POST", PODS + "/bound/binding?dryRun=All", {"metadata": {"name": "bound"}, "target": {"name": "n"}})
    equal("dry run binds nothing", (status, s.call("GET", PODS + "/bound")[1]["spec"].get("nodeName")), (201, None))
    status, tree = s.call("POST", "/api/v1/namespaces/default/bindings", {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}})
    equal("the old way to bind", (status, tree["status"], s.call("GET", PODS + "/bound")[1]["spec"]["nodeName"]), (201, "Success", "n"))
    status, tree = s.call("POST", PODS + "/bound/binding", {"target": {"name": "m"}})
    equal("once", (status, tree["reason"]), (409, "Conflict"))


def main():
    with Server("--service-account-signing-key-file=" + KEY, "--service-account-key-file=" + KEY) as s:
        service_account(s)
        evictions(s)
        parts(s)
        finalize(s)
        approval(s)
        scales(s)
        tokens_and_bindings(s)


with tempfile.TemporaryDirectory() as KEYS:
    KEY = KEYS + "/key"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", KEY], check=True)
    main()
finish()
