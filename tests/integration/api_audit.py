#!/usr/bin/env python3
"""
Goal: audit events say what upstream's say, at the level of the policy, in log and webhook; a backend that hangs holds nobody up and loses nothing silently.
Method: real servers with policies; a webhook of the test's own that answers, fails or hangs.
"""
import glob, http.server, json, os, shutil, subprocess, sys, tempfile, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import apiserver
from apiserver import Server, USER, check, equal, finish

directory = tempfile.mkdtemp(prefix="skiff-audit-")
log, policy, hook = directory + "/audit.log", directory + "/policy.yaml", directory + "/hook.kubeconfig"
NS = "/api/v1/namespaces/default"


def write_policy(rules, **more):
    json.dump(dict({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}, **more), open(policy, "w"))


def events(path=log):
    return [json.loads(line) for line in open(path) if line.endswith("\n")] if os.path.exists(path) else []  # the last may be half written


def wait_event(wanted, path=log):
    for _ in range(500):
        for e in events(path):
            if wanted(e):
                return e
        time.sleep(0.02)
    return {}


def done(audit_id):
    return wait_event(lambda e: e["auditID"] == audit_id and e["stage"] == "ResponseComplete")


# --- levels, fields, annotations ---
write_policy([
    {"level": "None", "nonResourceURLs": ["/readyz*", "/version"]},
    {"level": "Metadata", "resources": [{"group": "", "resources": ["pods/log"]}]},
    {"level": "RequestResponse", "resources": [{"group": "", "resources": ["serviceaccounts/token"]}], "namespaces": ["kube-system"]},
    {"level": "RequestResponse", "verbs": ["create", "update", "patch", "get", "list"], "omitStages": ["RequestReceived"]},
    {"level": "Metadata"},
], omitManagedFields=True)
with Server("--audit-policy-file=" + policy, "--audit-log-path=" + log, "--enable-bootstrap-token-auth") as s:
    status, headers, _ = s.request("POST", NS + "/configmaps", {"metadata": {"name": "c"}, "data": {"k": "hidden-value-1"}},
                                   headers={"User-Agent": "tester/1", "X-Forwarded-For": "192.0.2.7, 192.0.2.8"})
    check("the answer carries the id", len(headers["Audit-Id"]) == 36)
    e = done(headers["Audit-Id"])
    equal("kind", (e["kind"], e["apiVersion"], e["stage"], e["verb"]), ("Event", "audit.k8s.io/v1", "ResponseComplete", "create"))
    equal("user", e["user"], {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]})
    equal("addresses", e["sourceIPs"], ["192.0.2.7", "192.0.2.8", "127.0.0.1"])
    equal("object", {k: v for k, v in e["objectRef"].items() if k != "uid"}, {"resource": "configmaps", "namespace": "default", "name": "c", "apiVersion": "v1"})
    equal("agent, path, code", (e["userAgent"], e["requestURI"], e["responseStatus"]), ("tester/1", NS + "/configmaps", {"metadata": {}, "code": 201}))
    equal("decision", e["annotations"]["authorization.k8s.io/decision"], "allow")
    check("times", e["requestReceivedTimestamp"] <= e["stageTimestamp"])
    equal("a ConfigMap under a rule for everything stays at Metadata", (e["level"], "requestObject" in e), ("Metadata", False))

    _, headers, _ = s.request("POST", NS + "/services", {"metadata": {"name": "svc"}, "spec": {"ports": [{"port": 80}]}})
    e = done(headers["Audit-Id"])
    equal("bodies", (e["level"], e["requestObject"]["spec"], e["responseObject"]["kind"]), ("RequestResponse", {"ports": [{"port": 80}]}, "Service"))
    check("without managedFields", "managedFields" not in e["responseObject"]["metadata"])
    check("omitted stage", not [x for x in events() if x["auditID"] == e["auditID"] and x["stage"] == "RequestReceived"])
    _, headers, _ = s.request("GET", NS + "/services")
    e = done(headers["Audit-Id"])
    equal("a list", (e["responseObject"]["kind"], "name" in e["objectRef"]), ("ServiceList", False))
    check("its items without managedFields", not any("managedFields" in i["metadata"] for i in e["responseObject"]["items"]))
    _, headers, _ = s.request("PATCH", NS + "/services/svc", "metadata:\n  labels:\n    a: b\napiVersion: v1\nkind: Service\n",
                              content_type="application/apply-patch+yaml")
    status, headers, _ = s.request("PATCH", NS + "/services/svc?fieldManager=m", "metadata:\n  labels:\n    a: b\napiVersion: v1\nkind: Service\n",
                                   content_type="application/apply-patch+yaml")
    equal("YAML as JSON", done(headers["Audit-Id"])["requestObject"]["metadata"], {"labels": {"a": "b"}})
    _, headers, _ = s.request("GET", NS + "/services/none")
    e = done(headers["Audit-Id"])
    equal("a refusal", e["responseStatus"], {"metadata": {}, "status": "Failure", "message": 'services "none" not found', "reason": "NotFound", "code": 404})
    _, headers, _ = s.request("GET", NS + "/services", token=USER)
    e = done(headers["Audit-Id"])
    equal("forbidden", (e["annotations"]["authorization.k8s.io/decision"], e["responseStatus"]["code"], e["user"]["username"]), ("forbid", 403, "jane"))
    _, headers, _ = s.request("GET", NS + "/services", token="no-such-token-at-all")
    e = done(headers["Audit-Id"])
    equal("who is not known", (e["user"], e["responseStatus"]["code"]), ({}, 401))
    _, headers, _ = s.request("DELETE", NS + "/configmaps/c", headers={"Impersonate-User": "bob", "Audit-ID": "my-own-id"})
    equal("a client's own id", headers["Audit-Id"], "my-own-id")
    e = done("my-own-id")
    equal("impersonation", (e["user"]["username"], e["impersonatedUser"]["username"], e["responseStatus"]["code"]), ("admin", "bob", 403))
    _, headers, _ = s.request("GET", "/version")
    check("None records nothing", headers["Audit-Id"] and not [x for x in events() if x["auditID"] == headers["Audit-Id"]])

    s.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
           {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}]})
    s.call("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", {
        "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}})
    for _ in range(200):
        status, headers, _ = s.request("GET", NS + "/services", token=USER)
        if status == 200:
            break
        time.sleep(0.02)
    equal("the reason", done(headers["Audit-Id"])["annotations"]["authorization.k8s.io/reason"],
          'RBAC: allowed by RoleBinding "b/default" of Role "r" to User "jane"')

    c = s.connect()
    c.request("GET", NS + "/services?watch=1", headers={"Authorization": "Bearer " + apiserver.ADMIN})
    r = c.getresponse()
    started = wait_event(lambda e: e["auditID"] == r.headers["Audit-Id"] and e["stage"] == "ResponseStarted")
    equal("a watch has started", (started.get("verb"), started.get("responseStatus")), ("watch", {"metadata": {}, "code": 200}))
    c.close()
    equal("and is over", done(r.headers["Audit-Id"]).get("verb"), "watch")

    # Secrets and tokens: never in the log, though rules record everything.
    s.call("POST", NS + "/secrets", {"metadata": {"name": "s"}, "stringData": {"p": "hidden-value-2"}})
    s.call("GET", "/api/v1/secrets")
    s.patch(NS + "/secrets/s", {"stringData": {"p": "hidden-value-3"}})
    s.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": apiserver.USER}})
    s.call("POST", NS + "/serviceaccounts/default/token", {"spec": {}})
    _, headers, _ = s.request("GET", NS + "/configmaps")
    done(headers["Audit-Id"])
    text = open(log).read()
    check("no Secret in the log", "hidden-value" not in text and "aGlkZGVuLXZhbHVl" not in text)
    check("no token in the log", apiserver.USER not in text and apiserver.ADMIN not in text and '"eyJ' not in text and "no-such-token-at-all" not in text)
    check("the file is for its owner", os.stat(log).st_mode & 0o777 == 0o600)

    s.call("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"pod-security.kubernetes.io/audit": "restricted"}}}, content_type="application/merge-patch+json")
    s.call("POST", NS + "/serviceaccounts", {"metadata": {"name": "default"}})
    status, headers, _ = s.request("POST", NS + "/pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    notes = done(headers["Audit-Id"]).get("annotations", {})
    check("PodSecurity's violations", 'would violate PodSecurity "restricted:latest"' in notes.get("pod-security.kubernetes.io/audit-violations", ""), notes)
    equal("and its policy", notes.get("pod-security.kubernetes.io/enforce-policy"), "privileged:latest")
    metrics = s.request("GET", "/metrics")[2].decode()
    made = [float(l.split()[1]) for l in metrics.splitlines() if l.startswith("apiserver_audit_event_total")]
    check("events are counted", made and made[0] >= len(events()) - 5, made)
equal("nothing was lost at the end", len({(e["auditID"], e["stage"]) for e in events()}), len(events()))

# --- a rule that names secrets; rotation ---
write_policy([{"level": "Request", "resources": [{"group": "", "resources": ["secrets"]}], "omitStages": ["RequestReceived"]},
              {"level": "Request", "resources": [{"group": "", "resources": ["services"]}], "omitStages": ["RequestReceived"]}])
small = directory + "/small.log"
with Server("--audit-policy-file=" + policy, "--audit-log-path=" + small, "--audit-log-maxsize=1", "--audit-log-maxbackup=2") as s:
    _, headers, _ = s.request("POST", NS + "/secrets", {"metadata": {"name": "s"}, "stringData": {"p": "told"}})
    equal("asked for by name", wait_event(lambda e: e["auditID"] == headers["Audit-Id"], small)["requestObject"]["stringData"], {"p": "told"})
    big = {"metadata": {"name": "x", "annotations": {"a": "x" * 200000}}, "spec": {"ports": []}}
    for _ in range(25):
        _, headers, _ = s.request("POST", NS + "/services", big)
        wait_event(lambda e: e["auditID"] == headers["Audit-Id"], small)
    backups = glob.glob(directory + "/small-*.log")
    check("rotated, and old ones removed", len(backups) == 2 and all(os.path.getsize(f) <= 1 << 20 for f in backups + [small]),
          [(f, os.path.getsize(f)) for f in backups])

# --- bad policies ---
for rules, wanted in [([], "0 rules"), ([{"level": "Metadata"}, {"level": "Everything"}], 'rules[1]: level: Unsupported value: "Everything"'),
                      ([{"level": "None", "userGroup": ["a"]}], 'rules[0]: unknown field "userGroup"'),
                      ([{"level": "None", "users": "a"}], "rules[0]: users: must be a list of strings"),
                      ([{"level": "None", "nonResourceURLs": ["a"]}], "rules[0]: nonResourceURLs[0]"),
                      ([{"level": "None", "nonResourceURLs": ["/a*b"]}], "final character"),
                      ([{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}], "both regular resources and non-resource URLs"),
                      ([{"level": "None", "omitStages": ["Never"]}], 'omitStages[0]: Unsupported value: "Never"'),
                      ([{"level": "None", "resources": [{"resourceNames": ["a"]}]}], "requires at least one resource")]:
    write_policy(rules)
    p = subprocess.run([apiserver.BIN + "/skiff-apiserver", "--secure-port=%d" % apiserver.free_port(), "--data-dir=" + directory + "/none",
                        "--audit-policy-file=" + policy, "--audit-log-path=-"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, text=True)
    check("refused: " + wanted, p.returncode == 1 and wanted in p.stdout.replace('\\"', '"'), p.stdout[-400:])


# --- the webhook ---
class Hook(http.server.BaseHTTPRequestHandler):
    mode, got, posts = "ok", [], 0
    release = threading.Event()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Hook.posts += 1
        if Hook.mode == "hang":
            Hook.release.wait(60)
        if Hook.mode == "fail":
            self.send_response(503)
        else:
            Hook.got += body["items"]
            Hook.kind = (body["kind"], body["apiVersion"])
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
threading.Thread(target=server.serve_forever, daemon=True).start()
json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
           "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:%d/audit" % server.server_port}}], "users": [{"name": "x", "user": {}}]}, open(hook, "w"))
write_policy([{"level": "None", "nonResourceURLs": ["*"]}, {"level": "Metadata"}], omitStages=["RequestReceived"])


def wait_for(text, fn):
    for _ in range(800):
        if fn():
            break
        time.sleep(0.02)
    check(text, fn())


flags = ["--audit-policy-file=" + policy, "--audit-webhook-config-file=" + hook, "--audit-webhook-batch-max-wait=50ms",
         "--audit-webhook-initial-backoff=50ms", "--audit-webhook-batch-max-size=10", "--audit-webhook-batch-buffer-size=40"]


def lost(s):
    return sum(float(l.split()[1]) for l in s.request("GET", "/metrics")[2].decode().splitlines() if l.startswith("apiserver_audit_error_total"))


with Server(*flags) as s:
    Hook.mode = "fail"
    _, headers, _ = s.request("GET", NS + "/services")
    wait_for("it is tried again", lambda: Hook.posts >= 2)
    Hook.mode = "ok"
    wait_for("and arrives", lambda: [e for e in Hook.got if e["auditID"] == headers["Audit-Id"]])
    equal("as an EventList", Hook.kind, ("EventList", "audit.k8s.io/v1"))
    Hook.mode = "hang"
    start = time.time()
    for _ in range(100):
        s.call("GET", NS + "/services")
    check("a hanging webhook holds nobody up", time.time() - start < 10, time.time() - start)
    wait_for("what does not fit is counted", lambda: lost(s) >= 40)
    check("and logged", "audit events are lost" in open(s.dir + "/log").read())
    Hook.mode = "ok"
    Hook.release.set()
    asked = set()

    def arrives():
        asked.add(s.request("GET", NS + "/services")[1]["Audit-Id"])
        return [e for e in list(Hook.got) if e["auditID"] in asked]
    wait_for("it recovers", arrives)
    _, headers, _ = s.request("GET", NS + "/pods")
check("what is queued at the end is sent", [e for e in Hook.got if e["auditID"] == headers["Audit-Id"]])
Hook.mode = "hang"
Hook.release.clear()
with Server(*flags) as s:
    for _ in range(30):
        s.call("GET", NS + "/services")
    start = time.time()
check("a hanging webhook does not hold the end up", time.time() - start < 12, time.time() - start)
Hook.release.set()
server.shutdown()
shutil.rmtree(directory, ignore_errors=True)
finish()
