#!/usr/bin/env python3
"""
Goal: Services get endpoints; namespaces empty themselves; owners take their dependents along; nodes that die lose their pods;
certificates, accounts and roles are looked after; and an idle cluster is written to by no controller.
Method: a real API server, scheduler and controller manager; pods run on hollow nodes.
"""
import base64, json, os, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import check, equal, finish
from controllers import APPS, PODS, Cluster, workload

V1 = "/api/v1/namespaces/default/"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def slices(c, service):
    return [s for s in c.items(SLICES) if s["metadata"]["labels"].get("kubernetes.io/service-name") == service]


def endpoints(c):
    c.create(V1 + "services", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [
        {"port": 80, "targetPort": "http"}]}})
    c.wait("a Service without pods has one empty slice", lambda: [s.get("endpoints") or [] for s in slices(c, "web")] == [[]])
    c.create(APPS + "deployments", workload("Deployment", "web", 3))
    c.wait("ready pods are endpoints", lambda: sum(e["conditions"]["ready"] for s in slices(c, "web")
                                                   for e in s["endpoints"]) == 3)
    one = slices(c, "web")[0]
    check("one slice, owned, with its port and node names", one["ports"] == [
        {"name": "", "port": 80, "protocol": "TCP"}] and one["metadata"]["ownerReferences"][0]["kind"] == "Service" and
        all(e["nodeName"].startswith("hollow-") for e in one["endpoints"]), one)
    c.wait("Endpoints has them in one subset", lambda: [len(s["addresses"]) for s in c.get(V1 + "endpoints/web")[
        "subsets"]] == [3])
    pod = next(p for p in c.items(PODS) if p["metadata"]["labels"]["app"] == "web")["metadata"]["name"]
    before = one["metadata"]["generation"]
    c.patch(PODS + "/" + pod, {"metadata": {"labels": {"app": "other"}}})
    c.wait("a pod that leaves is replaced in it", lambda: pod not in [
        e["targetRef"]["name"] for e in slices(c, "web")[0]["endpoints"]] and len(slices(c, "web")[0]["endpoints"]) == 3)
    equal("still one slice", len(slices(c, "web")), 1)
    check("in few writes", slices(c, "web")[0]["metadata"]["generation"] - before <= 4)
    c.delete(PODS + "/" + pod)
    c.delete(V1 + "services/web")
    c.wait("slices and Endpoints go with the Service", lambda: not slices(c, "web") and not c.get(V1 + "endpoints/web"))


def garbage(c):
    uid = c.get(APPS + "deployments/web")["metadata"]["uid"]
    c.create(V1 + "configmaps", {"metadata": {"name": "owned", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}]}})
    c.create(V1 + "configmaps", {"metadata": {"name": "lost", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "00000000-0000-0000-0000-000000000000"}]}})
    c.create(V1 + "configmaps", {"metadata": {"name": "half", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid},
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone", "uid": "00000000-0000-0000-0000-000000000001"}]}})
    c.wait("an object whose owner never existed goes", lambda: not c.get(V1 + "configmaps/lost"))
    c.wait("one with another, live owner only loses the reference", lambda: len(
        c.get(V1 + "configmaps/half")["metadata"]["ownerReferences"]) == 1)
    c.delete(APPS + "deployments/web", "Foreground")
    c.wait("foreground: the owner goes last, with everything", lambda: not c.get(APPS + "deployments/web"))
    equal("no pod is left", [p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "web"], [])
    c.wait("nor a ConfigMap", lambda: not c.get(V1 + "configmaps/owned") and not c.get(V1 + "configmaps/half"))
    c.create(APPS + "replicasets", workload("ReplicaSet", "r", 2))
    c.wait("pods", lambda: len([p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "r"]) == 2, quiet=True)
    c.delete(APPS + "replicasets/r", "Orphan")
    c.wait("orphaned pods stay, without owner", lambda: not c.get(APPS + "replicasets/r") and all(
        not p["metadata"].get("ownerReferences") for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "r"))
    time.sleep(1)
    equal("... and are not collected later", len([p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "r"]), 2)
    c.server.call("DELETE", PODS + "?labelSelector=app%3Dr")


def namespaces(c):
    c.create("/api/v1/namespaces", {"metadata": {"name": "n"}})
    c.wait("a namespace gets its account and CA", lambda: c.get("/api/v1/namespaces/n/serviceaccounts/default") and c.get(
        "/api/v1/namespaces/n/configmaps/kube-root-ca.crt"), 5)
    c.delete("/api/v1/namespaces/n/serviceaccounts/default")
    c.patch("/api/v1/namespaces/n/configmaps/kube-root-ca.crt", {"data": {"ca.crt": "x", "more": "y"}})
    c.wait("both are repaired", lambda: c.get("/api/v1/namespaces/n/serviceaccounts/default") and list(c.get(
        "/api/v1/namespaces/n/configmaps/kube-root-ca.crt")["data"].items()) == [("ca.crt", open(c.dir + "/ca.crt").read())])
    c.create("/apis/apps/v1/namespaces/n/deployments", workload("Deployment", "web", 3))
    c.create("/api/v1/namespaces/n/configmaps", {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    c.wait("pods run", lambda: len(c.items("/api/v1/namespaces/n/pods")) == 3, quiet=True)
    c.delete("/api/v1/namespaces/n")
    c.wait("a finalizer holds it, and a condition says so", lambda: any(
        x["type"] == "NamespaceFinalizersRemaining" and x["status"] == "True" and "example.com/hold in 1 resource" in
        x["message"] for x in c.get("/api/v1/namespaces/n")["status"]["conditions"]))
    equal("the rest is gone", (len(c.items("/api/v1/namespaces/n/pods")), len(c.items("/api/v1/namespaces/n/configmaps"))),
          (0, 1))
    c.patch("/api/v1/namespaces/n/configmaps/held", {"metadata": {"finalizers": None}})
    c.wait("then it goes", lambda: not c.get("/api/v1/namespaces/n"))


def identity(c):
    run = lambda *argv: subprocess.run(argv, check=True, capture_output=True).stdout
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", c.dir + "/u.key",
        "-out", c.dir + "/u.csr", "-subj", "/CN=joe/O=devs")
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    request = base64.b64encode(open(c.dir + "/u.csr", "rb").read()).decode()
    c.create(path, {"metadata": {"name": "joe"}, "spec": {"request": request, "usages": ["client auth"], "signerName":
             "kubernetes.io/kube-apiserver-client", "expirationSeconds": 3600}})
    time.sleep(0.3)
    check("nobody approves a user's request by itself", not c.get(path + "/joe").get("status", {}).get("conditions"))
    o = c.get(path + "/joe")
    o.setdefault("status", {})["conditions"] = [{"type": "Approved", "status": "True", "reason": "Test", "message": "x"}]
    c.server.call("PUT", path + "/joe/approval", o)
    c.wait("approved, it is signed", lambda: c.get(path + "/joe")["status"]["certificate"])
    with open(c.dir + "/u.crt", "wb") as f:
        f.write(base64.b64decode(c.get(path + "/joe")["status"]["certificate"]))
    check("by the cluster's CA", b"OK" in run("openssl", "verify", "-CAfile", c.dir + "/ca.crt", c.dir + "/u.crt"))
    c.create(V1 + "secrets", {"metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}},
                              "type": "kubernetes.io/service-account-token"})
    c.wait("a token Secret is filled", lambda: sorted(c.get(V1 + "secrets/t")["data"]) == ["ca.crt", "namespace", "token"])
    token = base64.b64decode(c.get(V1 + "secrets/t")["data"]["token"]).decode()
    equal("... with a token that works", c.server.call(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)[1].get("status", {}).get("userInfo", {})
        .get("username"), "system:serviceaccount:default:default")
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    rule = lambda r: {"apiGroups": [""], "resources": [r], "verbs": ["get"]}
    c.create(roles, {"metadata": {"name": "part", "labels": {"to": "sum"}}, "rules": [rule("pods"), rule("nodes")]})
    c.create(roles, {"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]},
                     "rules": []})
    c.wait("roles are aggregated", lambda: len(c.get(roles + "/sum")["rules"]) == 2)
    c.patch(roles + "/part", {"rules": [rule("pods")]})
    c.wait("... and revoked", lambda: c.get(roles + "/sum")["rules"] == [rule("pods")])


def nodes(c):
    equal("every node has its own addresses", len({n["spec"].get("podCIDR") for n in c.items("/api/v1/nodes")}), 2)
    c.add_nodes("dying-", 1)
    o = workload("Deployment", "e", 1)
    o["spec"]["template"]["spec"].update(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [
            "dying-0"]}]}}]}}, tolerations=[{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect":
                                             "NoExecute", "tolerationSeconds": 1}], nodeName=None)
    o["spec"]["template"]["spec"].pop("nodeName")
    c.create(APPS + "deployments", o)
    pods = lambda: [p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "e"]
    c.wait("a pod runs", lambda: pods()[0]["status"]["phase"] == "Running")
    where = pods()[0]["spec"]["nodeName"]
    c.patch("/api/v1/nodes/dying-0", {"spec": {"unschedulable": True}})
    c.wait("a cordoned node is tainted", lambda: any(t["key"] == "node.kubernetes.io/unschedulable" for t in c.get(
        "/api/v1/nodes/dying-0")["spec"]["taints"]))
    c.kill("dying-")
    c.wait("a silent node becomes Unknown", lambda: any(x["type"] == "Ready" and x["status"] == "Unknown" for x in c.get(
        "/api/v1/nodes/dying-0")["status"]["conditions"]), 20)
    c.wait("... and unreachable, both ways", lambda: sorted(t["effect"] for t in c.get("/api/v1/nodes/dying-0")["spec"][
        "taints"] if t["key"].endswith("unreachable")) == ["NoExecute", "NoSchedule"])
    if where == "dying-0":
        c.wait("its pod is evicted and runs elsewhere", lambda: any(p["spec"].get("nodeName", "").startswith("hollow-") and
               p["status"]["phase"] == "Running" for p in pods()))
    c.delete(APPS + "deployments/e")
    c.delete("/api/v1/nodes/dying-0")
    for p in pods():
        c.server.call("DELETE", PODS + "/" + p["metadata"]["name"], {"gracePeriodSeconds": 0})


def near(c):
    base, slices = "/api/v1/namespaces/default/services", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    for i in range(2):
        c.patch("/api/v1/nodes/hollow-%d" % i, {"metadata": {"labels": {"topology.kubernetes.io/zone": "z%d" % i}}})
    c.create(APPS + "deployments", workload("Deployment", "near", 2))
    c.create(base, {"metadata": {"name": "near"}, "spec": {"selector": {"app": "near"}, "ports": [{"port": 80}], "trafficDistribution": "PreferClose"}})

    def hinted():
        ends = [x for s in c.items(slices) if s["metadata"]["labels"].get("kubernetes.io/service-name") == "near" for x in s["endpoints"]]
        return len(ends) == 2 and all([z["name"] for z in x["hints"]["forZones"]] == [x["zone"]] for x in ends)
    c.wait("traffic that shall stay near gets hints", hinted)
    c.delete(base + "/near")
    c.delete(APPS + "deployments/near")


def mirrored(c):
    base, slices = "/api/v1/namespaces/default/", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    c.create(base + "services", {"metadata": {"name": "outside"}, "spec": {"ports": [{"port": 80}]}})
    c.create(base + "endpoints", {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside"}, "subsets": [
        {"addresses": [{"ip": "192.0.2.7"}, {"ip": "2001:db8::7"}], "notReadyAddresses": [{"ip": "192.0.2.8"}], "ports": [{"port": 8080}]}]})

    def seen():
        return sorted((a, x["conditions"]["ready"], s["addressType"]) for s in c.items(slices) if s["metadata"]["labels"].get(
            "kubernetes.io/service-name") == "outside" for x in s["endpoints"] for a in x["addresses"])
    c.wait("Endpoints of a Service without selector are mirrored", lambda: seen() == [
        ("192.0.2.7", True, "IPv4"), ("192.0.2.8", False, "IPv4"), ("2001:db8::7", True, "IPv6")])
    c.patch(base + "endpoints/outside", {"subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 8080}]}]})
    c.wait("... also their changes", lambda: seen() == [("192.0.2.9", True, "IPv4")])
    c.patch(base + "endpoints/outside", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}})
    c.wait("... unless they say no", lambda: seen() == [])
    c.delete(base + "endpoints/outside")
    c.delete(base + "services/outside")


def balanced(c):
    base = "/api/v1/namespaces/default/services"
    balancer = lambda name, **spec: c.create(base, {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}})
    ip = lambda name: c.get(base + "/" + name)["status"]["loadBalancer"]["ingress"][0]["ip"]
    balancer("one", loadBalancerIP="192.0.2.2")
    c.wait("a wished address is given", lambda: ip("one") == "192.0.2.2")
    balancer("two")
    c.wait("another gets the next", lambda: ip("two") == "192.0.2.1")
    balancer("three")
    c.wait("when none is left it says so", lambda: any(e["reason"] == "SyncLoadBalancerFailed" for e in c.items(
        "/api/v1/namespaces/default/events") if e["involvedObject"]["name"] == "three"))
    c.delete(base + "/one")
    c.wait("... and gets what is freed", lambda: ip("three") == "192.0.2.2")
    c.patch(base + "/three", {"spec": {"type": "ClusterIP"}})
    c.wait("one that wants none any more gives it back", lambda: not c.get(base + "/three")["status"]["loadBalancer"].get("ingress"))
    for name in ("two", "three"):
        c.delete(base + "/" + name)


def idle(c):
    """Nothing but heartbeats is written; the manager asks for nothing."""
    def metric():
        lines = c.server.request("GET", "/metrics")[2].decode().splitlines()
        return {l.split(" ")[0]: float(l.split(" ")[1]) for l in lines if l.startswith("apiserver_request_total{")}
    c.wait("calm", lambda: not c.items(APPS + "deployments"), quiet=True)
    time.sleep(2)
    before = metric()
    time.sleep(8)
    after = metric()
    busy = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0) and "metrics" not in k and
            'resource="leases"' not in k and 'resource="nodes",subresource="status"' not in k and 'resource=""' not in k}
    equal("an idle cluster causes no requests but heartbeats", busy, {})


def custom(c):
    """Custom kinds are found by discovery: namespaces empty them, owners take them along, whichever of the two is custom."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    c.create(crds, {"kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}})
    widgets = "/apis/example.com/v1/namespaces/%s/widgets"
    c.wait("a custom kind is served", lambda: c.get(widgets % "default") is not None)
    owner = c.create(widgets % "default", {"kind": "Widget", "metadata": {"name": "owner"}})["metadata"]["uid"]
    reference = [{"apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": owner}]
    c.create(widgets % "default", {"kind": "Widget", "metadata": {"name": "child", "ownerReferences": reference}})
    c.create(V1 + "configmaps", {"metadata": {"name": "of-widget", "ownerReferences": reference}})
    c.delete(widgets % "default" + "/owner")
    c.wait("a custom owner takes its dependents along", lambda: not c.get(widgets % "default" + "/child") and
           not c.get(V1 + "configmaps/of-widget"))
    c.create("/api/v1/namespaces", {"metadata": {"name": "full"}})
    c.create(widgets % "full", {"kind": "Widget", "metadata": {"name": "x"}})
    c.delete("/api/v1/namespaces/full")
    c.wait("a namespace empties itself of custom objects", lambda: not c.get("/api/v1/namespaces/full"))
    c.create(widgets % "default", {"kind": "Widget", "metadata": {"name": "last"}})
    c.delete(crds + "/widgets.example.com")
    c.wait("the definition goes with its objects", lambda: not c.get(crds + "/widgets.example.com"))
    c.create("/api/v1/namespaces", {"metadata": {"name": "later"}})
    c.delete("/api/v1/namespaces/later")
    c.wait("namespaces still go afterwards", lambda: not c.get("/api/v1/namespaces/later"))


with Cluster(nodes=2, flags=["--node-monitor-grace-period=12s", "--service-lb-pool=192.0.2.0/30"]) as cluster:
    for part in (endpoints, garbage, namespaces, custom, identity, near, mirrored, balanced, nodes, idle):
        part(cluster)
finish()
