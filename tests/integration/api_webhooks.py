#!/usr/bin/env python3
"""
Webhooks that review tokens and access, the list of authorizers, and the front proxy's headers.

Method: a real skiff-apiserver and webhooks of our own (lib/issuer.py) that answer, refuse, fail and hang. What hangs must give
the configured failure and must not keep other requests waiting.
"""
import os, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from apiserver import *
from issuer import *

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CORE = "/api/v1/namespaces/default"


def write(path, tree):
    with open(path + ".new", "w") as f:
        json.dump(tree, f)
    os.rename(path + ".new", path)


def tokens(directory, o):
    def answer(path, body):
        if body["kind"] != "TokenReview":
            return {}, 500
        if body["spec"]["token"] == "good":
            return {"status": {"authenticated": True, "user": {"username": "hook:ann", "uid": "9", "groups": ["g"],
                                                               "extra": {"example.org/x": ["1", "2"]}}}}
        if body["spec"]["token"] == "vault":
            return {"status": {"authenticated": True, "user": {"username": "v"}, "audiences": ["vault"]}}
        if body["spec"]["token"] == "nobody":
            return {"status": {"authenticated": True, "user": {}}}
        if body["spec"]["token"] == "broken":
            return {"nothing": 1}
        return {"status": {"authenticated": False}}
    o.answer = answer
    with Server("--authentication-token-webhook-config-file=" + o.kubeconfig("tokens"), "--authentication-token-webhook-version=v1") as s:
        status, tree = s.call("POST", SELF, {}, token="good")
        equal("who the webhook names", tree.get("status"), {"userInfo": {"username": "hook:ann", "uid": "9",
              "groups": ["g", "system:authenticated"], "extra": {"example.org/x": ["1", "2"]}}})
        check("the review says what is asked", o.posts[0]["apiVersion"] == "authentication.k8s.io/v1" and
              o.posts[0]["spec"]["audiences"] == ["https://kubernetes.default.svc.cluster.local"], o.posts[0])
        before = len(o.posts)
        for _ in range(5):
            s.call("POST", SELF, {}, token="good")
        equal("its answer is remembered", len(o.posts), before)
        for bad in "bad", "vault", "nobody", "broken":
            equal("refused: " + bad, s.call("POST", SELF, {}, token=bad)[0], 401)
        equal("the token file comes first", s.call("GET", CORE + "/pods")[0], 200)
        review = lambda **spec: s.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec})[1]["status"]
        equal("TokenReview asks it too", review(token="vault", audiences=["vault", "x"]).get("audiences"), ["vault"])
        o.hang.clear()
        waiting = s.connect()
        waiting.request("GET", CORE + "/pods", headers={"Authorization": "Bearer slow"})
        start = time.time()
        for _ in range(20):
            s.call("GET", CORE + "/pods")
        check("who waits for it keeps nobody waiting", time.time() - start < 2, time.time() - start)
        gone = s.connect()
        gone.request("GET", CORE + "/pods", headers={"Authorization": "Bearer slower"})
        gone.close()
        o.hang.set()
        r = waiting.getresponse()
        r.read()
        equal("and is answered when it answers", r.status, 401)
        text = open(s.dir + "/log").read()
        check("no token in the log", "slower" not in text)


def authorizer(name, o, **changes):
    webhook = {"timeout": "1s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
               "failurePolicy": "Deny", "authorizedTTL": "1s", "unauthorizedTTL": "1s",
               "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": o.kubeconfig(name, "/" + name)}}
    webhook.update(changes)
    return {"type": "Webhook", "name": name, "webhook": webhook}


def configuration(*authorizers):
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": list(authorizers)}


def access(directory, o):
    opinions = {"/first": {"allowed": False}, "/second": {"allowed": False}}
    o.answer = lambda path, body: {"status": opinions[path]} if not isinstance(opinions[path], int) else ({}, opinions[path])
    path = directory + "/authorization.json"
    write(path, configuration(authorizer("first", o), {"type": "RBAC", "name": "rbac"}, authorizer("second", o, failurePolicy="NoOpinion")))

    def ask(user="jane", verb="get", **more):
        tree = {"spec": {"user": user, "resourceAttributes": dict({"verb": verb, "resource": "pods", "namespace": "default"}, **more)}}
        return s.call("POST", REVIEW, tree)[1]["status"]
    with Server("--authorization-config=" + path) as s:
        equal("nobody has an opinion: refused", ask(name="a")["allowed"], False)
        spec = next(p["spec"] for p in o.posts if p["spec"].get("user") == "jane")
        equal("what is asked", spec, {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default", "name": "a"}})
        opinions["/second"] = {"allowed": True, "reason": "why not"}
        got = ask(name="b")
        check("the last one allows, with its reason", got["allowed"] and got.get("reason") == "why not", got)
        equal("as in a request", s.call("GET", CORE + "/pods/b", token=USER)[0], 404)
        opinions["/first"] = {"allowed": False, "denied": True, "reason": "no"}
        got = ask(name="c")
        check("the first one denies, and nobody else is asked", not got["allowed"], got)
        equal("as in a request", s.call("GET", CORE + "/pods/c", token=USER)[0], 403)
        equal("system:masters is not asked about", s.call("GET", CORE + "/pods/c")[0], 404)
        opinions["/first"] = 500
        equal("failurePolicy Deny", ask(name="d")["allowed"], False)
        opinions["/first"], opinions["/second"] = {"allowed": False}, 500
        equal("failurePolicy NoOpinion", ask(name="e")["allowed"], False)
        opinions["/second"] = {"allowed": True}
        headers = {"Impersonate-User": "somebody"}
        equal("impersonation asks, and waits, too", s.call("GET", CORE + "/pods/f", token=USER, headers=headers)[0], 404)
        asked = [p["spec"]["user"] for p in o.posts if p["spec"].get("resourceAttributes", {}).get("verb") == "impersonate"]
        equal("as the real user", set(asked), {"jane"})
        rules = s.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})[1]["status"]
        equal("rules are incomplete", rules["incomplete"], True)
        o.hang.clear()
        start = time.time()
        waiting = s.connect()
        waiting.request("GET", CORE + "/pods/g", headers={"Authorization": "Bearer " + USER})
        for _ in range(20):
            s.call("GET", CORE + "/pods")
        check("who waits for it keeps nobody waiting", time.time() - start < 0.9, time.time() - start)
        r = waiting.getresponse()
        r.read()
        check("a webhook that hangs: refused after its timeout", r.status == 403 and time.time() - start < 5, (r.status, time.time() - start))
        o.hang.set()
        write(path, configuration({"type": "AlwaysAllow", "name": "all"}))
        deadline = time.time() + 10
        while time.time() < deadline and s.call("GET", CORE + "/pods/h", token=USER)[0] != 404:
            time.sleep(0.1)
        equal("a changed file counts", s.call("GET", CORE + "/pods/h", token=USER)[0], 404)
        write(path, configuration({"type": "Nonsense", "name": "x"}))
        deadline = time.time() + 10
        while time.time() < deadline and "authorizers[0].type: Unsupported value" not in open(s.dir + "/log").read():
            time.sleep(0.1)
        check("a wrong one is reported", "authorizers[0].type: Unsupported value" in open(s.dir + "/log").read())
        equal("and the old one stays", s.call("GET", CORE + "/pods/h", token=USER)[0], 404)


def modes(directory, o):
    o.answer = lambda path, body: {"status": {"allowed": body["spec"]["resourceAttributes"].get("name") == "yes", "denied": False}}
    with Server("--authorization-mode=Webhook,RBAC", "--authorization-webhook-config-file=" + o.kubeconfig("mode")) as s:
        equal("Webhook in the list of modes", s.call("GET", CORE + "/pods/yes", token=USER)[0], 404)
        equal("and what it does not allow", s.call("GET", CORE + "/pods/no", token=USER)[0], 403)
        check("v1beta1 says group", any("devs" in p["spec"].get("group", []) for p in o.posts if p["apiVersion"].endswith("v1beta1")))
    with Server("--authorization-mode=AlwaysDeny") as s:
        equal("AlwaysDeny", s.call("GET", CORE + "/pods", token=USER)[0], 403)


def refused(directory, flags, *texts):
    p = subprocess.run([BIN + "/skiff-apiserver", "--secure-port=%d" % free_port(), "--bind-address=127.0.0.1",
                        "--data-dir=%s/db-%d" % (directory, random.randrange(1 << 30)), *flags], capture_output=True, text=True, timeout=20)
    check("refused at start: " + texts[-1], p.returncode != 0 and all(t in p.stderr + p.stdout for t in texts), p.stderr[-500:])


def wrong_ones(directory, o):
    rbac = {"type": "RBAC", "name": "rbac"}
    w = lambda **changes: [authorizer("first", o, **changes)]
    cases = [([], "authorizers: Required value"), ([rbac, rbac], "authorizers[1].type: Duplicate value"),
             ([{"type": "RBAC"}], "authorizers[0].name: Required value"), ([dict(rbac, webhook={})], "authorizers[0].webhook"),
             ([{"type": "Webhook", "name": "x"}], "authorizers[0].webhook: Required value"),
             (w(timeout="31s"), "webhook.timeout: Invalid value"), (w(timeout="soon"), "webhook.timeout"),
             (w(failurePolicy="Allow"), "webhook.failurePolicy: Unsupported value"),
             (w(subjectAccessReviewVersion="v2"), "webhook.subjectAccessReviewVersion"),
             (w(matchConditions=[{"expression": "true"}]), "webhook.matchConditions[0].expression: CEL"),
             (w(connectionInfo={"type": "KubeConfigFile", "kubeConfigFile": "/nowhere"}), "connectionInfo.kubeConfigFile"),
             (w(connectionInfo={"type": "X"}), "connectionInfo.type"), (w() + w(), "Duplicate value: name \\\"first\\\"")]
    path = directory + "/wrong.json"
    for authorizers, wanted in cases:
        write(path, configuration(*authorizers))
        refused(directory, ["--authorization-config=" + path], "--authorization-config: " + path, wanted)
    refused(directory, ["--authorization-mode=Webhook"], "needs --authorization-webhook-config-file")
    refused(directory, ["--authorization-mode=Node,Nonsense"], "--authorization-mode")
    refused(directory, ["--authorization-mode=RBAC", "--authorization-config=" + path], "--authorization-config excludes")
    refused(directory, ["--authentication-token-webhook-config-file=/nowhere"], "--authentication-token-webhook-config-file: /nowhere")


with tempfile.TemporaryDirectory() as directory, Outside(directory) as o:
    tokens(directory, o)
    access(directory, o)
    modes(directory, o)
    wrong_ones(directory, o)
finish()
