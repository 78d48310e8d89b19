#!/usr/bin/env python3
"""
Who may do what: credentials, impersonation, RBAC, the Node authorizer and NodeRestriction, reviews, certificate requests.

Method: a real skiff-apiserver with a CA, a key for ServiceAccount tokens, a token file and bootstrap tokens. Each credential
is tried good and bad; what was allowed is taken back and must end at once.
"""
import base64, datetime, os, ssl, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
from apiserver import *
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

API, RBAC, CORE = "/api/v1", "/apis/rbac.authorization.k8s.io/v1", "/api/v1/namespaces/default"
REVIEW = "/apis/authorization.k8s.io/v1/"
CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def refused(text, got, status, *parts):
    message = got[1].get("message", "") if isinstance(got[1], dict) else str(got[1])
    return check(text, got[0] == status and all(p in message for p in parts), "%s %s" % (got[0], message))


def eventually(text, wanted, fn, seconds=1.0):
    """A change of roles counts within a second."""
    deadline = time.time() + seconds
    got = fn()
    while got != wanted and time.time() < deadline:
        time.sleep(0.01)
        got = fn()
    equal(text, got, wanted)


class Authority:
    def __init__(self, directory, name):
        self.dir, self.key = directory, ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = self.build(self.subject, self.key, ca=True)
        self.path = "%s/%s.crt" % (directory, name)
        self.write(self.path, self.cert.public_bytes(serialization.Encoding.PEM))
        self.count = 0

    def write(self, path, data):
        with open(path, "wb") as f:
            f.write(data)

    def build(self, subject, key, ca=False, usage=ExtendedKeyUsageOID.CLIENT_AUTH, days=1):
        now = datetime.datetime.now(datetime.timezone.utc)
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.subject).public_key(key.public_key())
             .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9))
             .not_valid_after(now + datetime.timedelta(days=days)).add_extension(x509.BasicConstraints(ca, None), True))
        if not ca and usage:
            b = b.add_extension(x509.ExtendedKeyUsage([usage]), False)
        return b.sign(self.key, hashes.SHA256())

    def client(self, name, *groups, **how):
        """A TLS context that shows a certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
        cert = self.build(x509.Name(attributes + [x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, **how)
        self.count += 1
        path = "%s/client-%d-%d.pem" % (self.dir, id(self), self.count)
        self.write(path, cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        tls.load_cert_chain(path)
        return tls


def with_certificate(s, tls, method, path, body=None, **options):
    c = http.client.HTTPSConnection("127.0.0.1", s.port, context=tls, timeout=60)
    try:
        return s.call(method, path, body, token=options.pop("token", None), connection=c, **options)
    finally:
        c.close()


def credentials(s, ca, other):
    for path, wanted in [("/livez", 200), ("/readyz", 200), ("/healthz", 200), ("/livezz", 401), ("/version", 401), ("/api", 401),
                         ("/metrics", 401), (API + "/pods", 401), ("/openapi/v2", 401), ("/readyz/../api", 404),
                         ("/nonsense", 401)]:
        equal("anonymous " + path, s.call("GET", path, token=None)[0], wanted)
    refused("a wrong token", s.call("GET", "/livez", token="wrong"), 401, "Unauthorized")
    for header in ("Basic YTpi", "Bearer", "Bearer ", "Digest x", "Bearer a.b.c", "Bearer ..", "Bearer .", "bearer " + ADMIN + "x",
                   "Bearer " + "a" * 20000, "Bearer " + ".".join(["A" * 3000] * 3)):
        equal("header %.12r" % header, s.call("GET", API, token=None, headers={"Authorization": header})[0], 401)
    equal("lower-case scheme", s.call("GET", API, token=None, headers={"Authorization": "bearer " + ADMIN})[0], 200)
    _, who = s.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=USER)
    equal("static token", who["status"]["userInfo"], {"username": "jane", "uid": "2", "groups": ["devs", "system:authenticated"]})
    refused("who may nothing", s.call("GET", CORE + "/pods/x", token=USER), 403,
            'pods "x" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "default"')
    refused("at the cluster scope", s.call("GET", API + "/nodes", token=USER), 403,
            'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope')
    refused("a path", s.call("GET", "/metrics", token=USER), 403, 'forbidden: User "jane" cannot get path "/metrics"')
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    got = with_certificate(s, ca.client("mary", "devs", "ops"), "POST", review, {})
    equal("certificate", got[1].get("status", {}).get("userInfo"), {"username": "mary", "groups": ["devs", "ops", "system:authenticated"]})
    equal("masters", with_certificate(s, ca.client("root", "system:masters"), "GET", API + "/nodes")[0], 200)
    for text, tls in [("of another authority", other.client("root", "system:masters")),
                      ("expired", ca.client("root", "system:masters", days=-1)),
                      ("for servers", ca.client("root", "system:masters", usage=ExtendedKeyUsageOID.SERVER_AUTH))]:
        try:
            got = with_certificate(s, tls, "GET", API + "/nodes")[0]
        except (ssl.SSLError, OSError):
            got = 401
        equal("a certificate " + text, got, 401)


def bootstrap_tokens(s):
    def secret(id, **data):
        data = dict({"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}, **data)
        data = {k.replace("_", "-"): v for k, v in data.items() if v is not None}
        equal("bootstrap token " + id, s.call("POST", API + "/namespaces/kube-system/secrets", {
            "metadata": {"name": "bootstrap-token-" + id}, "type": "bootstrap.kubernetes.io/token", "stringData": data})[0], 201)

    def who(token):
        status, body = s.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)
        return body["status"]["userInfo"] if status == 201 else status

    at = lambda s: (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    secret("good00", expiration=at(600), auth_extra_groups="system:bootstrappers:kubeadm,system:masters")
    secret("old000", expiration=at(-1))
    secret("odd000", expiration="tomorrow")
    secret("unused", usage_bootstrap_authentication="false")
    secret("forev0")
    equal("a good one", who("good00.0123456789abcdef"), {"username": "system:bootstrap:good00", "groups": [
        "system:bootstrappers", "system:bootstrappers:kubeadm", "system:authenticated"]})
    for text, token in [("wrong secret", "good00.0123456789abcdee"), ("expired", "old000.0123456789abcdef"),
                        ("odd expiration", "odd000.0123456789abcdef"), ("not for this", "unused.0123456789abcdef"),
                        ("unknown", "nobody.0123456789abcdef"), ("a longer one", "good00.0123456789abcdef0"), ("half", "good00.")]:
        equal(text, who(token), 401)
    equal("one for ever", who("forev0.0123456789abcdef")["username"], "system:bootstrap:forev0")
    s.call("DELETE", API + "/namespaces/kube-system/secrets/bootstrap-token-good00")
    equal("deleted", who("good00.0123456789abcdef"), 401)


def service_accounts(s):
    service_account(s, name="app")
    service_account(s, name="other")
    account = CORE + "/serviceaccounts/app"
    ask = lambda spec, where=account, **o: s.call("POST", where + "/token", {"spec": spec}, **o)
    review = lambda token, **spec: s.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": dict(spec, token=token)})[1]["status"]
    one = pod("runs")
    one["spec"]["serviceAccountName"] = "app"
    _, one = s.call("POST", CORE + "/pods", one)
    s.call("POST", CORE + "/pods/runs/binding", {"target": {"name": "n1"}})
    _, body = ask({})
    token, uid = body["status"]["token"], s.call("GET", account)[1]["metadata"]["uid"]
    user = review(token)["user"]
    equal("TokenReview", (user["username"], user["uid"], user["groups"]), ("system:serviceaccount:default:app", uid, [
        "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]))
    issuer = "https://kubernetes.default.svc.cluster.local"
    equal("its audiences", review(token)["audiences"], [issuer])
    _, body = ask({"audiences": ["vault", "other"]})
    vault = body["status"]["token"]
    equal("for another audience", (s.call("GET", API, token=vault)[0], review(vault).get("authenticated")), (401, None))
    equal("only the common audiences", review(vault, audiences=["x", "vault", "y"]).get("audiences"), ["vault"])
    equal("none in common", review(vault, audiences=["x"]).get("authenticated"), None)
    equal("a static token is for the API server alone", review(USER, audiences=["vault"]).get("authenticated"), None)
    equal("a static token", review(USER, audiences=["vault", issuer]).get("audiences"), [issuer])
    equal("no token at all", review("a.b.c"), {"user": {}, "error": "invalid bearer token"})
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "runs", "uid": one["metadata"]["uid"]}
    _, body = ask({"boundObjectRef": reference, "expirationSeconds": 3607})
    bound = body["status"]["token"]
    extra = review(bound)["user"]["extra"]
    equal("bound to a pod", (extra.get("authentication.kubernetes.io/pod-name"), extra.get("authentication.kubernetes.io/pod-uid")),
          (["runs"], [one["metadata"]["uid"]]))
    check("its id", extra.get("authentication.kubernetes.io/credential-id", [""])[0].startswith("JTI="), extra)
    refused("too short", ask({"expirationSeconds": 599}), 422, "may not specify a duration less than 10 minutes")
    refused("too long", ask({"expirationSeconds": 2 ** 32 + 1}), 422, "may not specify a duration larger than 2^32 seconds")
    refused("another uid", ask({"boundObjectRef": dict(reference, uid="x")}), 409, "the UID in the bound object reference (x) does not match")
    refused("no such pod", ask({"boundObjectRef": dict(reference, name="none")}), 404, 'pods "none" not found')
    refused("a pod of another account", ask({"boundObjectRef": reference}, CORE + "/serviceaccounts/other"), 400,
            'cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.')
    refused("a kind that can't be", ask({"boundObjectRef": {"kind": "Service", "name": "x"}}), 400, "cannot bind token")
    refused("no such account", ask({}, CORE + "/serviceaccounts/none"), 404, 'serviceaccounts "none" not found')
    refused("not by anybody", ask({}, token=USER), 403, "serviceaccounts/token")
    part = token.split(".")
    flip = lambda text: text[:-6] + ("A" if text[-6] != "A" else "B") + text[-5:]
    claims = json.loads(base64.urlsafe_b64decode(part[1] + "=="))
    claims["sub"], claims["kubernetes.io"]["serviceaccount"]["name"] = "system:serviceaccount:default:other", "other"
    enc = lambda x: base64.urlsafe_b64encode(json.dumps(x).encode()).rstrip(b"=").decode()
    for text, bad in [("signature", [part[0], part[1], flip(part[2])]), ("claims", [part[0], flip(part[1]), part[2]]),
                      ("header", [flip(part[0]), part[1], part[2]]), ("other claims", [part[0], enc(claims), part[2]]),
                      ("no signature", [part[0], part[1], ""]), ("alg none", [enc({"alg": "none"}), part[1], ""]),
                      ("two parts", part[:2]), ("four parts", part + ["x"]), ("short signature", [part[0], part[1], part[2][:40]]),
                      ("trailing dot", part + [""])]:
        equal("forged: " + text, s.call("GET", API, token=".".join(bad))[0], 401)
    equal("good still", (s.call("GET", API, token=token)[0], s.call("GET", API, token=bound)[0]), (200, 200))
    s.call("DELETE", CORE + "/pods/runs?gracePeriodSeconds=0")
    eventually("dies with its pod", (200, 401), lambda: (s.call("GET", API, token=token)[0], s.call("GET", API, token=bound)[0]))
    s.call("DELETE", account)
    eventually("dies with its account", 401, lambda: s.call("GET", API, token=token)[0])
    service_account(s, name="app")
    equal("and stays dead with a new one of that name", s.call("GET", API, token=token)[0], 401)


def impersonation(s):
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    def as_(token=ADMIN, **headers):
        status, body = s.call("POST", review, {}, token=token, headers={"Impersonate-" + k.replace("_", "-"): v for k, v in headers.items()})
        return body["status"]["userInfo"] if status == 201 else status
    equal("as a user", as_(User="mary", Group="devs"), {"username": "mary", "groups": ["devs", "system:authenticated"]})
    equal("with uid and extra", as_(User="mary", Uid="7", Extra_scopes="view"), {"username": "mary", "uid": "7",
          "groups": ["system:authenticated"], "extra": {"scopes": ["view"]}})
    equal("as an account", as_(User="system:serviceaccount:a:b")["groups"], ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"])
    equal("a group without a user", as_(Group="devs"), 400)
    equal("extra without a user", as_(Extra_a="b"), 400)
    equal("an account without a name", as_(User="system:serviceaccount:a"), 400)
    equal("not by anybody", as_(token=USER, User="mary"), 403)
    s.call("POST", RBAC + "/clusterroles", {"metadata": {"name": "be-mary"}, "rules": [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["mary"]}]})
    s.call("POST", RBAC + "/clusterrolebindings", {"metadata": {"name": "be-mary"}, "roleRef": {"kind": "ClusterRole", "name": "be-mary"},
                                                   "subjects": [{"kind": "User", "name": "jane"}]})
    eventually("by one who may", {"username": "mary", "groups": ["system:authenticated"]}, lambda: as_(token=USER, User="mary"))
    equal("but nobody else", as_(token=USER, User="root"), 403)
    equal("and no group", as_(token=USER, User="mary", Group="system:masters"), 403)
    equal("nor uid", as_(token=USER, User="mary", Uid="1"), 403)
    equal("nor extra", as_(token=USER, User="mary", Extra_a="b"), 403)
    s.call("DELETE", RBAC + "/clusterrolebindings/be-mary")
    eventually("until it is taken back", 403, lambda: as_(token=USER, User="mary"))
    refused("the impersonated one's rights count", s.call("GET", API + "/nodes", headers={"Impersonate-User": "mary"}), 403, 'User "mary" cannot list')


def rbac(s):
    jane = lambda method, path, body=None, **o: s.call(method, path, body, token=USER, **o)[0]
    def role(name, *rules, where="/namespaces/default/roles"):
        equal("role " + name, s.call("POST", RBAC + where, {"metadata": {"name": name}, "rules": list(rules)})[0], 201)
    def bind(name, kind="Role", where="/namespaces/default/rolebindings", subject=None):
        equal("binding " + name, s.call("POST", RBAC + where, {"metadata": {"name": name}, "roleRef": {"kind": kind, "name": name},
              "subjects": [subject or {"kind": "Group", "name": "devs"}]})[0], 201)
    s.call("POST", CORE + "/configmaps", config_map("one"))
    s.call("POST", CORE + "/configmaps", config_map("two"))
    role("names", {"verbs": ["get", "list", "watch", "update", "create"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"]})
    equal("a role alone gives nothing", jane("GET", CORE + "/configmaps/one"), 403)
    bind("names")
    eventually("resourceNames: its own", 200, lambda: jane("GET", CORE + "/configmaps/one"))
    equal("no other", (jane("GET", CORE + "/configmaps/two"), jane("GET", CORE + "/configmaps"), jane("POST", CORE + "/configmaps", config_map("x"))), (403, 403, 403))
    equal("a list of that one", jane("GET", CORE + "/configmaps?fieldSelector=metadata.name%3Done"), 200)
    equal("not of another", jane("GET", CORE + "/configmaps?fieldSelector=metadata.name%3Dtwo"), 403)
    equal("not of all but one", jane("GET", CORE + "/configmaps?fieldSelector=metadata.name!%3Done"), 403)
    equal("nor deleting what is selected", jane("DELETE", CORE + "/configmaps?fieldSelector=metadata.name%3Done"), 403)
    equal("not elsewhere", jane("GET", API + "/namespaces/kube-system/configmaps/one"), 403)
    role("sub", {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*/status"]}, where="/clusterroles")
    bind("sub", "ClusterRole", "/clusterrolebindings")
    s.call("POST", "/apis/apps/v1/namespaces/default/deployments", deployment("d", 0))
    eventually("a subresource", 200, lambda: jane("GET", "/apis/apps/v1/namespaces/default/deployments/d/status"))
    equal("not its resource", jane("GET", "/apis/apps/v1/namespaces/default/deployments/d"), 403)
    role("paths", {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/openid/*"]}, where="/clusterroles")
    bind("paths", "ClusterRole", "/clusterrolebindings", {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"})
    eventually("nonResourceURLs", 200, lambda: jane("GET", "/metrics"))
    equal("by prefix", jane("GET", "/openid/v1/jwks"), 200)
    equal("not behind it", jane("GET", "/metrics/x"), 403)
    s.patch(RBAC + "/namespaces/default/roles/names", {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]})
    eventually("a changed role", 200, lambda: jane("GET", CORE + "/configmaps/two"))
    s.patch(RBAC + "/namespaces/default/rolebindings/names", {"subjects": [{"kind": "Group", "name": "others"}]})
    eventually("a changed binding", 403, lambda: jane("GET", CORE + "/configmaps/two"))
    s.patch(RBAC + "/namespaces/default/rolebindings/names", {"subjects": [{"kind": "User", "name": "jane"}]})
    eventually("and back", 200, lambda: jane("GET", CORE + "/configmaps/two"))
    s.call("DELETE", RBAC + "/namespaces/default/roles/names")
    eventually("a deleted role", 403, lambda: jane("GET", CORE + "/configmaps/two"))
    refused("roleRef is for ever", s.patch(RBAC + "/clusterrolebindings/paths", {"roleRef": {"name": "cluster-admin"}}), 422, "cannot change roleRef")
    refused("a cluster binding to a Role", s.call("POST", RBAC + "/clusterrolebindings", {"metadata": {"name": "x"},
            "roleRef": {"kind": "Role", "name": "cluster-admin"}, "subjects": []}), 422, "roleRef.kind")
    many = [s.call("POST", RBAC + "/namespaces/default/roles", {"metadata": {"name": "r%d" % i}, "rules": []})[0] for i in range(50)]
    equal("a burst of roles", set(many), {201})
    escalation(s)


def escalation(s):
    roles, bindings = RBAC + "/namespaces/default/roles", RBAC + "/namespaces/default/rolebindings"
    s.call("POST", bindings, {"metadata": {"name": "jane-admin"}, "roleRef": {"kind": "ClusterRole", "name": "namespace-admin"},
                              "subjects": [{"kind": "User", "name": "jane"}]})
    s.call("POST", RBAC + "/clusterroles", {"metadata": {"name": "namespace-admin"}, "rules": [
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        {"verbs": ["create", "update", "get", "delete"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"]},
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps", "pods"]}]})
    s.patch(RBAC + "/clusterroles/namespace-admin", {"rules": [
        {"verbs": ["create", "update", "get", "patch", "delete"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps", "pods"]}]})
    make = lambda name, *rules: s.call("POST", roles, {"metadata": {"name": name}, "rules": list(rules)}, token=USER)
    bind = lambda name, kind, role, where=bindings: s.call("POST", where, {"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role},
                                                           "subjects": [{"kind": "User", "name": "jane"}]}, token=USER)
    held = {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}
    eventually("a role of what one holds", 201, lambda: make("mine", held)[0])
    refused("what one does not hold", make("more", held, {"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["configmaps"]}), 403,
            'roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC '
            'permissions not currently held:\n{APIGroups:[""], Resources:["configmaps"], Verbs:["get" "delete"]}')
    refused("everything", make("all", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), 403, "is attempting to grant")
    refused("by patch", s.patch(roles + "/mine", {"rules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]}, token=USER), 403, "is attempting to grant")
    refused("by put", s.call("PUT", roles + "/mine", {"metadata": {"name": "mine"}, "rules": [{"verbs": ["get"], "apiGroups": [""],
            "resources": ["secrets"]}]}, token=USER), 403, "is attempting to grant")
    equal("a label", s.patch(roles + "/mine", {"metadata": {"labels": {"a": "b"}}}, token=USER)[0], 200)
    huge = {"verbs": ["v%d" % i for i in range(300)], "apiGroups": ["g%d" % i for i in range(300)], "resources": ["r%d" % i for i in range(300)]}
    refused("millions of rights", make("huge", huge), 403, "is attempting to grant")
    refused("binding cluster-admin", bind("root", "ClusterRole", "cluster-admin"), 403, 'rolebindings.rbac.authorization.k8s.io "root" is forbidden', "is attempting to grant")
    refused("in the whole cluster", bind("root", "ClusterRole", "cluster-admin", RBAC + "/clusterrolebindings"), 403)
    refused("binding what is not there", bind("none", "Role", "none"), 404, 'roles.rbac.authorization.k8s.io "none" not found')
    refused("binding what one holds", bind("mine", "Role", "mine"), 201)
    s.patch(RBAC + "/clusterroles/namespace-admin", [{"op": "add", "path": "/rules/-", "value": {"verbs": ["bind"], "apiGroups":
            ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"]}}], "json")
    eventually("the verb bind lifts it", 201, lambda: bind("view", "ClusterRole", "view")[0])
    refused("for that role only", bind("root", "ClusterRole", "cluster-admin"), 403)
    s.call("DELETE", bindings + "/view")
    s.patch(RBAC + "/clusterroles/namespace-admin", [{"op": "add", "path": "/rules/-", "value": {"verbs": ["escalate"], "apiGroups":
            ["rbac.authorization.k8s.io"], "resources": ["roles"]}}], "json")
    eventually("the verb escalate lifts it", 201, lambda: make("more", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})[0])
    s.call("DELETE", bindings + "/mine")
    s.patch(RBAC + "/clusterroles/namespace-admin", {"rules": [{"verbs": ["update"], "apiGroups": ["", "rbac.authorization.k8s.io"],
            "resources": ["services", "roles"]}]})
    eventually("only update now", 403, lambda: s.call("POST", CORE + "/services", {}, token=USER)[0])
    refused("a PUT may not create", s.call("PUT", CORE + "/services/new", {"metadata": {"name": "new"}, "spec": {"ports": [{"port": 1}]}}, token=USER),
            403, 'cannot create resource "services"')
    s.call("DELETE", bindings + "/jane-admin")


def nodes(s, ca):
    n1, n2 = (ca.client("system:node:" + n, "system:nodes") for n in ("n1", "n2"))
    call = lambda tls, method, path, body=None, **o: with_certificate(s, tls, method, path, body, **o)
    status = lambda *a, **o: call(*a, **o)[0]
    for name in ("mine", "env", "pull", "projected", "foreign", "unused"):
        s.call("POST", CORE + "/secrets", {"metadata": {"name": name}})
        s.call("POST", CORE + "/configmaps", config_map(name))
    s.call("POST", API + "/namespaces/kube-public/secrets", {"metadata": {"name": "mine"}})
    service_account(s)
    one = pod("on-n1")
    one["spec"].update(volumes=[{"name": "a", "secret": {"secretName": "mine"}}, {"name": "b", "configMap": {"name": "mine"}},
                                {"name": "c", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "projected"}}]}}],
                       imagePullSecrets=[{"name": "pull"}])
    one["spec"]["containers"][0]["env"] = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]
    one["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "env"}}]
    two = pod("on-n2")
    two["spec"]["volumes"] = [{"name": "a", "secret": {"secretName": "foreign"}}]
    loose = pod("loose")
    loose["spec"]["volumes"] = [{"name": "a", "secret": {"secretName": "unused"}}]
    made = [s.call("POST", CORE + "/pods", p) for p in (one, two, loose)]
    equal("pods", [m[0] for m in made], [201] * 3)
    equal("a secret before the pod is bound", status(n1, "GET", CORE + "/secrets/mine"), 403)
    for name, node in (("on-n1", "n1"), ("on-n2", "n2")):
        s.call("POST", CORE + "/pods/%s/binding" % name, {"target": {"name": node}})
    for kind, names in (("secrets", ("mine", "env", "pull", "projected")), ("configmaps", ("mine", "env", "projected"))):
        for name in names:
            equal("%s %s of its pod" % (kind, name), status(n1, "GET", "%s/%s/%s" % (CORE, kind, name)), 200)
    for path in ("/secrets/foreign", "/secrets/unused", "/secrets", "/configmaps", "/configmaps/pull", "/secrets?fieldSelector=metadata.name!%3Dmine"):
        equal("not " + path, status(n1, "GET", CORE + path), 403)
    equal("not by another node", status(n2, "GET", CORE + "/secrets/mine"), 403)
    equal("not of another namespace", status(n1, "GET", API + "/namespaces/kube-public/secrets/mine"), 403)
    equal("a list of its own", status(n1, "GET", CORE + "/secrets?fieldSelector=metadata.name%3Dmine"), 200)
    equal("writes no secret", status(n1, "PUT", CORE + "/secrets/mine", {"metadata": {"name": "mine"}}), 403)
    equal("its pods", status(n1, "GET", API + "/pods?fieldSelector=spec.nodeName%3Dn1"), 200)
    equal("not all pods", status(n1, "GET", API + "/pods"), 403)
    equal("not another's pods", status(n1, "GET", API + "/pods?fieldSelector=spec.nodeName%3Dn2"), 403)
    equal("a pod of its own, another's, none", tuple(status(n1, "GET", CORE + "/pods/" + p) for p in ("on-n1", "on-n2", "none")), (200, 403, 404))
    node = lambda n, **m: {"metadata": dict({"name": n}, **m)}
    equal("creates itself", status(n1, "POST", API + "/nodes", node("n1")), 201)
    equal("not another", status(n1, "POST", API + "/nodes", node("n2")), 403)
    s.call("POST", API + "/nodes", node("n2"))
    equal("reads itself, not another", (status(n1, "GET", API + "/nodes/n1"), status(n1, "GET", API + "/nodes/n2"), status(n1, "GET", API + "/nodes")), (200, 403, 403))
    merge = {"content_type": "application/merge-patch+json"}
    equal("its status", status(n1, "PATCH", API + "/nodes/n1/status", {"status": {"capacity": {"cpu": "4"}}}, **merge), 200)
    equal("not another's", status(n1, "PATCH", API + "/nodes/n2/status", {"status": {"capacity": {"cpu": "4"}}}, **merge), 403)
    equal("its labels", status(n1, "PATCH", API + "/nodes/n1", {"metadata": {"labels": {"zone": "a"}}}, **merge), 200)
    refused("restricted ones", call(n1, "PATCH", API + "/nodes/n1", {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "a"}}}, **merge), 403,
            "is not allowed to modify labels")
    refused("taints", call(n1, "PATCH", API + "/nodes/n1", {"spec": {"taints": []}}, **merge), 403, "is not allowed to modify taints")
    lease = lambda n: {"metadata": {"name": n, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": n}}
    leases = "/apis/coordination.k8s.io/v1/namespaces/%s/leases"
    equal("its lease", status(n1, "POST", leases % "kube-node-lease", lease("n1")), 201)
    equal("reads it", status(n1, "GET", leases % "kube-node-lease" + "/n1"), 200)
    s.call("POST", leases % "kube-node-lease", lease("n2"))
    equal("not another's", (status(n1, "GET", leases % "kube-node-lease" + "/n2"),
          status(n1, "PATCH", leases % "kube-node-lease" + "/n2", {"spec": {"holderIdentity": "n1"}}, **merge),
          status(n1, "POST", leases % "kube-node-lease", lease("n3")), status(n1, "GET", leases % "kube-system" + "/n1")), (403, 403, 403, 403))
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    equal("status of its pod", status(n1, "PATCH", CORE + "/pods/on-n1/status", ready, **merge), 200)
    refused("not of another's", call(n1, "PATCH", CORE + "/pods/on-n2/status", ready, **merge), 403, "can only update pods with spec.nodeName set to itself")
    refused("nor its delete", call(n1, "DELETE", CORE + "/pods/on-n2"), 403, "can only delete pods with spec.nodeName set to itself")
    equal("binds nothing", status(n1, "POST", CORE + "/pods/loose/binding", {"target": {"name": "n1"}}), 403)
    mirror = lambda name, **spec: {"metadata": {"name": name, "annotations": {"kubernetes.io/config.mirror": "x"}},
                                   "spec": dict({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}, **spec)}
    equal("a mirror pod", status(n1, "POST", CORE + "/pods", mirror("static")), 201)
    refused("of another node", call(n1, "POST", CORE + "/pods", mirror("static2", nodeName="n2")), 403, "can only create pods with spec.nodeName set to itself")
    plain = mirror("plain")
    plain["metadata"].pop("annotations")
    refused("no other pod", call(n1, "POST", CORE + "/pods", plain), 403, "can only create mirror pods")
    for what, spec in [("secrets", {"volumes": [{"name": "a", "secret": {"secretName": "foreign"}}]}),
                       ("secrets", {"imagePullSecrets": [{"name": "foreign"}]}),
                       ("secrets", {"initContainers": [{"name": "i", "image": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "foreign", "key": "a"}}}]}]}),
                       ("configmaps", {"volumes": [{"name": "a", "configMap": {"name": "foreign"}}]}),
                       ("projected volumes", {"volumes": [{"name": "a", "projected": {"sources": [{"secret": {"name": "foreign"}}]}}]}),
                       ("persistentvolumeclaims", {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "foreign"}}]}),
                       ("a service account", {"serviceAccountName": "default"})]:
        refused("that refers to " + what, call(n1, "POST", CORE + "/pods", mirror("thief", **spec)), 403, "can not create pods that reference " + what)
    token = CORE + "/serviceaccounts/default/token"
    ref = lambda m: {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": m["metadata"]["name"], "uid": m["metadata"]["uid"]}}}
    equal("a token for its pod", status(n1, "POST", token, ref(made[0][1])), 201)
    refused("not for another's", call(n1, "POST", token, ref(made[1][1])), 403, "node requested token bound to a pod scheduled on a different node")
    refused("nor for none", call(n1, "POST", token, {"spec": {}}), 403, "node requested token not bound to a pod")
    service_account(s, name="quiet")
    equal("nor for an account of no pod of its own", status(n1, "POST", CORE + "/serviceaccounts/quiet/token", ref(made[0][1])), 403)
    s.call("DELETE", CORE + "/pods/on-n1?gracePeriodSeconds=0")
    eventually("nothing any more without the pod", 403, lambda: status(n1, "GET", CORE + "/secrets/mine"))
    equal("a name alone makes no node", with_certificate(s, ca.client("system:node:n2"), "GET", CORE + "/secrets/foreign")[0], 403)
    equal("nor the group", with_certificate(s, ca.client("n2", "system:nodes"), "GET", CORE + "/secrets/foreign")[0], 403)
    equal("nor an empty name", with_certificate(s, ca.client("system:node:", "system:nodes"), "GET", API + "/services")[0], 403)


def reviews(s):
    def allowed(user, **attributes):
        status, body = s.call("POST", REVIEW + "subjectaccessreviews", {"spec": {"user": user, "resourceAttributes": attributes}})
        return body["status"]["allowed"] if status == 201 else body
    s.call("POST", RBAC + "/namespaces/default/rolebindings", {"metadata": {"name": "viewer"}, "roleRef": {"kind": "ClusterRole", "name": "see"},
           "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "app", "namespace": "default"}]})
    s.call("POST", RBAC + "/clusterroles", {"metadata": {"name": "see"}, "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]})
    eventually("SubjectAccessReview", True, lambda: allowed("jane", verb="get", resource="pods", namespace="default"))
    equal("an account", allowed("system:serviceaccount:default:app", verb="get", resource="pods", namespace="default"), True)
    equal("elsewhere", allowed("jane", verb="get", resource="pods", namespace="kube-system"), False)
    equal("another verb", allowed("jane", verb="delete", resource="pods", namespace="default"), False)
    equal("another group", allowed("jane", verb="get", resource="pods", group="x", namespace="default"), False)
    equal("a subresource", allowed("jane", verb="get", resource="pods", subresource="log", namespace="default"), False)
    equal("a name as long as it gets", allowed("jane" + "x" * 5000, verb="get", resource="pods", namespace="default"), False)
    _, body = s.call("POST", REVIEW + "subjectaccessreviews", {"spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}})
    equal("the reason", body["status"].get("reason"), 'RBAC: allowed by RoleBinding "viewer/default" of ClusterRole "see" to User "jane"')
    _, body = s.call("POST", REVIEW + "subjectaccessreviews", {"spec": {"groups": ["system:masters"], "nonResourceAttributes": {"verb": "get", "path": "/x"}}})
    equal("masters", body["status"]["allowed"], True)
    for spec in ({"user": "x"}, {"resourceAttributes": {}}, {"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {}}):
        equal("incomplete %s" % sorted(spec), s.call("POST", REVIEW + "subjectaccessreviews", {"spec": spec})[0], 422)
    equal("not by anybody", s.call("POST", REVIEW + "subjectaccessreviews", {"spec": {"user": "x"}}, token=USER)[0], 403)
    _, body = s.call("POST", REVIEW + "selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}}, token=USER)
    equal("SelfSubjectAccessReview", body["status"]["allowed"], True)
    equal("LocalSubjectAccessReview elsewhere", s.call("POST", REVIEW + "namespaces/default/localsubjectaccessreviews", {"spec": {"user": "jane",
          "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "kube-system"}}})[0], 400)
    _, body = s.call("POST", REVIEW + "selfsubjectrulesreviews", {"spec": {"namespace": "default"}}, token=USER)
    check("SelfSubjectRulesReview", {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]} in body["status"]["resourceRules"] and
          body["status"]["incomplete"] is False, body["status"])
    _, body = s.call("POST", REVIEW + "selfsubjectrulesreviews", {"spec": {"namespace": "kube-system"}}, token=USER)
    check("not elsewhere", {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]} not in body["status"]["resourceRules"])


def certificate_requests(s):
    def request(name, *groups, signer="kubernetes.io/kube-apiserver-client", token=ADMIN):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups] + [x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return s.call("POST", CSR, {"metadata": {"name": name}, "spec": {"request": base64.b64encode(pem).decode(), "signerName": signer,
                      "usages": ["client auth"], "username": "root", "groups": ["system:masters"]}, "status": {"certificate": "QQ=="}}, token=token)
    approve = lambda name, **o: s.call("PUT", CSR + "/%s/approval" % name, {"metadata": {"name": name}, "status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "x"}]}}, **o)
    s.call("POST", RBAC + "/clusterrolebindings", {"metadata": {"name": "csr"}, "roleRef": {"kind": "ClusterRole", "name": "csr"},
           "subjects": [{"kind": "User", "name": "jane"}]})
    s.call("POST", RBAC + "/clusterroles", {"metadata": {"name": "csr"}, "rules": [{"verbs": ["create", "update", "patch"], "apiGroups":
           ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"]}]})
    eventually("a request", 201, lambda: request("req", token=USER)[0])
    _, body = s.call("GET", CSR + "/req")
    equal("says who asks", (body["spec"]["username"], body["spec"]["groups"], body.get("status", {})), ("jane", ["devs", "system:authenticated"], {}))
    refused("nobody asks for masters", request("root", "system:masters"), 403, "with system:masters group is not allowed")
    refused("approval needs the right", approve("req", token=USER), 403, 'user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"')
    signed = {"status": {"certificate": base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()}}
    refused("and signing", s.patch(CSR + "/req/status", signed, token=USER), 403, "user not permitted to sign")
    refused("also through approval", s.patch(CSR + "/req/approval", {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}, token=USER), 403, "approve")
    s.patch(RBAC + "/clusterroles/csr", [{"op": "add", "path": "/rules/-", "value": {"verbs": ["approve"], "apiGroups": ["certificates.k8s.io"],
            "resources": ["signers"], "resourceNames": ["kubernetes.io/*"]}}], "json")
    eventually("with it, by domain", 200, lambda: approve("req", token=USER)[0])
    refused("but not signing", s.patch(CSR + "/req/status", signed, token=USER), 403, "user not permitted to sign")
    _, body = s.patch(CSR + "/req", {"spec": {"username": "root", "signerName": "x/y"}})
    equal("the spec is for ever", (body["spec"]["username"], body["spec"]["signerName"]), ("jane", "kubernetes.io/kube-apiserver-client"))
    refused("an approval of nothing", approve("none"), 404, 'certificatesigningrequests.certificates.k8s.io "none" not found')
    refused("a signer without a domain", request("odd", signer="odd"), 422, "should be a domain-prefixed path")


def bootstrap_policy(s):
    _, roles = s.call("GET", RBAC + "/clusterroles")
    names = {r["metadata"]["name"]: r for r in roles["items"]}
    for name in ("cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user", "system:node", "system:node-proxier",
                 "system:kube-scheduler", "system:kube-controller-manager", "system:node-bootstrapper", "system:auth-delegator"):
        check("role " + name, name in names)
    equal("nobody is bound to system:node", [b for b in s.call("GET", RBAC + "/clusterrolebindings")[1]["items"] if b["roleRef"]["name"] == "system:node" and b.get("subjects")], [])
    path, free = RBAC + "/clusterroles/system:kube-dns", RBAC + "/clusterroles/system:node-proxier"
    rules = names["system:kube-dns"]["rules"]
    own = {"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]}
    equal("rules taken away", s.patch(path, {"rules": [own]})[0], 200)
    equal("rules meant to stay away", s.patch(free, {"rules": [], "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}})[0], 200)
    equal("a binding without subjects", s.patch(RBAC + "/clusterrolebindings/system:basic-user", {"subjects": None})[0], 200)
    equal("a role deleted", s.call("DELETE", RBAC + "/clusterroles/view")[0], 200)
    if os.environ.get("SKIFF_TEST_ETCD") is None:
        s.stop()
        s.start()
        equal("come back at a start", s.call("GET", path)[1]["rules"], [own] + rules)
        equal("unless told otherwise", s.call("GET", free)[1].get("rules") or [], [])
        equal("subjects too", len(s.call("GET", RBAC + "/clusterrolebindings/system:basic-user")[1].get("subjects", [])), 1)
        equal("and roles", s.call("GET", RBAC + "/clusterroles/view")[0], 200)


SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def front_proxy(s, ca, proxies):
    headers = {"X-Remote-User": "jane", "X-Remote-Group": "devs", "X-Remote-Uid": "7", "X-Remote-Extra-Acme.Com%2Fproject": "blue"}

    def who(tls, **options):
        status, tree = with_certificate(s, tls, "POST", SELF, {}, **options)
        return tree["status"]["userInfo"] if status == 201 else status
    front = proxies.client("front")
    equal("the front proxy says who asks", who(front, headers=headers), {"username": "jane", "uid": "7",
          "groups": ["devs", "system:authenticated"], "extra": {"acme.com/project": ["blue"]}})
    equal("without a name it is nobody", who(front, headers={"X-Remote-Group": "system:masters"}), 401)
    equal("another name of its CA may not", who(proxies.client("back"), headers=headers), 401)
    equal("nor a server certificate", who(proxies.client("front", usage=ExtendedKeyUsageOID.SERVER_AUTH), headers=headers), 401)
    equal("nor one that has expired", who(proxies.client("front", days=-1), headers=headers), 401)
    equal("a client's certificate is the client's", who(ca.client("front"), headers=headers)["username"], "front")
    equal("nor without a certificate", s.call("POST", SELF, {}, token=None, headers=headers)[0], 401)
    got = s.call("POST", SELF, {}, token=USER, headers=dict(headers, **{"X-Remote-User": "admin"}))
    equal("nor with a token", got[1]["status"]["userInfo"]["username"], "jane")


def failures(s):
    c, seen = s.connect(), []
    for i in range(700):
        seen.append(s.call("GET", CORE + "/pods", token="wrong-%d.x.y" % i, connection=c)[0])
        if seen[-1] == 429:
            break
    check("who fails too often is refused unchecked", seen[0] == 401 and seen[-1] == 429 and len(seen) > 400, (len(seen), seen[-1]))
    equal("known tokens stay good", s.call("GET", CORE + "/pods")[0], 200)


with tempfile.TemporaryDirectory(prefix="skiff-access-") as directory:
    ca, other = Authority(directory, "ca"), Authority(directory, "other")
    proxies = Authority(directory, "proxies")
    key = ec.generate_private_key(ec.SECP256R1())
    ca.write(directory + "/sa.key", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with Server("--client-ca-file=" + ca.path, "--service-account-signing-key-file=" + directory + "/sa.key",
                "--service-account-key-file=" + directory + "/sa.key", "--enable-bootstrap-token-auth",
                "--requestheader-client-ca-file=" + proxies.path, "--requestheader-allowed-names=front") as s:
        credentials(s, ca, other)
        bootstrap_tokens(s)
        service_accounts(s)
        impersonation(s)
        rbac(s)
        nodes(s, ca)
        reviews(s)
        certificate_requests(s)
        front_proxy(s, ca, proxies)
        bootstrap_policy(s)
        failures(s)
finish()
