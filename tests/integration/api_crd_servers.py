#!/usr/bin/env python3
"""
Goal: custom kinds with several API servers on one etcd: each learns definitions and objects of the others, at once and after
restarts; and every kubectl works with them.
Method: a real etcd, two API servers that take turns, the oldest and the newest kubectl there is.
"""
import glob, os, re, shutil, subprocess, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import *

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd(name, **spec):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "color": {"type": "string", "description": "The paint."}, "replicas": {"type": "integer", "default": 1}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name + "s.example.com"},
            "spec": dict({"group": "example.com", "scope": "Namespaced", "names": {
                "plural": name + "s", "kind": name.capitalize(), "shortNames": [name[:2]], "categories": ["toys"]},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
                              "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                              "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]}]}, **spec)}


def established(s, name):
    deadline = time.time() + 20
    while time.time() < deadline:
        conditions = s.call("GET", CRDS + "/" + name)[1].get("status", {}).get("conditions", [])
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return True
        time.sleep(0.01)
    return False


def turns(a, b):
    path = "/apis/example.com/v1/namespaces/default/widgets"
    equal("a definition through one server", a.call("POST", CRDS, crd("widget"))[0], 201)
    check("... is established at the other", established(b, "widgets.example.com"))
    equal("an object through the other", b.call("POST", path, {"metadata": {"name": "x"}, "spec": {"color": "red"}})[0], 201)
    equal("... is there at the first", a.call("GET", path + "/x")[1]["spec"], {"color": "red", "replicas": 1})
    w = a.watch(path + "?watch=1&resourceVersion=%s" % a.call("GET", path)[1]["metadata"]["resourceVersion"])
    b.patch(path + "/x", {"spec": {"color": "blue"}})
    equal("... and its watch sees changes", w.next()["object"]["spec"]["color"], "blue")
    w.close()
    for s in (a, b):
        s.stop(signal.SIGKILL)
        s.start()
        equal("after a restart the object is there", s.call("GET", path + "/x")[1]["spec"]["color"], "blue")
    names = ["n%d" % i for i in range(10)]
    for n in names:
        a.call("POST", CRDS, crd(n + "kind"))
    check("ten more are established at the other", all(established(b, n + "kinds.example.com") for n in names))
    for n in names:
        b.call("DELETE", CRDS + "/%skinds.example.com" % n)
    equal("a definition with an object goes at both", b.call("DELETE", CRDS + "/widgets.example.com")[0], 200)
    deadline = time.time() + 20
    while time.time() < deadline and (a.call("GET", CRDS)[1]["items"] or b.call("GET", path)[0] != 404 or a.call("GET", path)[0] != 404):
        time.sleep(0.02)
    equal("... with its objects", (a.call("GET", path)[0], b.call("GET", path)[0], a.call("GET", CRDS)[1]["items"]), (404, 404, []))
    index = {tuple(s.call("GET", "/openapi/v3")[1]["paths"]) for s in (a, b)}
    equal("... and both say so", len(index), 1)


def kubectl(s, binary):
    home = tempfile.mkdtemp(prefix="skiff-kubectl-")
    config = s.kubeconfig()

    def run(*args, given=None, good=True):
        r = subprocess.run([binary, "--kubeconfig", config, "--cache-dir", home, *args], input=given and json.dumps(given),
                           capture_output=True, text=True, timeout=60)
        check("kubectl %s" % " ".join(args), (r.returncode == 0) == good, r.stdout + r.stderr)
        return r.stdout + r.stderr
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "x"}, "spec": {"color": "red"}}
    run("create", "-f", "-", given=crd("widget"))
    run("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=20s")
    check("... shows the kind", "Widget" in run("api-resources", "--api-group=example.com"))
    check("... explains it", "The paint." in run("explain", "widgets.spec.color"))
    run("apply", "-f", "-", given=widget)
    widget["spec"] = {"color": "blue"}
    run("apply", "-f", "-", given=widget)
    check("... shows its columns", re.search(r"COLOR\s*\nx\s+blue", run("get", "wi")))
    check("... and its category", "blue" in run("get", "toys"))
    run("scale", "widgets/x", "--replicas=4")
    run("patch", "widgets", "x", "--type=merge", "-p", '{"spec":{"color":"green"}}')
    equal("... all of which worked", s.call("GET", "/apis/example.com/v1/namespaces/default/widgets/x")[1]["spec"], {"color": "green", "replicas": 4})
    widget["spec"] = {"colour": "red"}
    check("... refuses what the schema does not know", 'unknown field' in run("apply", "-f", "-", given=widget, good=False))
    run("delete", "crd", "widgets.example.com")
    shutil.rmtree(home, ignore_errors=True)


directory = tempfile.mkdtemp(prefix="skiff-crd-")
etcd, url = start_etcd(directory)
flags = ["--storage-backend=etcd", "--etcd-servers=" + url]
try:
    with Server(*flags) as a, Server(*flags) as b:
        turns(a, b)
        known = glob.glob("/var/tmp/skiff-test-kubectl/usr/bin/kubectl") + \
            sorted(glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.*"), key=lambda p: int(p.rsplit(".", 1)[1]))[-1:]
        known = known or [p for p in [shutil.which("kubectl")] if p]
        if not known:
            print("skip: there is no kubectl")
        for binary in known:
            kubectl(a, binary)
finally:
    etcd.terminate()
    etcd.wait()
    shutil.rmtree(directory, ignore_errors=True)
finish()
